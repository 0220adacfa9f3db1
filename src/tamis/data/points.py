"""Images with points to count, whatever their layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np

from tamis.data.annotations import Annotations, At, Layout, Problem, Unfit, box_points, counting_layouts, judge
from tamis.data.annotations.carpk import carpk_splits
from tamis.data.annotations.columns import merged
from tamis.data.annotations.layouts import CVAT, READERS, is_labelme, recognised
from tamis.data.annotations.points import read_split
from tamis.data.folder import Split
from tamis.data.splits import by_folder, parted, refuse_path, refuse_video

_MALL_TRAIN = 800
"""Frames of Mall that are for training (Chen et al. 2012, section 4)."""
_EDGE = 1 / 64  # pixels: a point on the right or lower border goes so far into its last pixel

SUPPORTED = (
    "images with points.csv (image,x,y), ShanghaiTech's part_A or part_B, Mall, CARPK, UCF-QNRF, MOT sequences, "
    "train/ and test/ of one of them; or annotations=: COCO, YOLO, VOC, LabelMe, CVAT, Label Studio, dot masks"
)


@dataclass(frozen=True)
class PointSet:
    """Images of one split and the points in each.

    Attributes:
        root: the folder that the names start from.
        names: the n images, relative to it, with `/`; they are the keys of the samples.
        points: n times float64 (k, 2): x and y in pixels from the upper left corner of the upright image, in
            [0, width) and [0, height). k = 0 is background.
        sizes: int64 (n, 2): width and height in pixels.
        problems: what is wrong in the data that was opened, the other split included: points that are not here (NaN,
            outside), images that are not here (unreadable, without annotation); points that are there twice are here,
            and named.
    """

    root: Path
    names: tuple[str, ...]
    points: tuple[np.ndarray, ...]
    sizes: np.ndarray
    problems: tuple[Problem, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def counts(self) -> np.ndarray:
        """int64 (n,): how many points each image has."""
        return np.array([len(each) for each in self.points], np.int64)

    def select(self, positions: Sequence[int]) -> "PointSet":
        """The images at these positions."""
        names = tuple(self.names[each] for each in positions)
        points = tuple(self.points[each] for each in positions)
        return PointSet(self.root, names, points, self.sizes[list(positions)], self.problems)


def open_points(
    path: str | Path, annotations: str | Path | None = None, *, at: At = "centre"
) -> tuple[PointSet, PointSet | None]:
    """Open a data set of points; what is there decides how it is read.

    Splits are those that were published (Mall: the first 800 frames are for training; CARPK: ImageSets), those of a
    column `split` of a CSV, or the folders train and val, valid, validation or test (the first that is there).

    Args:
        path: the folder of the data, or of its images where `annotations` are given.
        annotations: boxes or points in any layout that `tamis check` knows.
        at: which point of a box counts: its "centre", or the "head" of a person: a fifteenth of the height below the
            middle of the top.

    Returns:
        The training images, and those to judge by or None.

    Raises:
        ValueError: no known layout is there, nothing of it can be used, or no image is for training.
        FileNotFoundError: there is nothing.
    """
    if at not in get_args(At):
        raise ValueError(f"at must be 'centre' or 'head', got {at!r}")
    path = Path(path)
    layouts = _layouts(path, None if annotations is None else Path(annotations))
    whole = point_set(path, merged([(folder, _read(layout, at)) for folder, layout in layouts.items()]))
    splits = splits_of(layouts, whole.names)
    return parted(whole, splits, path)


def _layouts(path: Path, annotations: Path | None) -> dict[str, Layout]:
    """What is to be read, by the folder in `path` that it is for."""
    if not path.is_dir():
        refuse_path(path)
    if annotations is not None:
        return {"": Layout(recognised(annotations), annotations, path)}
    found = counting_layouts(path)
    if any(folder.lower().startswith("train") for folder in found) or "" in found:
        return found
    files = [each for each in sorted(path.iterdir()) if each.is_file() and _is_annotation_file(each)]
    if len(files) == 1:
        return {"": Layout(recognised(files[0]), files[0], path)}
    refuse_video(path)
    try:
        return {"": Layout(recognised(path), path, path)}
    except ValueError as error:
        there = ", ".join(repr(each.name) for each in sorted(path.iterdir())[:5]) or "nothing"
        raise ValueError(f"data must be {SUPPORTED}; got {str(path)!r}, which holds {there}") from error


def _is_annotation_file(path: Path) -> bool:
    """Whether one file may be of all images of its folder."""
    return path.suffix == ".csv" or path.name == CVAT or (path.suffix == ".json" and not is_labelme(path))


def _read(layout: Layout, at: At) -> Annotations:
    """All points of a layout, those that are left out still among them."""
    try:
        found = READERS[layout.kind](layout.path, layout.root)
    except Unfit as error:
        raise ValueError(f"annotations must be readable, got {error} in {str(layout.path)!r}; correct them") from error
    return as_points(found, at)


def as_points(found: Annotations, at: At) -> Annotations:
    """Annotations of points, of those of boxes or points."""
    return box_points(found, judge(found), at) if found.values.shape[1] == 4 else found


def point_set(root: Path, found: Annotations) -> PointSet:
    """The images and points that can be used of annotations of points, in the order of their names."""
    judged = judge(found)
    told = {(problem.rule, problem.where) for problem in found.problems}  # a box that is there twice already is
    more = [problem for problem in judged.problems if (problem.rule, problem.where) not in told]
    rows = np.flatnonzero(judged.keep | judged.twice)
    rows = rows[np.argsort(found.image[rows], kind="stable")]
    inside = np.clip(judged.values[rows], 0, found.sizes[found.image[rows]] - _EDGE)
    points = np.split(inside, np.searchsorted(found.image[rows], np.arange(1, len(found.images))))
    good = np.flatnonzero(found.sizes.all(axis=1)).tolist()
    order = sorted(good, key=found.images.__getitem__)
    return PointSet(
        root,
        tuple(found.images[each] for each in order),
        tuple(points[each] for each in order),
        found.sizes[order],
        (*found.problems, *more),
    )


def splits_of(layouts: Mapping[str, Layout], names: Sequence[str]) -> list[Split | None]:
    """The split of each image, as `open_points` says; None = of neither.

    Raises:
        ValueError: a list or column of splits is wrong.
    """
    layout = layouts.get("")
    if layout is not None and layout.kind == "mall":
        return ["train" if int(PurePosixPath(name).stem[-6:]) <= _MALL_TRAIN else "validation" for name in names]
    if layout is not None and layout.kind == "carpk":
        listed = carpk_splits(layout.path)
        return [listed.get(PurePosixPath(name).stem) for name in names]
    if layout is not None and layout.kind in ("points", "boxes") and (column := read_split(layout.path, layout.root)):
        return [column.get(name, "train") for name in names]
    return by_folder(names)
