"""From what a user names (files, folders, patterns, lists) to files, in an order that depends on their names only."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from tamis.data.annotations.coco import LIMIT as LARGEST_COCO
from tamis.data.annotations.columns import Unfit
from tamis.data.annotations.reading import read_json, read_text
from tamis.data.decode import inside, is_image_name

# What is taken for a video in a folder; a file that is named itself may be called anything.
# fmt: off
_VIDEOS = frozenset({
    ".3g2", ".3gp", ".264", ".265", ".asf", ".avi", ".dav", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265",
    ".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})
# fmt: on
_LONGEST_LIST = 256 << 20  # bytes


@dataclass(frozen=True)
class Found:
    """A video, or images that belong together.

    Attributes:
        root: the folder that names start from.
        files: absolute; one for a video.
        is_video: or images.
        named: the user named this very file: if it cannot be read, that is an error.
    """

    root: Path
    files: tuple[Path, ...]
    is_video: bool
    named: bool


def find(source: str | Path) -> list[Found]:
    """The videos and images that a source stands for.

    - A file: a video, or an image; `*.txt` is a list of files, one a line; `*.json` is a COCO document.
    - A folder: all images and videos below it; the images of each folder belong together.
    - A pattern (`*`, `?`, `[...]`, `**`): the files that match.

    Names are in the order of their bytes, numbers in them by value ("9.jpg" before "10.jpg"); in a list and a document,
    as they stand there.

    Raises:
        ValueError: there is no such file, nothing is in it, or a list names a file outside of its folder.
    """
    path = _absolute(source)
    if path.is_dir():
        found = _grouped(path, _files(path))
    elif not path.exists():
        found = _matching(str(source))
    elif path.suffix.lower() == ".txt":
        found = _listed(path, _lines(path))
    elif path.suffix.lower() == ".json":
        found = _listed(path, _coco(path))
    else:
        found = [Found(path.parent, (path,), not _is_image(path.name), True)]
    if not found:
        raise ValueError(f"source must hold images or videos, got none in {str(source)!r}; name another")
    return found


def natural(name: str) -> tuple[tuple[int, int, bytes], ...]:
    """What names are ordered by: numbers in them by value and first, the rest by bytes."""
    parts = re.split(r"([0-9]+)", name)
    pieces = [(0, int(part), b"") if part[0] in "0123456789" else (1, 0, os.fsencode(part)) for part in parts if part]
    return (*pieces, (-1, 0, os.fsencode(name)))


def is_video_name(name: str) -> bool:
    """Whether a file of this name is taken for a video in a folder; hidden files are not."""
    path = PurePath(name)
    return path.suffix.lower() in _VIDEOS and not path.name.startswith(".")


def _absolute(path: str | Path) -> Path:
    return Path(os.path.normpath(Path(path).absolute()))


def _files(folder: Path) -> list[Path]:
    """Files below a folder that are images or videos; links are followed, each folder once."""
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for top, folders, files in os.walk(folder, followlinks=True):
        status = Path(top).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [each for each in folders if not each.startswith(".") and each != "__MACOSX"]
        found += [Path(top) / name for name in files if _is_wanted(name)]
    return found


def _is_wanted(name: str) -> bool:
    return is_image_name(name) or is_video_name(name)


def _is_image(name: str) -> bool:
    return is_image_name(name) and not is_video_name(name)  # PIL would read the first picture of an MPEG file


def _matching(pattern: str) -> list[Found]:
    path = Path(pattern)
    try:
        matches = list(Path(path.anchor).glob(str(path.relative_to(path.anchor)))) if set(pattern) & set("*?[") else []
    except (ValueError, NotImplementedError):  # a pattern that is none, as "a**b"
        matches = []
    files = [_absolute(each) for each in matches if _is_wanted(each.name) and each.is_file()]
    if not files:
        raise ValueError(f"source must be a file, a folder or a pattern that matches, got {pattern!r}; check its name")
    return _grouped(Path(os.path.commonpath([file.parent for file in files])), files)


def _grouped(root: Path, files: Sequence[Path]) -> list[Found]:
    """Images by their folders, and each video, in the order of names."""
    folders: dict[Path, list[Path]] = {}
    found = []
    for file in sorted(files, key=lambda file: natural(file.relative_to(root).as_posix())):
        if _is_image(file.name):
            folders.setdefault(file.parent, []).append(file)
        else:
            found.append(Found(root, (file,), True, False))
    images = [Found(root, tuple(files), False, False) for files in folders.values()]
    return sorted([*images, *found], key=lambda each: natural(each.files[0].relative_to(root).as_posix()))


def _listed(path: Path, named: tuple[Path, list[str]]) -> list[Found]:
    """A list's videos and the images between them, in its order."""
    root, names = named
    found: list[Found] = []
    images: list[Path] = []
    for name in [*names, ""]:
        if name and not is_video_name(name):
            images.append(root / name)
            continue
        if images:
            found.append(Found(root, tuple(images), False, False))
            images = []
        if name:
            found.append(Found(root, (root / name,), True, False))
    return found


def _lines(path: Path) -> tuple[Path, list[str]]:
    names = []
    try:
        lines = read_text(path, _LONGEST_LIST).splitlines()
    except Unfit as error:
        raise ValueError(f"list of files must be readable, got {error} in {path.name!r}; correct it") from error
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if name and not name.startswith("#"):
            if Path(name).is_absolute() and _absolute(name).is_relative_to(path.parent):
                name = _absolute(name).relative_to(path.parent).as_posix()
            names.append(inside(name, f"in {path.name!r}, line {number}"))
    return path.parent, names


def _coco(path: Path) -> tuple[Path, list[str]]:
    try:
        document = read_json(path, LARGEST_COCO)
        images = document.get("images") if isinstance(document, dict) else None
        if not isinstance(images, list):
            raise Unfit("no COCO document: it has no list of images")
    except Unfit as error:
        raise ValueError(f"COCO document must be readable, got {error} in {path.name!r}; correct it") from error
    names = []
    for row, image in enumerate(images):
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str):
            raise ValueError(f"image must have a file_name, got {name!r} in {path.name!r}, image {row}; correct it")
        names.append(inside(name, f"in {path.name!r}, image {row}"))
    above = path.parent.parent
    places = [path.parent, path.parent / "images", path.parent / path.stem, above, above / "images", above / path.stem]
    first = next(iter(names), "")
    return next((place for place in places if first and (place / first).is_file()), path.parent), names
