"""A video file as a source of frames."""

import hashlib
from collections.abc import Generator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

from tamis.data.frames.container import Header, read_header
from tamis.data.frames.decoder import Decoder
from tamis.data.frames.frame import FrameRef, Lost
from tamis.data.frames.picture import Picture
from tamis.data.frames.sampling import Chooser, Sampling

_ENDS = 1 << 20  # bytes at each end of a file that its digest is taken of


class Video:
    """The first video stream of a file; see `open_frames`.

    Args:
        path: the file.
        name: what its frames' keys begin with.

    Raises:
        ImportError: PyAV is not installed.
        ValueError: it is no video that can be read.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        self._header: Header = read_header(path)
        self._tick = None if self._header.tick is None else float(self._header.tick)

    def expected(self, sampling: Sampling) -> int:
        """About how many frames are used; 0 where the file does not say how long it is."""
        frames = self._header.frames or 0
        if sampling.fps is not None and self._header.tick is not None:
            seconds = frames * self._header.step * self._header.tick
            frames = min(frames, -int(-seconds * sampling.fps // 1))
        return -(-frames // sampling.every)

    def place(self, share: float) -> int:
        """The time stamp with about so large a share of the video before it."""
        return self._header.origin + int(share * (self._header.frames or 0) * self._header.step)

    def read(
        self, number: int, sampling: Sampling, after: int | None = None, begin: int | None = None
    ) -> Generator[Picture | Lost | None]:
        """The frames in use, in order, and what was lost between them; None where there is nothing yet.

        Args:
            number: of this source.
            sampling: which frames are used.
            after: only what follows the frame with this time stamp, which is in use.
            begin: only what has this time stamp or a later one; what `sampling.every` counts begins there.

        Raises:
            ValueError: there is no such frame.
        """
        chooser = self._chooser(sampling)
        with closing(self._decoder()) as decoder:
            if after is not None:
                yield from self._find(decoder, number, after, spare=True)
                chooser.passed(after)
            elif begin is not None:
                decoder.toward(begin)
            while (item := decoder.read()) is not None:
                if isinstance(item, Lost):
                    yield item
                elif (begin is not None and item[0] < begin) or not chooser(item[0]):
                    yield None
                else:
                    yield self._picture(number, *item)
                    if (pts := chooser.next_pts()) is not None:
                        decoder.toward(pts)

    def take(self, number: int, places: Sequence[int]) -> Generator[Picture | None]:
        """The frames with these time stamps, in this order, and None on the way; ascending ones cost least.

        Raises:
            ValueError: there is no such frame.
        """
        with closing(self._decoder()) as decoder:
            for pts in places:
                yield (yield from self._find(decoder, number, pts))

    def identity(self) -> dict[str, Any]:
        """Name, size, date, and a digest of the file's first and last bytes."""
        status = self._path.stat()
        digest = hashlib.blake2b(digest_size=16)
        with self._path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(0, status.st_size - _ENDS))
            digest.update(file.read(_ENDS))
        return {
            "name": self.name,
            "size": status.st_size,
            "modified_ns": status.st_mtime_ns,
            "digest_of_ends": digest.hexdigest(),
        }

    def _decoder(self) -> Decoder:
        return Decoder(self._path, self.name, self._header)

    def _find(self, decoder: Decoder, number: int, wanted: int, spare: bool = False) -> Generator[None, None, Picture]:
        decoder.toward(wanted, spare)
        for _ in range(2):
            while (item := decoder.read()) is not None:
                if isinstance(item, Lost) or item[0] < wanted:
                    yield None
                    continue
                if item[0] == wanted:
                    return self._picture(number, *item)
                break
            decoder.restart()  # what a key frame led to was not there: look at every frame
        raise ValueError(f"frame must be in {self.name!r}, got pts {wanted}; has the file changed?")

    def _picture(self, number: int, pts: int, decoded: Any) -> Picture:
        seconds = None if self._tick is None else (pts - self._header.origin) * self._tick
        return Picture(FrameRef(number, pts), self.name, seconds, decoded)

    def _chooser(self, sampling: Sampling) -> Chooser:
        tick = self._header.tick
        if tick is None and sampling.fps is not None:
            raise ValueError(f"fps must be left out for a video without times, got {self.name!r}; use every")
        return Chooser(sampling, tick or Fraction(1), self._header.origin)
