"""How much work a detector does for an image."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tamis.detections import Detector
from tamis.models.mapped_detector import MappedDetector
from tamis.models.module_detector import ModuleDetector
from tamis.models.onnx_detector import OnnxDetector


def flops(found: nn.Module | Detector, height: int, width: int) -> int | None:
    """Floating point operations for one image, a multiply-add counted as two, as torch's counter counts them.

    It counts convolutions and matrix products and leaves out the rest, such as activations, region pooling and
    non-maximum suppression. Regions of a Faster R-CNN are those of an image of noise.

    Args:
        found: a detection module or a detector.
        height: of the image, in pixels; an ONNX file of a fixed size is counted at that size.
        width: of the image, in pixels.

    Returns:
        None where it cannot be known: a callable of the user's, an ONNX file without the package `onnx`.
    """
    if isinstance(found, nn.Module):
        return _count(found, height, width)
    if isinstance(found, ModuleDetector):
        return _count(found.module, height, width)
    if isinstance(found, MappedDetector):
        return flops(found.detector, height, width)
    return found.flops(height, width) if isinstance(found, OnnxDetector) else None


def _count(module: nn.Module, height: int, width: int) -> int:
    first = next(module.parameters(), None)
    device = None if first is None else first.device
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        # Not inference_mode, in which the counter does not see what is inside linear layers.
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(noise)
    finally:
        for each, mode in modes:
            each.training = mode
    return counter.get_total_flops()
