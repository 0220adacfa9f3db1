"""Boxes or points of many images, in columns: what every reader of annotations gives, and what the rules look at."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from tamis.data.decode import PIXELS
from tamis.data.folder import image_names

Rule = Literal[
    "unreadable_annotation", "unsafe_name", "unreadable_image", "missing_image", "missing_annotation",
    "malformed", "no_box", "dangling_image", "duplicate_id", "wrong_class", "wrong_size",
    "not_finite", "no_area", "outside", "partly_outside", "duplicate_row",
]  # fmt: skip

# Parts of a path that only say what is in a folder: images/a/1.jpg and labels/a/1.txt belong together.
_ROLES = frozenset({"images", "labels", "annotations", "jpegimages", "ground_truth", "ground-truth"})
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
        label: int64 (m,): class from 0; 0 for points.
        values: float64 (m, 4) x1, y1, x2, y2 or (m, 2) x, y, in pixels from the upper left corner.
        places: m texts: file:line, or an id.
        rows: m positions in the file, for who writes it again.
        problems: what is wrong so far.
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

    @property
    def background(self) -> int:
        """How many images have annotations that say: there is nothing."""
        return len(self.images) - len(np.unique(self.image))


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

    def fault(self, rule: Rule, where: str, detail: str) -> None:
        """Note a fault."""
        self.problems.append(Problem(rule, where, detail))

    def add(self, image: int, label: int, values: Sequence[float], place: str, row: int) -> None:
        """Take a row; the arguments are those of `Annotations`."""
        self.image.append(image)
        self.label.append(label)
        self.values.append(values)
        self.places.append(place)
        self.rows.append(row)

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


def read_text(path: Path, limit: int) -> str:
    """The UTF-8 text of a file, without a byte order mark.

    Raises:
        Unfit: it is larger than `limit` bytes, cannot be read, or is no such text.
    """
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unfit(f"no UTF-8 text: byte {error.start}") from error


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file.

    Raises:
        Unfit: it is larger than `limit` bytes or cannot be read.
    """
    if not path.is_file():
        raise Unfit("no such file")
    size = path.stat().st_size
    if size > limit:
        raise Unfit(f"{size:,} bytes, more than the {limit:,} of the largest file that is read")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unfit((error.strerror or "not readable").lower()) from error


def join_key(name: str, prefix: str = "") -> str:
    """What an image and its annotation file have in common: the name without suffix and without images/, labels/."""
    path = PurePosixPath(name)
    folders = [part for part in path.parts[:-1] if part.lower() not in _ROLES]
    return "/".join([*folders, path.stem.removeprefix(prefix)])


def files_of(folder: Path, suffix: str) -> Iterator[str]:
    """Names of the files below a folder that end so, relative, with `/`, sorted; hidden ones are left out."""
    for path in sorted(folder.rglob(f"*{suffix}")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in name.split("/")):
            yield name


def joined(root: Path, names: Iterable[str], prefix: str = "") -> tuple[dict[str, str], list[str]]:
    """Annotation files and their images: (file -> image), and the images that no file belongs to.

    Raises:
        ValueError: not one file has an image of its name.
    """
    images: dict[str, str] = {}
    for name in sorted(image_names(root)):
        images.setdefault(join_key(name), name)
    pairs = {name: images[key] for name in names if (key := join_key(name, prefix)) in images}
    if not pairs:
        raise ValueError(
            f"images must be named as their annotation files, got none that is in {str(root)!r} "
            f"({len(images):,} images); give the folder that holds images and annotations"
        )
    taken = set(pairs.values())
    return pairs, [name for name in images.values() if name not in taken]
