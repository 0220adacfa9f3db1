"""The processes of one training (`torchrun`): what they tell each other. Alone, all of it is nothing.

All processes have the same model, ledger, plan and data parameters. Of each step they exchange what is needed to keep
them the same: an index and a few numbers for each sample of the batch, whatever the size of the data set.
"""

import json
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# A process may wait for as long as rank 0 judges a large validation set, or opens a large data set.
PATIENCE = timedelta(hours=4)


class _Summed(torch.autograd.Function):
    """What every process gets depends on what each gave: the gradients of all add up."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _added(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _added(gradient)


def _added(values: Tensor) -> Tensor:
    together = values.detach().clone()
    dist.all_reduce(together)
    return together


class Processes:
    """The process group that torch knows of, or this process alone.

    Attributes:
        rank: of this process; 0 is the one that writes files.
        size: how many there are.
    """

    def __init__(self) -> None:
        """Look whether a process group was initialised."""
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
        # Words are exchanged on the CPU, so that they never wait for the work of a GPU.
        self._words: Any = dist.new_group(backend="gloo", timeout=PATIENCE) if together else None

    def distributed(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model with gradients that are averaged over the processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def agree(self, word: int) -> int:
        """The largest of the numbers that the processes call this with."""
        if self.size == 1:
            return word
        together = torch.tensor(word)
        dist.all_reduce(together, dist.ReduceOp.MAX, group=self._words)
        return int(together)

    def total(self, number: int) -> int:
        """The sum of the numbers that the processes call this with."""
        together = torch.tensor(number)
        dist.all_reduce(together, group=self._words)
        return int(together)

    def least(self, number: int) -> int:
        """The smallest of the numbers that the processes call this with."""
        return -self.agree(-number)

    def summed(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes, with gradients; all of them pass it back together, too."""
        return values if self.size == 1 else cast(Tensor, _Summed.apply(values))

    def share(self, value: Any) -> Any:
        """The plain data of rank 0; what the others pass is not looked at."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.rank == 0 else b""
        length = torch.tensor(len(text))
        dist.broadcast(length, 0, group=self._words)
        content = torch.frombuffer(bytearray(text or int(length)), dtype=torch.uint8)
        dist.broadcast(content, 0, group=self._words)
        return json.loads(content.numpy().tobytes())

    def same(self, values: Tensor) -> Tensor:
        """The tensor of rank 0 in every process; what the others pass gives shape and type."""
        if self.size > 1:
            dist.broadcast(values, 0, group=self._words)
        return values

    def gather(self, index: Tensor, values: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """What all processes have of a batch, in the order that one process would have it.

        Args:
            index: int64 (b,), samples or rows.
            values: float32 (b, c).
            most: the largest b of any process.

        Returns:
            int64 (B,) and float32 (B, c), the same in all processes.
        """
        if self.size == 1:
            return index, values
        own_index, own_values = index.new_full((most,), -1), values.new_zeros(most, values.shape[1])
        own_index[: len(index)], own_values[: len(index)] = index, values
        all_index = [torch.empty_like(own_index) for _ in range(self.size)]
        all_values = [torch.empty_like(own_values) for _ in range(self.size)]
        dist.all_gather(all_index, own_index)
        dist.all_gather(all_values, own_values)
        # Rank r has every size-th sample of the batch from the r-th on.
        index, values = torch.stack(all_index, 1).flatten(), torch.stack(all_values, 1).flatten(0, 1)
        return index[index >= 0], values[index >= 0]
