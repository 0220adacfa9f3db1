"""Partial selection: a share of the samples as a number, and the k lowest scores, without sorting."""

import math

import numpy as np
import torch
from torch import Tensor


def share_of(count: int, share: float) -> int:
    """floor(share * count), with decimals as they are meant: 0.7 of 10 is 7, though the product falls just below."""
    return math.floor(share * count + 1e-9)


def lowest(score: Tensor, among: Tensor, count: int) -> Tensor:
    """The `count` lowest scores among some samples; equal scores go by index, the earlier first.

    One partition (O(n), numpy's introselect) and two passes of comparisons; memory for one copy of the scores.

    Args:
        score: float32 (n,), not NaN where `among` is true.
        among: bool (n,).
        count: how many, in [0, number of true in `among`].

    Returns:
        bool (n,).
    """
    if count <= 0:
        return torch.zeros_like(among)
    values = score[among].numpy()
    if count >= len(values):
        return among.clone()
    values.partition(count - 1)
    edge = float(values[count - 1])
    chosen = (score < edge) & among
    level = np.flatnonzero(((score == edge) & among).numpy())[: count - int(chosen.sum())]
    chosen[torch.from_numpy(level)] = True
    return chosen


def highest(score: Tensor, among: Tensor, count: int) -> Tensor:
    """The `count` highest scores among some samples; equal scores go by index, the earlier first."""
    return lowest(-score, among, count)
