"""Folders of images: one folder a class, with or without splits (ImageNet), and WebVision's lists."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from tamis.data.decode import Files, inside, is_image_name
from tamis.data.images import FileImages
from tamis.data.limits import MOST_CLASSES, numbered_classes

_DIGITS = 20  # a class number with more is none

Split = Literal["train", "validation"]

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "validation", "valid", "test", "testing"),
}


class Arranged(NamedTuple):
    """Which files a split has, and of which class each is."""

    names: list[str]
    labels: list[int]
    class_names: tuple[str, ...]


def read_folder(root: Path, split: Split = "train") -> FileImages | None:
    """Images in folders named after their classes, at any depth below them; see `arrange`.

    Returns:
        The split, or None where there is no such split.

    Raises:
        ValueError: there is no image in a class folder.
    """
    names = list(image_names(root))
    arranged = arrange(names, split, str(root))
    if arranged is None:
        return None
    # A name that is not UTF-8 is read as it is; its key shows the strange bytes escaped.
    keys = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in arranged.names]
    labels = torch.tensor(arranged.labels)
    return FileImages(Files(root, arranged.names), labels, arranged.class_names, keys)


def image_names(root: Path) -> Iterator[str]:
    """Names of the image files below a folder, relative, with `/`; links are followed, each folder once."""
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        status = (root / prefix).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if _is_folder(entry):
                    waiting.append(f"{name}/")
                elif is_image_name(name):
                    if _is_special(entry):
                        raise ValueError(f"data must be files and folders, got a pipe or device {name!r}; remove it")
                    yield name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether it is something that would be waited for or read for ever; a link that leads nowhere is not."""
    return not entry.is_symlink() and not entry.is_file()


def arrange(names: Sequence[str], split: Split, where: str) -> Arranged | None:
    """Find splits and classes in the names of files.

    Splits: if a folder `train` (or `training`) holds class folders, then `val`, `validation`, `valid`, `test` or
    `testing` (the first that is there) is the validation split, and all else is ignored. Otherwise the folders at
    the top are the classes of the training split, and there is no validation split. Images outside class folders
    have no label and are ignored. Classes are in the order of their names, samples in the order of theirs (bytes).

    Args:
        names: relative names with `/`.
        split: which one is wanted.
        where: what an error message calls the place.

    Returns:
        The split, or None if there is no such split.

    Raises:
        ValueError: no image has a class, or a class of the validation split has no training image.
    """
    split_of = _splits(names)
    train = {name: name.split("/")[1] for name in split_of["train"]}
    if not train:
        train = {name: name.split("/")[0] for name in names if "/" in name}
        split_of["validation"] = []
    if train and set(train.values()) <= {folder for folders in SPLIT_FOLDERS.values() for folder in folders}:
        found = sorted(set(train.values()))
        raise ValueError(f"data must have train/<class>/ beside the other splits, got {found} in {where!r}; add it")
    if not train:
        found = f"{len(names)} images outside of folders" if names else "no images"
        raise ValueError(
            f"data must have one folder of images for each class (or train/<class>/), got {found} in {where!r}; "
            "move the images into folders named after their classes"
        )
    wanted = train if split == "train" else {name: name.split("/")[1] for name in split_of["validation"]}
    if not wanted:
        return None
    class_names = sorted(set(train.values()), key=os.fsencode)
    number = {name: label for label, name in enumerate(class_names)}
    unknown = sorted(set(wanted.values()) - set(class_names))
    if unknown:
        raise ValueError(
            f"validation classes must be among the {len(class_names)} of the training split, "
            f"got {unknown[0]!r} in {where!r}; rename or remove that folder"
        )
    ordered = sorted(wanted, key=os.fsencode)
    labels = [number[wanted[name]] for name in ordered]
    return Arranged(ordered, labels, tuple(os.fsencode(n).decode("utf-8", "backslashreplace") for n in class_names))


def _splits(names: Sequence[str]) -> dict[Split, list[str]]:
    """The files of each split that lie in a class folder; of several folders for a split, the first in the list."""
    tops: dict[str, list[str]] = {}
    for name in names:
        if name.count("/") >= 2:
            tops.setdefault(name.split("/", 1)[0], []).append(name)
    return {
        split: next((tops[folder] for folder in folders if folder in tops), [])
        for split, folders in SPLIT_FOLDERS.items()
    }


def is_webvision(root: Path) -> bool:
    """Whether the folder has WebVision's lists of training files."""
    return bool(_train_lists(root))


def _train_lists(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("info/train_filelist_*.txt") if path.is_file())


def read_webvision(root: Path, split: Split = "train") -> FileImages | None:
    """WebVision: `info/train_filelist_*.txt` and `info/val_filelist.txt` with lines `file label`.

    Training files are relative to the folder itself, validation files to its `val_images_256` or `val_images`.
    Class names are the words after the identifier in `info/synsets.txt`, or numbers without that file.

    Raises:
        ValueError: a line is not a file name and a class number, or leads out of the folder.
    """
    if split == "train":
        lists, folder = _train_lists(root), ""
    else:
        lists = [path for path in root.glob("info/val_filelist.txt") if path.is_file()]
        folder = "val_images_256/" if (root / "val_images_256").is_dir() else "val_images/"
    if not lists:
        return None
    rows = [row for path in lists for row in _file_list(path, folder)]
    if not rows:
        raise ValueError(f"list must have at least one file, got none in {lists[0].name!r}; add the samples")
    names, labels = [name for name, _ in rows], torch.tensor([label for _, label in rows], dtype=torch.int64)
    class_names = _synsets(root / "info" / "synsets.txt") or _numbered(root)
    return FileImages(Files(root, names), labels, class_names, names)


def _file_list(path: Path, folder: str) -> Iterator[tuple[str, int]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"in {path.name}:{number}"
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdecimal() or int(label[:_DIGITS]) >= MOST_CLASSES or len(label) > _DIGITS:
            raise ValueError(f"line must be a file name and a class number, got {line!r} {where}; correct it")
        yield folder + inside(name.strip(), where), int(label)


def _synsets(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    lines = [line.strip() for line in _text(path).split("\n") if line.strip()]
    words = [line.split(" ", 1)[-1] for line in lines]
    return tuple(words if len(set(words)) == len(words) else lines)


def _numbered(root: Path) -> tuple[str, ...]:
    labels = {label for path in _train_lists(root) for _, label in _file_list(path, "")}
    return numbered_classes(labels, f"in {str(root)!r}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"list must be text in UTF-8, got {str(error)!r} in {path.name!r}; save it so") from error
