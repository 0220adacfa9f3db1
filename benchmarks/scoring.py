"""How fast samples are scored, against the bare forward pass of the same model over the same batches.

The bare pass is a loop over the source's batches that only calls the model, as one would write it by hand. Both run in
turn, several times; the best of each counts. The goal is 95 %.

    python benchmarks/scoring.py
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from record import append
from tamis.batch import Batch
from tamis.data import CountedImages, MemoryImages
from tamis.data.points import open_points
from tamis.data.synthetic import write_crowd
from tamis.fit import Source, Task, sample_scores, whole_plan
from tamis.models import build_counter, build_model
from tamis.tasks.classification import Classification
from tamis.tasks.counting import Counting

ROUNDS = 7


def bare(model: nn.Module, source: Source, batch_size: int) -> None:
    with torch.inference_mode():
        for batch in source.batches(whole_plan(source, batch_size), epoch=0, seed=0, train=False):
            model(batch.inputs)


def scored(model: nn.Module, task: Task, source: Source, batch_size: int) -> None:
    sample_scores(model, task, source, batch_size, _as_it_is)


def _as_it_is(batch: Batch) -> Batch:
    return batch


def seconds(work: Callable[[], None]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def measure(name: str, model_name: str, model: nn.Module, task: Task, source: Source, batch_size: int) -> None:
    model.eval()
    pairs = [
        (seconds(lambda: bare(model, source, batch_size)), seconds(lambda: scored(model, task, source, batch_size)))
        for _ in range(ROUNDS)
    ]
    without, with_scores = (min(each) for each in zip(*pairs, strict=True))
    row = {
        "task": name,
        "model": model_name,
        "images": len(source),
        "bare_images_per_second": round(len(source) / without, 2),
        "images_per_second": round(len(source) / with_scores, 2),
        "share": round(without / with_scores, 4),
    }
    append("scoring", row)
    print(row)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2048, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(2048) % 10
    images = MemoryImages(pixels, labels, tuple("0123456789"), [str(place) for place in range(2048)])
    network = build_model("small", classes=10, channels=3, size=32, seed=0)
    measure("classification", "small", network, Classification(), images, 256)
    with tempfile.TemporaryDirectory() as folder:
        write_crowd(Path(folder) / "crowd", 60, 1)
        found = open_points(Path(folder) / "crowd")[0]
        for name in ("mcnn-light", "mcnn"):
            counter = build_counter(name, seed=0)
            source = CountedImages.from_points(found, stride=counter.stride).held()
            measure("counting", name, counter, Counting(scale=100.0), source, 4)


if __name__ == "__main__":
    main()
