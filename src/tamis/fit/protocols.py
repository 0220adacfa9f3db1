"""What the training loop asks of data and tasks, and what it tells and leaves behind."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from tamis.batch import Batch
from tamis.box_temperature import BoxParameters
from tamis.ledger import Ledger
from tamis.temperature import DataParameters


class Source(Protocol):
    """A data set that yields batches for index tensors."""

    @property
    def labels(self) -> Tensor:
        """int64 (n,)."""
        ...

    @property
    def keys(self) -> Sequence[str]:
        """Stable names of the samples."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def batches(self, plan: Iterable[Tensor], *, epoch: int, seed: int, train: bool) -> Iterator[Batch]:
        """One batch for each int64 index tensor of the plan, in its order; augmented if `train`.

        A sample that cannot be read is left out of its batch, which may become empty.
        """
        ...


@runtime_checkable
class Grouped(Source, Protocol):
    """A source of which not any samples can share a batch: images of different sizes."""

    def groups(self, train: bool) -> Tensor | None:
        """int64 (n,): samples of one number can share a batch, in training or in evaluation; None = all can."""
        ...


@runtime_checkable
class Boxed(Source, Protocol):
    """A source of images with boxes, of which something can be learned."""

    @property
    def box_starts(self) -> Tensor:
        """int64 (n + 1,), rising from 0: box j of image i has the row box_starts[i] + j."""
        ...

    @property
    def box_labels(self) -> Tensor:
        """int64 (box_starts[n],), the class of every box, by row."""
        ...


Forward = Callable[..., Any]  # a model, perhaps compiled and under autocast; it takes tensors


class Task(Protocol):
    """What the loss of a sample is, and how a model is judged."""

    @property
    def metric(self) -> str:
        """The entry of `evaluate` that decides which epoch is best."""
        ...

    @property
    def lower_is_better(self) -> bool:
        """Whether the best epoch is the one with the lowest."""
        ...

    def losses(self, model: Forward, batch: Batch, temperature: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss per sample (b,), and columns (b,) for the history.

        "loss" is among them; "score" too where the ledger is to record another difficulty than the loss, "correct"
        where a sample is right or wrong, and "box_loss" (b, k) where the loss has parts that belong to boxes, NaN for
        boxes that are not there. `temperature` are `BoxParameters` where the training samples are `Boxed`, else
        `DataParameters`, or None.
        """
        ...

    def evaluate(self, model: Forward, batches: Iterable[Batch]) -> dict[str, float]:
        """Figures over all samples."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        epoch: the epoch, from 0.
        done: samples of this epoch that were shown so far.
        shown: samples that this epoch shows.
        samples_seen: since the start of the training.
        seconds: spent training since the start.
        row: the epoch's row of metrics once it has ended, else None.
    """

    epoch: int
    done: int
    shown: int
    samples_seen: int
    seconds: float
    row: dict[str, Any] | None = None


@dataclass(frozen=True)
class Fitted:
    """What a training leaves behind.

    Attributes:
        model: the model after the last epoch.
        best: state dict after the best epoch (of the model on its device).
        ledger: scores and visits.
        temperature: the data parameters, if any.
        rows: a row of figures for each epoch.
        result: last and best epoch side by side, and the costs.
    """

    model: nn.Module
    best: dict[str, Tensor]
    ledger: Ledger
    temperature: DataParameters | BoxParameters | None
    rows: list[dict[str, Any]]
    result: dict[str, Any]


class Stopped(KeyboardInterrupt):
    """A training that was asked to stop has saved where it is; its argument is the number of the signal."""
