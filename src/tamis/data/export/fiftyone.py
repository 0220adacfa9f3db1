"""FiftyOne: fiftyone/samples.json and metadata.json, for `fo.Dataset.from_dir` and its type FiftyOneDataset."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tamis.data.export.labelled import About, Labelled


def fiftyone_files(images: Sequence[Labelled], about: About) -> Iterator[tuple[str, str]]:
    """Samples with the fields `predictions` (or `ground_truth`), `hardness` (the image's score) and `key`, and tags.

    The form is that of samples without a database (no `version` in the metadata: `_is_legacy_format_data` of
    fiftyone.utils.data.importers), which has neither ids nor dates; file paths start from this folder.
    """
    field = "predictions" if about.predicted else "ground_truth"
    metadata = {
        "media_type": "image",
        "info": {"description": about.description, "default_classes": list(about.class_names)},
    }
    samples = ",\n".join(json.dumps(_sample(image, about, field), ensure_ascii=False) for image in images)
    yield "fiftyone/metadata.json", json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    yield "fiftyone/samples.json", f'{{"samples": [\n{samples}\n]}}\n'


def _sample(image: Labelled, about: About, field: str) -> dict[str, Any]:
    detections = [
        {"_cls": "Detection", "label": about.class_names[label], "bounding_box": [round(each, 8) for each in box]}
        | ({"confidence": score} if about.predicted else {})
        for label, box, score in zip(image.labels, image.shares, image.scores, strict=True)
    ]
    sample = {
        "filepath": f"../images/{image.name}",
        "tags": [*image.tags, image.split],
        "metadata": {"_cls": "ImageMetadata", "width": image.width, "height": image.height},
        field: {"_cls": "Detections", "detections": detections},
    }
    more = {"key": image.key or None, "hardness": image.score}
    return sample | {name: value for name, value in more.items() if value is not None}
