"""Which frames of a video are used: a pure function of time stamps, so that it can go on anywhere."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Sampling:
    """The frames in use.

    Attributes:
        fps: of a video, the first frame at or after k / fps seconds for k = 0, 1, ...; None = all frames. Images have
            no times: all of them are used.
        every: of these, every k-th of a source, from its first.
    """

    fps: Fraction | None = None
    every: int = 1


def sampling(fps: float | None, every: int) -> Sampling:
    """Checked settings.

    Raises:
        ValueError: fps is not positive and finite, or every is below 1.
    """
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"fps must be positive, got {fps!r}; leave it out to use all frames")
    if every < 1:
        raise ValueError(f"every must be 1 or more, got {every!r}; 1 uses all frames")
    return Sampling(None if fps is None else Fraction(str(fps)), every)


class Chooser:
    """Says of the frames of one video, in order, whether each is used.

    Args:
        sampling: the settings.
        tick: seconds of one unit of the time stamps.
        origin: time stamp where the video starts.
    """

    def __init__(self, sampling: Sampling, tick: Fraction, origin: int) -> None:
        self._every = sampling.every
        self._rate = None if sampling.fps is None else sampling.fps * tick
        self._origin = origin
        self._slot = -1
        self._count = -1

    def passed(self, pts: int) -> None:
        """Take note of the frame that was used last, and of nothing before it."""
        self._slot = self._slot_of(pts)
        self._count = 0

    def __call__(self, pts: int) -> bool:
        """Whether the next frame is used."""
        if self._rate is not None:
            slot = self._slot_of(pts)
            if slot <= self._slot:
                return False
            self._slot = slot
        self._count += 1
        return self._count % self._every == 0

    def next_pts(self) -> int | None:
        """The lowest time stamp that the next frame in use may have, or None if that is the next frame.

        With `every`, the slots between count too, and they have a frame only if the video has one there.
        """
        if self._rate is None:
            return None
        return self._origin + -(-(self._slot + 1) * self._rate.denominator // self._rate.numerator)

    def _slot_of(self, pts: int) -> int:
        if self._rate is None:
            return 0
        return (pts - self._origin) * self._rate.numerator // self._rate.denominator
