"""Dot masks: a picture of the same size as the image, black but for one pixel on each object."""

from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from tamis.data.annotations.columns import Annotations, Collected, Unfit, shown, upright_size
from tamis.data.annotations.reading import Affixes, join_key, joined, read_each
from tamis.data.folder import image_names

_ENDINGS = ("_dots", "dots", "_mask")
_FOLDERS = frozenset({"masks", "dots"})
_DENSEST = 10  # pixels for each dot, at least: more are regions


def mask_files(folder: Path) -> list[str]:
    """PNG files below a folder that are called <image>_dots.png, or lie in a folder masks or dots."""
    return [name for name in sorted(image_names(folder)) if _is_mask(PurePosixPath(folder.name, name))]


def _is_mask(path: PurePosixPath) -> bool:
    named = path.stem.endswith("dots") or any(part.lower() in _FOLDERS for part in path.parts[:-1])
    return path.suffix.lower() == ".png" and named


def read_dots(path: Path, root: Path) -> Annotations:
    """Read dot masks: every pixel that is not zero is one dot, at its middle; neighbours are not merged.

    The mask of a/1.jpg is a/1_dots.png, or 1.png or 1_dots.png in a folder masks or dots. Transparency is ignored.

    Args:
        path: the folder of the masks, at any depth.
        root: the folder of the images, at any depth.

    Raises:
        ValueError: no mask has an image of its name.
    """
    names = mask_files(path)
    below = path.relative_to(root).as_posix() + "/" if path != root and path.is_relative_to(root) else ""
    masks = {below.removeprefix("./") + name for name in names}
    images = [name for name in image_names(root) if name not in masks]
    ending = {name: next((end for end in _ENDINGS if PurePosixPath(name).stem.endswith(end)), "") for name in names}
    found = Collected(2)

    def read(name: str, image: int, size: tuple[int, int]) -> None:
        for row, (x, y) in enumerate(_dots(path / name, size).tolist()):
            found.add(image, 0, (x, y), f"{shown(name)}: dot {row + 1}", row)

    known = {join_key(name) for name in images}
    kinds = {end for name, end in ending.items() if join_key(name, Affixes(ending=end)) in known} or {""}
    pairs: dict[str, str] = {}
    for end in sorted(kinds):
        some = [name for name in names if ending[name] == end]
        pairs |= joined(root, some, Affixes(ending=end), images)[0]
    bare = [name for name in sorted(images) if name not in set(pairs.values())]
    done, sizes = read_each(found, root, names, (pairs, bare), read, "no mask; a black one says that there is nothing")
    return found.done(done, sizes, ())


def _dots(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Middles of the pixels that are not zero: float64 (k, 2) x, y."""
    mine = upright_size(path)
    if all(size) and mine != size:
        raise Unfit(f"a mask of {mine[0]} x {mine[1]} for an image of {size[0]} x {size[1]}")
    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "PA", "LA", "RGBA", "CMYK"):
                picture = picture.convert("L" if picture.mode == "LA" else "RGB")
            values = np.asarray(picture)
    except Exception as error:  # PIL raises nearly anything on a damaged file
        raise Unfit(f"{type(error).__name__}: {str(error)[:200]}") from error
    marked = values.reshape(*values.shape[:2], -1).any(axis=2)
    count = int(marked.sum())
    if count * _DENSEST > marked.size:
        raise Unfit(f"{count:,} of {marked.size:,} pixels are not zero: regions, not dots")
    y, x = np.nonzero(marked)
    return np.stack([x, y], axis=1) + 0.5
