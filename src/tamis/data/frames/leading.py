"""The first part of a sequence of frames: the rest is kept for something else."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tamis.data.frames.frame import Frame, FrameRef, Lost
from tamis.data.frames.open import Frames


@dataclass(frozen=True, eq=False)
class Leading:
    """The frames before a place, as `Frames` gives them.

    Attributes:
        frames: all of them.
        end: the first place that is not among these.
        share: about how large a part these are, in (0, 1).
    """

    frames: Frames
    end: FrameRef
    share: float

    @property
    def expected(self) -> int:
        """About how many."""
        return round(self.share * self.frames.expected)

    @property
    def lost(self) -> list[Lost]:
        """As of `Frames`."""
        return self.frames.lost

    def scan(self, after: FrameRef | None = None) -> Iterator[Frame]:
        """As of `Frames`, up to the end of this part."""
        for frame in self.frames.scan(after):
            if frame.ref >= self.end:
                return
            yield frame

    def take(self, refs: Iterable[FrameRef]) -> Iterator[Frame]:
        """As of `Frames`."""
        return self.frames.take(refs)

    def identity(self) -> dict[str, Any]:
        """As of `Frames`, with the end of this part."""
        return self.frames.identity() | {"end": list(self.end)}
