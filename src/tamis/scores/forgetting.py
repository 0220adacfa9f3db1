"""Forgetting events (Toneva et al. 2019, section 3)."""

import torch
from torch import Tensor


def forgetting(correct: Tensor, shown: Tensor | None = None) -> Tensor:
    """How often a sample went from right to wrong between two consecutive presentations of it.

    An epoch in which a sample is not shown is no presentation: what it was the last time it was shown is
    compared with what it is the next time. A sample that was never right has no such event; the paper sorts
    it as forgotten infinitely often, here by the score `epochs`, which no number of events reaches.

    Args:
        correct: bool (epochs, n), whether the sample was right; not read where it was not shown.
        shown: bool (epochs, n), whether it was shown; None = always.

    Returns:
        float32 (n,): 0 = learned and never forgotten, up to epochs / 2 events, `epochs` = never learned,
        NaN = never shown.

    Raises:
        ValueError: not two boolean tables of the same shape, or no epoch.
    """
    if correct.ndim != 2 or correct.dtype != torch.bool or not len(correct):
        raise ValueError(
            f"correct must be bool (epochs, samples) with at least one epoch, "
            f"got {correct.dtype} {tuple(correct.shape)}; stack one row per epoch"
        )
    shown = torch.ones_like(correct) if shown is None else shown
    if shown.shape != correct.shape or shown.dtype != torch.bool:
        raise ValueError(
            f"shown must be bool {tuple(correct.shape)} like correct, got {shown.dtype} {tuple(shown.shape)}; "
            f"mark for each epoch which samples were shown"
        )
    epochs, samples = correct.shape
    events = torch.zeros(samples, device=correct.device)
    was_right = torch.zeros(samples, dtype=torch.bool, device=correct.device)
    learned = torch.zeros_like(was_right)
    for right, present in zip(correct, shown, strict=True):
        events += present & was_right & ~right
        was_right = torch.where(present, right, was_right)
        learned |= present & right
    events[~learned] = epochs
    events[~shown.any(0)] = torch.nan
    return events
