"""Opening a video file, which may be damaged or hostile: what is asked of PyAV, and what it is not let do."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Containers that hold their frames themselves. Playlists (HLS, DASH, concat, image sequences, SDP) name other files and
# addresses, which a file that claims to be a video could have FFmpeg open: they are left out.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpegtsraw,mpeg,mpegvideo,mpegps,flv,live_flv,asf,asf_o,ogg,h264,hevc,"
    "vvc,m4v,h263,h261,mjpeg,mjpeg_2000,mpjpeg,ivf,av1,obu,evc,gif,rm,mxf,wtv,dv,yuv4mpegpipe,nut,apng,vc1,vc1test,dirac,"
    "cavsvideo,avs,avs2,avs3,swf,film_cpk,smk,bink,ea,roq,nsv,nuv,r3d,lxf,gxf,dhav,ipmovie,mv,mlv,dxa,4xm,kux,rcwtv,xmv"
)
# Where FFmpeg finds a key frame by its time stamp, exactly; AVI's change after damage, and in the others
# it guesses by bytes.
_WITH_INDEX = frozenset({"mov", "mp4", "matroska", "webm"})
_STEADY = 0.005  # how far the mean and the finest rate of steady frames are apart
_PROBED = 32  # packets that are looked at for time stamps
_ENOUGH = 8  # distances between frames from which on these are believed, and not FFmpeg's guess
_UNEVEN = 0.05  # share of the distance by which time stamps may be rounded


class Header(NamedTuple):
    """What a video file says of itself.

    Attributes:
        tick: seconds of one unit of time stamps; of one frame, if frames are counted; None = not known.
        origin: time stamp at which it starts.
        step: usual units from frame to frame, at least 1.
        frames: how many there are, as the file says; None = it does not.
        end: time stamp at which it ends; None = not known.
        counted: packets have no time stamps: frames are numbered from 0 instead.
        indexed: key frames can be found by time stamps.
        steady: frames follow each other at one distance, so that a gap is a loss.
    """

    tick: Fraction | None
    origin: int
    step: float
    frames: int | None
    end: int | None
    counted: bool
    indexed: bool
    steady: bool


def open_container(path: Path) -> tuple["InputContainer", "VideoStream"]:
    """A video file and its first video stream (a cover picture is none), ready to be decoded.

    Raises:
        ImportError: PyAV is not installed.
        ValueError: it is no video that can be read.
        OSError: it cannot be opened.
    """
    try:
        import av
        import av.error
    except ImportError as error:
        raise ImportError("videos need PyAV; pip install 'tamis[video]'") from error
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("no regular file" if path.exists() else "no such file")
    if not path.stat().st_size:
        raise ValueError("an empty file")
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        # `file:` since a name may look like an address; names in tags may be in any encoding.
        container = av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, ValueError):
            raise
        raise ValueError(reason(error)) from error
    try:
        return container, _first_stream(container)
    except BaseException:
        container.close()
        raise


def read_header(path: Path) -> Header:
    """The header of a video file.

    Raises:
        As `open_container`.
    """
    container, stream = open_container(path)
    with container:
        start = stream.start_time  # reading sets it, to the first packet that has a time for the decoder, too
        times = _probed(container, stream)
        frames = stream.frames or None
        if times is None:
            rate = stream.guessed_rate or stream.average_rate
            return Header(1 / rate if rate else None, 0, 1.0, frames, frames, True, False, True)
        rate = stream.average_rate or stream.guessed_rate
        tick = Fraction(stream.time_base or Fraction(1, 90_000))
        origin = start if start is not None else min(times, default=0)
        length = _length(container, stream, tick)
        step = max(1.0, float(1 / (rate * tick))) if rate else 1.0
        if frames is None and length is not None and rate:
            frames = round(length * tick * rate)
        indexed = not _WITH_INDEX.isdisjoint(container.format.name.split(","))
        end = None if length is None else origin + length
        guessed = container.format.name == "mpeg"  # most of its packets have no time stamps
        steady = not guessed and _steady(times, step, stream)
        return Header(tick, origin, step, frames, end, False, indexed, steady)


def reason(error: Exception) -> str:
    """Why FFmpeg failed, without numbers, names and addresses."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()


def _first_stream(container: "InputContainer") -> "VideoStream":
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    raise ValueError("no video stream that can be decoded")


def _probed(container: "InputContainer", stream: "VideoStream") -> list[int] | None:
    """Time stamps of the first packets; None where one has none."""
    import av.error

    packets, times = container.demux(stream), []
    try:
        for _ in range(_PROBED):
            packet = next(packets, None)
            if packet is None or not packet.size:
                break
            if packet.pts is None:
                return None
            times.append(packet.pts)
    except av.error.FFmpegError:
        pass
    return times


def _steady(times: list[int], step: float, stream: "VideoStream") -> bool:
    """Whether frames follow each other at one distance: the first ones do, or FFmpeg thinks so where they are few."""
    shown = sorted(times)[: len(times) // 2]  # packets are not in the order of time
    apart = [after - before for before, after in pairwise(shown)]
    if len(apart) >= _ENOUGH:
        return all(abs(each - step) <= max(1, _UNEVEN * step) for each in apart)
    rate, base = stream.average_rate or stream.guessed_rate, stream.base_rate
    return bool(rate and base and abs(rate / base - 1) < _STEADY)


def _length(container: "InputContainer", stream: "VideoStream", tick: Fraction) -> int | None:
    if stream.duration:
        return stream.duration
    if container.duration and len(container.streams) == 1:  # else it may be that of the sound
        return round(Fraction(container.duration, 1_000_000) / tick)
    return None
