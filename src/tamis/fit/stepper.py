"""One optimiser step: forward, weights, backward, update, with autocast, accumulation and data parameters."""

from typing import Any

import torch
from torch import Tensor, nn

from tamis.batch import Batch
from tamis.fit.settings import Settings
from tamis.methods import Method, Temperature
from tamis.temperature import DataParameters

_TYPES = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Stepper:
    """The model's optimiser, the data parameters' optimiser, and what lies between a batch and their steps.

    Attributes:
        temperature: the data parameters, or None.
        steps: optimiser steps so far.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Any,
        settings: Settings,
        method: Method,
        temperature: Temperature | None,
        classes: int,
        samples: int,
    ) -> None:
        """Make the optimisers for a model that is already on its device."""
        self.model, self.task, self.settings = model, task, settings
        self.device = settings.resolved_device()
        self.optimizer = settings.optimizer(model.parameters())
        self.scheduler = settings.scheduler(self.optimizer) if settings.scheduler else None
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.amp == "fp16")
        self._compiled = torch.compile(model) if settings.compile else model
        self.steps = 0
        self.temperature: DataParameters | None = None
        self.settings_temperature = temperature
        if temperature is not None:
            self.temperature = temperature.rows(classes, samples).to(self.device)
            rate = temperature.rate(method, settings.epochs)
            self.rows_optimizer = temperature.optimizer(self.temperature, rate, settings.batch_size)
            self.rows_rates = [group["lr"] for group in self.rows_optimizer.param_groups]

    @property
    def learning_rate(self) -> float:
        """The current learning rate of the model's first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def moved(self, batch: Batch) -> Batch:
        """The batch on the device."""
        return batch.to(self.device, channels_last=self.settings.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        """The (compiled) model under autocast."""
        enabled = self.settings.amp != "none"
        with torch.autocast(self.device.type, dtype=_TYPES[self.settings.amp], enabled=enabled):
            return self._compiled(inputs)

    def step(self, batch: Batch, weight: Tensor, progress: float, *, learning: bool) -> dict[str, Tensor]:
        """Update the model, and the rows of the data parameters if they are still learned.

        Args:
            batch: the samples of the step.
            weight: float32 (b,) on the device, factors of their losses.
            progress: of the training, in [0, 1); decides the learning rates.
            learning: whether data parameters scale the logits and are learned.

        Returns:
            Columns (b,) of the samples, with "index" and "weight".
        """
        self._set_rates(progress)
        size, kept = len(batch), []
        temperature = self.temperature if learning else None
        for piece in torch.arange(size).tensor_split(min(size, self.settings.accumulate)):
            first, last = int(piece[0]), int(piece[-1]) + 1
            part = self.moved(batch.part(first, last))
            losses, columns = self.task.losses(self.forward, part, temperature)
            if losses.shape != part.index.shape:
                raise TypeError(
                    f'per-sample losses expected, got shape {tuple(losses.shape)}; pass reduction="none" to the loss'
                )
            self.scaler.scale((losses * weight[first:last]).sum() / size).backward()
            kept.append({"index": part.index, **columns, "weight": weight[first:last]})
        self._update(learning=temperature is not None)
        return {name: torch.cat([columns[name] for columns in kept]) for name in kept[0]}

    def _update(self, *, learning: bool) -> None:
        self.scaler.step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        if learning:
            self.scaler.step(self.rows_optimizer)
            self.rows_optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        self.steps += 1
        if self.scheduler is not None:
            self.scheduler.step()

    def _set_rates(self, progress: float) -> None:
        if self.scheduler is None:
            factor = self.settings.schedule(progress)
            for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
                group["lr"] = rate * factor
        temperature = self.settings_temperature
        if temperature is not None and temperature.schedule == "linear":
            for group, rate in zip(self.rows_optimizer.param_groups, self.rows_rates, strict=True):
                group["lr"] = rate * (1 - progress)

    def log_sigma(self, index: Tensor) -> Tensor | None:
        """Log sigma of some samples, float32 (b,); None without instance parameters."""
        if self.temperature is None or self.temperature.log_sigma_instance is None:
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
        self.steps = state["steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.temperature is not None:
            self.temperature.load_state_dict(state["temperature"])
            self.rows_optimizer.load_state_dict(state["rows_optimizer"])
