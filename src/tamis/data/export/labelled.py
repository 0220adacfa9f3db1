"""One image with its boxes, as it is given, and as the formats write it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tamis.detections import Detections

GRID = 1000
"""Corners are written to 1 / GRID of a pixel, the same in every format."""


@dataclass(frozen=True, eq=False)
class Exported:
    """An image that is to be written.

    Attributes:
        name: of its file, as `safe_name` makes it.
        image: the bytes of the image file (JPEG, PNG, ...), or the file to copy.
        width, height: of the upright image, in pixels.
        detections: its boxes; those to be left out are gone already (`Detections.above`).
        score: how hard the image is, for FiftyOne and COCO; None = not scored.
        key: where it comes from (the key of a frame), for FiftyOne and COCO.
        tags: for FiftyOne.
        split: COCO, YOLO, VOC and KITTI list the two apart, FiftyOne has it as a tag.
    """

    name: str
    image: bytes | Path
    width: int
    height: int
    detections: Detections
    score: float | None = None
    key: str = ""
    tags: tuple[str, ...] = ()
    split: Literal["train", "validation"] = "train"


@dataclass(frozen=True, eq=False)
class Labelled:
    """What the formats write of an image: boxes within it that have an area.

    Attributes:
        name, width, height, key, tags, split: as `Exported`.
        stem: the name without suffix.
        score: rounded to six digits, or None.
        corners: k boxes x1, y1, x2, y2, whole numbers of 1 / `GRID` pixel.
        scores: k confidences, rounded to six digits.
        labels: k positions in the list of classes.
    """

    name: str
    width: int
    height: int
    key: str
    tags: tuple[str, ...]
    split: str
    score: float | None
    corners: list[list[int]]
    scores: list[float]
    labels: list[int]

    @property
    def stem(self) -> str:
        """The name without suffix."""
        return self.name.rpartition(".")[0]

    @property
    def shares(self) -> list[list[float]]:
        """The boxes (k, 4): x, y, width, height as shares of the image, x and y of the upper left corner."""
        size = GRID * self.width, GRID * self.height
        return [
            [x1 / size[0], y1 / size[1], (x2 - x1) / size[0], (y2 - y1) / size[1]] for x1, y1, x2, y2 in self.corners
        ]


@dataclass(frozen=True)
class About:
    """What the formats say of the whole set.

    Attributes:
        class_names: names of the classes, as `plain_class_names` makes them.
        predicted: whether a detector drew the boxes, not a human.
        description: one line: whose boxes, above which confidence.
    """

    class_names: Sequence[str]
    predicted: bool
    description: str


def labelled(given: Exported, classes: int) -> Labelled:
    """Clip boxes to the image and put their corners on the grid; boxes that are then empty, or NaN, are dropped.

    Raises:
        ValueError: an image without a size, a label that is no class, a score that is not finite.
    """
    where = f"in {given.name!r}"
    if given.width < 1 or given.height < 1:
        raise ValueError(f"width and height must be at least 1, got {given.width} x {given.height} {where}")
    if given.score is not None and not np.isfinite(given.score):
        raise ValueError(f"score must be finite or None, got {given.score!r} {where}")
    labels = given.detections.labels.numpy()
    wrong = [label for label in labels.tolist() if not 0 <= label < classes]
    if wrong:
        raise ValueError(f"labels must be from 0 to {classes - 1}, got {wrong[0]} {where}; give all class names")
    boxes = given.detections.boxes.numpy().astype(np.float64)
    finite = np.isfinite(boxes).all(axis=1, keepdims=True)
    size = np.tile((given.width, given.height), 2)
    grid = np.rint(np.clip(np.where(finite, boxes, 0), 0, size) * GRID).astype(np.int64)
    kept = np.flatnonzero(np.all(grid[:, 2:] > grid[:, :2], axis=1))
    scores = given.detections.scores.numpy().astype(np.float64)[kept]
    return Labelled(
        given.name, given.width, given.height, given.key, given.tags, given.split,
        None if given.score is None else round(given.score, 6),
        grid[kept].tolist(), scores.round(6).tolist(), labels[kept].tolist(),
    )  # fmt: skip


def pixels(corner: int) -> str:
    """A number of the grid in pixels, with three digits."""
    return f"{corner // GRID}.{corner % GRID:03d}"


def stem_lists(folder: str, images: Sequence[Labelled]) -> Iterator[tuple[str, str]]:
    """train.txt with the stems of the images, a line each, and val.txt if some are held back for validation."""
    for name, split in (("train", "train"), ("val", "validation")):
        stems = [image.stem for image in images if image.split == split]
        if stems or split == "train":
            yield f"{folder}/{name}.txt", "".join(f"{stem}\n" for stem in stems)
