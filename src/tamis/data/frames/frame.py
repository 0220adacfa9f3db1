"""What a source of frames gives: frames that are converted when they are used, and notes of what was lost."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


class FrameRef(NamedTuple):
    """Which frame: its source, and its place there.

    Attributes:
        source: position of the source among those that were opened.
        pts: time stamp in the units of the video; the frame's number in a video without time stamps, and the image's
            position among images.
    """

    source: int
    pts: int


@dataclass(frozen=True)
class Lost:
    """Frames that could not be read.

    Attributes:
        source: name of the video or image.
        where: for example "after 12.480 s".
        reason: what the decoder said.
        frames: about how many, by the usual distance of frames; 0 = unknown.
    """

    source: str
    where: str
    reason: str
    frames: int


class Frame(Protocol):
    """A frame whose pixels are converted only when they are asked for, from any thread.

    A frame of a video holds its decoded picture (1.5 bytes a pixel mostly): use it and let it go, and `Frames.take`
    it again later.
    """

    @property
    def ref(self) -> FrameRef:
        """Which frame it is."""
        ...

    @property
    def key(self) -> str:
        """Its name, unique and stable: "cam.mp4@<pts>", or an image's name; relative to the sources' common folder."""
        ...

    @property
    def source_name(self) -> str:
        """The name of the video, the folder or the list that it comes from."""
        ...

    @property
    def seconds(self) -> float | None:
        """Seconds since the video's start; None for an image."""
        ...

    @property
    def width(self) -> int:
        """Pixels, upright: as it is shown, after rotation."""
        ...

    @property
    def height(self) -> int:
        """Pixels, upright."""
        ...

    def grey(self, width: int, height: int) -> np.ndarray:
        """Luma, uint8 (height, width), as means of areas; no colour is converted."""
        ...

    def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
        """Colour, uint8 (h, w, 3), contiguous.

        Args:
            size: (width, height) to resize to, bilinear with anti-aliasing.
        """
        ...
