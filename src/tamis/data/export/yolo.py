"""YOLO: data.yaml, train.txt, and labels/ beside images/ (docs.ultralytics.com, "Object Detection Datasets")."""

import json
from collections.abc import Iterator, Sequence

from tamis.data.export.labelled import About, Labelled


def yolo_files(images: Sequence[Labelled], about: About) -> Iterator[tuple[str, str]]:
    """A label file for each image, `class x y width height` a line; an empty one says that there is nothing.

    Paths are relative: trainers put the folder of data.yaml, or of the list, before them. Without validation images
    `val` is the training list, because trainers want one, and a comment says so.
    """
    for image in images:
        lines = (
            f"{label} {x + width / 2:.8f} {y + height / 2:.8f} {width:.8f} {height:.8f}\n"
            for label, (x, y, width, height) in zip(image.labels, image.shares, strict=True)
        )
        yield f"labels/{image.stem}.txt", "".join(lines)
    held = [image for image in images if image.split == "validation"]
    yield "train.txt", _list(image for image in images if image.split == "train")
    if held:
        yield "val.txt", _list(held)
    yield "data.yaml", _yaml(about, "val.txt" if held else "train.txt")


def _list(images: Iterator[Labelled] | Sequence[Labelled]) -> str:
    return "".join(f"./images/{image.name}\n" for image in images)


def _yaml(about: About, val: str) -> str:
    comment = "  # the training images: none were held back, judge on other footage" if val == "train.txt" else ""
    # A JSON string is a YAML string, whatever the name is.
    names = (f"  {label}: {json.dumps(name, ensure_ascii=False)}\n" for label, name in enumerate(about.class_names))
    return (
        f"# {about.description}\ntrain: train.txt\nval: {val}{comment}\nnc: {len(about.class_names)}\n"
        f"names:\n{''.join(names)}"
    )
