"""Average precision of boxes, as COCO counts it: of single images, and of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from tamis.detections import Detections
from tamis.scores.matching import match, rank_within

_MOST = 100  # detections of a class on an image that count, the most confident: COCO's maxDets
# COCO's thresholds of recall, to the bit: 29 * 0.01 is above 29 / 100, and hits decide by it.
_RECALLS = torch.arange(101, dtype=torch.float64) * 0.01


class MeanPrecision(TypedDict):
    """Average precision at IoU 0.5 of a data set.

    Attributes:
        map50: mean over the classes that have true boxes, in [0, 1]; NaN without any.
        per_class: of each class, in [0, 1]; NaN where it has no true box.
    """

    map50: float
    per_class: tuple[float, ...]


def image_precision(
    student: Sequence[Detections],
    teacher: Sequence[Detections],
    classes: int,
    *,
    iou: float = 0.5,
    alarm_confidence: float = 0.0,
) -> Tensor:
    """Average precision of each image with the teacher's boxes as truth; lower = harder (Dataset Culling, stage 2).

    COCO's average precision (101 thresholds of recall), mean over the classes that have boxes of the teacher: false
    alarms of other classes do not count. Where the teacher sees nothing it is 1 if the student sees nothing either,
    else 0. Detections whose confidence is not a number are left out.

    Args:
        student: n detections; of each class the 100 most confident of an image count.
        teacher: n detections of the same images in the same order; their confidences play no part.
        classes: number of classes.
        iou: least overlap of a hit, in (0, 1].
        alarm_confidence: least confidence of what the student sees where the teacher sees nothing. A student that
            tells its every doubt makes empty images the hardest of all unless this is above its doubts.

    Returns:
        float64 (n,), in [0, 1], on the device of the student's detections.

    Raises:
        ValueError: lists of different lengths, a label or an overlap out of range.
    """
    found, true = _pair(student, teacher, classes)
    groups, truths = true.group.unique_consecutive(return_counts=True)
    known, place = _places(groups, found.group)
    hit = match(found.boxes, true.boxes, known, place, truths, iou)
    precision = _average_precision(hit[known], place[known], truths)
    nothing = precision.new_zeros(len(student))
    image = groups // classes
    total = nothing.index_add(0, image, precision)
    count = nothing.index_add(0, image, torch.ones_like(precision))
    alarmed = found.group[found.scores >= alarm_confidence] // classes
    silent = (nothing + 1).index_fill(0, alarmed, 0)
    return torch.where(count > 0, total / count, silent)


def image_hits(
    student: Sequence[Detections], teacher: Sequence[Detections], classes: int, *, iou: float = 0.5
) -> Tensor:
    """How many detections of each image hit a true box of their class; the others are false alarms.

    Args:
        student: n detections; of each class the 100 most confident of an image count.
        teacher: n detections of the same images in the same order; their confidences play no part.
        classes: number of classes.
        iou: least overlap of a hit, in (0, 1].

    Returns:
        int64 (n,), on the device of the student's detections; each true box is hit once at most.

    Raises:
        ValueError: lists of different lengths, a label or an overlap out of range.
    """
    found, true = _pair(student, teacher, classes)
    groups, truths = true.group.unique_consecutive(return_counts=True)
    hit = match(found.boxes, true.boxes, *_places(groups, found.group), truths, iou)
    return (found.group[hit] // classes).bincount(minlength=len(student))


def class_precision(
    student: Sequence[Detections], truth: Sequence[Detections], classes: int, *, iou: float = 0.5
) -> Tensor:
    """COCO's average precision of each class over a whole data set.

    Args:
        student: n detections; of each class the 100 most confident of an image count.
        truth: n detections of the same images in the same order; their confidences play no part.
        classes: number of classes.
        iou: least overlap of a hit, in (0, 1].

    Returns:
        float64 (classes,), in [0, 1], on the device of the student's detections; NaN where a class has no true box.

    Raises:
        ValueError: lists of different lengths, a label or an overlap out of range.
    """
    found, true = _pair(student, truth, classes)
    groups, truths = true.group.unique_consecutive(return_counts=True)
    hit = match(found.boxes, true.boxes, *_places(groups, found.group), truths, iou)
    label = found.group % classes
    order = _order(label, found.scores)
    of_class = (true.group % classes).bincount(minlength=classes)
    precision = _average_precision(hit[order], label[order], of_class)
    return precision.masked_fill(of_class == 0, torch.nan)


def mean_average_precision(student: Sequence[Detections], truth: Sequence[Detections], classes: int) -> MeanPrecision:
    """COCO's mAP at IoU 0.5 of a data set, the paper's measure: `class_precision`, and its mean.

    Raises:
        ValueError: lists of different lengths, or a label out of range.
    """
    precision = class_precision(student, truth, classes)
    return {"map50": precision.nanmean().item(), "per_class": tuple(precision.tolist())}


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Boxes (m, 4) float64, scores (m,) and groups (m,) of many images, sorted by group = image * classes + label."""

    boxes: Tensor
    scores: Tensor
    group: Tensor

    def __getitem__(self, rows: Tensor) -> "_Boxes":
        return _Boxes(self.boxes[rows], self.scores[rows], self.group[rows])


def _pair(student: Sequence[Detections], teacher: Sequence[Detections], classes: int) -> tuple[_Boxes, _Boxes]:
    """What was found, the most confident first in each group, and what is true, as given in each group."""
    if len(student) != len(teacher):
        raise ValueError(
            f"student and teacher must tell of the same images, got {len(student)} and {len(teacher)}; join them by key"
        )
    found = _flat(student, classes, "the student")
    found = found[_order(found.group, found.scores)]
    _, counts = found.group.unique_consecutive(return_counts=True)
    found = found[rank_within(counts) < _MOST]
    true = _flat(teacher, classes, "the truth", found.boxes.device)
    return found, true[true.group.argsort(stable=True)]


def _flat(images: Sequence[Detections], classes: int, who: str, device: torch.device | None = None) -> _Boxes:
    if not images:
        return _Boxes(torch.zeros(0, 4).double(), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    boxes = torch.cat([one.boxes for one in images])
    scores = torch.cat([one.scores for one in images])
    labels = torch.cat([one.labels for one in images])
    image = torch.arange(len(images)).repeat_interleave(torch.tensor([len(one) for one in images])).to(labels.device)
    wrong = ((labels < 0) | (labels >= classes)).nonzero()
    if len(wrong):
        row = wrong[0, 0]
        raise ValueError(
            f"labels must be in [0, {classes}), got {labels[row].item()!r} in image {image[row].item()} of {who}; "
            f"map the classes of both detectors to one list"
        )
    flat = _Boxes(boxes.double(), scores, image * classes + labels)[~scores.isnan()]
    return flat if device is None else _Boxes(flat.boxes.to(device), flat.scores.to(device), flat.group.to(device))


def _order(group: Tensor, scores: Tensor) -> Tensor:
    """By group, then by falling score; what ties stays in order."""
    order = scores.sort(descending=True, stable=True).indices
    return order[group[order].argsort(stable=True)]


def _places(groups: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Of rows (m,): whether their group is among sorted groups (g,), and where, or any place."""
    if not len(groups):
        return torch.zeros_like(group, dtype=torch.bool), torch.zeros_like(group)
    place = torch.searchsorted(groups, group).clamp(max=len(groups) - 1)
    return groups[place] == group, place


def _average_precision(hit: Tensor, group: Tensor, truths: Tensor) -> Tensor:
    """COCO's average precision of each group.

    Args:
        hit: bool (m,), sorted by group, then by falling confidence.
        group: int64 (m,), in [0, g).
        truths: int64 (g,), the numbers of true boxes.

    Returns:
        float64 (g,), in [0, 1]; 0 without a hit.
    """
    rows = hit.nonzero().flatten()
    owner = group[rows]
    found = group.bincount(minlength=len(truths))
    hits = owner.bincount(minlength=len(truths))
    number = rank_within(hits) + 1
    precision = number.double() / (rows - (found.cumsum(0) - found)[owner] + 1)
    recalls = _RECALLS.to(hit.device)
    reached = torch.searchsorted(recalls, number / truths[owner].double(), right=True)
    before = torch.searchsorted(recalls, (number - 1) / truths[owner].double(), right=True)
    share = reached - before.where(number > 1, 0)  # of the thresholds: those that this hit is the first to reach
    result = precision.new_zeros(len(truths))
    return result.index_add_(0, owner, _highest_to_come(precision, owner) * share) / len(recalls)


def _highest_to_come(values: Tensor, group: Tensor) -> Tensor:
    """The maximum of each value and those after it in its group: doubling the distance that it looks ahead."""
    values, step = values.clone(), 1
    longest = int(group.bincount().max()) if len(group) else 0
    while step < longest:
        ahead = torch.maximum(values[:-step], values[step:])
        values[:-step] = torch.where(group[:-step] == group[step:], ahead, values[:-step])
        step *= 2
    return values
