"""Average precision of boxes, as COCO counts it: of single images, and of a data set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from tamis.detections import Detections

_MOST = 100  # detections of a class on an image that count, the most confident: COCO's maxDets
_AT_ONCE = 1 << 17  # pairs of boxes in memory, few enough for the cache
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
    hit = _hits(found.boxes, true, known, place, truths, iou)
    precision = _average_precision(hit[known], place[known], truths)
    nothing = precision.new_zeros(len(student))
    image = groups // classes
    total = nothing.index_add(0, image, precision)
    count = nothing.index_add(0, image, torch.ones_like(precision))
    alarmed = found.group[found.scores >= alarm_confidence] // classes
    silent = (nothing + 1).index_fill(0, alarmed, 0)
    return torch.where(count > 0, total / count, silent)


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
    hit = _hits(found.boxes, true, *_places(groups, found.group), truths, iou)
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
    found = found[_rank(counts) < _MOST]
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


def _rank(counts: Tensor) -> Tensor:
    """0, 1 ... within each of the groups of so many rows."""
    first = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum()), device=counts.device) - first.repeat_interleave(counts)


def _places(groups: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Of rows (m,): whether their group is among sorted groups (g,), and where, or any place."""
    if not len(groups):
        return torch.zeros_like(group, dtype=torch.bool), torch.zeros_like(group)
    place = torch.searchsorted(groups, group).clamp(max=len(groups) - 1)
    return groups[place] == group, place


def _hits(boxes: Tensor, true: _Boxes, known: Tensor, place: Tensor, truths: Tensor, iou: float) -> Tensor:
    """Which detections hit: bool (m,). Each takes the true box that it overlaps most, of those that are left.

    Args:
        boxes: (m, 4), sorted by group, then by falling confidence.
        true: what there is to hit, sorted by group.
        known: bool (m,), whether a detection's group has true boxes.
        place: int64 (m,), which group of those that have.
        truths: int64 (g,), their numbers of true boxes.
        iou: least overlap of a hit.
    """
    if not 0 < iou <= 1:
        raise ValueError(f"iou must be in (0, 1], got {iou!r}; 0.5 is usual")
    hit, taken = torch.zeros_like(known), torch.zeros_like(true.group, dtype=torch.bool)
    rows = known.nonzero().flatten()
    detections = place[rows].bincount(minlength=len(truths))
    rank, starts = _rank(detections), truths.cumsum(0) - truths
    row_of = torch.zeros_like(truths)
    row_of[place[rows[rank == 0]]] = rows[rank == 0]
    kept, size = [], 0
    for some, found, there in _of_one_shape(detections, truths):
        row = row_of[some, None] + torch.arange(found, device=some.device)
        true_row = starts[some, None] + torch.arange(there, device=some.device)
        overlap = _overlaps(boxes[row], true.boxes[true_row])
        group, first, second = (overlap >= min(iou, 1 - 1e-10)).nonzero(as_tuple=True)  # COCO's
        kept.append((first, row[group, first], true_row[group, second], overlap[group, first, second]))
        size += len(group)
        if size > _AT_ONCE:
            _take(hit, taken, *map(torch.cat, zip(*kept, strict=True)))
            kept, size = [], 0
    if kept:
        _take(hit, taken, *map(torch.cat, zip(*kept, strict=True)))
    return hit


def _of_one_shape(detections: Tensor, truths: Tensor) -> Iterator[tuple[Tensor, int, int]]:
    """Groups (k,) that have equally many detections and equally many true boxes, and how many of both."""
    shape = torch.stack([detections, truths], 1)[detections > 0]
    shapes, kind, counts = shape.unique(dim=0, return_inverse=True, return_counts=True)
    groups = (detections > 0).nonzero().flatten()[kind.argsort(stable=True)]
    for alike, (found, there) in zip(groups.split(counts.tolist()), shapes.tolist(), strict=True):
        for some in alike.split(max(1, _AT_ONCE // (found * there))):
            yield some, found, there


def _take(hit: Tensor, taken: Tensor, rank: Tensor, row: Tensor, true_row: Tensor, overlap: Tensor) -> None:
    """Let detections take true boxes, rank by rank: all groups at once, since they share no box.

    Args:
        hit: bool, of the detections; changed.
        taken: bool, of the true boxes; changed.
        rank: int64 (p,), of the detections in their groups.
        row: int64 (p,), pairs that overlap enough: the detections, rising.
        true_row: int64 (p,), their true boxes, rising for each detection.
        overlap: (p,). Of equal ones the last true box is taken, as COCO does.
    """
    order = overlap.argsort(stable=True)
    order = order[row[order].argsort(stable=True)]
    order = order[rank[order].argsort(stable=True)]
    for pairs in order.split(rank.bincount().tolist()):
        left = pairs[~taken[true_row[pairs]]]
        last = row[left].diff(append=row.new_full((1,), -1)) != 0
        best = left[last]
        hit[row[best]] = True
        taken[true_row[best]] = True


def _overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, (n, d, 4) and (n, t, 4) -> (n, d, t); 0 or NaN for a box without area."""
    left, top, right, bottom = boxes[:, :, None].unbind(3)
    left_2, top_2, right_2, bottom_2 = others[:, None].unbind(3)
    width = (torch.minimum(right, right_2) - torch.maximum(left, left_2)).clamp(min=0)
    height = (torch.minimum(bottom, bottom_2) - torch.maximum(top, top_2)).clamp(min=0)
    both = width * height
    return both / ((right - left) * (bottom - top) + (right_2 - left_2) * (bottom_2 - top_2) - both)


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
    number = _rank(hits) + 1
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
