"""Images of any size in files, with a box around each object: what a detector learns from.

What `tamis.data.images` says of sources holds for these: what is seen of a sample is a function of (seed, epoch,
position), and of nothing else. The boxes of an image keep their order: the j-th row of its targets is its j-th box,
whatever is seen of it, so that something can be learned about each box.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tamis.batch import Batch
from tamis.data.augment import normalise
from tamis.data.box_views import BoxViews, scaled_boxes, scaled_pixels, seen_boxes, seen_pixels
from tamis.data.checks import check_samples, check_scale
from tamis.data.count_views import View, lit
from tamis.data.decode import Files, Read, decode
from tamis.data.delivery import delivered
from tamis.data.memory import selected
from tamis.data.quarantine import Quarantine
from tamis.data.sized import check_sizes, kept_pixels, known_sizes, of_one_size, read_sized, readable, size_groups
from tamis.detections import Detections
from tamis.moment import uniforms

if TYPE_CHECKING:  # it looks at images too, and so at this module
    from tamis.data.annotations import Problem
    from tamis.data.boxes import BoxSet


@dataclass(frozen=True, eq=False)
class BoxedImages:
    """Images with boxes; the targets of a batch are its boxes, padded to the most of an image.

    `read`, `boxes`, `classes` and `sizes` are of the whole set and indexed by `rows`; a row of -1 stands for an image
    that was removed from the data.

    Attributes:
        read: gives the file of the i-th image of the whole set.
        boxes: float32 (k, 4) of each image: x1, y1, x2, y2 in pixels from the upper left corner, inside the image.
        classes: int64 (k,) of each image, positions in `class_names`.
        sizes: int64 (N, 2), width and height of each image in pixels, upright; 0 = not known.
        labels: int64 (n,), the number of boxes.
        class_names: one name a class.
        keys: n unique names that stay with the samples.
        rows: int64 (n,), which of the whole set these are; empty = all, in order.
        size: width and height in pixels that every image is scaled to, whatever its shape; None = as it is.
        views: what training does to an image and its boxes, once it is scaled.
        mean: three numbers in units of the full range; 0 and `std` 1 leave the inputs in [0, 1].
        std: likewise.
        workers: processes that decode; 0 = this one. It has no influence on the result.
        quarantine: the samples that cannot be read; by default the first one is an error.
        kept: uint8 (h, w, 3) of images that are decoded and scaled already, by row; see `held`.
        problems: what is wrong in the data, as `tamis.data.boxes.BoxSet` has it.
        ignored: float32 (r, 4) of each image of the whole set, regions that count for nothing; empty = not known.
        columns: float32 (k,) of each image of the whole set, by name, such as "occlusion".

    Raises:
        ValueError: types, ranges or lengths do not fit, a key comes twice, or a box has no area in its image.
    """

    read: Read = field(repr=False)
    boxes: Sequence[np.ndarray] = field(repr=False)
    classes: Sequence[np.ndarray] = field(repr=False)
    sizes: np.ndarray = field(repr=False)
    labels: Tensor
    class_names: tuple[str, ...]
    keys: Sequence[str] = field(repr=False)
    rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    size: tuple[int, int] | None = None
    views: BoxViews = field(default_factory=BoxViews)
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    workers: int = 0
    quarantine: Quarantine = field(default_factory=Quarantine, repr=False)
    kept: Mapping[int, np.ndarray] = field(default_factory=dict, repr=False)
    problems: "Sequence[Problem]" = field(default=(), repr=False)
    ignored: Sequence[np.ndarray] = field(default=(), repr=False)
    columns: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not len(self.rows):
            object.__setattr__(self, "rows", torch.arange(len(self.labels)))
        # Counts are no classes: whether they are right is seen from the boxes.
        check_samples(len(self.rows), torch.zeros_like(self.labels), ("count",), self.keys)
        check_scale(self.mean, self.std, 3)
        if self.workers < 0:
            raise ValueError(f"workers must be at least 0, got {self.workers!r}")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size must be a width and height of at least 1 pixel, got {self.size!r}")
        self._check_boxes()

    @classmethod
    def from_boxes(cls, found: "BoxSet", **settings: Any) -> Self:
        """The images of one split, as `tamis.data.boxes.open_boxes` finds them; `settings` are attributes."""
        read, counts = Files(found.root, found.names), torch.from_numpy(found.counts)
        return cls(
            read, found.boxes, found.labels, found.sizes, counts, found.class_names, found.names,
            problems=found.problems, ignored=found.ignored, columns=found.columns, **settings,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, plan: Iterable[Tensor], *, epoch: int, seed: int, train: bool) -> Iterator[Batch]:
        """Batches of images and their boxes; the arguments are those of `FileImages.batches`.

        inputs are float32 (b, 3, H, W). targets are float32 (b, k, 5) for the k of the image with the most boxes: x1,
        y1, x2, y2 in pixels of the inputs, class. A row of class -1 is padding, or a box that is not seen.

        Raises:
            IndexError: a position outside the source.
            ValueError: the images of a batch differ in their size; see `groups`.
            UnreadableImage: more files than allowed cannot be decoded; the message names them.
            DeadWorker: a worker was killed or failed; the message names what it was at.
        """
        plan = of_one_size(plan, self._seen_sizes(), self.keys, "", "give a size, or batches by `groups`")
        return delivered(self, plan, epoch=epoch, seed=seed, train=train)

    def groups(self, train: bool) -> Tensor | None:
        """What may share a batch, in training and in evaluation: images with one number; None = all.

        Returns:
            int64 (n,), the number of the image's size; an image of unknown size is with the first known one.
        """
        return size_groups(self._seen_sizes())

    def truth(self, index: int) -> Detections:
        """The boxes of an image as evaluation sees it, each with confidence 1; none of one that was removed."""
        boxes, classes = self._boxes(index)
        return Detections(torch.from_numpy(boxes), torch.ones(len(boxes)), torch.from_numpy(classes))

    def boxes_of(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The boxes of an image as it is, float32 (k, 4), and their classes, int64 (k,); none of a removed one."""
        row = int(self.rows[index])
        if row < 0:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        return self.boxes[row], self.classes[row]

    @cached_property
    def box_starts(self) -> Tensor:
        """int64 (n + 1,), rising from 0: the j-th box of the image at position i has the row box_starts[i] + j."""
        counts = [len(self.boxes[row]) if row >= 0 else 0 for row in self.rows.tolist()]
        return torch.tensor([0, *counts]).cumsum(0)

    @cached_property
    def box_labels(self) -> Tensor:
        """int64 (box_starts[n],), the class of every box, by row."""
        return torch.from_numpy(np.concatenate([self.boxes_of(index)[1] for index in range(len(self))]))

    def box_keys(self, index: int) -> list[str]:
        """Names of the boxes of an image: they stay with a box, whatever other boxes come, go or change their order.

        Returns:
            "IMAGE#CLASS:x1,y1,x2,y2" of each, in pixels of the image with two decimals; "~2" behind the second of the
            same name, and so on.
        """
        boxes, classes = self.boxes_of(index)
        seen, keys = Counter[str](), list[str]()
        for box, label in zip(boxes.tolist(), classes.tolist(), strict=True):
            corners = ",".join(f"{value:.2f}" for value in box)
            key = f"{self.keys[index]}#{self.class_names[label]}:{corners}"
            seen[key] += 1
            keys.append(key if seen[key] == 1 else f"{key}~{seen[key]}")
        return keys

    def thumbnail(self, index: int) -> Image.Image:
        """The whole image, upright, RGB, as it is.

        Raises:
            UnreadableImage: the file cannot be decoded.
        """
        return decode(self.read(int(self.rows[index])), self.keys[index])

    def held(self, limit: int = 1 << 30) -> Self:
        """The same images, decoded and scaled now and kept, if together they take at most `limit` bytes; else these.

        What cannot be read is not kept, and found again by `batches`.
        """
        if 3 * self._seen_sizes()[self.rows.numpy() >= 0].prod(1).sum() > limit:
            return self
        return replace(self, kept=kept_pixels(self.rows, self._pixels))

    def select(self, index: Tensor) -> Self:
        """The samples at these positions (int64 (m,)) as a source of its own."""
        columns = selected(self, index)
        return replace(self, rows=self.rows[index], **columns)

    def with_labels(self, labels: Tensor) -> Self:
        """The same images; the labels, int64 (n,), must be the numbers of boxes that they have."""
        return replace(self, labels=labels)

    def with_size(self, size: tuple[int, int] | None) -> Self:
        """The same images, scaled to another width and height; nothing is kept of what was decoded."""
        return replace(self, size=size, kept={})

    def with_views(self, views: BoxViews) -> Self:
        """The same images, augmented otherwise."""
        return replace(self, views=views)

    def with_scale(self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """The same images, normalised otherwise."""
        return replace(self, mean=tuple(mean), std=tuple(std))

    def with_workers(self, workers: int) -> Self:
        """The same images, decoded by so many processes."""
        return replace(self, workers=workers)

    def batch(
        self, index: Tensor, epoch: int, seed: int, train: bool, begin: Callable[[int], None] | None = None
    ) -> tuple[Batch, dict[str, str]]:
        """Decode one batch here and now, and record nothing; see `batches` and `FileImages.batch`."""
        draws = uniforms(seed, epoch, index, "augmentation", self.views.draws).tolist()
        width, height = self._seen_sizes()[index[0]].tolist()
        inputs, rows = torch.zeros(len(index), 3, height, width), list[np.ndarray]()
        kept, reasons = list[int](), dict[str, str]()
        for place, position, pixels in readable(index, self.keys, self._pixels, begin, reasons):
            boxes, classes = self._boxes(position)
            view = self.views.view(width, height, draws[place]) if train else View((0, 0, width, height))
            image = torch.from_numpy(seen_pixels(pixels, view).astype(np.float32)).permute(2, 0, 1)
            inputs[len(kept)] = normalise(lit(image, view)[None], self.mean, self.std)[0]
            boxes, classes = seen_boxes(boxes, classes, width, height, view)
            rows.append(np.column_stack([boxes, classes.astype(np.float32)]))
            kept.append(place)
        return Batch(index[kept], inputs[: len(kept)], _padded(rows)), reasons

    def _boxes(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The boxes of an image in pixels of what the model gets, and their classes."""
        boxes, classes = self.boxes_of(index)
        if self.size is None or not len(boxes):
            return boxes, classes
        width, height = self.sizes[self.rows[index]].tolist()
        return scaled_boxes(boxes, self.size[0] / width, self.size[1] / height), classes

    def _pixels(self, position: int) -> np.ndarray:
        """An image, uint8 (h, w, 3), of the size that the model gets."""
        row = int(self.rows[position])
        if row in self.kept:
            return self.kept[row]
        pixels = np.asarray(read_sized(self.read, row, self.keys[position], self.sizes[row].tolist(), "boxes"))
        return pixels if self.size is None else scaled_pixels(pixels, *self.size)

    def _seen_sizes(self) -> np.ndarray:
        """Width and height of what the model gets, int64 (n, 2)."""
        if self.size is not None:
            return np.tile(np.array(self.size, np.int64), (len(self), 1))
        return known_sizes(self.sizes, self.rows)

    def _check_boxes(self) -> None:
        """Boxes of every image, inside of it, of known classes, and as many as the labels say."""
        check_sizes(self.sizes, self.rows, len(self.boxes), "boxes")
        if len(self.classes) != len(self.boxes):
            raise ValueError(f"classes must be of {len(self.boxes)} images, those with boxes, got {len(self.classes)}")
        places = [position for position, row in enumerate(self.rows.tolist()) if row >= 0]
        rows = self.rows[places].tolist()
        boxes, classes = ([whole[row] for row in rows] for whole in (self.boxes, self.classes))
        for position, box, label, count in zip(places, boxes, classes, self.labels[places].tolist(), strict=True):
            name = self.keys[position]
            if box.dtype != np.float32 or box.ndim != 2 or box.shape[1] != 4:
                raise ValueError(f"boxes must be float32 (k, 4), got {box.dtype} {box.shape} for {name!r}")
            if label.dtype != np.int64 or label.shape != (len(box),):
                raise ValueError(f"classes must be int64 ({len(box)},), got {label.dtype} {label.shape} for {name!r}")
            if len(box) != count:
                raise ValueError(f"label must be the number of boxes, {len(box)}, got {count} for {name!r}")
        if sum(map(len, boxes)):
            # All at once: a loop would take seconds for every copy of a large set.
            image = np.repeat(np.arange(len(places)), [len(box) for box in boxes])
            self._check_values(np.concatenate(boxes), np.concatenate(classes), np.array(places)[image])

    def _check_values(self, boxes: np.ndarray, classes: np.ndarray, positions: np.ndarray) -> None:
        """Boxes (m, 4), their classes and the positions of their images."""
        known = (classes >= 0) & (classes < len(self.class_names))
        sizes = self.sizes[self.rows.numpy()[positions]]
        good = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1) & (boxes[:, 2:] <= sizes).all(1)
        if (known & good).all():
            return
        first = int((known & good).argmin())
        name, wrong = self.keys[positions[first]], boxes[first].tolist()
        if not known[first]:
            classes_known = f"[0, {len(self.class_names)}), the classes"
            raise ValueError(f"class must be in {classes_known}, got {classes[first]} for {name!r}; correct it")
        shown = " x ".join(map(str, sizes[first].tolist()))
        raise ValueError(f"box must have an area in the image of {shown} pixels, got {wrong!r} for {name!r}; drop it")


def _padded(rows: Sequence[np.ndarray]) -> Tensor:
    """Rows (k, 5) of each image -> float32 (b, most, 5); what is missing are rows of zeros with the class -1."""
    targets = torch.zeros(len(rows), max(map(len, rows), default=0), 5)
    targets[:, :, 4] = -1
    for place, each in enumerate(rows):
        targets[place, : len(each)] = torch.from_numpy(each)
    return targets
