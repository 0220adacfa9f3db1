"""The formulas of counting again, from the papers, in slow plain Python. Nothing here is imported from tamis."""

import math
from collections.abc import Sequence

Map = Sequence[Sequence[float]]


def euclidean(predicted: Map, true: Map) -> float:
    """One sample of Eq. 2, ||D(X) - D_gt||², the sum over the pixels."""
    return sum(
        (p - t) ** 2 for one, other in zip(predicted, true, strict=True) for p, t in zip(one, other, strict=True)
    )


def mae(predicted: Sequence[float], counts: Sequence[float]) -> float:
    """Eq. 3, with the absolute value."""
    return sum(abs(e - g) for e, g in zip(predicted, counts, strict=True)) / len(counts)


def rmse(predicted: Sequence[float], counts: Sequence[float]) -> float:
    return math.sqrt(sum((e - g) ** 2 for e, g in zip(predicted, counts, strict=True)) / len(counts))


def game(predicted: Map, true: Map, rows: int, columns: int) -> float:
    """One sample of Eq. 4: a pixel (y, x) belongs to the last cell that starts at or before it."""
    height, width = len(true), len(true[0])
    cells = [[0.0] * columns for _ in range(rows)]
    for y in range(height):
        row = max(index for index in range(rows) if index * height // rows <= y)
        for x in range(width):
            column = max(index for index in range(columns) if index * width // columns <= x)
            cells[row][column] += predicted[y][x] - true[y][x]
    return sum(abs(error) for row in cells for error in row)


def ssim(predicted: Map, true: Map) -> float:
    """Wang et al. 2004, Eq. 13 to 16, windows inside the image only; the data range is the maximum of `true`."""
    peak = max(map(max, true))
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    bell = [math.exp(-((k - 5) ** 2) / (2 * 1.5**2)) for k in range(11)]
    weights = [[a * b / sum(bell) ** 2 for b in bell] for a in bell]
    found = []
    for top in range(len(true) - 10):
        for left in range(len(true[0]) - 10):
            triples = [
                (weights[dy][dx], predicted[top + dy][left + dx], true[top + dy][left + dx])
                for dy in range(11)
                for dx in range(11)
            ]
            mx = sum(w * x for w, x, _ in triples)
            my = sum(w * y for w, _, y in triples)
            vx = sum(w * (x - mx) ** 2 for w, x, _ in triples)
            vy = sum(w * (y - my) ** 2 for w, _, y in triples)
            cov = sum(w * (x - mx) * (y - my) for w, x, y in triples)
            found.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return sum(found) / len(found)


def psnr(predicted: Map, true: Map) -> float:
    """Eq. 6, MAX² / MSE in dB."""
    error = euclidean(predicted, true) / (len(true) * len(true[0]))
    return 10 * math.log10(max(map(max, true)) ** 2 / error)
