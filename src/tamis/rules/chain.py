"""What a rule is, how rules are put one after another, and which part of them hid what."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from tamis.moment import Moment


class Rule(Protocol):
    """Decides what is shown and how much it counts, from the scores and the time alone."""

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Weights of the samples in the coming epoch.

        Args:
            weight: float32 (n,), 0 = hidden; not written to.
            score: float32 (n,), higher is harder, NaN = not scored; not written to.
            moment: the epoch and the seed.

        Returns:
            float32 (n,), finite and >= 0.
        """
        ...

    def count(self, visible: int, moment: Moment) -> int | None:
        """How many of `visible` scored samples stay visible; None if that depends on the scores."""
        ...


@runtime_checkable
class Staged(Rule, Protocol):
    """A rule that is made of parts, and can tell what each of them hides."""

    def stages(self, weight: Tensor, score: Tensor, moment: Moment) -> Iterator[tuple[str, Tensor]]:
        """The text of each part, and the weights after it; the last ones are those of the rule."""
        ...


@runtime_checkable
class BatchPaced(Rule, Protocol):
    """A rule whose pace may go on within an epoch.

    What an epoch shows is then what the rule shows at its end, and `release` says from when on.
    """

    @property
    def paced_in_epoch(self) -> bool:
        """Whether it does go on: only then is `release` asked."""
        ...

    def release(self, weight: Tensor, score: Tensor, moment: Moment, steps: int) -> Tensor:
        """int64 (n,): the batch of the epoch, from 0 to `steps` - 1, from which on a sample may be shown."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Shows everything with its given weight: ordinary training."""

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """The given weights."""
        return weight.clone()

    def count(self, visible: int, moment: Moment) -> int | None:
        """All of them."""
        return visible


@dataclass(frozen=True)
class Chain:
    """Rules one after another, each on what the one before left visible."""

    rules: tuple[Rule, ...]

    def __call__(self, weight: Tensor, score: Tensor, moment: Moment) -> Tensor:
        """Weights after the last rule."""
        weight = weight.clone()
        for rule in self.rules:
            weight = rule(weight, score, moment)
        return weight

    def stages(self, weight: Tensor, score: Tensor, moment: Moment) -> Iterator[tuple[str, Tensor]]:
        """The stages of each rule in its turn."""
        after = weight
        for rule in self.rules:
            before = after
            for text, after in stages(rule, before, score, moment):
                yield text, after

    @property
    def paced_in_epoch(self) -> bool:
        """Whether the pace of any rule goes on within an epoch."""
        return any(is_batch_paced(rule) for rule in self.rules)

    def release(self, weight: Tensor, score: Tensor, moment: Moment, steps: int) -> Tensor:
        """The latest of the rules' releases."""
        latest = torch.zeros(len(weight), dtype=torch.int64)
        for rule in self.rules:
            if is_batch_paced(rule):
                latest = latest.maximum(rule.release(weight, score, moment, steps))
            weight = rule(weight, score, moment)
        return latest

    def count(self, visible: int, moment: Moment) -> int | None:
        """Counts passed from rule to rule."""
        remaining: int | None = visible
        for rule in self.rules:
            if remaining is not None:
                remaining = rule.count(remaining, moment)
        return remaining

    def __repr__(self) -> str:
        return " -> ".join(map(repr, self.rules))


def chain(*rules: Rule) -> Chain:
    """Put rules one after another; a paper is a name for such a composition.

    Raises:
        ValueError: no rule is given.
    """
    if not rules:
        raise ValueError("chain must get at least one rule, got none; Uniform() shows everything")
    return Chain(rules)


def is_batch_paced(rule: Rule) -> TypeGuard[BatchPaced]:
    """Whether the rule says when within an epoch a sample may be shown."""
    return isinstance(rule, BatchPaced) and rule.paced_in_epoch


def stages(rule: Rule, weight: Tensor, score: Tensor, moment: Moment) -> Iterator[tuple[str, Tensor]]:
    """The text of each part of a rule, and the weights after it; a rule without parts is one itself."""
    if isinstance(rule, Staged):
        yield from rule.stages(weight, score, moment)
    else:
        yield repr(rule), rule(weight, score, moment)


def reasons(rule: Rule, weight: Tensor, score: Tensor, moment: Moment) -> tuple[Tensor, Tensor, list[str]]:
    """Apply a rule, and say which part of it hid each sample.

    Returns:
        The weights, float32 (n,); int8 (n,) with -1 for a sample that this rule did not hide, else the position in
        the third value, the list of the parts' texts.
    """
    hidden_by = torch.full(weight.shape, -1, dtype=torch.int8)
    texts = []
    for text, after in stages(rule, weight, score, moment):
        hidden_by[(weight > 0) & (after == 0)] = len(texts)
        texts.append(text)
        weight = after
    return weight, hidden_by, texts


def ranks(weight: Tensor, score: Tensor, hidden_by: Tensor) -> tuple[Tensor, Tensor]:
    """The place of each hidden sample by score, among those that the part that hid it could see.

    Args:
        weight: float32 (n,), before the rule.
        score: float32 (n,), NaN = not scored.
        hidden_by: int8 (n,), from `reasons`.

    Returns:
        int32 (n,), 1 for the lowest score (equal ones by index), and int32 (n,), how many scored samples the part saw;
        both are 0 for a sample that is not scored, or that no part hid.
    """
    rank, of = torch.zeros(len(score), dtype=torch.int32), torch.zeros(len(score), dtype=torch.int32)
    order = score.argsort(stable=True)
    order = order[((weight > 0) & ~score.isnan())[order]]
    part = hidden_by[order]
    for position in part.unique().tolist():
        if position < 0:
            continue
        seen = (part < 0) | (part >= position)
        mine = part == position
        rank[order[mine]] = seen.cumsum(0, dtype=torch.int32)[mine]
        of[order[mine]] = int(seen.sum())
    return rank, of
