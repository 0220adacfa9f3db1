"""A small anchor-free detector that trains and runs on one processor core: objects as points (Zhou et al. 2019)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tamis.detections import Detections, ImageLosses
from tamis.models.centernet_losses import STRIDE, detection_losses
from tamis.models.sigmas import sigmas_of

TINY, SMALL = (16, 32, 48, 64), (32, 64, 128, 192)
MOST = 100
LEAST_CONFIDENCE = 0.01
_COARSEST = 16  # pixels to a cell of the coarsest features: inputs are padded to a multiple of it
_START_LOGIT = -4.0  # centres are rare
_RELU_GAIN = 1.7139  # restores the variance that a ReLU takes: sqrt(2 / (1 - 1 / pi))


class CenterNet(nn.Module):
    """Heat maps of centres for each class, and a box in every cell, at a fourth of the input's size.

    After "Objects as Points" (Zhou et al. 2019): its focal loss (Eq. 1), its peaks of a 3x3 neighbourhood instead of
    non-maximum suppression. After TTFNet (Liu et al. 2020): Gaussians as long and as high as their box, and a GIoU
    loss (Rezatofighi et al. 2019) in the centre's cell and its four neighbours instead of L1 losses on size and offset.

    Weights are standardised instead of features, so that an image's loss does not depend on the others in its batch.
    0.13 M parameters at `TINY`, 0.90 M at `SMALL`. Made for bf16 autocast with channels_last inputs, runs with any.

    Attributes:
        classes: number of classes.

    Args:
        classes: number of classes.
        widths: channels at a half, a fourth, an eighth and a sixteenth of the input's size.

    Raises:
        ValueError: classes below 1, or other than four positive widths.
    """

    def __init__(self, classes: int, *, widths: tuple[int, int, int, int] = TINY) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes must be at least 1, got {classes!r}; name what is to be found")
        if len(widths) != 4 or min(widths) < 1:
            raise ValueError(f"widths must be four positive numbers of channels, got {widths!r}")
        half, fourth, eighth, sixteenth = widths
        self.classes = classes
        self.stem = _Convolution(3, half, stride=2)
        self.fourth = _Stage(half, fourth)
        self.eighth = _Stage(fourth, eighth)
        self.sixteenth = _Stage(eighth, sixteenth)
        self.to_eighth = nn.Conv2d(sixteenth, eighth, 1)
        self.to_fourth = nn.Conv2d(eighth, fourth, 1)
        self.neck = _Convolution(fourth, fourth)
        self.box = nn.Conv2d(fourth, 4, 1)
        self.heat = nn.Conv2d(fourth, classes, 1)  # last, since it is what another list of classes replaces
        for head in (self.box, self.heat):
            nn.init.normal_(head.weight, std=0.01)
        with torch.no_grad():
            self.box.bias.copy_(torch.tensor((0.0, 0.0, 1.0, 1.0)))  # pyright: ignore[reportOptionalMemberAccess]
            self.heat.bias.fill_(_START_LOGIT)  # pyright: ignore[reportOptionalMemberAccess]

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor | None = None,
        sigma: Tensor | None = None,
        background: Tensor | None = None,
        *,
        parts: bool = False,
        regression: bool = False,
    ) -> Tensor | ImageLosses | list[Detections]:
        """The loss of each image, or what is on it.

        Args:
            inputs: float (b, 3, h, w) in [0, 1], of any size.
            targets: float32 (b, k, 5): x1, y1, x2, y2 in pixels of the inputs and the label; rows of label -1 and
                boxes that have no area or are not finite do not count.
            sigma: float32 (b, k), divides the logits in the cells of the centres of each row of targets; None is 1.
            background: float32 (), divides all other logits; None is 1.
            parts: also say what is due to each box.
            regression: sigma also is the scale of the noise of its box, taking its GIoU loss for a residual
                (`tamis.models.sigmas.noisy`).

        Returns:
            With targets, float32 (b,), `detection_losses`, or with `parts` `ImageLosses`. Without, b detections in
            pixels of the inputs, most confident first, at most 100 and none below a confidence of 0.01.

        Raises:
            ValueError: scales that do not fit the targets.
        """
        if targets is not None:
            scales = sigmas_of(targets, sigma, background, regression)
            losses = detection_losses(*self._maps(inputs), targets, scales)
            return losses if parts else losses.image
        boxes, scores, labels = self.raw(inputs)
        counts = (scores >= LEAST_CONFIDENCE).sum(1).tolist()
        return [Detections(boxes[i, :n], scores[i, :n], labels[i, :n]) for i, n in enumerate(counts)]

    def raw(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The 100 best peaks of each image, whatever their confidence; its shapes depend on those of the inputs alone.

        Args:
            inputs: float (b, 3, h, w) in [0, 1].

        Returns:
            boxes float32 (b, 100, 4) in pixels, clipped to the image; scores float32 (b, 100), falling, 0 where there
            is no peak; labels int64 (b, 100). Fewer than 100 where the heat maps have fewer cells.
        """
        heat, boxes = self._maps(inputs)
        height, width = inputs.shape[-2:]
        boxes = torch.stack((boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)), 2).flatten(1, 2)
        peaks = functional.max_pool2d(heat, 3, stride=1, padding=1) == heat
        peaks = peaks & (boxes[:, 2:] > boxes[:, :2]).all(1, keepdim=True)
        cells = heat.shape[2] * heat.shape[3]
        scores, best = (heat.sigmoid() * peaks).flatten(1).topk(min(MOST, self.classes * cells))
        labels = best // cells
        cell = best - labels * cells  # not %, which torch.onnx cannot export here
        return boxes.flatten(2).gather(2, cell[:, None].expand(-1, 4, -1)).transpose(1, 2), scores, labels

    def _maps(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the centres (b, classes, H, W) and the box of each cell (b, 4, H, W) in pixels, float32."""
        height, width = inputs.shape[-2:]
        # No negative number is divided, as ONNX rounds towards 0.
        right, below = ((_COARSEST - side % _COARSEST) % _COARSEST for side in (width, height))
        fourth = self.fourth(self.stem(functional.pad((inputs - 0.45) * 4, (0, right, 0, below))))
        eighth = self.eighth(fourth)
        eighth = eighth + _doubled(self.to_eighth(self.sixteenth(eighth)))
        shared = self.neck(fourth + _doubled(self.to_fourth(eighth)))
        shared = shared[:, :, : (height + STRIDE - 1) // STRIDE, : (width + STRIDE - 1) // STRIDE]
        return self.heat(shared).float(), _boxes(self.box(shared).float())


class _Convolution(nn.Module):
    """A 3x3 convolution whose weights have no mean and one variance for each filter, and a ReLU.

    Scaled weight standardisation (Brock et al. 2021, "Characterizing signal propagation", Eq. 1), in the place of batch
    normalisation: learns as fast, without other images.
    """

    def __init__(self, inside: int, outside: int, *, stride: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(outside, inside, 3, 3))
        self.gain = nn.Parameter(torch.full((outside, 1, 1, 1), gain))
        self.bias = nn.Parameter(torch.zeros(outside))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        scale = torch.rsqrt(variance * self.weight[0].numel() + 1e-5) * (self.gain * _RELU_GAIN)
        return functional.conv2d(inputs, (self.weight - mean) * scale, self.bias, self.stride, 1).relu_()


class _Stage(nn.Module):
    """Halves the size, then adds a residual."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.down = _Convolution(inside, outside, stride=2)
        self.residual = _Convolution(outside, outside, gain=0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        half = self.down(inputs)
        return half + self.residual(half)


def _boxes(raw: Tensor) -> Tensor:
    """Shift of the centre in cells and log of the sides, (b, 4, H, W) -> corners in pixels."""
    height, width = raw.shape[2:]
    x = torch.arange(width, device=raw.device) + 0.5
    y = torch.arange(height, device=raw.device)[:, None] + 0.5
    centre_x, centre_y = (raw[:, 0] + x) * STRIDE, (raw[:, 1] + y) * STRIDE
    half_width, half_height = raw[:, 2:].clamp(-6, 8).exp().unbind(1)
    half_width, half_height = half_width * (STRIDE / 2), half_height * (STRIDE / 2)
    sides = (centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height)
    return torch.stack(sides, 1)


def _doubled(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0)
