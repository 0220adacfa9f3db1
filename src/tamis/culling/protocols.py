"""What culling asks of frames, wherever they come from."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


class Frame(Protocol):
    """A frame whose pixels are converted only when they are asked for, from any thread."""

    @property
    def ref(self) -> tuple[int, int]:
        """Source and time stamp."""
        ...

    @property
    def key(self) -> str:
        """Its name, unique and stable."""
        ...

    @property
    def source_name(self) -> str:
        """Of the video, folder or list that it comes from."""
        ...

    @property
    def seconds(self) -> float | None:
        """Since the source's start; None for an image."""
        ...

    @property
    def width(self) -> int:
        """Pixels."""
        ...

    @property
    def height(self) -> int:
        """Pixels."""
        ...

    def grey(self, width: int, height: int) -> Pixels:
        """Luma, uint8 (height, width)."""
        ...

    def rgb(self, size: tuple[int, int] | None = None) -> Pixels:
        """Colour, uint8 (h, w, 3), resized to (width, height)."""
        ...


class Frames(Protocol):
    """Frames of a camera, in order."""

    @property
    def expected(self) -> int:
        """How many, about."""
        ...

    @property
    def lost(self) -> Sequence[Any]:
        """What could not be decoded so far: dataclasses `Lost`."""
        ...

    def scan(self, after: Any = None) -> Iterator[Frame]:
        """All frames after this ref."""
        ...

    def take(self, refs: Sequence[Any]) -> Iterator[Frame]:
        """Only these, in order, as far as they can be read."""
        ...

    def identity(self) -> dict[str, Any]:
        """What makes other frames if it is changed, for JSON; "sources" is a list with a "name" in each."""
        ...
