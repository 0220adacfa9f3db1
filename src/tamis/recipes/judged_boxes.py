"""What a trained detector finds on the images that it is judged by, next to what is there."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import torch
from torch import nn

from tamis.data import BoxedImages
from tamis.detections import Detections
from tamis.fit import Settings, whole_plan
from tamis.history import write_table
from tamis.tasks.detection import Detection

_IMAGES = {"index": pa.int64(), "key": pa.string(), "true": pa.int64(), "predicted": pa.int64()}
_IMAGES |= {"loss": pa.float64(), "precision": pa.float64()}
_BOXES = {"index": pa.int64(), "who": pa.string(), **dict.fromkeys(("x1", "y1", "x2", "y2", "score"), pa.float32())}
_BOXES |= {"label": pa.int64()}
_LEAST = 0.05  # boxes of less confidence are not written down


@torch.inference_mode()
def write_boxes(
    folder: Path, model: nn.Module, task: Detection, validation: BoxedImages, settings: Settings
) -> dict[str, float]:
    """Detect what is on the validation images, and write it down.

    `validation.parquet`: index, key, true and predicted (how many boxes, of a confidence of at least 0.5), loss,
    precision (AP at IoU 0.5) of each image that could be read. `boxes.parquet`: index, who ("true" or "predicted"), x1,
    y1, x2, y2 in pixels of the model's inputs, score (at least 0.05), label.

    Returns:
        COCO's figures of the whole, where faster-coco-eval is installed; else those of `Detection.evaluate`.
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
    return replace(task, coco=coco).figures(found)


def _rows(index: int, who: str, found: Detections) -> list[dict[str, int | float | str]]:
    columns = (found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    return [
        {"index": index, "who": who, **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))}
        | {"score": score, "label": label}
        for box, score, label in zip(*columns, strict=True)
    ]
