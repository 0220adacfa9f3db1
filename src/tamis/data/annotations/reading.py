"""Files of annotations: read within limits, and joined to the images that they belong to."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from xml.etree import ElementTree

from tamis.data.annotations.columns import Collected, Unfit, shown
from tamis.data.decode import inside
from tamis.data.folder import image_names

# Parts of a path that only say what is in a folder: images/a/1.jpg and labels/a/1.txt belong together.
_ROLES = frozenset(
    {"images", "labels", "annotations", "jpegimages", "ground_truth", "ground-truth", "masks", "dots", "frames"}
    | {"image_2", "label_2"}
)


class Affixes(NamedTuple):
    """What the name of an annotation file has before and after the name of its image."""

    prefix: str = ""
    ending: str = ""


PLAIN = Affixes()


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


def read_json(path: Path, limit: int) -> Any:
    """The value of a JSON document.

    Raises:
        Unfit: as `read_bytes`, or it is no JSON.
    """
    try:
        return json.loads(read_bytes(path, limit))
    except RecursionError as error:
        raise Unfit("JSON that is nested too deeply") from error
    except Unfit:
        raise
    except ValueError as error:
        raise Unfit(f"no JSON: {error}") from error


def read_xml(path: Path, limit: int, tag: str, what: str) -> ElementTree.Element:
    """Parse XML that declares nothing: entities can fill the memory (billion laughs) and name other files.

    Args:
        path: the file.
        limit: the most bytes.
        tag: of the outermost element.
        what: whose files they are, for the message.

    Raises:
        Unfit: as `read_text`, or it is no such XML.
    """
    text = read_text(path, limit)
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise Unfit(f"XML with a DOCTYPE or ENTITY, which {what} files do not have")
    try:
        tree = ElementTree.fromstring(text)  # noqa: S314 - a text without declarations has no entities
    except (ElementTree.ParseError, ValueError) as error:
        raise Unfit(f"no XML: {error}") from error
    if tree.tag != tag:
        raise Unfit(f"XML of {tree.tag!a:.40}, not of {tag}")
    return tree


def join_key(name: str, affixes: Affixes = PLAIN) -> str:
    """What an image and its annotation file have in common: the name without suffix and without images/, labels/."""
    path = PurePosixPath(name)
    folders = [part for part in path.parts[:-1] if part.lower() not in _ROLES]
    return "/".join([*folders, path.stem.removeprefix(affixes.prefix).removesuffix(affixes.ending)])


def files_of(folder: Path, suffix: str) -> Iterator[str]:
    """Names of the files below a folder that end so, relative, with `/`, sorted; hidden ones are left out."""
    for path in sorted(folder.rglob(f"*{suffix}")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in name.split("/")):
            yield name


def joined(
    root: Path, names: Iterable[str], affixes: Affixes = PLAIN, images: Iterable[str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Annotation files and their images: (file -> image), and the images that no file belongs to.

    Args:
        root: the folder of the images.
        names: of the annotation files.
        affixes: what their names have besides those of the images.
        images: names of the images, if not all below `root`.

    Raises:
        ValueError: not one file has an image of its name.
    """
    known: dict[str, str] = {}
    for name in sorted(image_names(root) if images is None else images):
        known.setdefault(join_key(name), name)
    pairs = {name: known[key] for name in names if (key := join_key(name, affixes)) in known}
    if not pairs:
        raise ValueError(
            f"images must be named as their annotation files, got none that is in {str(root)!r} "
            f"({len(known):,} images); give the folder that holds images and annotations"
        )
    taken = set(pairs.values())
    return pairs, [name for name in known.values() if name not in taken]


def read_each(
    found: Collected,
    root: Path,
    names: list[str],
    pairs: tuple[dict[str, str], list[str]],
    read: Callable[[str, int, tuple[int, int]], None],
    bare: str,
) -> tuple[list[str], list[tuple[int, int]]]:
    """Read one annotation file after the other, and note those without an image and images without a file.

    Args:
        found: takes the faults.
        root: the folder of the images.
        names: of the annotation files.
        pairs: what `joined` says of them.
        read: reads one, given its name, the position of its image, and width and height of that (0 = not known).
        bare: what is wrong with an image that has no file.

    Returns:
        Names and sizes of the images whose file could be read.
    """
    images, sizes = [], []
    for name in names:
        if name not in pairs[0]:
            found.fault("missing_image", shown(name), f"there is no image of this name in {str(root)!r}")
            continue
        size = found.size(root, pairs[0][name]) or (0, 0)
        try:
            read(name, len(images), size)
        except Unfit as error:
            found.fault("unreadable_annotation", shown(name), str(error))
            continue
        images.append(pairs[0][name])
        sizes.append(size)
    for name in pairs[1]:
        found.fault("missing_annotation", shown(name), bare)
    return images, sizes


@dataclass
class NamedImages:
    """Images that one file names in its rows, in the order in which it does.

    Attributes:
        found: takes the faults.
        root: the folder that the names start from.
        sizes: width and height of each that was named and is there.
    """

    found: Collected
    root: Path
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _known: dict[str, str] = field(init=False)
    _positions: dict[str, int | None] = field(default_factory=dict)  # by name as given
    _files: dict[str, int] = field(default_factory=dict)
    _sizes: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known = images_by_name(self.root)

    def position(self, name: str, where: str) -> int | None:
        """The position of an image among those that are named; None if it cannot be used, which is noted once."""
        if name not in self._positions:
            self._positions[name] = self._first(name, where)
        return self._positions[name]

    def size(self, position: int) -> tuple[int, int]:
        """Width and height of the image there; (0, 0) = not known."""
        return self._sizes[position]

    def knows(self, name: str) -> bool:
        """Whether there is an image of this name."""
        return clean_name(name) in self._known

    def bare(self, detail: str) -> None:
        """Note the images that nothing has named."""
        for name in sorted(set(self._known.values()) - set(self.sizes)):
            self.found.fault("missing_annotation", shown(name), detail)

    def _first(self, name: str, where: str) -> int | None:
        clean = clean_name(name)
        if not clean:
            self.found.fault("unsafe_name", where, f"image {name!a:.200} leads out of the folder")
            return None
        file = self._known.get(clean)
        if file is None:
            self.found.fault("missing_image", where, f"there is no image {shown(name)} in {str(self.root)!r}")
            return None
        if file not in self.sizes:
            self._files[file] = len(self.sizes)
            self.sizes[file] = self.found.size(self.root, file) or (0, 0)
            self._sizes.append(self.sizes[file])
        return self._files[file]


def images_by_name(root: Path) -> dict[str, str]:
    """Images below a folder by name; without suffix, or without `images/`, where that is one image's alone."""
    names = sorted(image_names(root))
    short: dict[str, list[str]] = {}
    for name in names:
        inner = name.removeprefix("images/")
        for each in {str(PurePosixPath(name).with_suffix("")), inner, str(PurePosixPath(inner).with_suffix(""))}:
            short.setdefault(each, []).append(name)
    return {alias: each[0] for alias, each in short.items() if len(each) == 1} | {name: name for name in names}


def clean_name(name: str) -> str:
    """A name that a file gives, if it stays below its folder; else nothing."""
    try:
        return inside(name, "")
    except ValueError:
        return ""
