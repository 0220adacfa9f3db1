"""MATLAB files of crowds: ShanghaiTech, UCF-QNRF and Mall."""

from pathlib import Path
from typing import Any

import numpy as np

from tamis.data.annotations.columns import Annotations, Collected, Unfit, shown
from tamis.data.annotations.mat5 import read_arrays
from tamis.data.annotations.reading import Affixes, NamedImages, files_of, joined, read_bytes, read_each

LIMIT = 16 << 20
MALL = "mall_gt.mat"


def read_mats(path: Path, root: Path) -> Annotations:
    """Read the ground truth of ShanghaiTech: GT_<image>.mat with image_info{1}.location, (N, 2) x and y.

    Args:
        path: a folder with such files, at any depth.
        root: the folder of the images, at any depth.

    Raises:
        ValueError: no file has an image of its name.
    """
    return _read_each(path, root, "image_info", Affixes(prefix="GT_"))


def read_qnrf(path: Path, root: Path) -> Annotations:
    """Read the ground truth of UCF-QNRF: <image>_ann.mat with annPoints, (N, 2) x and y; otherwise as `read_mats`."""
    return _read_each(path, root, "annPoints", Affixes(ending="_ann"))


def read_mall(path: Path, root: Path) -> Annotations:
    """Read the ground truth of Mall: frame{i}.loc, (N, 2) x and y, of the image seq_<i>, and count(i).

    Args:
        path: mall_gt.mat.
        root: the folder of the frames.

    Raises:
        Unfit: it is no such file.
    """
    content = read_arrays(read_bytes(path, LIMIT), LIMIT)
    frames, counts = content.get("frame"), content.get("count")
    if not isinstance(frames, list):
        raise Unfit("no frame, or none of cells")
    counts = counts.reshape(-1) if isinstance(counts, np.ndarray) else None
    found = Collected(2)
    images = NamedImages(found, root)
    folder = "frames/" if (root / "frames").is_dir() else ""
    for place, frame in enumerate(frames):
        where = f"{path.name}: frame {place + 1}"
        try:
            points = _field(frame, "loc")
        except Unfit as error:
            found.fault("unreadable_annotation", where, str(error))
            continue
        image = images.position(f"{folder}seq_{place + 1:06d}", where)
        if image is None:
            continue
        if counts is not None and (place >= len(counts) or counts[place] != len(points)):
            said = counts[place] if place < len(counts) else "nothing"
            found.fault("malformed", where, f"count says {said}, loc has {len(points)}")
        for row, point in enumerate(points.tolist()):
            found.add(image, 0, point, f"{where}, point {row + 1}", row)
    images.bare("no frame of the file belongs to it")
    return found.done(list(images.sizes), list(images.sizes.values()), ())


def _read_each(path: Path, root: Path, key: str, affixes: Affixes) -> Annotations:
    names = list(files_of(path, ".mat"))
    found = Collected(2)

    def read(name: str, image: int, size: tuple[int, int]) -> None:
        content = read_arrays(read_bytes(path / name, LIMIT), LIMIT)
        if key not in content:
            raise Unfit(f"no {key}")
        value = content[key]
        points = _field(value, "location") if key == "image_info" else _points(value, key)
        for row, point in enumerate(points.tolist()):
            found.add(image, 0, point, f"{shown(name)}: point {row + 1}", row)

    images, sizes = read_each(found, root, names, joined(root, names, affixes), read, "no .mat file")
    return found.done(images, sizes, ())


def _field(value: Any, name: str) -> np.ndarray:
    """Points in a field of a struct, in however many cells of one: float64 (N, 2)."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict) or len(value.get(name, [])) != 1:
        raise Unfit(f"{'image_info' if name == 'location' else 'frame'} without a {name}")
    return _points(value[name][0], name)


def _points(points: Any, name: str) -> np.ndarray:
    if not isinstance(points, np.ndarray):
        raise Unfit(f"{name} is not of numbers")
    if not points.size:
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise Unfit(f"{name} must be (N, 2), got {points.shape}")
    return points.astype(np.float64)
