"""Small pictures of the suspects, encoded anew so that nothing of the file but its pixels gets into the page."""

import base64
import io
from collections.abc import Callable

from PIL import Image

SIDE = 144
SMALL = 48  # at or below this side a picture is kept exact, as PNG


def thumbnail_uri(index: int, thumbnails: Callable[[int], Image.Image]) -> str | None:
    """A data URI of the picture (PNG or JPEG, at most 144 pixels a side); None if the file cannot be read."""
    try:
        source = thumbnails(index)
    except (OSError, ValueError):  # the page says so in the picture's place; the figures do not need it
        return None
    picture = Image.new("RGB", source.size)
    picture.paste(source.convert("RGB"))  # a new image: no EXIF, no colour profile, no comment
    buffer = io.BytesIO()
    if max(picture.size) <= SMALL:
        picture.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        picture.save(buffer, "JPEG", quality=82, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
