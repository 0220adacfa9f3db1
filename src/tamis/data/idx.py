"""MNIST's idx files, as MNIST, Fashion-MNIST and their relatives come; gzipped or not."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch

from tamis.data.folder import Split
from tamis.data.images import MemoryImages
from tamis.data.limits import LIMIT, allowance

STEMS: dict[Split, str] = {"train": "train", "validation": "t10k"}
FOLDERS = ("", "raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw")


def find_idx(root: Path) -> Path | None:
    """The folder that holds the training images: this one, or the subfolder where torchvision puts them."""
    return next((root / name for name in FOLDERS if _file(root / name, "train", "images", 3)), None)


def read_idx(folder: Path, split: Split = "train", class_names: tuple[str, ...] = ()) -> MemoryImages | None:
    """Read `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`; the validation split is `t10k-...`.

    Images stay grey, (n, 1, h, w), and are not augmented: digits must not be mirrored. Keys are `train:00017`.

    Args:
        folder: from `find_idx`.
        split: which part.
        class_names: the files hold numbers only; empty = "0", "1", ... to the largest training label.

    Returns:
        The split, or None where its images are missing.

    Raises:
        ValueError: a file is missing, damaged, too short or too long, or the two differ in length.
    """
    stem = STEMS[split]
    images, labels = _file(folder, stem, "images", 3), _file(folder, stem, "labels", 1)
    if images is None:
        return None
    if labels is None:
        raise ValueError(f"labels must lie beside {images.name!r}, got no {stem}-labels-idx1-ubyte; add the file")
    pixels, numbers = _read(images, 3), _read(labels, 1)
    if len(pixels) != len(numbers):
        raise ValueError(
            f"labels must be one an image, got {len(numbers)} for {len(pixels)} in {labels.name!r}; fetch both"
        )
    if not class_names:
        known = _file(folder, "train", "labels", 1) or labels
        class_names = tuple(map(str, range(int(_read(known, 1).max(initial=0)) + 1)))
    keys = [f"{stem}:{row:05d}" for row in range(len(numbers))]
    given = torch.from_numpy(numbers.astype(np.int64))
    return MemoryImages(torch.from_numpy(pixels[:, None]), given, class_names, keys)


def _file(folder: Path, stem: str, kind: str, dimensions: int) -> Path | None:
    names = (f"{stem}-{kind}{mark}idx{dimensions}-ubyte{gz}" for mark in "-." for gz in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(path: Path, dimensions: int) -> np.ndarray:
    """An idx file of bytes: 0, 0, 8, the number of dimensions, each size as 4 bytes (high first), the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            most = min(LIMIT, allowance(path)) if path.suffix == ".gz" else LIMIT
            return _values(cast(BinaryIO, file), dimensions, most)
    except (ValueError, EOFError, OSError, zlib.error, struct.error) as error:
        raise ValueError(f"idx file must be whole, got {str(error)!r} in {path.name!r}; fetch it again") from error


def _values(file: BinaryIO, dimensions: int, most: int) -> np.ndarray:
    head = file.read(4)
    if head != bytes((0, 0, 8, dimensions)):
        raise ValueError(f"it starts with {head.hex(' ')}, not 00 00 08 {dimensions:02x}")
    shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
    size = math.prod(shape)
    if size > most:
        raise ValueError(f"at most {most} bytes in such a file, where the header says {size}")
    # No more is read than the header promises (and one byte, to see whether there is more), piece by piece: a
    # header may promise more than there is memory.
    content = bytearray()
    while len(content) <= size and (piece := file.read(min(1 << 24, size + 1 - len(content)))):
        content += piece
    if len(content) != size:
        more = "more" if len(content) > size else f"{len(content)}"
        raise ValueError(f"{more} bytes where the header says {size}")
    return np.frombuffer(content, np.uint8).reshape(shape)
