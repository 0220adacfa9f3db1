"""Holding detectors to what they promise: boxes that are not numbers are counted, never used."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tamis.detections import Detections, Detector


def detect(detector: Detector, images: Tensor, name: str) -> tuple[list[Detections], int]:
    """What a detector finds, without what cannot be: no numbers, confidences outside [0, 1], no area on the image.

    Boxes that reach over the edge are cut there.

    Args:
        detector: asked once, for all images.
        images: uint8 (b, 3, h, w).
        name: of the detector, for messages.

    Returns:
        b detections, and how many boxes were left out.

    Raises:
        ValueError: it gives another number of detections than there are images, or a label that is no class of it.
    """
    found = detector(images)
    if len(found) != len(images):
        raise ValueError(f"{name} must give one Detections an image, got {len(found)} for {len(images)}; correct it")
    counts = [len(each) for each in found]
    if not sum(counts):
        return list(found), 0
    boxes, scores, labels = (torch.cat([getattr(each, part) for each in found]) for part in _PARTS)
    _hold_to_classes(labels, detector.class_names, name)
    height, width = images.shape[-2:]
    inside = torch.minimum(boxes.clamp(min=0), boxes.new_tensor((width, height, width, height)))
    good = boxes.isfinite().all(1) & (scores >= 0) & (scores <= 1) & (inside[:, 2:] > inside[:, :2]).all(1)
    bad = len(good) - int(good.sum())
    if not bad and torch.equal(inside, boxes):
        return list(found), 0
    parts = zip(inside.split(counts), scores.split(counts), labels.split(counts), good.split(counts), strict=True)
    return [Detections(box, score, label)[rows] for box, score, label, rows in parts], bad


_PARTS = ("boxes", "scores", "labels")


def _hold_to_classes(labels: Tensor, class_names: Sequence[str], name: str) -> None:
    low, high = (int(value) for value in torch.aminmax(labels))
    if low < 0 or high >= len(class_names):
        raise ValueError(
            f"{name} must give labels of its {len(class_names)} classes {tuple(class_names)!r}, got "
            f"{low if low < 0 else high}; correct the list of classes"
        )
