"""Whether what the student was unsure of is there at all: a detector's least confident boxes are often noise."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tamis.culling.judge import Judged
from tamis.detections import Detections
from tamis.recipes.cull_config import LEVELS, CullConfig
from tamis.recipes.cull_detectors import loss_of
from tamis.scores import image_hits

_NOISE = 0.1  # of noise, at most this share is there
_MUCH = 0.5  # of the confidence loss


def doubt_of(judged: Sequence[Judged], config: CullConfig) -> dict[str, Any] | None:
    """What the student's least confident boxes are worth, on frames that the teacher saw too.

    Args:
        judged: the frames, with boxes of both.
        config: whose confidence loss it is, and whose `label_confidence` makes the teacher's boxes true.

    Returns:
        "below": the highest of 0.1, 0.2 ... 0.5 up to which, from each of them to the next, at most a tenth of the
        boxes hit one of the teacher's; "hits": the share of those below it that do; "share": of the confidence loss
        that these make up; and "text", all of it in a sentence. None if there is no such level, or they make up less
        than half of the loss.
    """
    loss = replace(loss_of(config), per_class=False)
    found = _noise(judged, loss.min_confidence, config)
    total = float(loss(found.students).sum())
    if not total:  # no box counts, as with a large min_side
        return None
    below, boxes, hits = found.below, found.boxes, found.hits
    share = 1 - float(loss([each.above(below or 0.0) for each in found.students]).sum()) / total
    if below is None or share < _MUCH:
        return None
    text = (
        f"{share:.0%} of the confidence loss comes from boxes of the student below {below:g}, and "
        f"{hits / boxes:.0%} of them hit one of the teacher's: what was found hard may be noise; compare "
        f"--min-confidence {below:g}, or auto"
    )
    return {"below": below, "hits": round(hits / boxes, 4), "share": round(share, 4), "text": text}


def level_of(judged: Sequence[Judged], config: CullConfig) -> dict[str, Any]:
    """From which confidence on the student's boxes are there at all.

    Args:
        judged: some frames, with boxes of both.
        config: whose `label_confidence` makes the teacher's boxes true.

    Returns:
        "level": the highest of `LEVELS` up to which, from each of them to the next, at most a tenth of the boxes hit
        one of the teacher's; the lowest if there is no such; "frames": how many said so; "boxes": the student's below
        the level; "hits": how many of these hit; and "text", all of it in a sentence.
    """
    found = _noise(judged, LEVELS[0], config)
    level, frames = found.below or LEVELS[0], len(found.students)
    text = f"the student's boxes count from a confidence of {level:g} on: on {frames} frames "
    if found.below is None:
        text += "even the least sure of its boxes hit some of the teacher's"
    elif found.boxes:
        text += f"{found.hits:,} of its {found.boxes:,} boxes below that hit one of the teacher's"
    else:
        text += "it has none below that"
    return {"level": level, "frames": frames, "boxes": found.boxes, "hits": found.hits, "text": text}


class _Noise(NamedTuple):
    """Boxes of the student, and those of them that are not there.

    Attributes:
        students: those of each frame that count.
        below: confidence below which they are noise; None if they are not.
        boxes: how many are below it.
        hits: how many of these hit one of the teacher's.
    """

    students: list[Detections]
    below: float | None
    boxes: int
    hits: int


def _noise(judged: Sequence[Judged], least: float, config: CullConfig) -> _Noise:
    students = [each.student.above(least) for each in judged if each.student is not None]
    teachers = [each.teacher.above(config.label_confidence) for each in judged if each.student is not None]
    classes = 1 + max((int(each.labels.max()) for each in (*students, *teachers) if len(each)), default=0)

    def counted(level: float) -> tuple[int, int]:
        surer = [each.above(level) for each in students]
        return sum(map(len, surer)), int(image_hits(surer, teachers, classes, iou=config.iou).sum())

    count, hits = counted(least)
    found = _Noise(students, None, 0, 0)
    for level in (each for each in LEVELS if each > least):
        surer, hit = counted(level)
        boxes, hits_below = count - surer, hits - hit
        if hits_below - found.hits > _NOISE * (boxes - found.boxes):
            break
        found = _Noise(students, level, boxes, hits_below)
    return found
