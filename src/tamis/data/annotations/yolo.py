"""YOLO: a text file for each image with `class x y width height` a line, centre and size as shares of the image."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tamis.data.annotations.columns import Annotations, Collected, Unfit, shown
from tamis.data.annotations.reading import files_of, joined, read_each, read_text

LIMIT, _NAMES_LIMIT = 64 << 20, 256 << 10
_LISTS = frozenset({"classes.txt", "train.txt", "val.txt", "test.txt"})  # no labels
_PIXELS = 2.0  # a share above it was meant to be pixels


def label_files(path: Path) -> tuple[Path, list[str]]:
    """The folder of the label files of a data set, and their names in it."""
    folder = path / "labels" if (path / "labels").is_dir() else path
    return folder, [name for name in files_of(folder, ".txt") if PurePosixPath(name).name not in _LISTS]


def read_yolo(path: Path, root: Path) -> Annotations:
    """Read a folder of label files.

    Class names are those of data.yaml or classes.txt, there or in one of the two folders above; without them, every
    class from 0 is one.

    Args:
        path: the folder of the label files, or the one above that has `labels`.
        root: the folder of the images, at any depth.

    Raises:
        Unfit: the file of the class names cannot be read.
        ValueError: no label file has an image of its name.
    """
    folder, names = label_files(path)
    found = Collected(4)
    class_names = read_names(folder)

    def read(name: str, image: int, size: tuple[int, int]) -> None:
        for row, line in enumerate(read_text(folder / name, LIMIT).splitlines()):
            if cells := line.split():
                _line(found, cells, f"{shown(name)}:{row + 1}", image, size, len(class_names), row)

    bare = "no label file; an empty one says that there is nothing"
    images, sizes = read_each(found, root, names, joined(root, names), read, bare)
    return found.done(images, sizes, class_names)


def write_yolo(path: Path, kept: Annotations, changed: np.ndarray, root: Path, out: Path) -> None:
    """Write label files again, with the rows that are left; arguments as `write_coco`, `out` is a new folder."""
    folder, names = label_files(path)
    pairs, _ = joined(root, names)
    place = {name: position for position, name in enumerate(kept.images)}
    bounds = np.searchsorted(kept.image, np.arange(len(kept.images) + 1))
    out.mkdir(parents=True)
    if kept.class_names:
        (out / "classes.txt").write_text("".join(f"{name}\n" for name in kept.class_names), "utf-8")
    for name in names:
        position = place.get(pairs.get(name, ""))
        if position is None:
            continue
        lines = read_text(folder / name, LIMIT).splitlines()
        text = ""
        for row in range(bounds[position], bounds[position + 1]):
            line = lines[kept.rows[row]]
            if changed[row]:
                line = f"{kept.label[row]} {_shares(kept.values[row], kept.sizes[position])}"
            text += f"{line.strip()}\n"
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text, "utf-8")


def read_names(folder: Path) -> tuple[str, ...]:
    """Names of the classes; empty where no file gives them.

    Raises:
        Unfit: such a file is there and cannot be read.
    """
    for above in (folder, folder.parent, folder.parent.parent):
        for name in ("data.yaml", "classes.txt"):
            if (above / name).is_file():
                try:
                    return _of_yaml(above / name) if name == "data.yaml" else _of_lines(above / name)
                except Unfit as error:
                    raise Unfit(f"{name}: {error}") from error
    return ()


def _of_lines(path: Path) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, read_text(path, _NAMES_LIMIT).splitlines())))


def read_yaml(path: Path) -> dict[Any, Any]:
    """The entries of a data.yaml: names, train, val, path.

    Raises:
        Unfit: it cannot be read, or is no such file.
    """
    import yaml  # takes a while to load

    try:
        entries = yaml.safe_load(read_text(path, _NAMES_LIMIT)) or {}
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, Unfit):
            raise
        raise Unfit(f"no YAML with names: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(entries, dict):
        raise Unfit("no YAML with names: it has no entries")
    return entries


def _of_yaml(path: Path) -> tuple[str, ...]:
    names = read_yaml(path).get("names")
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise Unfit("names must be a list, or numbered from 0")
    return tuple(map(str, names))


def _line(
    found: Collected, cells: list[str], where: str, image: int, size: tuple[int, int], classes: int, row: int
) -> None:
    if len(cells) != 5:
        more = "; a sixth is a prediction's confidence" if len(cells) == 6 else ""
        more = "; more are a polygon's" if len(cells) > 6 else more
        found.fault("malformed", where, f"{len(cells)} columns, not 5{more}")
        return
    try:
        label, *shares = map(float, cells)
    except ValueError:
        found.fault("malformed", where, f"no number: {' '.join(cells)!a:.100}")
        return
    if not label.is_integer() or label < 0 or (classes and label >= classes) or label >= 1 << 31:
        known = f"a class from 0 to {classes - 1}" if classes else "a class number from 0"
        found.fault("wrong_class", where, f"{cells[0]!a:.40} is not {known}")
        return
    if any(_PIXELS < abs(share) < float("inf") for share in shares):
        found.fault(
            "malformed", where, f"values above 1: {' '.join(cells[1:])!a:.100}; divide pixels by the image's size"
        )
        return
    if all(size):
        found.add(image, int(label), _corners(shares, size), where, row)


def _corners(shares: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    x, y, width, height = shares
    across, down = size
    return (x - width / 2) * across, (y - height / 2) * down, (x + width / 2) * across, (y + height / 2) * down


def _shares(corners: np.ndarray, size: np.ndarray) -> str:
    x1, y1, x2, y2 = corners / np.tile(size, 2)
    return " ".join(f"{each:.8g}" for each in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
