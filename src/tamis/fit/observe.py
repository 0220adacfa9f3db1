"""What a training notes of each sample: buffered, so that a GPU is not stopped at every step."""

from typing import Any

import torch
from torch import Tensor

from tamis.fit.box_losses import BoxLosses
from tamis.history import History
from tamis.ledger import Ledger

_STEPS = 32


class NotFinite(FloatingPointError):
    """Losses are NaN or infinite; the message names the samples."""


class Observer:
    """Passes what happened in the steps of one epoch to the ledger and to the history.

    What is not finite goes into neither the scores nor the figures; it is counted.

    Attributes:
        samples: shown so far in this epoch.
        not_finite: losses of this epoch that were NaN or infinite.
        flushed: whether the last step was one after which everything was passed on.
    """

    def __init__(self, ledger: Ledger, score: str, history: History | None, boxes: BoxLosses | None = None) -> None:
        """Note a `score` (see `Method`) for `ledger`, and the rest for `history` and `boxes` if they are there."""
        self.ledger, self.score, self.history, self.boxes = ledger, score, history, boxes
        self.samples = self.not_finite = 0
        self.flushed = False
        self._pending: list[dict[str, Tensor]] = []
        self._loss = self._right = 0.0
        self._judges = False  # whether a sample is right or wrong

    def see(self, columns: dict[str, Tensor], log_sigma: Tensor | None) -> None:
        """Note a step: columns (b,) of its samples, and their log sigma after it."""
        self._pending.append(columns | ({} if log_sigma is None else {"log_sigma": log_sigma}))
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
        """Mean loss, and accuracy if there is one, over what was shown, as it was when it was shown."""
        count = max(1, self.samples - self.not_finite)
        return {
            "train_loss": self._loss / count,
            "train_accuracy": self._right / count if self._judges else None,
            "not_finite": self.not_finite,
        }

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch; what was seen is passed on first."""
        self._flush()
        state = {"samples": self.samples, "not_finite": self.not_finite, "loss": self._loss, "right": self._right}
        state["judges"] = self._judges
        state["boxes"] = None if self.boxes is None else self.boxes.state_dict()
        return state | {"history": None if self.history is None else self.history.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in the middle of an epoch."""
        self.samples, self.not_finite = state["samples"], state["not_finite"]
        self._loss, self._right = state["loss"], state["right"]
        self._judges = state.get("judges", True)  # before there were other tasks
        if self.history is not None:
            self.history.load_state_dict(state["history"])
        if self.boxes is not None and state.get("boxes") is not None:  # not before there were boxes
            self.boxes.load_state_dict(state["boxes"])

    def _flush(self) -> None:
        if not self._pending:
            return
        for step in self._pending:
            of_boxes = step.pop("box_loss", None)
            if self.boxes is not None and of_boxes is not None:
                self.boxes.see(step["index"].cpu(), of_boxes.cpu())
        names, sizes = list(self._pending[0]), [len(step["index"]) for step in self._pending]
        columns = {name: torch.cat([step[name] for step in self._pending]).cpu() for name in names}
        self._pending = []
        losses = columns["loss"]
        finite = losses.isfinite()
        self.not_finite += int((~finite).sum())
        # Step by step: the figures must not depend on when a checkpoint makes us pass on what was seen.
        for part in losses.where(finite, 0).double().split(sizes):
            self._loss += float(part.sum())
        if "correct" in columns:
            self._judges = True
            self._right += float((columns["correct"] & finite).sum())
        if self.score != "given":
            score = columns["log_sigma"] if self.score == "log_sigma" else columns.get("score", losses)
            self.ledger.record(columns["index"], score)
        if self.history is not None:
            self.history.append(columns)
