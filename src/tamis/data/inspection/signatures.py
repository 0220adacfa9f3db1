"""Reads every image of a source once, and keeps some 270 bytes of each: digests, size, and what it looks like.

What an image looks like is the signs of the 63 lowest frequencies of its brightness (a discrete cosine transform of
16 x 16 pixels, as in pHash, http://www.phash.org), and a thumbnail of 8 x 8 pixels.
"""

import hashlib
import stat
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tamis.data.boxed import BoxedImages
from tamis.data.counted import CountedImages
from tamis.data.decode import UnreadableImage, decode
from tamis.data.images import FileImages, MemoryImages
from tamis.data.open import Images
from tamis.data.workers import Mark, prepared

SIDE, COARSE = 8, 16
SIGNATURE = np.dtype(
    [
        ("readable", "?"),
        ("size", "i8"),  # bytes of the file, -1 = it is no file
        ("mtime_ns", "i8"),  # its date, -1 = unknown
        ("file", "u8", 2),  # BLAKE2b of the file's bytes
        ("pixels", "u8", 2),  # BLAKE2b of the pixels uint8 (c, h, w)
        ("width", "u4"),
        ("height", "u4"),
        ("spread", "u1"),  # largest minus smallest value of the channel where that is largest
        ("contrast", "f4"),  # standard deviation of the brightness of 16 x 16 pixels, in grey levels
        ("hash", "u8"),
        ("small", "u1", (SIDE, SIDE, 3)),
    ]
)
BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG
_COSINE = np.cos(np.pi * np.arange(SIDE)[:, None] * (2 * np.arange(COARSE) + 1) / (2 * COARSE)).astype(np.float32)
_CHUNK = 64

Told = Callable[[int], None]
"""Called with the number of images that are read so far."""


def read_signatures(source: Images, *, workers: int = 0, told: Told | None = None) -> tuple[np.ndarray, dict[int, str]]:
    """Read and decode every image; one that cannot be read does not stop the others.

    Args:
        source: the images; of those in files, each file is read once.
        workers: processes that read; 0 = this one.
        told: is called from time to time.

    Returns:
        SIGNATURE (n,), and for each image that is not readable the reason, by position. Its size, date and digest of
        the file are there as far as the file could be read at all.

    Raises:
        DeadWorker: a process was killed or has crashed; the message names the image that it was at.
    """
    work, plan = partial(_signatures, source), torch.arange(len(source)).split(_CHUNK)
    parts = prepared(work, plan, source.keys, workers) if workers else (work(index, Mark()) for index in plan)
    found, reasons, done = np.zeros(len(source), SIGNATURE), {}, 0
    for part, wrong in parts:
        found[done : done + len(part)] = part
        reasons |= wrong
        done += len(part)
        if told is not None:
            told(done)
    return found, reasons


def _signatures(source: Images, index: Tensor, mark: Mark) -> tuple[np.ndarray, dict[int, str]]:
    """Signatures of the samples at some positions, int64 (b,), and the reasons of those that cannot be read."""
    found, reasons = np.zeros(len(index), SIGNATURE), {}
    coarse = np.zeros((len(index), COARSE, COARSE, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns of what it can read all the same
        for place, position in enumerate(index.tolist()):
            mark(position)
            try:
                coarse[place] = _look(source, position, found[place])
            except UnreadableImage as error:
                reasons[position] = error.reason
    bright = coarse @ BRIGHTNESS
    found["contrast"] = bright.std(axis=(1, 2))
    found["hash"] = _hash(bright)
    return found, reasons


def _look(source: Images, position: int, row: np.void) -> np.ndarray:
    """Fill the row of one image; returns it as uint8 (16, 16, 3)."""
    row["size"] = row["mtime_ns"] = -1
    if isinstance(source, MemoryImages):
        image, pixels = source.thumbnail(position), source.images[position].cpu().contiguous().numpy()
    else:
        content = _content(source, position, row)
        if isinstance(content, bytes):
            row["file"] = _digest(content)
        image = decode(content, source.keys[position])
        pixels = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
    row["readable"] = True
    row["pixels"] = _digest(pixels.data)
    row["width"], row["height"] = image.size
    row["spread"] = np.ptp(pixels.reshape(len(pixels), -1), axis=1).max()
    row["small"] = _shrunk(image, SIDE)
    return _shrunk(image, COARSE)


def _content(source: FileImages | CountedImages | BoxedImages, position: int, row: np.void) -> Path | bytes:
    """The bytes of a file; its path where it cannot be read, for `decode` to say why."""
    file = source.read(int(source.rows[position]))
    if isinstance(file, bytes):
        row["size"] = len(file)
        return file
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            return file
        row["size"], row["mtime_ns"] = status.st_size, status.st_mtime_ns
        return file.read_bytes()
    except OSError:
        return file


def _digest(content: bytes | memoryview) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), np.uint64)


def _shrunk(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))


def _hash(bright: np.ndarray) -> np.ndarray:
    """Signs of the low frequencies of brightness float32 (n, 16, 16), without the mean, as uint64 (n,)."""
    signs = (_COSINE @ bright @ _COSINE.T > 0).reshape(len(bright), SIDE * SIDE)
    signs[:, 0] = False
    return np.packbits(signs, axis=1).view(np.uint64)[:, 0]
