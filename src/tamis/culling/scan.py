"""Stage 0 and stage 1: a look at every frame, and the student on those that hold something new."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tamis.culling.ahead import ahead
from tamis.culling.gate import PASSED, ChangeGate
from tamis.culling.journal import Journal
from tamis.culling.protocols import Frame, Frames, Pixels
from tamis.culling.records import Records
from tamis.culling.sound import detect
from tamis.detections import Detections, Detector

Score = Callable[[list[Detections]], Tensor]
_UNSCORED_LINE = 512  # frames of a line where no model sets the size of a batch


@dataclass
class Batch:
    """Frames that follow each other, and the pixels of those among them that are scored.

    Attributes:
        rows: source, pts, key, seconds, change, reason of each frame.
        names: of the sources.
        pixels: uint8 (h, w, 3) each.
        shrunk: the width and the height of the pixels as shares of the frame's.
        gate: the gate's state after the last frame.
        gate_seconds: processor time that the gate took.
        images: uint8 (b, 3, h, w), once it is complete.
    """

    rows: list[tuple[int, int, str, float | None, float | None, int]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    pixels: list[Pixels] = field(default_factory=list)
    shrunk: tuple[float, float] = (1.0, 1.0)
    gate: str | None = None
    gate_seconds: float = 0.0
    images: Tensor | None = None


@dataclass(frozen=True)
class Scan:
    """How frames are looked at.

    Attributes:
        gate: the change gate; None lets every frame pass.
        student: scores the frames that pass; None scores none.
        score: of the student's detections, in pixels of the full-size frame.
        batch_size: frames that are scored at once.
        scale: of the frames that are scored, in (0, 1].
        stop: asked before every frame; what is not 0 ends the stream, and the batch that is not full is left for later.
    """

    gate: ChangeGate | None
    student: Detector | None
    score: Score
    batch_size: int = 32
    scale: float = 1.0
    stop: Callable[[], int] = lambda: 0

    def batches(self, frames: Iterable[Frame]) -> Iterator[Batch]:
        """Cut a stream of frames so that each batch has as many to score, of one size.

        The last one may have fewer, or none: what was lost at the end is known after the last frame only.
        """
        batch, size = Batch(), None
        for frame in frames:
            if self.stop():
                return
            if batch.rows and (frame.width, frame.height) != size:
                yield self._complete(batch)
                batch = Batch()
            size = frame.width, frame.height
            change, reason = self._look(frame, batch)
            batch.names[frame.ref[0]] = frame.source_name
            batch.rows.append((*frame.ref, frame.key, frame.seconds, change, reason))
            if self.student is not None and reason >= PASSED:
                small = tuple(max(1, round(side * self.scale)) for side in size)
                batch.pixels.append(frame.rgb(None if small == size else (small[0], small[1])))
                batch.shrunk = small[0] / size[0], small[1] / size[1]
            if len(batch.pixels) == self.batch_size or (self.student is None and len(batch.rows) == _UNSCORED_LINE):
                yield self._complete(batch)
                batch = Batch()
        yield self._complete(batch)

    def _look(self, frame: Frame, batch: Batch) -> tuple[float | None, int]:
        if self.gate is None:
            return None, PASSED
        grey = frame.grey(self.gate.settings.width, self.gate.settings.height)
        began = time.thread_time()
        looked = self.gate(grey)
        batch.gate_seconds += time.thread_time() - began
        return looked

    def _complete(self, batch: Batch) -> Batch:
        if batch.pixels:
            batch.images = stacked(batch.pixels)
        batch.pixels = []
        batch.gate = None if self.gate is None else self.gate.state()
        return batch

    def line(self, batch: Batch) -> tuple[dict[str, Any], float]:
        """What the journal says of a batch, and the seconds of the student."""
        found, bad, seconds = [], 0, 0.0
        if batch.images is not None and self.student is not None:
            began = time.perf_counter()
            keys = [key for _, _, key, _, _, reason in batch.rows if reason >= PASSED]
            found, bad = detect(self.student, batch.images, "student", keys)
            seconds = time.perf_counter() - began
        if batch.shrunk != (1.0, 1.0):
            found = [each.scaled(1 / batch.shrunk[0], 1 / batch.shrunk[1]) for each in found]
        names = ("source", "pts", "key", "seconds", "change", "reason")
        columns = zip(*batch.rows, strict=True) if batch.rows else [()] * len(names)
        told: dict[str, Any] = dict(zip(names, map(list, columns), strict=True))
        told |= {"score": self.score(found).tolist() if found else [], "detections": [len(each) for each in found]}
        size = None if batch.images is None else [batch.images.shape[-1], batch.images.shape[-2]]
        return told | {"names": batch.names, "size": size, "bad": bad, "gate": batch.gate}, seconds


def scan(
    frames: Frames, after: Any, plan: Scan, records: Records, journal: Journal
) -> Generator[dict[str, Any], None, None]:
    """Look at every frame after one, and score; every batch is journaled before the next one is.

    Args:
        frames: what to look at.
        after: the ref of the last frame that is in the records; None = from the first.
        plan: how.
        records: are added to.
        journal: likewise.

    Yields:
        The line of each batch.
    """
    told = 0  # files that could not be opened are known before the first frame
    waiting = time.perf_counter()
    stream = ahead(plan.batches(frames.scan(after)))
    try:
        for batch in stream:
            waited = time.perf_counter() - waiting
            line, seconds = plan.line(batch)
            new = list(frames.lost)[told:]
            told += len(new)
            lost = [each for each in map(asdict, new) if each not in records.lost]
            if not (batch.rows or lost):
                continue
            # Both are at work beside the student: what they cost is what it waited for them.
            gate = min(waited, batch.gate_seconds)
            line["spent"] = {"decode": waited - gate, "gate": gate, "student prediction": seconds}
            line["lost"] = lost
            journal.append("scan", **line)
            records.add(line)
            yield line
            waiting = time.perf_counter()
    finally:
        stream.close()


def stacked(pixels: list[Pixels]) -> Tensor:
    """Pictures of one size, uint8 (h, w, 3) each, as one uint8 (b, 3, h, w)."""
    height, width, _ = pixels[0].shape
    images = np.empty((len(pixels), 3, height, width), np.uint8)
    for place, picture in enumerate(pixels):
        images[place] = picture.transpose(2, 0, 1)
    return torch.from_numpy(images)
