"""How well a score finds the samples that it should find, say those with a wrong label."""

import torch
from torch import Tensor


def _scored(score: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    if score.ndim != 1 or positive.shape != score.shape or positive.dtype != torch.bool:
        raise ValueError(
            f"score and positive must be (n,) and bool (n,), got {tuple(score.shape)} and "
            f"{positive.dtype} {tuple(positive.shape)}; give one flag per score"
        )
    known = ~score.isnan()
    return score[known], positive[known]


def auroc(score: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Rank based (Mann-Whitney U), O(n log n). Samples that were not scored (NaN) are left out.

    Args:
        score: (n,), higher should mean positive.
        positive: bool (n,).

    Returns:
        In [0, 1]; NaN where there is no positive or no negative sample.

    Raises:
        ValueError: wrong shapes.
    """
    score, positive = _scored(score, positive)
    positives = int(positive.sum())
    negatives = len(score) - positives
    if not positives or not negatives:
        return float("nan")
    ordered, order = score.sort()
    _, group, size = ordered.unique_consecutive(return_inverse=True, return_counts=True)
    middle = size.cumsum(0).double() - (size.double() - 1) / 2  # the mean rank, from 1, of those that tie
    ranks = middle[group][positive[order]].sum().item()
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def precision_at(score: Tensor, positive: Tensor, count: int) -> float:
    """Share of positive samples among the `count` highest scores; ties go by index.

    Of equal scores the lower index comes first. Samples that were not scored (NaN) are left out.

    Args:
        score: (n,), higher should mean positive.
        positive: bool (n,).
        count: how many to look at, at least 1 and at most the number of samples with a score.

    Returns:
        In [0, 1].

    Raises:
        ValueError: wrong shapes, or a count out of range.
    """
    score, positive = _scored(score, positive)
    if not 1 <= count <= len(score):
        raise ValueError(f"count must be in [1, {len(score)}], got {count!r}; only samples with a score can be ranked")
    top = score.sort(descending=True, stable=True).indices[:count]
    return positive[top].double().mean().item()
