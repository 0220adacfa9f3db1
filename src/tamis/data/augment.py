"""What is done to an image before the model sees it: pure functions of the image and of uniform numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

_STRIP = 64  # how much longer than wide an image is before `evaluate` takes the middle of it first
ATTEMPTS = 10  # torchvision's RandomResizedCrop tries as often before it takes the centre


@dataclass(frozen=True)
class PadCrop:
    """Mirror, and shift by up to `pad` pixels: for small images of one size (He et al. 2016, section 4.2).

    The image is padded on all sides, then a window of its old size is cut out at one of (2 pad + 1)^2 places.
    The default does nothing at all. Evaluation takes the image as it is.

    Attributes:
        flip: mirror every second image, left to right.
        pad: pixels, at least 0; with `fill="reflect"` it must be smaller than the image.
        fill: what the border gets: "zero" (black) or "reflect" (the image mirrored, its edge not repeated).

    Raises:
        ValueError: pad is negative, or fill is unknown.
    """

    flip: bool = False
    pad: int = 0
    fill: Literal["zero", "reflect"] = "zero"

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"pad must be at least 0 pixels, got {self.pad!r}")
        if self.fill not in ("zero", "reflect"):
            raise ValueError(f"fill must be 'zero' or 'reflect', got {self.fill!r}")

    @property
    def draws(self) -> int:
        """How many uniform numbers an image needs: row, column, mirror."""
        return 3

    def __call__(self, images: Tensor, uniform: Tensor) -> Tensor:
        """Augment images (b, c, h, w) of any type with uniform numbers in [0, 1), float (b, 3).

        Raises:
            ValueError: the border to reflect is as wide as the image.
        """
        if self.pad:
            shift = (uniform[:, :2] * (2 * self.pad + 1)).long()
            images = _windows(self._padded(images), shift, images.shape[2], images.shape[3])
        if self.flip:
            images = torch.where(uniform[:, 2, None, None, None] < 0.5, images.flip(-1), images)
        return images

    def _padded(self, images: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        pad = self.pad
        padded = images.new_zeros(count, channels, height + 2 * pad, width + 2 * pad)
        padded[:, :, pad : pad + height, pad : pad + width] = images
        if self.fill == "reflect":
            if pad >= min(height, width):
                size = f"{height} x {width} pixels"
                raise ValueError(f"pad must be smaller than the image it mirrors, got {pad} for {size}; use 'zero'")
            for dim, side in ((2, height), (3, width)):  # 2 1 | 0 1 2 3 | 2 1: the edge is not repeated
                padded.narrow(dim, 0, pad).copy_(padded.narrow(dim, pad + 1, pad).flip(dim))
                padded.narrow(dim, pad + side, pad).copy_(padded.narrow(dim, side - 1, pad).flip(dim))
        return padded


def _windows(images: Tensor, corner: Tensor, height: int, width: int) -> Tensor:
    """Cut one window out of each image: (b, c, H, W), corners int64 (b, 2) -> (b, c, height, width)."""
    views = images.unfold(2, height, 1).unfold(3, width, 1)  # (b, c, rows, columns, height, width), nothing is copied
    return views[torch.arange(len(images), device=images.device), :, corner[:, 0], corner[:, 1]]


@dataclass(frozen=True)
class ResizedCrop:
    """Cut out a random part and scale it to a square: for photographs of any size (Szegedy et al. 2015).

    Training: the part's area is uniform in `scale` times the image's, the logarithm of its width/height uniform
    in `ratio`; ten tries, then the largest central part of an allowed shape (the rule of torchvision's
    RandomResizedCrop). Evaluation: the shorter side becomes `size` / 0.875, and the centre is kept (of a
    strip of more than 64 to 1, the middle 64 to 1 first). Both scale with PIL's bilinear filter, which smooths before
    it shrinks.

    Attributes:
        size: side of the result in pixels, at least 1.
        flip: mirror every second image.
        scale: smallest and largest area, in (0, 1].
        ratio: smallest and largest width/height.

    Raises:
        ValueError: a size below 1, or bounds that are empty or not positive.
    """

    size: int = 224
    flip: bool = True
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {self.size!r}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be two rising numbers in (0, 1], got {self.scale!r}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be two rising positive numbers, got {self.ratio!r}")

    @property
    def draws(self) -> int:
        """How many uniform numbers an image needs: area and shape of each try, then row, column, mirror."""
        return 2 * ATTEMPTS + 3

    def train(self, image: Image.Image, uniform: Sequence[float]) -> Image.Image:
        """A random part of the image, `size` x `size` pixels, from `draws` numbers in [0, 1)."""
        left, top, width, height = self.box(image.width, image.height, uniform)
        box = (left, top, left + width, top + height)
        result = image.crop(box).resize((self.size, self.size), Image.Resampling.BILINEAR)
        mirror = self.flip and uniform[-1] < 0.5
        return result.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else result

    def box(self, width: int, height: int, uniform: Sequence[float]) -> tuple[int, int, int, int]:
        """The part that `train` takes: left, top, width, height in pixels, inside the image."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for attempt in range(ATTEMPTS):
            area = width * height * (self.scale[0] + uniform[2 * attempt] * (self.scale[1] - self.scale[0]))
            shape = math.exp(low + uniform[2 * attempt + 1] * (high - low))
            w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if 0 < w <= width and 0 < h <= height:
                top, left = (int(u * n) for u, n in zip(uniform[-3:-1], (height - h + 1, width - w + 1), strict=True))
                return left, top, w, h
        w = max(1, min(width, round(height * self.ratio[1])))
        h = max(1, min(height, round(width / self.ratio[0])))
        return (width - w) // 2, (height - h) // 2, w, h

    def evaluate(self, image: Image.Image) -> Image.Image:
        """The centre of the image, `size` x `size` pixels."""
        image = _shortened(image)
        short = int(self.size / 0.875)  # 256 for 224, as torchvision's published models are judged
        side = min(image.size)
        width, height = (int(short * length / side) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))


def _shortened(image: Image.Image) -> Image.Image:
    """The middle of a long strip: scaled as a whole, one of 100,000 x 1 pixels would take gigabytes."""
    longest = _STRIP * min(image.size)
    if max(image.size) <= longest:
        return image
    left, top = (max(0, (length - longest) // 2) for length in image.size)
    return image.crop((left, top, left + min(image.width, longest), top + min(image.height, longest)))


Augmentation = PadCrop | ResizedCrop


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 images (b, c, h, w) -> float32 (x / 255 - mean) / std, channel by channel."""
    centre, spread = (torch.tensor(v, dtype=torch.float32, device=images.device) for v in (mean, std))
    scale, shift = 1 / (255 * spread), -centre / spread
    return images.to(torch.float32).mul_(scale[:, None, None]).add_(shift[:, None, None])


def statistics(images: Tensor, chunk: int = 1024) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel over all pixels of uint8 images (n, c, h, w).

    In units of the full range (0 to 1), exact sums, `chunk` images at a time. A channel that never changes gets
    1 as its standard deviation, so that it can be divided by.
    """
    total = torch.zeros(2, images.shape[1], dtype=torch.float64, device=images.device)
    for part in images.split(chunk):
        values = part.to(torch.float32).flatten(2)
        total[0] += values.sum((0, 2), dtype=torch.float64)
        total[1] += values.square_().sum((0, 2), dtype=torch.float64)
    mean, square = total / (images.numel() / images.shape[1])
    std = (square - mean.square()).clamp_min(0).sqrt()
    std = torch.where(std < 1e-6, 255.0, std)
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
