"""Labelled images in memory; what `tamis.data.images` says of sources holds for them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import torch
from PIL import Image
from torch import Tensor

from tamis.batch import Batch
from tamis.data.augment import PadCrop, normalise, statistics
from tamis.data.checks import check_index, check_samples, check_scale
from tamis.data.quarantine import Quarantine
from tamis.moment import uniforms


class Columns(Protocol):
    """What every source knows of its samples."""

    @property
    def labels(self) -> Tensor:
        """int64 (n,)."""
        ...

    @property
    def keys(self) -> Sequence[str]:
        """Their names."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


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
        quarantine: the samples that were left out since they could not be read.

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
    quarantine: Quarantine = field(default_factory=Quarantine, repr=False)

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
        columns = selected(self, index)
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


def selected(source: Columns, index: Tensor) -> dict[str, Any]:
    """The labels and keys of the samples at these positions, int64 (m,).

    Raises:
        IndexError: a position outside the source.
    """
    check_index(index, len(source))
    keys = [source.keys[position] for position in index.tolist()]
    return {"labels": source.labels[index], "keys": keys}
