"""CLIP again, from the paper (section 3, Algorithm 1), in slow plain Python: what `tamis.rules.Clip` is compared with.

Nothing here is imported from tamis.
"""

import math
from collections.abc import Callable, Sequence


def pace(kind: str, start: float, full_at: float, progress: float) -> float:
    """Fig. 1: linear and quadratic; the formulas are the usual family, since the paper prints none."""
    if progress >= full_at:
        return 1.0
    power = {"linear": 1.0, "quadratic": 2.0, "root": 0.5}[kind]
    return start + (1 - start) * (progress / full_at) ** power


def sorted_by(scores: Sequence[float], *, hardest_first: bool = False) -> list[int]:
    """Line 1: X in the order of the scores, equal ones by index; samples without a score are not in it."""
    known = [index for index, score in enumerate(scores) if not math.isnan(score)]
    return sorted(known, key=lambda index: (-scores[index] if hardest_first else scores[index], index))


def _share(epsilon: float, count: int) -> int:
    return math.floor(epsilon * count + 1e-9)


def algorithm1(order: Sequence[int], sizes: Sequence[int], epsilon: Sequence[float]) -> list[list[int]]:
    """Lines 2 to 5 as printed: X_i = X[1, ..., size]."""
    subsets = []
    for size, ratio in zip(sizes, epsilon, strict=True):
        kept = size - _share(ratio, size)
        subsets.append(list(order[: max(1, kept)]))
    return subsets


def lowest(order: Sequence[int], sizes: Sequence[int], epsilon: Sequence[float]) -> list[list[int]]:
    """The text: the least significant samples of the training subset are removed, iteratively and for good."""
    removed: list[int] = []
    subsets = []
    for size, ratio in zip(sizes, epsilon, strict=True):
        exposed = list(order[:size])
        while len(removed) < _share(ratio, size):
            removed.append(next(index for index in exposed if index not in removed))
        left = [index for index in exposed if index not in removed]
        subsets.append(left or exposed[-1:])
    return subsets


def compounding(order: Sequence[int], sizes: Sequence[int], epsilon: Sequence[float]) -> list[list[int]]:
    """The third reading: each iteration removes that share of what the ones before have left."""
    removed: set[int] = set()
    subsets = []
    for size, ratio in zip(sizes, epsilon, strict=True):
        left = [index for index in order[:size] if index not in removed]
        removed |= set(left[: _share(ratio, len(left))])
        left = [index for index in left if index not in removed]
        subsets.append(left or list(order[:size][-1:]))
    return subsets


def hard_lowest(order: Sequence[int], sizes: Sequence[int], epsilon: Sequence[float]) -> list[list[int]]:
    """An anti-curriculum, the hardest first: the lowest scores of what is exposed are the last of it."""
    return algorithm1(order, sizes, epsilon)


def hard_algorithm1(order: Sequence[int], sizes: Sequence[int], epsilon: Sequence[float]) -> list[list[int]]:
    """An anti-curriculum: the highest scores of what is exposed are the first of it."""
    return [list(order[min(_share(ratio, size), size - 1) : size]) for size, ratio in zip(sizes, epsilon, strict=True)]


Reading = Callable[[Sequence[int], Sequence[int], Sequence[float]], list[list[int]]]
READINGS: dict[tuple[str, str], Reading] = {
    ("lowest", "easy"): lowest,
    ("algorithm1", "easy"): algorithm1,
    ("compounding", "easy"): compounding,
    ("lowest", "hard"): hard_lowest,
    ("algorithm1", "hard"): hard_algorithm1,
}


def sizes(count: int, shares: Sequence[float]) -> list[int]:
    """Line 3: g(i), at least one sample."""
    return [min(count, max(1, math.floor(share * count + 1e-9))) for share in shares]


def release(order: Sequence[int], shown_at: Sequence[int]) -> dict[int, int]:
    """The first batch at which the pace has come to each sample, from the places paced in at each batch."""
    found = {}
    for place, index in enumerate(order):
        found[index] = next((step for step, size in enumerate(shown_at) if size > place), len(shown_at) - 1)
    return found


def ranks(visible: Sequence[bool], scores: Sequence[float], hidden_by: Sequence[int], index: int) -> tuple[int, int]:
    """The place of a hidden sample by score among what the part that hid it saw; (0, 0) if it has no score."""
    part = hidden_by[index]
    if math.isnan(scores[index]) or part < 0:
        return 0, 0
    seen = [i for i in sorted_by(scores) if visible[i] and (hidden_by[i] < 0 or hidden_by[i] >= part)]
    return seen.index(index) + 1, len(seen)
