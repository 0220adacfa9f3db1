"""What a training notes of each sample: buffered, so that a GPU is not stopped at every step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tamis.history import History
from tamis.ledger import Ledger
from tamis.methods import Method

_STEPS = 32


class NotFinite(FloatingPointError):
    """Losses are NaN or infinite; the message names the samples."""


class Observer:
    """Passes what happened in the steps of one epoch to the ledger and to the history.

    Attributes:
        samples: shown so far in this epoch.
        flushed: whether the last step was one after which everything was passed on.
    """

    def __init__(self, ledger: Ledger, keys: Sequence[str], method: Method, history: History | None) -> None:
        """Note for `ledger`, and for `history` if there is one."""
        self.ledger, self.keys, self.method, self.history = ledger, keys, method, history
        self.samples, self.flushed = 0, False
        self._pending: list[dict[str, Tensor]] = []
        self._loss = self._right = 0.0

    def begin(self, epoch: int) -> None:
        """Start an epoch."""
        if self.history is not None:
            self.history.begin(epoch)

    def see(self, columns: dict[str, Tensor], log_sigma: Tensor | None) -> None:
        """Note a step: columns (b,) of its samples, and their log sigma after it."""
        self._pending.append(columns if log_sigma is None else columns | {"log_sigma": log_sigma})
        self.samples += len(columns["index"])
        self.flushed = len(self._pending) >= _STEPS
        if self.flushed:
            self._flush()

    def end(self) -> None:
        """Pass on the rest of the epoch."""
        self._flush()
        if self.history is not None:
            self.history.flush()

    def figures(self) -> dict[str, Any]:
        """Mean loss and accuracy over the samples that were shown, as they were when they were shown."""
        count = max(1, self.samples)
        return {"train_loss": self._loss / count, "train_accuracy": self._right / count}

    def _flush(self) -> None:
        if not self._pending:
            return
        names = list(self._pending[0])
        columns = {name: torch.cat([step[name] for step in self._pending]).cpu() for name in names}
        self._pending = []
        losses = columns["loss"]
        bad = columns["index"][~losses.isfinite()]
        if len(bad):
            named = ", ".join(self.keys[int(index)] for index in bad[:5])
            raise NotFinite(
                f"losses must be finite, got NaN or infinity for {len(bad)} samples ({named}); lower the rate"
            )
        self._loss += float(losses.double().sum())
        if "correct" in columns:
            self._right += float(columns["correct"].sum())
        if self.method.score == "loss" or "log_sigma" in columns:
            score = losses if self.method.score == "loss" else columns["log_sigma"]
            self.ledger.record(columns["index"], score)
        if self.history is not None:
            self.history.append(columns)
