"""Tables of log sigma, a row for each class, sample or box: made without touching the rows, gathered sparsely."""

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros. NumPy asks Linux for huge pages, torch does not: a few rows of many are then slower to reach."""
    memory = np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)
    return torch.from_numpy(memory).view(dtype).view(shape).to(device)


def log_sigma_table(name: str, size: int | None, start: float) -> nn.Parameter | None:
    """A table float32 (size,) of the log of a start sigma; None for no size.

    Raises:
        ValueError: a size below 1, or a start that is not above 0.
    """
    if size is None:
        return None
    if size < 1:
        raise ValueError(f"{name} must be at least 1, got {size!r}")
    if not start > 0:
        raise ValueError(f"the start of {name} must be above 0, got {start!r}")
    table = zeros((size,), torch.float32, torch.get_default_device())
    return nn.Parameter(table if start == 1 else table.fill_(math.log(start)))


def gathered(class_table: Tensor | None, instance_table: Tensor | None, label: Tensor, row: Tensor) -> Tensor:
    """Log sigma (m,) of some members: of their class, of their own, or of the sum of both sigmas (section 2.2).

    The gradient of a table is sparse, with an entry for each member of the batch: it is not coalesced, since the
    published weight decay counts members.

    Args:
        class_table: float32 (k,), or None.
        instance_table: float32 (n,), or None; not both are.
        label: int64 (m,), classes.
        row: int64 (m,), rows of `instance_table`.
    """
    of_class = None if class_table is None else _gather(class_table, label)
    if instance_table is None:
        return cast(Tensor, of_class)
    of_instance = _gather(instance_table, row)
    return of_instance if of_class is None else torch.logaddexp(of_class, of_instance)


def _gather(table: Tensor, index: Tensor) -> Tensor:
    return table.gather(0, index.to(table.device), sparse_grad=True)
