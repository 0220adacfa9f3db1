"""Density maps: from dots on heads (or cells, cars, fruit) to maps whose sum is their number.

A dot (x, y) is column and row in pixels from the upper left corner of the image, as in `Annotations`: pixel (i, j)
covers [i, i + 1) x [j, j + 1), and its centre is (i + 0.5, j + 0.5). So an integer part names the pixel of a dot, the
image ends at its width and height, and resizing only multiplies.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

TOLERANCE = 0.05
"""Pixels that a dot may lie beyond the image, as in `tamis check`: shares of six digits are not more exact."""

_EDGE = 1e-6  # pixels; rounding must not decide about a dot, or a pixel in reach of one, that is just on the edge
_TILE = 192  # cells along a side of what is made at once, of the dots that reach it
_BLOCK = 128  # heads whose neighbours are looked for at once


@dataclass(frozen=True)
class Density:
    """How a dot becomes mass: a Gaussian, sampled at pixel centres and cut to a square (Eq. 1 of the CLIP paper).

    Args:
        sigma: of the Gaussian, in pixels, at least 0.1; or "adaptive": beta times the mean distance to the nearest
            heads (Zhang et al. 2016, section 2.2), so that it follows the size of the heads.
        neighbours: how many nearest heads "adaptive" looks at; where there are fewer, all.
        beta: the factor of "adaptive".
        limits: smallest and largest sigma of "adaptive", in pixels. Heads on one spot get the smallest, a head that
            is alone the largest.
        truncate: half the side of the square, in sigmas (at least one pixel).
        border: "renormalise" gives every dot the mass 1 inside the image; "zero" loses what falls outside.

    Raises:
        ValueError: a setting is outside its range.
    """

    sigma: float | Literal["adaptive"] = 4.0
    neighbours: int = 3
    beta: float = 0.3
    limits: tuple[float, float] = (1.0, 32.0)
    truncate: float = 4.0
    border: Literal["renormalise", "zero"] = "renormalise"

    def __post_init__(self) -> None:
        if self.sigma != "adaptive" and (isinstance(self.sigma, str) or not 0.1 <= self.sigma < math.inf):
            raise ValueError(f"sigma must be at least 0.1 pixels or 'adaptive', got {self.sigma!r}")
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours!r}")
        if not 0 < self.beta < math.inf:
            raise ValueError(f"beta must be above 0, got {self.beta!r}")
        if not 0.1 <= self.limits[0] <= self.limits[1] < math.inf:
            raise ValueError(f"limits must be two sigmas from 0.1 pixels, the smaller one first, got {self.limits!r}")
        if not 1 <= self.truncate < math.inf:
            raise ValueError(f"truncate must be at least 1, got {self.truncate!r}")
        if self.border not in ("renormalise", "zero"):
            raise ValueError(f"border must be 'renormalise' or 'zero', got {self.border!r}")


class _Mass(NamedTuple):
    """Mass of dots along one axis of the map: cells `first` (n,) onwards, `share` float32 (n, cells)."""

    first: Tensor
    share: Tensor

    def touches(self, start: int, count: int) -> Tensor:
        """Which dots have mass in `count` cells from `start`, bool (n,); a few too many."""
        return (self.first < start + count) & (self.first + self.share.shape[1] > start)

    def dense(self, index: Tensor, start: int, count: int) -> Tensor:
        """`count` cells from `start` of some dots that touch them, (len(index), count)."""
        cells = self.share.shape[1]
        line = torch.zeros(len(index), count + 2 * cells)
        place = (self.first[index] - start + cells)[:, None] + torch.arange(cells)
        return line.scatter_(1, place, self.share[index])[:, cells : cells + count]


class _Axis(NamedTuple):
    """Pixels of the image along an axis, the part of them that is wanted, and how."""

    length: int
    start: int
    stop: int
    stride: int
    renormalise: bool


def inside(points: ArrayLike, width: int, height: int) -> np.ndarray:
    """Which dots are in the image, bool (k,): finite, and no more than `TOLERANCE` beyond an edge."""
    dots, beyond = _dots(points), TOLERANCE + _EDGE
    return np.all((dots >= -beyond) & (dots <= np.array([width, height]) + beyond), axis=1)


def mirrored(points: ArrayLike, width: int) -> np.ndarray:
    """The dots of the image flipped from left to right, float64 (k, 2)."""
    return _dots(points) * (-1, 1) + (width, 0)


def density_map(
    points: ArrayLike,
    width: int,
    height: int,
    settings: Density,
    stride: int = 1,
    region: tuple[int, int, int, int] | None = None,
) -> Tensor:
    """The map of the dots in an image, Eq. 1; dots on one spot add, dots outside the image are left out.

    Args:
        points: (k, 2), x and y in pixels.
        width: of the image, in pixels.
        height: of the image, in pixels.
        settings: how a dot becomes mass.
        stride: side of a cell, in pixels. A cell is the *sum* of its pixels; the last ones may be partial.
        region: left, top, right, bottom in pixels: only this part of the map of the whole image, with the mass that
            dots beside it have in it. Cells begin at its upper left corner.

    Returns:
        float32 (ceil(height / stride), ceil(width / stride)), or that of the region. With border "renormalise" the
        whole map sums to the number of dots in the image.

    Raises:
        ValueError: points are not (k, 2), a size or the stride is below 1, or the region is not inside the image.
    """
    left, top, right, bottom = _region(width, height, stride, region)
    dots = torch.from_numpy(_dots(points)[inside(points, width, height)])
    sigma = _sigmas(dots, settings)
    reach = (settings.truncate * sigma).clamp(min=1) + _EDGE
    near = (dots + reach[:, None] > torch.tensor([left, top])) & (dots - reach[:, None] < torch.tensor([right, bottom]))
    dots, sigma, reach = dots[near.all(1)], sigma[near.all(1)], reach[near.all(1)]
    renormalise = settings.border == "renormalise"
    columns = _mass(dots[:, 0], sigma, reach, _Axis(width, left, right, stride, renormalise))
    rows = _mass(dots[:, 1], sigma, reach, _Axis(height, top, bottom, stride, renormalise))
    density = torch.zeros(-(-(bottom - top) // stride), -(-(right - left) // stride))
    for y, x in product(*(range(0, side, _TILE) for side in density.shape)):
        tile = density[y : y + _TILE, x : x + _TILE]
        index = (rows.touches(y, len(tile)) & columns.touches(x, tile.shape[1])).nonzero()[:, 0]
        torch.mm(rows.dense(index, y, len(tile)).T, columns.dense(index, x, tile.shape[1]), out=tile)
    return density


def _dots(points: ArrayLike) -> np.ndarray:
    dots = np.asarray(points, np.float64)
    if dots.size == 0:
        return dots.reshape(0, 2)
    if dots.ndim != 2 or dots.shape[1] != 2:
        raise ValueError(f"points must be (k, 2), x and y, got {dots.shape}")
    return dots


def _region(width: int, height: int, stride: int, region: tuple[int, int, int, int] | None) -> tuple[int, ...]:
    if min(width, height, stride) < 1:
        raise ValueError(f"width, height and stride must be at least 1, got {width!r}, {height!r} and {stride!r}")
    left, top, right, bottom = region or (0, 0, width, height)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"region must be inside the image, {width} x {height}, and not empty, got {region!r}")
    return left, top, right, bottom


def _sigmas(dots: Tensor, settings: Density) -> Tensor:
    """Sigma of each dot, float64 (n,)."""
    if settings.sigma != "adaptive":
        return torch.full((len(dots),), float(settings.sigma), dtype=torch.float64)
    return (settings.beta * _spacing(dots, settings.neighbours)).clamp(*settings.limits)


def _spacing(dots: Tensor, neighbours: int) -> Tensor:
    """Mean distance of each dot to its nearest ones, float64 (n,); infinite for a single dot.

    Dots are sorted along the longer side and compared with those next in this order, with twice as many as long as
    one that was not compared could be nearer.
    """
    count, neighbours = len(dots), min(neighbours, len(dots) - 1)
    if neighbours < 1:
        return torch.full((count,), math.inf, dtype=torch.float64)
    extent = dots.amax(0) - dots.amin(0)
    order = dots[:, int(extent.argmax())].argsort(stable=True)
    dots, along = dots[order], dots[order, int(extent.argmax())]
    spacing = torch.empty(count, dtype=torch.float64)
    for start in range(0, count, _BLOCK):
        stop, more = min(start + _BLOCK, count), _BLOCK
        while True:
            low, high = max(0, start - more), min(count, stop + more)
            apart = torch.cdist(dots[start:stop], dots[low:high], compute_mode="donot_use_mm_for_euclid_dist")
            nearest = apart.topk(neighbours + 1, largest=False).values  # itself is one of them
            below = along[start:stop] - along[low - 1] if low else torch.tensor(math.inf)
            above = along[high] - along[start:stop] if high < count else torch.tensor(math.inf)
            if bool((nearest[:, -1] <= torch.minimum(below, above)).all()):
                break
            more *= 2
        spacing[order[start:stop]] = nearest[:, 1:].mean(1)
    return spacing


def _mass(position: Tensor, sigma: Tensor, reach: Tensor, axis: _Axis) -> _Mass:
    """Mass of dots along an axis: a Gaussian is the product of those of its axes, and so is what it loses."""
    if not len(position):
        return _Mass(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1))
    low, high = (position - 0.5 - reach).ceil(), (position - 0.5 + reach).floor()
    if axis.renormalise:
        low, high = low.clamp(min=0), high.clamp(max=axis.length - 1)
    first = ((low - axis.start) / axis.stride).floor()
    begin = axis.start + first * axis.stride
    pixels = int((high - begin).max()) + 1
    pixel = torch.arange(-(-pixels // axis.stride) * axis.stride, dtype=torch.float32)  # from `begin`

    def between(low: Tensor, high: Tensor) -> Tensor:
        return (pixel >= (low - begin)[:, None]) & (pixel <= (high - begin)[:, None])

    square = (pixel + (begin + 0.5 - position).float()[:, None]).square_()
    square.masked_fill_(~between(low, high), math.inf)
    # A pixel is never farther than 0.55 from a dot in the image: at the smallest sigma, 0.1, exp(-15) is its mass.
    share = square.mul_((-0.5 / sigma.square()).float()[:, None]).exp_()
    share /= share.sum(1, keepdim=True)
    share *= between(low.clamp(min=axis.start), high.clamp(max=axis.stop - 1))
    return _Mass(first.long(), share.unflatten(1, (-1, axis.stride)).sum(2))
