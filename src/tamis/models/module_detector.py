"""A detection module of torch as a detector of uint8 images."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from tamis.detections import Detections

_AMP = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class ModuleDetector:
    """Gives a detection module uint8 images, in parts of a batch, on its device.

    The module is moved to the device and put into evaluation mode at every call; it is not copied, so that a module
    in training can be asked between two epochs.

    Args:
        module: float (b, 3, h, w) in [0, 1] -> b `Detections` in pixels of its inputs, the most confident first.
        class_names: what its labels are positions in.
        device: where it runs.
        amp: precision of the forward pass: "none", "bf16" or "fp16" (autocast).
        min_confidence: boxes below it are left out.
        batch_size: most images in a forward pass.

    Raises:
        ValueError: an unknown precision, or as many names as the module has no classes.
    """

    def __init__(
        self,
        module: nn.Module,
        class_names: Sequence[str],
        device: torch.device | str = "cpu",
        amp: str = "none",
        *,
        min_confidence: float = 0.01,
        batch_size: int = 16,
    ) -> None:
        if amp not in _AMP:
            raise ValueError(f"amp must be one of {', '.join(_AMP)}, got {amp!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
        classes = getattr(module, "classes", len(class_names))
        if classes != len(class_names):
            raise ValueError(
                f"class_names must be one for each of the {classes} classes of the detector, got {len(class_names)}"
            )
        self.module = module.to(device)
        self.class_names = tuple(class_names)
        self.device = torch.device(device)
        self.min_confidence = min_confidence
        self.batch_size = batch_size
        self._type = _AMP[amp]

    def __call__(self, images: Tensor) -> list[Detections]:
        """uint8 (b, 3, h, w) RGB -> b detections on the CPU, in pixels of these images."""
        self.module.eval()
        found: list[Detections] = []
        with torch.inference_mode(), self._precision():
            for part in images.split(self.batch_size):
                found += self.module(self._inputs(part))
        return [each.to("cpu").above(self.min_confidence) for each in found]

    def _inputs(self, images: Tensor) -> Tensor:
        inputs = images.to(self.device).float() / 255
        # The short number formats have fast convolutions in this order only.
        return inputs if self._type is None else inputs.contiguous(memory_format=torch.channels_last)

    def _precision(self) -> AbstractContextManager[object]:
        return nullcontext() if self._type is None else torch.autocast(self.device.type, self._type)
