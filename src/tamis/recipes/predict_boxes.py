"""`tamis predict` with a detector: the boxes on images, in a table and drawn over each."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from tamis.batch import Batch
from tamis.data import BoxedImages, Quarantine, UnreadableImage
from tamis.data.box_views import scaled_pixels
from tamis.data.decode import Files, decode
from tamis.detections import Detections
from tamis.fit.settings import device_of
from tamis.recipes.boxed import size_of
from tamis.recipes.command_config import PredictConfig
from tamis.recipes.config import TrainConfig
from tamis.report.detection_overlay import draw_boxes

BOX_COLUMNS = ("image", "label", "score", "x1", "y1", "x2", "y2")


def predict_boxes(
    config: PredictConfig,
    trained: TrainConfig,
    about: dict[str, Any],
    model: nn.Module,
    names: Sequence[str],
    quarantine: Quarantine,
) -> Iterator[tuple[str, Image.Image, Detections]]:
    """What a run's model finds on images, one by one.

    Args:
        config: least confidence, and the device that the model is on.
        trained: how the run resized its images.
        about: what the run's ledger says of its data: classes, mean and std.
        model: in the mode to predict in.
        names: paths of the images.
        quarantine: takes those that cannot be read.

    Yields:
        path, the image, and the boxes in its pixels, inside of it, the most confident first.
    """
    device = device_of(config.device)
    for name in names:
        try:
            image = decode(Path(name), name)
        except UnreadableImage as error:
            quarantine.record({name: error.reason})
            continue
        batch = _alone(image, name, trained, about).to(device)
        with torch.inference_mode():
            (found,) = model(batch.inputs)
        height, width = batch.inputs.shape[2:]
        found = found.to("cpu").above(config.min_confidence).scaled(image.width / width, image.height / height)
        sides = found.boxes.new_tensor((image.width, image.height, image.width, image.height))
        yield name, image, replace(found, boxes=found.boxes.clamp(min=0).minimum(sides))


def box_rows(name: str, found: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """A row of the table for each box; the columns are `BOX_COLUMNS`."""
    boxes = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [dict(zip(BOX_COLUMNS, (name, class_names[label], score, *box), strict=True)) for label, score, box in boxes]


def summary(found: Detections, class_names: Sequence[str]) -> str:
    """ "3 boxes: 2 car, 1 person"."""
    counts = Counter(found.labels.tolist())
    parts = ", ".join(f"{count} {class_names[label]}" for label, count in sorted(counts.items()))
    return f"{len(found)} box{'es' * (len(found) != 1)}" + (f": {parts}" if parts else "")


def picture(image: Image.Image, found: Detections, class_names: Sequence[str]) -> Image.Image:
    """The image with its boxes, their classes and confidences."""
    texts = [
        f"{class_names[label]} {score:.2f}"
        for label, score in zip(found.labels.tolist(), found.scores.tolist(), strict=True)
    ]
    return draw_boxes(image, found.boxes.numpy(), texts, found.labels.tolist())


def _alone(image: Image.Image, name: str, trained: TrainConfig, about: dict[str, Any]) -> Batch:
    """An image as a detector is judged on it, resized and normalised."""
    pixels, size = np.asarray(image), size_of(trained)
    source = BoxedImages(
        Files(Path(), [name]),
        [np.empty((0, 4), np.float32)],
        [np.empty(0, np.int64)],
        np.array([image.size], np.int64),
        torch.zeros(1, dtype=torch.int64),
        tuple(about["classes"]),
        [name],
        size=size,
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        kept={0: pixels if size is None else scaled_pixels(pixels, *size)},
    )
    return source.batch(torch.tensor([0]), epoch=0, seed=0, train=False)[0]
