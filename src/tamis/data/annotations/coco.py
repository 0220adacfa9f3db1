"""COCO: one JSON document with images, annotations and categories (cocodataset.org, "data format")."""

import json
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tamis.data.annotations.columns import Annotations, Collected, Unfit, shown
from tamis.data.annotations.reading import clean_name, read_json
from tamis.data.folder import image_names

LIMIT = 768 << 20
"""The largest document in bytes; COCO's own largest has 450 MB."""
# What some documents say of each annotation, and its names there, the first one that has a number.
_COLUMNS = {"occlusion": ("occlusion", "occluded"), "truncation": ("truncation", "truncated")}
_MOST = 1e9  # of such a number, far above any level or share: larger ones may not fit a float


def read_coco(path: Path, root: Path) -> Annotations:
    """Read a COCO document; a box x, y, width, height becomes its two corners.

    What `iscrowd` marks is in the column "ignored". Of the keypoints of a category that has them, one is taken: the
    nose, else the first that is labelled. Numbers of annotations called "occlusion" (or "occluded") and "truncation"
    (or "truncated") are taken as they stand, if there are any; -1 and what is no number are NaN.

    Args:
        path: the document.
        root: the folder that its file names start from.

    Raises:
        Unfit: it is no such document.
    """
    document = _document(path)
    found = Collected(4)
    classes = _classes(found, document["categories"], path.name)
    images, names, sizes = _images(found, document["images"], path.name, root)
    _unlisted(found, document["images"], root)
    skeletons = {each["id"]: each["keypoints"] for each in document["categories"] if _has_keypoints(each)}
    _boxes(found, document["annotations"], path.name, images, classes, skeletons)
    named = {each["id"]: str(each.get("name", "")) for each in reversed(document["categories"]) if _is_entry(each)}
    return found.done(names, sizes, tuple(named[identity] for identity in classes))


def write_coco(path: Path, kept: Annotations, changed: np.ndarray, out: Path) -> None:
    """Write a document again, with the rows that are left.

    Args:
        path: the document that was read.
        kept: what is left of it, corrected.
        changed: bool (m,): rows whose box is another than before.
        out: the new file.
    """
    document = _document(path)
    rows = []
    for row, box, other in zip(kept.rows, kept.values.tolist(), changed.tolist(), strict=True):
        entry = document["annotations"][row]
        if other:
            x1, y1, x2, y2 = box
            entry = entry | {"bbox": [x1, y1, x2 - x1, y2 - y1]}
            if not entry.get("segmentation"):
                entry["area"] = (x2 - x1) * (y2 - y1)
        rows.append(entry)
    names = set(kept.images)
    images, ids = [], set()
    for each in document["images"]:
        if _is_entry(each) and each["id"] not in ids and _clean(each.get("file_name")) in names:
            ids.add(each["id"])
            names.discard(_clean(each["file_name"]) or "")
            images.append(each)
    classes, ids = [], set()
    for each in document["categories"]:
        if _is_entry(each) and each["id"] not in ids:
            ids.add(each["id"])
            classes.append(each)
    with out.open("x", encoding="utf-8") as file:
        json.dump(document | {"images": images, "annotations": rows, "categories": classes}, file)


def _document(path: Path) -> dict[str, Any]:
    document = read_json(path, LIMIT)
    if not isinstance(document, dict):
        raise Unfit("JSON without images, annotations and categories")
    for name in ("images", "annotations", "categories"):
        if not isinstance(document.get(name), list):
            raise Unfit(f"JSON without a list of {name}")
    return document


def _is_entry(each: object) -> bool:
    """Whether it is an object that has an id: a whole number, or a text as some programs write."""
    return isinstance(each, dict) and type(each.get("id")) in (int, str)


def _clean(name: object) -> str | None:
    return (clean_name(name) or None) if isinstance(name, str) else None


def _classes(found: Collected, entries: Sequence[Any], file: str) -> dict[int | str, int]:
    classes: dict[int | str, int] = {}
    for position, each in enumerate(entries):
        if not _is_entry(each):
            found.fault("malformed", f"{file}: categories[{position}]", "a category without a valid id")
        elif each["id"] in classes:
            found.fault("duplicate_id", f"{file}: category {shown(str(each['id']))}", "the id of an earlier category")
        else:
            classes[each["id"]] = len(classes)
    return classes


def _images(
    found: Collected, entries: Sequence[Any], file: str, root: Path
) -> tuple[dict[int | str, int], list[str], list[tuple[int, int]]]:
    """Position of each image by its id (-1 = it is known and cannot be used), names and sizes."""
    images: dict[int | str, int] = {}
    names: dict[str, tuple[int, int]] = {}
    for position, each in enumerate(entries):
        if not _is_entry(each):
            found.fault("malformed", f"{file}: images[{position}]", "an image without a valid id")
            continue
        where = f"{file}: image {shown(str(each['id']))}"
        if each["id"] in images:
            found.fault("duplicate_id", where, "the id of an earlier image")
            continue
        images[each["id"]] = -1
        name = _clean(each.get("file_name"))
        if name is None:
            given = each.get("file_name")
            detail = f"file name {given!a:.200} leads out of the folder" if isinstance(given, str) else "no file_name"
            found.fault("unsafe_name" if isinstance(given, str) else "malformed", where, detail)
        elif name in names:
            found.fault("duplicate_id", where, f"the file of an earlier image: {shown(name)}")
        elif (size := found.size(root, name)) is not None:
            images[each["id"]] = len(names)
            names[name] = size
            said = (each.get("width"), each.get("height"))
            if size != (0, 0) and said != size:
                detail = f"said to be {said[0]!a:.20} x {said[1]!a:.20}, the file is {size[0]} x {size[1]}"
                found.fault("wrong_size", where, detail)
    return images, list(names), list(names.values())


def _unlisted(found: Collected, entries: Sequence[Any], root: Path) -> None:
    """Images that the document does not know, in the folders that it takes images from."""
    names = {name for each in entries if isinstance(each, dict) and (name := _clean(each.get("file_name")))}
    folders = {PurePosixPath(name).parent for name in names}
    for name in sorted(image_names(root)):
        if name not in names and PurePosixPath(name).parent in folders:
            found.fault("missing_annotation", shown(name), "not in the list of images")


def _boxes(
    found: Collected, entries: Sequence[Any], file: str, images: dict[int | str, int], classes: dict[int | str, int],
    skeletons: dict[int | str, list[Any]],
) -> None:  # fmt: skip
    ids: set[int | str] = set()
    known = [each for each in entries if _is_entry(each)]
    columns = {
        column: names
        for column, names in _COLUMNS.items()
        if not all(math.isnan(_number(each, names)) for each in known)
    }
    for row, each in enumerate(entries):
        if not _is_entry(each):
            found.fault("malformed", f"{file}: annotations[{row}]", "an annotation without a valid id")
            continue
        identity = each["id"]
        where = f"{file}: annotation {identity if type(identity) is int else shown(str(identity))}"
        if identity in ids:
            found.fault("duplicate_id", where, "the id of an earlier annotation")
            continue
        ids.add(identity)
        image, label = _known(images, each.get("image_id")), _known(classes, each.get("category_id"))
        box = _box(each.get("bbox"))
        if image is None:
            found.fault("dangling_image", where, f"image_id {each.get('image_id')!a:.100} is no image")
        elif label is None:
            found.fault("wrong_class", where, f"category_id {each.get('category_id')!a:.100} is no category")
        elif box is None:
            detail = f"bbox {each['bbox']!a:.100} is not four numbers" if "bbox" in each else "no bbox"
            found.fault("no_box", where, detail)
        elif image >= 0:  # those of images that cannot be used are told by the image
            extra = {column: _number(each, names) for column, names in columns.items()}
            found.add(image, label, box, where, row, ignored=float(each.get("iscrowd") in (1, True)), **extra)
            if skeletons:
                found.keypoints.append(_keypoint(each.get("keypoints"), skeletons.get(each["category_id"], [])))


def _has_keypoints(category: Any) -> bool:
    return _is_entry(category) and isinstance(category.get("keypoints"), list) and bool(category["keypoints"])


def _keypoint(values: Any, names: list[Any]) -> tuple[float, float]:
    """The nose where it is labelled (x, y, visibility above 0), else the first point that is; NaN if none is."""
    none = float("nan"), float("nan")
    if type(values) is not list or len(values) % 3 or not all(type(each) in (int, float) for each in values):
        return none
    labelled = [place for place in range(len(values) // 3) if values[3 * place + 2] > 0]
    if not labelled:
        return none
    nose = next((place for place in labelled if names[place : place + 1] == ["nose"]), labelled[0])
    try:
        return float(values[3 * nose]), float(values[3 * nose + 1])
    except OverflowError:
        return none


def _number(annotation: Any, names: Sequence[str]) -> float:
    """What an annotation says under the first of the names that it has a number for; NaN if none, or below 0."""
    given = [annotation[name] for name in names if type(annotation.get(name)) in (int, float)]
    return float(given[0]) if given and 0 <= given[0] <= _MOST else float("nan")


def _known(ids: dict[int | str, int], identity: object) -> int | None:
    return ids.get(identity) if type(identity) in (int, str) else None  # pyright: ignore[reportArgumentType]


def _box(box: Any) -> tuple[float, float, float, float] | None:
    """The corners; a number too large for a float is infinite."""
    if type(box) is not list or len(box) != 4 or not all(type(each) in (int, float) for each in box):
        return None
    x, y, width, height = box
    try:
        return float(x), float(y), float(x + width), float(y + height)
    except OverflowError:
        return float("inf"), float("inf"), float("inf"), float("inf")
