"""optResolution: the smallest size of the images at which a detector is about as sure as at full size."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tamis.detections import Detections, Detector
from tamis.scores import mean_average_precision

Images = Callable[[], Iterable[Tensor]]
Score = Callable[[Sequence[Detections]], Tensor]


@dataclass(frozen=True)
class Size:
    """The images at one scale.

    Attributes:
        scale: factor^n of the full size.
        width, height: of the first image, in pixels; the others are scaled by the same factor.
        error: how far the scores are from those at full size.
        seconds: the detector's, per image.
        flops: per image; None if unknown.
        map50: against the truth, in [0, 1]; None without one.
    """

    scale: float
    width: int
    height: int
    error: float
    seconds: float
    flops: int | None
    map50: float | None


@dataclass(frozen=True)
class Resolution:
    """What optResolution found.

    Attributes:
        sizes: those that were looked at, from full size down.
        chosen: position of the smallest one before the error exceeds the threshold.
        threshold: greatest error that is accepted.
        relative: whether errors are shares of the mean square of the scores at full size.
        images: how many were looked at.
    """

    sizes: tuple[Size, ...]
    chosen: int
    threshold: float
    relative: bool
    images: int

    @property
    def size(self) -> Size:
        """The chosen one."""
        return self.sizes[self.chosen]

    def as_dict(self) -> dict[str, Any]:
        """As JSON keeps it: a list of each figure, from full size down, and the choice; None for what is not finite."""
        columns = {name: [_known(getattr(size, figure)) for size in self.sizes] for name, figure in _FIGURES.items()}
        chosen = {"chosen": self.chosen, "threshold": self.threshold, "relative": self.relative, "images": self.images}
        return columns | chosen


_FIGURES = {
    "scales": "scale",
    "widths": "width",
    "heights": "height",
    "errors": "error",
    "seconds": "seconds",
    "flops": "flops",
    "map50": "map50",
}


def opt_resolution(
    images: Images,
    detector: Detector,
    score: Score,
    *,
    threshold: float = 0.02,
    factor: float = 0.9,
    max_n: int = 10,
    reduction: Literal["mean", "sum"] = "mean",
    relative: bool = True,
    min_side: int = 64,
    all_sizes: bool = False,
    flops: Callable[[int, int], int | None] | None = None,
    truth: Sequence[Detections] | None = None,
) -> Resolution:
    """Shrink the images until the detector's scores change too much (Dataset Culling, section 2.2).

    The error at scale factor^n is the mean over the images of (score at that scale - score at full size)². The first
    scale whose error exceeds the threshold ends the search, and the one before it is chosen. Sizes are rounded to the
    nearest pixel, each made from the full size, and boxes are scaled back before they are scored.

    Args:
        images: gives the same images on every call, batches uint8 (b, 3, h, w).
        detector: looks at them.
        score: scores of detections in pixels of the full size, (n,); a `ConfidenceLoss`.
        threshold: greatest error that is accepted, at least 0. The default suits relative errors: on two real cameras
            with two small detectors it cost 0.1 to 1.6 points of mAP; 0.05 cost 1.5 to 5.6.
        factor: between a scale and the next, in (0, 1).
        max_n: most steps, at least 1.
        reduction: "sum" = the error is the sum over the images, as the paper prints it.
        relative: the error is divided by the mean (or sum) of the squared scores at full size, so that a threshold
            means much the same on an empty road and in a crowd. False = as in the paper.
        min_side: no size whose smaller side has fewer pixels is looked at.
        all_sizes: look at all sizes, for a plot; the choice stays the same.
        flops: operations per image of (height, width).
        truth: true boxes of the images in their order, for `map50`.

    Raises:
        ValueError: no image at all, or a setting out of range.
    """
    _check(threshold, factor, max_n, reduction)
    sizes: list[Size] = []
    full, chosen, decided = torch.zeros(0), 0, False
    for step in range(max_n + 1):
        scale = factor**step
        seen = _look(images, detector, scale, min_side if step else 1)
        if seen is None:
            break
        scores = score(seen.detections).double().cpu()
        full = scores if step == 0 else full
        error = _error(scores, full, reduction, relative)
        height, width = seen.first
        sizes.append(
            Size(
                scale=scale,
                width=width,
                height=height,
                error=error,
                seconds=seen.seconds / len(seen.detections),
                flops=None if flops is None else flops(height, width),
                map50=None if truth is None else _map50(seen.detections, truth, detector),
            )
        )
        decided = decided or not error <= threshold  # an error that is not a number exceeds it
        chosen = chosen if decided else step
        if decided and not all_sizes:
            break
    return Resolution(tuple(sizes), chosen, threshold, relative, len(full))


@dataclass
class _Seen:
    detections: list[Detections]
    seconds: float
    first: tuple[int, int]


def _check(threshold: float, factor: float, max_n: int, reduction: str) -> None:
    if not 0 <= threshold < math.inf:
        raise ValueError(
            f"threshold must be at least 0 and finite, got {threshold!r}; 0.02 is usual for relative errors"
        )
    if not 0 < factor < 1:
        raise ValueError(f"factor must be in (0, 1), got {factor!r}; the paper takes 0.9")
    if max_n < 1:
        raise ValueError(f"max_n must be at least 1, got {max_n!r}; 10 goes down to a third")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}; take 'mean'")


def _look(images: Images, detector: Detector, scale: float, min_side: int) -> _Seen | None:
    """What the detector sees at a scale, in pixels of the full size; None where an image would be too small."""
    seen = _Seen([], 0.0, (0, 0))
    for batch in images():
        if not len(batch):
            continue
        height, width = batch.shape[2:]
        size = _rounded(height * scale), _rounded(width * scale)
        if min(size) < min_side:
            return None
        seen.first = seen.first if seen.detections else size
        small = batch if scale == 1 else shrunk(batch, *size)
        started = time.perf_counter()
        found = detector(small)
        seen.seconds += time.perf_counter() - started
        seen.detections += [one.scaled(width / size[1], height / size[0]) for one in found]
    if not seen.detections:
        raise ValueError("images must hold at least one image, got none; give the images that were kept")
    return seen


def _rounded(side: float) -> int:
    return max(1, math.floor(side + 0.5))


def shrunk(images: Tensor, height: int, width: int) -> Tensor:
    """Images uint8 (b, 3, h, w) in another size: bilinear over the area that a pixel covers (antialiased)."""
    resized = F.interpolate(images.float(), (height, width), mode="bilinear", antialias=True, align_corners=False)
    return resized.round().clamp(0, 255).byte()


def _error(scores: Tensor, full: Tensor, reduction: str, relative: bool) -> float:
    """Squared differences, (n,) and (n,) -> a number; where all scores at full size are 0, any change is infinite."""
    if scores.shape != full.shape:
        raise ValueError(f"images must be the same at every scale, got {len(full)} and {len(scores)}; open them anew")
    reduced = torch.sum if reduction == "sum" else torch.mean
    error = reduced((scores - full).square()).item()
    if not relative:
        return error
    scale = reduced(full.square()).item()
    return error / scale if scale else math.inf if error else 0.0


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _map50(found: Sequence[Detections], truth: Sequence[Detections], detector: Detector) -> float | None:
    return _known(mean_average_precision(found, truth, len(detector.class_names))["map50"])
