"""Data parameters: a learned temperature for each class and each sample (Saxena, Tuzel, DeCoste 2019).

The rows live in ordinary parameters; gathering them gives sparse gradients, and `LazySGD` touches nothing but the
rows of the batch. A step costs the same for 50 thousand and for 100 million samples.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import profiler
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from tamis.rows import gathered, log_sigma_table, zeros


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
        self.log_sigma_class = log_sigma_table("classes", classes, class_start)
        self.log_sigma_instance = log_sigma_table("samples", samples, instance_start)

    def sigma(self, label: Tensor, index: Tensor) -> Tensor:
        """Sigma of some samples, with gradients to their rows.

        Args:
            label: int64 (b,), target classes; ignored without class parameters.
            index: int64 (b,), positions in the data set; ignored without instance parameters.

        Returns:
            float32 (b,), above 0.
        """
        return self._log_sigma(label, index).exp()

    def forward(self, logits: Tensor, label: Tensor, index: Tensor) -> Tensor:
        """Logits divided by sigma, for any loss on logits.

        Args:
            logits: (b, k), any floating-point type.
            label: int64 (b,), target classes.
            index: int64 (b,), positions in the data set.

        Returns:
            float32 (b, k).

        Raises:
            ValueError: not one class or position for each of the b samples.
        """
        for name, rows in (("label", self.log_sigma_class), ("index", self.log_sigma_instance)):
            given = label if name == "label" else index
            if rows is not None and given.shape != logits.shape[:1]:
                raise ValueError(f"{name} must name a row for each of {len(logits)} samples, got {tuple(given.shape)}")
        inverse = self._log_sigma(label, index).to(logits.device).neg().exp()
        return logits.float() * inverse.unsqueeze(1)

    def multi_label(self, logits: Tensor, index: Tensor) -> Tensor:
        """Logits of independent binary decisions, divided by the sigma of the class, the sample, or their sum.

        A decision is Eq. 1 with the two logits z and 0, so Eqs 3 to 5 hold for each; but every class is in every
        sample, by its own sigma, and no other plays a part. The row of a class has one entry in the gradient, whatever
        the batch.

        Args:
            logits: (b, c), any floating-point type.
            index: int64 (b,), positions in the data set; ignored without instance parameters.

        Returns:
            float32 (b, c), for the sigmoid or the binary cross-entropy.

        Raises:
            ValueError: not one logit for each of the classes, or not one position for each of the b samples.
        """
        class_, instance = self.log_sigma_class, self.log_sigma_instance
        log_sigma = []
        if class_ is not None:
            if logits.shape[1:] != class_.shape:
                raise ValueError(f"logits must be (b, {len(class_)}), one for each class, got {tuple(logits.shape)}")
            every = torch.arange(len(class_), device=class_.device)
            log_sigma.append(gathered(class_, None, every, every).to(logits.device).unsqueeze(0))
        if instance is not None:
            if index.shape != logits.shape[:1]:
                raise ValueError(f"index must name a row for each of {len(logits)} samples, got {tuple(index.shape)}")
            log_sigma.append(gathered(None, instance, index, index).to(logits.device).unsqueeze(1))
        total = torch.logaddexp(*log_sigma) if len(log_sigma) == 2 else log_sigma[0]
        return logits.float() * total.neg().exp()

    def _log_sigma(self, label: Tensor, index: Tensor) -> Tensor:
        return gathered(self.log_sigma_class, self.log_sigma_instance, label, index)

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

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero.

        Args:
            set_to_none: as in torch.
        """
        if not set_to_none:
            return super().zero_grad(set_to_none=False)
        for group in self.param_groups:
            for table in group["params"]:
                table.grad = None

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]  (torch declares two overloads)
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Update the rows named by the gradients.

        Raises:
            TypeError: a gradient is dense.
        """
        watched = (
            profiler._is_profiler_enabled
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
        )
        return self._watched_step(closure) if watched else self._step(closure)

    # torch would wrap every step for profilers and hooks, which costs as much as the rest of the step does.
    step.hooked = True  # pyright: ignore[reportFunctionMemberAccess]

    def _step(self, closure: Callable[[], float] | None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, table.grad, group)
        return loss

    _watched_step = torch.optim.Optimizer.profile_hook_step(_step)

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if not grad.is_sparse:
            raise TypeError("LazySGD needs sparse gradients; gather rows with DataParameters or embedding(sparse=True)")
        state, weight_decay, clamp = self.state[parameter], group["weight_decay"], group["clamp"]
        if "momentum" not in state:
            state["momentum"] = zeros(parameter.shape, parameter.dtype, parameter.device)
        table, velocity = parameter.detach(), state["momentum"]
        index, entries = grad._indices().squeeze(0), grad._values()
        rows, start = table.index_select(0, index), velocity.index_select(0, index)
        start.add_(start, alpha=group["momentum"] - 1)  # `mul_` would make a tensor of the number first
        if weight_decay and group["decay"] == "per_member":
            entries = entries.add(rows, alpha=weight_decay)
        elif weight_decay:
            start.add_(rows, alpha=weight_decay)
        # A repeated row is first set, each time to the same number, and then receives all its entries: no sorting.
        velocity.index_copy_(0, index, start).index_add_(0, index, entries)
        rows.add_(velocity.index_select(0, index), alpha=-group["lr"])
        if clamp is not None and clamp != "published":
            rows.clamp_(*clamp)
        table.index_copy_(0, index, rows)
        if clamp == "published":
            table.clamp_(-math.log(20), math.log(20))


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
