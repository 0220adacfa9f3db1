"""Wide residual networks (Zagoruyko & Komodakis 2016)."""

from torch import Tensor, nn
from torch.nn import functional as F


class _Block(nn.Module):
    """BN-ReLU-conv-BN-ReLU-dropout-conv and a shortcut, which starts after the first ReLU if the shape changes."""

    def __init__(self, inside: int, outside: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        same = inside == outside and stride == 1
        self.shortcut = None if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        active = F.relu(self.norm1(inputs))
        residual = self.conv2(self.dropout(F.relu(self.norm2(self.conv1(active)))))
        return residual + (inputs if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """WRN-depth-widen: three groups of (depth - 4) / 6 pre-activation blocks, 64·widen wide at the end.

    Table 1 of the paper: widths 16·widen, 32·widen and 64·widen, for images of about 32 pixels (the last group
    sees a quarter of the side). WRN-28-10 has 36.5 M parameters for 10 classes. Convolutions start as in He et
    al. (fan out), as in the published code.

    Args:
        classes: number of outputs.
        depth: 6n + 4: 10, 16, 22, 28, 40...
        widen: the factor k on the widths.
        dropout: probability inside each block, in [0, 1); 0.3 where the paper uses it on CIFAR.
        in_channels: channels of the images.

    Raises:
        ValueError: a depth that is not 6n + 4, or a widen, dropout or number of classes out of range.
    """

    def __init__(
        self, classes: int, *, depth: int = 28, widen: int = 10, dropout: float = 0.0, in_channels: int = 3
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 6n + 4 with n >= 1, got {depth!r}; take 10, 16, 22, 28 or 40")
        if widen < 1:
            raise ValueError(f"widen must be at least 1, got {widen!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout!r}")
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes!r}; check the labels of the data")
        width = 16
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False)]
        for group in range(3):
            outside = 16 * widen * 2**group
            for position in range((depth - 4) // 6):
                stride = 2 if group > 0 and position == 0 else 1
                layers.append(_Block(width, outside, stride, dropout))
                width = outside
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def features(self, inputs: Tensor) -> Tensor:
        """Float (b, c, h, w) -> (b, 64·widen): what goes into the head."""
        return self.body(inputs).mean((2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Float (b, c, h, w) -> logits (b, classes)."""
        return self.head(self.features(inputs))
