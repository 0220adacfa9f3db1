"""Stage 1 of a cull against the bare forward pass of the student, over the same frames in memory.

Stage 1 is everything that the cull does with a batch: the student, its boxes held to what they promise, the score, the
line of the journal. Both are measured in turn, batch by batch, by processor time, the best of several rounds, so that
other work on the machine does not count. The goal is 95 % where the model is the bottleneck; `decoding.py` measures
what limits it otherwise.

    OMP_NUM_THREADS=1 python benchmarks/scanning.py
"""

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from record import append
from tamis.culling.journal import Journal
from tamis.culling.scan import Batch, Scan
from tamis.data.frames import open_frames
from tamis.data.street import StreetCamera, write_street
from tamis.detections import Detector
from tamis.models import open_detector
from tamis.scores import ConfidenceLoss

FRAMES, ROUNDS = 1024, 5


def seconds(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def measure(name: str, student: Detector, scan: Scan, frames: list[tuple[Batch, Tensor]], journal: Journal) -> None:
    """Write a line for a detector."""

    def stage1(batch: Batch) -> None:
        line, _ = scan.line(batch)
        journal.append("scan", **line)

    bare = staged = 0.0
    for batch, images in frames:
        pairs = [(seconds(lambda: student(images)), seconds(lambda: stage1(batch))) for _ in range(ROUNDS)]  # noqa: B023
        best = [min(each) for each in zip(*pairs, strict=True)]
        bare, staged = bare + best[0], staged + best[1]
    row = {"student": name, "frames": FRAMES, "rounds": ROUNDS, "batch_size": scan.batch_size}
    row |= {"bare_images_a_second": round(FRAMES / bare, 1), "images_a_second": round(FRAMES / staged, 1)}
    row["share"] = round(bare / staged, 4)
    append("scanning", row)
    print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", nargs="+", default=["street-student", "street-teacher"])
    parser.add_argument("--amp", default="bf16")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        write_street(film, StreetCamera(0), range(30_000, 30_000 + FRAMES))
        for name in given.students:
            student = open_detector(name, amp=given.amp)
            scan = Scan(None, student, ConfidenceLoss())
            batches = list(scan.batches(open_frames([film]).scan()))
            frames = [(batch, batch.images) for batch in batches if batch.images is not None]
            with closing(Journal(Path(folder) / name, {"config": {}, "sources": {}})) as journal:
                measure(name, student, scan, frames, journal)


if __name__ == "__main__":
    main()
