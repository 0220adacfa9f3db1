"""Pictures with boxes over them: the image once, within a budget of bytes, and one path for each kind of boxes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tamis.report.thumbnails import picture_uri

BoxesOf = Callable[[int], np.ndarray]
"""From the index of an image to its boxes (k, 4) in its own pixels."""

SIDE = 240  # pixels of a picture
CONFIDENCE = 0.3  # boxes below it count for AP and scores but would hide the picture
_DRAWN = 60  # boxes of one kind on one picture


class Encoder:
    """Gives pictures as data URIs until the budget is spent.

    Args:
        limit: bytes of all of them together.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self.spent = False

    def encode(
        self, source: Image.Image | None, side: int = SIDE, size: tuple[int, int] | None = None
    ) -> dict[str, Any] | None:
        """{"uri", "width", "height"}; None without a picture, or beyond the budget.

        Args:
            source: the picture.
            side: the most pixels of its longer side on the page.
            size: width and height of the image that boxes are in; by default those of the picture.
        """
        if source is None:
            return None
        uri = picture_uri(source, side)
        if len(uri) > self._left:
            self.spent = True
            return None
        self._left -= len(uri)
        width, height = size or source.size
        return {"uri": uri, "width": width, "height": height}


def path_of(boxes: np.ndarray | Sequence[Sequence[Any]]) -> str:
    """The boxes' outlines as the data of one SVG path; those that are not four finite numbers are left out."""
    parts = []
    for box in boxes[:_DRAWN]:
        try:
            x1, y1, x2, y2 = (float(value) for value in box[:4])
        except (TypeError, ValueError):
            continue
        if np.isfinite([x1, y1, x2, y2]).all():
            parts.append(f"M{x1:.0f} {y1:.0f}H{x2:.0f}V{y2:.0f}H{x1:.0f}Z")
    return "".join(parts)
