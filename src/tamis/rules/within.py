"""A rule inside each group of samples, so that no class and no density falls out of the plan."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tamis.moment import Moment, seed_of
from tamis.rules.chain import Rule, is_batch_paced, stages


@dataclass(frozen=True)
class Within:
    """Applies a rule to each group as if it were a data set of its own.

    A curriculum over all samples begins with the classes, or the nearly empty images, that are easy; within groups it
    begins with the easy ones of each. The inner rule must not carry a column of the samples (`Exclude`, `Balanced`).

    Attributes:
        rule: the inner rule; its draws differ from group to group.
        groups: int64 (n,), samples of one number are a group: a class, or a bin of `quantile_bins`.

    Raises:
        ValueError: groups that are not int64 (n,); when called, groups of another number of samples.
    """

    rule: Rule
    groups: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        if self.groups.dtype != torch.int64 or self.groups.ndim != 1:
            got = f"{self.groups.dtype} {tuple(self.groups.shape)}"
            raise ValueError(f"groups must be int64 (n,), got {got}; one number a sample")

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """The weights that the inner rule gives in each group."""
        result = weight.clone()
        for member, inside in self._parts(weight, moment):
            result[member] = self.rule(weight[member], score[member], inside)
        return result

    def stages(self, weight: Tensor, score: Tensor, moment: Moment) -> Iterator[tuple[str, Tensor]]:
        """The stages of the inner rule, each in all groups."""
        parts = self._parts(weight, moment)
        inner = [list(stages(self.rule, weight[member], score[member], inside)) for member, inside in parts]
        for stage in zip(*inner, strict=True):
            after = weight.clone()
            for (member, _), (_, part) in zip(parts, stage, strict=True):
                after[member] = part
            yield f"{stage[0][0]} within each of {len(parts):,} groups", after

    def count(self, visible: int, moment: Moment) -> int | None:
        """Known if everything was visible before."""
        if visible != len(self.groups):
            return None
        counts = [self.rule.count(len(member), inside) for member, inside in self._parts(self.groups, moment)]
        return sum(count for count in counts if count is not None) if None not in counts else None

    @property
    def paced_in_epoch(self) -> bool:
        """Whether the pace of the inner rule goes on within an epoch."""
        return is_batch_paced(self.rule)

    def release(self, weight: Tensor, score: Tensor, moment: Moment, steps: int) -> Tensor:
        """As the inner rule says in each group."""
        result = torch.zeros(len(weight), dtype=torch.int64)
        for member, inside in self._parts(weight, moment):
            if is_batch_paced(self.rule):
                result[member] = self.rule.release(weight[member], score[member], inside, steps)
        return result

    def _parts(self, column: Tensor, moment: Moment) -> list[tuple[Tensor, Moment]]:
        """The members of each group, in order, and its moment."""
        if len(column) != len(self.groups):
            raise ValueError(f"groups must be of the {len(column)} samples, got {len(self.groups)}")
        number, size = self.groups.unique(return_counts=True)
        members = self.groups.argsort(stable=True).split(size.tolist())
        seeds = [seed_of(moment.seed, "group", each) for each in number.tolist()]
        return [
            (member, Moment(moment.epoch, moment.epochs, seed)) for member, seed in zip(members, seeds, strict=True)
        ]


def quantile_bins(values: Tensor, bins: int) -> Tensor:
    """Groups of about equal size by value, such as the number of heads in an image; equal values share a group.

    Args:
        values: (n,), numbers.
        bins: how many groups at most, >= 1.

    Returns:
        int64 (n,) in [0, bins), 0 for the lowest values.

    Raises:
        ValueError: bins < 1, or values that are not one finite number a sample.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins!r}")
    if values.ndim != 1 or not len(values) or not values.isfinite().all():
        raise ValueError(f"values must be finite numbers (n,), got {values.dtype} {tuple(values.shape)}")
    known = values.double().numpy()
    edges = np.quantile(known, np.arange(1, bins) / bins)
    return torch.from_numpy(np.searchsorted(edges, known).astype(np.int64))
