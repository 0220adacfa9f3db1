"""What a counter sees of an image: a part of it, mirrored, in another light; pure functions of image and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from tamis.data.density import Density, density_map, mirrored
from tamis.data.density_cache import DensityCache

_GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601, rounded as torchvision's rgb_to_grayscale


class View(NamedTuple):
    """A part of an image and what is done to it.

    Attributes:
        box: left, top, right, bottom in pixels, inside the image, which is mirrored before.
        mirror: left becomes right.
        brightness: factor, at least 0; 1 = as it is.
        contrast: likewise.
    """

    box: tuple[int, int, int, int]
    mirror: bool = False
    brightness: float = 1.0
    contrast: float = 1.0


@dataclass(frozen=True)
class CountViews:
    """What training does to an image with points, and to its density map alike; evaluation takes the image as it is.

    Attributes:
        patch: side in pixels of a square that is cut out at a random place; 0 = the whole image.
        flip: mirror every second image.
        brightness: the factor is uniform in [1 - brightness, 1 + brightness]; in [0, 1].
        contrast: likewise.

    Raises:
        ValueError: a number outside its range.
    """

    patch: int = 0
    flip: bool = True
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        if self.patch < 0:
            raise ValueError(f"patch must be at least 1 pixel, or 0 for the whole image, got {self.patch!r}")
        for name, value in (("brightness", self.brightness), ("contrast", self.contrast)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value!r}")

    @property
    def draws(self) -> int:
        """How many uniform numbers an image needs: row, column, mirror, brightness, contrast."""
        return 5

    def view(self, width: int, height: int, uniform: Sequence[float]) -> View:
        """The view of an image of this size, from `draws` numbers in [0, 1); one side of it may be below `patch`."""
        row, column, mirror, brightness, contrast = uniform
        across, down = min(self.patch or width, width), min(self.patch or height, height)
        left, top = int(column * (width - across + 1)), int(row * (height - down + 1))
        return View(
            (left, top, left + across, top + down),
            self.flip and mirror < 0.5,
            1 + self.brightness * (2 * brightness - 1),
            1 + self.contrast * (2 * contrast - 1),
        )


def cut(pixels: np.ndarray, view: View) -> np.ndarray:
    """The view's part of an image, (H, W, ...) -> (h, w, ...)."""
    left, top, right, bottom = view.box
    return (pixels[:, ::-1] if view.mirror else pixels)[top:bottom, left:right]


def lit(image: Tensor, view: View) -> Tensor:
    """An image float32 (3, h, w) of values in [0, 255] in the view's light, first brightness, then contrast.

    Both are torchvision's `adjust_brightness` and `adjust_contrast`: a blend with black, and with the mean grey of
    the view.
    """
    if view.brightness != 1:
        image = (image * view.brightness).clamp_(0, 255)
    if view.contrast != 1:
        # By NumPy: torch adds up in another order, and so to another last bit, where it has more threads.
        means = image.numpy().mean((1, 2), dtype=np.float64)
        image = (image * view.contrast).add_((1 - view.contrast) * float(means @ _GREY)).clamp_(0, 255)
    return image


def seen_density(
    points: np.ndarray,
    width: int,
    height: int,
    view: View,
    settings: Density,
    stride: int,
    cache: DensityCache | None = None,
) -> Tensor:
    """The view's part of the map of the whole image, float32, in cells that begin at the view's corner.

    Args:
        points: (k, 2), x and y in pixels, of the image as it is.
        width: of the image in pixels.
        height: of the image in pixels.
        view: what is seen of it.
        settings: how a point becomes mass.
        stride: side of a cell in pixels; the last ones may be partial.
        cache: keeps the maps of views of the whole image.

    Returns:
        (ceil(h / stride), ceil(w / stride)) for a view of w x h pixels.
    """
    if view.mirror:
        points = mirrored(points, width)
    if cache is not None and view.box == (0, 0, width, height):
        return cache(points, width, height, settings, stride)
    return density_map(points, width, height, settings, stride, view.box)
