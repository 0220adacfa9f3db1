"""When a checkpoint is due, and what happens when it cannot be written."""

import errno
import time
import warnings
from collections.abc import Callable
from typing import Literal

# Checkpoints take at most this share of the time between them, so that they cost a training less than 3 %.
_SHARE = 0.02
_FIRST = 10.0  # seconds until the first one, whose cost is not known yet

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Saving:
    """Keeps the clock of the checkpoints.

    Attributes:
        seconds: spent writing checkpoints so far.
    """

    def __init__(self, every: float | None, on_full: Literal["stop", "continue"]) -> None:
        """Start the clock.

        Args:
            every: seconds between checkpoints, 0 = after every step; None derives them from what one costs.
            on_full: whether a full disk stops the training, or leaves it without checkpoints until there is room.
        """
        self.every, self.on_full = every, on_full
        self.seconds = 0.0
        self._pause = _FIRST if every is None else every
        self._last = time.perf_counter()

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.perf_counter() - self._last >= self._pause

    def write(self, save: Callable[[], None], needed: int) -> None:
        """Write a checkpoint of so many bytes, and note what it cost.

        Raises:
            OSError: see `attempt`.
        """
        started = time.perf_counter()
        self.attempt(save, f"checkpoint of {needed:,} bytes")
        self._last = time.perf_counter()
        cost = self._last - started
        self.seconds += cost
        if self.every is None:
            self._pause = cost / _SHARE

    def attempt(self, write: Callable[[], None], what: str) -> None:
        """Write something.

        Raises:
            OSError: the disk is full and that stops the training; or another error of writing.
        """
        try:
            write()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            told = f"{what} must have room on the disk, got {error}; the checkpoints before it are as they were"
            if self.on_full == "stop":
                raise OSError(error.errno, f"{told}; free some room, and run the same command again") from error
            warnings.warn(f"{told}; going on without it", stacklevel=2)
