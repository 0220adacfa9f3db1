"""InfoBatch: unbiased dynamic pruning (Qin et al., ICLR 2024)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tamis.moment import Moment


@dataclass(frozen=True)
class InfoBatch:
    """Hides a random part of the easy samples and lets the rest of them count for more.

    A sample whose score lies strictly below the mean is hidden with probability `ratio`; one that stays weighs
    1 / (1 - ratio), so the expected gradient is that of the whole set. From progress `delta` on, everything is shown
    with its own weight. The loss of a step is the mean of weight * losses over the batch that is shown.

    Attributes:
        ratio: probability r of hiding an easy sample, in (0, 1).
        delta: share of the training with pruning, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """

    ratio: float = 0.5
    delta: float = 0.875

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ValueError(f"ratio must be in (0, 1), got {self.ratio!r}")
        if not 0 <= self.delta <= 1:
            raise ValueError(f"delta must be in [0, 1], got {self.delta!r}")

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Draw which easy samples are hidden in this epoch."""
        # epoch < delta * epochs, in integers where delta is a fraction of them: no epoch more or less by rounding.
        if moment.epoch >= self.delta * moment.epochs - 1e-9:
            return weight.clone()
        scored = (weight > 0) & ~score.isnan()
        if not scored.any():
            return weight.clone()
        mean = score.masked_fill(~scored, 0.0).sum(dtype=torch.float64) / scored.sum()
        easy = scored & (score < mean)
        gone = easy & (torch.rand(len(weight), generator=moment.generator("infobatch")) < self.ratio)
        weight = weight.clone()
        weight[easy] /= 1 - self.ratio
        return weight.masked_fill_(gone, 0.0)

    def count(self, visible: int, moment: Moment) -> int | None:
        """Known only in the epochs that show everything."""
        return visible if moment.epoch >= self.delta * moment.epochs - 1e-9 else None
