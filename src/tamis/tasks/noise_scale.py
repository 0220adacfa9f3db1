"""A learned noise scale for each sample of a regression: what a data parameter is where there are no logits."""

import torch
from torch import Tensor

_MOST = 1024  # rows that tell how high sigma is in general, whatever their number


def noise_scaled(squared: Tensor, sigma: Tensor, unit: Tensor) -> Tensor:
    """Gaussian negative log-likelihood of residuals whose noise has a scale sigma of the sample's own.

    squared / sigma² + 2 · unit · log sigma: the plain loss at sigma = 1, lowest at sigma² = squared / unit. It is the
    likelihood of d residuals with variance sigma² · unit / d, times 2 · unit / d; without the logarithm sigma would
    grow without end. Not in Saxena et al. 2019, whose temperature divides logits (Eq. 1).

    The gradient that reaches log sigma is divided by its curvature, 4 · unit, or 4 · squared / sigma² where that is
    higher: it is (1 - u) / 2 of u = squared / (sigma² · unit) <= 1, else (1 / u - 1) / 2. So it has no unit, lies in
    (-1/2, 1/2), and a learning rate is the share of the way that a visit goes: one rate does for all data sets, and a
    bad first step does no lasting harm. Over views that differ sigma² goes to a middle of theirs, not to their mean.

    Args:
        squared: (b,), sums of squared residuals, with gradients to the model.
        sigma: float32 (b,), above 0, with gradients to its rows.
        unit: (b,), above 0: the squared residual that sigma = 1 stands for.

    Returns:
        (b,), in the unit of `squared`; it can be below 0 where sigma is below 1.
    """
    log_sigma = sigma.to(squared.device).log()
    inverse = log_sigma.detach().mul(-2).exp()
    rate = 0.25 / torch.maximum(unit, squared.detach() * inverse)
    log_sigma = log_sigma * rate + (log_sigma * (1 - rate)).detach()
    return squared * (-2 * log_sigma).exp() + 2 * unit * log_sigma


def sigma_level(log_sigma: Tensor) -> Tensor:
    """Geometric mean of sigma, of a table (n,) of its logarithm: of all rows, or of an even sample of over a thousand.

    Sigma over its level shifts weight from some samples to others, and leaves the size of the gradient what it was.
    """
    return log_sigma.detach()[:: max(1, len(log_sigma) // _MOST)].mean().exp()
