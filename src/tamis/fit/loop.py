"""plan -> batches -> losses -> weights -> step -> ledger, epoch after epoch."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tamis.batch import Batch
from tamis.fit.observe import Observer
from tamis.fit.settings import Settings, prepared
from tamis.fit.stepper import Stepper
from tamis.history import write_decisions, write_scores
from tamis.ledger import Ledger
from tamis.methods import Method, Temperature
from tamis.moment import seed_of
from tamis.rules import reasons
from tamis.run import Run
from tamis.sampler import PlannedSampler
from tamis.temperature import DataParameters

# Seconds after which a slow training tells where it is, between the steps at which it does so anyway.
_TELL = 1.0


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
        """One batch for each int64 index tensor of the plan; augmented if `train`."""
        ...


Forward = Callable[[Tensor], Any]  # a model, perhaps compiled and under autocast


class Task(Protocol):
    """What the loss of a sample is, and how a model is judged."""

    @property
    def metric(self) -> str:
        """The entry of `evaluate` that decides which epoch is best; higher is better."""
        ...

    def losses(
        self, model: Forward, batch: Batch, temperature: DataParameters | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss per sample (b,), and columns (b,) for the history; "loss" among them."""
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
    temperature: DataParameters | None
    rows: list[dict[str, Any]]
    result: dict[str, Any]


def fit(
    model: nn.Module,
    task: Task,
    train: Source,
    *,
    settings: Settings,
    method: Method | None = None,
    temperature: Temperature | None = None,
    validation: Source | None = None,
    run: Run | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Train a model.

    The loss of a step is the mean of weight * losses over the batch. With a run folder, the training goes on after
    the last finished epoch that is found there. Dropout and the like draw from torch's global generator, which is
    seeded from (seed, epoch, step) before every step.

    Args:
        model: maps `Batch.inputs` to what the task understands; trained in place.
        task: losses and evaluation.
        train: the training samples.
        settings: lengths, rates, precision, device.
        method: what is shown and what is scored; ordinary training by default.
        temperature: learn data parameters too.
        validation: judged every `settings.evaluate_every` epochs; decides which epoch is best.
        run: where to keep everything.
        watch: called several times an epoch and at its end.

    Raises:
        ValueError: the method records log sigma but there are no instance parameters.
        NotFinite: losses were NaN or infinite.
    """
    method = method or Method()
    if method.score == "log_sigma" and (temperature is None or temperature.kind == "class"):
        raise ValueError(
            "the method scores by log_sigma and needs instance data parameters; use kind instance or joint"
        )
    training = _Training(model, task, train, settings, method, temperature, validation, run, watch)
    return training.finish()


class _Training:
    def __init__(
        self,
        model: nn.Module,
        task: Task,
        train: Source,
        settings: Settings,
        method: Method,
        temperature: Temperature | None,
        validation: Source | None,
        run: Run | None,
        watch: Callable[[Progress], None] | None,
    ) -> None:
        self.task, self.train, self.validation = task, train, validation
        self.settings, self.method, self.run, self.watch = settings, method, run, watch
        self.model = prepared(model, settings)
        self.ledger = Ledger(len(train))
        self.sampler = PlannedSampler(self.ledger, method.rule, epochs=settings.epochs, seed=settings.seed)
        self.stepper = Stepper(self.model, task, settings, method, temperature, len(train.class_names), len(train))
        self.next_epoch, self.samples_seen = 0, 0
        self.seconds = self.seconds_evaluation = 0.0
        self.rows: list[dict[str, Any]] = []
        self.best_row: dict[str, Any] | None = None
        self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self._resume()

    def finish(self) -> Fitted:
        while self.next_epoch < self.settings.epochs:
            self._epoch(self.next_epoch)
        result = self._result()
        if self.run is not None:
            write_scores(self.run.folder / "ledger", self.ledger.score, self.ledger.seen)
            self.run.finish(result)
        return Fitted(self.model, self.best, self.ledger, self.stepper.temperature, self.rows, result)

    def _epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)
        history = self.run.history if self.run is not None and self.settings.history else None
        observer = Observer(self.ledger, self.train.keys, self.method, history)
        observer.begin(epoch)
        if history is not None and len(self.sampler.order) < len(self.ledger):
            # The rule is pure: asked again, it also tells which of its parts hid what.
            before = torch.ones(1).expand(len(self.ledger))
            _, hidden_by, texts = reasons(self.method.rule, before, self.ledger.score, self.sampler.moment)
            write_decisions(history.folder, epoch, hidden_by, texts)
        learning = self.sampler.moment.progress < self.method.learn_until
        started, shown = time.perf_counter(), len(self.sampler)
        steps = self.sampler.steps(self.settings.batch_size)
        plan = self.sampler.batches(self.settings.batch_size)
        batches = self.train.batches(plan, epoch=epoch, seed=self.settings.seed, train=True)
        weight = self.sampler.weight.to(self.stepper.device)
        self.model.train()
        told = started
        for place, batch in enumerate(batches):
            progress = (epoch + place / steps) / self.settings.epochs
            torch.manual_seed(seed_of(self.settings.seed, epoch, place, "model"))
            shares = weight[batch.index.to(weight.device)]
            columns = self.stepper.step(batch, shares, progress, learning=learning)
            observer.see(columns, self.stepper.log_sigma(batch.index) if learning else None)
            now = time.perf_counter()
            if self.watch is not None and (observer.flushed or now > told + _TELL):
                told, done = now, observer.samples
                self.watch(Progress(epoch, done, shown, self.samples_seen + done, self.seconds + now - started))
        observer.end()
        self.seconds += time.perf_counter() - started
        self.samples_seen += shown
        self._end_epoch(epoch, observer.figures(), shown)

    def _end_epoch(self, epoch: int, figures: dict[str, Any], shown: int) -> None:
        judged = (epoch + 1) % self.settings.evaluate_every == 0 or epoch + 1 == self.settings.epochs
        row = {
            "epoch": epoch,
            "shown": shown,
            "hidden": len(self.ledger) - shown,
            "samples_seen": self.samples_seen,
            "steps": self.stepper.steps,
            "seconds": self.seconds,
            "lr": self.stepper.learning_rate,
            **figures,
            "validation": self._evaluate(self.validation) if judged and self.validation is not None else None,
            **self.stepper.sigma_figures(),
        }
        self.rows.append(row)
        best = self._is_best(row)
        if best:
            self.best_row = row
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.next_epoch = epoch + 1
        if self.run is not None:
            self.run.log(row)
            self.run.save(epoch, self.model.state_dict(), self._state(), best=best)
        if self.watch is not None:
            self.watch(Progress(epoch, shown, shown, self.samples_seen, self.seconds, row))

    def _evaluate(self, validation: Source) -> dict[str, float]:
        started = time.perf_counter()
        plan = torch.arange(len(validation)).split(max(256, self.settings.batch_size))
        batches = validation.batches(plan, epoch=0, seed=self.settings.seed, train=False)
        self.model.eval()
        figures = self.task.evaluate(self.stepper.forward, (self.stepper.moved(batch) for batch in batches))
        self.seconds_evaluation += time.perf_counter() - started
        return figures

    def _is_best(self, row: dict[str, Any]) -> bool:
        if row["validation"] is None:
            return self.validation is None
        if self.best_row is None or self.best_row["validation"] is None:
            return True
        metric = self.task.metric
        return row["validation"][metric] > self.best_row["validation"][metric]

    def _result(self) -> dict[str, Any]:
        def figures(row: dict[str, Any] | None) -> dict[str, Any] | None:
            return None if row is None else {"epoch": row["epoch"], **(row["validation"] or {})}

        costs = {
            "samples_seen": self.samples_seen,
            "full_samples": self.settings.epochs * len(self.ledger),
            "steps": self.stepper.steps,
            "seconds_training": self.seconds,
            "seconds_evaluation": self.seconds_evaluation,
            "seconds_total": self.seconds + self.seconds_evaluation,
        }
        return {"last": figures(self.rows[-1]), "best": figures(self.best_row), "costs": costs}

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.next_epoch,
            "samples_seen": self.samples_seen,
            "seconds": self.seconds,
            "seconds_evaluation": self.seconds_evaluation,
            "best_row": self.best_row,
            "stepper": self.stepper.state_dict(),
            "ledger": self.ledger.state_dict(),
        }

    def _resume(self) -> None:
        found = self.run.load() if self.run is not None and self.run.resumed else None
        if found is None or self.run is None:
            return
        model, state = found
        self.model.load_state_dict(model)
        self.stepper.load_state_dict(state["stepper"])
        self.ledger.load_state_dict(state["ledger"])
        self.next_epoch, self.samples_seen = state["epoch"], state["samples_seen"]
        self.seconds, self.seconds_evaluation = state["seconds"], state["seconds_evaluation"]
        self.best_row = state["best_row"]
        self.rows = [row for row in self.run.metrics() if row["epoch"] < self.next_epoch]
        self.best = self.run.best_weights(model)
