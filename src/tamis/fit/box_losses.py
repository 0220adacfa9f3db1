"""What an epoch notes of each box: its part of its image's loss, when it was shown last."""

import torch
from torch import Tensor


class BoxLosses:
    """The latest loss of every box in one epoch.

    Attributes:
        loss: float32 (m,) on the CPU, by row; NaN = not shown, or not finite.
    """

    def __init__(self, starts: Tensor) -> None:
        """Start an epoch; `starts` as in `BoxParameters`."""
        self.starts = starts
        self.loss = torch.full((int(starts[-1]),), torch.nan)

    def see(self, index: Tensor, losses: Tensor) -> None:
        """Note a step.

        Args:
            index: int64 (b,), positions of the images.
            losses: float32 (b, k), of the first k boxes of each; NaN where there is none.
        """
        rows = self.starts[index, None] + torch.arange(losses.shape[1])
        known = losses.isfinite()
        self.loss[rows[known]] = losses[known]

    def state_dict(self) -> dict[str, Tensor]:
        """The place in the epoch."""
        return {"loss": self.loss}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on in the middle of an epoch."""
        self.loss = state["loss"].clone()
