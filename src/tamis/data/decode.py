"""From the bytes of an image file to RGB pixels, in one way for training, evaluation and the report.

- The EXIF orientation is applied.
- Grey, palette, bilevel, YCbCr and CMYK become RGB as PIL converts them (colour profiles are not applied).
- Grey of more than 8 bits (16-bit PNG, PGM, TIFF) is clipped to 0..65535 and keeps its high byte; floating point
  values are clipped to 0..255, NaN is 0.
- Transparent pixels are laid over white.
- Of an animation, the first picture.
- Encapsulated PostScript is not opened: it is a program, and PIL would have Ghostscript run it.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image, UnidentifiedImageError

# EXIF tag 0x0112: how the stored picture must be turned to stand upright (EXIF 2.32, table 4).
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Read = Callable[[int], Path | bytes]
"""Gives the file (a path, or its bytes) of the i-th sample; it must be picklable, since workers call it."""


class UnreadableImage(ValueError):
    """An image file that cannot be decoded; the message names it."""


@dataclass(frozen=True)
class Files:
    """Reads samples from files below a folder; names are relative to it."""

    root: Path
    names: Sequence[str]

    def __call__(self, position: int) -> Path:
        """The file of a sample."""
        return self.root / self.names[position]


@dataclass(frozen=True)
class Blobs:
    """Reads samples from bytes in memory, one entry a sample: a list, or a column of a table."""

    blobs: Sequence[bytes]

    def __call__(self, position: int) -> bytes:
        """The content of a sample's file."""
        return self.blobs[position]


def decode(source: Path | bytes, name: str) -> Image.Image:
    """Decode an image file to RGB as the module says.

    Args:
        source: the file, or its content.
        name: what the file is called in an error message.

    Raises:
        UnreadableImage: it is missing, no image, truncated, or a decompression bomb by PIL's limit.
    """
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=_formats()) as image:
            image.load()
            turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
            result = _rgb(image)
    except Exception as error:  # PIL's decoders raise nearly anything on a damaged file
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "no known image format" if unknown else f"{type(error).__name__}: {str(error)!r}"
        raise UnreadableImage(
            f"image must be readable, got {reason} in {name!r}; repair the file or take it out of the data"
        ) from error
    return result if turn is None else result.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0.0).clip(0, 255)
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour).convert("RGB")
    return image.convert("RGB")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    usual = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # PIL tries in this order; first what most files are
    known = [kind for kind in Image.OPEN if kind != "EPS"]
    return tuple(sorted(known, key=lambda kind: usual.index(kind) if kind in usual else len(usual)))


@cache
def _suffixes() -> frozenset[str]:
    formats = _formats()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in formats)


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image that PIL can open; hidden files are not."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in _suffixes() and not hidden


def inside(name: str, where: str) -> str:
    """A name of a file below a folder, cleaned of `./` and doubled slashes.

    Args:
        name: as it stands in a list or an archive, with `/`.
        where: what an error message calls that list, for example "in labels.csv".

    Raises:
        ValueError: the name leads, or would lead on some system, out of the folder.
    """
    windows = PureWindowsPath(name)
    strange = windows.drive or windows.root or ".." in windows.parts or "\0" in name
    if strange or not windows.parts:
        raise ValueError(f"file name must lead to a file below its folder, got {name!r} {where}; correct it")
    return str(PurePosixPath(name))
