"""Calibration: does a confidence of 0.8 mean right in 80 % of the cases? (Guo et al. 2017)."""

import math

import torch
from torch import Tensor

from tamis.scores.losses import check_logits

COLDEST, HOTTEST = 0.01, 100.0
_HALVINGS = 40  # of log(HOTTEST / COLDEST) = 9.2: the last step is below 1e-11


def _checked(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    check_logits(values, labels)
    if not len(values):
        raise ValueError("logits must have at least one row, got none; calibrate on held-out samples")
    labels = labels.long()
    if labels.min() < 0 or labels.max() >= values.shape[1]:
        raise ValueError(
            f"labels must be in [0, {values.shape[1]}), got {labels.min().item()} to {labels.max().item()}"
        )
    values = values.detach().double()
    if not values.isfinite().all():
        bad = int((~values.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"logits must be finite, got {values[bad].tolist()[:5]} in row {bad}; drop such samples")
    return values, labels


def temperature_of(logits: Tensor, labels: Tensor) -> float:
    """Temperature scaling: the T that minimises the negative log-likelihood of softmax(z / T) (Eq. 9).

    The likelihood is convex in 1/T, so its slope, the mean of E_p[z] - z_y, changes sign once: T is found by
    halving an interval of log T in float64. There is no step size and no start to choose. The accuracy does
    not change.

    Args:
        logits: float (n, k) of held-out samples, never of those trained on.
        labels: integers (n,).

    Returns:
        T in [0.01, 100]; above 1 = the model was overconfident. An end of the range means that there is no
        minimum inside: 0.01 where every sample is right, 100 where the logits are no better than chance. 1
        where they say nothing at all.

    Raises:
        ValueError: wrong shapes, no sample, labels out of range, or logits that are not finite.
    """
    logits, labels = _checked(logits, labels)
    excess = logits - logits.gather(1, labels[:, None])  # softmax does not change, and z_y becomes 0

    def slope(log_temperature: float) -> float:
        return (excess * (excess * math.exp(-log_temperature)).softmax(1)).sum(1).mean().item()

    if not excess.any():
        return 1.0
    low, high = math.log(COLDEST), math.log(HOTTEST)
    if slope(low) <= 0:
        return COLDEST
    if slope(high) >= 0:
        return HOTTEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if slope(middle) > 0:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def ece(predictions: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error, Σ_m |B_m| / n · |acc(B_m) - conf(B_m)| (section 2, Eq. 3).

    Bins of equal width, ((m-1)/M, m/M], over the largest probability of each sample. Depends on the number of
    bins and is biased upwards for few samples: compare values with the same bins and the same n only.

    Args:
        predictions: float (n, k). Probabilities if no row has a negative number and all sum to 1 within 0.01,
            else logits.
        labels: integers (n,).
        bins: number of bins, M.

    Returns:
        In [0, 1]; 0 = calibrated.

    Raises:
        ValueError: wrong shapes, no sample, labels out of range, predictions that are not finite, or fewer
            than one bin.
    """
    values, labels = _checked(predictions, labels)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins!r}; 15 is usual")
    if values.min() < 0 or (values.sum(1) - 1).abs().max() > 0.01:
        values = values.softmax(1)
    confidence, predicted = values.max(1)
    edges = torch.arange(1, bins, dtype=torch.float64, device=values.device) / bins
    gaps = torch.zeros(bins, dtype=torch.float64, device=values.device)
    gaps.index_add_(0, torch.bucketize(confidence, edges), (predicted == labels).double() - confidence)
    return gaps.abs().sum().item() / len(labels)
