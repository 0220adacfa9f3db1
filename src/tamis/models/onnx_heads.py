"""What known detectors want to be given and what their outputs mean: images in, boxes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tamis.detections import Detections

YOLOX_STRIDES = (8, 16, 32)
_GREY = 114.0  # of the edge that YOLOX pads with
_YOLOX_OVERLAP, _FASTESTDET_OVERLAP = 0.65, 0.45  # IoU from which the less confident goes, as published
_MOST = 100

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Head:
    """What goes into a network and what comes out of it.

    Attributes:
        classes: number of classes; None where the outputs do not tell.
        prepare: uint8 images (b, 3, h, w) and the size of the input -> the input, and how many of its pixels a pixel
            of the images is wide and high.
        read: the outputs for one image, the size of the input and the least confidence -> boxes in pixels of the
            input, the most confident first.
    """

    classes: int | None
    prepare: Callable[[Tensor, Size], tuple[Tensor, tuple[float, float]]]
    read: Callable[[Sequence[Tensor], Size, float], Detections]


def head_of(shapes: Sequence[Sequence[int | str | None]], size: Size | None) -> Head | None:
    """The head that has outputs of these shapes, for an input of this height and width; None = none that is known."""
    if len(shapes) == 3:
        return Head(None, stretched, plain_boxes)
    if len(shapes) != 1 or size is None:
        return None
    shape = shapes[0]
    if len(shape) == 3 and isinstance(shape[2], int) and shape[2] > 5:
        boxes = shape[1]
        whole = not isinstance(boxes, int) or boxes == yolox_cells(size)
        return Head(shape[2] - 5, letterboxed, yolox_boxes) if whole else None
    if len(shape) == 4 and isinstance(shape[1], int) and shape[1] > 5:
        return Head(shape[1] - 5, stretched_bgr, fastestdet_boxes)
    return None


def letterboxed(images: Tensor, size: Size) -> tuple[Tensor, tuple[float, float]]:
    """YOLOX's input: resized to fit, with a grey edge at the right and at the bottom, BGR in [0, 255].

    Args:
        images: uint8 (b, 3, h, w) RGB.
        size: height and width of the input.

    Returns:
        Float32 (b, 3, *size), and how many of its pixels a pixel of the images is wide and high.
    """
    height, width = images.shape[-2:]
    scale = min(size[0] / height, size[1] / width)
    inside = (max(1, int(height * scale)), max(1, int(width * scale)))
    small = F.interpolate(images.float(), inside, mode="bilinear").round()
    padded = F.pad(small, (0, size[1] - inside[1], 0, size[0] - inside[0]), value=_GREY)
    return padded.flip(1), (scale, scale)


def stretched(images: Tensor, size: Size) -> tuple[Tensor, tuple[float, float]]:
    """Uint8 (b, 3, h, w) -> float32 (b, 3, *size) in [0, 1], and how many of its pixels a pixel is wide and high."""
    height, width = images.shape[-2:]
    inputs = images.float() / 255
    if (height, width) != size:
        inputs = F.interpolate(inputs, size, mode="bilinear", antialias=True).clamp(0, 1)
    return inputs, (size[1] / width, size[0] / height)


def stretched_bgr(images: Tensor, size: Size) -> tuple[Tensor, tuple[float, float]]:
    """As `stretched`, BGR."""
    inputs, scale = stretched(images, size)
    return inputs.flip(1), scale


def yolox_boxes(outputs: Sequence[Tensor], size: Size, min_confidence: float) -> Detections:
    """YOLOX (Ge et al. 2021): a box in each cell of three grids, of strides 8, 16 and 32.

    Args:
        outputs: one, float32 (n, 5 + classes): offset of the centre in cells, log of the sides in cells, objectness and
            the probability of each class.
        size: height and width of the input.
        min_confidence: boxes below it are left out.
    """
    output = outputs[0]
    cells, strides = _grids(size)
    centres, sides = (output[:, :2] + cells) * strides, output[:, 2:4].exp() * strides
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    return _suppressed(boxes, output[:, 5:] * output[:, 4:5], min_confidence, _YOLOX_OVERLAP)


def yolox_cells(size: Size) -> int:
    """How many boxes YOLOX gives for an input of a height and width."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in YOLOX_STRIDES)


def fastestdet_boxes(outputs: Sequence[Tensor], size: Size, min_confidence: float) -> Detections:
    """FastestDet (dog-qiuqiu): one box in each cell of one grid.

    Args:
        outputs: one, float32 (5 + classes, rows, columns): objectness; offset of the centre in cells, before a tanh;
            sides as parts of the input's, before a sigmoid; the probability of each class.
        size: height and width of the input.
        min_confidence: boxes below it are left out.
    """
    output = outputs[0]
    rows, columns = output.shape[1:]
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    offset, sides = output[1:3].tanh(), output[3:5].sigmoid()
    whole = torch.tensor((size[1], size[0])).view(2, 1, 1)
    centres = (torch.stack([x, y]) + offset) / torch.tensor((columns, rows)).view(2, 1, 1)
    boxes = torch.cat([(centres - sides / 2) * whole, (centres + sides / 2) * whole]).flatten(1).T
    scores = (output[:1] * output[5:]).flatten(1).T
    return _suppressed(boxes, scores, min_confidence, _FASTESTDET_OVERLAP)


def plain_boxes(outputs: Sequence[Tensor], size: Size, min_confidence: float) -> Detections:
    """Boxes (k, 4), scores (k,) and labels (k,) as they are, the most confident first; `size` is no matter."""
    boxes, scores, labels = outputs
    found = Detections(boxes.float(), scores.float(), labels.long()).above(min_confidence)
    return found[found.scores.argsort(descending=True, stable=True)]


def _grids(size: Size) -> tuple[Tensor, Tensor]:
    """Column and row (n, 2) and stride (n, 1) of all cells."""
    cells, strides = [], []
    for stride in YOLOX_STRIDES:
        y, x = torch.meshgrid(torch.arange(size[0] // stride), torch.arange(size[1] // stride), indexing="ij")
        cells.append(torch.stack([x.flatten(), y.flatten()], 1))
        strides.append(torch.full((x.numel(), 1), stride))
    return torch.cat(cells), torch.cat(strides)


def _suppressed(boxes: Tensor, scores: Tensor, min_confidence: float, overlap: float) -> Detections:
    """The best class of each box; of boxes of one class that overlap, the most confident.

    Args:
        boxes: float32 (n, 4).
        scores: float32 (n, classes).
        min_confidence: boxes below it are left out.
        overlap: IoU from which two boxes are of the same object.
    """
    from torchvision.ops import batched_nms  # a slow import

    best, labels = scores.max(1)
    rows = (best >= min_confidence).nonzero()[:, 0]
    rows = rows[batched_nms(boxes[rows], best[rows], labels[rows], overlap)[:_MOST]]
    return Detections(boxes[rows], best[rows], labels[rows])
