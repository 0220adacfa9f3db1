"""Labelled images, in memory or in files, behind one interface.

The augmentation of a sample is a function of (seed, epoch, position in the source) and of nothing else: not of
the batch it is in, of the order, or of the number of workers. `select` numbers its samples anew from 0, so a
subset is augmented differently from the whole; its keys still tell who is who. A file that cannot be read is left out
of its batch and changes nothing in the others; the source's `Quarantine`, which its subsets share, has its name.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tamis.batch import Batch
from tamis.data.augment import Augmentation, PadCrop, ResizedCrop, normalise
from tamis.data.checks import check_index, check_samples, check_scale
from tamis.data.decode import Read, UnreadableImage, decode
from tamis.data.delivery import delivered
from tamis.data.memory import MemoryImages, selected
from tamis.data.quarantine import Quarantine
from tamis.moment import uniforms

# Means and standard deviations of ImageNet's training images, as torchvision's and timm's models expect them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
        quarantine: the samples that cannot be read; by default the first one is an error.

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
    quarantine: Quarantine = field(default_factory=Quarantine, repr=False)

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

        Each worker decodes whole batches, two ahead. What cannot be read is left out; a batch may become empty.

        Raises:
            IndexError: a position outside the source.
            UnreadableImage: more files than allowed cannot be decoded; the message names them.
            DeadWorker: a worker was killed or failed; the message names what it was at.
        """
        return delivered(self, _checked(plan, len(self)), epoch=epoch, seed=seed, train=train)

    def thumbnail(self, index: int) -> Image.Image:
        """The whole image, upright, RGB.

        Raises:
            UnreadableImage: the file cannot be decoded.
        """
        return decode(self.read(int(self.rows[index])), self.keys[index])

    def select(self, index: Tensor) -> Self:
        """The samples at these positions (int64 (m,)) as a source of its own."""
        columns = selected(self, index)
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

        What cannot be read is left out. Training mirrors the images and shifts them by up to an eighth of the shorter
        side, unless the augmentation here is a `PadCrop` already. Mean and std are computed from the images.

        Args:
            side: the largest side in pixels that counts as small.
            limit: the most bytes to take.

        Raises:
            UnreadableImage: more files than allowed cannot be decoded.
        """
        images, kept, size = torch.empty(0), [], None
        for position in range(len(self)):
            image, reason = self._try(position)
            if image is None:
                self.quarantine.record(reason)
                continue
            if size is None:
                (width, height) = size = image.size
                if max(size) > side or 3 * width * height * len(self) > limit:
                    return None
                images = torch.empty(len(self), 3, height, width, dtype=torch.uint8)
            if image.size != size:
                return None
            images[len(kept)] = _pixels(image)
            kept.append(position)
        if size is None:
            raise self._none_readable()
        small = self.augmentation
        if not isinstance(small, PadCrop):
            small = PadCrop(flip=small.flip, pad=min(size) // 8)
        columns = selected(self, torch.tensor(kept))
        return MemoryImages(
            images[: len(kept)],
            class_names=self.class_names,
            augmentation=small,
            quarantine=self.quarantine,
            **columns,
        )

    def batch(
        self, index: Tensor, epoch: int, seed: int, train: bool, begin: Callable[[int], None] | None = None
    ) -> tuple[Batch, dict[str, str]]:
        """Decode one batch here and now, and record nothing; see `batches`.

        Args:
            index: int64 (b,), positions.
            epoch: varies the augmentation.
            seed: the run's seed.
            train: augment.
            begin: called with each position before its file is read.

        Returns:
            What could be read, and why the rest could not, by key.
        """
        draws = uniforms(seed, epoch, index, "augmentation", self.augmentation.draws)
        views, kept, reasons = [], [], {}
        for place, position in enumerate(index.tolist()):
            if begin is not None:
                begin(position)
            image, reason = self._try(position)
            reasons |= reason
            if image is not None:
                views.append(self._view(image, draws[place], train))
                kept.append(place)
                self._hold_to_one_size(views, position)
        kept = torch.tensor(kept, dtype=torch.int64)
        pixels = torch.stack(views) if views else torch.empty(0, 3, *self._shape(), dtype=torch.uint8)
        if train and isinstance(self.augmentation, PadCrop):
            pixels = self.augmentation(pixels, draws[kept])
        return Batch(index[kept], normalise(pixels, self.mean, self.std), self.labels[index[kept]]), reasons

    def _try(self, position: int) -> tuple[Image.Image | None, dict[str, str]]:
        """An image, or its key and the reason why there is none."""
        try:
            return self.thumbnail(position), {}
        except UnreadableImage as error:
            return None, {self.keys[position]: error.reason}

    def _view(self, image: Image.Image, draws: Tensor, train: bool) -> Tensor:
        """What training or evaluation sees of an image; `PadCrop` works on whole batches, later."""
        if isinstance(self.augmentation, ResizedCrop):
            augmented = self.augmentation.train(image, draws.tolist()) if train else self.augmentation.evaluate(image)
            return _pixels(augmented)
        return _pixels(image)

    def _hold_to_one_size(self, views: list[Tensor], position: int) -> None:
        first, last = (tuple(view.shape[:0:-1]) for view in (views[0], views[-1]))
        if first != last:
            raise UnreadableImage(
                f"images must all have one size for PadCrop, got {last} beside {first} in "
                f"{self.keys[position]!r}; use ResizedCrop"
            )

    def _shape(self) -> tuple[int, int]:
        """Height and width of what the model gets, also where a batch is empty."""
        if isinstance(self.augmentation, ResizedCrop):
            return self.augmentation.size, self.augmentation.size
        for position in range(len(self)):
            image, _ = self._try(position)
            if image is not None:
                return image.height, image.width
        raise self._none_readable()

    def _none_readable(self) -> UnreadableImage:
        return UnreadableImage(
            f"images must be readable, got none of {len(self)} that is, such as {self.keys[0]!r}; repair the files"
        )


def _pixels(image: Image.Image) -> Tensor:
    """An RGB image as uint8 (3, h, w)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _checked(plan: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    for index in plan:
        check_index(index, count)
        yield index
