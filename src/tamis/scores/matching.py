"""Which detections hit a true box, of all images and classes at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

_AT_ONCE = 1 << 17  # pairs of boxes that are looked at together, few enough for the cache


def match(boxes: Tensor, true: Tensor, known: Tensor, place: Tensor, truths: Tensor, iou: float) -> Tensor:
    """Which detections hit: each takes the true box of its group that it overlaps most, of those that are left.

    As pycocotools does it, to the bit: the most confident detection first; of two that overlap equally, the last one.

    Args:
        boxes: float64 (m, 4), sorted by group, then by falling confidence.
        true: float64 (t, 4), true boxes sorted by group.
        known: bool (m,), whether a detection's group has true boxes.
        place: int64 (m,), which group of those that have.
        truths: int64 (g,), their numbers of true boxes.
        iou: least overlap of a hit, in (0, 1].

    Returns:
        bool (m,).

    Raises:
        ValueError: an overlap out of range.
    """
    if not 0 < iou <= 1:
        raise ValueError(f"iou must be in (0, 1], got {iou!r}; 0.5 is usual")
    hit, taken = torch.zeros_like(known), known.new_zeros(len(true))
    rows = known.nonzero().flatten()
    detections = place[rows].bincount(minlength=len(truths))
    starts = torch.zeros_like(truths)
    leaders = rows[rank_within(detections) == 0]
    starts[place[leaders]] = leaders
    for pairs in _in_parts(_near(boxes, true, starts, detections, truths, min(iou, 1 - 1e-10))):  # as COCO
        _take(hit, taken, *pairs)
    return hit


def rank_within(counts: Tensor) -> Tensor:
    """0, 1 ... within each of the groups of so many rows."""
    first = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum()), device=counts.device) - first.repeat_interleave(counts)


def _near(
    boxes: Tensor, true: Tensor, starts: Tensor, detections: Tensor, truths: Tensor, iou: float
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Pairs of detections and true boxes of a group that overlap enough: rank, row and true row (p,), overlap (p,).

    Groups of equally many detections and equally many true boxes together, so that nothing need be padded.
    """
    true_starts = truths.cumsum(0) - truths
    base = 1 + int(truths.max()) if len(truths) else 1
    shape = detections * base + truths
    order = shape.argsort()
    shapes, counts = shape[order].unique_consecutive(return_counts=True)
    for alike, number in zip(order.split(counts.tolist()), shapes.tolist(), strict=True):
        found, there = divmod(number, base)
        for groups in alike.split(max(1, _AT_ONCE // (found * there))) if found else ():
            row = starts[groups, None] + torch.arange(found, device=boxes.device)
            true_row = true_starts[groups, None] + torch.arange(there, device=boxes.device)
            overlap = _overlaps(boxes[row], true[true_row])
            group, first, second = (overlap >= iou).nonzero(as_tuple=True)
            yield first, row[group, first], true_row[group, second], overlap[group, first, second]


def _in_parts(pairs: Iterator[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    """The same, joined to parts that are worth a pass and still fit the memory."""
    held, size = [], 0
    for part in pairs:
        held.append(part)
        size += len(part[0])
        if size > _AT_ONCE:
            yield tuple(map(torch.cat, zip(*held, strict=True)))
            held, size = [], 0
    if held:
        yield tuple(map(torch.cat, zip(*held, strict=True)))


def _take(hit: Tensor, taken: Tensor, rank: Tensor, row: Tensor, true_row: Tensor, overlap: Tensor) -> None:
    """Let detections take true boxes, rank by rank: all groups at once, since they share no box.

    Args:
        hit: bool, of the detections; changed.
        taken: bool, of the true boxes; changed.
        rank: int64 (p,), of the detections in their groups.
        row: int64 (p,), pairs that overlap enough: the detections.
        true_row: int64 (p,), their true boxes, rising for each detection.
        overlap: (p,). Of equal ones the last true box is taken.
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
