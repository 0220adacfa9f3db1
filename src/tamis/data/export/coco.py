"""COCO: coco.json beside images/ (cocodataset.org, "data format")."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tamis.data.export.labelled import GRID, About, Labelled


def coco_files(images: Sequence[Labelled], about: About) -> Iterator[tuple[str, str]]:
    """One document, or coco-train.json and coco-val.json where images are held back for validation.

    Image and annotation ids count from 1, category ids are 1 + the label. Besides COCO's own fields an image has its
    `key` and `score`, and an annotation that a detector made its `score`.
    """
    held = [image for image in images if image.split == "validation"]
    if not held:
        yield "coco.json", _document(images, about)
        return
    yield "coco-train.json", _document([image for image in images if image.split == "train"], about)
    yield "coco-val.json", _document(held, about)


def _document(images: Sequence[Labelled], about: About) -> str:
    info = {"description": about.description}
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(about.class_names)]
    parts = {
        "info": json.dumps(info, ensure_ascii=False),
        "categories": _lines(json.dumps(each, ensure_ascii=False) for each in categories),
        "images": _lines(json.dumps(_image(number, image)) for number, image in enumerate(images, 1)),
        "annotations": _lines(map(json.dumps, _annotations(images, about.predicted))),
    }
    return "{\n" + ",\n".join(f'"{name}": {part}' for name, part in parts.items()) + "\n}\n"


def _lines(entries: Iterable[str]) -> str:
    text = ",\n".join(entries)
    return f"[\n{text}\n]" if text else "[]"


def _image(number: int, image: Labelled) -> dict[str, Any]:
    entry = {"id": number, "file_name": image.name, "width": image.width, "height": image.height}
    more = {"key": image.key or None, "score": image.score}
    return entry | {name: value for name, value in more.items() if value is not None}


def _annotations(images: Sequence[Labelled], predicted: bool) -> Iterator[dict[str, Any]]:
    number = 0
    for image_number, image in enumerate(images, 1):
        for (x1, y1, x2, y2), score, label in zip(image.corners, image.scores, image.labels, strict=True):
            number += 1
            width, height = x2 - x1, y2 - y1
            entry = {
                "id": number,
                "image_id": image_number,
                "category_id": label + 1,
                "bbox": [each / GRID for each in (x1, y1, width, height)],
                "area": width * height / GRID**2,
                "iscrowd": 0,
            }
            yield entry | ({"score": score} if predicted else {})
