"""Multi-label classification: several classes at once, each a decision of its own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tamis.batch import Batch
from tamis.temperature import DataParameters

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MultiLabel:
    """Binary cross-entropy, the mean over the classes, with data parameters if there are any.

    The mean, so that a loss is of the size of one decision however many classes there are, and the rates of sigma that
    suit softmax suit it too.

    Attributes:
        metric: what `evaluate` is compared by.
        lower_is_better: whether the best is the lowest.
    """

    metric: str = "map"
    lower_is_better: bool = False

    def losses(
        self, model: Forward, batch: Batch, temperature: DataParameters | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss per sample, and what the history keeps of each.

        Args:
            model: maps inputs to logits (b, c).
            batch: inputs (b, ...), targets float (b, c), 1 where a class is there, else 0.
            temperature: divides the logits before the loss, see `DataParameters.multi_label`.

        Returns:
            float32 (b,), with gradients; and a detached column (b,): loss (without temperature).

        Raises:
            ValueError: targets that are not 0 or 1, or of another shape than the logits.
        """
        logits, targets = _decisions(model, batch)
        scaled = logits if temperature is None else temperature.multi_label(logits, batch.index)
        losses = _cross_entropy(scaled, targets)
        return losses, {"loss": losses.detach() if temperature is None else _cross_entropy(logits.detach(), targets)}

    def evaluate(self, model: Forward, batches: Iterable[Batch]) -> dict[str, float]:
        """Figures over all samples; the model's mode is left to the caller.

        Logits and targets of all samples are held on the CPU: 8 bytes for each sample and class.

        Returns:
            map: mean over the classes of `average_precision`, those that are nowhere left out; loss, the mean over the
            samples. NaN where there is nothing to take a mean of, and where a logit is.
        """
        found = []
        for batch in batches:
            if len(batch):
                with torch.inference_mode():
                    found.append([each.cpu() for each in _decisions(model, batch)])
        if not found:
            return {"map": float("nan"), "loss": float("nan")}
        logits, targets = (torch.cat(columns) for columns in zip(*found, strict=True))
        there = targets.any(0)
        precision = average_precision(logits[:, there], targets[:, there])
        return {"map": precision.mean().item(), "loss": _cross_entropy(logits, targets).double().mean().item()}


def average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """Average precision of each class: the mean, over the samples that have it, of the precision down to their score.

    Samples with one score are taken together, so that their order plays no part; nothing is interpolated. This is
    what scikit-learn calls so.

    Args:
        scores: float (n, c), higher = rather there.
        targets: (n, c), 1 or 0.

    Returns:
        float64 (c,), in (0, 1]; NaN for a class that is nowhere, and for one with a score that is NaN.
    """
    columns = [_precision(*pair) for pair in zip(scores.unbind(1), targets.bool().unbind(1), strict=True)]
    return torch.stack(columns) if columns else torch.zeros(0, dtype=torch.float64)


def _precision(scores: Tensor, there: Tensor) -> Tensor:
    if scores.isnan().any():
        return torch.tensor(torch.nan, dtype=torch.float64)
    scores, order = scores.sort(descending=True)
    _, ties = scores.unique_consecutive(return_counts=True)
    last = ties.cumsum(0) - 1  # of the samples with one score
    hits = there[order].cumsum(0)[last].double()
    return (hits.diff(prepend=hits.new_zeros(1)) * hits / (last + 1)).sum() / there.sum()


def _decisions(model: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits and targets, float32 (b, c)."""
    logits, targets = model(batch.inputs).float(), batch.targets
    if targets.ndim != 2 or targets.shape != logits.shape or not targets.shape[1]:
        raise ValueError(
            f"targets must be (b, c) as the logits {tuple(logits.shape)}, got {tuple(targets.shape)}; "
            "give a column for each class"
        )
    if not ((targets == 0) | (targets == 1)).all():
        raise ValueError("targets must be 0 or 1, got other numbers; give 1 where a class is there, else 0")
    return logits, targets.float()


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
