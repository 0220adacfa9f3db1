"""`tamis check`: seconds and memory for a data set, and which copies of real images it recognises.

Speed is that of the command itself, in a process of its own, with no worker (one core) and with two.

    python benchmarks/check.py speed cifar10_jpeg.tar.xz
    python benchmarks/check.py near cifar10_jpeg.tar.xz --copies 200
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from record import append
from tamis.data.decode import Blobs
from tamis.data.images import FileImages
from tamis.data.inspection.alike import near_pairs
from tamis.data.inspection.signatures import read_signatures
from tamis.data.open import open_undecoded

R = Image.Resampling
BRIGHTER = [min(255, round(1.1 * value)) for value in range(256)]


def recoded(image: Image.Image, **options: int | str) -> bytes:
    file = io.BytesIO()
    image.save(file, **{"format": "JPEG", **options})
    return file.getvalue()


def scaled(image: Image.Image, factor: float, by: R = R.BICUBIC) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), by)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "PNG": lambda image: recoded(image, format="PNG"),
    "JPEG 80": lambda image: recoded(image, quality=80),
    "JPEG 50": lambda image: recoded(image, quality=50),
    "JPEG 30": lambda image: recoded(image, quality=30),
    "half size": lambda image: recoded(scaled(image, 0.5, R.LANCZOS), format="PNG"),
    "3/4 size, JPEG 80": lambda image: recoded(scaled(image, 0.75), quality=80),
    "double size, JPEG 80": lambda image: recoded(scaled(image, 2), quality=80),
    "10 % brighter": lambda image: recoded(image.point(BRIGHTER * 3), format="PNG"),
    "grey": lambda image: recoded(image.convert("L"), format="PNG"),
    "mirrored": lambda image: recoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), format="PNG"),
    "cut by 1/16 on all sides": lambda image: recoded(
        image.crop((image.width // 16, image.height // 16, image.width * 15 // 16, image.height * 15 // 16)),
        format="PNG",
    ),
}


def speed(data: Path) -> None:
    for workers in (0, 2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started, load = time.perf_counter(), os.getloadavg()[0]
        start = "from tamis.cli import main; main()"
        command = [sys.executable, "-c", start, "check", str(data), "--json", "--workers", str(workers)]
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads(done.stdout)
        row = {
            "what": "speed",
            "data": data.name,
            "images": sum(found["images"].values()),
            "workers": workers,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
            "peak_mb_of_largest_process": round(after.ru_maxrss / 1e3),
            "load_before": round(load, 1),
            "findings": {finding["kind"]: len(finding["rows"]) for finding in found["findings"]},
        }
        append("check", row)
        print(row)


def near(data: Path, copies: int, seed: int) -> None:
    source = open_undecoded(data, "train")
    chosen = np.sort(np.random.default_rng(seed).choice(len(source), copies, replace=False))
    files = [make(source.thumbnail(place)) for make in COPIES.values() for place in chosen.tolist()]
    names, labels = [str(number) for number in range(len(files))], torch.zeros(len(files), dtype=torch.int64)
    copied = FileImages(Blobs(files), labels, ("",), names)
    look = np.concatenate([read_signatures(each, workers=2)[0] for each in (source, copied)])
    pairs = np.stack(near_pairs(look["hash"], look["small"], look["contrast"]))
    inside = pairs[:, (pairs < len(source)).all(axis=0)]
    same = (look["pixels"][len(source) :] == np.tile(look["pixels"][chosen], (len(COPIES), 1))).all(axis=1)
    origin = np.tile(chosen, len(COPIES))
    across = pairs[:, (pairs[0] < len(source)) & (pairs[1] >= len(source))]
    right = across[0] == origin[across[1] - len(source)]
    alike = {tuple(pair) for pair in inside.T.tolist()}
    for number, name in enumerate(COPIES):
        mine = (across[1] - len(source)) // copies == number
        hit = np.unique(across[1][mine & right] - len(source))
        others = across[:, mine & ~right].T.tolist()
        known = [pair for pair in others if tuple(sorted((pair[0], int(origin[pair[1] - len(source)])))) in alike]
        part = slice(number * copies, (number + 1) * copies)
        row = {
            "what": "near",
            "data": data.name,
            "images": len(source),
            "copy": name,
            "copies": copies,
            "seed": seed,
            "same_pixels": int(same[part].sum()),
            "found": len(hit),
            "other_images_named": len(others) - len(known),
            "pairs_among_the_images": inside.shape[1],
        }
        append("check", row)
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "near"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.data)
    else:
        near(given.data, given.copies, given.seed)


if __name__ == "__main__":
    main()
