"""Leaving out: a share of what is visible, what is already learned, what looks wrong."""

import warnings
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from tamis.moment import Moment
from tamis.paces import Pace, as_pace
from tamis.rules.lowest import highest, lowest, share_of
from tamis.thresholds import otsu


@dataclass(frozen=True)
class Prune:
    """Leaves out a ratio of the visible scored samples, from one end of the scores.

    Attributes:
        ratio: share of the visible scored samples to leave out, in (0, 1), or a function of the progress (`Ramp`).
        end: "easiest" leaves the lowest scores out, "hardest" the highest.

    Raises:
        ValueError: ratio outside (0, 1), or an unknown end; when called, a pace outside [0, 1].
    """

    ratio: float | Pace
    end: Literal["easiest", "hardest"] = "easiest"

    def __post_init__(self) -> None:
        if isinstance(self.ratio, int | float) and not 0 < self.ratio < 1:
            raise ValueError(f"ratio must be in (0, 1), got {self.ratio!r}")
        if self.end not in ("easiest", "hardest"):
            raise ValueError(f'end must be "easiest" or "hardest", got {self.end!r}')

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Hide floor(ratio * scored) samples."""
        scored = (weight > 0) & ~score.isnan()
        gone = self._gone(int(scored.sum()), moment)
        select = lowest if self.end == "easiest" else highest
        return weight.masked_fill(select(score, scored, gone), 0.0)

    def count(self, visible: int, moment: Moment) -> int | None:
        """What remains of `visible`."""
        return visible - self._gone(visible, moment)

    def _gone(self, scored: int, moment: Moment) -> int:
        ratio = as_pace(self.ratio)(moment.progress)
        if not 0 <= ratio <= 1:
            raise ValueError(f"ratio must be in [0, 1], got {ratio!r} at progress {moment.progress:.3g} from {self!r}")
        gone = share_of(scored, ratio)
        if scored and gone == scored:
            warnings.warn(f"{ratio:.3g} of {scored} samples is all of them: one stays", stacklevel=3)
        return max(0, min(scored - 1, gone))  # an empty epoch trains nothing


@dataclass(frozen=True)
class DropEasy:
    """Leaves out what is learned: samples whose score lies below a threshold.

    Attributes:
        below: the threshold, in the unit of the scores.
        start: progress from which on the rule acts, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """

    below: float
    start: float = 0.0

    def __post_init__(self) -> None:
        _check_start(self.start)

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Hide scores strictly below the threshold; NaN is never below."""
        if moment.progress < self.start:
            return weight.clone()
        return weight.masked_fill(score < self.below, 0.0)

    def count(self, visible: int, moment: Moment) -> int | None:
        """Known only before the rule acts."""
        return visible if moment.progress < self.start else None


@dataclass(frozen=True)
class DropHard:
    """Leaves out what looks wrong: samples whose score lies above a threshold.

    With log sigma as the score and `above="otsu"` this is the second half of "learn sigma, then drop": as long as
    the scores no longer change once it acts, it decides the same in every epoch.

    Attributes:
        above: the threshold in the unit of the scores, or "otsu" for Otsu's threshold of the finite scores.
        start: progress from which on the rule acts, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """

    above: float | Literal["otsu"] = "otsu"
    start: float = 0.0

    def __post_init__(self) -> None:
        _check_start(self.start)
        if isinstance(self.above, str) and self.above != "otsu":
            raise ValueError(f'above must be a number or "otsu", got {self.above!r}')

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Hide scores strictly above the threshold; NaN is never above."""
        if moment.progress < self.start:
            return weight.clone()
        threshold = otsu(score) if self.above == "otsu" else float(self.above)
        return weight.masked_fill(score > threshold, 0.0)

    def count(self, visible: int, moment: Moment) -> int | None:
        """Known only before the rule acts."""
        return visible if moment.progress < self.start else None


@dataclass(frozen=True)
class Exclude:
    """Leaves a fixed list of samples out, whatever their scores.

    Attributes:
        hidden: bool (n,), true for the samples to leave out.
        reason: why, for the record.

    Raises:
        ValueError: hidden is not bool (n,), or leaves nothing; when called, it is of another number of samples.
    """

    hidden: Tensor = field(repr=False)
    reason: str = "excluded by the user"

    def __post_init__(self) -> None:
        if self.hidden.dtype != torch.bool or self.hidden.ndim != 1:
            raise ValueError(f"hidden must be bool (n,), got {self.hidden.dtype} {tuple(self.hidden.shape)}")
        if self.hidden.all():
            raise ValueError(f"hidden must leave a sample to train on, got all {len(self.hidden)} ({self.reason})")

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Hide the listed samples."""
        if len(self.hidden) != len(weight):
            raise ValueError(f"hidden must be of the {len(weight)} samples, got {len(self.hidden)} ({self.reason})")
        return weight.masked_fill(self.hidden, 0.0)

    def count(self, visible: int, moment: Moment) -> int | None:
        """Known if everything was visible before."""
        return visible - int(self.hidden.sum()) if visible == len(self.hidden) else None


def _check_start(start: float) -> None:
    if not 0 <= start <= 1:
        raise ValueError(f"start must be in [0, 1], got {start!r}")
