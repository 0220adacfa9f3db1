"""CLIP: a curriculum that prunes what it has shown (section 3, Algorithm 1), in its three readings."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tamis.moment import Moment, uniforms
from tamis.paces import Pace, Polynomial, as_pace
from tamis.rules.lowest import lowest, share_of
from tamis.rules.subset import pace_at

_READINGS = {
    "lowest": "the {share} with the lowest {measure} out",
    "algorithm1": "the {share} with the highest {measure} out, as Algorithm 1 is printed",
    "compounding": "in every epoch the {share} of what is left with the lowest {measure} out for good",
}
_ORDERS = {"easy": "easiest first", "hard": "hardest first", "random": "in a random order"}


@dataclass(frozen=True)
class Clip:
    """Paces the samples in, and leaves a share of what is paced in out.

    Of N visible scored samples, in the order of their scores, step i paces in the first g = floor(N * pace), and leaves
    some of these g out:

    - lowest: the floor(prune * g) with the lowest scores: the least significant. What is once out stays out, also where
      pace or share fall, as long as the scores stay (not so with order "hard", where the pace brings lower ones)
    - algorithm1: the floor(prune * g) with the highest scores, as lines 3 to 5 are printed; they come in as g grows
    - compounding: at every step that share of what is left of the g, the lowest scores first, for good

    The plan of a step is a function of the scores and the time alone: the steps before it are counted again.

    Attributes:
        pace: fraction of the samples that is paced in, a number or a pace; 1 prunes only.
        prune: the paper's epsilon, a number in [0, 1) or a function of the progress (`Ramp`); 0 paces only.
        reading: which samples are left out, see above.
        order: which come in first: the "easy" ones, the "hard" ones (an anti-curriculum), or "random" ones, by a ticket
            for each sample and seed that takes the place of the score throughout.
        unit: a step is an "epoch", or a "batch": then an epoch shows what it would at its end, and no sample before the
            pace has come to it (see `BatchPaced`).

    Raises:
        ValueError: a value outside its range; compounding with order "hard" or unit "batch"; when called, a pace or a
            share outside its range.
    """

    pace: float | Pace = Polynomial()
    prune: float | Pace = 0.05
    reading: Literal["lowest", "algorithm1", "compounding"] = "lowest"
    order: Literal["easy", "hard", "random"] = "easy"
    unit: Literal["epoch", "batch"] = "epoch"

    def __post_init__(self) -> None:
        as_pace(self.pace)
        if isinstance(self.prune, int | float) and not 0 <= self.prune < 1:
            raise ValueError(f"prune must be in [0, 1), got {self.prune!r}; 0 leaves nothing out")
        if self.reading not in _READINGS:
            raise ValueError(f'reading must be "lowest", "algorithm1" or "compounding", got {self.reading!r}')
        if self.order not in _ORDERS:
            raise ValueError(f'order must be "easy", "hard" or "random", got {self.order!r}')
        if self.unit not in ("epoch", "batch"):
            raise ValueError(f'unit must be "epoch" or "batch", got {self.unit!r}')
        if self.reading == "compounding" and self.order == "hard":
            raise ValueError('order must be "easy" or "random" for compounding, got "hard"; take reading "lowest"')
        if self.reading == "compounding" and self.unit == "batch":
            raise ValueError('unit must be "epoch" for compounding, got "batch"; take reading "lowest"')

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Hide what is not paced in yet, and what is out."""
        scored, key = self._among(weight, score, moment)
        first, last = self._window(*self._sizes(int(scored.sum()), moment))
        hidden = scored & ~lowest(key, scored, last)
        return weight.masked_fill(hidden.logical_or_(lowest(key, scored, first)), 0.0)

    def stages(self, weight: Tensor, score: Tensor, moment: Moment) -> Iterator[tuple[str, Tensor]]:
        """First what waits for the pace, then what is out of the rest."""
        scored, key = self._among(weight, score, moment)
        paced, _ = self._sizes(int(scored.sum()), moment)
        yield f"waits: {self!r}", weight.masked_fill(scored & ~lowest(key, scored, paced), 0.0)
        yield f"pruned: {self!r}", self(weight, score, moment)

    def count(self, visible: int, moment: Moment) -> int | None:
        """What is paced in, less what is out of it."""
        paced, out = self._sizes(visible, moment)
        return paced - out

    @property
    def paced_in_epoch(self) -> bool:
        """Whether the unit is the batch."""
        return self.unit == "batch"

    def release(self, weight: Tensor, score: Tensor, moment: Moment, steps: int) -> Tensor:
        """int64 (n,): the first batch, from 0 to `steps` - 1, at which the pace has come to a sample."""
        scored, key = self._among(weight, score, moment)
        index = scored.nonzero().flatten()
        place = torch.empty_like(index)
        place[key[index].argsort(stable=True)] = torch.arange(len(index))
        last = []
        for step in range(steps):
            progress = (moment.epoch + step / steps) / moment.epochs
            last.append(self._window(*self._clamped(*self._step(len(index), progress, 0)))[1])
        release = torch.zeros(len(weight), dtype=torch.int64)
        release[index] = torch.searchsorted(torch.tensor(last).cummax(0).values, place, right=True).clamp(max=steps - 1)
        return release

    def _among(self, weight: Tensor, score: Tensor, moment: Moment) -> tuple[Tensor, Tensor]:
        """The samples that the rule decides about, and what it sorts them by."""
        if self.order == "random":
            index = torch.arange(len(weight))
            ticket = [uniforms(moment.seed, 0, part, "clip order", 1)[:, 0] for part in index.split(1 << 22)]
            return weight > 0, torch.cat(ticket)
        return (weight > 0) & ~score.isnan(), -score if self.order == "hard" else score

    def _sizes(self, scored: int, moment: Moment) -> tuple[int, int]:
        """How many samples are paced in at this moment, and how many of these are out."""
        paced = out = 0
        for epoch in range(moment.epoch + 1):
            progress = (epoch + (self.unit == "batch")) / moment.epochs
            paced, out = self._step(scored, progress, out)
        if scored and not paced:
            warnings.warn(f"the pace is less than one of {scored} samples: one is shown", stacklevel=4)
        elif out >= paced > 0:
            warnings.warn(f"all {paced} samples that are paced in would be out: one stays", stacklevel=4)
        return self._clamped(paced, out) if scored else (0, 0)

    def _step(self, scored: int, progress: float, out: int) -> tuple[int, int]:
        """The sizes at some progress, where `out` samples were out before."""
        paced, epsilon = share_of(scored, pace_at(self.pace, progress)), self._epsilon(progress)
        if self.reading == "compounding":
            return paced, out + share_of(max(0, paced - out), epsilon)
        now = share_of(paced, epsilon)
        return paced, now if self.reading == "algorithm1" else max(out, now)

    def _epsilon(self, progress: float) -> float:
        epsilon = self.prune if isinstance(self.prune, int | float) else self.prune(progress)
        if not 0 <= epsilon < 1:
            raise ValueError(f"prune must be in [0, 1), got {epsilon!r} at progress {progress:.3g} from {self.prune!r}")
        return epsilon

    def _clamped(self, paced: int, out: int) -> tuple[int, int]:
        paced = max(1, paced)  # an empty epoch trains nothing
        return paced, min(out, paced - 1)

    def _window(self, paced: int, out: int) -> tuple[int, int]:
        """What is shown, as places in the order: what is out lies at its beginning or at its end."""
        from_the_end = (self.reading == "algorithm1") == (self.order != "hard")
        return (0, paced - out) if from_the_end else (out, paced)

    def __repr__(self) -> str:
        text = f"Clip({self.pace!r}, {_ORDERS[self.order]}"
        if self.prune != 0:
            share = f"{100 * self.prune:.3g} %" if isinstance(self.prune, int | float) else f"share {self.prune!r}"
            measure = "ticket" if self.order == "random" else "score"
            text += f"; {_READINGS[self.reading].format(measure=measure, share=share)}"
        return text + ("; batch by batch)" if self.unit == "batch" else ")")
