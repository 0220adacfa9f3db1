"""Videos made for tests, whole and damaged: what a camera writes, and what is left of it."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np

GOP = 12


def pictures(frames: int, width: int, height: int) -> list[np.ndarray]:
    """A textured street that moves, uint8 (height, width, 3) each."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 255, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    street = np.kron(small, np.ones((4, 4, 1), np.uint8))[:height, :width]
    made = []
    for place in range(frames):
        picture = np.roll(street, 2 * place, 1).copy()
        picture[:8, :8] = place * 2 % 256
        made.append(picture)
    return made


def make_video(
    path: Path,
    frames: int = 120,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (96, 64),
    rate: int = 30,
    gop: int = GOP,
    b_frames: int = 0,
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    tick: Fraction | None = None,
    rotation: int = 0,
    audio: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video; its suffix chooses the container, `times` are time stamps of a variable rate in `tick` seconds."""
    import av

    flags = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=flags) as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=rate, options=options or {}))
        stream.width, stream.height = size
        stream.pix_fmt, stream.gop_size, stream.max_b_frames = pixels, gop, b_frames
        stream.codec_context.thread_count = 1  # x264's files still differ now and then: compare frames of one file
        stream.codec_context.time_base = tick or Fraction(1, rate)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=48000) if audio else None
        for place, picture in enumerate(pictures(frames, *size)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixels, threads=1)
            frame.pts = times[place] if times else place
            frame.time_base = tick or Fraction(1, rate)
            container.mux(stream.encode(frame))
            if sound is not None:
                noise = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
                noise.sample_rate, noise.pts = 48000, place * 1024
                container.mux(sound.encode(noise))
        container.mux(stream.encode())
        if sound is not None:
            container.mux(sound.encode())
    return path


def make_sound(path: Path) -> Path:
    """Write a file that has no video stream."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        for place in range(20):
            noise = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
            noise.sample_rate, noise.pts = 48000, place * 1024
            container.mux(stream.encode(noise))
        container.mux(stream.encode())
    return path


def with_hole(path: Path, place: float = 0.5, length: int = 400, *, zeros: bool = False) -> Path:
    """Overwrite some bytes, by noise or by zeros."""
    content = bytearray(path.read_bytes())
    start = int(len(content) * place)
    content[start : start + length] = bytes(length) if zeros else np.random.default_rng(1).bytes(length)
    return _beside(path, f"hole{place}{zeros}", bytes(content))


def with_damaged_packet(path: Path, number: int) -> Path:
    """Overwrite one frame's bytes, all but the first 4."""
    import av

    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        start, end = (packet.pos or 0) + 4, (packet.pos or 0) + packet.size
    content = bytearray(path.read_bytes())
    content[start:end] = np.random.default_rng(4).bytes(end - start)
    return _beside(path, f"packet{number}", bytes(content))


def cut_off(path: Path, keep: float = 0.7) -> Path:
    """Keep the first part only."""
    content = path.read_bytes()
    return _beside(path, "cut", content[: int(len(content) * keep)])


def without_middle(path: Path, start: float = 0.4, end: float = 0.5) -> Path:
    """Take out bytes, as where a recorder stood still."""
    content = path.read_bytes()
    return _beside(path, "gap", content[: int(len(content) * start)] + content[int(len(content) * end) :])


def make_unreadable(folder: Path) -> dict[str, Path]:
    """Files that no frame can be had from, by what is wrong with them."""
    whole = make_video(folder / "whole.mov", 20)  # its index is at the end
    made = {
        "zero bytes": b"",
        "text": b"this is no video\n" * 20,
        "no moov": whole.read_bytes()[:-2000],
        "noise": np.random.default_rng(2).bytes(5000),
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nwhole.mov\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile whole.mov\n",
    }
    paths = {what: folder / f"{what}.mp4" for what in made}
    for what, content in made.items():
        paths[what].write_bytes(content)
    whole.unlink()
    return paths | {"sound": make_sound(folder / "sound.mp4")}


def _beside(path: Path, what: str, content: bytes) -> Path:
    new = path.with_name(f"{path.stem}-{what}{path.suffix}")
    new.write_bytes(content)
    return new
