"""Paces: progress of the training in [0, 1] -> fraction of the data in use; and ramps of a ratio over the progress."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol


class Pace(Protocol):
    """Maps progress in [0, 1] to a fraction of the data in (0, 1]."""

    def __call__(self, progress: float) -> float:
        """Fraction of the data in use at this progress."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same fraction from the first epoch to the last.

    Raises:
        ValueError: ratio outside (0, 1].
    """

    ratio: float

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ValueError(f"ratio must be in (0, 1], got {self.ratio!r}")

    def __call__(self, progress: float) -> float:
        """Always `ratio`."""
        return self.ratio


@dataclass(frozen=True)
class Polynomial:
    """Grows from `start` to everything: b + (1 - b) * min(1, progress / a) ** p.

    The papers leave the formula of their linear (p = 1) and quadratic (p = 2) pacing out; this is the usual family,
    with b = `start`, a = `full_at` (the share of the training after which all data is in use) and p = `power`.

    Raises:
        ValueError: start outside (0, 1], full_at outside (0, 1], or power <= 0.
    """

    start: float = 0.3
    full_at: float = 0.6
    power: float = 2.0

    def __post_init__(self) -> None:
        _check(self.start, self.full_at)
        if not self.power > 0:
            raise ValueError(f"power must be above 0, got {self.power!r}")

    def __call__(self, progress: float) -> float:
        """Fraction in use: `start` at 0, 1 from `full_at` on, never falling."""
        return self.start + (1 - self.start) * min(1.0, progress / self.full_at) ** self.power


@dataclass(frozen=True)
class Geometric:
    """Grows by the same factor in equal times: b ** (1 - u), u = min(1, progress / a), b = `start`, a = `full_at`.

    Raises:
        ValueError: start or full_at outside (0, 1].
    """

    start: float = 0.3
    full_at: float = 0.6

    def __post_init__(self) -> None:
        _check(self.start, self.full_at)

    def __call__(self, progress: float) -> float:
        """Fraction in use: `start` at 0, 1 from `full_at` on, never falling."""
        return self.start ** (1 - min(1.0, progress / self.full_at))


@dataclass(frozen=True)
class Step:
    """Grows in `steps` equal jumps, the last one at `full_at`: b + (1 - b) * floor(steps * u) / steps.

    Raises:
        ValueError: start or full_at outside (0, 1], or steps < 1.
    """

    start: float = 0.3
    full_at: float = 0.6
    steps: int = 4

    def __post_init__(self) -> None:
        _check(self.start, self.full_at)
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps!r}")

    def __call__(self, progress: float) -> float:
        """Fraction in use: `start` at 0, 1 from `full_at` on, never falling."""
        # The tiny term keeps 0.6 / 0.8 * 4 at jump 3: a quotient of decimals may fall just below what it means.
        jumps = math.floor(self.steps * min(1.0, progress / self.full_at) + 1e-9)
        return self.start + (1 - self.start) * jumps / self.steps


@dataclass(frozen=True)
class Exponential:
    """Grows fast at first: b + (1 - b) * (1 - exp(-c u)) / (1 - exp(-c)), c = `rate`.

    With the default rate of 3, 82 % of the growth lies in the first half.

    Raises:
        ValueError: start or full_at outside (0, 1], or rate <= 0.
    """

    start: float = 0.3
    full_at: float = 0.6
    rate: float = 3.0

    def __post_init__(self) -> None:
        _check(self.start, self.full_at)
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, got {self.rate!r}")

    def __call__(self, progress: float) -> float:
        """Fraction in use: `start` at 0, 1 from `full_at` on, never falling."""
        share = math.expm1(-self.rate * min(1.0, progress / self.full_at)) / math.expm1(-self.rate)
        return self.start + (1 - self.start) * share


PACES: dict[str, Callable[[float, float], Pace]] = {
    "linear": lambda start, full_at: Polynomial(start, full_at, 1.0),
    "quadratic": lambda start, full_at: Polynomial(start, full_at, 2.0),
    "root": lambda start, full_at: Polynomial(start, full_at, 0.5),
    "geometric": Geometric,
    "step": Step,
    "exponential": Exponential,
}


@dataclass(frozen=True)
class Ramp:
    """A ratio that changes over the training, such as the share that is pruned (CLIP, section 3).

    With t the progress and d = `high` - `low`:

    - rising: low + d * (1 - (1 - t) ** 2), an increasing function with decreasing rate
    - falling: high - d * t ** 2, the reverse: it falls ever faster

    Raises:
        ValueError: not 0 <= low <= high < 1, or an unknown kind.
    """

    low: float
    high: float
    kind: Literal["rising", "falling"] = "rising"

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < 1:
            raise ValueError(f"low and high must be 0 <= low <= high < 1, got {self.low!r} and {self.high!r}")
        if self.kind not in ("rising", "falling"):
            raise ValueError(f'kind must be "rising" or "falling", got {self.kind!r}')

    def __call__(self, progress: float) -> float:
        """The ratio, in [low, high]."""
        if self.kind == "rising":
            return self.high - (self.high - self.low) * (1 - progress) ** 2
        return self.high - (self.high - self.low) * progress**2


def as_pace(value: "float | Pace") -> Pace:
    """A number means the same fraction throughout."""
    return Constant(float(value)) if isinstance(value, int | float) else value


def _check(start: float, full_at: float) -> None:
    if not 0 < start <= 1:
        raise ValueError(f"start must be in (0, 1], got {start!r}")
    if not 0 < full_at <= 1:
        raise ValueError(f"full_at must be in (0, 1], got {full_at!r}")
