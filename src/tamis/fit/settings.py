"""How a training is run, apart from the method: lengths, rates, precision, device."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Triangle:
    """Rises linearly from `low` to 1 at progress `peak`, then falls linearly to `end`."""

    peak: float = 0.2
    low: float = 0.2
    end: float = 0.0

    def __call__(self, progress: float) -> float:
        """Factor of the learning rate at a progress in [0, 1]."""
        if progress < self.peak:
            return self.low + (1 - self.low) * progress / self.peak
        return self.end + (1 - self.end) * (1 - progress) / (1 - self.peak)


@dataclass(frozen=True)
class Cosine:
    """Falls from 1 to 0 along half a cosine."""

    def __call__(self, progress: float) -> float:
        """Factor of the learning rate at a progress in [0, 1]."""
        return (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Linear:
    """Falls linearly from 1 to 0."""

    def __call__(self, progress: float) -> float:
        """Factor of the learning rate at a progress in [0, 1]."""
        return 1 - progress


@dataclass(frozen=True)
class Steps:
    """Multiplied by `factor` at each of the given progresses."""

    at: tuple[float, ...] = (0.3, 0.6, 0.9)
    factor: float = 0.1

    def __call__(self, progress: float) -> float:
        """Factor of the learning rate at a progress in [0, 1]."""
        return self.factor ** sum(progress >= place - 1e-9 for place in self.at)


@dataclass(frozen=True)
class Flat:
    """Always 1."""

    def __call__(self, progress: float) -> float:
        """Factor of the learning rate at a progress in [0, 1]."""
        return 1.0


@dataclass(frozen=True)
class Settings:
    """Settings of the training loop.

    Attributes:
        epochs: passes over what the rule shows.
        batch_size: samples of an optimiser step, at most, of all processes together; epochs are cut into even batches.
        optimizer: makes the model's optimiser from its parameters, e.g. partial(torch.optim.SGD, lr=0.1).
        schedule: factor of every learning rate as a function of progress in [0, 1]; right for epochs of any length.
        scheduler: instead of `schedule`: makes a torch LR scheduler from the optimiser; it is stepped after every
            optimiser step.
        accumulate: split each batch into this many pieces, to save memory; the result is that of the whole batch
            (except for batch normalisation, which sees the pieces).
        amp: autocast: "none", "bf16" or "fp16" (with a gradient scaler).
        channels_last: memory format of the model and of images.
        compile: use torch.compile.
        device: "auto" takes CUDA, then MPS, then the CPU.
        seed: decides orders, augmentation, dropout and the rule's draws.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        history: keep the samples' history of every epoch in the run folder.
        checkpoint_seconds: between checkpoints, 0 = after every step; None = so often that they take 2 % of the time.
        on_full: "stop" when there is no room for a checkpoint, or "continue" without one.

    Raises:
        ValueError: a number outside its range.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[Any], torch.optim.Optimizer]
    schedule: Schedule = Flat()
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None
    accumulate: int = 1
    amp: Literal["none", "bf16", "fp16"] = "none"
    channels_last: bool = False
    compile: bool = False
    device: str = "auto"
    seed: int = 0
    evaluate_every: int = 1
    history: bool = True
    checkpoint_seconds: float | None = None
    on_full: Literal["stop", "continue"] = "stop"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.amp not in ("none", "bf16", "fp16"):
            raise ValueError(f'amp must be "none", "bf16" or "fp16", got {self.amp!r}')

    def resolved_device(self) -> torch.device:
        """The device that "auto" stands for here, or the named one."""
        return device_of(self.device)


def device_of(name: str) -> torch.device:
    """The device that "auto" stands for here, or the named one.

    Raises:
        ValueError: torch knows no such device, or cannot use it here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device must be one that works here, got {name!r}: {reason}; take auto or cpu") from error


def prepared(model: nn.Module, settings: Settings) -> nn.Module:
    """The model on its device, in its memory format."""
    device = settings.resolved_device()
    if settings.channels_last:
        return model.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - a stub lacks the overload
    return model.to(device)
