"""Small pictures of the suspects, encoded anew so that nothing of the file but its pixels gets into the page."""

import base64
import io
from collections.abc import Callable

from PIL import Image

Thumbnails = Callable[[int], Image.Image]

SIDE = 144
SMALL = 48  # at or below this side a picture is kept exact, as PNG


def thumbnail_uri(index: int, thumbnails: Thumbnails) -> str | None:
    """A data URI of the picture (PNG or JPEG, at most 144 pixels a side); None if the file cannot be read."""
    source = opened(index, thumbnails)
    return None if source is None else picture_uri(source, SIDE)


def opened(index: int, thumbnails: Thumbnails) -> Image.Image | None:
    """The picture; None if the file cannot be read."""
    try:
        return thumbnails(index)
    except (OSError, ValueError):  # the page says so in the picture's place; the figures do not need it
        return None


def picture_uri(source: Image.Image, side: int) -> str:
    """A data URI of a picture, at most so many pixels a side."""
    picture = Image.new("RGB", source.size)
    picture.paste(source.convert("RGB"))  # a new image: no EXIF, no colour profile, no comment
    buffer = io.BytesIO()
    if max(picture.size) <= SMALL:
        picture.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        picture.save(buffer, "JPEG", quality=82, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
