"""What the detection modules around torchvision share: pixels in, truth in, boxes out."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d, clip_boxes_to_image

from tamis.detections import Detections

MIN_CONFIDENCE = 0.01
MOST = 100  # boxes of an image
_LEAST_SIDE = 0.1  # pixels; a box without area has IoU 0 with all anchors, and would be matched to all of them


class Pixels(nn.Module):
    """Normalises images and pads them at the right and at the bottom with the mean colour.

    Args:
        mean: of each channel.
        deviation: of each channel.
        multiple: sides become multiples of it.
        least: sides become at least as long.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: list[float], deviation: list[float], *, multiple: int = 1, least: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1), persistent=False)
        self.multiple = multiple
        self.least = least

    def forward(self, inputs: Tensor) -> ImageList:
        """Float (b, 3, h, w) in [0, 1] -> the padded images, and the sizes before."""
        height, width = inputs.shape[-2:]
        normal = (inputs - self.mean) / self.deviation
        normal = F.pad(normal, (0, self._padded(width) - width, 0, self._padded(height) - height))
        return ImageList(normal, [(height, width)] * len(inputs))

    def _padded(self, side: int) -> int:
        return -(-max(side, self.least) // self.multiple) * self.multiple


class Truth(NamedTuple):
    """The boxes to find on a batch of images; rows of the targets.

    Attributes:
        boxes: float32 (b, k, 4), cut off at the border.
        labels: int64 (b, k) from 1, 0 being torchvision's background.
        good: bool (b, k), False where a row does not count.
    """

    boxes: Tensor
    labels: Tensor
    good: Tensor

    def images(self) -> list[dict[str, Tensor]]:
        """Of each image the n rows that count, as torchvision wants them: boxes (n, 4), labels (n,); and rows (n,)."""
        chosen = [good.nonzero()[:, 0] for good in self.good]
        columns = zip(self.boxes, self.labels, chosen, strict=True)
        return [{"boxes": boxes[rows], "labels": labels[rows], "rows": rows} for boxes, labels, rows in columns]


def truth_of(targets: Tensor, classes: int, size: tuple[int, int]) -> Truth:
    """The boxes to find.

    Args:
        targets: float (b, k, 5): x1, y1, x2, y2 in pixels, and the label; rows of label -1 are padding.
        classes: number of classes.
        size: height and width of the images; what lies outside is cut off.

    Returns:
        The rows in their order. One does not count if it is padding, nothing of its box lies inside, a side is below
        0.1 pixels, or a coordinate is not finite.

    Raises:
        ValueError: targets of another shape, or a label that is no class.
    """
    if targets.dim() != 3 or targets.shape[-1] != 5:
        raise ValueError(f"targets must be (b, k, 5), got {tuple(targets.shape)}; give x1, y1, x2, y2, label")
    boxes, labels = targets[..., :4].float(), targets[..., 4].long()
    if bool((labels >= classes).any()):
        raise ValueError(f"labels must be in [0, {classes}), got {int(labels.max())}; build it for that many classes")
    boxes = clip_boxes_to_image(boxes.reshape(-1, 4), size).reshape(boxes.shape)
    sides = boxes[..., 2:] - boxes[..., :2]
    good = (labels >= 0) & (sides >= _LEAST_SIDE).all(-1) & targets.isfinite().all(-1)
    return Truth(boxes, labels + 1, good)


def levels_of(features: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    """Float32 features by level; a backbone of torchvision with only one does not name it."""
    named = {"0": features} if isinstance(features, Tensor) else features
    return {name: level.float() for name, level in named.items()}


def detections_of(boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
    """What torchvision found on an image, without its background of label 0 and what was cut off at the border."""
    real = (labels > 0) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    return Detections(boxes[real].float(), scores[real].float(), labels[real] - 1)


@torch.no_grad()
def calibrate(module: nn.Module, side: int) -> None:
    """Give every frozen batch norm the mean and variance that it meets on four random images, first layers first.

    A batch norm that never learns and starts as the identity leaves a fresh deep network without any normalisation.

    Args:
        module: a detection module with fresh weights.
        side: of the random images, in pixels.
    """

    def take(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), unbiased=False)
        norm.load_state_dict({"running_mean": mean, "running_var": variance.clamp(min=1e-3)}, strict=False)

    norms = [each for each in module.modules() if isinstance(each, FrozenBatchNorm2d)]
    hooks = [each.register_forward_pre_hook(take) for each in norms]
    patches = F.interpolate(torch.rand(4, 3, 8, 8), (side, side), mode="bilinear")
    try:
        if norms:
            module((patches + 0.1 * torch.randn(4, 3, side, side)).clamp(0, 1))
    finally:
        for hook in hooks:
            hook.remove()
