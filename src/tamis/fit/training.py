"""A training under way: plan -> batches -> losses -> weights -> step -> ledger, epoch after epoch, and its state."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tamis.batch import Batch
from tamis.box_temperature import BoxParameters
from tamis.checkpoint import size_of
from tamis.fit.box_losses import BoxLosses
from tamis.fit.growth import Changes, grown
from tamis.fit.judge import Judge
from tamis.fit.observe import NotFinite, Observer
from tamis.fit.processes import Processes
from tamis.fit.protocols import Boxed, Fitted, Progress, Source, Stopped, Task
from tamis.fit.saving import Saving
from tamis.fit.scoring import groups_of
from tamis.fit.settings import Settings, prepared
from tamis.fit.stepper import Stepper
from tamis.history import write_boxes, write_decisions, write_scores
from tamis.ledger import Ledger
from tamis.methods import Method, Temperature
from tamis.moment import seed_of
from tamis.rules import ranks, reasons
from tamis.run import Run
from tamis.sampler import PlannedSampler

# Seconds after which a slow training tells where it is, between the steps at which it does so anyway.
_TELL = 1.0
# What the processes tell each other after a step: go on, save, or (from here on) stop because of signal number - _STOP.
_GO_ON, _SAVE, _STOP = 0, 1, 100
_MOST_SKIPPED = 10


class Training:
    """One call of `fit`, whose arguments these are."""

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
        stop: Callable[[], int] | None,
        changes: Changes | None,
        scores: Tensor | None,
    ) -> None:
        self.task, self.train, self.validation = task, train, validation
        self.settings, self.method, self.run, self.watch = settings, method, run, watch
        self.stop = stop or (lambda: 0)
        self.changes = changes or Changes(0, torch.zeros(len(train), dtype=torch.int32))
        self.processes = Processes()
        self.model = prepared(model, settings)
        self.ledger = Ledger(len(train))
        if scores is not None:
            known = (~scores.isnan()).nonzero().flatten()
            self.ledger.record(known, scores[known])
        self.sampler = PlannedSampler(
            self.ledger,
            method.rule,
            epochs=settings.epochs,
            seed=settings.seed,
            groups=groups_of(train, train=True),
        )
        self.stepper = Stepper(self.model, task, settings, temperature, train, self.processes)
        self.saving = Saving(settings.checkpoint_seconds, settings.on_full)
        self.next_epoch, self.place, self.samples_seen = 0, 0, 0
        self.judge = Judge(self.model, task, settings, self.stepper, self.processes, self._stop_between_steps)
        self.seconds = 0.0
        self.rows: list[dict[str, Any]] = []
        self.best_row: dict[str, Any] | None = None
        self.best = self._weights()
        self.best_written: int | None = None
        self.observer = Observer(self.ledger, method.score, None)
        self._begun: dict[str, Any] | None = None  # what the observer had seen of an epoch that goes on
        self._resume()

    def finish(self) -> Fitted:
        """Train the epochs that are left."""
        while self.next_epoch < self.settings.epochs:
            self._epoch(self.next_epoch)
        result = self._result()
        if self.run is not None and self.processes.rank == 0:
            write_scores(self.run.folder / "ledger", self.ledger.score, self.ledger.seen)
            self.run.finish(result)
        return Fitted(self.model, self.best, self.ledger, self.stepper.temperature, self.rows, result)

    def _epoch(self, epoch: int) -> None:
        if self._begun is None:
            if self.method.refresh and epoch and epoch % self.method.refresh == 0:
                self.judge.score(self.train, self.ledger)
            self.sampler.set_epoch(epoch)
        self.observer = self._observer(epoch)
        steps = self.sampler.steps(self.settings.batch_size)
        weight = self.sampler.weight.to(self.stepper.device)
        self.model.train()
        started = told = time.perf_counter()
        for batch in self._batches(epoch):
            torch.manual_seed(self._seed_of_step(epoch))
            shares = weight[batch.index.to(weight.device)]
            progress = (epoch + self.place / steps) / self.settings.epochs
            columns = self.stepper.step(batch, shares, progress)
            self.observer.see(columns, self.stepper.log_sigma(columns["index"]))
            self._hold_to_finite(columns)
            self.place += 1
            now = time.perf_counter()
            if self.watch is not None and (self.observer.flushed or now > told + _TELL):
                told, done = now, self.observer.samples
                shown = len(self.sampler.order)
                self.watch(Progress(epoch, done, shown, self.samples_seen + done, self.seconds + now - started))
            self.seconds, started = self.seconds + now - started, now
            if self._save_if_due():
                started = time.perf_counter()
        self.saving.attempt(lambda: self._end_history(epoch), "history of the epoch")
        self.seconds += time.perf_counter() - started
        self._end_epoch(epoch)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """The rest of the epoch; what could not be read leaves a place with nothing to do."""
        if self.place == self.sampler.steps(self.settings.batch_size):
            return
        plan = self.sampler.batches(self.settings.batch_size)
        batches = self.train.batches(plan, epoch=epoch, seed=self.settings.seed, train=True)
        while True:
            try:
                batch = next(batches, None)
            except Exception:
                # Between two steps: nothing of what was done is lost. A signal to stop may have ended the workers.
                self._save()
                if self.stop():
                    raise Stopped(self.stop()) from None
                raise
            if batch is None:
                return
            if self.processes.agree(int(len(batch) == 0)):
                self.place += 1
            else:
                yield batch

    def _seed_of_step(self, epoch: int) -> int:
        others = (self.processes.rank,) if self.processes.rank else ()
        return seed_of(self.settings.seed, epoch, self.place, "model", *others)

    def _observer(self, epoch: int) -> Observer:
        keeps = self.run is not None and self.settings.history and self.processes.rank == 0
        history = self.run.history if self.run is not None and keeps else None
        boxes = BoxLosses(self.train.box_starts) if history is not None and isinstance(self.train, Boxed) else None
        kept = self.sampler.moment.progress >= self.method.score_until
        observer = Observer(self.ledger, "given" if kept else self.method.score, history, boxes)
        if self._begun is not None:
            observer.load_state_dict(self._begun)
            self._begun = None
        elif history is not None:
            history.begin(epoch)
            if len(self.sampler.order) < len(self.ledger):
                # The rule is pure: asked again, it also tells which of its parts hid what.
                before, score = torch.ones(1).expand(len(self.ledger)), self.ledger.score
                _, hidden_by, texts = reasons(self.method.rule, before, score, self.sampler.moment)
                write_decisions(history.folder, epoch, hidden_by, texts, *ranks(before, score, hidden_by))
        return observer

    def _end_history(self, epoch: int) -> None:
        self.observer.end()
        boxes, history, rows = self.observer.boxes, self.observer.history, self.stepper.temperature
        if boxes is not None and history is not None and isinstance(self.train, Boxed):
            sigma = rows.all_sigma(self.train.box_labels) if isinstance(rows, BoxParameters) else None
            write_boxes(history.folder, epoch, sigma, boxes.loss)

    def _hold_to_finite(self, columns: dict[str, Tensor]) -> None:
        if self.stepper.skipped_in_a_row >= _MOST_SKIPPED or (self.stepper.skipped_in_a_row and self._lost()):
            bad = columns["index"][~columns["loss"].isfinite()]
            named = ", ".join(self.train.keys[int(index)] for index in bad[:5])
            raise NotFinite(
                f"losses must be finite, got NaN or infinity for {len(bad)} samples ({named}) in step "
                f"{self.stepper.steps}, {self.stepper.skipped_in_a_row} such steps in a row; lower the rate"
            )

    def _lost(self) -> bool:
        """Whether the statistics of a batch normalisation are not finite any more: the model is beyond repair."""
        buffers = (each for each in self.model.buffers() if each.is_floating_point())
        return not all(bool(each.isfinite().all()) for each in buffers)

    def _end_epoch(self, epoch: int) -> None:
        judged = (epoch + 1) % self.settings.evaluate_every == 0 or epoch + 1 == self.settings.epochs
        validation = self.judge.evaluate(self.validation) if judged and self.validation is not None else None
        shown = len(self.sampler.order)
        self.samples_seen += self.observer.samples
        row = {
            "epoch": epoch,
            "shown": shown,
            "hidden": len(self.ledger) - shown,
            "samples_seen": self.samples_seen,
            "steps": self.stepper.steps,
            "seconds": self.seconds,
            "lr": self.stepper.learning_rate,
            **self.observer.figures(),
            "validation": validation,
            **self.stepper.sigma_figures(),
        }
        self.rows.append(row)
        if self._is_best(row):
            self.best_row, self.best = row, self._weights()
        self.next_epoch, self.place = epoch + 1, 0
        if self.run is not None and self.processes.rank == 0:
            log = self.run.log
            self.saving.attempt(lambda: log(row), "metrics")
        self._save_if_due(last=self.next_epoch == self.settings.epochs)
        if self.watch is not None:
            self.watch(Progress(epoch, shown, shown, self.samples_seen, self.seconds, row))

    def _stop_between_steps(self) -> None:
        """Stop in the middle of a pass over the data that changes nothing: it is done again."""
        if self.processes.size == 1 and self.stop():
            self._save()
            raise Stopped(self.stop())

    def _is_best(self, row: dict[str, Any]) -> bool:
        if row["validation"] is None:
            return self.validation is None
        if self.best_row is None or self.best_row["validation"] is None:
            return True
        metric = self.task.metric
        now, before = row["validation"][metric], self.best_row["validation"][metric]
        better = now < before if self.task.lower_is_better else now > before
        return better or (math.isnan(before) and not math.isnan(now))

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _result(self) -> dict[str, Any]:
        def figures(row: dict[str, Any] | None) -> dict[str, Any] | None:
            return None if row is None else {"epoch": row["epoch"], **(row["validation"] or {})}

        costs = {
            "samples_seen": self.samples_seen,
            "full_samples": self.settings.epochs * len(self.ledger),
            "steps": self.stepper.steps,
            "seconds_training": self.seconds,
            **self.judge.state_dict(),
            "seconds_checkpoints": self.saving.seconds,
            "seconds_total": self.seconds + self.judge.seconds + self.saving.seconds,
        }
        return {"last": figures(self.rows[-1]), "best": figures(self.best_row), "costs": costs}

    def _save_if_due(self, *, last: bool = False) -> bool:
        """Save if it is time, or if somebody wants to stop; all processes come to the same answer."""
        signal = self.stop()
        due = self.run is not None and self.processes.rank == 0 and (last or self.saving.due())
        word = _STOP + signal if signal else _SAVE if due else _GO_ON
        word = self.processes.agree(word)
        if word != _GO_ON:
            self._save()
        if word >= _STOP and not last:
            raise Stopped(word - _STOP)
        return word != _GO_ON

    def _save(self) -> None:
        state = self._state()
        if self.run is not None and self.processes.rank == 0:
            self.saving.write(lambda: self._write(state), size_of(state) + size_of(self.best))

    def _write(self, state: dict[str, Any]) -> None:
        if self.run is None:
            return
        best = None if self.best_row is None else self.best_row["epoch"]
        if best is not None and best != self.best_written:
            self.run.save_best(best, self.best)
            self.best_written = best
        self.run.save(self.next_epoch, self.place, self.model.state_dict(), state, best)

    def _state(self) -> dict[str, Any]:
        begun = self.place > 0
        return {
            "epoch": self.next_epoch,
            "place": self.place,
            "sampler": self.sampler.state_after(self.place, self.settings.batch_size) if begun else None,
            "observer": self.observer.state_dict() if begun else None,
            "samples_seen": self.samples_seen,
            "seconds": self.seconds,
            **self.judge.state_dict(),
            "seconds_checkpoints": self.saving.seconds,
            "rows": self.rows,
            "best_row": self.best_row,
            "stepper": self.stepper.state_dict(),
            "ledger": self.ledger.state_dict(),
            "changes": self.changes.count,
        }

    def _resume(self) -> None:
        if self.run is not None and self.processes.rank == 0 and not self.run.finished:
            # Weights, their momentum, the best; of samples scores, visits, weights, places, log sigma, its momentum.
            self.run.hold_room(3 * size_of(self.best) + 28 * len(self.ledger))
        found = self.run.load() if self.run is not None and self.run.resumed else None
        if found is None or self.run is None:
            return
        model, state = found
        rows = self.stepper.temperature
        fresh = None if rows is None else rows.log_sigma_instance  # nothing is learned yet: where every row starts
        state = grown(state, self.changes, 0.0 if fresh is None else float(fresh[0].detach()))
        self.model.load_state_dict(model)
        self.stepper.load_state_dict(state["stepper"])
        self.ledger.load_state_dict(state["ledger"])
        self.next_epoch, self.samples_seen = state["epoch"], state["samples_seen"]
        self.seconds = state["seconds"]
        self.judge.load_state_dict(state)
        self.saving.seconds = state["seconds_checkpoints"]
        self.rows, self.best_row = state["rows"], state["best_row"]
        if self.processes.rank == 0 and self.run.metrics()[: len(self.rows)] != self.rows:
            for row in self.rows:
                self.run.log(row)
        self.best = self.run.load_best(state, model)
        self.best_written = None if self.best_row is None else self.best_row["epoch"]
        if state["place"]:
            self.sampler.load_state_dict(state["sampler"])
            self.place = state["place"]
            self._begun = state["observer"]
