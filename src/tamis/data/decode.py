"""From the bytes of an image file to RGB pixels, in one way for training, evaluation and the report.

- The EXIF orientation is applied.
- Grey, palette, bilevel, YCbCr and CMYK become RGB as PIL converts them (colour profiles are not applied).
- Grey of more than 8 bits (16-bit PNG, PGM, TIFF) is clipped to 0..65535 and keeps its high byte; floating point
  values are clipped to 0..255, NaN is 0.
- Transparent pixels are laid over white.
- Of an animation, the first picture.
- An image of more than `PIXELS` pixels is refused by its header, before anything is decoded.
- A file that was cut off is refused, not filled up: a JPEG, PNG, WebP, TIFF or JPEG 2000 file also where only its end
  mark is missing, and a PNG where a checksum is wrong. A format that needs no end mark (GIF, BMP, TGA, QOI) is read
  if all pixels are there. What nothing can tell: pixels that were damaged within a JPEG, or a JPEG that was cut off
  and then ended properly. A program that sets PIL's LOAD_TRUNCATED_IMAGES asks for such files, and gets them.
- Encapsulated PostScript is not opened: it is a program, and PIL would have Ghostscript run it.
"""

import errno
import io
import stat
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

PIXELS = 178_956_970
"""The most pixels of an image: where PIL refuses too, unless a program has changed its MAX_IMAGE_PIXELS."""

# What fails for want of these is no fault of the file.
_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

# How files begin: PIL does not say that it knows a format if the header is damaged.
_STARTS = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WebP",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}

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
    """An image file that cannot be decoded; the message names it.

    Attributes:
        reason: why, without the name.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


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
        UnreadableImage: it is missing, empty, no file, no image, cut off, or has more than `PIXELS` pixels.
        MemoryError: there is not enough of it; the message names the file.
        OSError: too many files are open.
    """
    try:
        with _opened(source) as file, _image(file) as image:
            if image.width * image.height > PIXELS:
                raise Image.DecompressionBombError
            image.load()
            _check_end(image.format, file)
            turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
            result = _rgb(image)
    except MemoryError as error:
        raise MemoryError(f"memory must suffice to decode {name!r}, got too little; free some") from error
    except Exception as error:  # PIL's decoders raise nearly anything on a damaged file
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            raise
        reason = _reason(error)
        raise UnreadableImage(
            f"image must be readable, got {reason} in {name!r}; repair the file or take it out of the data", reason
        ) from error
    return result if turn is None else result.transpose(turn)


class _Unfit(Exception):
    """What PIL would not see; the message is the reason."""


def _opened(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        size = len(source)
    else:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise _Unfit("no regular file")
        size = status.st_size
    if not size:
        raise _Unfit("an empty file")
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _image(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file, formats=_formats())
    except UnidentifiedImageError:
        file.seek(0)
        start = file.read(4)
        kind = next((kind for mark, kind in _STARTS.items() if start.startswith(mark)), None)
        raise _Unfit(f"a damaged {kind} file" if kind else "no known image format") from None


def _reason(error: Exception) -> str:
    if isinstance(error, _Unfit):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {min(PIXELS, 2 * (Image.MAX_IMAGE_PIXELS or PIXELS)):,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__}: {str(error)[:200]!r}"


def _check_end(kind: str | None, file: BinaryIO) -> None:
    """What PIL does not look at: the checksums of a PNG's pixels, and the ends of PNG and JPEG 2000."""
    if kind == "PNG":
        _check_png(file)
    elif kind == "JPEG2000":
        file.seek(0)
        content = file.read()
        # Start of data and end of codestream (ITU-T T.800, table A.2); the latter cannot occur within data.
        if content.rfind(b"\xff\xd9") <= content.find(b"\xff\x93"):
            raise _Unfit("a truncated JPEG 2000 file")


def _check_png(file: BinaryIO) -> None:
    """Hold every chunk to its checksum (W3C PNG, 5.3): PIL reads the pixels without."""
    file.seek(8)
    kind = b""
    while kind != b"IEND":
        header = file.read(8)
        left, kind = int.from_bytes(header[:4], "big"), header[4:]
        known = zlib.crc32(kind)
        while left and (piece := file.read(min(left, 1 << 20))):
            known = zlib.crc32(piece, known)
            left -= len(piece)
        stored = file.read(4)
        if len(stored) < 4:
            raise _Unfit("a truncated PNG file")
        if int.from_bytes(stored, "big") != known:
            raise _Unfit("a PNG file with a wrong checksum")


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
