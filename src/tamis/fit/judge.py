"""The passes over whole data sets that a training makes between its epochs: judging the model, scoring the samples."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from tamis.batch import Batch
from tamis.fit.processes import Processes
from tamis.fit.protocols import Source, Task
from tamis.fit.scoring import sample_scores, whole_plan
from tamis.fit.settings import Settings
from tamis.fit.stepper import Stepper
from tamis.ledger import Ledger


class Judge:
    """Judges and scores with the model as it is, in rank 0 alone, and counts what that costs.

    Attributes:
        seconds_evaluation: spent judging.
        seconds_scoring: spent scoring.
        samples_scored: samples that were scored.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        settings: Settings,
        stepper: Stepper,
        processes: Processes,
        between: Callable[[], None],
    ) -> None:
        """Work with the model of `stepper`; `between` is called after every batch, and may raise to stop."""
        self.model, self.task, self.settings = model, task, settings
        self.stepper, self.processes, self.between = stepper, processes, between
        self.seconds_evaluation = self.seconds_scoring = 0.0
        self.samples_scored = 0

    def evaluate(self, validation: Source) -> dict[str, float]:
        """The task's figures over all samples; the model is in evaluation mode afterwards."""
        started = time.perf_counter()
        figures = None
        if self.processes.rank == 0:
            self.model.eval()
            plan = whole_plan(validation, self.settings.batch_size)
            batches = validation.batches(plan, epoch=0, seed=self.settings.seed, train=False)
            figures = self.task.evaluate(self.stepper.judge, self._moved(batches))
        figures = self.processes.share(figures)
        self.seconds_evaluation += time.perf_counter() - started
        return figures

    def score(self, train: Source, ledger: Ledger) -> None:
        """Score all samples anew, into the ledger; the model is in evaluation mode afterwards."""
        started = time.perf_counter()
        scores = torch.full((len(ledger),), torch.nan)
        if self.processes.rank == 0:
            self.model.eval()
            size, move = self.settings.batch_size, self.stepper.moved
            scores = sample_scores(self.stepper.judge, self.task, train, size, move, lambda _: self.between())
        scores = self.processes.same(scores)
        known = scores.isfinite().nonzero().flatten()
        ledger.record(known, scores[known])
        self.samples_scored += len(known)
        self.seconds_scoring += time.perf_counter() - started

    def _moved(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if len(batch):
                yield self.stepper.moved(batch)
            self.between()

    @property
    def seconds(self) -> float:
        """Spent in all."""
        return self.seconds_evaluation + self.seconds_scoring

    def state_dict(self) -> dict[str, Any]:
        """The costs so far."""
        names = ("seconds_evaluation", "seconds_scoring", "samples_scored")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the costs of a state; what an older version did not count is 0."""
        self.seconds_evaluation = state["seconds_evaluation"]
        self.seconds_scoring, self.samples_scored = state.get("seconds_scoring", 0.0), state.get("samples_scored", 0)
