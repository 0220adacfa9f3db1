"""The ledger: what is known of each sample, the only state that scores, rules and samplers share."""

from typing import Any

import torch
from torch import Tensor


class Ledger:
    """Latest score and number of visits of each sample.

    It holds 8 bytes a sample; names of samples and their history over the epochs are files of the run folder
    (`tamis.history`), so that training 100 million samples needs no more than this.

    Attributes:
        score: float32 (n,) on the CPU, higher is harder, NaN = not scored yet.
        seen: int32 (n,), how often a score was recorded.
        rejected: how many scores were refused because they were not finite.
    """

    def __init__(self, size: int) -> None:
        """Start with nothing known of `size` samples.

        Raises:
            ValueError: size < 1.
        """
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size!r}")
        self.score = torch.full((size,), float("nan"))
        self.seen = torch.zeros(size, dtype=torch.int32)
        self.rejected = 0

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        return f"Ledger(size={len(self)}, scored={int((self.seen > 0).sum())}, rejected={self.rejected})"

    def record(self, index: Tensor, score: Tensor) -> Tensor:
        """Write the scores of some samples; the only writer.

        A score that is NaN or infinite leaves its sample as it was. A sample that occurs several times gets the mean
        of its finite scores, whatever their order, and one visit for each.

        Args:
            index: int32 or int64 (b,), positions in the data set.
            score: floating point (b,), higher is harder.

        Returns:
            int64 (r,), the samples whose score was refused; empty as a rule.

        Raises:
            TypeError: index is not of an integer type, or score not of a floating-point type.
            ValueError: the two are not (b,) and (b,); for one loss per sample pass reduction="none".
            IndexError: an index outside [0, n).
        """
        index, score = self._checked(index, score)
        finite = score.isfinite()
        refused = index[~finite]
        if len(refused):
            index, score = index[finite], score[finite]
            self.rejected += len(refused)
        samples, place, count = index.unique(return_inverse=True, return_counts=True)
        if len(samples) == len(index):
            self.score[index] = score
            self.seen[index] += 1
        else:
            # Sorted before summing, so that the mean does not depend on the order in the batch.
            order = torch.argsort(score, stable=True)
            total = torch.zeros(len(samples), dtype=torch.float64)
            total.index_add_(0, place[order], score[order].double())
            self.score[samples] = (total / count).float()
            self.seen[samples] += count.int()
        return refused

    def _checked(self, index: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        if index.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"index must be int64 or int32, got {index.dtype}; indices do not survive floats")
        if not score.dtype.is_floating_point:
            raise TypeError(f"score must be of a floating-point type, got {score.dtype}")
        if index.ndim != 1 or score.shape != index.shape:
            raise ValueError(
                f"score must hold one number for each index, got shapes {tuple(score.shape)} and "
                f'{tuple(index.shape)}; pass losses that were computed with reduction="none"'
            )
        index, score = index.detach().cpu().long(), score.detach().cpu().float()
        outside = (index < 0) | (index >= len(self))
        if outside.any():
            raise IndexError(f"index must be in [0, {len(self)}), got {int(index[outside][0])}")
        return index, score

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on: two tensors and a number."""
        return {"score": self.score, "seen": self.seen, "rejected": self.rejected}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state.

        Raises:
            ValueError: it belongs to a data set of another size.
        """
        if len(state["score"]) != len(self):
            raise ValueError(f"ledger must hold {len(self)} samples, got a state of {len(state['score'])}")
        self.score.copy_(state["score"])
        self.seen.copy_(state["seen"])
        self.rejected = int(state["rejected"])
