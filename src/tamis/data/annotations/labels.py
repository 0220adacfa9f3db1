"""Labelling programs' own files with points: LabelMe, CVAT and Label Studio."""

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from tamis.data.annotations.columns import Annotations, Collected, Unfit, shown
from tamis.data.annotations.reading import NamedImages, files_of, joined, read_each, read_json, read_xml

LIMIT = 128 << 20


def read_labelme(path: Path, root: Path) -> Annotations:
    """Read LabelMe's <image>.json: a shape "point" is one, of a "rectangle" the middle is; others are named.

    Args:
        path: the folder of the files, at any depth.
        root: the folder of the images, at any depth.

    Raises:
        ValueError: no file has an image of its name.
    """
    names = list(files_of(path, ".json"))
    found = Collected(2)

    def read(name: str, image: int, size: tuple[int, int]) -> None:
        document = read_json(path / name, LIMIT)
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            raise Unfit("JSON without a list of shapes")
        said = document.get("imageWidth"), document.get("imageHeight")
        _check_size(found, said, size, shown(name))
        for row, shape in enumerate(document["shapes"]):
            where = f"{shown(name)}: shape {row + 1}"
            kind = shape.get("shape_type") if isinstance(shape, dict) else None
            count = {"point": 1, "rectangle": 2}.get(kind) if isinstance(kind, str) else None
            if count is None:
                found.fault("malformed", where, f"shape_type {kind!a:.40} is neither point nor rectangle")
            elif (corners := _pairs(shape.get("points"), count)) is None:
                found.fault("malformed", where, f"points must be {count} of x, y, got {shape.get('points')!a:.100}")
            else:
                found.add(image, 0, [sum(each) / count for each in zip(*corners, strict=True)], where, row)

    bare = "no .json file; one without shapes says that there is nothing"
    images, sizes = read_each(found, root, names, joined(root, names), read, bare)
    return found.done(images, sizes, ())


def _pairs(points: Any, count: int) -> list[list[float]] | None:
    """So many pairs of numbers, or None."""
    if not isinstance(points, list) or len(points) != count:
        return None
    pairs = [[_number(each) for each in pair] if isinstance(pair, list) else [] for pair in points]
    return pairs if all(len(pair) == 2 and None not in pair for pair in pairs) else None  # pyright: ignore[reportReturnType]


def _number(value: object) -> float | None:
    if type(value) not in (int, float):
        return None
    try:
        return float(value)  # pyright: ignore[reportArgumentType]
    except OverflowError:
        return float("inf")


def _check_size(found: Collected, said: tuple[Any, Any], size: tuple[int, int], where: str) -> None:
    if all(size) and said != (None, None) and said != size:
        detail = f"said to be {said[0]!a:.20} x {said[1]!a:.20}, the file is {size[0]} x {size[1]}"
        found.fault("wrong_size", where, detail)


def read_cvat(path: Path, root: Path) -> Annotations:
    """Read CVAT's "CVAT for images 1.1": <image name><points points="x,y;x,y"/>; boxes give their middle.

    Args:
        path: annotations.xml.
        root: the folder that the names start from.

    Raises:
        Unfit: it is no such file.
    """
    tree = read_xml(path, LIMIT, "annotations", "CVAT")
    if tree.find("track") is not None:
        raise Unfit("XML of tracks (CVAT for video); export the task as CVAT for images")
    found = Collected(2)
    images = NamedImages(found, root)
    for number, entry in enumerate(tree.iter("image"), 1):
        name = entry.get("name", "")
        where = f"{path.name}: image {entry.get('id', number)!s:.20}"
        image = images.position(name, where)
        if image is None:
            continue
        said = _whole(entry.get("width")), _whole(entry.get("height"))
        _check_size(found, said, images.size(image), where)
        for row, shape in enumerate(entry):
            _shape(found, shape, image, f"{where}, shape {row + 1}", row)
    images.bare("not in the list of images")
    return found.done(list(images.sizes), list(images.sizes.values()), ())


def _whole(text: str | None) -> int | str | None:
    return int(text) if text and text.isdecimal() and len(text) < 10 else text


def _shape(found: Collected, shape: ElementTree.Element, image: int, where: str, row: int) -> None:
    if shape.tag not in ("points", "box"):
        if shape.tag != "tag":
            found.fault("malformed", where, f"{shape.tag!a:.40} is neither points nor box")
        return
    corners = ",".join(shape.get(side, "") for side in ("xtl", "ytl", "xbr", "ybr"))
    text = shape.get("points", "") if shape.tag == "points" else corners.replace(",", ";", 2).replace(";", ",", 1)
    try:
        pairs = [[float(each) for each in pair.split(",")] for pair in text.split(";")]
    except ValueError:
        pairs = []
    if not pairs or any(len(pair) != 2 for pair in pairs):
        found.fault("malformed", where, f"{shape.tag} must be x,y;x,y, got {text!a:.100}")
        return
    if shape.tag == "box":
        pairs = [[sum(each) / 2 for each in zip(*pairs, strict=True)]]
    for pair in pairs:
        found.add(image, 0, pair, where, row)


def read_label_studio(path: Path, root: Path) -> Annotations:
    """Read Label Studio's JSON: keypoints, and the middles of rectangles, in percent of the image.

    An image is found by the last part of data.image, with or without the eight characters that an upload puts before
    it. Of several annotations of one image the first that was not cancelled counts.

    Args:
        path: the export, "JSON".
        root: the folder of the images.

    Raises:
        Unfit: it is no such file.
    """
    tasks = read_json(path, LIMIT)
    if not isinstance(tasks, list):
        raise Unfit("JSON without a list of tasks")
    found = Collected(2)
    images = NamedImages(found, root)
    for number, task in enumerate(tasks, 1):
        where = f"{path.name}: task {number}"
        name, results = _task(task)
        if name is None or results is None:
            found.fault("malformed", where, "no data.image" if name is None else "no annotations")
            continue
        image = images.position(name if images.knows(name) else name.partition("-")[2] or name, where)
        if image is None:
            continue
        for row, result in enumerate(results):
            _result(found, result, image, images.size(image), f"{where}, result {row + 1}", row)
    images.bare("no task has it")
    return found.done(list(images.sizes), list(images.sizes.values()), ())


def _task(task: Any) -> tuple[str | None, list[Any] | None]:
    """Name of the image, and the results of the first annotation that counts."""
    data = task.get("data") if isinstance(task, dict) else None
    address = data.get("image") if isinstance(data, dict) else None
    if not isinstance(address, str):
        return None, None
    parts = urlsplit(address)
    name = PurePosixPath(unquote(parts.query.removeprefix("d=") if "local-files" in parts.path else parts.path)).name
    entries = task.get("annotations")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and not entry.get("was_cancelled") and isinstance(entry.get("result"), list):
            return name, entry["result"]
    return name, None


def _result(found: Collected, result: Any, image: int, size: tuple[int, int], where: str, row: int) -> None:
    kind = result.get("type") if isinstance(result, dict) else None
    if kind not in ("keypointlabels", "keypoint", "rectanglelabels", "rectangle"):
        found.fault("malformed", where, f"type {kind!a:.40} is neither keypointlabels nor rectanglelabels")
        return
    value = result.get("value")
    share = [_number(value.get(each)) for each in ("x", "y")] if isinstance(value, dict) else [None]
    sides = [0.0, 0.0]
    if kind.startswith("rectangle") and isinstance(value, dict):
        sides = [_number(value.get(each)) for each in ("width", "height")]
    if None in share or None in sides:
        found.fault("malformed", where, f"value must have numbers in percent, got {value!a:.100}")
        return
    _check_size(found, (result.get("original_width"), result.get("original_height")), size, where)
    middle = [(start + side / 2) / 100 for start, side in zip(share, sides, strict=True)]  # pyright: ignore[reportOptionalOperand]
    found.add(image, 0, (middle[0] * size[0], middle[1] * size[1]), where, row)
