"""Losses per image and per box of any detection module, and of torchvision's detectors as they are."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from tamis.detections import ImageLosses


def image_losses(
    module: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    sigma: Tensor | None = None,
    background: Tensor | None = None,
    regression: bool = False,
) -> ImageLosses:
    """The loss of each image, and the part of it that is due to each box, with gradients to weights and scales.

    A detector of torchvision resizes the images first, as it would itself in evaluation mode. The loss of an image is
    the sum of the losses that it gives for a batch of this image alone, whatever its mode; its mode, which decides what
    batch norm does, is left as it is, and so are its weights.

    Args:
        module: a detection module of `build_detector`; or torchvision's own SSD, RetinaNet or FasterRCNN.
        inputs: float (b, 3, h, w) in [0, 1].
        targets: float32 (b, k, 5): x1, y1, x2, y2 in pixels of the inputs and the label, -1 for padding. Labels start
            at 0, so they are torchvision's minus 1.
        sigma: float32 (b, k), above 0; the class logits of the anchors (cells, proposals) matched to a row of targets
            are divided by it (Saxena et al. 2019, section 3.3). None is 1.
        background: float32 (), above 0; divides those of all others. None is 1.
        regression: sigma also is the scale of the noise of its box: a residual r counts |r| / sigma + log sigma.

    Raises:
        ValueError: targets or scales of another shape, a label that is no class, or a detector of torchvision that
            also finds masks or keypoints.
    """
    given = {"sigma": sigma, "background": background, "parts": True, "regression": regression}
    wrapped = _wrapped(module)
    if wrapped is None:
        return module(inputs, targets, **given)
    modes = [(each, each.training) for each in module.modules()]
    look = cast(Any, module).transform
    try:
        look.training = False  # in which images of one size stay so
        return wrapped(*_resized(look, inputs, targets), **given)
    finally:
        for each, mode in modes:
            each.training = mode


def _wrapped(module: nn.Module) -> nn.Module | None:
    """A detector of torchvision as a detection module of the same weights; None for anything else."""
    from torchvision.models.detection.faster_rcnn import FasterRCNN  # slow imports
    from torchvision.models.detection.retinanet import RetinaNet
    from torchvision.models.detection.ssd import SSD

    from tamis.models.anchor_detector import AnchorDetector
    from tamis.models.region_detector import RegionDetector

    found: AnchorDetector | RegionDetector
    if isinstance(module, FasterRCNN):
        heads = cast(Any, module.roi_heads)
        if heads.has_mask() or heads.has_keypoint():
            raise ValueError(
                f"module must find boxes only, got a {type(module).__name__}; its other losses are not due to a box"
            )
        found = RegionDetector(module, heads.box_predictor.cls_score.out_features - 1)
    elif isinstance(module, SSD | RetinaNet):
        head = cast(Any, module.head).classification_head
        found = AnchorDetector(module, (head.num_columns if isinstance(module, SSD) else head.num_classes) - 1)
    else:
        return None
    found.training = module.training  # its own only: some parts may be frozen
    found.pixels.to(next(module.parameters()).device)
    return found


def _resized(look: Any, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Images and boxes at the size that a detector of torchvision works at; `look` is its transform."""
    images = torch.stack([look.resize(image)[0] for image in inputs])
    ratios = [images.shape[-1] / inputs.shape[-1], images.shape[-2] / inputs.shape[-2]] * 2
    return images, targets * targets.new_tensor([*ratios, 1.0])
