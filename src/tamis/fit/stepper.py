"""One optimiser step: forward, weights, backward, update, with autocast, accumulation and data parameters."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tamis.batch import Batch
from tamis.box_temperature import BoxParameters
from tamis.fit.processes import Processes
from tamis.fit.protocols import Boxed, Source, Task
from tamis.fit.settings import Settings
from tamis.methods import Temperature
from tamis.temperature import DataParameters

_MEMORY = 256
"""Samples over which the accuracy of the model is averaged, in batches of any size."""

_POWER = 4
"""Of the accuracy, for the skill of a model: found on CIFAR-10 and digits (docs/log.md)."""

_TYPES = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Stepper:
    """The model's optimiser, the data parameters' optimiser, and what lies between a batch and their steps.

    Attributes:
        temperature: the data parameters, or None.
        steps: optimiser steps so far.
        skipped_in_a_row: latest steps that changed nothing, since losses were not finite.
        accuracy: running mean over the latest samples, in [0, 1], for the schedule "skill" of the data parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        settings: Settings,
        temperature: Temperature | None,
        train: Source,
        processes: Processes,
    ) -> None:
        """Make the optimisers for a model that is already on its device."""
        self.task, self.settings, self.processes = task, settings, processes
        self.device = settings.resolved_device()
        self.optimizer = settings.optimizer(model.parameters())
        self.scheduler = settings.scheduler(self.optimizer) if settings.scheduler else None
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.amp == "fp16")
        self._shared = processes.distributed(model, self.device)
        self._compiled = torch.compile(self._shared) if settings.compile else self._shared
        # Judging is the work of one process: it must not wait for the buffers that training exchanges.
        self._judged = self._compiled if processes.size == 1 else model
        # Of one process; a sampler gives none of them more than this.
        self._most = -(-settings.batch_size // processes.size)
        self.steps = self.skipped_in_a_row = 0
        self.accuracy = 0.0
        self.temperature: DataParameters | BoxParameters | None = None
        if temperature is not None:
            rows, members = _rows_of(temperature, train, processes)
            self.temperature = rows.to(self.device)
            boxes = isinstance(rows, BoxParameters)
            rate, self.course = temperature.rate(settings.epochs, boxes=boxes), temperature.course(boxes=boxes)
            self.rows_optimizer = temperature.optimizer(rows, rate, settings.batch_size * members)
            self.rows_rates = [group["lr"] for group in self.rows_optimizer.param_groups]

    @property
    def learning_rate(self) -> float:
        """The current learning rate of the model's first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def moved(self, batch: Batch) -> Batch:
        """The batch on the device."""
        return batch.to(self.device, channels_last=self.settings.channels_last)

    def forward(self, *inputs: Tensor, **options: Any) -> Any:
        """The (compiled) model under autocast, in training: all processes do this together."""
        with self._autocast():
            return self._compiled(*inputs, **options)

    def judge(self, *inputs: Tensor, **options: Any) -> Any:
        """The model under autocast, for evaluation in this process alone."""
        with self._autocast():
            return self._judged(*inputs, **options)

    def _autocast(self) -> torch.autocast:
        enabled = self.settings.amp != "none"
        return torch.autocast(self.device.type, dtype=_TYPES[self.settings.amp], enabled=enabled)

    def step(self, batch: Batch, weight: Tensor, progress: float) -> dict[str, Tensor]:
        """Update the model, and the rows of the data parameters if there are any.

        Args:
            batch: the samples of the step that are this process's.
            weight: float32 (b,) on the device, factors of their losses.
            progress: of the training, in [0, 1); decides the learning rates.

        Returns:
            Columns (B,) of the samples of all processes, with "index" and "weight".
        """
        self._set_rates(progress)
        kept = []
        # As many in every process: the boxes of a piece have one background.
        fewest = self.processes.least(len(batch)) if self.settings.accumulate > 1 else 1
        pieces = torch.arange(len(batch)).tensor_split(min(fewest, self.settings.accumulate))
        size = self._of_all(len(batch))
        for number, piece in enumerate(pieces):
            first, last = int(piece[0]), int(piece[-1]) + 1
            part = self.moved(batch.part(first, last))
            with self._averaging(number == len(pieces) - 1):
                losses, columns = self.task.losses(self.forward, part, self.temperature)
                if losses.shape != part.index.shape:
                    raise TypeError(
                        f"per-sample losses expected, got shape {tuple(losses.shape)}; pass "
                        'reduction="none" to the loss'
                    )
                # Gradients are averaged over the processes; the mean is that of the whole batch.
                mean = (losses * weight[first:last]).sum() * (self.processes.size / size)
                self.scaler.scale(mean).backward()
            kept.append({"index": part.index, **columns, "weight": weight[first:last]})
        columns = self._gathered({name: torch.cat([columns[name] for columns in kept]) for name in kept[0]})
        if self.temperature is not None:
            self._set_row_rates(progress, columns)
        self._update(sound=bool(columns["loss"].isfinite().all()))
        return columns

    def _of_all(self, size: int) -> int:
        """Samples in the batches of all processes."""
        return size if self.processes.size == 1 else self.processes.total(size)

    def _averaging(self, now: bool) -> AbstractContextManager[None]:
        """Pieces before the last one only add to the gradient of this process."""
        shared = self._shared
        return shared.no_sync() if isinstance(shared, DistributedDataParallel) and not now else nullcontext()

    def _gathered(self, columns: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.processes.size == 1:
            return columns
        rest = {name: column for name, column in columns.items() if name not in ("index", "box_loss")}
        values = torch.stack([column.detach().float() for column in rest.values()], 1)
        index, values = self.processes.gather(columns["index"], values, self._most)
        pairs = zip(rest.items(), values.unbind(1), strict=True)
        together = {"index": index, **{name: value.to(column.dtype) for (name, column), value in pairs}}
        if "box_loss" in columns:
            losses = columns["box_loss"].detach()
            most = self.processes.agree(losses.shape[1])
            losses = F.pad(losses, (0, most - losses.shape[1]), value=torch.nan)
            together["box_loss"] = self.processes.gather(columns["index"], losses, self._most)[1]
        return together

    def _gather_rows(self) -> None:
        """Give every process the gradients of all for the rows of the data parameters: some bytes a sample or box."""
        if self.processes.size == 1 or self.temperature is None:
            return
        for table in self.temperature.parameters():
            if table.grad is not None:
                index, entries = table.grad._indices()[0], table.grad._values()
                boxed = isinstance(self.temperature, BoxParameters)
                # Several classes at once: an entry for every class, as many in every process.
                most = self.processes.agree(len(index)) if boxed else max(self._most, len(index))
                index, entries = self.processes.gather(index, entries[:, None], most)
                entries = entries[:, 0] / self.processes.size
                shape = table.shape
                table.grad = torch.sparse_coo_tensor(
                    index[None], entries, shape, check_invariants=False, is_coalesced=False
                )

    def _update(self, *, sound: bool) -> None:
        if sound:
            self.scaler.step(self.optimizer)
            if self.temperature is not None:
                self._gather_rows()
                self.scaler.step(self.rows_optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.temperature is not None:
            self.rows_optimizer.zero_grad(set_to_none=True)
        self.skipped_in_a_row = 0 if sound else self.skipped_in_a_row + 1
        self.steps += 1
        if self.scheduler is not None:
            self.scheduler.step()

    def _set_rates(self, progress: float) -> None:
        if self.scheduler is None:
            factor = self.settings.schedule(progress)
            for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
                group["lr"] = rate * factor

    def _set_row_rates(self, progress: float, columns: dict[str, Tensor]) -> None:
        if self.course == "constant":
            return
        skill = self._skill(columns) if self.course == "skill" else 1.0
        for group, rate in zip(self.rows_optimizer.param_groups, self.rows_rates, strict=True):
            group["lr"] = rate * (1 - progress) * skill

    def _skill(self, columns: dict[str, Tensor]) -> float:
        """A power of the running accuracy: that of the batch alone would be 0 wherever a small one holds a wrong label.

        Raises:
            ValueError: the task does not tell which samples are right.
        """
        if "correct" not in columns:
            raise ValueError(
                'the schedule of the data parameters must be "linear" or "constant" for a task that does not tell '
                "which samples are right"
            )
        correct = columns["correct"].float()
        kept = (1 - 1 / _MEMORY) ** len(correct)
        self.accuracy = kept * self.accuracy + (1 - kept) * float(correct.mean())
        return self.accuracy**_POWER

    def log_sigma(self, index: Tensor) -> Tensor | None:
        """Log sigma of some samples, float32 (b,); None without instance parameters, or where they are of boxes."""
        if not isinstance(self.temperature, DataParameters) or self.temperature.log_sigma_instance is None:
            return None
        table = self.temperature.log_sigma_instance.detach()
        return table[index.to(table.device)]

    def sigma_figures(self) -> dict[str, Any]:
        """Percentiles of the instance sigma and the sigma of each class, for the row of an epoch."""
        figures: dict[str, Any] = {"sigma": None, "class_sigma": None}
        if self.temperature is None:
            return figures
        if self.temperature.log_sigma_class is not None:
            figures["class_sigma"] = self.temperature.log_sigma_class.detach().exp().tolist()
        if self.temperature.log_sigma_instance is not None:
            # Percentiles of an even sample of at most a million rows: exact below that, and quick above.
            rows = self.temperature.log_sigma_instance.detach()
            some = rows[:: max(1, len(rows) // 1_000_000)].cpu().sort().values.exp()
            place = {
                name: some[int(share * (len(some) - 1))] for name, share in (("p05", 0.05), ("p50", 0.5), ("p95", 0.95))
            }
            figures["sigma"] = {name: float(value) for name, value in place.items()} | {"max": float(rows.max().exp())}
        return figures

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, apart from the model."""
        state: dict[str, Any] = {
            "steps": self.steps,
            "skipped_in_a_row": self.skipped_in_a_row,
            "accuracy": self.accuracy,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        if self.scheduler is not None:
            state["scheduler"] = self.scheduler.state_dict()
        if self.temperature is not None:
            state["temperature"] = self.temperature.state_dict()
            state["rows_optimizer"] = self.rows_optimizer.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state."""
        self.steps, self.skipped_in_a_row = state["steps"], state["skipped_in_a_row"]
        self.accuracy = state["accuracy"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.temperature is not None:
            self.temperature.load_state_dict(state["temperature"])
            self.rows_optimizer.load_state_dict(state["rows_optimizer"])


def _rows_of(
    temperature: Temperature, train: Source, processes: Processes
) -> tuple[DataParameters | BoxParameters, float]:
    """Fresh data parameters of a source, and how many there are to share the loss of a sample."""
    classes = len(train.class_names)
    if not isinstance(train, Boxed):
        return temperature.rows(classes, len(train)), 1
    counts = train.box_starts.diff()
    rows = temperature.box_rows(train.box_starts, classes, processes.summed)
    return rows, float(counts[counts > 0].double().mean())
