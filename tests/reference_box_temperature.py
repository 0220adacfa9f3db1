"""Sigma of boxes and background, written down from section 3.3 of the paper in plain Python."""

import math
from collections.abc import Sequence

Row = Sequence[float]  # x1, y1, x2, y2, label


def sigmas(
    images: Sequence[tuple[int, Sequence[Row]]],
    starts: Sequence[int],
    of_class: Sequence[float] | None,
    of_box: Sequence[float] | None,
) -> tuple[list[list[float]], float]:
    """Sigma of every row (1 for one of label -1), and the mean over the boxes of the batch (1 without any).

    Args:
        images: position in the data set and rows, of each image of the batch.
        starts: the first row of each image's boxes.
        of_class: log sigma by class, or None.
        of_box: log sigma by row, or None.
    """
    found, boxes = [], []
    for position, rows in images:
        values = []
        for place, row in enumerate(rows):
            if row[4] < 0:
                values.append(1.0)
                continue
            own = 0.0 if of_box is None else math.exp(of_box[starts[position] + place])
            shared = 0.0 if of_class is None else math.exp(of_class[int(row[4])])
            values.append(own + shared)
            boxes.append(own + shared)
        found.append(values)
    return found, sum(boxes) / len(boxes) if boxes else 1.0


def step(
    log_sigma: dict[int, float], gradient: dict[int, float], rate: float, low: float = -math.inf, high: float = math.inf
) -> dict[int, float]:
    """Plain gradient descent on log sigma of the boxes of a batch, and of no other."""
    moved = {row: min(high, max(low, value - rate * gradient.get(row, 0.0))) for row, value in log_sigma.items()}
    return {row: moved[row] if row in gradient else log_sigma[row] for row in log_sigma}
