"""Paces: progress of the training in [0, 1] -> fraction of the data in use."""

from dataclasses import dataclass
from typing import Protocol


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
        if not 0 < self.start <= 1:
            raise ValueError(f"start must be in (0, 1], got {self.start!r}")
        if not 0 < self.full_at <= 1:
            raise ValueError(f"full_at must be in (0, 1], got {self.full_at!r}")
        if not self.power > 0:
            raise ValueError(f"power must be above 0, got {self.power!r}")

    def __call__(self, progress: float) -> float:
        """Fraction in use: `start` at 0, 1 from `full_at` on, never falling."""
        return self.start + (1 - self.start) * min(1.0, progress / self.full_at) ** self.power


def as_pace(value: "float | Pace") -> Pace:
    """A number means the same fraction throughout."""
    return Constant(float(value)) if isinstance(value, int | float) else value
