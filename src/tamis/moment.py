"""The only source of time and of randomness.

Everything random in tamis is a pure function of (seed, epoch, sample) and of the name of what it is for, so that a
run can be stopped anywhere and any part of it computed again, in any process, in any order.
"""

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
# SplitMix64 (Steele, Lea, Flood 2014): increment and the two multipliers of its finaliser.
_GAMMA, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _mix(value: int) -> int:
    value = (value ^ (value >> 30)) * _MIX1 & _MASK
    value = (value ^ (value >> 27)) * _MIX2 & _MASK
    return value ^ (value >> 31)


def seed_of(seed: int, *parts: int | str) -> int:
    """Derive a seed in [0, 2^63) from a seed and any number of integers and names."""
    state = seed & _MASK
    for part in parts:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else part & _MASK
        state = _mix((state + _GAMMA) & _MASK) ^ number
    return _mix((state + _GAMMA) & _MASK) >> 1


@dataclass(frozen=True)
class Moment:
    """A point of a training run: epoch (from 0) of epochs, and the run's seed.

    Raises:
        ValueError: epochs < 1, or epoch outside [0, epochs).
    """

    epoch: int
    epochs: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs!r}")
        if not 0 <= self.epoch < self.epochs:
            raise ValueError(f"epoch must be in [0, {self.epochs}), got {self.epoch!r}")

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1)."""
        return self.epoch / self.epochs

    def generator(self, stream: str) -> torch.Generator:
        """A fresh CPU generator for this epoch; `stream` names the use, so that two uses never share numbers."""
        return torch.Generator().manual_seed(seed_of(self.seed, self.epoch, stream))


def uniforms(seed: int, epoch: int, index: Tensor, stream: str, count: int) -> Tensor:
    """Uniform numbers in [0, 1) for each sample: the same for a sample whatever batch it is in.

    A counter-based generator (SplitMix64's finaliser over a hash of seed, epoch and stream, plus sample and column).

    Args:
        seed: the run's seed.
        epoch: the epoch, from 0.
        index: int64 (b,), the samples.
        stream: what the numbers are for.
        count: how many for each sample.

    Returns:
        float32 (b, count) on the device of `index`, 24 random bits each.
    """
    start = _signed(seed_of(seed, epoch, stream) << 1)
    column = torch.arange(count, device=index.device)
    state = (index[:, None] * count + column + 1) * _signed(_GAMMA) + start
    for shift, factor in ((30, _MIX1), (27, _MIX2)):
        state = (state ^ (state >> shift & (1 << 64 - shift) - 1)) * _signed(factor)
    state = state ^ (state >> 31 & (1 << 33) - 1)
    return (state >> 40 & (1 << 24) - 1).float() / (1 << 24)
