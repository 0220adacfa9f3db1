"""Which true box takes which detection, by the rules of KITTI's benchmark: all images and thresholds at once."""

from typing import NamedTuple

import torch
from torch import Tensor

from tamis.scores.matching import rank_within

_AT_ONCE = 1 << 20  # pairs of boxes that are looked at together: 100 MB


class Pairs(NamedTuple):
    """Pairs of a true box and a detection of one image, sorted by both; int64 (p,), int64 (p,) and float64 (p,)."""

    true: Tensor
    found: Tensor
    overlap: Tensor

    def __getitem__(self, rows: Tensor) -> "Pairs":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Pairs(self.true[rows], self.found[rows], self.overlap[rows])


def overlapping(
    true: Tensor, true_image: Tensor, found: Tensor, found_image: Tensor, least: float, *, of_found: bool = False
) -> Pairs:
    """Pairs that overlap by *more* than `least`.

    Args:
        true: float64 (t, 4).
        true_image: int64 (t,), in any order.
        found: float64 (m, 4).
        found_image: int64 (m,), rising.
        least: of the intersection over the union.
        of_found: over the detection's own area instead, as for regions that count for nothing.
    """
    counts = found_image.bincount(minlength=int(true_image.max()) + 1 if len(true) else 0)
    starts, partners = counts.cumsum(0) - counts, counts[true_image]
    parts = (partners.cumsum(0) // _AT_ONCE).unique_consecutive(return_counts=True)[1]
    none = torch.zeros(0, dtype=torch.int64)
    pairs = [Pairs(none, none, none.double())]
    for rows in torch.arange(len(true)).split(parts.tolist()) if len(true) else ():
        first = rows.repeat_interleave(partners[rows])
        second = starts[true_image[first]] + rank_within(partners[rows])
        overlap = _overlap(true[first], found[second], of_found)
        near = (overlap > least).nonzero().flatten()
        pairs.append(Pairs(first[near], second[near], overlap[near]))
    return Pairs(*map(torch.cat, zip(*pairs, strict=True)))


def take_in_turn(pairs: Pairs, true_image: Tensor, allowed: Tensor) -> Tensor:
    """Let the true boxes of each image, one after the other, take the first of their detections that is left.

    Args:
        pairs: sorted by the true box, then by what it prefers.
        true_image: int64 (t,), rising.
        allowed: bool (s, p), the pairs that may come about in each of s cases.

    Returns:
        bool (s, p), the pairs that come about: in each case at most one of a true box, and of a detection.
    """
    rows, place, sizes = pairs.true.unique_consecutive(return_inverse=True, return_counts=True)
    turn = rank_within(true_image[rows].unique_consecutive(return_counts=True)[1])
    _, seat = pairs.found.unique(return_inverse=True)
    taken = allowed.new_zeros(len(allowed), len(pairs.found))
    chosen = torch.zeros_like(allowed)
    order = turn[place].argsort(stable=True)
    of_turn = turn.argsort(stable=True).split(turn.bincount().tolist())
    for part, boxes in zip(order.split(turn[place].bincount().tolist()), of_turn, strict=True):
        free = allowed[:, part] & ~taken[:, seat[part]]
        chosen[:, part] = _first(free, sizes[boxes])
        taken[:, seat[part]] |= chosen[:, part]  # a detection is there once: the true boxes are of different images
    return chosen


def _first(free: Tensor, sizes: Tensor) -> Tensor:
    """Of each run of so many columns only the first that is set, bool (s, q)."""
    count = free.cumsum(1, dtype=torch.int32)
    starts = sizes.cumsum(0) - sizes
    before = count[:, starts] - free[:, starts].int()
    return free & (count - before.repeat_interleave(sizes, 1) == 1)


def _overlap(true: Tensor, found: Tensor, of_found: bool) -> Tensor:
    """Of each pair (p, 4), (p, 4) -> (p,); 0 or NaN for a box without area."""
    corner, other = torch.maximum(true[:, :2], found[:, :2]), torch.minimum(true[:, 2:], found[:, 2:])
    both = (other - corner).clamp(min=0).prod(1)
    area = (found[:, 2:] - found[:, :2]).prod(1)
    return both / area if of_found else both / (area + (true[:, 2:] - true[:, :2]).prod(1) - both)
