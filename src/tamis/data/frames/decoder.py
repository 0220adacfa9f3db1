"""Decoding one video forward, over damage, from its start or from key frames."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.data.frames.container import Header, open_container, reason
from tamis.data.frames.frame import Lost

if TYPE_CHECKING:
    from av import Packet, VideoFrame

_GIVE_UP = 1000  # packets in a row that cannot even be read
_HELD = 1000  # packets after a key frame that are held, at most, until it is known whether they are needed
_LOST_FOR_GOOD = 3  # pictures in a row after which a codec is given up at the next key frame
_UNSEEN = -(1 << 63)


class Decoder:
    """Decoded pictures of a video, with time stamps that increase, and what was lost between them.

    A picture that the codec calls damaged is left out; pictures that follow are used, though they may show traces of
    it until the next key frame. One codec thread: with several, what a codec makes of damage differs from run to run,
    and more is lost.

    Time stamps are those of the file. One that does not increase is put right: by one unit if it falls back by less
    than a second (duplicates), and with all that follow if by more (a recording that was joined from pieces).

    Args:
        path: the file.
        name: what it is called in notes of lost frames.
        header: of the same file.
    """

    def __init__(self, path: Path, name: str, header: Header) -> None:
        self._path = path
        self._name = name
        self._header = header
        self._trusted = not header.counted  # that pictures after a key frame are the same wherever decoding began
        self._open()
        self._begin(header.origin - round(header.step))

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()
        self._lender.close()

    def read(self) -> "tuple[int, VideoFrame] | Lost | None":
        """The next picture with its time stamp, or what was lost before it; None at the end."""
        while not self._ready:
            if self._ended:
                return None
            self._step()
        item = self._ready.popleft()
        if not isinstance(item, Lost):
            self._given = item[0]
        return item

    def restart(self) -> None:
        """Go on from the video's start, and skip nothing from now on."""
        self._trusted = False
        self._rewind()

    def toward(self, pts: int, spare: bool = False) -> None:
        """Go on from the last key frame at or before a time stamp, where that saves decoding or it lies behind.

        Key frames are found in the container's index, or else by reading on without decoding: then the last but one.

        Args:
            pts: the time stamp.
            spare: the last but one with an index too: codecs do not tell of all damage, and then even the pictures
                after a damaged key frame come out as in a whole scan.
        """
        behind = pts <= self._given
        entry = self._indexed(pts)
        if spare and entry is not None:
            entry = self._indexed(entry - 1)
        if entry is not None and (behind or entry > self._read):
            self._seek(entry, pts)
        elif behind:
            self._rewind()
        if self._trusted and not self._header.indexed:
            self._goal = pts

    def _open(self) -> None:
        self._container, self._stream = open_container(self._path)
        self._lender, self._codec = self._container, self._stream.codec_context
        self._codec.thread_count = 1
        self._failed = 0  # packets and pictures in a row that the codec could not use

    def _renew(self) -> None:
        """Begin with a new codec: one that has met damage may believe for ever what it read there."""
        lender, stream = open_container(self._path)
        if self._lender is not self._container:
            self._lender.close()
        self._lender, self._codec = lender, stream.codec_context
        self._codec.thread_count = 1
        self._failed = 0

    def _begin(self, last: int) -> None:
        self._last = last  # time stamp of the last picture
        self._given = _UNSEEN  # and of the last that was given
        self._read = _UNSEEN  # decoding time stamp of the last packet
        self._key: int | None = None  # time stamp of the key frame that was gone to, until it was seen
        self._entry: int | None = None  # its place in the index
        self._goal: int | None = None  # where to, if packets may be left out on the way
        self._newest = _UNSEEN  # time stamp of the last key frame on that way
        self._shift = 0
        self._count = 0
        self._trouble: str | None = None
        self._ended = False
        self._ready: deque[tuple[int, VideoFrame] | Lost] = deque()
        self._held: list[Packet] = []
        self._packets = self._demuxed()

    def _rewind(self) -> None:
        self.close()  # not every container can go back
        self._open()
        self._begin(self._header.origin - round(self._header.step))

    def _seek(self, entry: int | None, pts: int) -> None:
        """Go to the last key frame, from an entry of the index down, that is shown at or before a time stamp."""
        while entry is not None:
            self._container.seek(entry, stream=self._stream)
            self._codec.flush_buffers()
            if self._failed:
                self._renew()
            self._begin(_UNSEEN)
            first = next(self._packets, None)
            if first is not None and first.is_keyframe and first.pts is not None and first.pts <= pts:
                self._held.append(first)
                self._key, self._entry = first.pts, entry
                return
            entry = self._indexed(entry - 1)
        self._rewind()

    def _indexed(self, pts: int) -> int | None:
        """Decoding time stamp of the last key frame in the index that is decoded at or before a time stamp."""
        if not (self._trusted and self._header.indexed):
            return None
        entries = self._stream.index_entries
        place = entries.search_timestamp(pts)
        return None if place < 0 else entries[place].timestamp

    def _demuxed(self) -> Iterator["Packet"]:
        """Packets of the stream, over places that cannot be read."""
        import av.error

        failed = 0
        while failed < _GIVE_UP:
            try:
                for packet in self._container.demux(self._stream):
                    failed = 0
                    yield packet
                return
            except av.error.FFmpegError as error:
                self._trouble = reason(error)
                failed += 1

    def _next(self) -> "Packet | None":
        if self._goal is not None and not self._held:
            self._hold(self._goal)
        return self._held.pop(0) if self._held else next(self._packets, None)

    def _hold(self, goal: int) -> None:
        """Read on toward the goal, and drop what comes before the last key frame but one at or before it."""
        since, key = 0, None  # the last key frame that is held
        while len(self._held) < _HELD:
            packet = next(self._packets, None)
            if packet is None:
                break
            if packet.is_keyframe and packet.pts is not None:
                if packet.pts < max(self._newest, self._last):  # times fall back: they lead nowhere
                    return self.restart()
                self._newest = packet.pts
                if packet.pts <= goal:
                    if key is not None:
                        del self._held[:since]
                        self._key, self._last, self._trouble = key, _UNSEEN, None
                    since, key = len(self._held), packet.pts
            self._held.append(packet)
            if packet.dts is None or packet.dts > goal:
                break
        else:
            return
        self._goal = None

    def _step(self) -> None:
        """Decode a packet."""
        packet = self._next()
        if packet is None:
            self._end()
            return
        if packet.is_keyframe and packet.size and self._failed >= _LOST_FOR_GOOD:
            self._renew()
        for picture in self._pictures(packet):
            pts = self._placed(picture.pts)
            if picture.is_corrupt:
                self._trouble = "damaged picture"
                self._failed += 1
            if self._key is not None:
                if self._trouble or pts > self._key:
                    self._retreat()
                    return
                if pts < self._key:  # it needs pictures that were not decoded
                    continue
                self._key = None
            if not picture.is_corrupt:
                self._add(pts, picture)

    def _pictures(self, packet: "Packet") -> "list[VideoFrame]":
        """What a packet (an empty one at the end) makes the codec give."""
        import av.error

        if packet.dts is not None:
            self._read = packet.dts
        if packet.is_corrupt:
            self._trouble = "damaged packet"
        try:
            return self._codec.decode(packet if packet.size else None)
        except av.error.FFmpegError as error:
            self._trouble = reason(error)
            self._failed += 1
            return []

    def _retreat(self) -> None:
        """The key frame that was gone to is damaged: what follows it depends on what comes before."""
        if self._entry is None or self._key is None:
            self.restart()
        else:
            self._seek(self._indexed(self._entry - 1), self._key)

    def _add(self, pts: int, picture: "VideoFrame") -> None:
        hole = self._hole(pts)
        if hole is not None:
            self._ready.append(hole)
        self._last = pts
        self._trouble = None
        self._failed = 0
        self._ready.append((pts, picture))

    def _placed(self, raw: int | None) -> int:
        """The time stamp of the next picture."""
        header = self._header
        if header.counted:
            self._count += 1
            return self._count - 1
        if raw is None:
            return self._last + round(header.step)
        pts = raw + self._shift
        if pts > self._last:
            return pts
        if (self._last - pts) * (header.tick or 1) >= 1:
            self._trusted = False
            self._shift += self._last + round(header.step) - pts
            return raw + self._shift
        return self._last + 1

    def _hole(self, pts: int) -> Lost | None:
        """What is missing before a picture; nothing is known of it just after a key frame that was gone to."""
        if self._last == _UNSEEN:
            return None
        start = self._last < self._header.origin
        missing = round((pts - self._last) / self._header.step) - 1
        certain = self._trouble or (self._header.steady and not start)
        if missing >= (1 if certain else 2) and (certain or start):
            return self._lost(self._trouble or "missing from the file", missing)
        return None

    def _end(self) -> None:
        if self._key is not None:
            self._retreat()
            return
        self._ended = True
        end, step = self._header.end, self._header.step
        missing = 0 if end is None or self._last == _UNSEEN else round((end - self._last) / step) - 1
        if missing >= 2 or self._trouble:
            self._ready.append(self._lost(self._trouble or "the file ends early", max(missing, 0)))

    def _lost(self, why: str, frames: int) -> Lost:
        header = self._header
        if self._last < header.origin:
            return Lost(self._name, "at its start", why, frames)
        place = self._last - header.origin
        after = f"after {float(place * header.tick):.3f} s" if header.tick else f"after frame {place}"
        return Lost(self._name, after, why, frames)
