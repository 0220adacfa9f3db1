"""Classification: what the loss of a sample is, and how a model is judged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tamis.batch import Batch
from tamis.scores import margin
from tamis.temperature import DataParameters

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Classification:
    """Softmax cross-entropy, with data parameters if there are any.

    Attributes:
        metric: what `evaluate` is compared by.
        lower_is_better: whether the best is the lowest.
    """

    metric: str = "accuracy"
    lower_is_better: bool = False

    def losses(
        self, model: Forward, batch: Batch, temperature: DataParameters | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss per sample, and what the history keeps of each.

        Args:
            model: maps inputs to logits (b, k).
            batch: inputs (b, ...), labels int64 (b,).
            temperature: divides the logits before the loss; the other columns are of the plain logits.

        Returns:
            float32 (b,), with gradients; and detached columns (b,): loss (without temperature), margin,
            correct, predicted.
        """
        logits = model(batch.inputs).float()
        scaled = logits if temperature is None else temperature(logits, batch.targets, batch.index)
        losses = F.cross_entropy(scaled, batch.targets, reduction="none")
        plain = logits.detach()
        predicted = plain.argmax(1)
        columns = {
            "loss": losses.detach() if temperature is None else F.cross_entropy(plain, batch.targets, reduction="none"),
            "margin": margin(plain, batch.targets),
            "correct": predicted == batch.targets,
            "predicted": predicted.int(),
        }
        return losses, columns

    @torch.inference_mode()
    def evaluate(self, model: Forward, batches: Iterable[Batch]) -> dict[str, float]:
        """Accuracy in [0, 1] and mean cross-entropy over all samples; the model's mode is left to the caller."""
        right, loss, count = 0, 0.0, 0
        for logits, labels in predictions(model, batches):
            right += int((logits.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
        return {"accuracy": right / max(1, count), "loss": loss / max(1, count)}


def predictions(model: Forward, batches: Iterable[Batch]) -> Iterable[tuple[Tensor, Tensor]]:
    """Float32 logits (b, k) and labels int64 (b,) of each batch, without gradients."""
    for batch in batches:
        with torch.inference_mode():
            logits = model(batch.inputs).float()
        yield logits, batch.targets
