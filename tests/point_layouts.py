"""Every layout of points or boxes, written as its own program writes it: a few images of 40 x 20 pixels."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

Points = Mapping[str, Sequence[tuple[float, float]] | None]
"""Image -> its points; None = no annotation at all, [] = an annotation that says that there is nothing."""


class Written(NamedTuple):
    """Where a layout was written, and what an error calls the k-th point (from 0) of image a."""

    data: Path
    annotations: Path | None
    place: Callable[[int], str]


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def pictures(folder: Path, names: Sequence[str]) -> None:
    for seed, name in enumerate(names):
        picture(folder / name, seed)


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def corners(point: tuple[float, float]) -> tuple[float, float, float, float]:
    """A box of 2 x 2 around a point."""
    return point[0] - 1, point[1] - 1, point[0] + 1, point[1] + 1


def savemat(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("scipy.io").savemat(path, content, do_compression=True)


def array(points: Sequence[tuple[float, float]]) -> np.ndarray:
    return np.array(points, float).reshape(-1, 2)


def cell(*values: Any) -> np.ndarray:
    result = np.empty((1, len(values)), object)
    for place, value in enumerate(values):
        result[0, place] = value
    return result


def points_csv(root: Path, points: Points) -> Written:
    pictures(root / "images", [f"{name}.png" for name in points])
    lines = [
        line
        for name, each in points.items()
        if each is not None
        for line in ([f"{name}.png,{x},{y}" for x, y in each] or [f"{name}.png,,"])
    ]
    text(root / "points.csv", "\n".join(["image,x,y", *lines, ""]))
    return Written(root, None, lambda k: f"points.csv:{k + 2}")


def shanghaitech(root: Path, points: Points) -> Written:
    pictures(root / "train_data/images", [f"{name}.jpg" for name in points])
    for name, each in points.items():
        if each is not None:
            inner = {"location": array(each), "number": len(each)}
            savemat(root / f"train_data/ground_truth/GT_{name}.mat", {"image_info": cell(inner)})
    return Written(root, None, lambda k: f"train_data/ground_truth/GT_a.mat: point {k + 1}")


def qnrf(root: Path, points: Points) -> Written:
    pictures(root / "Train", [f"{name}.jpg" for name in points])
    for name, each in points.items():
        if each is not None:
            savemat(root / f"Train/{name}_ann.mat", {"annPoints": array(each)})
    return Written(root, None, lambda k: f"Train/a_ann.mat: point {k + 1}")


def mall(root: Path, points: Points) -> Written:
    """The images are the frames 1, 2, ..., whatever they are called."""
    pictures(root / "frames", [f"seq_{number + 1:06d}.jpg" for number in range(len(points))])
    frames = [{"loc": array(each)} for each in points.values() if each is not None]
    counts = np.array([[len(each["loc"])] for each in frames])
    savemat(root / "mall_gt.mat", {"frame": cell(*frames), "count": counts})
    return Written(root, None, lambda k: f"mall_gt.mat: frame 1, point {k + 1}")


def carpk(root: Path, points: Points) -> Written:
    pictures(root / "Images", [f"{name}.png" for name in points])
    text(root / "ImageSets/train.txt", "\n".join(points))
    text(root / "ImageSets/test.txt", "")
    for name, each in points.items():
        if each is not None:
            lines = [" ".join(map(str, corners(point))) + " 1\n" for point in each]
            text(root / f"Annotations/{name}.txt", "".join(lines))
    return Written(root, None, lambda k: f"a.txt:{k + 1}")


def mot(root: Path, points: Points) -> Written:
    """The images are the frames 1, 2, ...; one that is not annotated is the last."""
    pictures(root / "img1", [f"{number + 1:06d}.png" for number in range(len(points))])
    known = [each for each in points.values() if each is not None]
    lines = [
        f"{frame},{k},{x - 1},{y - 1},2,2,1,1,1\n"
        for frame, each in enumerate(known, 1)
        for k, (x, y) in enumerate(each)
    ]
    text(root / "gt/gt.txt", "".join(lines))
    text(root / "seqinfo.ini", f"[Sequence]\nname=x\nseqLength={len(known)}\n")
    return Written(root, None, lambda k: f"gt/gt.txt:{k + 1}")


def labelme(root: Path, points: Points) -> Written:
    pictures(root, [f"{name}.png" for name in points])
    for name, each in points.items():
        if each is not None:
            shapes = [{"label": "x", "points": [point], "shape_type": "point"} for point in each]
            document = {"version": "5", "shapes": shapes, "imagePath": "x", "imageWidth": 40, "imageHeight": 20}
            text(root / f"{name}.json", json.dumps(document))
    return Written(root, root, lambda k: f"a.json: shape {k + 1}")


def cvat(root: Path, points: Points) -> Written:
    pictures(root, [f"{name}.png" for name in points])
    inner = ""
    for number, (name, each) in enumerate(points.items()):
        if each is not None:
            shapes = "".join(f'<points label="x" points="{x},{y}"/>' for x, y in each)
            inner += f'<image id="{number}" name="{name}.png" width="40" height="20">{shapes}</image>'
    path = text(root / "annotations.xml", f"<annotations><version>1.1</version>{inner}</annotations>")
    return Written(root, path, lambda k: f"annotations.xml: image 0, shape {k + 1}")


def label_studio(root: Path, points: Points) -> Written:
    pictures(root, [f"{name}.png" for name in points])
    tasks = []
    for name, each in points.items():
        if each is not None:
            results = [
                {
                    "type": "keypointlabels",
                    "original_width": 40,
                    "original_height": 20,
                    "value": {"x": x / 0.4, "y": y / 0.2},
                }
                for x, y in each
            ]
            image = f"/data/upload/1/1a2b3c4d-{name}.png"
            tasks.append({"data": {"image": image}, "annotations": [{"result": results}]})
    path = text(root / "tasks.json", json.dumps(tasks))
    return Written(root, path, lambda k: f"tasks.json: task 1, result {k + 1}")


def coco(root: Path, points: Points) -> Written:
    pictures(root, [f"{name}.png" for name in points])
    known = [(name, each) for name, each in points.items() if each is not None]
    images = [{"id": n, "file_name": f"{name}.png", "width": 40, "height": 20} for n, (name, _) in enumerate(known)]
    rows = [(n, (x - 1, y - 1, 2, 2)) for n, (_, each) in enumerate(known) for x, y in each]
    boxes = [{"id": k, "image_id": n, "category_id": 1, "bbox": box} for k, (n, box) in enumerate(rows, 1)]
    document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "x"}]}
    path = text(root / "labels.json", json.dumps(document))
    return Written(root, path, lambda k: f"labels.json: annotation {k + 1}")


def voc(root: Path, points: Points) -> Written:
    pictures(root / "JPEGImages", [f"{name}.png" for name in points])
    sides = ("xmin", "ymin", "xmax", "ymax")
    for name, each in points.items():
        if each is not None:
            boxes = ["".join(f"<{s}>{v}</{s}>" for s, v in zip(sides, corners(p), strict=True)) for p in each]
            inner = "".join(f"<object><name>x</name><bndbox>{box}</bndbox></object>" for box in boxes)
            size = "<size><width>40</width><height>20</height></size>"
            text(root / f"Annotations/{name}.xml", f"<annotation>{size}{inner}</annotation>")
    return Written(root, root / "Annotations", lambda k: f"a.xml: object {k + 1}")


def yolo(root: Path, points: Points) -> Written:
    pictures(root / "images", [f"{name}.png" for name in points])
    for name, each in points.items():
        if each is not None:
            text(root / f"labels/{name}.txt", "".join(f"0 {x / 40} {y / 20} 0.05 0.1\n" for x, y in each))
    return Written(root, root / "labels", lambda k: f"a.txt:{k + 1}")


def dots(root: Path, points: Points) -> Written:
    """Only points within the image, and one on a pixel."""
    pictures(root, [f"{name}.jpg" for name in points])
    for name, each in points.items():
        if each is not None:
            mask = np.zeros((20, 40), np.uint8)
            for x, y in each:
                mask[int(y), int(x)] = 255
            Image.fromarray(mask).save(root / f"{name}_dots.png")
    return Written(root, root, lambda k: f"a_dots.png: dot {k + 1}")


LAYOUTS: dict[str, Callable[[Path, Points], Written]] = {
    "points": points_csv, "shanghaitech": shanghaitech, "ucf-qnrf": qnrf, "mall": mall, "carpk": carpk, "mot": mot,
    "labelme": labelme, "cvat": cvat, "label-studio": label_studio, "coco": coco, "voc": voc, "yolo": yolo,
    "dots": dots,
}  # fmt: skip
BOXES = frozenset({"carpk", "mot", "coco", "voc", "yolo"})
