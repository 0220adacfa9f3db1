"""Frames a second of `tamis.data.frames` against bare PyAV: what decoding in a thread and converting cost.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py VIDEO ...

Both decode with one codec thread. Times are the processor's, so that other work on the machine does not count: of all
threads, as on one core, and of the thread that decodes alone, which is what lasts where decoding is the bottleneck and
another core is free. Every way is measured in turn, `ROUNDS` times; the median counts, and the ratio to bare decoding
is the median of the rounds' ratios.
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


def scanned(path: Path, use: Callable[[Frame], object]) -> tuple[float, float]:
    """Frames a second of processor time of a whole scan: of all threads, and of all but the user's."""
    frames = open_frames([path])
    count = 0
    start, own = time.process_time(), time.thread_time()
    for frame in frames.scan():
        use(frame)
        count += 1
    spent, own = time.process_time() - start, time.thread_time() - own
    return count / spent, count / (spent - own)


def measure(path: Path) -> None:
    """Write a line for each way."""
    rates: dict[str, list[tuple[float, float]]] = {way: [] for way in ("bare PyAV", *WAYS)}
    for _ in range(ROUNDS):
        alone = bare(path)
        rates["bare PyAV"].append((alone, alone))
        for way, use in WAYS.items():
            rates[way].append(scanned(path, use))
    for way, found in rates.items():
        ratios = [
            round(median(each[place] / base[0] for each, base in zip(found, rates["bare PyAV"], strict=True)), 3)
            for place in (0, 1)
        ]
        row = {"video": path.name, "way": way, "frames_per_second": round(median(each for each, _ in found))}
        row |= {"of_bare": ratios[0], "decoding_of_bare": ratios[1], "rounds": ROUNDS}
        record.append("decoding", row)
        print(row)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        measure(Path(name))
