"""KITTI's 2D objects: a text file for each image, fifteen columns a line (Geiger et al. 2012, object devkit readme)."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tamis.data.annotations.columns import Annotations, Collected, shown
from tamis.data.annotations.reading import files_of, joined, read_each, read_text
from tamis.data.annotations.yolo import read_names
from tamis.data.folder import image_names

LABELS, IMAGES = "label_2", "image_2"
LIMIT = 1 << 20
TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
"""The types of the data set, in the devkit's order; DontCare is none of them."""
_OCCLUSION, _UNKNOWN = (0, 1, 2, 3), -1  # 3 is unknown too; -1 is what other programs write
_COLUMNS = (15, 16)  # a sixteenth is a prediction's score


def read_kitti(path: Path, root: Path) -> Annotations:
    """Read label_2/*.txt of `type truncated occluded alpha x1 y1 x2 y2 ...`; corners are taken as they stand.

    Boxes of DontCare are regions that count for nothing. Class names are those of a classes.txt or data.yaml, as for
    YOLO; without one KITTI's eight, or all that occur where there are others.

    Args:
        path: label_2, or the folder that holds it.
        root: the folder of the images, at any depth; of a root that holds image_2, only that.

    Raises:
        Unfit: the file of the class names cannot be read.
        ValueError: no text file has an image of its name.
    """
    folder = path / LABELS if (path / LABELS).is_dir() else path
    names = list(files_of(folder, ".txt"))
    found = Collected(4)
    given = read_names(folder)
    classes = {name: label for label, name in enumerate(given or TYPES)}

    def read(name: str, image: int, size: tuple[int, int]) -> None:
        for row, line in enumerate(read_text(folder / name, LIMIT).splitlines()):
            if cells := line.split():
                _line(found, cells, f"{shown(name)}:{row + 1}", image, size, classes, bool(given), row)

    images = [f"{IMAGES}/{name}" for name in image_names(root / IMAGES)] if (root / IMAGES).is_dir() else None
    bare = "no text file; an empty one says that there is nothing"
    read_images, sizes = read_each(found, root, names, joined(root, names, images=images), read, bare)
    done = found.done(read_images, sizes, tuple(classes))
    return done if given else _of_types(done)


def _line(
    found: Collected, cells: list[str], where: str, image: int, size: tuple[int, int], classes: dict[str, int],
    closed: bool, row: int,
) -> None:  # fmt: skip
    if len(cells) not in _COLUMNS:
        found.fault("malformed", where, f"{len(cells)} columns, not 15: type truncated occluded alpha x1 y1 x2 y2 ...")
        return
    try:
        truncation, occlusion, _, *corners = map(float, cells[1:8])
    except ValueError:
        found.fault("malformed", where, f"no number: {' '.join(cells[1:8])!a:.100}")
        return
    ignored = cells[0].lower() == "dontcare"
    if occlusion not in (*_OCCLUSION, _UNKNOWN):
        found.fault("malformed", where, f"occluded {cells[2]!a:.40} is not 0, 1, 2 or 3")
    elif truncation != _UNKNOWN and not 0 <= truncation <= 1:
        found.fault("malformed", where, f"truncated {cells[1]!a:.40} is not in [0, 1]")
    elif not ignored and closed and cells[0] not in classes:
        found.fault("wrong_class", where, f"type {cells[0]!a:.100} is no class")
    elif all(size):
        label = -1 if ignored else classes.setdefault(cells[0], len(classes))
        seen = {"occlusion": occlusion, "truncation": truncation}
        extra = {name: float("nan") if value == _UNKNOWN else value for name, value in seen.items()}
        found.add(image, label, corners, where, row, ignored=float(ignored), **extra)


def _of_types(done: Annotations) -> Annotations:
    """The classes that occur, where a type occurs that KITTI does not have."""
    used, label = np.unique(done.label[~done.ignored], return_inverse=True)
    if not len(used) or used[-1] < len(TYPES):
        return replace(done, class_names=TYPES)
    labels = done.label.copy()
    labels[~done.ignored] = label
    return replace(done, label=labels, class_names=tuple(done.class_names[each] for each in used.tolist()))
