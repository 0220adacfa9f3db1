"""What a rule is, and how rules are put one after another."""

from dataclasses import dataclass
from typing import Protocol

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


def reasons(rule: Rule, weight: Tensor, score: Tensor, moment: Moment) -> tuple[Tensor, Tensor, list[str]]:
    """Apply a rule, and say which part of it hid each sample.

    Returns:
        The weights, float32 (n,); int8 (n,) with -1 for a sample that this rule did not hide, else the position in
        the third value, the list of the rules' texts.
    """
    parts = rule.rules if isinstance(rule, Chain) else (rule,)
    hidden_by = torch.full(weight.shape, -1, dtype=torch.int8)
    for position, part in enumerate(parts):
        after = part(weight, score, moment)
        hidden_by[(weight > 0) & (after == 0)] = position
        weight = after
    return weight, hidden_by, [repr(part) for part in parts]
