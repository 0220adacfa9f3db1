"""Spearman's rank correlation in plain Python, by definition Pearson's of the ranks; equal values share one."""

from collections.abc import Sequence
from math import nan, sqrt


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the lowest; equal values get the mean of the ranks that they take up."""
    return [1 + sum(b < a for b in values) + (sum(b == a for b in values) - 1) / 2 for a in values]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """In [-1, 1]; NaN where one has no order."""
    a, b = ranks(first), ranks(second)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    over = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    under = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return over / sqrt(under) if under else nan
