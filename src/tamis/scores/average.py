"""One score from several runs."""

import torch
from torch import Tensor


def average(scores: Tensor) -> Tensor:
    """Mean score of each sample over runs, models or epochs; AUM is the average of `margin` over the epochs.

    A run that did not score a sample (NaN) does not count for it; a sample that no run scored stays NaN. For
    EL2N and GraNd this is the papers' order, the norm inside the mean: average the scores of the models,
    never their logits, probabilities or gradients.

    Args:
        scores: float (runs, n).

    Returns:
        float32 (n,).

    Raises:
        ValueError: not a float table, or no run.
    """
    if scores.ndim != 2 or not len(scores) or not scores.is_floating_point():
        raise ValueError(
            f"scores must be floats (runs, samples) with at least one run, "
            f"got {scores.dtype} {tuple(scores.shape)}; use torch.stack on the scores of the runs"
        )
    return torch.nanmean(scores.double(), dim=0).float()
