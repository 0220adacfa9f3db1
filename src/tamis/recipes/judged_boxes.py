"""What a trained detector finds on the images that it is judged by, next to what is there."""

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from tamis.data import BoxedImages
from tamis.data.annotations.kitti import TYPES
from tamis.detections import Detections
from tamis.fit import Settings, whole_plan
from tamis.history import write_table
from tamis.scores import KittiRules, KittiTruth, kitti_precision
from tamis.tasks.detection import Detected, Detection

_IMAGES = {"index": pa.int64(), "key": pa.string(), "true": pa.int64(), "predicted": pa.int64()}
_IMAGES |= {"loss": pa.float64(), "precision": pa.float64()}
_BOXES = {"index": pa.int64(), "who": pa.string(), **dict.fromkeys(("x1", "y1", "x2", "y2", "score"), pa.float32())}
_BOXES |= {"label": pa.int64()}
_LEAST = 0.05  # boxes of less confidence are not written down
_LEVELS = (0, 1, 2, 3)  # of occlusion, as KITTI has them


@torch.inference_mode()
def write_boxes(
    folder: Path, model: nn.Module, task: Detection, validation: BoxedImages, settings: Settings
) -> dict[str, Any]:
    """Detect what is on the validation images, and write it down.

    `validation.parquet`: index, key, true and predicted (how many boxes, of a confidence of at least 0.5), loss,
    precision (AP at IoU 0.5) of each image that could be read. `boxes.parquet`: index, who ("true" or "predicted"), x1,
    y1, x2, y2 in pixels of the model's inputs, score (at least 0.05), label.

    Returns:
        COCO's figures of the whole, where faster-coco-eval is installed; else those of `Detection.evaluate`. Where
        levels of occlusion are known, also "kitti": see `by_difficulty`.
    """
    device = settings.resolved_device()
    plan = whole_plan(validation, settings.batch_size)
    batches = (each.to(device) for each in validation.batches(plan, epoch=0, seed=0, train=False) if len(each))
    model.eval()
    found = list(task.per_image(model, batches))
    rows, boxes = [], []
    for row in found:
        sure = len(row.predicted.above(0.5))
        figures = {"true": len(row.true), "predicted": sure, "loss": row.loss, "precision": row.precision}
        rows.append({"index": row.index, "key": validation.keys[row.index], **figures})
        boxes += [*_rows(row.index, "true", row.true), *_rows(row.index, "predicted", row.predicted.above(_LEAST))]
    rows.sort(key=lambda row: row["index"])
    folder.mkdir(exist_ok=True)
    write_table(folder / "validation.parquet", pa.Table.from_pylist(rows, pa.schema(list(_IMAGES.items()))))
    write_table(folder / "boxes.parquet", pa.Table.from_pylist(boxes, pa.schema(list(_BOXES.items()))))
    coco = importlib.util.find_spec("faster_coco_eval") is not None
    kitti = by_difficulty(found, validation)
    return replace(task, coco=coco).figures(found) | ({} if kitti is None else {"kitti": kitti})


def by_difficulty(found: Sequence[Detected], validation: BoxedImages) -> dict[str, Any] | None:
    """KITTI's average precision: by its own rules if all classes are of its types, else by occlusion alone.

    Boxes are judged in pixels of the images as they are, whatever size the model sees them at.

    Returns:
        "rules", and of each class its `KittiPrecision`; None if no level of occlusion (0 to 3) is known.
    """
    levels = validation.columns.get("occlusion", ())
    rows = [int(validation.rows[each.index]) for each in found]
    known = np.concatenate([np.zeros(0), *(levels[row] for row in rows)]) if levels else np.zeros(0)
    if np.isnan(known).all() or not np.isin(known[~np.isnan(known)], _LEVELS).all():  # others may mean a share by it
        return None
    names = validation.class_names
    own = set(names) <= set(TYPES) and bool(KittiRules().judged(names))
    rules = KittiRules() if own else KittiRules.by_occlusion()
    columns = ("occlusion", "truncation") if own else ("occlusion",)
    truth = [_truth(validation, each.index, columns) for each in found]
    seen = [_in_image(validation, each) for each in found]
    about = {"name": "kitti" if own else "occlusion"} | asdict(rules)
    return {"rules": about, "classes": kitti_precision(seen, truth, names, rules)}


def _truth(validation: BoxedImages, index: int, columns: Sequence[str]) -> KittiTruth:
    row = int(validation.rows[index])
    boxes, labels = map(torch.from_numpy, validation.boxes_of(index))
    known = {name: torch.from_numpy(validation.columns[name][row]) for name in columns if name in validation.columns}
    ignored = torch.from_numpy(validation.ignored[row]) if validation.ignored else None
    return KittiTruth(boxes, labels, ignored=ignored, **known)


def _in_image(validation: BoxedImages, found: Detected) -> Detections:
    """What was found, in pixels of the image as it is."""
    if validation.size is None:
        return found.predicted
    width, height = validation.sizes[validation.rows[found.index]].tolist()
    return found.predicted.scaled(width / validation.size[0], height / validation.size[1])


def _rows(index: int, who: str, found: Detections) -> list[dict[str, int | float | str]]:
    columns = (found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    return [
        {"index": index, "who": who, **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))}
        | {"score": score, "label": label}
        for box, score, label in zip(*columns, strict=True)
    ]
