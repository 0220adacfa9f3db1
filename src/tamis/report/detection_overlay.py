"""Pictures of what a detector finds: boxes, classes and confidences, drawn over the image."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

_COLOURS = ("#35c4ee", "#ff9d5c", "#7ddc7a", "#f27fb2", "#e8d44d", "#b39ddb", "#ef6b5e", "#8fd3c8")
_LONGEST = 40  # letters of a text


def draw_boxes(image: Image.Image, boxes: np.ndarray, texts: Sequence[str], labels: Sequence[int]) -> Image.Image:
    """A copy of the image with boxes over it, the last ones below the others.

    Args:
        image: RGB.
        boxes: (k, 4), x1, y1, x2, y2 in pixels of the image.
        texts: what stands above each, one line.
        labels: each class has a colour.
    """
    picture = image.copy()
    draw = ImageDraw.Draw(picture)
    width, letters = max(1, min(image.size) // 160), max(10, min(image.size) // 28)
    for box, text, label in list(zip(boxes.tolist(), texts, labels, strict=True))[::-1]:
        x1, y1, x2, y2 = box[0], box[1], max(box[0], box[2]), max(box[1], box[3])
        colour, line = _COLOURS[label % len(_COLOURS)], " ".join(text.split())[:_LONGEST]
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        place = (x1, y1 - letters - 3 if y1 > letters + 3 else y1 + width)
        draw.text(place, line, fill=colour, stroke_width=max(1, width), stroke_fill=(0, 0, 0), font_size=letters)
    return picture
