"""The pixels of a decoded video frame: upright, grey or RGB, at any size."""

import struct
import threading
from typing import TYPE_CHECKING

import numpy as np

from tamis.data.frames.frame import FrameRef

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

_own = threading.local()  # a scaler keeps tables of the last sizes, and serves one thread at a time

# Turns (np.rot90, anticlockwise) and a flip of left and right before them, by the signs of the matrix's
# (a, b, c, d): a point (x, y) is shown at (a x + c y, b x + d y) (ISO 14496-12, 8.5.2), y down.
_UPRIGHT = {
    (1, 0, 0, 1): (0, False),
    (0, 1, -1, 0): (3, False),
    (-1, 0, 0, -1): (2, False),
    (0, -1, 1, 0): (1, False),
    (-1, 0, 0, 1): (0, True),
    (0, -1, -1, 0): (3, True),
    (1, 0, 0, -1): (2, True),
    (0, 1, 1, 0): (1, True),
}


class Picture:
    """A frame of a video (see `Frame`)."""

    __slots__ = ("_decoded", "_lock", "key", "ref", "seconds", "source_name")

    def __init__(self, ref: FrameRef, source_name: str, seconds: float | None, decoded: "VideoFrame") -> None:
        self.ref = ref
        self.key = f"{source_name}@{ref.pts}"
        self.source_name = source_name
        self.seconds = seconds
        self._decoded = decoded
        self._lock = threading.Lock()

    @property
    def width(self) -> int:
        """Pixels, upright."""
        return self._decoded.height if self._upright()[0] % 2 else self._decoded.width

    @property
    def height(self) -> int:
        """Pixels, upright."""
        return self._decoded.width if self._upright()[0] % 2 else self._decoded.height

    def grey(self, width: int, height: int) -> np.ndarray:
        """Luma, uint8 (height, width), as means of areas."""
        return self._pixels("gray", "AREA", (width, height))

    def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
        """Colour, uint8 (h, w, 3); size = (width, height)."""
        return self._pixels("rgb24", "BILINEAR", size)

    def _pixels(self, kind: str, how: str, size: tuple[int, int] | None) -> np.ndarray:
        turns, flipped = self._upright()
        width, height = size or (None, None)
        if turns % 2:
            width, height = height, width
        with self._lock:  # converting writes to the frame's tags for a moment
            shown = _scaler().reformat(self._decoded, width, height, kind, interpolation=how, threads=1)
        pixels = shown.to_ndarray()
        if flipped:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, turns))

    def _upright(self) -> tuple[int, bool]:
        matrix = self._decoded.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return 0, False
        a, b, _, c, d, *_ = struct.unpack("9i", bytes(matrix))
        signs = tuple((value > 0) - (value < 0) for value in (a, b, c, d))
        return _UPRIGHT.get(signs, (0, False))  # type: ignore[arg-type]


def _scaler() -> "VideoReformatter":
    if not hasattr(_own, "scaler"):
        from av.video.reformatter import VideoReformatter

        _own.scaler = VideoReformatter()
    return _own.scaler
