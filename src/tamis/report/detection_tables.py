"""What stands in the tables of a page about detectors, as texts; the template only lays it out."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tamis.report.costs import costs_of
from tamis.report.detection_reading import class_names
from tamis.report.records import Record
from tamis.report.tables import CLASSES, DASH, figure, scores_cost, seconds
from tamis.report.verdict import percent

_WRONG = ("flipped", "shifted", "missing", "invented")
_COCO = ("map", "map75", "map_small", "map_medium", "map_large")


def three_places(value: float) -> str:
    """0.61234 -> "0.612"; a dash where unknown."""
    return f"{value:.3f}" if math.isfinite(value) else DASH


def detection_results(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Last and best epoch, COCO's figures of the last, and the costs of each run."""
    return [_result(record) for record in records]


def _result(record: Record) -> dict[str, Any]:
    costs, best = costs_of(record), record.figure("best", "map50")
    told = (record.result or {}).get("detection") or {}
    coco = [told.get(name) for name in _COCO]
    share = costs.fed / costs.full if costs.full > 0 else math.nan
    evaluation = ((record.result or {}).get("costs") or {}).get("seconds_evaluation")
    return {
        "name": record.name,
        "method": str(record.about.get("method") or DASH),
        "last": three_places(record.figure("last", "map50")),
        "last_epoch": record.judged("last")["epoch"] + 1,
        "best": three_places(best),
        "best_epoch": DASH if math.isnan(best) else record.judged("best")["epoch"] + 1,
        "coco": [three_places(float(value)) if isinstance(value, int | float) else DASH for value in coco],
        "loss": figure(record.figure("last", "loss")),
        "fed": f"{costs.fed:,}",
        "scores": scores_cost(costs),
        "of_full": DASH if math.isnan(share) else percent(share),
        "training": seconds(costs.seconds),
        "scoring": f"and {seconds(costs.scoring_seconds)} for scores" if costs.scoring_seconds else "",
        "evaluation": seconds(float(evaluation or math.nan)),
        "state": "finished" if record.result is not None else f"{len(record.metrics)} epochs so far",
    }


def detection_classes(records: Sequence[Record], focus: Record) -> tuple[list[dict[str, Any]], int]:
    """The true boxes of each class and AP50 by each run, the most frequent class first; and how many classes."""
    if focus.boxes is None:
        return [], 0
    names = _names(focus)
    true = np.bincount(focus.boxes.true.labels, minlength=len(names))
    by_run = [_precision_by_name(record) for record in records]
    rows = [
        {
            "name": names[label],
            "true": f"{true[label]:,}",
            "precision": [three_places(found.get(names[label], math.nan)) for found in by_run],
        }
        for label in np.argsort(-true, kind="stable").tolist()
    ]
    return rows[:CLASSES], len(rows)


def kitti_precision(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Fig. 2 of Saxena et al.: AP in percent of each class and run, easy, moderate and hard, at 40 and at 11 points."""
    by_run = [_kitti(record, "classes") for record in records]
    rows = []
    for name in dict.fromkeys(name for classes in by_run for name in classes):
        told = {place: classes[name] for place, classes in enumerate(by_run) if isinstance(classes.get(name), dict)}
        for place, found in told.items():
            figures = [_hundredths(found.get(points), level) for points in ("r40", "r11") for level in range(3)]
            counts = found.get("boxes") if place == min(told) else None
            boxes = [f"{count:,}" for count in counts if isinstance(count, int)] if isinstance(counts, list) else []
            rows.append({"name": name, "run": place, "first": place == min(told), "figures": figures, "boxes": boxes})
    return rows


def by_occlusion(record: Record) -> bool:
    """Whether a run's boxes are easy, moderate or hard by their occlusion alone."""
    return _kitti(record, "rules").get("name") == "occlusion"


def _kitti(record: Record, part: str) -> dict[str, Any]:
    told: Any = record.result
    for name in ("detection", "kitti", part):
        told = told.get(name) if isinstance(told, dict) else None
    return told if isinstance(told, dict) else {}


def _hundredths(values: Any, at: int) -> str:
    """0.9212 -> "92.1", as the benchmark says it; a dash where unknown."""
    value = values[at] if isinstance(values, list) and at < len(values) else None
    return f"{100 * value:.1f}" if isinstance(value, int | float) and math.isfinite(value) else DASH


def _names(record: Record) -> list[str]:
    return class_names((record.about.get("data") or {}).get("class_names") or [], record.boxes)


def _precision_by_name(record: Record) -> dict[str, float]:
    if record.boxes is None:
        return {}
    return dict(zip(_names(record), record.boxes.by_class.tolist(), strict=False))


def detection_facts(record: Record) -> list[tuple[str, str]]:
    """What the page's head says of classes, boxes and sizes."""
    config, boxes = record.config, record.samples.label
    noise = (record.about.get("data") or {}).get("noise") or {}
    wrong = [f"{noise[kind]:,} {kind}" for kind in _WRONG if isinstance(noise.get(kind), int) and noise[kind]]
    some = f"{boxes.min():,} to {boxes.max():,} an image, {int(boxes.sum()):,} in all" if len(boxes) else DASH
    return [
        ("Classes", ", ".join(_names(record)[:8]) + (", ..." if len(_names(record)) > 8 else "") or DASH),
        ("Boxes", some),
        ("Without a box", f"{int((boxes == 0).sum()):,} training images"),
        *([("Made wrong on purpose", ", ".join(wrong))] if wrong else []),
        ("Image size", str(config.get("size") or "as they are").replace("x", " × ")),
        ("Model", str(config.get("model") or DASH)),
    ]
