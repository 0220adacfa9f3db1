"""Fig. 3 of Saxena et al.: images over the training, their boxes the thicker the more the model trusts them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tamis.report.box_history import moments
from tamis.report.box_reading import CORNERS, TrainedBoxes, box_table, pixels, positive, read_rows
from tamis.report.boxed_pictures import path_of
from tamis.report.tables import number
from tamis.report.thumbnails import Thumbnails, opened

IMAGES = 4
SIDE = 300  # pixels of a picture
_TRIED = 4  # images of each quarter of the data, until one can be read
_DRAWN = 40  # boxes of an image, the largest
_MANY = 12  # boxes of an image: more do not make it a better example
_WIDEST, _TALLEST = 1.7, 0.8  # width : height of what is shown
_THIN, _THICK = 1.0, 4.0  # CSS pixels
_LEAST = 1.5  # 1/1.5 to 1.5 at least goes from thick to thin: where sigma hardly moved, thickness hardly differs


class Scale(NamedTuple):
    """Thickness by sigma: from `low` (thick) to `high` (thin), in even steps of log sigma."""

    low: float
    high: float

    def thickness(self, sigma: float) -> float:
        """CSS pixels; the thinnest where sigma is not known."""
        if not np.isfinite(sigma):
            return _THIN
        trust = np.log(self.high / np.clip(sigma, self.low, self.high)) / np.log(self.high / self.low)
        return round(float(_THIN + (_THICK - _THIN) * trust), 2)

    @property
    def legend(self) -> list[dict[str, Any]]:
        """The thickness of a few sigmas, from low to high."""
        steps = np.geomspace(self.low, self.high, 5).tolist()
        return [{"sigma": number(sigma, 2), "width": self.thickness(sigma)} for sigma in steps]


def scale_of(sigma: np.ndarray) -> Scale:
    """The scale that suits these values, of any shape; what is not finite is left out."""
    known = sigma[np.isfinite(sigma)]
    low, high = np.percentile(known, [2, 98]) if len(known) else (1.0, 1.0)
    return Scale(min(float(low), 1 / _LEAST), max(float(high), _LEAST))


def strip(
    run: Path, files: dict[int, Path], boxes: TrainedBoxes, chosen: dict[int, Image.Image], names: Sequence[str]
) -> dict[str, Any]:
    """What the pictures' boxes looked like over the training: epochs, lines of each image and epoch, and the scale.

    Args:
        run: the run folder.
        files: of the epochs, those that can be read.
        boxes: the boxes of the run.
        chosen: pictures by position in the training data; see `examples`.
        names: of the classes, by number.

    Raises:
        OSError, KeyError, ValueError, TypeError, ArrowException: the files are not what a run writes.
    """
    epochs = moments(list(files))
    here = np.flatnonzero(np.isin(boxes.image, list(chosen)))
    table = read_rows(box_table(run), boxes.rows[here], CORNERS)
    corners = np.column_stack([pixels(table[name]) for name in CORNERS])
    sigma = np.stack([positive(read_rows(files[epoch], boxes.rows[here], ["sigma"])["sigma"]) for epoch in epochs])
    wrong = ~boxes.right[here]
    scale, rows = scale_of(sigma[:, ~wrong]), []
    for image, picture in chosen.items():
        own = np.flatnonzero(boxes.image[here] == image)
        own = own[np.argsort(-_areas(corners[own]), kind="stable")[:_DRAWN]]
        left, top, right, bottom = window = best_window(picture.size, corners[own])
        paths = [path_of([box]) for box in corners[own] - [left, top, left, top]]
        texts = [names[int(label)] for label in boxes.label[here][own]]
        rows.append(
            {
                "picture": picture.crop(window),
                "width": right - left,
                "height": bottom - top,
                "moments": [_lines(paths, texts, values[own], wrong[own], scale) for values in sigma],
            }
        )
    return {"epochs": [epoch + 1 for epoch in epochs], "rows": rows, "legend": scale.legend}


def _lines(
    paths: Sequence[str], texts: Sequence[str], sigma: np.ndarray, wrong: np.ndarray, scale: Scale
) -> list[dict[str, Any]]:
    """What is drawn of each box in one epoch."""
    return [
        {"d": path, "text": f"{text}, sigma {number(value)}", "width": scale.thickness(value), "wrong": bad}
        for path, text, value, bad in zip(paths, texts, sigma.tolist(), wrong.tolist(), strict=True)
    ]


def examples(boxes: TrainedBoxes, sigma: np.ndarray, thumbnails: Thumbnails) -> dict[int, Image.Image]:
    """At most four images whose boxes differ most in sigma, each from another quarter of the data."""
    chosen = {}
    for quarter in candidates(boxes, sigma):
        for image in quarter[:_TRIED]:
            if picture := opened(image, thumbnails):
                chosen[image] = picture
                break
    return chosen


def candidates(boxes: TrainedBoxes, sigma: np.ndarray) -> list[list[int]]:
    """The images of each quarter of those with two boxes or more, the best examples first.

    By the standard deviation of log sigma times the root of the number of boxes: both make the picture tell something.
    """
    log = np.log(np.where(np.isfinite(sigma), sigma, 1.0))
    count = np.bincount(boxes.image)
    mean, square = (np.bincount(boxes.image, weights=power) / np.maximum(1, count) for power in (log, log**2))
    value = np.sqrt(np.maximum(0, square - mean**2) * np.minimum(count, _MANY))
    several = np.flatnonzero(count >= 2)
    parts = np.array_split(several, IMAGES)
    return [part[np.argsort(-value[part], kind="stable")].tolist() for part in parts]


def best_window(size: tuple[int, int], corners: np.ndarray) -> tuple[int, int, int, int]:
    """The part of an image (left, top, right, bottom) that is shown: as much as has a handy shape.

    Of a wide image, such as KITTI's, it is where most of the boxes are.
    """
    width, height = min(size[0], round(_WIDEST * size[1])), min(size[1], round(size[0] / _TALLEST))
    left, top = (
        _busiest(side, length, (corners[:, axis] + corners[:, axis + 2]) / 2)
        for axis, (side, length) in enumerate(zip(size, (width, height), strict=True))
    )
    return left, top, left + width, top + height


def _busiest(side: int, length: int, centres: np.ndarray) -> int:
    """Where a stretch of this length starts that has the most centres; the middle one of equals."""
    centres, starts = np.sort(centres[np.isfinite(centres)]), np.arange(side - length + 1)
    inside = np.searchsorted(centres, starts + length) - np.searchsorted(centres, starts)
    best = np.flatnonzero(inside == inside.max())
    return int(best[len(best) // 2])


def _areas(corners: np.ndarray) -> np.ndarray:
    return np.nan_to_num((corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]))
