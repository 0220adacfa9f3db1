"""Images with boxes, whatever their layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tamis.data.annotations import Annotations, Kind, Problem, Unfit, judge, shown
from tamis.data.annotations.columns import merged
from tamis.data.annotations.layouts import READERS
from tamis.data.box_layouts import Part, box_parts
from tamis.data.folder import Split
from tamis.data.points import splits_of
from tamis.data.split_lists import Entry, split_lists
from tamis.data.splits import by_folder, parted

_ONE_CLASS: dict[Kind, str] = {"mot": "person", "carpk": "car"}  # what these data sets are of


@dataclass(frozen=True)
class BoxSet:
    """Images of one split and the boxes in each.

    The boxes of an image are in the order of class and corners, whatever their order in the file.

    Attributes:
        root: the folder that the names start from.
        names: the n images, relative to it, with `/`; they are the keys of the samples.
        boxes: n times float32 (k, 4): x1, y1, x2, y2 in pixels from the upper left corner of the upright image, inside
            of it and with an area. k = 0 is background.
        labels: n times int64 (k,): positions in `class_names`.
        sizes: int64 (n, 2): width and height in pixels.
        class_names: of both splits together; where nothing names the classes, their numbers.
        problems: what is wrong in the data that was opened, the other split included: boxes that are not here (NaN,
            without area, outside, there twice), boxes that were clipped, images that are not here (unreadable, without
            annotation).
        ignored: n times float32 (r, 4): regions that count for nothing, COCO's iscrowd and KITTI's DontCare.
        columns: n times float32 (k,) by name: "occlusion" (0 fully visible, 1 partly, 2 largely, 3 unknown) and
            "truncation" (0 to 1) of KITTI, and of COCO documents that have them; NaN = not known. Else empty.
    """

    root: Path
    names: tuple[str, ...]
    boxes: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    sizes: np.ndarray
    class_names: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    ignored: tuple[np.ndarray, ...] = ()
    columns: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def counts(self) -> np.ndarray:
        """int64 (n,): how many boxes each image has."""
        return np.array([len(each) for each in self.boxes], np.int64)

    def select(self, positions: Sequence[int]) -> "BoxSet":
        """The images at these positions."""
        return replace(
            self,
            names=tuple(self.names[each] for each in positions),
            boxes=tuple(self.boxes[each] for each in positions),
            labels=tuple(self.labels[each] for each in positions),
            sizes=self.sizes[list(positions)],
            ignored=tuple(self.ignored[each] for each in positions) if self.ignored else (),
            columns={name: tuple(column[each] for each in positions) for name, column in self.columns.items()},
        )


def open_boxes(path: str | Path, annotations: str | Path | None = None) -> tuple[BoxSet, BoxSet | None]:
    """Open a data set of boxes; what is there decides how it is read.

    Splits are those of COCO's documents (instances_train2017.json), of the lists in ImageSets/ (VOC, KITTI) or of
    data.yaml or train.txt (YOLO), or the folders train and val, valid, validation or test (the first that is there).
    Without any, all images are for training. Classes of one name are one class, whatever their numbers.

    Args:
        path: the folder of the data, or of its images where `annotations` are given; a folder that `tamis cull` wrote.
        annotations: a COCO document, or the folder of the files of a layout.

    Returns:
        The training images, and those to judge by or None.

    Raises:
        ValueError: no known layout is there, nothing of it can be used, no image is for training, or a list of a split
            names only images that are not there.
        FileNotFoundError: there is nothing.
    """
    path = Path(path)
    parts = box_parts(path, None if annotations is None else Path(annotations))
    read = [_read(part) for part in parts]
    roots = [part.layout.root for part in parts]
    folders = ["" if root == path else root.relative_to(path).as_posix() for root in roots]
    found = merged(list(zip(folders, read, strict=True)))
    found.problems[:] = _told_once(found)
    splits, others, missing = _splits(parts, [len(each.images) for each in read], found)
    found.problems += [
        Problem("missing_image", each.where, f"there is no image {shown(each.name)}") for each in missing
    ]
    usable = [place for place in np.flatnonzero(found.sizes.all(axis=1)).tolist() if place not in others]
    order = sorted(usable, key=found.images.__getitem__)
    return parted(box_set(path, found).select(order), [splits[place] for place in order], path)


def box_set(root: Path, found: Annotations) -> BoxSet:
    """All images of annotations of boxes, in their order, with the boxes of each that can be used."""
    judged = judge(found)
    size = np.tile(found.sizes[found.image], 2)
    boxes = np.clip(judged.values, 0, size).astype(np.float32)
    area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    lost = np.flatnonzero(judged.keep & ~area & size.all(axis=1)).tolist()
    thin = [Problem("no_area", found.places[row], "box too thin for numbers of 32 bits") for row in lost]
    good = judged.keep & area
    order = np.lexsort((*boxes.T[::-1], found.label, found.image))
    rows, regions = (order[mask[order]] for mask in (good & ~found.ignored, good & found.ignored))

    def by_image(column: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.split(column[rows], np.searchsorted(found.image[rows], np.arange(1, len(found.images)))))

    columns = {name: column.astype(np.float32) for name, column in found.extra.items() if name != "ignored"}
    return BoxSet(
        root,
        tuple(found.images),
        by_image(boxes, rows),
        by_image(found.label, rows),
        found.sizes,
        found.class_names or tuple(str(label) for label in range(int(found.label.max(initial=0)) + 1)),
        (*found.problems, *judged.problems, *thin),
        by_image(boxes, regions),
        {name: by_image(column, rows) for name, column in columns.items()},
    )


def _read(part: Part) -> Annotations:
    layout = part.layout
    try:
        found = READERS[layout.kind](layout.path, layout.root)
    except Unfit as error:
        raise ValueError(f"annotations must be readable, got {error} in {str(layout.path)!r}; correct them") from error
    if not found.class_names and layout.kind in _ONE_CLASS:
        return replace(found, class_names=(_ONE_CLASS[layout.kind],))
    return found


def _told_once(found: Annotations) -> list[Problem]:
    """Without images that only another document of the same folder knows."""
    known = {shown(name) for name in found.images}
    return [bad for bad in dict.fromkeys(found.problems) if bad.rule != "missing_annotation" or bad.where not in known]


def _splits(
    parts: Sequence[Part], counts: Sequence[int], found: Annotations
) -> tuple[list[Split | None], set[int], list[Entry]]:
    """The split of each image, the images of a split that is not wanted, and what a list names in vain."""
    if any(part.split for part in parts):
        return [part.split for part, count in zip(parts, counts, strict=True) for _ in range(count)], set(), []
    if len(parts) > 1:
        return by_folder(found.images), set(), []
    lists = split_lists(parts[0].layout)
    if lists is None:
        return splits_of({"": parts[0].layout}, found.images), set(), []
    # What is there without an annotation is told already.
    told = [bad.where for bad in found.problems if bad.rule in ("missing_annotation", "unreadable_annotation")]
    splits, others, missing = lists.splits([*found.images, *told])
    for entries in (lists.train, lists.validation):
        if entries and set(entries) <= set(missing):  # else a part of the training images would be held out instead
            raise ValueError(
                f"list of a split must name images that are there, got {len(entries):,} names of none, first: "
                f"{shown(entries[0].name)} ({entries[0].where}); add the images, or correct the list"
            )
    return splits[: len(found.images)], others, missing
