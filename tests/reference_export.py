"""What the files of an export must say, in plain Python: boxes on a grid of thousandths, and readers without tamis."""

import json
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from xml.etree import ElementTree

Box = tuple[int, float, float, float, float]


def written_boxes(boxes: list[list[float]], labels: list[int], width: int, height: int) -> list[Box]:
    """Clipped to the image, rounded to thousandths; without those of which nothing is left."""
    result = []
    for box, label in zip(boxes, labels, strict=True):
        if any(side != side or abs(side) == float("inf") for side in box):
            continue
        ends = (width, height, width, height)
        x1, y1, x2, y2 = (_rounded(min(max(side, 0.0), end)) for side, end in zip(box, ends, strict=True))
        if x2 > x1 and y2 > y1:
            result.append((label, x1, y1, x2, y2))
    return result


def _rounded(value: float) -> float:
    return float(Decimal(value * 1000).quantize(Decimal(1), ROUND_HALF_EVEN)) / 1000


def fiftyone_boxes(folder: Path) -> dict[str, list[Box]]:
    """Image file -> boxes of fiftyone/samples.json, as shares put back into pixels."""
    metadata = json.loads((folder / "fiftyone" / "metadata.json").read_text("utf-8"))
    names = metadata["info"]["default_classes"]
    found = {}
    for sample in json.loads((folder / "fiftyone" / "samples.json").read_text("utf-8"))["samples"]:
        file = (folder / "fiftyone" / sample["filepath"]).resolve()
        assert file.is_file()
        size = sample["metadata"]["width"], sample["metadata"]["height"]
        field = sample["predictions"] if "predictions" in sample else sample["ground_truth"]
        found[file.name] = [
            _pixels(names.index(each["label"]), each["bounding_box"], *size) for each in field["detections"]
        ]
    return found


def label_studio_boxes(folder: Path, entries: str) -> dict[str, list[Box]]:
    """Image file -> boxes of the first entry ("predictions" or "annotations") of each task."""
    view = ElementTree.parse(folder / "label-studio.xml").getroot()  # noqa: S314 - our own file
    names = [each.attrib["value"] for each in view.iter("Label")]
    ties = tuple(each.attrib["name"] for tag in ("RectangleLabels", "Image") for each in view.iterfind(tag))
    found = {}
    for task in json.loads((folder / "label-studio.json").read_text("utf-8")):
        boxes = []
        for result in task[entries][0]["result"]:
            assert (result["from_name"], result["to_name"]) == ties
            value = result["value"]
            shares = [value[side] / 100 for side in ("x", "y", "width", "height")]
            size = result["original_width"], result["original_height"]
            boxes.append(_pixels(names.index(value["rectanglelabels"][0]), shares, *size))
        start = "/data/local-files/?d="
        assert task["data"]["image"].startswith(start)
        file = folder / task["data"]["image"].removeprefix(start)
        assert file.is_file()
        found[file.name] = boxes
    return found


def cvat_boxes(folder: Path) -> dict[str, list[Box]]:
    """Image file -> boxes of cvat.xml."""
    tree = ElementTree.parse(folder / "cvat.xml").getroot()  # noqa: S314 - our own file
    names = [each.text for each in tree.iterfind("meta/task/labels/label/name")]
    found = {}
    for image in tree.iterfind("image"):
        boxes = []
        for box in image.iterfind("box"):
            x1, y1, x2, y2 = (float(box.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
            boxes.append((names.index(box.attrib["label"]), x1, y1, x2, y2))
        found[image.attrib["name"]] = boxes
    return found


def _pixels(label: int, shares: list[float], width: int, height: int) -> Box:
    x, y, across, down = shares
    x1, y1, x2, y2 = x * width, y * height, (x + across) * width, (y + down) * height
    return label, round(x1, 3), round(y1, 3), round(x2, 3), round(y2, 3)
