"""What exact resume costs: the share of a training that goes into checkpoints by default, and what one of them takes.

The limit is the disk: a checkpoint is written once, read once for its hashes, and flushed.

    python benchmarks/checkpoints.py
"""

import os
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from record import append
from tamis.checkpoint import save_checkpoint, size_of
from tamis.data import MemoryImages
from tamis.fit import Settings, fit
from tamis.methods import Temperature
from tamis.models.small import SmallNet
from tamis.run import Run
from tamis.tasks.classification import Classification

COUNT = 10_000


def trained(every: float | None) -> dict[str, float]:
    """A small network on small images: as many checkpoints for the time as there ever are."""
    images = torch.randint(256, (COUNT, 1, 28, 28), dtype=torch.uint8)
    source = MemoryImages(images, torch.arange(COUNT) % 10, tuple("0123456789"), [str(i) for i in range(COUNT)])
    model = SmallNet(10, in_channels=1, size=28, stride=2)
    optimizer = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    settings = Settings(epochs=25, batch_size=128, optimizer=optimizer, checkpoint_seconds=every)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run", {"config": {}})
        result = fit(model, Classification(), source, settings=settings, temperature=Temperature(), run=run).result
        run.close()
    return result["costs"]


def written(parameters: int, samples: int) -> tuple[int, float, float]:
    """Bytes of a checkpoint, the seconds that it takes, and the seconds of one plain write of as many bytes."""
    model = {"weight": torch.randn(parameters)}
    state = {"momentum": torch.randn(parameters), "ledger": [torch.randn(samples) for _ in range(5)]}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        save_checkpoint(Path(folder) / "checkpoint", model, state)
        took = time.perf_counter() - started
        size = size_of(model) + size_of(state)
        content = bytes(1 << 20)
        started = time.perf_counter()
        with (Path(folder) / "plain").open("wb") as file:
            for _ in range(size >> 20):
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return size, took, time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    for every in (None, 0.0):
        costs = trained(every)
        share = costs["seconds_checkpoints"] / costs["seconds_total"]
        row = {"kind": "training", "every": every, "samples": COUNT, "seconds": round(costs["seconds_total"], 1)}
        row |= {"steps": costs["steps"], "share": round(share, 4)}
        append("checkpoints", row)
        print(row)
    for name, parameters, samples in (("small", 150_000, 10_000), ("WRN-28-10", 36_500_000, 50_000)):
        size, took, plain = written(parameters, samples)
        row = {"kind": "checkpoint", "model": name, "samples": samples, "megabytes": round(size / 1e6, 1)}
        row |= {"seconds": round(took, 3), "plain_seconds": round(plain, 3)}
        append("checkpoints", row)
        print(row)


if __name__ == "__main__":
    main()
