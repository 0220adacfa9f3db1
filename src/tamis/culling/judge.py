"""Stage 2: the teacher on the frames that are left, and the student at full size beside it."""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tamis.culling.ahead import ahead
from tamis.culling.journal import Journal
from tamis.culling.protocols import Frame, Frames, Pixels
from tamis.culling.records import Records, packed, unpacked
from tamis.culling.scan import stacked
from tamis.culling.sound import detect
from tamis.detections import Detections, Detector


@dataclass(frozen=True)
class Judged:
    """What the teacher says of a frame, and the student if it was asked.

    Attributes:
        width: of the frame, in pixels.
        height: of the frame, in pixels.
        teacher: its boxes.
        student: its boxes; None if it was not asked.
    """

    width: int
    height: int
    teacher: Detections
    student: Detections | None


def read_judged(line: dict[str, Any]) -> Iterator[tuple[int, Judged]]:
    """Positions of frames and what was said of them, from a line of the journal."""
    students = line["student"] or [None] * len(line["position"])
    width, height = line["size"]
    for position, teacher, student in zip(line["position"], line["teacher"], students, strict=True):
        yield position, Judged(width, height, unpacked(teacher), None if student is None else unpacked(student))


def rounds_of(ranked: Sequence[int], size: int | None) -> list[list[int]]:
    """Positions by rank, hardest first, as rounds that each are read in the order of the film.

    Args:
        ranked: positions, hardest first.
        size: frames of a round; None = all in one.
    """
    step = size or max(1, len(ranked))
    return [sorted(ranked[start : start + step]) for start in range(0, len(ranked), step)]


def judge(
    frames: Frames,
    refs: Sequence[Any],
    positions: Sequence[int],
    detectors: tuple[Detector, Detector | None],
    batch_size: int,
    records: Records,
    journal: Journal,
    kind: str = "judge",
) -> Generator[dict[str, Any], None, None]:
    """Show frames to the teacher, and to the student; every batch is journaled before the next one is shown.

    Args:
        frames: where they come from.
        refs: the frames, ascending.
        positions: their positions in the records.
        detectors: teacher, and student or None.
        batch_size: frames that are shown at once.
        records: have the frames' keys, and count boxes that are none.
        journal: is added to.
        kind: of its lines.

    Yields:
        The line of each batch.
    """
    at = {tuple(ref): position for ref, position in zip(refs, positions, strict=True)}
    waiting = time.perf_counter()
    stream = ahead(_batches(frames.take(refs), batch_size))
    try:
        for found, images in stream:
            waited = time.perf_counter() - waiting
            places = [at[ref] for ref in found]
            line, spent = _shown(images, detectors, [records.key[place] for place in places])
            line["position"] = places
            line["spent"] = {"decode": waited} | spent
            journal.append(kind, **line)
            count_bad(line, records)
            yield line
            waiting = time.perf_counter()
    finally:
        stream.close()


def count_bad(line: dict[str, Any], records: Records) -> None:
    """Add the boxes of a line that are none."""
    for who, count in line["bad"].items():
        records.bad[who] += count


def _shown(
    images: Tensor, detectors: tuple[Detector, Detector | None], keys: Sequence[str]
) -> tuple[dict[str, Any], dict[str, float]]:
    line: dict[str, Any] = {"size": [images.shape[-1], images.shape[-2]], "student": None, "bad": {}}
    spent: dict[str, float] = {}
    for who, detector in zip(("teacher", "student"), detectors, strict=True):
        if detector is not None:
            began = time.perf_counter()
            found, line["bad"][who] = detect(detector, images, who, keys)
            spent[f"{who} prediction"] = time.perf_counter() - began
            line[who] = [packed(each) for each in found]
    return line, spent


def _batches(frames: Iterable[Frame], size: int) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
    """Refs and pixels of frames of one size, at most so many."""
    refs: list[tuple[int, int]] = []
    pixels: list[Pixels] = []
    for frame in frames:
        picture = frame.rgb()
        if pixels and (len(pixels) == size or picture.shape != pixels[0].shape):
            yield refs, stacked(pixels)
            refs, pixels = [], []
        source, pts = frame.ref
        refs.append((source, pts))
        pixels.append(picture)
    if pixels:
        yield refs, stacked(pixels)
