"""Crowd counters: fully convolutional networks from an image to a map of density, at a fraction of its size.

The sum of the map is the count. No network ends in a ReLU: the figures of both papers end with the 1x1 convolution,
and a ReLU there has no gradient where it gives 0, so that a counter could be stuck at a count of 0. Maps can therefore
be slightly below 0. All take sides that are no multiples of the stride: pooling leaves out what is over at the right
and at the bottom.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_POOL = 0
# The first ten and the first seven convolutions of VGG-16, three and two of its pools.
_VGG_10 = (64, 64, _POOL, 128, 128, _POOL, 256, 256, 256, _POOL, 512, 512, 512)
_VGG_7 = _VGG_10[:9]


class MCNN(nn.Module):
    """Multi-column network (Zhang et al. 2016, Fig. 2): three columns with large, medium and small kernels.

    133,705 parameters on colour images, published as 0.13 M: columns of 16-32-16-8 filters with kernels 9-7-7-7,
    20-40-20-10 with 7-5-5-5 and 24-48-24-12 with 5-3-3-3, two 2x2 pools in each, fused by a 1x1 convolution.
    A cell of the map sees 34 pixels beyond itself to each side. The paper trains each column alone first and names
    no distribution; here the columns start as in He et al. 2015 and are trained together, and the last layer starts
    Gaussian with a standard deviation of 0.01.

    Attributes:
        stride: pixels of the image to a cell of the map.
    """

    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.columns = nn.ModuleList([_column(8, 9, 7), _column(10, 7, 5), _column(12, 5, 3)])
        self.fuse = nn.Conv2d(8 + 10 + 12, 1, 1)
        _start(self.columns)
        _start(self.fuse, deviation=0.01)

    def forward(self, inputs: Tensor) -> Tensor:
        """Float (b, 3, h, w) -> density (b, 1, h // 4, w // 4)."""
        return self.fuse(torch.cat([column(inputs) for column in self.columns], 1))


class MCNNLight(nn.Module):
    """A small counter for processors without an accelerator, for trying out and for the demo; of no paper.

    37,657 parameters and an eighth of the multiplications of `MCNN`. Its columns share their first two layers and
    differ in dilation (1, 2, 3) instead of in kernels. A cell of the map sees 28 pixels beyond itself to each side.

    Attributes:
        stride: pixels of the image to a cell of the map.
    """

    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 6, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.columns = nn.ModuleList([_convolutions(32, (24, 16), dilation=dilation) for dilation in (1, 2, 3)])
        self.fuse = nn.Conv2d(3 * 16, 1, 1)
        _start(self.stem)
        _start(self.columns)
        _start(self.fuse, deviation=0.01)

    def forward(self, inputs: Tensor) -> Tensor:
        """Float (b, 3, h, w) -> density (b, 1, h // 4, w // 4)."""
        stem = self.stem(inputs)
        return self.fuse(torch.cat([column(stem) for column in self.columns], 1))


class CSRNet(nn.Module):
    """Dilated network (Li et al. 2018): ten convolutions of VGG-16, then configuration B of Table 3, of dilation 2.

    16,263,489 parameters, published as 16.26 M. A cell of the map sees 138 pixels beyond itself to each side. The
    paper starts the front end from ImageNet (`build_counter(..., front_end=PATH)`); without, it starts as in He
    et al. 2015. The back end and the last layer start Gaussian with a standard deviation of 0.01, as in the paper.
    Parameters have the names of the published code, so that its weights can be read.

    Attributes:
        stride: pixels of the image to a cell of the map.
    """

    stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.frontend = _convolutions(3, _VGG_10)
        self.backend = _convolutions(512, (512, 512, 512, 256, 128, 64), dilation=2)
        self.output_layer = nn.Conv2d(64, 1, 1)
        _start(self.frontend)
        _start(self.backend, deviation=0.01)
        _start(self.output_layer, deviation=0.01)

    def forward(self, inputs: Tensor) -> Tensor:
        """Float (b, 3, h, w) -> density (b, 1, h // 8, w // 8)."""
        return self.output_layer(self.backend(self.frontend(inputs)))


class CSRNetLite(nn.Module):
    """CSRNet_lite (Khan et al. 2023): seven convolutions of VGG-16, then six of dilation 2 with half the filters.

    No paper prints it. This is what the author's public code has under the name of CSRNet2; its 3,911,553
    parameters are 15.65 MB, and the file that the author published as CSRNet_lite has 15.7 MB. There are two pools:
    the stride is 4, not the 8 of `CSRNet`. A cell of the map sees 66 pixels beyond itself to each side. It starts as
    `CSRNet` does.

    Attributes:
        stride: pixels of the image to a cell of the map.
    """

    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.frontend = _convolutions(3, _VGG_7)
        self.backend = _convolutions(256, (256, 256, 256, 128, 64, 64), dilation=2)
        self.output_layer = nn.Conv2d(64, 1, 1)
        _start(self.frontend)
        _start(self.backend, deviation=0.01)
        _start(self.output_layer, deviation=0.01)

    def forward(self, inputs: Tensor) -> Tensor:
        """Float (b, 3, h, w) -> density (b, 1, h // 4, w // 4)."""
        return self.output_layer(self.backend(self.frontend(inputs)))


def _column(width: int, first: int, other: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inside = 3
    for outside, kernel, pool in (
        (2 * width, first, True),
        (4 * width, other, True),
        (2 * width, other, False),
        (width, other, False),
    ):
        layers += [nn.Conv2d(inside, outside, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if pool else []
        inside = outside
    return nn.Sequential(*layers)


def _convolutions(inside: int, plan: Sequence[int], *, dilation: int = 1) -> nn.Sequential:
    """3x3 convolutions, each with a ReLU, and 2x2 pools; the positions are those of torchvision's `vgg16.features`."""
    layers: list[nn.Module] = []
    for outside in plan:
        if outside == _POOL:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(inside, outside, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
        inside = outside
    return nn.Sequential(*layers)


def _start(part: nn.Module, deviation: float | None = None) -> None:
    """Gaussian weights, of He's variance for a ReLU or of the given standard deviation; biases are 0."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            if deviation is None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.normal_(module.weight, std=deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
