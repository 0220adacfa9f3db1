"""Frames a second of `tamis.data.frames` against bare PyAV: what decoding in a thread and converting cost.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py VIDEO ...

Both decode with one codec thread. Times are the processor's, of all threads, so that other work on the machine does not
count. Every way is measured in turn, `ROUNDS` times; the median counts, and the ratio to bare decoding is the median
of the rounds' ratios.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import av

import record
from tamis.data.frames import Frame, open_frames

ROUNDS = 9
GREY = (96, 54)
WAYS: dict[str, Callable[[Frame], object]] = {
    "scan": lambda frame: None,
    "scan, grey 96 x 54": lambda frame: frame.grey(*GREY),
    "scan, rgb": lambda frame: frame.rgb(),
    "scan, rgb 320 x 180": lambda frame: frame.rgb((320, 180)),
}


def bare(path: Path) -> float:
    """Frames a second of processor time of PyAV alone."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        start = time.process_time()
        frames = sum(1 for _ in container.decode(stream))
        return frames / (time.process_time() - start)


def scanned(path: Path, use: Callable[[Frame], object]) -> float:
    """Frames a second of processor time of a whole scan."""
    frames = open_frames([path])
    count = 0
    start = time.process_time()
    for frame in frames.scan():
        use(frame)
        count += 1
    return count / (time.process_time() - start)


def measure(path: Path) -> None:
    """Write a line for each way."""
    rates: dict[str, list[float]] = {way: [] for way in ("bare PyAV", *WAYS)}
    for _ in range(ROUNDS):
        rates["bare PyAV"].append(bare(path))
        for way, use in WAYS.items():
            rates[way].append(scanned(path, use))
    for way, found in rates.items():
        ratio = median(each / base for each, base in zip(found, rates["bare PyAV"], strict=True))
        row = {"video": path.name, "way": way, "frames_per_second": round(median(found)), "of_bare": round(ratio, 3)}
        record.append("decoding", row | {"rounds": ROUNDS})
        print(f"{path.name:24} {way:22} {median(found):8.0f} frames/s {ratio:7.1%}")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        measure(Path(name))
