"""Small culls for tests: frames in memory, detectors that count their calls; every fork imports this module."""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import tamis.cli
from tamis.data.frames import FrameRef
from tamis.detections import Detections
from tamis.recipes.cull import cull
from tamis.recipes.cull_config import CullConfig
from tamis.testing import digest_of

WIDTH, HEIGHT = 64, 48


@dataclass(frozen=True)
class StillFrame:
    """A frame in memory, whose number is in its first pixels: detectors read it there."""

    ref: FrameRef
    picture: np.ndarray
    seconds: float | None = None
    source_name: str = "cam.mp4"

    @property
    def key(self) -> str:
        return f"{self.source_name}@{self.ref.pts}"

    @property
    def width(self) -> int:
        return self.picture.shape[1]

    @property
    def height(self) -> int:
        return self.picture.shape[0]

    def grey(self, width: int, height: int) -> np.ndarray:
        rows = np.arange(height) * self.height // height
        columns = np.arange(width) * self.width // width
        return self.picture[..., 2][rows][:, columns]

    def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
        if size is None:
            return self.picture
        rows, columns = np.arange(size[1]) * self.height // size[1], np.arange(size[0]) * self.width // size[0]
        return np.ascontiguousarray(self.picture[rows][:, columns])


class MemoryFrames:
    """Frames in memory, with what `tamis.data.frames.Frames` promises; `fails` are those that `take` cannot read."""

    def __init__(self, frames: Sequence[StillFrame], date: int = 0, fails: Iterable[int] = ()) -> None:
        self.frames, self.date, self.fails = list(frames), date, set(fails)
        self.lost: list[Any] = []
        self.given = 0

    @property
    def expected(self) -> int:
        return len(self.frames)

    def scan(self, after: Any = None) -> Iterator[StillFrame]:
        place = 0 if after is None else [frame.ref for frame in self.frames].index(after) + 1
        for frame in self.frames[place:]:
            self.given += 1
            yield frame

    def take(self, refs: Iterable[Any]) -> Iterator[StillFrame]:
        by_ref = {frame.ref: frame for frame in self.frames}
        yield from (by_ref[ref] for ref in refs if ref.pts not in self.fails)

    def identity(self) -> dict[str, Any]:
        return {"fps": None, "every": 1, "sources": [{"name": "cam.mp4", "date": self.date}]}


def numbered(count: int, *, moving: bool = True, seed: int = 0) -> MemoryFrames:
    """Frames whose number is in the red and the green of their first pixel; blue is a still street, with a car or not.

    Args:
        count: how many.
        moving: a bright box that goes across in the first half of every 40 frames.
        seed: of the noise.
    """
    random = np.random.default_rng(seed)
    street = random.integers(60, 160, (HEIGHT, WIDTH)).astype(np.float64)
    frames = []
    for number in range(count):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        blue = street + random.normal(0, 1, street.shape)
        if moving and number % 40 < 20:
            left = number % 40 * 3
            blue[20:32, left : left + 8] = 230
        picture[..., 2] = blue.clip(0, 255)
        picture[..., 0], picture[..., 1] = number % 256, number // 256
        frames.append(StillFrame(FrameRef(0, 10 * number), picture, number / 2))
    return MemoryFrames(frames)


def numbers_of(images: Tensor) -> list[int]:
    """Which frames these are."""
    return [int(image[0, 0, 0]) + 256 * int(image[1, 0, 0]) for image in images]


class Counting:
    """A detector that gives every frame boxes of its own, and notes the frames' numbers in a file at every call.

    Args:
        calls: that file, a line for each call.
        shift: of the boxes; a teacher is one with a shift.
        class_names: of its labels.
        wait: seconds that a call takes.
        die: kill the process at every call that has not been made before.
    """

    def __init__(
        self,
        calls: Path | None = None,
        *,
        shift: float = 0.0,
        class_names: tuple[str, ...] = ("car", "person"),
        wait: float = 0.0,
        die: bool = False,
    ) -> None:
        self.calls, self.shift, self.class_names, self.wait, self.die = calls, shift, class_names, wait, die

    def __call__(self, images: Tensor) -> list[Detections]:
        numbers = numbers_of(images)
        time.sleep(self.wait)
        if self.calls is not None:
            line = " ".join(map(str, numbers)) + "\n"
            before = self.calls.read_text().splitlines(keepends=True) if self.calls.is_file() else []
            with self.calls.open("a") as file:
                file.write(line)
            if self.die and line not in before:
                os.kill(os.getpid(), signal.SIGKILL)
        return [self._of(number, images.shape[-1] / WIDTH) for number in numbers]

    def _of(self, number: int, scale: float) -> Detections:
        generator = torch.Generator().manual_seed(number)
        count = number % 5
        corners = torch.rand(count, 2, generator=generator) * 20 + self.shift * (number % 3)
        boxes = torch.cat([corners, corners + 12], 1) * scale
        scores = torch.rand(count, generator=generator).sort(descending=True).values * (0.9 if self.shift else 0.7)
        return Detections(boxes, scores, torch.arange(count) % 2)


CONFIG: dict[str, Any] = {
    "sources": [Path("cam.mp4")], "student": "fake", "teacher": "fake", "keep": 6, "batch_size": 8,
    "teacher_batch_size": 4, "report": False, "formats": ["coco", "yolo"], "device": "cpu",
}  # fmt: skip


def config(out: Path, **changes: Any) -> CullConfig:
    """The configuration of a small cull."""
    settings: dict[str, Any] = CONFIG | {"out": out} | changes
    return CullConfig(**settings)


def small_cull(
    out: Path, frames: MemoryFrames | None = None, *, wait: float = 0.0, die: str = "", **changes: Any
) -> dict[str, Any]:
    """Cull 150 frames; the calls of the detectors are noted beside the folder."""
    out.parent.mkdir(parents=True, exist_ok=True)
    student = Counting(out.with_name("student.calls"), wait=wait, die=die == "student")
    teacher = Counting(out.with_name("teacher.calls"), shift=2.0, wait=wait, die=die == "teacher")
    found = frames or numbered(150)
    return cull(config(out, **changes), frames=found, student=student, teacher=teacher)


def write_video(path: Path, count: int) -> None:
    """The frames of `numbered` as a video that loses nothing, 2 a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=2)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        for frame in numbered(count).frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.picture, "rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())


def video_cull(out: Path, video: Path, **changes: Any) -> None:
    """A slow cull of a real video."""
    out.parent.mkdir(parents=True, exist_ok=True)
    student = Counting(out.with_name("student.calls"), wait=0.01)
    teacher = Counting(out.with_name("teacher.calls"), shift=2.0, wait=0.01)
    cull(config(out, sources=[video], **changes), student=student, teacher=teacher)


def slow_cull(out: Path, **changes: Any) -> None:
    """A cull that takes long enough to be killed anywhere."""
    small_cull(out, wait=0.01, **changes)


def stoppable(out: Path) -> None:
    """A slow cull that ends as the command line does when a signal comes."""
    sys.argv = ["tamis", "cull", "--out", str(out)]
    tamis.cli.app = SimpleNamespace(meta=lambda words: small_cull(out, wait=0.2))  # type: ignore[assignment]
    tamis.cli.main()


_TIMES = ("costs", "full", "factor", "notes")


def digests_of_cull(folder: Path) -> Mapping[str, str]:
    """Every file of a culled folder by name, without what may differ: times, and the journal's lines of them."""
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("run.json", "lock", "journal.jsonl", "result.json", "report.html")
    }
    result = json.loads((folder / "result.json").read_text())
    files |= {f"result: {name}": digest_of(value) for name, value in result.items() if name not in _TIMES}
    files["images by stage"] = digest_of([(each["stage"], each["images"], each["flops"]) for each in result["costs"]])
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    files["journal"] = digest_of(
        [{name: each for name, each in line.items() if name != "spent"} for line in lines if line["kind"] != "note"]
    )
    return files
