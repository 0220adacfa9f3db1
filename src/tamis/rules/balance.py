"""Class floors: no class may pay for all the pruning."""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from tamis.moment import Moment
from tamis.rules.chain import Rule, is_batch_paced
from tamis.rules.lowest import highest, lowest


@dataclass(frozen=True)
class Balanced:
    """Another rule, with a floor for each class.

    If the inner rule keeps a share q of everything visible, each class keeps at least ceil(floor * q * its visible
    samples); what is missing comes back from what the inner rule has just hidden, with its earlier weight: unscored
    samples first, then the scored ones from one end. It floors what it wraps: put `Exclude` before it in a chain.

    Attributes:
        rule: the inner rule.
        labels: int64 (n,), the class of each sample.
        floor: share of the overall share that each class keeps at least, in [0, 1].
        readmit: which hidden samples of a short class come back first, the "easiest" or the "hardest".

    Raises:
        ValueError: floor outside [0, 1], labels that are not int64 (n,) from 0, or an unknown end; when called, labels
            of another number of samples.
    """

    rule: Rule
    labels: Tensor = field(repr=False)
    floor: float = 0.5
    readmit: Literal["easiest", "hardest"] = "easiest"

    def __post_init__(self) -> None:
        if self.labels.dtype != torch.int64 or self.labels.ndim != 1 or (self.labels < 0).any():
            got = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise ValueError(f"labels must be int64 (n,), none below 0, got {got}; one class number a sample")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor must be in [0, 1], got {self.floor!r}")
        if self.readmit not in ("easiest", "hardest"):
            raise ValueError(f'readmit must be "easiest" or "hardest", got {self.readmit!r}')

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """The inner rule's weights, and the floors kept."""
        if len(self.labels) != len(weight):
            raise ValueError(f"labels must be of the {len(weight)} samples, got {len(self.labels)}")
        inner = self.rule(weight, score, moment)
        visible, kept = weight > 0, inner > 0
        classes = int(self.labels.max()) + 1
        before = self.labels[visible].bincount(minlength=classes)
        after = self.labels[kept].bincount(minlength=classes)
        share = self.floor * int(after.sum()) / max(1, int(before.sum()))
        select, first = (lowest, -math.inf) if self.readmit == "easiest" else (highest, math.inf)
        known = score.masked_fill(score.isnan(), first)
        # Only classes below their floor cost a pass.
        for label in (after < (before.double() * share - 1e-9).ceil()).nonzero().flatten().tolist():
            short = math.ceil(share * int(before[label]) - 1e-9) - int(after[label])
            back = select(known, visible & ~kept & (self.labels == label), short)
            inner[back] = weight[back]
        return inner

    @property
    def paced_in_epoch(self) -> bool:
        """Whether the pace of the inner rule goes on within an epoch."""
        return is_batch_paced(self.rule)

    def release(self, weight: Tensor, score: Tensor, moment: Moment, steps: int) -> Tensor:
        """As the inner rule says; what comes back is shown at any time."""
        release = self.rule.release(weight, score, moment, steps) if is_batch_paced(self.rule) else weight.long() * 0
        return release.masked_fill(self.rule(weight, score, moment) == 0, 0)

    def count(self, visible: int, moment: Moment) -> int | None:
        """Depends on which classes the inner rule hides."""
        return visible if self.rule.count(visible, moment) == visible else None
