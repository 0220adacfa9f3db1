"""Images a second of the in-memory path: gather, shift, mirror, normalise CIFAR-sized images on one core.

The limit is memory: an image is read once as 3 kB and written once as 12 kB of float32.

    python benchmarks/augmentation.py
"""

import time

import torch

from record import append
from tamis.data import MemoryImages, PadCrop


def main() -> None:
    torch.set_num_threads(1)
    count, batch = 50_000, 512
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(count) % 10
    names = tuple(map(str, range(10)))
    source = MemoryImages(images, labels, names, [str(place) for place in range(count)], PadCrop(flip=True, pad=4))
    plan = torch.randperm(count).split(batch)
    started = time.perf_counter()
    for _ in images.split(batch):
        _.float()
    converted = time.perf_counter() - started
    seconds = []
    for epoch in range(3):
        started = time.perf_counter()
        for _ in source.batches(plan, epoch=epoch, seed=0, train=True):
            pass
        seconds.append(time.perf_counter() - started)
    row = {
        "images": count,
        "batch": batch,
        "images_per_second": round(count / min(seconds)),
        "limit_images_per_second": round(count / converted),
    }
    append("augmentation", row)
    print(row)


if __name__ == "__main__":
    main()
