"""A small convolutional network that learns images of 8 to 64 pixels on a CPU."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

SMALL, SMALL_WIDE = (32, 64, 64), (64, 128, 128)
_SMALLEST = 8


def _block(inside: int, outside: int, *, pool: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False),
        nn.MaxPool2d(2) if pool else nn.Identity(),
        nn.BatchNorm2d(outside),
        nn.GELU(),
        nn.Conv2d(outside, outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.GELU(),
    )


class SmallNet(nn.Module):
    """A 2x2 stem, three blocks of two 3x3 convolutions with a pool between them, a global maximum, a linear
    head.

    After the plan of the CIFAR-10 speed-run networks (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds"),
    without their whitened stem and special start. A block pools only while at least 3x3 positions remain:
    three times for 28 and 32 pixels, twice for 16, once for 8. 0.15 M parameters at the default widths, 0.56
    M at (64, 128, 128), for 3 channels and 10 classes. It is too small for photographs above 64 pixels and
    for hundreds of classes: take `resnet18` there.

    Args:
        classes: number of outputs.
        in_channels: channels of the images.
        widths: channels of the three blocks.
        size: side of the images in pixels; sets the number of pools. Other sizes still run.
        stride: of the stem; 2 trains three times as fast, on patches that do not overlap.

    Raises:
        ValueError: classes below 2, or a size below 8.
    """

    def __init__(
        self, classes: int, *, in_channels: int = 3, widths: Sequence[int] = SMALL, size: int = 32, stride: int = 1
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes!r}; check the labels of the data")
        if size < _SMALLEST:
            raise ValueError(f"size must be at least {_SMALLEST} pixels, got {size!r}; enlarge the images")
        stem = 8 * in_channels  # twice the numbers that a 2x2 patch has
        side = (size - 2) // stride + 1
        blocks = []
        for inside, outside in pairwise((stem, *widths)):
            pool = side // 2 >= 3
            side = side // 2 if pool else side
            blocks.append(_block(inside, outside, pool=pool))
        self.body = nn.Sequential(nn.Conv2d(in_channels, stem, 2, stride=stride), nn.GELU(), *blocks)
        self.head = nn.Linear(widths[-1], classes)

    def features(self, inputs: Tensor) -> Tensor:
        """Float (b, c, h, w) -> (b, widths[-1]): what goes into the head."""
        return self.body(inputs).amax((2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Float (b, c, h, w) -> logits (b, classes)."""
        return self.head(self.features(inputs))
