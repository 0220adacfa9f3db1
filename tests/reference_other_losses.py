"""Sigma of decisions and of residuals, in slow plain Python. Nothing here is imported from tamis."""

import math
from collections.abc import Sequence


def decision_loss(z: float, there: int, sigma: float) -> float:
    """Eq. 1 of Saxena et al. with two classes, whose logits are z (it is there) and 0."""
    powers = [math.exp(0.0), math.exp(z / sigma)]
    return -math.log(powers[there] / sum(powers))


def decision_logit_gradient(z: float, there: int, sigma: float) -> float:
    """Eq. 3 for the logit z."""
    p = 1 / (1 + math.exp(-z / sigma))
    return (p - there) / sigma


def decision_sigma_gradient(z: float, there: int, sigma: float) -> float:
    """Eq. 4; of two classes the other one has q = 1, so the sum over the others is its logit."""
    p_there = 1 / (1 + math.exp(-z / sigma))
    target, other = (z, 0.0) if there else (0.0, z)
    p_target = p_there if there else 1 - p_there
    return (1 - p_target) / sigma**2 * (target - 1.0 * other)


def multi_label_loss(logits: Sequence[float], there: Sequence[int], sigmas: Sequence[float]) -> float:
    """Mean over the classes."""
    return sum(decision_loss(*each) for each in zip(logits, there, sigmas, strict=True)) / len(logits)


def average_precision(scores: Sequence[float], there: Sequence[int]) -> float:
    """For each sample of the class, the precision among all that score at least as high; their mean."""
    found = []
    for score, right in zip(scores, there, strict=True):
        if right:
            above = [each for other, each in zip(scores, there, strict=True) if other >= score]
            found.append(sum(above) / len(above))
    return sum(found) / len(found) if found else math.nan


def gaussian(residuals: Sequence[float], sigma: float, unit: float) -> float:
    """Minus the log density of d residuals of variance sigma² unit / d, times 2 unit / d, less what is constant."""
    variance = unit / len(residuals)
    density = 0.0
    for residual in residuals:
        spread = variance * sigma**2
        density += math.log(math.exp(-(residual**2) / (2 * spread)) / math.sqrt(2 * math.pi * spread))
    constant = len(residuals) / 2 * math.log(2 * math.pi * variance)
    return 2 * variance * (-density - constant)


def map_unit(predicted: Sequence[Sequence[float]], true: Sequence[Sequence[float]]) -> float:
    """The squares of both maps of density; what lacks to one true head lies in a cell of its own."""
    squares = [value**2 for rows in (predicted, true) for row in rows for value in row]
    return sum(squares) + max(0.0, 1 - sum(value for row in true for value in row))
