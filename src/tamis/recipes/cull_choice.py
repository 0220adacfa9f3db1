"""Which frames get the teacher, which are kept, and why the others are not: the strategies of Table 2, and more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tamis.culling.gate import PASSED, REASONS
from tamis.culling.judge import Judged
from tamis.culling.records import Records
from tamis.culling.select import Scores, apart, at_random, evenly, hardest
from tamis.recipes.cull_config import LEVELS, CullConfig
from tamis.scores import image_precision, normalized_mean


@dataclass(frozen=True)
class Choice:
    """What became of the frames.

    Attributes:
        survivors: positions that were to get the teacher, hardest first.
        precision: average precision of the student by position, where it was compared.
        kept: positions, ascending.
    """

    survivors: list[int]
    precision: dict[int, float]
    kept: list[int]


def scores_of(records: Records, config: CullConfig, level: Mapping[str, Any] | None) -> Scores:
    """Confidence loss of each frame, float64 (n,); NaN where the student was not asked.

    Args:
        records: of all frames.
        config: of the cull.
        level: what was found for auto, whose scores are of all levels.
    """
    if not ((config.per_class or level is not None) and config.scored):
        return np.array(records.score, np.float64)
    scores, passed = np.full(len(records), np.nan), records.passed
    if len(passed):
        columns = torch.tensor([records.score[place] for place in passed], dtype=torch.float64)
        scores[passed] = (
            normalized_mean(columns) if level is None else columns[:, LEVELS.index(level["level"])]
        ).numpy()
    return scores


def survivors_of(records: Records, scores: Scores, config: CullConfig, probed: int = 0) -> list[int]:
    """Positions of the frames that the teacher is to see, hardest first; it has seen some before (`probed`)."""
    total, pool = len(records), records.passed
    images, _ = config.budget
    most = None if images is None else images - probed
    count = config.count(total)
    if config.strategy == "full":
        return list(range(total))
    if config.strategy == "every":
        return evenly(total, count).tolist()
    if config.strategy == "random":
        return at_random(total, count, config.seed).tolist()
    if config.strategy == "precision":
        return pool[evenly(len(pool), len(pool) if most is None else most)].tolist()
    wanted = count * (config.stage1_factor if config.compared else 1)
    return _ranked(scores[pool], pool, wanted if most is None else min(wanted, most), records, config)


def kept_of(survivors: Sequence[int], judged: Mapping[int, Judged], records: Records, config: CullConfig) -> Choice:
    """Of the frames that got the teacher, those where the student is most wrong; all, if it was not compared."""
    seen = [position for position in survivors if position in judged]
    if not config.compared:
        return Choice(list(survivors), {}, sorted(seen[: config.count(len(records))] if config.scored else seen))
    places = np.array(sorted(seen), np.int64)
    precision = precisions_of([judged[place] for place in places.tolist()], config)
    chosen = _ranked(1 - precision, places, config.count(len(records)), records, config)
    return Choice(list(survivors), dict(zip(places.tolist(), precision.tolist(), strict=True)), sorted(chosen))


def precisions_of(judged: Sequence[Judged], config: CullConfig) -> Scores:
    """Average precision of the student on each image, the teacher's boxes that become labels being the truth."""
    student = [each.student.above(config.least_confidence) for each in judged if each.student is not None]
    teacher = [each.teacher.above(config.label_confidence) for each in judged]
    labels = [int(each.labels.max()) for each in (*student, *teacher) if len(each)]
    # A doubt is no false alarm: otherwise every empty street would be among the hardest.
    return image_precision(
        student, teacher, 1 + max(labels, default=0), iou=config.iou, alarm_confidence=config.label_confidence
    ).numpy()


def _ranked(score: Scores, places: np.ndarray, count: int, records: Records, config: CullConfig) -> list[int]:
    """The `count` hardest of some positions, apart in time if that is asked for."""
    if not config.diverse:
        return places[hardest(score, count)].tolist()
    seconds = np.frombuffer(records.seconds, np.float64)[places]
    seconds = np.where(np.isnan(seconds), places, seconds)  # images have no time: they count as one second each
    camera = [records.source[place] for place in places.tolist()]
    return places[apart(score, count, camera, seconds, config.diverse)].tolist()


def stages_of(
    records: Records, scores: Scores, choice: Choice, judged: Mapping[int, Judged], config: CullConfig
) -> tuple[list[str], list[str]]:
    """The stage that each frame came to, and why it went no further."""
    stages, reasons = [], []
    survivors, kept = set(choice.survivors), set(choice.kept)
    lowest = min((scores[place] for place in survivors), default=np.nan) if config.scored else np.nan
    highest = max((choice.precision[place] for place in kept if place in choice.precision), default=np.nan)
    near = ", or too close in time to one that is" if config.diverse else ""
    below = f"confidence loss not among the highest, which end at {lowest:.4g}{near}"
    above = f"the student agrees with the teacher more than on those kept, whose precision is up to {highest:.4g}"
    for place, reason in enumerate(records.reason):
        if place in kept:
            stages.append("kept")
            reasons.append(_why_kept(config))
        elif place in judged:
            stages.append("stage 2")
            reasons.append(above)
        elif place in survivors:
            stages.append("stage 1" if config.scored else "scanned")
            reasons.append("left over when the teacher's budget was spent, or could not be read again")
        elif reason < PASSED:
            stages.append("gated")
            reasons.append(REASONS[reason])
        else:
            stages.append("stage 1" if config.scored else "scanned")
            reasons.append(below if config.scored else f"not chosen by the strategy {config.strategy}")
    return stages, reasons


def _why_kept(config: CullConfig) -> str:
    return {
        "confidence+precision": "hard: the student is unsure, and disagrees with the teacher",
        "confidence": "hard: the student is unsure",
        "precision": "hard: the student disagrees with the teacher",
        "every": "one of evenly spread frames",
        "random": "drawn at random",
        "full": "all are kept",
    }[config.strategy]
