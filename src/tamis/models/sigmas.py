"""The learned scale of each box, as the losses of the detection modules use it (Saxena et al. 2019, section 3.3)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Sigmas(NamedTuple):
    """Scales of a batch, with gradients.

    Attributes:
        box: float32 (b, k), above 0, of each row of the targets.
        background: float32 (), above 0, of all that is matched to no box.
        regression: whether the scale of a box also is the noise scale of its regression.
    """

    box: Tensor
    background: Tensor
    regression: bool


def sigmas_of(targets: Tensor, sigma: Tensor | None, background: Tensor | None, regression: bool) -> Sigmas | None:
    """What a detection module was given; a scale left out is 1, and without any there is nothing to do.

    Raises:
        ValueError: scales that do not fit the targets.
    """
    if sigma is not None and sigma.shape != targets.shape[:2]:
        raise ValueError(
            f"sigma must be one number for each row of targets, {tuple(targets.shape[:2])}, got {tuple(sigma.shape)}"
        )
    if background is not None and background.ndim:
        raise ValueError(f"background must be one number, shape (), got {tuple(background.shape)}")
    if sigma is None and background is None:
        return None
    box = targets.new_ones(targets.shape[:2]) if sigma is None else sigma
    return Sigmas(box, targets.new_ones(()) if background is None else background, regression)


def tempered(logits: Tensor, sigmas: Sigmas | None, place: tuple[Tensor, ...], rows: tuple[Tensor, Tensor]) -> Tensor:
    """Logits (..., c) of anchors divided by the sigma of their box, and those of all others by the background's.

    Args:
        logits: of the classes.
        sigmas: None leaves them as they are.
        place: the m anchors that are matched, as an index of the leading dimensions of the logits.
        rows: their boxes, image and row, int64 (m,) each.
    """
    if sigmas is None:
        return logits
    scale = sigmas.background.to(logits).expand(logits.shape[:-1])
    return logits / scale.index_put(place, sigmas.box.to(logits)[rows])[..., None]


def noisy(terms: Tensor, sigma: Tensor) -> Tensor:
    """Negative log likelihood of residuals `|r|` under a Laplace distribution of scale sigma, without its log 2.

    This is |r| / sigma + log sigma, for each of the residuals; |r| where sigma is 1.
    """
    return terms / sigma + torch.log(sigma)


def box_losses(terms: Tensor, sigmas: Sigmas | None, rows: tuple[Tensor, Tensor]) -> Tensor:
    """The sum (m,) of the residuals (m, r) of matched anchors, each `noisy` if the scales are of the regression too."""
    if sigmas is not None and sigmas.regression:
        terms = noisy(terms, sigmas.box.to(terms)[rows][:, None])
    return terms.sum(1)
