"""Names that every file system and every format takes: of image files, and of classes."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

_LENGTH = 80
"""The most characters of a name without suffix; many tools break at 255 bytes of the whole path."""

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.[A-Za-z0-9]{1,5}")

# Names of devices: Windows opens them in every folder, whatever the suffix (learn.microsoft.com, "Naming Files").
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})

# Control characters, halves of surrogate pairs, ends of lines and paragraphs: XML, YAML or a list of lines break.
_BREAKING = frozenset({"Cc", "Cs", "Zl", "Zp"})
_NO_CHARACTERS = "\ufffe\uffff"


def safe_name(key: str, suffix: str = ".jpg") -> str:
    """The name of an image file for the key of a frame: "cam.mp4@12480" becomes "cam-000012480.jpg".

    It has ASCII letters, digits, - and _ only (labels are joined to images up to the first dot by some readers), begins
    with no -, and has 80 characters at most before the suffix. Folders, dots and @ become -; where anything else had
    to go, or the name is a device's on Windows, a digest of the key makes the name its own again.

    Args:
        key: of a frame of a video, name@pts, or the relative path of an image; any text.
        suffix: of the new file.
    """
    source, at, pts = key.rpartition("@")
    if not (at and re.fullmatch(r"-?[0-9]{1,18}", pts)):
        source, pts = key, ""
    plain = re.sub(r"[/\\.]", "-", _stem(source)) + (f"-{int(pts):09d}" if pts else "")
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", plain).lstrip("-")
    if stem != plain or not stem or len(stem) > _LENGTH or stem.lower() in _DEVICES:
        return _digested(stem, key) + suffix
    return stem + suffix


def safe_names(keys: Sequence[str], suffix: str = ".jpg") -> list[str]:
    """`safe_name` of each; where two would differ by nothing, or by capitals only, all of them get their digest."""
    names = [safe_name(key, suffix) for key in keys]
    counts = Counter(name.lower() for name in names)
    return [
        name if counts[name.lower()] == 1 else _digested(name.removesuffix(suffix), key) + suffix
        for name, key in zip(names, keys, strict=True)
    ]


def check_names(names: Iterable[str]) -> None:
    """Refuse names that are not as `safe_name` makes them, or of which two have the same stem.

    Raises:
        ValueError: with the name.
    """
    seen: set[str] = set()
    for name in names:
        stem = name.partition(".")[0].lower()
        if not _SAFE.fullmatch(name) or stem in _DEVICES:
            raise ValueError(f"name must be letters, digits, - and _ with a suffix, got {name!a:.200}; use safe_name")
        if stem in seen:
            raise ValueError(f"name must be the only one of its stem, got {name!r} twice; use safe_names")
        seen.add(stem)


def plain_text(text: str) -> str:
    """A text on one line; what XML, YAML or a line of text cannot hold becomes a space."""
    return " ".join("".join(" " if _breaks(character) else character for character in text).split())


def plain_class_names(names: Sequence[str]) -> list[str]:
    """Names of classes that every format can hold: each `plain_text`, and another than those before it.

    A name of which nothing is left becomes "class 3", by its position; one that is there already gets its position.
    """
    return _distinct((plain_text(name) or f"class {position}" for position, name in enumerate(names)), " ")


def words(names: Sequence[str]) -> list[str]:
    """`plain_class_names` for formats whose columns are set apart by spaces: spaces become _."""
    return _distinct(("_".join(name.split()) for name in names), "_")


def _distinct(names: Iterable[str], joint: str) -> list[str]:
    distinct: list[str] = []
    for position, name in enumerate(names):
        while name in distinct:
            name = f"{name}{joint}{position}"
        distinct.append(name)
    return distinct


def _stem(source: str) -> str:
    """A path without the suffix of its file; `.jpg` alone has none."""
    path = source.replace("\\", "/")
    return path.removesuffix(PurePosixPath(path).suffix)


def _digested(stem: str, key: str) -> str:
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{stem[: _LENGTH - 13].rstrip('-') or 'image'}-{digest}"


def _breaks(character: str) -> bool:
    return character in _NO_CHARACTERS or unicodedata.category(character) in _BREAKING
