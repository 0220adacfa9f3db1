"""Each formula again, from the paper, in slow plain Python: what the fast code is compared with.

One section for each module of tamis. Nothing here is imported from tamis.
"""

import math
from collections.abc import Sequence

# ----- scores/losses.py, scores/grand.py ------------------------------------------------------------------------


def softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    powers = [math.exp(value - top) for value in logits]
    return [power / sum(powers) for power in powers]


def cross_entropy(logits: Sequence[float], label: int) -> float:
    top = max(logits)
    return top + math.log(sum(math.exp(value - top) for value in logits)) - logits[label]


def margin(logits: Sequence[float], label: int) -> float:
    return logits[label] - max(value for position, value in enumerate(logits) if position != label)


def entropy(logits: Sequence[float]) -> float:
    return -sum(p * math.log(p) for p in softmax(logits) if p > 0)


def error_vector(logits: Sequence[float], label: int) -> list[float]:
    return [p - (position == label) for position, p in enumerate(softmax(logits))]


def el2n(logits: Sequence[float], label: int) -> float:
    return math.sqrt(sum(error**2 for error in error_vector(logits, label)))


def grand_last_layer(features: Sequence[float], logits: Sequence[float], label: int, bias: bool) -> float:
    """Every entry of the gradient of the weight, (p - y)_i f_j, and of the bias, (p - y)_i."""
    inputs = [*features, 1.0] if bias else features
    return math.sqrt(sum((error * value) ** 2 for error in error_vector(logits, label) for value in inputs))


# ----- scores/forgetting.py -------------------------------------------------------------------------------------


def forgetting(correct: Sequence[bool], shown: Sequence[bool]) -> float:
    """One sample. Toneva et al. 2019: right at a presentation, wrong at the next one."""
    presentations = [right for right, present in zip(correct, shown, strict=True) if present]
    if not presentations:
        return math.nan
    if not any(presentations):
        return len(correct)
    return sum(before and not after for before, after in zip(presentations, presentations[1:], strict=False))


# ----- scores/average.py, scores/quality.py ---------------------------------------------------------------------


def average(scores: Sequence[Sequence[float]]) -> list[float]:
    means = []
    for column in zip(*scores, strict=True):
        known = [score for score in column if not math.isnan(score)]
        means.append(sum(known) / len(known) if known else math.nan)
    return means


def auroc(score: Sequence[float], positive: Sequence[bool]) -> float:
    """Over all pairs of a positive and a negative sample."""
    above = [s for s, p in zip(score, positive, strict=True) if p and not math.isnan(s)]
    below = [s for s, p in zip(score, positive, strict=True) if not p and not math.isnan(s)]
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in above for b in below]
    return sum(wins) / len(wins) if wins else math.nan


def precision_at(score: Sequence[float], positive: Sequence[bool], count: int) -> float:
    known = [index for index, value in enumerate(score) if not math.isnan(value)]
    top = sorted(known, key=lambda index: (-score[index], index))[:count]
    return sum(positive[index] for index in top) / count


# ----- thresholds.py --------------------------------------------------------------------------------------------


def between_class_variance(values: Sequence[float], threshold: float) -> float:
    """Otsu 1979, Eq. 14: ω0 ω1 (μ1 - μ0)², with class 1 above the threshold."""
    lower = [value for value in values if value <= threshold]
    upper = [value for value in values if value > threshold]
    if not lower or not upper:
        return 0.0
    gap = math.fsum(upper) / len(upper) - math.fsum(lower) / len(lower)
    return len(lower) * len(upper) / len(values) ** 2 * gap**2


def otsu_variance(values: Sequence[float]) -> float:
    """The largest between-class variance that any threshold reaches."""
    return max((between_class_variance(values, threshold) for threshold in set(values)), default=0.0)


# ----- tasks/calibration.py -------------------------------------------------------------------------------------


def likelihood_loss(logits: Sequence[Sequence[float]], labels: Sequence[int], temperature: float) -> float:
    scaled = [[value / temperature for value in row] for row in logits]
    return sum(cross_entropy(row, label) for row, label in zip(scaled, labels, strict=True)) / len(labels)


def ece(probabilities: Sequence[Sequence[float]], labels: Sequence[int], bins: int) -> float:
    """Guo et al. 2017, Eq. 3, bin by bin."""
    total = 0.0
    for m in range(1, bins + 1):
        members = [
            (max(row), row.index(max(row)) == label)
            for row, label in zip(map(list, probabilities), labels, strict=True)
            if (m - 1) / bins < max(row) <= m / bins
        ]
        if members:
            accuracy = sum(right for _, right in members) / len(members)
            confidence = sum(confidence for confidence, _ in members) / len(members)
            total += len(members) / len(labels) * abs(accuracy - confidence)
    return total
