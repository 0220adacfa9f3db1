"""The losses of a centre detector for one image, box by box and cell by cell, from the papers' formulas."""

import math

STRIDE = 4
REACH = 10


def heat_map(boxes: list[tuple[float, float, float, float, int]], classes: int, height: int, width: int) -> list:
    """What the heat maps should be, [class][row][column] (Zhou et al. 2019, section 3; TTFNet's deviations)."""
    heat = [[[0.0] * width for _ in range(height)] for _ in range(classes)]
    for x1, y1, x2, y2, label in boxes:
        column, row = cell((x1, y1, x2, y2), height, width)
        across, down = (min(max(0.09 * side / STRIDE, 0.6), REACH / 2.5) for side in (x2 - x1, y2 - y1))
        for y in range(height):
            for x in range(width):
                if abs(x - column) <= REACH and abs(y - row) <= REACH:
                    far = (x - column) ** 2 / (2 * across**2) + (y - row) ** 2 / (2 * down**2)
                    heat[label][y][x] = max(heat[label][y][x], math.exp(-far))
    return heat


def cell(box: tuple[float, float, float, float], height: int, width: int) -> tuple[int, int]:
    """Column and row of a box's centre."""
    column, row = (math.floor((low + high) / 2 / STRIDE) for low, high in ((box[0], box[2]), (box[1], box[3])))
    return min(max(column, 0), width - 1), min(max(row, 0), height - 1)


def focal(logits: list, wanted: list) -> float:
    """Eq. 1 of Zhou et al. 2019 with alpha = 2 and beta = 4, not yet divided by the number of boxes."""
    total = 0.0
    for found_map, wanted_map in zip(logits, wanted, strict=True):
        for found_row, wanted_row in zip(found_map, wanted_map, strict=True):
            for logit, y in zip(found_row, wanted_row, strict=True):
                p = 1 / (1 + math.exp(-logit))
                total -= (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
    return total


def giou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Rezatofighi et al. 2019, algorithm 1."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    overlap = across * down if across > 0 and down > 0 else 0.0
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - overlap
    hull = (max(one[2], other[2]) - min(one[0], other[0])) * (max(one[3], other[3]) - min(one[1], other[1]))
    return overlap / union - (hull - union) / hull


def box_loss(found: list, box: tuple[float, float, float, float]) -> float:
    """Mean of 1 - GIoU over the centre's cell and its four neighbours; `found` is [row][column] -> corners."""
    height, width = len(found), len(found[0])
    column, row = cell(box, height, width)
    around = [(column, row), (column + 1, row), (column - 1, row), (column, row + 1), (column, row - 1)]
    losses = [1 - giou(found[y][x], box) for x, y in around if 0 <= x < width and 0 <= y < height]
    return sum(losses) / len(losses)
