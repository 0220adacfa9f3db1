"""CIFAR-10 and CIFAR-100 as their authors publish them: the binary and the Python version.

https://www.cs.toronto.edu/~kriz/cifar.html. The Python version is pickled; it is read by `tamis.data.plain_pickle`,
which cannot call anything, so a hostile file cannot run code.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from tamis.data.augment import PadCrop
from tamis.data.folder import Split
from tamis.data.images import MemoryImages
from tamis.data.limits import LIMIT
from tamis.data.plain_pickle import read_plain

PIXELS = 3 * 32 * 32
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STEMS: dict[tuple[int, Split], tuple[str, ...]] = {
    (10, "train"): tuple(f"data_batch_{number}" for number in range(1, 6)),
    (10, "validation"): ("test_batch",),
    (100, "train"): ("train",),
    (100, "validation"): ("test",),
}
FOLDERS = ("", "cifar-10-batches-bin", "cifar-100-binary", "cifar-10-batches-py", "cifar-100-python")


class Layout(NamedTuple):
    """Where CIFAR files were found, and of which of the four kinds they are."""

    folder: Path
    classes: Literal[10, 100]
    binary: bool


def find_cifar(root: Path) -> Layout | None:
    """Look for CIFAR's files in a folder or in the subfolder they are published in."""
    for name in FOLDERS:
        folder = root / name
        if (folder / "data_batch_1.bin").is_file():
            return Layout(folder, 10, True)
        if (folder / "train.bin").is_file():
            return Layout(folder, 100, True)
        if (folder / "data_batch_1").is_file():
            return Layout(folder, 10, False)
        if (folder / "train").is_file() and (folder / "meta").is_file():
            return Layout(folder, 100, False)
    return None


def read_cifar(
    layout: Layout, split: Split = "train", labels: Literal["fine", "coarse"] = "fine"
) -> MemoryImages | None:
    """Read a split; the validation split is CIFAR's test set.

    Training mirrors, and shifts by up to 4 pixels. Keys are the file's name and the row in it: `data_batch_1:00017`.

    Args:
        layout: from `find_cifar`.
        split: which part.
        labels: CIFAR-100 only: the 100 fine classes or the 20 coarse ones.

    Returns:
        The split, or None where the test set's file is missing.

    Raises:
        ValueError: a file is missing, of a wrong size, or a pickle holds anything but arrays and plain containers.
    """
    suffix = ".bin" if layout.binary else ""
    files = [layout.folder / f"{stem}{suffix}" for stem in STEMS[layout.classes, split]]
    if split == "validation" and not files[0].is_file():
        return None
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        where = f"in {str(layout.folder)!r}"
        raise ValueError(f"CIFAR-10 must have five training files, got no {missing[0]!r} {where}; add it")
    read = _read_binary if layout.binary else _read_pickle
    parts = [read(file, layout.classes, labels) for file in files]
    images = torch.from_numpy(np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32))
    given = torch.from_numpy(np.concatenate([numbers for _, numbers in parts]).astype(np.int64))
    counts = [len(numbers) for _, numbers in parts]
    keys = [f"{file.stem}:{row:05d}" for file, count in zip(files, counts, strict=True) for row in range(count)]
    return MemoryImages(images, given, _class_names(layout, labels), keys, PadCrop(flip=True, pad=4))


def _read_binary(path: Path, classes: int, labels: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of label bytes (CIFAR-100: coarse, fine), then 3072 bytes of red, green and blue planes."""
    head = 1 if classes == 10 else 2
    size = path.stat().st_size
    if not 0 < size <= LIMIT or size % (head + PIXELS):
        raise ValueError(
            f"file must be rows of {head + PIXELS} bytes, got {size} bytes in {path.name!r}; fetch it again"
        )
    rows = np.fromfile(path, dtype=np.uint8).reshape(-1, head + PIXELS)
    return rows[:, head:], rows[:, 0 if labels == "coarse" else head - 1]


def _read_pickle(path: Path, classes: int, labels: str) -> tuple[np.ndarray, np.ndarray]:
    content = load_plain(path)
    field = "labels" if classes == 10 else f"{labels}_labels"
    pixels, numbers = content.get("data"), content.get(field)
    if (
        not isinstance(pixels, np.ndarray)
        or not isinstance(numbers, list)
        or not all(type(number) is int and 0 <= number < 256 for number in numbers)
        or pixels.shape != (len(numbers), PIXELS)
    ):
        raise ValueError(
            f"file must hold 'data' (n, {PIXELS}) and n '{field}', got {sorted(content)} in {path.name!r}; "
            "fetch it again"
        )
    return pixels, np.asarray(numbers, dtype=np.int64)


def _class_names(layout: Layout, labels: str) -> tuple[str, ...]:
    folder = layout.folder
    text = folder / ("batches.meta.txt" if layout.classes == 10 else f"{labels}_label_names.txt")
    if layout.binary and text.is_file():
        return _lines(text)
    meta = folder / ("batches.meta" if layout.classes == 10 else "meta")
    if not layout.binary and meta.is_file():
        field = "label_names" if layout.classes == 10 else f"{labels}_label_names"
        names = load_plain(meta).get(field)
        if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
            raise ValueError(f"file must hold a list of texts {field!r}, got none in {meta.name!r}; fetch it again")
        return tuple(name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name for name in names)
    if layout.classes == 10:
        return CIFAR10_CLASSES
    return tuple(str(number) for number in range(100 if labels == "fine" else 20))


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise ValueError(f"file must be text in UTF-8, got {str(error)!r} in {path.name!r}; fetch it again") from error


def load_plain(path: Path) -> dict[str, Any]:
    """Read a pickled dict of plain containers, numbers, texts and uint8 arrays, without running anything from the file.

    Raises:
        ValueError: the file asks for anything else, or is damaged.
    """
    try:
        return read_plain(path.read_bytes())
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(
            f"file must be a pickle of arrays and lists, got {type(error).__name__}: {str(error)!r} in {path.name!r}; "
            "nothing in it was run; fetch it again from its authors"
        ) from error
