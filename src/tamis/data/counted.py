"""Images of any size in files, with a point for each head (cell, car, fruit): what a counter learns from.

What `tamis.data.images` says of sources holds for these: what is seen of a sample is a function of (seed, epoch,
position), and of nothing else. Neither is the order of an image's points of any influence, to the last bit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tamis.batch import Batch
from tamis.data.augment import normalise
from tamis.data.checks import check_samples, check_scale
from tamis.data.count_views import CountViews, View, cut, lit, seen_density
from tamis.data.decode import Files, Read, decode
from tamis.data.delivery import delivered
from tamis.data.density import Density, inside
from tamis.data.density_cache import DensityCache
from tamis.data.images import IMAGENET_MEAN, IMAGENET_STD
from tamis.data.memory import selected
from tamis.data.quarantine import Quarantine
from tamis.data.sized import check_sizes, kept_pixels, known_sizes, of_one_size, read_sized, readable, size_groups
from tamis.moment import uniforms

if TYPE_CHECKING:  # it looks at images too, and so at this module
    from tamis.data.annotations import Problem
    from tamis.data.points import PointSet


@dataclass(frozen=True, eq=False)
class CountedImages:
    """Images with points; batches of them carry density maps whose sum is the count in view.

    `read`, `points` and `sizes` are of the whole set and indexed by `rows`; a row of -1 stands for an image that was
    removed from the data.

    Attributes:
        read: gives the file of the i-th image of the whole set.
        points: float64 (k, 2) of each image, x and y in pixels from the upper left corner, inside the image.
        sizes: int64 (N, 2), width and height of each image in pixels, upright; 0 = not known.
        labels: int64 (n,), the number of points.
        keys: n unique names that stay with the samples.
        rows: int64 (n,), which of the whole set these are; empty = all, in order.
        density: how a point becomes a part of the map.
        stride: pixels a side of a cell of the map: the model's output stride.
        views: what training does to an image and its map.
        mean: three numbers in units of the full range.
        std: likewise.
        workers: processes that decode; 0 = this one. It has no influence on the result.
        quarantine: the samples that cannot be read; by default the first one is an error.
        cache: keeps the maps of whole images on disk, if it is given. It has no influence on the result.
        kept: uint8 (h, w, 3) of images that are decoded already, by row; see `held`.
        problems: what is wrong in the data, as `tamis.data.points.PointSet` has it.
        class_names: none.

    Raises:
        ValueError: types, ranges or lengths do not fit, a key comes twice, or a point lies outside its image.
    """

    read: Read = field(repr=False)
    points: Sequence[np.ndarray] = field(repr=False)
    sizes: np.ndarray = field(repr=False)
    labels: Tensor
    keys: Sequence[str] = field(repr=False)
    rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    density: Density = field(default_factory=Density)
    stride: int = 1
    views: CountViews = field(default_factory=CountViews)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    workers: int = 0
    quarantine: Quarantine = field(default_factory=Quarantine, repr=False)
    cache: DensityCache | None = field(default=None, repr=False)
    kept: Mapping[int, np.ndarray] = field(default_factory=dict, repr=False)
    problems: "Sequence[Problem]" = field(default=(), repr=False)
    class_names: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        if not len(self.rows):
            object.__setattr__(self, "rows", torch.arange(len(self.labels)))
        # Counts are no classes: whether they are right is seen from the points.
        check_samples(len(self.rows), torch.zeros_like(self.labels), ("count",), self.keys)
        check_scale(self.mean, self.std, 3)
        for name, value, least in (("workers", self.workers, 0), ("stride", self.stride, 1)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value!r}")
        self._check_points()

    @classmethod
    def from_points(cls, found: "PointSet", **settings: Any) -> Self:
        """The images of one split, as `tamis.data.points.open_points` finds them; `settings` are attributes."""
        counts, read = torch.from_numpy(found.counts), Files(found.root, found.names)
        return cls(read, found.points, found.sizes, counts, found.names, problems=found.problems, **settings)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, plan: Iterable[Tensor], *, epoch: int, seed: int, train: bool) -> Iterator[Batch]:
        """Batches of normalised images and their maps; the arguments are those of `FileImages.batches`.

        inputs are float32 (b, 3, H, W), H and W multiples of the stride: the image is at the upper left, the rest is
        zero. targets are float32 (b, 1, H / stride, W / stride); heads just outside the view leak into it as they do
        in the map of the whole image.

        Raises:
            IndexError: a position outside the source.
            ValueError: the images of a batch differ in their padded size; see `groups`.
            UnreadableImage: more files than allowed cannot be decoded; the message names them.
            DeadWorker: a worker was killed or failed; the message names what it was at.
        """
        where, advice = f", padded to the stride {self.stride}", "take a patch, or batches by `groups`"
        plan = of_one_size(plan, self._padded(train), self.keys, where, advice)
        return delivered(self, plan, epoch=epoch, seed=seed, train=train)

    def groups(self, train: bool) -> Tensor | None:
        """What may share a batch, in training or in evaluation: images with one number; None = all.

        Returns:
            int64 (n,), the number of the image's padded size; an image of unknown size is with the first known one.
        """
        return size_groups(self._padded(train))

    def points_of(self, index: int) -> np.ndarray:
        """The points of an image, float64 (k, 2), from top to bottom; none of one that was removed."""
        row = int(self.rows[index])
        if row < 0:
            return np.empty((0, 2))
        points = self.points[row]
        return points[np.lexsort(points.T)]

    def thumbnail(self, index: int) -> Image.Image:
        """The whole image, upright, RGB.

        Raises:
            UnreadableImage: the file cannot be decoded.
        """
        return decode(self.read(int(self.rows[index])), self.keys[index])

    def held(self, limit: int = 1 << 30) -> Self:
        """The same images, decoded now and kept, if together they take at most `limit` bytes; else these.

        What cannot be read is not kept, and found again by `batches`.
        """
        rows = self.rows[self.rows >= 0].numpy()
        if 3 * self.sizes[rows].prod(1).sum() > limit:
            return self
        return replace(self, kept=kept_pixels(self.rows, self._pixels))

    def select(self, index: Tensor) -> Self:
        """The samples at these positions (int64 (m,)) as a source of its own."""
        columns = selected(self, index)
        return replace(self, rows=self.rows[index], **columns)

    def with_labels(self, labels: Tensor) -> Self:
        """The same images; the labels, int64 (n,), must be the counts that they have."""
        return replace(self, labels=labels)

    def with_views(self, views: CountViews) -> Self:
        """The same images, augmented otherwise."""
        return replace(self, views=views)

    def with_scale(self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """The same images, normalised otherwise."""
        return replace(self, mean=tuple(mean), std=tuple(std))

    def with_stride(self, stride: int) -> Self:
        """The same images, for a model of another output stride."""
        return replace(self, stride=stride)

    def with_workers(self, workers: int) -> Self:
        """The same images, decoded by so many processes."""
        return replace(self, workers=workers)

    def batch(
        self, index: Tensor, epoch: int, seed: int, train: bool, begin: Callable[[int], None] | None = None
    ) -> tuple[Batch, dict[str, str]]:
        """Decode one batch here and now, and record nothing; see `batches` and `FileImages.batch`."""
        draws = uniforms(seed, epoch, index, "augmentation", self.views.draws).tolist()
        across, down = self._padded(train)[index[0]].tolist()
        inputs = torch.zeros(len(index), 3, down, across)
        targets = torch.zeros(len(index), 1, down // self.stride, across // self.stride)
        kept, reasons = list[int](), dict[str, str]()
        for place, position, pixels in readable(index, self.keys, self._pixels, begin, reasons):
            height, width = pixels.shape[:2]
            view = self.views.view(width, height, draws[place]) if train else View((0, 0, width, height))
            image = torch.from_numpy(cut(pixels, view).astype(np.float32)).permute(2, 0, 1)
            image = normalise(lit(image, view)[None], self.mean, self.std)[0]
            inputs[len(kept), :, : image.shape[1], : image.shape[2]] = image
            cells = self._cells(position, view)
            targets[len(kept), 0, : cells.shape[0], : cells.shape[1]] = cells
            kept.append(place)
        return Batch(index[kept], inputs[: len(kept)], targets[: len(kept)]), reasons

    def _cells(self, position: int, view: View) -> Tensor:
        """The view's part of the map, (ceil(h / stride), ceil(w / stride))."""
        points, (width, height) = self.points_of(position), self.sizes[self.rows[position]].tolist()
        return seen_density(points, width, height, view, self.density, self.stride, self.cache)

    def _pixels(self, position: int) -> np.ndarray:
        """An image, uint8 (h, w, 3), of the size that its points were read with."""
        row = int(self.rows[position])
        if row in self.kept:
            return self.kept[row]
        return np.asarray(read_sized(self.read, row, self.keys[position], self.sizes[row].tolist(), "points"))

    def _padded(self, train: bool) -> np.ndarray:
        """Width and height of what the model gets, int64 (n, 2)."""
        sizes = known_sizes(self.sizes, self.rows)
        if train and self.views.patch:
            sizes[:] = self.views.patch
        return -(-sizes.clip(min=1) // self.stride) * self.stride

    def _check_points(self) -> None:
        """Points of every image, inside of it, and as many as the labels say."""
        check_sizes(self.sizes, self.rows, len(self.points), "points")
        for position, row in enumerate(self.rows.tolist()):
            if row < 0:
                continue
            points, size, name = self.points[row], self.sizes[row], self.keys[position]
            if points.dtype != np.float64 or points.ndim != 2 or points.shape[1] != 2:
                raise ValueError(f"points must be float64 (k, 2), got {points.dtype} {points.shape} for {name!r}")
            if len(points) != self.labels[position]:
                got = int(self.labels[position])
                raise ValueError(f"label must be the number of points, {len(points)}, got {got} for {name!r}")
            if size.all() and not (seen := inside(points, *size.tolist())).all():
                wrong, shown = points[~seen][0].tolist(), " x ".join(map(str, size.tolist()))
                raise ValueError(f"points must be in the image of {shown} pixels, got {wrong!r} for {name!r}; drop it")
