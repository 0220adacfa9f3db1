"""Holding detectors to what they promise: boxes that are not numbers are counted, never used; a failure is named."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tamis.detections import Detections, Detector


class FailedDetector(ValueError):
    """A detector has raised an error, which is the cause of this one.

    Attributes:
        keys: the frames that it was looking at.
    """

    def __init__(self, message: str, keys: Sequence[str]) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


def detect(detector: Detector, images: Tensor, name: str, keys: Sequence[str] = ()) -> tuple[list[Detections], int]:
    """What a detector finds, without what cannot be: no numbers, confidences outside [0, 1], no area on the image.

    Boxes that reach over the edge are cut there.

    Args:
        detector: asked once, for all images.
        images: uint8 (b, 3, h, w).
        name: of the detector, for messages.
        keys: of the images, likewise.

    Returns:
        b detections, and how many boxes were left out.

    Raises:
        FailedDetector: it raises an error.
        ValueError: it gives another number of detections than there are images, or a label that is no class of it.
    """
    try:
        found = detector(images)
    except Exception as error:
        raise FailedDetector(_failure(error, name, len(images), keys), keys) from error
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


def _failure(error: Exception, name: str, count: int, keys: Sequence[str]) -> str:
    where = f" at {keys[0]!r}" + (f" to {keys[-1]!r}" if len(keys) > 1 else "") if keys else ""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    cure = "mend it, and the same command goes on with these frames"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        cure = f"take a smaller {'teacher_batch_size' if name == 'teacher' else 'batch_size'}, and another --out"
    return f"{name} must take a batch of {count} frames, got {reason}{where}; {cure}"


def _hold_to_classes(labels: Tensor, class_names: Sequence[str], name: str) -> None:
    low, high = (int(value) for value in torch.aminmax(labels))
    if low < 0 or high >= len(class_names):
        raise ValueError(
            f"{name} must give labels of its {len(class_names)} classes {tuple(class_names)!r}, got "
            f"{low if low < 0 else high}; correct the list of classes"
        )
