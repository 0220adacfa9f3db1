"""Opening sources of frames, and going through them."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tamis.data.frames.ahead import ahead
from tamis.data.frames.frame import Frame, FrameRef, Lost
from tamis.data.frames.sampling import Sampling, sampling
from tamis.data.frames.sources import Found, find
from tamis.data.frames.stills import Stills
from tamis.data.frames.video import Video


class Frames:
    """Frames of videos and images, in order, decoded in a thread beside the user; made by `open_frames`.

    Memory: some 16 decoded frames, whatever the length: 200 MB at 3840 x 2160.
    """

    def __init__(self, sources: Sequence[Video | Stills], chosen: Sampling, lost: Sequence[Lost]) -> None:
        self._sources = sources
        self._sampling = chosen
        self._lost = dict.fromkeys(lost)

    @property
    def expected(self) -> int:
        """About how many frames a whole scan gives, by what the files say."""
        return sum(source.expected(self._sampling) for source in self._sources)

    @property
    def lost(self) -> list[Lost]:
        """What could not be read: files when they were opened, frames as scans came by; nothing twice."""
        return list(self._lost)

    def scan(self, after: FrameRef | None = None) -> Iterator[Frame]:
        """All frames in use, in order.

        Args:
            after: a frame of an earlier scan with the same settings: exactly those frames that came after it there,
                with the same pixels. Decoding begins at a key frame before it, which an index finds (MP4, MOV, MKV,
                WebM) or reading on without decoding; in a stream without time stamps, at its start.

        Raises:
            ValueError: there is no frame `after`.
        """
        first, pts = (0, None) if after is None else self._checked(after)

        def made() -> Generator[Frame | Lost | None]:
            for number in range(first, len(self._sources)):
                place = pts if number == first else None
                yield from self._sources[number].read(number, self._sampling, place)

        yield from self._found(made)

    def rest(self, begin: FrameRef) -> Iterator[Frame]:
        """The frames in use from a place on, whether there is a frame at the place or not."""

        def made() -> Generator[Frame | Lost | None]:
            for number in range(begin.source, len(self._sources)):
                place = begin.pts if number == begin.source else None
                yield from self._sources[number].read(number, self._sampling, begin=place)

        yield from self._found(made)

    def place(self, share: float) -> FrameRef:
        """The place with about so large a share of the frames before it, by what the files say.

        Raises:
            ValueError: a share outside (0, 1), or a video that does not say how long it is.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share!r}")
        counts = [source.expected(self._sampling) for source in self._sources]
        if not all(counts):
            name = self._sources[counts.index(0)].name
            raise ValueError(f"video must say how long it is to be parted, got {name!r}, which does not; remux it")
        before = share * sum(counts)
        for number, (source, count) in enumerate(zip(self._sources, counts, strict=True)):
            if before < count:
                return FrameRef(number, source.place(before / count))
            before -= count
        return FrameRef(len(counts), 0)

    def take(self, refs: Iterable[FrameRef]) -> Iterator[Frame]:
        """Only these frames, in this order, with the pixels of a scan; cheapest in the order of a scan.

        Raises:
            ValueError: there is no such frame.
        """
        wanted = [FrameRef(*self._checked(ref)) for ref in refs]

        def made() -> Generator[Frame | None]:
            for number, group in groupby(wanted, key=lambda ref: ref.source):
                yield from self._sources[number].take(number, [ref.pts for ref in group])

        yield from ahead(made)

    def identity(self) -> dict[str, Any]:
        """What makes another result if it is changed, for JSON: the settings, and each source's name, size and date."""
        fps = self._sampling.fps
        return {
            "fps": None if fps is None else float(fps),
            "every": self._sampling.every,
            "sources": [source.identity() for source in self._sources],
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Of the sources, in their order."""
        return tuple(source.name for source in self._sources)

    def _found(self, made: Callable[[], Generator[Frame | Lost | None]]) -> Iterator[Frame]:
        """The frames of what is made in a thread; what was lost is taken note of."""
        for item in ahead(made):
            if isinstance(item, Lost):
                self._lost[item] = None
            else:
                yield item

    def _checked(self, ref: FrameRef) -> tuple[int, int]:
        number, pts = int(ref[0]), int(ref[1])
        if not 0 <= number < len(self._sources):
            raise ValueError(
                f"frame must be of one of {len(self._sources)} sources, got source {number}; has one gone?"
            )
        return number, pts


def open_frames(sources: Sequence[str | Path], *, fps: float | None = None, every: int = 1) -> Frames:
    """Open videos and images as one sequence of frames.

    Keys are "<video>@<pts>" and names of images, relative to the folder that all sources share; control characters,
    backslashes and bytes that are not UTF-8 are escaped in them.

    Args:
        sources: video files, images, folders of both, patterns, lists (`*.txt`), COCO documents (`*.json`), in
            the order in which they are used; a file that is named twice counts once.
        fps: of a video, the first frame at or after k / fps seconds for k = 0, 1, ...; None = all frames. Images
            have no times: all are used.
        every: of these, every k-th of a source.

    Raises:
        ImportError: there is a video, and PyAV is not installed.
        ValueError: a source is missing or empty, a file that was named itself cannot be read, no file can be, or a
            setting is out of range. A video that cannot be read and was found in a folder, a pattern or a list is
            in `lost` instead.
    """
    if isinstance(sources, str | Path):
        raise TypeError(f"sources must be a sequence of paths, got {sources!r}; put it in a list")
    chosen = sampling(fps, every)
    found = _once([each for source in sources for each in find(source)])
    if not found:
        raise ValueError("sources must name a video or images, got none; name one")
    root = os.path.commonpath([each.root for each in found])
    opened: list[Video | Stills] = []
    lost = []
    for each in found:
        names = [_escaped(os.path.relpath(file, root).replace(os.sep, "/")) for file in each.files]
        if not each.is_video:
            opened.append(Stills(names[0].rpartition("/")[0] or each.files[0].parent.name, each.files, names))
            continue
        try:
            opened.append(Video(each.files[0], names[0]))
        except (ValueError, OSError) as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            if each.named:
                raise ValueError(
                    f"video must be readable, got {why} in {names[0]!r}; repair it or leave it out"
                ) from error
            lost.append(Lost(names[0], "the whole video", why, 0))
    if not opened:
        raise ValueError(f"a source must be readable, got {lost[0].reason} in {lost[0].source!r}; repair it")
    return Frames(opened, chosen, lost)


def _once(found: Sequence[Found]) -> list[Found]:
    """Without files that are there already."""
    seen: set[Path] = set()
    left = []
    for each in found:
        files = tuple(file for file in dict.fromkeys(each.files) if file not in seen)
        seen.update(files)
        if files:
            left.append(Found(each.root, files, each.is_video, each.named))
    return left


def _escaped(name: str) -> str:
    """A name as text that has no control characters, and is another for every other name."""
    text = os.fsencode(name).decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        each if each.isprintable() and each != "\\" else each.encode("unicode_escape").decode() for each in text
    )
