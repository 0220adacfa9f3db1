"""Image files as a source of frames, in a given order."""

import hashlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tamis.data.decode import UnreadableImage, decode
from tamis.data.frames.frame import FrameRef, Lost
from tamis.data.frames.sampling import Sampling


class Still:
    """A frame that is an image file (see `Frame`)."""

    __slots__ = ("_image", "key", "ref", "source_name")

    seconds = None

    def __init__(self, ref: FrameRef, key: str, source_name: str, image: Image.Image) -> None:
        self.ref = ref
        self.key = key
        self.source_name = source_name
        self._image = image

    @property
    def width(self) -> int:
        """Pixels, upright."""
        return self._image.width

    @property
    def height(self) -> int:
        """Pixels, upright."""
        return self._image.height

    def grey(self, width: int, height: int) -> np.ndarray:
        """Luma (ITU-R BT.601), uint8 (height, width), as means of areas."""
        return np.array(self._image.convert("L").resize((width, height), Image.Resampling.BOX))

    def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
        """Colour, uint8 (h, w, 3); size = (width, height)."""
        image = self._image if size is None else self._image.resize(size, Image.Resampling.BILINEAR)
        return np.array(image)


class Stills:
    """Images, of any of PIL's formats, as frames without times; see `open_frames`.

    Args:
        name: of the folder or list.
        paths: the files, in order.
        keys: (n,) unique names.
    """

    def __init__(self, name: str, paths: Sequence[Path], keys: Sequence[str]) -> None:
        self.name = name
        self._paths = paths
        self._keys = keys

    def expected(self, sampling: Sampling) -> int:
        """How many images are used."""
        return -(-len(self._paths) // sampling.every)

    def place(self, share: float) -> int:
        """The position with about so large a share of the images before it."""
        return int(share * len(self._paths))

    def read(
        self, number: int, sampling: Sampling, after: int | None = None, begin: int | None = None
    ) -> Generator[Still | Lost]:
        """The images in use, in order, and those among them that cannot be read.

        Args:
            number: of this source.
            sampling: which images are used, readable or not.
            after: only what follows this position.
            begin: only this position and what follows it.

        Raises:
            ValueError: there is no such position.
        """
        if after is not None:
            self._check(after)
        first = begin or 0 if after is None else after + sampling.every
        for place in range(first, len(self._paths), sampling.every):
            try:
                yield self._still(number, place)
            except UnreadableImage as error:
                yield Lost(self._keys[place], "the whole image", error.reason, 1)

    def take(self, number: int, places: Sequence[int]) -> Generator[Still]:
        """The images at these positions, in this order.

        Raises:
            ValueError: there is no such position.
            UnreadableImage: the image cannot be read.
        """
        for place in places:
            self._check(place)
            yield self._still(number, place)

    def identity(self) -> dict[str, Any]:
        """Name, number of images, and a digest of their names, sizes and dates."""
        digest = hashlib.blake2b(digest_size=16)
        for path, key in zip(self._paths, self._keys, strict=True):
            status = path.stat() if path.exists() else None
            digest.update(f"{key!r} {status and (status.st_size, status.st_mtime_ns)}\n".encode())
        return {"name": self.name, "images": len(self._paths), "digest_of_list": digest.hexdigest()}

    def _still(self, number: int, place: int) -> Still:
        key = self._keys[place]
        return Still(FrameRef(number, place), key, self.name, decode(self._paths[place], key))

    def _check(self, place: int) -> None:
        if not 0 <= place < len(self._paths):
            raise ValueError(
                f"frame must be one of {len(self._paths)} images in {self.name!r}, got {place}; has it changed?"
            )
