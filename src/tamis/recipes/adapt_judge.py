"""What a student is judged by: later frames with the teacher's boxes, or a data set that humans have labelled."""

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tamis.culling.resolution import shrunk
from tamis.data.boxes import BoxSet, open_boxes
from tamis.data.decode import decode
from tamis.data.export import Exported, safe_names, write_data_set
from tamis.data.frames import Frame, FrameRef, Frames
from tamis.detections import Detections, Detector
from tamis.recipes.boxed import with_classes
from tamis.scores import image_precision, mean_average_precision

Size = tuple[int, int]  # width, height
_ALARM = 0.5  # what a detector says of an empty image below this is not held against it


@dataclass(frozen=True, eq=False)
class Jury:
    """Images with true boxes that no training has seen.

    Attributes:
        found: the images.
        truth: "teacher" or "human".
        where: which images these are, in words.
    """

    found: BoxSet
    truth: str
    where: str

    @property
    def true(self) -> list[Detections]:
        """The boxes of each image, with confidence 1."""
        pairs = zip(self.found.boxes, self.found.labels, strict=True)
        return [
            Detections(torch.from_numpy(box), torch.ones(len(box)), torch.from_numpy(label)) for box, label in pairs
        ]

    def images(self) -> Iterator[Tensor]:
        """uint8 (1, 3, h, w), one after the other."""
        for name in self.found.names:
            pixels = np.array(decode(self.found.root / name, name))
            yield torch.from_numpy(pixels).permute(2, 0, 1)[None]

    def seen_by(self, detector: Detector, size: Size | None = None) -> list[Detections]:
        """What a detector finds on each image, in pixels of the image.

        Args:
            detector: of the same classes.
            size: width and height that it sees them at; None = as they are.
        """
        found = []
        for image in self.images():
            height, width = image.shape[2:]
            across, down = (width, height) if size is None else size
            seen = image if (across, down) == (width, height) else shrunk(image, down, across)
            found += [each.scaled(width / across, height / down) for each in detector(seen)]
        return found

    def map50(self, found: Sequence[Detections]) -> float:
        """COCO's mAP at IoU 0.5 of what was found, in [0, 1]; NaN without a true box."""
        return mean_average_precision(found, self.true, len(self.found.class_names))["map50"]


def human_jury(path: Path, class_names: Sequence[str]) -> Jury:
    """The validation split of a data set, else all of it.

    Raises:
        ValueError: no layout is recognised, or it has classes that the student does not know.
    """
    train, validation = open_boxes(path)
    found = with_classes(validation or train, tuple(class_names), path)
    return Jury(found, "human", f"{len(found):,} images of {path.name}")


def teacher_jury(
    folder: Path, frames: Frames, begin: FrameRef, teacher: Detector, count: int, confidence: float
) -> Jury:
    """Have the teacher label frames from a place on; what is there already is not done again.

    Args:
        folder: of the labelled images.
        frames: of the camera.
        begin: the first place that no training looks at.
        teacher: labels them.
        count: at most so many frames, evenly spaced.
        confidence: least confidence of the boxes that count as true.

    Raises:
        ValueError: there is no frame any more.
    """
    if not (folder / "coco.json").is_file():
        refs = [frame.ref for frame in frames.rest(begin)]
        if not refs:
            raise ValueError("judge_share must leave frames to judge by, got none; raise it, or give --judge")
        places = np.unique(np.linspace(0, len(refs) - 1, min(count, len(refs))).round().astype(int))
        taken = list(frames.take([refs[place] for place in places.tolist()]))
        names = safe_names([frame.key for frame in taken])
        images = [_labelled(frame, name, teacher, confidence) for frame, name in zip(taken, names, strict=True)]
        _write(folder, images, teacher.class_names)
    found = with_classes(open_boxes(folder)[0], tuple(teacher.class_names), folder)
    return Jury(found, "teacher", f"{len(found):,} frames after the stretch that was trained on")


def _labelled(frame: Frame, name: str, teacher: Detector, confidence: float) -> Exported:
    pixels, file = frame.rgb(), io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    boxes = teacher(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].above(confidence)
    return Exported(name, file.getvalue(), pixels.shape[1], pixels.shape[0], boxes, key=frame.key)


def _write(folder: Path, images: list[Exported], class_names: Sequence[str]) -> None:
    """The whole folder or nothing."""
    draft = folder.with_name(f".tmp-{os.getpid()}-{folder.name}")
    try:
        write_data_set(draft, images, class_names, ["coco"])
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def before_after(
    jury: Jury, folder: Path, models: list[dict[str, Any]], found: Sequence[Sequence[Detections]], count: int = 3
) -> dict[str, Any]:
    """The images on which the last model gained most over the first, for the page.

    Args:
        jury: the images, below `folder`.
        folder: of the page.
        models: what the page says of each: name, map50, flops, width, height.
        found: of each model, what it finds on each image.
        count: so many images.
    """
    true, classes = jury.true, len(jury.found.class_names)
    first, last = (image_precision(each, true, classes, alarm_confidence=_ALARM) for each in (found[0], found[-1]))
    order = (last - first).nan_to_num(-2.0).argsort(descending=True, stable=True)[:count].tolist()
    root = os.path.relpath(jury.found.root, folder)
    frames = [
        {
            "key": jury.found.names[place],
            "seconds": None,
            "image": f"{root}/{jury.found.names[place]}",
            "boxes": [_rows(each[place]) for each in found],
            "truth": _rows(true[place]),
        }
        for place in sorted(order)
    ]
    return {"models": models, "frames": frames}


def _rows(found: Detections) -> list[list[float]]:
    return torch.cat([found.boxes, found.scores[:, None], found.labels[:, None].float()], 1).tolist()
