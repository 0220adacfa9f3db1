"""Subsets by difficulty, and the random one that every method has to beat."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from tamis.moment import Moment, seed_of
from tamis.paces import Pace, as_pace
from tamis.rules.lowest import highest, lowest, share_of


def pace_at(pace: float | Pace, progress: float) -> float:
    """The fraction at this progress.

    Raises:
        ValueError: it is outside (0, 1].
    """
    ratio = as_pace(pace)(progress)
    if not 0 < ratio <= 1:
        raise ValueError(f"pace must be in (0, 1], got {ratio!r} at progress {progress:.3g} from {pace!r}")
    return ratio


def paced_count(pace: float | Pace, visible: int, moment: Moment) -> int:
    """floor(pace * visible), at least 1 where anything is visible: an epoch of nothing trains nothing.

    Raises:
        ValueError: the pace is outside (0, 1] at this progress.
    """
    ratio = pace_at(pace, moment.progress)
    count = share_of(visible, ratio)
    if visible and not count:
        warnings.warn(f"{ratio:.3g} of {visible} samples is less than one: one is shown", stacklevel=3)
    return min(visible, max(1, count))


@dataclass(frozen=True)
class Easiest:
    """Shows the easiest fraction of the scored samples (and every unscored one): a curriculum.

    Attributes:
        pace: fraction of the visible scored samples, a number or a pace.

    Raises:
        ValueError: a number outside (0, 1].
    """

    pace: float | Pace

    def __post_init__(self) -> None:
        as_pace(self.pace)

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Hide the scored samples beyond the paced number of lowest scores."""
        scored = (weight > 0) & ~score.isnan()
        kept = lowest(score, scored, paced_count(self.pace, int(scored.sum()), moment))
        return weight.masked_fill(scored & ~kept, 0.0)

    def count(self, visible: int, moment: Moment) -> int | None:
        """floor(pace * visible)."""
        return paced_count(self.pace, visible, moment)


@dataclass(frozen=True)
class Hardest:
    """Shows the hardest fraction of the scored samples (and every unscored one).

    Attributes:
        pace: fraction of the visible scored samples, a number or a pace.

    Raises:
        ValueError: a number outside (0, 1].
    """

    pace: float | Pace

    def __post_init__(self) -> None:
        as_pace(self.pace)

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Hide the scored samples beyond the paced number of highest scores."""
        scored = (weight > 0) & ~score.isnan()
        kept = highest(score, scored, paced_count(self.pace, int(scored.sum()), moment))
        return weight.masked_fill(scored & ~kept, 0.0)

    def count(self, visible: int, moment: Moment) -> int | None:
        """floor(pace * visible)."""
        return paced_count(self.pace, visible, moment)


@dataclass(frozen=True)
class RandomSubset:
    """Shows a random fraction, whatever the scores: the baseline of equal cost.

    Attributes:
        pace: fraction of the visible samples, a number or a pace.
        fixed: the same subset in every epoch (nested, where the pace changes) instead of a new one each time.
    """

    pace: float | Pace
    fixed: bool = False

    def __post_init__(self) -> None:
        as_pace(self.pace)

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Hide all but a random draw without replacement."""
        visible = weight > 0
        name = "random subset"
        seed = seed_of(moment.seed, name) if self.fixed else seed_of(moment.seed, moment.epoch, name)
        ticket = torch.rand(len(weight), generator=torch.Generator().manual_seed(seed))
        kept = lowest(ticket, visible, paced_count(self.pace, int(visible.sum()), moment))
        return weight.masked_fill(~kept, 0.0)

    def count(self, visible: int, moment: Moment) -> int | None:
        """floor(pace * visible)."""
        return paced_count(self.pace, visible, moment)
