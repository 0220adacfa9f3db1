"""GraNd: the length of a sample's own gradient (Paul et al. 2021, Definition 2.1)."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from tamis.scores.losses import check_logits, cross_entropy, el2n


def grand(features: Tensor, logits: Tensor, labels: Tensor, *, bias: bool = True) -> Tensor:
    """Norm of the gradient of the cross-entropy with respect to the last linear layer, in closed form.

    With z = Wf + c the gradient is (p - e_y) fᵀ for W and p - e_y for c, so its norm is
    ||p - e_y|| · √(||f||² + 1) (without a bias: ||p - e_y|| · ||f||). Costs no backward pass.

    Args:
        features: float (b, d), what goes into the layer.
        logits: float (b, k), what comes out of it.
        labels: integers (b,) in [0, k).
        bias: whether the layer has a bias.

    Returns:
        float32 (b,), at least 0; NaN only for samples with a NaN of their own.

    Raises:
        ValueError: wrong shapes.
    """
    check_logits(logits, labels)
    if features.ndim != 2 or len(features) != len(logits):
        raise ValueError(
            f"features must be ({len(logits)}, width), got {tuple(features.shape)}; "
            f"give the flat input of the last linear layer"
        )
    square = features.float().square().sum(1)
    return el2n(logits, labels) * (square + 1 if bias else square).sqrt()


def grand_full(model: nn.Module, inputs: Tensor, labels: Tensor, *, chunk: int = 16) -> Tensor:
    """Norm of the gradient of the cross-entropy with respect to all parameters that are trained.

    Costs a forward and a backward pass a sample, and memory for `chunk` copies of the parameters. A ranking
    for pruning rarely needs it: `grand` and `el2n` cost a forward pass.

    Args:
        model: a classifier in eval mode, (b, ...) -> logits (b, k). It is not changed.
        inputs: float (b, ...).
        labels: integers (b,) in [0, k).
        chunk: how many gradients are held at once.

    Returns:
        float32 (b,), detached, at least 0.

    Raises:
        ValueError: the model is in training mode, where batch norm mixes the samples and dropout is random;
            or it has no parameter to train.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("model must be in eval mode, got training mode; call model.eval() first")
    trained = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    if not trained:
        raise ValueError("model must have parameters that require a gradient, got none; unfreeze some")
    if not len(inputs):
        return torch.zeros(0, device=inputs.device)

    def loss(parameters: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, parameters, (sample[None],)), label[None])[0]

    def norm(sample: Tensor, label: Tensor) -> Tensor:
        gradients = grad(loss)(trained, sample, label)
        return torch.stack([each.float().square().sum() for each in gradients.values()]).sum().sqrt()

    return vmap(norm, chunk_size=chunk)(inputs, labels).detach()
