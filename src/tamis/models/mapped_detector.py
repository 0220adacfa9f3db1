"""A detector that speaks of other classes than the one inside it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tamis.detections import Detections, Detector
from tamis.models.naming import nearest

_SAME_OBJECT = 0.5  # IoU from which two boxes are of one object


class MappedDetector:
    """Renames the classes of a detector, joins some, and leaves others out.

    Where several classes become one, say truck and car, a detector may have given one object a box of each: of two
    boxes of different classes that have become the same and overlap by an IoU of 0.5 or more, only the more confident
    stays.

    Args:
        detector: the detector inside.
        class_map: from its names to new ones; None as the new name leaves the class out. Names that are not in it
            stay as they are.
        class_names: the new names to keep, in this order; by default all, in the order of the detector's.

    Raises:
        ValueError: the map or the list names a class that the detector does not have; says the nearest.
    """

    def __init__(
        self,
        detector: Detector,
        class_map: Mapping[str, str | None] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        old = tuple(detector.class_names)
        class_map = class_map or {}
        for name in class_map:
            _known(name, old, "class_map")
        new = [class_map.get(name, name) for name in old]
        have = tuple(dict.fromkeys(name for name in new if name is not None))
        for name in class_names or ():
            _known(name, have, "class_names")
        self.detector = detector
        self.class_names = have if class_names is None else tuple(dict.fromkeys(class_names))
        place = {name: position for position, name in enumerate(self.class_names)}
        places = [-1 if name is None else place.get(name, -1) for name in new]
        self._label = torch.tensor(places, dtype=torch.int64)
        kept = [each for each in places if each >= 0]
        self._joins = len(kept) > len(set(kept))

    def __call__(self, images: Tensor) -> list[Detections]:
        """uint8 (b, 3, h, w) RGB -> b detections of the new classes."""
        return [self._mapped(each) for each in self.detector(images)]

    def _mapped(self, found: Detections) -> Detections:
        labels = self._label[found.labels]
        rows = labels >= 0
        mapped = Detections(found.boxes[rows], found.scores[rows], labels[rows])
        return mapped[_first_of_object(mapped, found.labels[rows])] if self._joins and len(mapped) > 1 else mapped


def _first_of_object(mapped: Detections, old: Tensor) -> Tensor:
    """Mask (k,) of the boxes before which no box of another old class is of the same object and the same new class."""
    from torchvision.ops import box_iou  # a slow import

    same = box_iou(mapped.boxes, mapped.boxes) >= _SAME_OBJECT
    joined = (mapped.labels[:, None] == mapped.labels) & (old[:, None] != old)
    return ~(same & joined).triu(1).any(0)


def _known(name: str, known: Sequence[str], what: str) -> None:
    if name not in known:
        raise ValueError(
            f"{what} must name classes of the detector, got {name!r}; the nearest are {nearest(name, list(known))}"
        )
