"""Label Studio: tasks to import, and the labelling interface that they are made for (labelstud.io, "Task format")."""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from tamis.data.export.labelled import About, Labelled
from tamis.data.export.voc import xml_text

# What ties a result to the labelling interface.
_LABELS, _IMAGE = "label", "image"


def label_studio_files(images: Sequence[Labelled], about: About) -> Iterator[tuple[str, str]]:
    """A task for each image: boxes of a detector are predictions to be reviewed, those of humans are annotations.

    Images are `/data/local-files/?d=images/<name>`: Label Studio serves them if its local files root is this folder.
    """
    tasks = ",\n".join(json.dumps(_task(image, about), ensure_ascii=False) for image in images)
    yield "label-studio.json", f"[\n{tasks}\n]\n"
    view = Element("View")
    SubElement(view, "Image", {"name": _IMAGE, "value": "$image"})
    choices = SubElement(view, "RectangleLabels", {"name": _LABELS, "toName": _IMAGE})
    for name in about.class_names:
        SubElement(choices, "Label", {"value": name})
    yield "label-studio.xml", xml_text(view)


def _task(image: Labelled, about: About) -> dict[str, Any]:
    results = []
    for number, (label, box, score) in enumerate(zip(image.labels, image.shares, image.scores, strict=True)):
        sides = dict(zip(("x", "y", "width", "height"), (round(100 * each, 6) for each in box), strict=True))
        results.append(
            {
                "id": f"{image.stem}-{number}",
                "type": "rectanglelabels",
                "from_name": _LABELS,
                "to_name": _IMAGE,
                "original_width": image.width,
                "original_height": image.height,
                "image_rotation": 0,
                "value": {**sides, "rotation": 0, "rectanglelabels": [about.class_names[label]]},
            }
            | ({"score": score} if about.predicted else {})
        )
    data = {"image": f"/data/local-files/?d=images/{image.name}"}
    if about.predicted:
        return {"data": data, "predictions": [{"model_version": about.description, "result": results}]}
    return {"data": data, "annotations": [{"result": results}]}
