"""Pictures of density maps: laid over the image that they are of."""

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

_COLOURS = "inferno"
_PALE = 0.35  # of the image's own brightness where there is no density
_FULL = 99.5  # the percentile of the map that gets the brightest colour: one peak must not darken all others


def overlay(image: Image.Image, density: np.ndarray, *, peak: float | None = None, text: str = "") -> Image.Image:
    """The image, darkened, with its density in colour over it.

    Args:
        image: RGB.
        density: (h, w) of the image, padded on the right and at the bottom or not; each cell covers a square of pixels.
        peak: density of the brightest colour, so that two maps compare; by default a high percentile of this map.
        text: written in the upper left corner.
    """
    density = np.nan_to_num(density)
    height, width = density.shape
    stride = max(1, round(max(image.height / height, image.width / width)))
    peak = peak or peak_of(density) or 1.0
    level = np.clip(density / peak, 0, 1)
    coloured = Image.fromarray((colormaps[_COLOURS](level)[..., :3] * 255).astype(np.uint8))
    share = Image.fromarray((np.sqrt(level) * 230).astype(np.uint8))
    size = (width * stride, height * stride)
    box = (0, 0, image.width, image.height)
    coloured, share = (each.resize(size, Image.Resampling.BILINEAR).crop(box) for each in (coloured, share))
    picture = Image.composite(coloured, image.point(lambda value: value * _PALE), share)
    if text:
        draw = ImageDraw.Draw(picture)
        draw.text((6, 4), text, fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0), font_size=_size_of(image))
    return picture


def peak_of(density: np.ndarray) -> float:
    """A high percentile of the density where there is any: few heads in a large map must not darken them; 0 if none."""
    found = density[density > 0]
    return float(np.percentile(found, _FULL)) if found.size else 0.0


def _size_of(image: Image.Image) -> int:
    return max(12, min(image.size) // 16)
