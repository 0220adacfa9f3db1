"""Milliseconds to make a density map on one core, beside what the published codes do and what memory allows.

The published codes filter an image of zeros with one dot in it for each head (`gaussian_filter`, whole image), and add
the results; that is timed on a few heads and multiplied. With one sigma for all heads a single filter would do: it
loses mass at borders and has no sub-pixel places. The limit is writing the map once. Every time is the best of
several, and processor time of the one thread, so that what else runs on the machine counts little.

    python benchmarks/density.py
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from record import append
from tamis.data.density import Density, density_map

WIDTH, HEIGHT = 1024, 768
HEADS = (50, 500, 5_000)
SETTINGS = (Density(4.0), Density(15.0), Density("adaptive"))
STRIDES = (1, 8)
FEW, REPEATS = 5, 9


def best(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of several repeats."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def crowd(count: int) -> np.ndarray:
    """Heads of which half stand in clusters, float64 (count, 2)."""
    random = np.random.default_rng(0)
    heads = random.random((count, 2)) * (WIDTH, HEIGHT)
    near = random.integers(0, 8, count // 2)
    heads[: count // 2] = heads[-8:][near] + random.standard_normal((count // 2, 2)) * 60
    return heads.clip(0, (WIDTH, HEIGHT))


def spots(heads: np.ndarray) -> np.ndarray:
    """One at each head's pixel, float32 (HEIGHT, WIDTH)."""
    image = np.zeros((HEIGHT, WIDTH), np.float32)
    column, row = heads.astype(int).clip(0, (WIDTH - 1, HEIGHT - 1)).T
    np.add.at(image, (row, column), 1)
    return image


def one_by_one(heads: np.ndarray, sigma: float) -> np.ndarray:
    """The map as the published codes make it."""
    density = np.zeros((HEIGHT, WIDTH), np.float32)
    for head in heads:
        density += gaussian_filter(spots(head[None]), sigma, mode="constant")
    return density


def one_filter(heads: np.ndarray, sigma: float) -> np.ndarray:
    """One filter for all heads."""
    return gaussian_filter(spots(heads), sigma, mode="constant")


def main() -> None:
    torch.set_num_threads(1)
    limits = {stride: best(torch.ones(-(-HEIGHT // stride), -(-WIDTH // stride)).clone, 50) for stride in STRIDES}
    for settings in SETTINGS:
        # "adaptive" differs from head to head; 8 is about its mean here. A filter costs in proportion to sigma.
        sigma = 8.0 if settings.sigma == "adaptive" else float(settings.sigma)
        each = best(partial(one_by_one, crowd(50)[:FEW], sigma), 3) / FEW
        for count in HEADS:
            heads = crowd(count)
            once = None if settings.sigma == "adaptive" else best(partial(one_filter, heads, sigma), 5)
            for stride in STRIDES:
                make = partial(density_map, heads, WIDTH, HEIGHT, settings, stride)
                error = abs(float(make().sum(dtype=torch.float64)) - count)
                row = {
                    "width": WIDTH,
                    "height": HEIGHT,
                    "heads": count,
                    "sigma": settings.sigma,
                    "stride": stride,
                    "milliseconds": round(1e3 * best(make), 2),
                    "one_by_one_milliseconds": round(1e3 * each * count, 1),
                    "one_filter_milliseconds": None if once is None else round(1e3 * once, 2),
                    "limit_milliseconds": round(1e3 * limits[stride], 4),
                    "sum_error": float(f"{error:.1e}"),
                }
                append("density", row)
                print(row)


if __name__ == "__main__":
    main()
