"""What training the student on one image costs: measured on a copy of it, for the costs of a cull."""

import copy
from collections.abc import Sequence
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from tamis.culling.costs import Step
from tamis.detections import Detections, Detector

_STEPS = 3
_FORWARD_AND_BACKWARD = 3  # times the operations of the forward pass: the usual count


def training_step(
    student: Detector, images: Tensor, labels: Sequence[Detections], flops: int | None, epochs: int
) -> Step | None:
    """Train a copy of a detector's module for a few steps on labelled images, and throw it away.

    Args:
        student: None comes back if there is no module of torch in it.
        images: uint8 (b, 3, h, w).
        labels: b detections.
        flops: of a forward pass over one image; None = unknown.
        epochs: of the training that is reckoned with.
    """
    inner = getattr(student, "detector", student)
    module = getattr(inner, "module", None)
    if not isinstance(module, nn.Module):
        return None
    device = next(module.parameters()).device
    model = copy.deepcopy(module).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    inputs, targets = images.to(device).float() / 255, padded(labels).to(device)
    seconds = []
    for _ in range(1 + _STEPS):
        began = perf_counter()
        optimizer.zero_grad()
        model(inputs, targets).mean().backward()
        optimizer.step()
        float(next(iter(model.parameters())).detach().flatten()[0])  # waits for the device
        seconds.append(perf_counter() - began)
    each = median(seconds[1:]) / len(images)
    return Step(each, None if flops is None else _FORWARD_AND_BACKWARD * flops, epochs)


def padded(labels: Sequence[Detections]) -> Tensor:
    """Boxes and labels of b images as targets of a detection module, float32 (b, k, 5), padded with label -1."""
    most = max((len(each) for each in labels), default=0)
    targets = torch.zeros(len(labels), most, 5)
    targets[:, :, 4] = -1
    for row, each in zip(targets, labels, strict=True):
        row[: len(each), :4], row[: len(each), 4] = each.boxes, each.labels.float()
    return targets
