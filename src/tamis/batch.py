"""What travels from a data source to a task."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Samples on their way through the model.

    Attributes:
        index: int64 (b,), the samples' positions in the data set.
        inputs: float (b, ...), ready for the model.
        targets: (b, ...), what the task compares with; class labels are int64 (b,).
    """

    index: Tensor
    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device, *, channels_last: bool = False) -> "Batch":
        """Copy to a device; images (b, c, h, w) get the channels-last memory format if asked."""
        layout = torch.channels_last if channels_last and self.inputs.ndim == 4 else torch.preserve_format
        return Batch(
            self.index.to(device, non_blocking=True),
            self.inputs.to(device, non_blocking=True, memory_format=layout),
            self.targets.to(device, non_blocking=True),
        )
