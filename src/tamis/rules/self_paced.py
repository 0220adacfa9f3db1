"""Self-paced learning: hard, linear, logarithmic and mixture weights."""

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tamis.moment import Moment
from tamis.paces import Pace, Polynomial
from tamis.rules.lowest import lowest
from tamis.rules.subset import paced_count


@dataclass(frozen=True)
class SelfPaced:
    """Weighs each sample by its loss l against an age lambda that grows with the training.

    Kumar et al. 2010 (hard) and Jiang et al. 2014 (the others), with v(l) = 0 from l >= lambda on:

    - hard: 1
    - linear: 1 - l / lambda
    - log: log(l' + zeta) / log(zeta), zeta = 1 - `zeta_age`, with l' = l * zeta_age / lambda, since the formula needs
      an age below 1
    - mixture: 1 up to lambda_2 = `soft` * lambda, then zeta / l - zeta / lambda,
      zeta = lambda * lambda_2 / (lambda - lambda_2)

    Lambda is taken from the data: the score of the first sample outside the paced fraction of easiest ones. Once
    everything is in it is infinite, and all weights are 1.

    Attributes:
        pace: fraction of the visible scored samples with a loss below lambda.
        kind: the form of the weights.
        soft: lambda_2 / lambda of the mixture, in (0, 1).
        zeta_age: the age that the log form is scaled to, in (0, 1).

    Raises:
        ValueError: an unknown kind or a value outside its range; when called, a score below 0.
    """

    pace: float | Pace = Polynomial(start=0.5, full_at=0.6, power=1.0)
    kind: Literal["hard", "linear", "log", "mixture"] = "hard"
    soft: float = 0.5
    zeta_age: float = 0.9

    def __post_init__(self) -> None:
        if self.kind not in ("hard", "linear", "log", "mixture"):
            raise ValueError(f'kind must be "hard", "linear", "log" or "mixture", got {self.kind!r}')
        if not 0 < self.soft < 1:
            raise ValueError(f"soft must be in (0, 1), got {self.soft!r}")
        if not 0 < self.zeta_age < 1:
            raise ValueError(f"zeta_age must be in (0, 1), got {self.zeta_age!r}")

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Multiply the weights of the scored samples by v(score)."""
        scored = (weight > 0) & ~score.isnan()
        if not scored.any():
            return weight.clone()
        if float(score[scored].min()) < 0:
            raise ValueError("score must be at least 0 for SelfPaced, got a negative one; use losses as scores")
        inside = lowest(score, scored, paced_count(self.pace, int(scored.sum()), moment))
        outside = scored & ~inside
        if not outside.any():
            return weight.clone()
        age = float(score[outside].min())
        value = self._value(score, age).masked_fill(outside, 0.0)
        result = torch.where(scored, weight * value, weight)
        if not (result > 0).any():  # every paced score is the age itself: v = 0 for all
            warnings.warn(f"no score lies below the age {age:.3g}: the paced samples weigh 1", stacklevel=2)
            return weight.masked_fill(outside, 0.0)
        return result

    def count(self, visible: int, moment: Moment) -> int | None:
        """Hard weights keep the paced number; the others may also reach 0 inside."""
        return paced_count(self.pace, visible, moment) if self.kind == "hard" else None

    def _value(self, loss: Tensor, age: float) -> Tensor:
        if self.kind == "hard" or age <= 0:
            return torch.ones_like(loss)
        loss = loss / age  # the age is the unit from here on: no overflow with tiny losses
        if self.kind == "linear":
            return (1 - loss).clamp(0, 1)
        if self.kind == "log":
            zeta = 1 - self.zeta_age
            return (torch.log(loss * self.zeta_age + zeta) / math.log(zeta)).clamp(0, 1)
        zeta = self.soft / (1 - self.soft)
        return (zeta / loss - zeta).clamp(0, 1)
