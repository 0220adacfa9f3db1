"""What travels from a data source to a task."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples on their way through the model.

    Attributes:
        index: int64 (b,), the samples' positions in the data set.
        inputs: float (b, ...), ready for the model.
        targets: (b, ...), what the task compares with; class labels are int64 (b,).
    """

    index: Tensor
    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def part(self, first: int, last: int) -> "Batch":
        """The samples [first, last) of the batch."""
        return Batch(self.index[first:last], self.inputs[first:last], self.targets[first:last])

    def to(self, device: torch.device, *, channels_last: bool = False) -> "Batch":
        """Copy to a device; images (b, c, h, w) get the channels-last memory format if asked."""
        layout = torch.channels_last if channels_last and self.inputs.ndim == 4 else torch.preserve_format
        return Batch(
            self.index.to(device, non_blocking=True),
            self.inputs.to(device, non_blocking=True, memory_format=layout),
            self.targets.to(device, non_blocking=True),
        )
