"""How alike the orders are that several runs put classes or samples in."""

import math
from itertools import combinations

import numpy as np


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of two float (k,), in [-1, 1]; NaN where all of one are equal.

    Equal values share the mean of their ranks.
    """
    a, b = (_ranks(values) - (len(values) + 1) / 2 for values in (first, second))
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    """Float (k,), 1 for the lowest."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def pair_correlations(values: np.ndarray) -> list[float]:
    """Rank correlation of each two rows of float (runs, k), in the order of `itertools.combinations`."""
    return [rank_correlation(values[a], values[b]) for a, b in combinations(range(len(values)), 2)]


def by_chance(count: int) -> float:
    """Standard deviation of the rank correlation of two random orders of so many; NaN below two."""
    return 1 / math.sqrt(count - 1) if count > 1 else math.nan


def farthest_apart(values: np.ndarray, label: np.ndarray) -> list[int]:
    """Two samples of one class, high and low: of all classes the one whose values lie farthest apart.

    Args:
        values: float (m,); NaN are never chosen.
        label: int64 (m,).

    Returns:
        Their positions, the first of equals; none where no class has two samples with different values.
    """
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return []
    high, low = np.full((2, int(label[known].max()) + 1), -np.inf)
    np.maximum.at(high, label[known], values[known])
    np.maximum.at(low, label[known], -values[known])
    apart = high + low
    if not apart.max() > 0:
        return []
    members = known[label[known] == int(apart.argmax())]
    return [int(members[values[members].argmax()]), int(members[values[members].argmin()])]
