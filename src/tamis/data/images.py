"""Labelled images, in memory or in files, behind one interface.

The augmentation of a sample is a function of (seed, epoch, position in the source) and of nothing else: not of
the batch it is in, of the order, or of the number of workers. `select` numbers its samples anew from 0, so a
subset is augmented differently from the whole; its keys still tell who is who.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tamis.batch import Batch
from tamis.data.augment import Augmentation, PadCrop, ResizedCrop, normalise, statistics
from tamis.data.checks import check_index, check_samples, check_scale
from tamis.data.decode import Read, UnreadableImage, decode
from tamis.moment import uniforms

# Means and standard deviations of ImageNet's training images, as torchvision's and timm's models expect them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class MemoryImages:
    """Small images of one size, decoded and held in memory, augmented as whole batches.

    Attributes:
        images: uint8 (n, c, h, w), c = 1 or 3.
        labels: int64 (n,), in [0, number of classes).
        class_names: one name a class.
        keys: n unique names that stay with the samples.
        augmentation: what training does to an image; evaluation takes it as it is.
        mean: one number a channel, in units of the full range; empty = computed from the images.
        std: likewise.

    Raises:
        ValueError: shapes, types, ranges or lengths do not fit, or a key comes twice.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    keys: Sequence[str] = field(repr=False)
    augmentation: PadCrop = field(default_factory=PadCrop)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape[2:]:
            raise ValueError(f"images must be uint8 (n, 1 or 3, h, w), got {self.images.dtype} {shape}")
        check_samples(shape[0], self.labels, self.class_names, self.keys)
        if not self.mean or not self.std:
            mean, std = statistics(self.images)
            object.__setattr__(self, "mean", self.mean or mean)
            object.__setattr__(self, "std", self.std or std)
        check_scale(self.mean, self.std, shape[1])

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, plan: Iterable[Tensor], *, epoch: int, seed: int, train: bool) -> Iterator[Batch]:
        """Batches of normalised images, on the device where the images are.

        Args:
            plan: int64 (b,), the positions of each batch.
            epoch: the epoch, from 0; it varies the augmentation.
            seed: the run's seed.
            train: augment.

        Raises:
            IndexError: a position outside the source.
        """
        for index in plan:
            check_index(index, len(self))
            place = index.to(self.images.device)
            images = self.images[place]
            if train:
                draws = uniforms(seed, epoch, place, "augmentation", self.augmentation.draws)
                images = self.augmentation(images, draws)
            yield Batch(place, normalise(images, self.mean, self.std), self.labels[index].to(place.device))

    def thumbnail(self, index: int) -> Image.Image:
        """The image as it is, RGB."""
        pixels = self.images[index].permute(1, 2, 0).cpu().numpy()
        return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).convert("RGB")

    def select(self, index: Tensor) -> Self:
        """The samples at these positions (int64 (m,)) as a source of its own, with the same mean and std."""
        columns = _selected(self, index)
        return replace(self, images=self.images[index.to(self.images.device)], **columns)

    def with_labels(self, labels: Tensor) -> Self:
        """The same images with other labels, int64 (n,)."""
        return replace(self, labels=labels)

    def with_augmentation(self, augmentation: PadCrop) -> Self:
        """The same images, augmented otherwise."""
        return replace(self, augmentation=augmentation)

    def with_scale(self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """The same images, normalised otherwise: evaluation takes the mean and std of the training images."""
        return replace(self, mean=tuple(mean), std=tuple(std))

    def to(self, device: torch.device | str) -> Self:
        """The same images on a device; augmentation and normalisation then run there."""
        return replace(self, images=self.images.to(device))


@dataclass(frozen=True, eq=False)
class FileImages:
    """Images that are decoded when they are needed, of any size and format that PIL knows; always RGB.

    Attributes:
        read: gives the file of the i-th sample of the whole set.
        labels: int64 (n,), in [0, number of classes).
        class_names: one name a class.
        keys: n unique names that stay with the samples.
        rows: int64 (n,), which of the whole set these are; empty = all, in order.
        augmentation: what training does to an image; `PadCrop` needs images of one size.
        mean: three numbers in units of the full range.
        std: likewise.
        workers: processes that decode; 0 = this one. It has no influence on the result.

    Raises:
        ValueError: types, ranges or lengths do not fit, or a key comes twice.
    """

    read: Read = field(repr=False)
    labels: Tensor
    class_names: tuple[str, ...]
    keys: Sequence[str] = field(repr=False)
    rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    augmentation: Augmentation = field(default_factory=ResizedCrop)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    workers: int = 0

    def __post_init__(self) -> None:
        if not len(self.rows):
            object.__setattr__(self, "rows", torch.arange(len(self.labels)))
        check_samples(len(self.rows), self.labels, self.class_names, self.keys)
        check_scale(self.mean, self.std, 3)
        if self.workers < 0:
            raise ValueError(f"workers must be at least 0, got {self.workers!r}")

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, plan: Iterable[Tensor], *, epoch: int, seed: int, train: bool) -> Iterator[Batch]:
        """Batches of decoded, augmented and normalised images; arguments as of `MemoryImages.batches`.

        Each worker decodes whole batches, two ahead.

        Raises:
            IndexError: a position outside the source.
            UnreadableImage: a file cannot be decoded; the message names it.
        """
        # An own generator: the loader would take a number from the global one.
        loader = DataLoader(
            _Decoded(self, epoch, seed, train),
            batch_size=None,
            sampler=_checked(plan, len(self)),  # pyright: ignore[reportArgumentType]  (any iterable serves)
            num_workers=self.workers,
            generator=torch.Generator(),
        )
        for batch in loader:
            if isinstance(batch, str):
                raise UnreadableImage(batch)
            yield batch

    def thumbnail(self, index: int) -> Image.Image:
        """The whole image, upright, RGB.

        Raises:
            UnreadableImage: the file cannot be decoded.
        """
        return decode(self.read(int(self.rows[index])), self.keys[index])

    def select(self, index: Tensor) -> Self:
        """The samples at these positions (int64 (m,)) as a source of its own."""
        columns = _selected(self, index)
        return replace(self, rows=self.rows[index], **columns)

    def with_labels(self, labels: Tensor) -> Self:
        """The same images with other labels, int64 (n,)."""
        return replace(self, labels=labels)

    def with_augmentation(self, augmentation: Augmentation) -> Self:
        """The same images, augmented otherwise."""
        return replace(self, augmentation=augmentation)

    def with_scale(self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """The same images, normalised otherwise."""
        return replace(self, mean=tuple(mean), std=tuple(std))

    def with_workers(self, workers: int) -> Self:
        """The same images, decoded by so many processes."""
        return replace(self, workers=workers)

    def in_memory(self, side: int = 64, limit: int = 4 << 30) -> MemoryImages | None:
        """Decode everything, if all images are of one size and small; None if they are not.

        Training mirrors them and shifts them by up to an eighth of the shorter side, unless the augmentation here
        is a `PadCrop` already. Mean and std are computed from the images.

        Args:
            side: the largest side in pixels that counts as small.
            limit: the most bytes to take.

        Raises:
            UnreadableImage: a file cannot be decoded.
        """
        width, height = self.thumbnail(0).size
        if max(width, height) > side or 3 * width * height * len(self) > limit:
            return None
        images = torch.empty(len(self), 3, height, width, dtype=torch.uint8)
        for position in range(len(self)):
            image = self.thumbnail(position)
            if image.size != (width, height):
                return None
            images[position] = _pixels(image)
        small = self.augmentation
        if not isinstance(small, PadCrop):
            small = PadCrop(flip=small.flip, pad=min(width, height) // 8)
        return MemoryImages(images, self.labels, self.class_names, self.keys, small)

    def batch(self, index: Tensor, epoch: int, seed: int, train: bool) -> Batch:
        """Decode one batch here and now; see `batches`."""
        images = [self.thumbnail(position) for position in index.tolist()]
        draws = uniforms(seed, epoch, index, "augmentation", self.augmentation.draws)
        if isinstance(self.augmentation, ResizedCrop):
            if train:
                pairs = zip(images, draws.tolist(), strict=True)
                images = [self.augmentation.train(image, numbers) for image, numbers in pairs]
            else:
                images = [self.augmentation.evaluate(image) for image in images]
            pixels = torch.stack([_pixels(image) for image in images])
        else:
            pixels = torch.stack([_pixels(image) for image in self._of_one_size(images, index)])
            pixels = self.augmentation(pixels, draws) if train else pixels
        return Batch(index, normalise(pixels, self.mean, self.std), self.labels[index])

    def _of_one_size(self, images: list[Image.Image], index: Tensor) -> list[Image.Image]:
        size = images[0].size
        for image, position in zip(images, index.tolist(), strict=True):
            if image.size != size:
                raise UnreadableImage(
                    f"images must all have one size for PadCrop, got {image.size} beside {size} in "
                    f"{self.keys[position]!r}; use ResizedCrop"
                )
        return images


class _Decoded(Dataset):
    """The batches of one epoch as a map from positions to a batch, or to the message of an error.

    An exception would reach the main process wrapped in a worker's traceback, its one line lost in it.
    """

    def __init__(self, source: FileImages, epoch: int, seed: int, train: bool) -> None:
        self.source, self.epoch, self.seed, self.train = source, epoch, seed, train

    def __getitem__(self, index: Tensor) -> Batch | str:
        try:
            return self.source.batch(index, self.epoch, self.seed, self.train)
        except UnreadableImage as error:
            return str(error)


def _pixels(image: Image.Image) -> Tensor:
    """An RGB image as uint8 (3, h, w)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _selected(source: MemoryImages | FileImages, index: Tensor) -> dict:
    """The columns of a subset."""
    check_index(index, len(source))
    keys = [source.keys[position] for position in index.tolist()]
    return {"labels": source.labels[index], "keys": keys}


def _checked(plan: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    for index in plan:
        check_index(index, count)
        yield index
