"""Every layout of boxes, written as its own program writes it: a few images of 40 x 20 pixels, in two splits."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from point_layouts import picture, text

CLASSES = ("car", "person")


class Box(NamedTuple):
    """A box of a class; `ignored` regions count for nothing."""

    label: str
    x1: float
    y1: float
    x2: float
    y2: float
    ignored: bool = False


Boxes = Mapping[str, Sequence[Box] | None]
"""Image -> its boxes; None = no annotation at all, [] = an annotation that says that there is nothing."""


class Written(NamedTuple):
    """Where a layout was written, and what an error calls the k-th box (from 0) of image a."""

    data: Path
    annotations: Path | None
    place: Callable[[int], str]


def _pictures(folder: Path, names: Sequence[str], suffix: str = ".png") -> None:
    for name in names:
        picture(folder / f"{name}{suffix}", seed=ord(name[-1]))


def document(boxes: Boxes, prefix: str = "", ids: Sequence[int] = (7, 3)) -> str:
    """A COCO document; its categories have the ids, in the order of CLASSES."""
    known = [(name, each) for name, each in boxes.items() if each is not None]
    images = [
        {"id": n, "file_name": f"{prefix}{name}.png", "width": 40, "height": 20} for n, (name, _) in enumerate(known)
    ]
    rows = [(n, box) for n, (_, each) in enumerate(known) for box in each]
    annotations = [
        {
            "id": k,
            "image_id": n,
            "category_id": ids[CLASSES.index(box.label)],
            "bbox": [box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1],
            "iscrowd": int(box.ignored),
        }
        for k, (n, box) in enumerate(rows, 1)
    ]
    categories = [{"id": number, "name": name} for number, name in zip(ids, CLASSES, strict=True)]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def coco(root: Path, train: Boxes, validation: Boxes) -> Written:
    """annotations/instances_train2017.json beside train2017/."""
    for split, boxes in (("train2017", train), ("val2017", validation)):
        if boxes:
            _pictures(root / split, [*boxes])
            text(root / f"annotations/instances_{split}.json", document(boxes))
    prefix = "train2017/" if train else ""
    return Written(root, None, lambda k: f"{prefix}instances_train2017.json: annotation {k + 1}")


def coco_shared(root: Path, train: Boxes, validation: Boxes) -> Written:
    """Two documents beside one folder of images, with other ids."""
    for number, (split, boxes) in enumerate((("train", train), ("val", validation))):
        if boxes:
            _pictures(root / "images", [*boxes])
            text(root / f"instances_{split}.json", document(boxes, ids=(number + 1, 9)))
    return Written(root, None, lambda k: f"images/instances_train.json: annotation {k + 1}")


def roboflow(root: Path, train: Boxes, validation: Boxes) -> Written:
    """A document among the images of each split."""
    for split, boxes in (("train", train), ("valid", validation)):
        if boxes:
            _pictures(root / split, [*boxes])
            text(root / split / "_annotations.coco.json", document(boxes))
    return Written(root, None, lambda k: f"train/_annotations.coco.json: annotation {k + 1}")


def coco_named(root: Path, train: Boxes, validation: Boxes) -> Written:
    """A document elsewhere, whose names say the split."""
    parts = {"train": train, "val": validation}
    boxes = {f"{split}/{name}": each for split, part in parts.items() for name, each in part.items()}
    _pictures(root / "images", [*boxes])
    path = text(root / "elsewhere" / "labels.json", document(boxes))
    return Written(root / "images", path, lambda k: f"labels.json: annotation {k + 1}")


def _shares(box: Box) -> str:
    x, y, width, height = (box.x1 + box.x2) / 80, (box.y1 + box.y2) / 40, (box.x2 - box.x1) / 40, (box.y2 - box.y1) / 20
    return f"{CLASSES.index(box.label)} {x} {y} {width} {height}\n"


def _labels(folder: Path, boxes: Boxes) -> None:
    for name, each in boxes.items():
        if each is not None:
            text(folder / f"{name}.txt", "".join(_shares(box) for box in each))


def yolo(root: Path, train: Boxes, validation: Boxes) -> Written:
    """images/train beside labels/train, with data.yaml that was written on another machine."""
    for split, boxes in (("train", train), ("val", validation)):
        if boxes:
            _pictures(root / "images" / split, [*boxes])
            _labels(root / "labels" / split, boxes)
    text(
        root / "data.yaml", "path: /home/someone/x\ntrain: images/train\nval: images/val\nnames: {0: car, 1: person}\n"
    )
    return Written(root, None, lambda k: f"train/a.txt:{k + 1}")


def yolo_lists(root: Path, train: Boxes, validation: Boxes) -> Written:
    """All images in one folder, and lists of the splits with names that are no longer true."""
    for split, boxes in (("train", train), ("val", validation)):
        _pictures(root / "images", [*boxes])
        _labels(root / "labels", boxes)
        text(root / f"{split}.txt", "".join(f"/home/someone/images/{name}.png\n" for name in boxes))
    text(root / "classes.txt", "\n".join(CLASSES))
    return Written(root, None, lambda k: f"a.txt:{k + 1}")


def yolo_split(root: Path, train: Boxes, validation: Boxes) -> Written:
    """train/images beside train/labels, and a text that is no label file."""
    for split, boxes in (("train", train), ("valid", validation)):
        if boxes:
            _pictures(root / split / "images", [*boxes])
            _labels(root / split / "labels", boxes)
    text(root / "README.dataset.txt", "some words")
    text(root / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: [car, person]\n")
    return Written(root, None, lambda k: f"train/a.txt:{k + 1}")


def voc(root: Path, train: Boxes, validation: Boxes) -> Written:
    """Annotations and JPEGImages, with lists in ImageSets/Main."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    for split, boxes in (("train", train), ("val", validation)):
        _pictures(root / "JPEGImages", [*boxes])
        text(root / f"ImageSets/Main/{split}.txt", "".join(f"{name}\n" for name in boxes))
        for name, each in boxes.items():
            if each is not None:
                objects = "".join(
                    f"<object><name>{box.label}</name><bndbox>"
                    + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box[1:5], strict=True))
                    + "</bndbox></object>"
                    for box in each
                )
                size = "<size><width>40</width><height>20</height></size>"
                text(root / f"Annotations/{name}.xml", f"<annotation>{size}{objects}</annotation>")
    text(root / "Annotations/classes.txt", "\n".join(CLASSES))
    return Written(root, None, lambda k: f"a.xml: object {k + 1}")


def kitti_line(box: Box, truncated: str = "0.25", occluded: str = "1") -> str:
    corners = f"{box.x1} {box.y1} {box.x2} {box.y2}"
    if box.ignored:
        return f"DontCare -1 -1 -10 {corners} -1 -1 -1 -1000 -1000 -1000 -10\n"
    return f"{box.label} {truncated} {occluded} -1.5 {corners} 1.5 0.5 1.2 1.8 1.5 8.4 0.01\n"


def kitti(root: Path, train: Boxes, validation: Boxes) -> Written:
    """training/image_2 beside training/label_2, testing without labels, and lists of the splits in ImageSets."""
    names = {split: [*boxes] for split, boxes in (("train", train), ("val", validation))}
    for split, boxes in (("train", train), ("val", validation)):
        _pictures(root / "training/image_2", names[split])
        text(root / f"ImageSets/{split}.txt", "".join(f"{name}\n" for name in names[split]))
        for name, each in boxes.items():
            if each is not None:
                text(root / f"training/label_2/{name}.txt", "".join(map(kitti_line, each)))
    picture(root / "testing/image_2/000000.png")
    picture(root / "training/image_3/000000.png")
    text(root / "classes.txt", "\n".join(CLASSES))
    return Written(root, None, lambda k: f"training/a.txt:{k + 1}")


def table(root: Path, train: Boxes, validation: Boxes) -> Written:
    """boxes.csv beside the images, with a column of the splits."""
    lines = ["image,class,x1,y1,x2,y2,split"]
    for split, boxes in (("train", train), ("val", validation)):
        _pictures(root / "images", [*boxes])
        for name, each in boxes.items():
            if each is not None:
                rows = [f"{box.label},{box.x1},{box.y1},{box.x2},{box.y2}" for box in each] or [",,,,"]
                lines += [f"{name}.png,{row},{split}" for row in rows]
    text(root / "boxes.csv", "\n".join([*lines, ""]))
    return Written(root, None, lambda k: f"boxes.csv:{k + 2}")


LAYOUTS: dict[str, Callable[[Path, Boxes, Boxes], Written]] = {
    "coco": coco, "coco shared": coco_shared, "coco roboflow": roboflow, "coco named": coco_named, "yolo": yolo,
    "yolo lists": yolo_lists, "yolo split": yolo_split, "voc": voc, "kitti": kitti,
    "table": table,
}  # fmt: skip
