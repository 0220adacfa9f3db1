"""Boxes or points of many images, in columns: what every reader of annotations gives, and what the rules look at."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from PIL import Image

from tamis.data.decode import PIXELS

Rule = Literal[
    "unreadable_annotation", "unsafe_name", "unreadable_image", "missing_image", "missing_annotation",
    "malformed", "no_box", "dangling_image", "duplicate_id", "wrong_class", "wrong_size",
    "not_finite", "no_area", "outside", "partly_outside", "duplicate_row", "no_split",
]  # fmt: skip

# EXIF tag 0x0112; with these values the stored picture lies on its side (EXIF 2.32, table 4).
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)


class Problem(NamedTuple):
    """One fault: the rule, where (file:line, or an id), and what was found there."""

    rule: Rule
    where: str
    detail: str


class Unfit(ValueError):
    """A file that cannot be read at all; the message is the reason, without its name."""


@dataclass
class Annotations:
    """What was read of one set of annotations.

    Rows that a reader cannot take (text for a number, an unknown class or image) are in `problems`, not in
    the columns.

    Attributes:
        images: names of the n images that have annotations (none at all counts too), relative to their folder.
        sizes: int64 (n, 2): width and height in pixels, upright; 0 = not known.
        class_names: names of the classes; empty for points, or where nothing gives them.
        image: int64 (m,): position in `images`.
        label: int64 (m,): class from 0; 0 for points; -1 for a region without a class (KITTI's DontCare).
        values: float64 (m, 4) x1, y1, x2, y2 or (m, 2) x, y, in pixels from the upper left corner.
        places: m texts: file:line, or an id.
        rows: m positions in the file, for who writes it again.
        problems: what is wrong so far.
        keypoints: float64 (m, 2): a point of each box that says more than its middle (COCO's nose), NaN = none; None
            where the layout has none.
    """

    images: list[str]
    sizes: np.ndarray
    class_names: tuple[str, ...]
    image: np.ndarray
    label: np.ndarray
    values: np.ndarray
    places: Sequence[str]
    rows: Sequence[int]
    problems: list[Problem]
    keypoints: np.ndarray | None = None
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Self:
        """The same images with these rows, int64 (k,)."""
        return replace(
            self,
            image=self.image[rows],
            label=self.label[rows],
            values=self.values[rows],
            places=[self.places[row] for row in rows.tolist()],
            rows=[self.rows[row] for row in rows.tolist()],
            keypoints=None if self.keypoints is None else self.keypoints[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    @property
    def ignored(self) -> np.ndarray:
        """Bool (m,): rows that are no object to a detector, but a region that counts for nothing."""
        return self.extra.get("ignored", np.zeros(len(self.image))) == 1

    @property
    def background(self) -> int:
        """How many images have annotations that say: there is nothing."""
        return len(self.images) - len(np.unique(self.image))


def merged(parts: Sequence[tuple[str, Annotations]]) -> Annotations:
    """The annotations of several folders as those of the folder above; classes of one name become one.

    Args:
        parts: the name of a folder ("" = the one above itself) and what it has.

    Raises:
        ValueError: some are of boxes, others of points.
    """
    if [folder for folder, _ in parts] == [""]:
        return parts[0][1]
    if len({each.values.shape[1] for _, each in parts}) != 1:
        folders = ", ".join(folder for folder, _ in parts)
        raise ValueError(f"annotations must be all of boxes or all of points, got both in {folders}")
    starts = np.cumsum([0, *(len(each.images) for _, each in parts)])
    class_names, labels = _one_list([each for _, each in parts])
    within = [(f"{folder}/" if folder else "", each) for folder, each in parts]
    return Annotations(
        [f"{prefix}{name}" for prefix, each in within for name in each.images],
        np.concatenate([each.sizes for _, each in parts]),
        class_names,
        np.concatenate([start + each.image for start, (_, each) in zip(starts, parts, strict=False)]),
        labels,
        np.concatenate([each.values for _, each in parts]),
        [f"{prefix}{place}" for prefix, each in within for place in each.places],
        [row for _, each in parts for row in each.rows],
        [bad._replace(where=f"{prefix}{bad.where}") for prefix, each in within for bad in each.problems],
        extra=_extra([each for _, each in parts]),
    )


def _one_list(parts: Sequence[Annotations]) -> tuple[tuple[str, ...], np.ndarray]:
    """All class names, each once, in the order in which they come, and the label of each row among them.

    A class that has no name where others have is called by its number.
    """
    if not any(each.class_names for each in parts):
        return (), np.concatenate([each.label for each in parts])
    number, labels = dict[str, int](), list[np.ndarray]()
    for each in parts:
        names = each.class_names or [str(label) for label in range(int(each.label.max(initial=-1)) + 1)]
        known = np.array([number.setdefault(name, len(number)) for name in names] + [-1])
        labels.append(known[each.label])  # -1, of what is ignored, stays
    return tuple(number), np.concatenate(labels)


def _extra(parts: Sequence[Annotations]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for each in parts for name in each.extra)
    none = [np.full(len(each.image), np.nan) for each in parts]
    return {
        name: np.concatenate([each.extra.get(name, nan) for each, nan in zip(parts, none, strict=True)])
        for name in names
    }


@dataclass
class Collected:
    """Rows while they are read, one by one."""

    columns: int
    problems: list[Problem] = field(default_factory=list)
    image: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    values: list[Sequence[float]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    keypoints: list[tuple[float, float]] = field(default_factory=list)
    extra: dict[str, list[float]] = field(default_factory=dict)

    def fault(self, rule: Rule, where: str, detail: str) -> None:
        """Note a fault."""
        self.problems.append(Problem(rule, where, detail))

    def add(self, image: int, label: int, values: Sequence[float], place: str, row: int, **extra: float) -> None:
        """Take a row; the arguments are those of `Annotations`. All rows have the same further columns."""
        self.image.append(image)
        self.label.append(label)
        self.values.append(values)
        self.places.append(place)
        self.rows.append(row)
        for name, value in extra.items():
            self.extra.setdefault(name, []).append(value)

    def done(self, images: list[str], sizes: Sequence[tuple[int, int]], class_names: tuple[str, ...]) -> Annotations:
        """The rows in columns."""
        return Annotations(
            images,
            np.array(sizes, np.int64).reshape(-1, 2),
            class_names,
            np.array(self.image, np.int64),
            np.array(self.label, np.int64),
            np.array(self.values, np.float64).reshape(-1, self.columns),
            self.places,
            self.rows,
            self.problems,
            np.array(self.keypoints, np.float64).reshape(-1, 2) if self.keypoints else None,
            {name: np.array(column, np.float64) for name, column in self.extra.items()},
        )

    def size(self, root: Path, name: str) -> tuple[int, int] | None:
        """Width and height of an image; (0, 0) if it cannot be read and None if it is missing, which are noted."""
        try:
            return upright_size(root / name)
        except FileNotFoundError:
            self.fault("missing_image", shown(name), f"there is no such file in {str(root)!r}")
            return None
        except Unfit as error:
            self.fault("unreadable_image", shown(name), str(error))
            return 0, 0


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of an image by its header, turned as its EXIF orientation says; no pixel is decoded.

    Raises:
        FileNotFoundError: there is no such file.
        Unfit: it is no image.
    """
    if not path.exists():
        raise FileNotFoundError(str(path))
    if not path.is_file():
        raise Unfit("no regular file")
    try:
        with Image.open(path) as image:
            width, height = image.size
            lying = image.getexif().get(_ORIENTATION) in _LYING
    except Exception as error:  # PIL raises nearly anything on a damaged header
        raise Unfit(f"{type(error).__name__}: {str(error).replace(str(path), path.name)[:200]}") from error
    if width * height > PIXELS:
        raise Unfit(f"more than {PIXELS:,} pixels")
    return (height, width) if lying else (width, height)


def shown(name: str) -> str:
    """A name that can be printed: no control character, no half of a surrogate pair."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace") if _is_of_files(name) else ascii(name)
    return name if name.isprintable() else repr(name)


def _is_of_files(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True
