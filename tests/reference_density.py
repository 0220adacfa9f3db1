"""Eq. 1 of the CLIP paper and the geometry-adaptive sigma of MCNN again, in slow plain Python.

Nothing here is imported from tamis. A dot (x, y) is column and row from the upper left corner of the image, and the
pixel in column i and row j has its centre at (i + 0.5, j + 0.5).
"""

import math
from collections.abc import Sequence

Dots = Sequence[tuple[float, float]]


def density(
    dots: Dots, width: int, height: int, sigmas: Sequence[float], truncate: float, renormalise: bool
) -> list[list[float]]:
    """D = sum over the dots of delta(x - x_i) * G_sigma, with G sampled in a square and of mass 1."""
    total = [[0.0] * width for _ in range(height)]
    for (x, y), sigma in zip(dots, sigmas, strict=True):
        reach = max(1.0, truncate * sigma) + 1e-6
        mass = {}
        for row in range(math.floor(y - reach) - 1, math.ceil(y + reach) + 1):
            for column in range(math.floor(x - reach) - 1, math.ceil(x + reach) + 1):
                dx, dy = column + 0.5 - x, row + 0.5 - y
                within = 0 <= column < width and 0 <= row < height
                if max(abs(dx), abs(dy)) <= reach and (within or not renormalise):
                    mass[row, column] = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
        whole = sum(mass.values())
        for (row, column), value in mass.items():
            if 0 <= column < width and 0 <= row < height:
                total[row][column] += value / whole
    return total


def summed(cells: list[list[float]], stride: int) -> list[list[float]]:
    """Each cell the sum of stride x stride pixels; the last ones of fewer."""
    height, width = len(cells), len(cells[0])
    return [
        [
            sum(
                cells[y][x]
                for y in range(row, min(row + stride, height))
                for x in range(left, min(left + stride, width))
            )
            for left in range(0, width, stride)
        ]
        for row in range(0, height, stride)
    ]


def adaptive_sigmas(dots: Dots, neighbours: int, beta: float, limits: tuple[float, float]) -> list[float]:
    """sigma_i = beta * mean distance to the nearest heads; alone: as if they were infinitely far."""
    sigmas = []
    for place, (x, y) in enumerate(dots):
        others = sorted(math.hypot(x - u, y - v) for other, (u, v) in enumerate(dots) if other != place)[:neighbours]
        mean = sum(others) / len(others) if others else math.inf
        sigmas.append(min(max(beta * mean, limits[0]), limits[1]))
    return sigmas
