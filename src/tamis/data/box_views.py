"""What a detector sees of an image in training: a part of it, mirrored, in another light; its boxes go with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tamis.data.count_views import View, cut

_MOST = 0.9
"""At the most zoom a tenth of the image's sides is seen."""


@dataclass(frozen=True)
class BoxViews:
    """What training does to an image and its boxes; evaluation takes the image as it is.

    Attributes:
        flip: mirror every second image.
        zoom: the part that is seen has sides of uniform [1 - zoom, 1] times the image's, at a random place, and is
            scaled to the image's size; in [0, 0.9].
        brightness: the factor is uniform in [1 - brightness, 1 + brightness]; in [0, 1].
        contrast: likewise.

    Raises:
        ValueError: a number outside its range.
    """

    flip: bool = True
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("zoom", _MOST), ("brightness", 1), ("contrast", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in [0, {most}], got {getattr(self, name)!r}")

    @property
    def draws(self) -> int:
        """How many uniform numbers an image needs: zoom, row, column, mirror, brightness, contrast."""
        return 6

    def view(self, width: int, height: int, uniform: Sequence[float]) -> View:
        """The view of an image of this size, from `draws` numbers in [0, 1)."""
        zoom, row, column, mirror, brightness, contrast = uniform
        across, down = (max(1, round(side * (1 - self.zoom * zoom))) for side in (width, height))
        left, top = int(column * (width - across + 1)), int(row * (height - down + 1))
        return View(
            (left, top, left + across, top + down),
            self.flip and mirror < 0.5,
            1 + self.brightness * (2 * brightness - 1),
            1 + self.contrast * (2 * contrast - 1),
        )


def scaled_pixels(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image uint8 (h, w, 3) at another size, by PIL's bilinear filter, which smooths before it shrinks."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.Resampling.BILINEAR))


def seen_pixels(pixels: np.ndarray, view: View) -> np.ndarray:
    """The view of an image uint8 (h, w, 3), at the image's size."""
    return scaled_pixels(cut(pixels, view), pixels.shape[1], pixels.shape[0])


def scaled_boxes(boxes: np.ndarray, x: float, y: float) -> np.ndarray:
    """The boxes (k, 4) on an image that is `x` times as wide and `y` times as high, float32."""
    return (boxes.astype(np.float64) * (x, y, x, y)).astype(np.float32)


def seen_boxes(
    boxes: np.ndarray, classes: np.ndarray, width: int, height: int, view: View
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of an image in its view, clipped to it.

    The j-th row stays the j-th box: one whose centre is not seen, or that has no area left, becomes zeros with the
    class -1.

    Args:
        boxes: float32 (k, 4), x1, y1, x2, y2 in pixels of the image as it is.
        classes: int64 (k,).
        width: of the image in pixels.
        height: of the image in pixels.
        view: what is seen of it, scaled to its size.

    Returns:
        float32 (k, 4) and int64 (k,).
    """
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    if view.mirror:
        x1, x2 = width - x2, width - x1
    left, top, right, bottom = view.box
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    seen = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
    moved = np.stack([x1 - left, y1 - top, x2 - left, y2 - top], 1) * np.tile(
        (width / (right - left), height / (bottom - top)), 2
    )
    found = np.clip(moved, 0, (width, height, width, height)).astype(np.float32)
    seen &= (found[:, 2:] > found[:, :2]).all(1)
    return np.where(seen[:, None], found, np.float32(0)), np.where(seen, classes, -1)
