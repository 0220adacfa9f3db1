"""Scores that need only the logits of a sample and its label.

All take logits (b, k) of any float type, compute in float32 and return float32 (b,). Rows never mix: a row
with a NaN logit gives NaN for that sample and leaves the others as they are. A logit of -inf (a class that is
masked out) is legal as long as it is not the label's. Nothing is detached, so each of them can also be a loss.
"""

import torch
from torch import Tensor


def check_logits(logits: Tensor, labels: Tensor | None = None) -> None:
    """Refuse what is not logits (b, k >= 2) with integer labels (b,).

    Raises:
        ValueError: a wrong shape or type. Labels outside [0, k) are left to torch, which raises on the CPU:
            looking at the values would make every call wait for the accelerator.
    """
    if logits.ndim != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise ValueError(
            f"logits must be floats (samples, classes) with at least 2 classes, "
            f"got {logits.dtype} {tuple(logits.shape)}; give one row of logits per sample"
        )
    if labels is None:
        return
    if labels.shape != logits.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels must be integers ({logits.shape[0]},), got {labels.dtype} {tuple(labels.shape)}; "
            f"give one class index per row of logits"
        )


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of each sample, -log softmax(z)_y, in [0, inf).

    Args:
        logits: float (b, k).
        labels: integers (b,) in [0, k).

    Returns:
        float32 (b,).

    Raises:
        ValueError: wrong shapes.
    """
    check_logits(logits, labels)
    return -logits.float().log_softmax(1).gather(1, labels.long()[:, None])[:, 0]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The label's logit minus the largest other one: z_y - max_{j != y} z_j. *Lower* is harder.

    Its mean over the epochs of a training is the area under the margin, AUM (Pleiss et al. 2020, section 3).

    Args:
        logits: float (b, k).
        labels: integers (b,) in [0, k).

    Returns:
        float32 (b,), above 0 where the label is predicted.

    Raises:
        ValueError: wrong shapes.
    """
    check_logits(logits, labels)
    values, column = logits.float(), labels.long()[:, None]
    return values.gather(1, column)[:, 0] - values.scatter(1, column, -torch.inf).amax(1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax in nats, -Σ_j p_j log p_j, in [0, log k]; 0 log 0 = 0.

    It does not see the label.

    Args:
        logits: float (b, k).

    Returns:
        float32 (b,).

    Raises:
        ValueError: wrong shapes.
    """
    check_logits(logits)
    return torch.special.entr(logits.float().softmax(1)).sum(1)


def el2n(logits: Tensor, labels: Tensor) -> Tensor:
    """Length of the error vector, ||softmax(z) - onehot(y)||_2, in [0, √2].

    EL2N (Paul et al. 2021, Definition 2.3) is the mean of this norm over several models: see `average`.

    Args:
        logits: float (b, k).
        labels: integers (b,) in [0, k).

    Returns:
        float32 (b,).

    Raises:
        ValueError: wrong shapes.
    """
    check_logits(logits, labels)
    column = labels.long()[:, None]
    probability = logits.float().softmax(1)
    return probability.scatter_add(1, column, -torch.ones_like(probability[:, :1])).norm(dim=1)
