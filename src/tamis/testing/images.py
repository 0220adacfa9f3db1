"""Image files that nobody can read: empty, cut off, of another kind, or no files at all."""

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

from PIL import Image

_SIZE = (64, 48)


def make_bad_images(folder: Path) -> dict[str, str]:
    """Write some 25 broken images into a folder, each broken in a way of its own; the same ones every time.

    A link or a file without permission is left out where the system does not know such a thing, or does not keep to
    it (the superuser may read everything). One is a folder that is named as an image is.

    Args:
        folder: where to; it is made, and should be empty.

    Returns:
        What the reason must say (a word or two of what `tamis.data.UnreadableImage.reason` says), by file name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = _cut() | _damaged() | _of_another_kind()
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    return {name: reason for name, (_, reason) in files.items()} | _no_files(folder)


Files = dict[str, tuple[bytes, str]]
"""Content, and what the reason must say, by name."""


def _cut() -> Files:
    """Files of which the end is missing."""
    jpeg, progressive, png = _encoded("JPEG"), _encoded("JPEG", progressive=True), _encoded("PNG")
    webp, lossless, gif = _encoded("WEBP"), _encoded("WEBP", lossless=True), _encoded("GIF")
    tiff, bmp = _encoded("TIFF", compression="tiff_deflate"), _encoded("BMP")
    return {
        "empty.jpg": (b"", "empty"),
        "one-byte.png": (png[:1], "format"),
        "magic-only.png": (png[:8], "damaged PNG"),
        "header-only.jpg": (jpeg[: jpeg.index(b"\xff\xda")], "cannot load"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "two-bytes-short.jpg": (jpeg[:-2], "truncated"),
        "half-progressive.jpg": (progressive[: len(progressive) // 2], "truncated"),
        "header-only.png": (png[:33], "damaged PNG"),
        "half.png": (png[: len(png) // 2], "truncated"),
        "no-end.png": (png[:-12], "truncated"),
        "half.webp": (webp[: len(webp) // 2], "decoder"),
        "few-bytes-short-lossless.webp": (lossless[:-4], "decoder"),
        "half.gif": (gif[: len(gif) // 2], "truncated"),
        "half.tif": (tiff[: len(tiff) // 2], "damaged TIFF"),
        "half.bmp": (bmp[: len(bmp) // 2], "truncated"),
    }


def _damaged() -> Files:
    """Files of the right length."""
    png, jpeg = bytearray(_encoded("PNG")), _encoded("JPEG")
    header, pixels = bytearray(png), bytearray(png)
    header[29] ^= 1  # the checksum of the header
    pixels[-13] ^= 1  # the checksum of the last piece of pixels
    return {
        "wrong-checksum-of-header.png": (bytes(header), "damaged PNG"),
        "wrong-checksum-of-pixels.png": (bytes(pixels), "checksum"),
        "random.jpg": (jpeg[:20] + _noise(2000), "damaged JPEG"),
        "zeros.bmp": (bytes(2000), "format"),
        "no-frames.gif": (b"GIF89a" + struct.pack("<HHBBB", *_SIZE, 0, 0, 0) + b";", "damaged GIF"),
        "bomb.png": (_bomb(), "pixels"),
    }


def _of_another_kind() -> Files:
    """What is no image, or none that is opened, whatever it is called."""
    return {
        "text.jpg": (b"this was once a photograph\n", "format"),
        "page.png": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n", "format"),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"/>\n', "format"),
        "program.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\nshowpage\n", "format"),
    }


def _no_files(folder: Path) -> dict[str, str]:
    (folder / "folder.jpg").mkdir(exist_ok=True)
    reasons = {"folder.jpg": "no regular file"}
    for name, target, reason in (("dangling.jpg", "gone.jpg", "no such file"), ("circle.jpg", "circle.jpg", "links")):
        try:
            (folder / name).symlink_to(target)
        except (NotImplementedError, PermissionError):  # Windows, without developer mode
            continue
        reasons[name] = reason
    locked = folder / "locked.png"
    locked.write_bytes(_encoded("PNG"))
    locked.chmod(0)
    if os.access(locked, os.R_OK):
        locked.unlink()
    else:
        reasons[locked.name] = "permission"
    return reasons


def _bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels, as its header says; the rest is not there."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(1000))
    pieces = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def _encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", _SIZE, _noise(3 * _SIZE[0] * _SIZE[1])).save(file, kind, **options)
    return file.getvalue()


def _noise(count: int) -> bytes:
    """The same bytes every time: they hardly compress, so that a cut always takes pixels away."""
    return hashlib.shake_256(b"tamis").digest(count)
