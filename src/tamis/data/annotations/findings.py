"""The rules: what is wrong with boxes and points, how often and where, and what can be mended."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tamis.data.annotations.coco import write_coco
from tamis.data.annotations.columns import Annotations, Problem, Rule, Unfit, merged
from tamis.data.annotations.layouts import READERS, Kind, Layout, recognised
from tamis.data.annotations.points import write_points
from tamis.data.annotations.yolo import write_yolo
from tamis.data.inspection import Finding, Row

TOLERANCE = 0.05
"""Pixels that a box or a point may reach beyond its image: shares of six digits are not more exact."""

# What a rule finds, and how to mend it.
RULES: dict[Rule, tuple[str, str]] = {
    "unreadable_annotation": ("annotation file that cannot be read", "repair the file, or take its image out"),
    "unsafe_name": ("file name that leads out of its folder", "correct the name"),
    "unreadable_image": ("annotated image that cannot be read", "repair the image, or take it and its annotations out"),
    "missing_image": ("annotation without its image", "add the image, or drop the annotation (--fix drops it)"),
    "missing_annotation": ("image without annotation", "annotate it; an empty annotation says that there is nothing"),
    "malformed": ("entry that is not as the format wants it", "correct the entry (--fix drops it)"),
    "no_box": ("object without a box", "draw the box (--fix drops the object)"),
    "dangling_image": ("annotation of an image that is not listed", "correct image_id (--fix drops the annotation)"),
    "duplicate_id": ("id or file that an earlier entry has", "give it its own (--fix keeps the first)"),
    "wrong_class": ("class that does not exist", "correct it, or add the class (--fix drops the annotation)"),
    "wrong_size": (
        "size that is not the image's",
        "write the size of the upright image; are the boxes of another one?",
    ),
    "not_finite": ("coordinate that is NaN or infinite", "correct it (--fix drops the annotation)"),
    "no_area": ("box without an area", "draw it again (--fix drops it)"),
    "outside": ("box or point outside of its image", "correct it (--fix drops it)"),
    "partly_outside": ("box that reaches beyond its image", "correct it (--fix clips it to the image)"),
    "duplicate_row": ("annotation that is there twice", "delete it (--fix keeps the first)"),
    "no_split": ("image of no split", "name it in a split, or move it into train/ or test/"),
}


class Judged(NamedTuple):
    """What is left: problems of the rows, keep, twice and changed bool (m,), values float64 as the annotations'."""

    problems: list[Problem]
    keep: np.ndarray
    twice: np.ndarray
    changed: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Inspected:
    """Annotations that were looked at.

    Attributes:
        kind: their layout.
        path: where they are.
        root: the folder of their images.
        annotations: what could be read; None if nothing.
        judged: what is left of it.
        findings: a finding for each rule that something broke.
        folders: folders with annotations of their own, such as train and test; none = itself.
    """

    kind: Kind
    path: Path
    root: Path
    annotations: Annotations | None
    judged: Judged | None
    findings: list[Finding]
    folders: tuple[str, ...] = ()

    def about(self) -> str:
        """One line: what was read."""
        if self.annotations is None:
            return f"annotations ({self.kind}): not readable"
        what = "points" if self.annotations.values.shape[1] == 2 else "boxes"
        count = int((self.annotations.label >= 0).sum())
        return (
            f"annotations ({self.kind}): {count:,} {what} in {len(self.annotations.images):,} "
            f"images, {self.annotations.background:,} of them empty (background)"
        )


def annotation_findings(path: str | Path, kind: Kind | None = None, images: str | Path | None = None) -> list[Finding]:
    """Everything that is wrong with annotations of boxes or points; an empty list where all is well.

    Args:
        path: COCO .json, a folder of YOLO or VOC files, a .csv of points, or a folder with ShanghaiTech's .mat files.
        kind: the layout; by default it is recognised.
        images: the folder of the images; by default it is looked for beside the annotations.

    Raises:
        ValueError: no layout is recognised, or nothing there belongs to the images.
        FileNotFoundError: there is nothing.
    """
    return inspect_annotations(path, kind, images).findings


def inspect_annotations(path: str | Path, kind: Kind | None = None, images: str | Path | None = None) -> Inspected:
    """As `annotation_findings`, with what is needed to write corrected annotations."""
    path = Path(path)
    kind = kind or recognised(path)
    root = _image_folder(path, kind) if images is None else Path(images)
    return inspect_layouts({"": Layout(kind, path, root)})


def inspect_layouts(layouts: Mapping[str, Layout]) -> Inspected:
    """As `inspect_annotations`, for the folders of one data set, as `counting_layouts` gives them."""
    parts, problems = dict[str, Annotations](), list[Problem]()
    for folder, layout in layouts.items():
        try:
            parts[folder] = READERS[layout.kind](layout.path, layout.root)
        except Unfit as error:
            where = f"{folder}/{layout.path.name}" if folder else layout.path.name
            problems.append(Problem("unreadable_annotation", where, str(error)))
    kind, path, root = next(iter(layouts.values()))
    folders = tuple(folder for folder in layouts if folder)
    if folders:
        path = root = root.parent
    if not parts:
        return Inspected(kind, path, root, None, None, _found(problems), folders)
    annotations = merged([*parts.items()])
    judged = judge(annotations)
    problems += annotations.problems + judged.problems
    return Inspected(kind, path, root, annotations, judged, _found(problems), folders)


def _image_folder(path: Path, kind: Kind) -> Path:
    """Where images are if nobody says so: in the folder that holds the annotations, or the one above."""
    if kind in ("coco", "points", "boxes"):
        return path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    role = path.name.lower() in ("labels", "annotations", "ground_truth", "ground-truth")
    above = path.parent
    if not role and path.parent.name.lower() == "labels":  # labels/train beside images/train
        above = path.parent.parent / "images" / path.name
        return above if above.is_dir() else path
    return above if role else path


def judge(annotations: Annotations) -> Judged:
    """Hold every row to the rules of coordinates; a row breaks one at most, the first in the order of `RULES`."""
    values = annotations.values
    size = annotations.sizes[annotations.image].astype(np.float64)
    known = np.all(size > 0, axis=1)
    finite = np.all(np.isfinite(values), axis=1)
    clipped = np.where(known[:, None], np.clip(values, 0, np.tile(size, values.shape[1] // 2)), values)
    moved = np.abs(clipped - np.where(finite[:, None], values, clipped))
    beyond = np.any(moved > TOLERANCE, axis=1)
    if values.shape[1] == 4:
        area = finite & _has_area(values)
        outside = area & ~_has_area(clipped)
    else:
        area, outside = finite, beyond
    good = area & ~outside
    twice = good & _repeated(annotations, good)
    partly = good & ~twice & beyond
    result = np.where(partly[:, None], clipped, values)
    breaks: dict[Rule, np.ndarray] = {
        "not_finite": ~finite,
        "no_area": finite & ~area,
        "outside": outside,
        "partly_outside": partly,
        "duplicate_row": twice,
    }
    problems = [
        Problem(rule, annotations.places[row], _told(annotations, row, clipped if rule == "partly_outside" else None))
        for rule, mask in breaks.items()
        for row in np.flatnonzero(mask).tolist()
    ]
    return Judged(problems, good & ~twice, twice, partly, result)


def _has_area(boxes: np.ndarray) -> np.ndarray:
    return np.all(boxes[:, 2:] > boxes[:, :2], axis=1)


def _repeated(annotations: Annotations, good: np.ndarray) -> np.ndarray:
    """Bool (m,): good rows that an earlier one equals, in image, class and all coordinates."""
    rows = np.flatnonzero(good)
    columns = [annotations.image[rows], annotations.label[rows], *annotations.values[rows].T]
    order = np.lexsort(columns)  # stable: of equal rows the first stays first
    same = np.ones(max(len(rows) - 1, 0), bool)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    result = np.zeros(len(good), bool)
    result[rows[order[1:][same]]] = True
    return result


def _told(annotations: Annotations, row: int, clipped: np.ndarray | None) -> str:
    values = annotations.values[row]
    image = int(annotations.image[row])
    what = "box" if len(values) == 4 else "point"
    width, height = annotations.sizes[image].tolist()
    size = f" of {width} x {height}" if width else ""
    end = "" if clipped is None else f", clipped {_numbers(clipped[row])}"
    return f"{what} {_numbers(values)} in {annotations.images[image]}{size}{end}"


def _numbers(values: np.ndarray) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values.tolist())}]"


def _found(problems: list[Problem]) -> list[Finding]:
    """A finding for each rule, in the order of `RULES`."""
    rows: dict[Rule, list[Row]] = {}
    for rule, where, detail in problems:
        rows.setdefault(rule, []).append(Row("", where, "", None, detail))
    return [
        Finding(rule, f"{len(rows[rule]):,} x {what}", fix, rows[rule])
        for rule, (what, fix) in RULES.items()
        if rule in rows
    ]


def write_fixed(inspected: Inspected, out: Path) -> Path | None:
    """Write corrected annotations into a new file or folder below `out`: clipped, or without what cannot be mended.

    Returns:
        What was written; None where there is no writer for the layout, or nothing could be read.

    Raises:
        FileExistsError: it is there already.
    """
    found, judged = inspected.annotations, inspected.judged
    if found is None or judged is None or inspected.folders or inspected.kind not in ("coco", "yolo", "points"):
        return None
    rows = np.flatnonzero(judged.keep)
    kept = replace(found.take(rows), values=judged.values[rows])
    target = out / inspected.path.name if inspected.kind != "yolo" else out / "labels"
    if target.exists():
        raise FileExistsError(f"fix must be a folder without {target.name}, got {str(out)!r}; choose another")
    target.parent.mkdir(parents=True, exist_ok=True)
    if inspected.kind == "coco":
        write_coco(inspected.path, kept, judged.changed[rows], target)
    elif inspected.kind == "yolo":
        write_yolo(inspected.path, kept, judged.changed[rows], inspected.root, target)
    else:
        write_points(inspected.path, kept, inspected.root, target)
    return target
