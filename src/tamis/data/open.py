"""Open a data set of labelled images, whatever its layout."""

import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar, get_args, overload

import torch
from torch import Tensor

from tamis.data.archive import is_archive, read_archive
from tamis.data.augment import ResizedCrop
from tamis.data.boxed import BoxedImages
from tamis.data.cifar import find_cifar, read_cifar
from tamis.data.counted import CountedImages
from tamis.data.folder import Split, image_names, is_webvision, read_folder, read_webvision
from tamis.data.idx import find_idx, read_idx
from tamis.data.images import FileImages, MemoryImages
from tamis.data.parquet import find_parquet, read_parquet
from tamis.data.quarantine import Quarantine
from tamis.data.table import read_table
from tamis.moment import uniforms

Labelled = MemoryImages | FileImages
Images = Labelled | CountedImages | BoxedImages
_Source = TypeVar("_Source", MemoryImages, FileImages, CountedImages, BoxedImages)

LAYOUTS = (
    "<class>/, train/<class>/, CIFAR's files, idx files, WebVision's info/, *train*.parquet; "
    "or a file: tar, zip, .parquet, .csv"
)


@overload
def open_images(
    path: str | Path, split: Literal["train"] = ..., *, size: int = ..., workers: int = ..., max_bad: float = ...
) -> Labelled: ...
@overload
def open_images(
    path: str | Path, split: Split, *, size: int = ..., workers: int = ..., max_bad: float = ...
) -> Labelled | None: ...
def open_images(
    path: str | Path, split: Split = "train", *, size: int = 224, workers: int = 0, max_bad: float = 0.0
) -> Labelled | None:
    """Open one split of a data set; what is there decides how it is read.

    Images of one size up to 64 pixels are held in memory; others are decoded when they are needed. To train and to
    validate use `open_splits`, which treats both splits alike.

    Args:
        path: a folder or a file.
        split: "train" or "validation".
        size: side in pixels of what the model gets, for images that are not held in memory.
        workers: processes that decode such images.
        max_bad: share of the images that may be unreadable, in [0, 1): they are left out, and named in the source's
            `quarantine`. With 0 the first one is an error.

    Returns:
        The source, or None if the data set has no validation split.

    Raises:
        ValueError: no known layout is found there, or its files are wrong; one line that says what and where.
        UnreadableImage: too many images cannot be read.
    """
    source = _quarantined(_read(Path(path), split), split, max_bad)
    if source is None:
        return None
    return _in_memory(source) or _from_files(source, size, workers)


@overload
def open_undecoded(path: str | Path, split: Literal["train"]) -> Labelled: ...
@overload
def open_undecoded(path: str | Path, split: Split) -> Labelled | None: ...
def open_undecoded(path: str | Path, split: Split) -> Labelled | None:
    """Open one split as it is stored, and decode nothing: files that cannot be read are in it like any other.

    Arguments, answer and errors are those of `open_images`.
    """
    return _read(Path(path), split)


def open_splits(
    path: str | Path, *, size: int = 224, workers: int = 0, max_bad: float = 0.0, forgiven: Collection[str] = ()
) -> tuple[Labelled, Labelled | None]:
    """Open the training and the validation split so that they fit each other.

    Both are held in memory, if the images of both are small and of one size, or neither; the validation images are
    normalised with the mean and std of the training images. The arguments are those of `open_images`; training
    samples whose keys are in `forgiven` may be unreadable beyond its `max_bad`.

    Returns:
        The training split, and the validation split or None.

    Raises:
        ValueError: as `open_images`; or the splits differ in their classes.
    """
    train = _quarantined(_read(Path(path), "train"), "train", max_bad, forgiven)
    validation = _quarantined(_read(Path(path), "validation"), "validation", max_bad)
    if validation is None:
        return _in_memory(train) or _from_files(train, size, workers), None
    if train.class_names != validation.class_names:
        raise ValueError(
            f"splits must have the same classes, got {len(train.class_names)} for training and "
            f"{len(validation.class_names)} for validation in {str(path)!r}; correct the class names"
        )
    small = _in_memory(train)
    small_validation = _in_memory(validation) if small else None
    if small and small_validation and small.images.shape[1:] == small_validation.images.shape[1:]:
        return small, small_validation.with_scale(small.mean, small.std)
    return _from_files(train, size, workers), _from_files(validation, size, workers)


@overload
def _quarantined(source: Labelled, split: Split, max_bad: float, forgiven: Collection[str] = ()) -> Labelled: ...
@overload
def _quarantined(source: Labelled | None, split: Split, max_bad: float) -> Labelled | None: ...
def _quarantined(
    source: Labelled | None, split: Split, max_bad: float, forgiven: Collection[str] = ()
) -> Labelled | None:
    """The source with a quarantine of its own, for its share of unreadable images."""
    if not 0 <= max_bad < 1:
        raise ValueError(f"max_bad must be in [0, 1), a share of the images, got {max_bad!r}")
    if source is None:
        return None
    return replace(source, quarantine=Quarantine(math.floor(round(max_bad * len(source), 6)), split, forgiven))


def _in_memory(source: Labelled) -> MemoryImages | None:
    return source if isinstance(source, MemoryImages) else source.in_memory()


def _from_files(source: Labelled, size: int, workers: int) -> Labelled:
    if isinstance(source, MemoryImages):
        return source
    return source.with_augmentation(ResizedCrop(size)).with_workers(workers)


def hold_out(source: _Source, ratio: float, seed: int) -> tuple[_Source, _Source]:
    """Split a source in two with the same mixture of classes; the same for the same labels, ratio and seed.

    The classes in turn give round(ratio * samples so far) - what was given before, so that the whole is right too;
    every class keeps at least one training sample. Which samples go is drawn by a hash of their positions.

    Args:
        source: what to split; both parts keep its mean and std.
        ratio: share of the validation part, in (0, 1).
        seed: draws another split.

    Returns:
        The training part and the validation part, each in the source's order.

    Raises:
        ValueError: ratio is outside (0, 1), or the validation part would be empty.
    """
    chosen = held_out(source.labels, ratio, seed)
    return source.select((~chosen).nonzero().flatten()), source.select(chosen.nonzero().flatten())


def held_out(labels: Tensor, ratio: float, seed: int) -> Tensor:
    """Which samples `hold_out` takes away for validation: bool (n,) for labels int64 (n,)."""
    if not 0 < ratio < 1:
        raise ValueError(f"ratio must be in (0, 1), got {ratio!r}")
    draw = uniforms(seed, 0, torch.arange(len(labels)), "hold_out", 1)[:, 0]
    shuffled = draw.argsort(stable=True)
    order = shuffled[labels[shuffled].argsort(stable=True)]
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    before = 0
    for members in order.split(torch.bincount(labels).tolist()):
        count = round(ratio * (before + len(members))) - round(ratio * before)
        chosen[members[: min(count, len(members) - 1)]] = True
        before += len(members)
    if not chosen.any():
        raise ValueError(f"ratio must leave a sample for validation, got {ratio!r} of {len(labels)} samples; raise it")
    return chosen


@overload
def _read(path: Path, split: Literal["train"]) -> Labelled: ...
@overload
def _read(path: Path, split: Split) -> Labelled | None: ...
def _read(path: Path, split: Split) -> Labelled | None:
    if split not in get_args(Split):
        raise ValueError(f"split must be 'train' or 'validation', got {split!r}")
    if not path.exists():
        raise ValueError(f"data must be a folder or a file, got {str(path)!r}, which does not exist")
    source = _read_folder(path, split) if path.is_dir() else _read_file(path, split)
    if source is None and split == "train":
        raise ValueError(f"data must have a training split, got none in {str(path)!r}; call its folder or file train")
    return source


def _read_file(path: Path, split: Split) -> Labelled | None:
    if path.suffix.lower() == ".csv":
        return read_table(path, split)
    if path.suffix.lower() == ".parquet":
        return read_parquet(path, split)
    if is_archive(path):
        return read_archive(path, split)
    raise ValueError(f"data must be one of {LAYOUTS}, got the file {str(path)!r}")


def _read_folder(path: Path, split: Split) -> Labelled | None:
    cifar, idx = find_cifar(path), find_idx(path)
    if cifar:
        return read_cifar(cifar, split)
    if idx:
        return read_idx(idx, split)
    if is_webvision(path):
        return read_webvision(path, split)
    if find_parquet(path, "train"):
        return read_parquet(path, split)
    if next(image_names(path), None) is None:
        found = sorted(entry.name for entry in path.iterdir())
        listed = ", ".join(map(repr, found[:5])) + (", ..." if len(found) > 5 else "") if found else "nothing"
        raise ValueError(f"data must be one of {LAYOUTS}, got no image in {str(path)!r}, which holds {listed}")
    return read_folder(path, split)
