"""Each formula again, from the paper, in slow plain Python: what the fast code is compared with.

One section for each module of tamis. Nothing here is imported from tamis.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

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
    return sum(before and not after for before, after in pairwise(presentations))


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


# ----- moment.py --------------------------------------------------------------------------------------------------


def splitmix64(state: int, count: int) -> list[int]:
    """Steele, Lea, Flood 2014: the numbers that follow a state."""
    numbers = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        numbers.append(z ^ (z >> 31))
    return numbers


# ----- rules ------------------------------------------------------------------------------------------------------


def by_score(score: Sequence[float], *, hardest: bool = False) -> list[int]:
    """The scored samples from easy to hard, or from hard to easy; of equal ones the earlier first."""
    scored = [index for index, value in enumerate(score) if not math.isnan(value)]
    return sorted(scored, key=lambda index: (-score[index] if hardest else score[index], index))


def self_paced(kind: str, loss: float, age: float, soft: float, zeta_age: float) -> float:
    """Kumar et al. 2010, Eq. 3 (hard); Jiang et al. 2014, section 3.2 (the others); `age` is their lambda."""
    if loss >= age:
        return 0.0
    if kind == "hard":
        return 1.0
    if kind == "linear":
        return 1 - loss / age
    if kind == "log":  # for an age in (0, 1): losses are measured in a unit in which the age is zeta_age
        zeta = 1 - zeta_age
        return math.log(loss / age * zeta_age + zeta) / math.log(zeta)
    second = soft * age
    zeta = age * second / (age - second)
    return 1.0 if loss <= second else zeta / loss - zeta / age


# ----- temperature.py: Saxena, Tuzel, DeCoste 2019 -----------------------------------------------------------------


def tempered_loss(logits: Sequence[float], label: int, sigma: float) -> float:
    """Eq. 1 with every logit divided by the sigma of the sample."""
    return cross_entropy([z / sigma for z in logits], label)


def logit_gradient(logits: Sequence[float], label: int, sigma: float) -> list[float]:
    """Eq. 3, and the same for sigma* of section 2.2."""
    return [error / sigma for error in error_vector([z / sigma for z in logits], label)]


def sigma_gradient(logits: Sequence[float], label: int, sigma: float) -> float:
    """Eqs 4 and 5: (1 - p_y) / sigma^2 (z_y - sum of q_j z_j), q the distribution over the other classes."""
    p = softmax([z / sigma for z in logits])
    others = [j for j in range(len(logits)) if j != label]
    rest = math.fsum(p[j] for j in others)  # 1 - p_y
    expected = math.fsum(p[j] / rest * logits[j] for j in others)
    return rest / sigma**2 * (logits[label] - expected)


class Rows:
    """Rows of log sigma and their optimiser, one number at a time; section 3.1 and readings 3 to 6.

    A step gets the members of the batch as pairs (row, gradient of the mean loss of the batch).
    """

    def __init__(self, values, lr, momentum=0.0, weight_decay=0.0, decay="per_member", clamp=None):
        self.values, self.buffers = list(values), [None] * len(values)
        self.lr, self.momentum, self.weight_decay, self.decay, self.clamp = lr, momentum, weight_decay, decay, clamp

    def step(self, members):
        for row in {row for row, _ in members}:  # "not present in a mini-batch": no update at all
            mine = [gradient for name, gradient in members if name == row]
            times = len(mine) if self.decay == "per_member" else 1
            total = math.fsum(mine) + times * self.weight_decay * self.values[row]
            before = self.buffers[row]
            self.buffers[row] = total if before is None else self.momentum * before + total
            self.values[row] -= self.lr * self.buffers[row]
            if isinstance(self.clamp, tuple):
                self.values[row] = min(max(self.values[row], self.clamp[0]), self.clamp[1])
        if self.clamp == "published":
            self.values = [min(max(value, math.log(1 / 20)), math.log(20)) for value in self.values]
