"""The training boxes that the model trusts least, cut out with what is around them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from tamis.report.box_history import MADE
from tamis.report.box_reading import CORNERS, box_table, highest, pixels, read_rows
from tamis.report.boxed_pictures import Encoder, path_of
from tamis.report.tables import DASH, number
from tamis.report.thumbnails import Thumbnails, opened

LOOKED_AT = 24
_SIDE = 200  # pixels of a picture
_AROUND = 0.8  # of the box's longer side, on each side of it
_LEAST = 16  # pixels around it
_UNITS = 1000  # of a drawing's longer side, so that whole numbers are exact enough
_TOLD = ("image", "label", "key")


def box_suspects(
    run: Path, last: Path, names: Sequence[str], images: pa.Array, thumbnails: Thumbnails | None, encoder: Encoder
) -> list[dict[str, Any]]:
    """A card for each of the boxes with the highest sigma of all.

    Args:
        run: the run folder.
        last: the file of the last epoch.
        names: of the classes, by number.
        images: keys of the training images.
        thumbnails: from an index in the training data to the whole picture.
        encoder: has the budget of bytes.

    Raises:
        OSError, KeyError, ValueError, TypeError, ArrowException: the files are not what a run writes.
    """
    rows, sigma, loss = highest(last, LOOKED_AT)
    ascending = np.sort(rows)
    table = read_rows(box_table(run), ascending, [*_TOLD, *CORNERS], ["noise"])
    corners = np.column_stack([pixels(table[name]) for name in CORNERS])
    cards = []
    for at, place in enumerate(np.searchsorted(ascending, rows).tolist()):
        image, label, key = (table[name][place].as_py() for name in _TOLD)
        if image not in range(len(images)):
            raise ValueError(f"image must be in [0, {len(images)}), got {image!r} in row {rows[at]}")
        kind = table["noise"][place].as_py() if "noise" in table.column_names else 0
        picture = opened(image, thumbnails) if thumbnails else None
        cards.append(
            {
                "picture": None,
                "solid": "",
                **(_cut_out(picture, corners[place], encoder) if picture else {}),
                "class": names[label] if label in range(len(names)) else f"class {label}",
                "sigma": number(float(sigma[at])),
                "loss": number(float(loss[at])),
                "image": images[image].as_py(),
                "key": str(key),
                "made": MADE[int(kind) - 1] if kind in range(1, len(MADE) + 1) else "",
                "size": _size(corners[place]),
            }
        )
    return cards


def _size(box: np.ndarray) -> str:
    """Width and height in whole pixels."""
    sides = box[2:] - box[:2]
    return " \u00d7 ".join(f"{side:.0f}" for side in sides) if np.isfinite(sides).all() else DASH


def _cut_out(picture: Image.Image, box: np.ndarray, encoder: Encoder) -> dict[str, Any]:
    """The box's part of the picture and the box in it; the whole picture where the box is not in it."""
    left, top, right, bottom = around(box, picture.size)
    units = _UNITS / max(right - left, bottom - top)
    size = (round(units * (right - left)), round(units * (bottom - top)))
    encoded = encoder.encode(picture.crop((left, top, right, bottom)), _SIDE, size)
    return {"picture": encoded, "solid": path_of(units * (box - [left, top, left, top])[None])}


def around(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a square about the box with room around it, as far as the picture goes."""
    width, height = size
    if not np.isfinite(box).all() or not (box[0] < min(width, box[2]) and box[1] < min(height, box[3])):
        return 0, 0, width, height
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    side = math.ceil(longer + 2 * max(_AROUND * longer, _LEAST))
    x, y = (box[:2] + box[2:]).astype(float) / 2
    left, top = (_start(middle, side, whole) for middle, whole in ((x, width), (y, height)))
    return left, top, min(width, left + side), min(height, top + side)


def _start(middle: float, length: int, whole: int) -> int:
    """Where a stretch about a place starts, moved so that it is inside as far as it can be."""
    return max(0, min(math.floor(middle - length / 2), whole - length))
