"""What a detector finds on an image, and what a detector is."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes of one image.

    Attributes:
        boxes: float32 (k, 4): x1, y1, x2, y2 in pixels from the upper left corner.
        scores: float32 (k,), the confidence in [0, 1]; 1 where a human drew the box.
        labels: int64 (k,), positions in the list of classes.

    Raises:
        ValueError: shapes that do not fit.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,) or self.labels.shape != (count,):
            raise ValueError(
                f"detections must be boxes (k, 4), scores (k,) and labels (k,), got {tuple(self.boxes.shape)}, "
                f"{tuple(self.scores.shape)} and {tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Tensor) -> "Detections":
        """Those that a mask (k,) or an index tensor chooses."""
        return Detections(self.boxes[rows], self.scores[rows], self.labels[rows])

    def above(self, confidence: float) -> "Detections":
        """Those of at least this confidence."""
        return self[self.scores >= confidence]

    def scaled(self, x: float, y: float) -> "Detections":
        """The same boxes on an image that is `x` times as wide and `y` times as high."""
        return Detections(self.boxes * self.boxes.new_tensor((x, y, x, y)), self.scores, self.labels)

    def to(self, device: torch.device | str) -> "Detections":
        """Copy to a device."""
        return Detections(self.boxes.to(device), self.scores.to(device), self.labels.to(device))

    @staticmethod
    def none() -> "Detections":
        """An image without boxes."""
        return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


class ImageLosses(NamedTuple):
    """The losses of a batch of images and what of them is due to each box, with gradients.

    Attributes:
        image: float32 (b,), the loss of each image.
        box: float32 (b, k), the part that is due to the anchors (cells, proposals) matched to each row of the targets;
            0 for padding. What is left, `image - box.sum(1)`, is the background's.
    """

    image: Tensor
    box: Tensor


class Detector(Protocol):
    """Finds boxes on images; any callable with a list of classes will do."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """What `Detections.labels` are positions in."""
        ...

    def __call__(self, images: Tensor) -> list[Detections]:
        """The boxes of each image, the most confident first, on the CPU.

        Args:
            images: uint8 (b, 3, h, w), RGB.

        Returns:
            b detections, in pixels of these images.
        """
        ...
