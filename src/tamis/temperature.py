"""Data parameters: a learned temperature for each class and each sample (Saxena, Tuzel, DeCoste 2019).

The rows live in ordinary parameters; gathering them gives sparse gradients, and `LazySGD` touches nothing but the
rows of the batch. A step costs the same for 50 thousand and for 100 million samples.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn


class _Scale(torch.autograd.Function):
    """Logits / sigma in one node: (logits, table, index, [table, index]), sigma = the sum of exp(table[index]).

    The gradient of a table is sparse, with an entry for each member of the batch: it is not coalesced, since the
    published weight decay counts members.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, *pairs: Tensor) -> Tensor:
        tables, indices = pairs[::2], pairs[1::2]
        parts = [table.index_select(0, index).exp_() for table, index in zip(tables, indices, strict=True)]
        inverse = (parts[0] if len(parts) == 1 else parts[0] + parts[1]).reciprocal_().to(logits.device).unsqueeze_(1)
        scaled = logits * inverse
        # One part is its own sigma: nothing to share the gradient by.
        ctx.save_for_backward(scaled, inverse, *indices, *(parts if len(parts) > 1 else ()))
        ctx.sizes = [len(table) for table in tables]
        return scaled

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled, inverse, *rest = ctx.saved_tensors
        indices, parts = rest[: len(ctx.sizes)], rest[len(ctx.sizes) :]
        # Eqs 4 and 5 for log sigma: d(logits / sigma) / d(log sigma_t) = -(logits / sigma) * sigma_t / sigma.
        # Not vecdot, which autocast would take in half precision where `backward` is called inside it.
        pull = (grad[0] * scaled).sum(1).neg_()
        gradients: list[Tensor | None] = [grad[0] * inverse]
        for place, (index, size) in enumerate(zip(indices, ctx.sizes, strict=True)):
            own = pull.to(index.device)
            own = own * parts[place] * inverse.squeeze(1).to(index.device) if parts else own
            shape = index.unsqueeze(0), own, (size,)
            gradients += [torch.sparse_coo_tensor(*shape, check_invariants=False, is_coalesced=False), None]
        return tuple(gradients)


class DataParameters(nn.Module):
    """Divides the logits of each sample by its sigma (Eq. 1 as Eqs 3 to 5 need it: all logits by the target's sigma).

    With `classes`, sigma is that of the target class; with `samples`, that of the sample; with both it is their sum
    (section 2.2). Log sigma is what is learned (section 3.1). Sigma is not used at inference. The rows may stay on the
    CPU while the model is on a GPU.

    Attributes:
        log_sigma_class: float32 (k,), or None.
        log_sigma_instance: float32 (n,), or None.
    """

    log_sigma_class: nn.Parameter | None
    log_sigma_instance: nn.Parameter | None

    def __init__(
        self,
        *,
        classes: int | None = None,
        samples: int | None = None,
        class_start: float = 1.0,
        instance_start: float | None = None,
    ) -> None:
        """Make the rows.

        Args:
            classes: number of classes k, for class parameters.
            samples: number of samples n, for instance parameters.
            class_start: sigma that each class starts with.
            instance_start: sigma that each sample starts with; by default 1, and 0.001 beside classes, as printed.

        Raises:
            ValueError: neither classes nor samples, a size below 1, or a start that is not above 0.
        """
        super().__init__()
        if classes is None and samples is None:
            raise ValueError("data parameters need classes, samples or both, got neither")
        if instance_start is None:
            instance_start = 1.0 if classes is None else 0.001
        self.log_sigma_class = self._rows("classes", classes, class_start)
        self.log_sigma_instance = self._rows("samples", samples, instance_start)

    @staticmethod
    def _rows(name: str, size: int | None, start: float) -> nn.Parameter | None:
        if size is None:
            return None
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size!r}")
        if not start > 0:
            raise ValueError(f"the start of {name} must be above 0, got {start!r}")
        return nn.Parameter(torch.full((size,), math.log(start)))

    def sigma(self, label: Tensor, index: Tensor) -> Tensor:
        """Sigma of some samples, with gradients to their rows.

        Args:
            label: int64 (b,), target classes; ignored without class parameters.
            index: int64 (b,), positions in the data set; ignored without instance parameters.

        Returns:
            float32 (b,), above 0.
        """
        return self.forward(torch.ones(len(index), 1), label, index).squeeze(1).reciprocal()

    def forward(self, logits: Tensor, label: Tensor, index: Tensor) -> Tensor:
        """Logits divided by sigma, for any loss on logits.

        Args:
            logits: (b, k), any floating-point type.
            label: int64 (b,), target classes.
            index: int64 (b,), positions in the data set.

        Returns:
            float32 (b, k).
        """
        pairs = []
        if self.log_sigma_class is not None:
            pairs += [self.log_sigma_class, label.to(self.log_sigma_class.device)]
        if self.log_sigma_instance is not None:
            pairs += [self.log_sigma_instance, index.to(self.log_sigma_instance.device)]
        return _Scale.apply(logits.float(), *pairs)

    def extra_repr(self) -> str:
        """Sizes."""
        tables = {"classes": self.log_sigma_class, "samples": self.log_sigma_instance}
        return ", ".join(f"{name}={len(table)}" for name, table in tables.items() if table is not None)


class LazySGD(torch.optim.Optimizer):
    """SGD for sparse gradients that touches only the rows they name, whatever the size of the table.

    For each row i present in the gradient, with its entries g (one for each member of the batch):
    v_i <- momentum * v_i + sum(g) + decay, p_i <- clamp(p_i - lr * v_i). A row is present if its *index* is,
    also where the gradient is exactly zero; all others keep value and momentum (section 3.1). The first touch
    of a row sets its momentum to the gradient. Entries of one row accumulate.

    Memory: 4 bytes a row for the momentum, 8 with the float32 row itself.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.1,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        decay: Literal["per_member", "per_row"] = "per_member",
        clamp: tuple[float, float] | Literal["published"] | None = None,
    ) -> None:
        """Set up; every option can also be given for a parameter group.

        Args:
            params: parameters (n, ...) with sparse gradients, or groups of them.
            lr: learning rate; schedulers of torch attach as to any optimiser.
            momentum: in [0, 1).
            weight_decay: l2 decay of the row's value towards 0 (for log sigma: of sigma towards 1).
            decay: "per_member" decays a row once for each entry of the gradient, as the published code does;
                "per_row" once a step.
            clamp: (low, high) for touched rows after the step, in the parameter's own unit (log sigma); "published"
                clamps all rows to log(1/20), log(20) after each step, O(n); None does not clamp.

        Raises:
            ValueError: a value outside its range.
        """
        options = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "decay": decay,
            "clamp": clamp,
        }
        super().__init__(params, options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; the options of the group are checked.

        Raises:
            ValueError: a value outside its range.
        """
        _check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(  # pyright: ignore[reportIncompatibleMethodOverride]  (torch declares two overloads)
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Update the rows named by the gradients.

        Raises:
            TypeError: a gradient is dense.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, group)
        return loss

    def _update(self, table: Tensor, group: dict[str, Any]) -> None:
        grad = table.grad
        if grad is None or not grad.is_sparse:
            raise TypeError("LazySGD needs sparse gradients; gather rows with DataParameters or embedding(sparse=True)")
        index, entries = grad._indices()[0], grad._values()
        rows = table.index_select(0, index)
        weight_decay = group["weight_decay"]
        if weight_decay and group["decay"] == "per_member":
            entries = entries.add(rows, alpha=weight_decay)
        velocity = self._velocity(table)
        # A repeated row is first set, each time to the same number, and then receives all its entries: no sorting.
        start = velocity.index_select(0, index).mul_(group["momentum"])
        if weight_decay and group["decay"] == "per_row":
            start.add_(rows, alpha=weight_decay)
        velocity.index_copy_(0, index, start).index_add_(0, index, entries)
        rows.add_(velocity.index_select(0, index), alpha=-group["lr"])
        if isinstance(group["clamp"], tuple | list):
            rows.clamp_(*group["clamp"])
        table.index_copy_(0, index, rows)
        if group["clamp"] == "published":
            table.clamp_(-math.log(20), math.log(20))

    def _velocity(self, table: Tensor) -> Tensor:
        if "momentum" not in self.state[table]:
            self.state[table]["momentum"] = torch.zeros_like(table, requires_grad=False)
        return self.state[table]["momentum"]


def _check(group: dict[str, Any]) -> None:
    lr, momentum, weight_decay = group["lr"], group["momentum"], group["weight_decay"]
    decay, clamp = group["decay"], group["clamp"]
    if not lr >= 0:
        raise ValueError(f"lr must be at least 0, got {lr!r}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum!r}")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay!r}")
    if decay not in ("per_member", "per_row"):
        raise ValueError(f'decay must be "per_member" or "per_row", got {decay!r}')
    pair = isinstance(clamp, tuple | list) and len(clamp) == 2 and clamp[0] <= clamp[1]
    if not (clamp is None or clamp == "published" or pair):
        raise ValueError(f'clamp must be (low, high), "published" or None, got {clamp!r}')
