"""Images in files whose sizes are known before they are decoded: what sources of points and of boxes share."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tamis.data.checks import check_index
from tamis.data.decode import Read, UnreadableImage, decode


def read_sized(read: Read, row: int, key: str, size: Sequence[int], what: str) -> Image.Image:
    """An image, upright, RGB, if it still has the width and height that its `what` (points, boxes) were read with.

    Raises:
        UnreadableImage: it cannot be decoded, or has another size.
    """
    image = decode(read(row), key)
    if image.size != tuple(size):
        reason = f"{image.width} x {image.height} pixels where its {what} are of {size[0]} x {size[1]}"
        raise UnreadableImage(f"image must not change while it is used, got {reason} in {key!r}", reason)
    return image


def readable(
    index: Tensor,
    keys: Sequence[str],
    pixels: Callable[[int], np.ndarray],
    begin: Callable[[int], None] | None,
    reasons: dict[str, str],
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Place in the batch, position and pixels of what can be read of a batch; `reasons` gets the rest, by key.

    Args:
        index: int64 (b,), positions.
        keys: names of all samples.
        pixels: reads an image.
        begin: called with each position before its file is read.
        reasons: is filled.
    """
    positions: list[int] = index.tolist()
    for place, position in enumerate(positions):
        if begin is not None:
            begin(position)
        try:
            found = pixels(position)
        except UnreadableImage as error:
            reasons[keys[position]] = error.reason
            continue
        yield place, position, found


def kept_pixels(rows: Tensor, pixels: Callable[[int], np.ndarray]) -> dict[int, np.ndarray]:
    """The pixels of all images that can be read, by row: int64 (n,); a row of -1 has none."""
    kept: dict[int, np.ndarray] = {}
    for position, row in enumerate(rows.tolist()):
        if row < 0:
            continue
        try:
            kept[row] = pixels(position)
        except UnreadableImage:  # found again where it is needed
            continue
    return kept


def known_sizes(sizes: np.ndarray, rows: Tensor) -> np.ndarray:
    """Width and height of the images at these rows, int64 (n, 2); an unknown one gets the first that is known.

    Args:
        sizes: int64 (N, 2), 0 = not known.
        rows: int64 (n,); -1 = an image that was removed.
    """
    places = rows.numpy()
    found = np.where(places[:, None] < 0, 0, sizes[places])
    unknown = (found == 0).any(1)
    found[unknown] = found[unknown.argmin()]
    return found


def size_groups(sizes: np.ndarray) -> Tensor | None:
    """The number of each image's size, int64 (n,); None where all have one."""
    group = torch.from_numpy(np.unique(sizes, axis=0, return_inverse=True)[1].reshape(-1))
    return group if group.any() else None


def of_one_size(
    plan: Iterable[Tensor], sizes: np.ndarray, keys: Sequence[str], where: str, advice: str
) -> Iterator[Tensor]:
    """The plan, held to batches of one size.

    Args:
        plan: int64 (b,), positions.
        sizes: int64 (n, 2), what the model gets.
        keys: names of the samples.
        where: what an error says of the sizes.
        advice: what it says to do.

    Raises:
        IndexError: a position outside the source.
        ValueError: two images of a batch differ.
    """
    for index in plan:
        check_index(index, len(keys))
        seen = sizes[index.numpy()]
        other = (seen != seen[0]).any(1).nonzero()[0]
        if len(other):
            one, two = int(index[0]), int(index[other[0]])
            shown = [" x ".join(map(str, sizes[each])) for each in (one, two)]
            raise ValueError(
                f"images of a batch must have one size{where}, got {shown[0]} in {keys[one]!r} and {shown[1]} in "
                f"{keys[two]!r}; {advice}"
            )
        yield index


def check_sizes(sizes: np.ndarray, rows: Tensor, count: int, what: str) -> None:
    """Sizes int64 (count, 2), and rows among them.

    Raises:
        ValueError: they are not; `what` says what images of the set have.
    """
    if tuple(sizes.shape) != (count, 2) or sizes.dtype != np.int64:
        raise ValueError(f"sizes must be int64 ({count}, 2), got {sizes.dtype} {tuple(sizes.shape)}")
    if int(rows.max()) >= count:
        raise ValueError(f"rows must be in [-1, {count}), the images with {what}, got {int(rows.max())}")
