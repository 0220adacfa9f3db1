"""Losses of detectors for one image, anchor by anchor in plain Python, from the papers' formulas.

Everywhere `sigmas` has a number for each box, `background` is that of all anchors without a box, and with `regression`
a residual r of a box counts r / sigma + log sigma. Answers are the image's loss and the part of each box.
"""

import math

from reference_centernet import box_loss, cell, heat_map

Box = tuple[float, ...]
Answer = tuple[float, list[float]]


def iou(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    overlap = across * down if across > 0 and down > 0 else 0.0
    return overlap / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - overlap)


def offsets(box: Box, anchor: Box) -> list[float]:
    """Liu et al. 2016, Eq. 2: shift of the centre in sides of the anchor, and log ratio of the sides."""
    shifts, sizes = [], []
    for low, high in ((0, 2), (1, 3)):
        side = anchor[high] - anchor[low]
        shifts.append(((box[low] + box[high]) / 2 - (anchor[low] + anchor[high]) / 2) / side)
        sizes.append(math.log((box[high] - box[low]) / side))
    return shifts + sizes


def smooth(residual: float, beta: float) -> float:
    """Girshick 2015, Eq. 3, with the corner at beta."""
    residual = abs(residual)
    return residual**2 / (2 * beta) if residual < beta else residual - beta / 2


def cross_entropy(logits: list[float], label: int, sigma: float) -> float:
    scaled = [logit / sigma for logit in logits]
    return math.log(sum(math.exp(each) for each in scaled)) - scaled[label]


def noisy(terms: list[float], sigma: float, regression: bool) -> float:
    return sum(term / sigma + math.log(sigma) for term in terms) if regression else sum(terms)


def match(boxes: list[Box], anchors: list[Box], low: float, high: float) -> list[int]:
    """The best box of each anchor: -1 below `low` or without boxes, -2 between `low` and `high`."""
    found = []
    for anchor in anchors:
        overlaps = [iou(box, anchor) for box in boxes]
        best = max(overlaps, default=0.0)
        found.append(-1 if best < low or not boxes else -2 if best < high else overlaps.index(best))
    return found


def ssd(logits, moves, anchors, boxes, labels, sigmas, background, regression) -> Answer:
    """Liu et al. 2016, Eqs 1 to 3; labels from 1. The best anchor of each box is its own, whatever their overlap."""
    matched = match(boxes, anchors, 0.5, 0.5)
    for number, box in enumerate(boxes):
        overlaps = [iou(box, anchor) for anchor in anchors]
        matched[overlaps.index(max(overlaps))] = number
    parts, negatives = [0.0] * len(boxes), []
    for number, row in enumerate(matched):
        if row < 0:
            negatives.append(cross_entropy(logits[number], 0, background))
            continue
        parts[row] += cross_entropy(logits[number], labels[row], sigmas[row])
        wanted = [a * b for a, b in zip((10, 10, 5, 5), offsets(boxes[row], anchors[number]), strict=True)]
        terms = [smooth(a - b, 1.0) for a, b in zip(moves[number], wanted, strict=True)]
        parts[row] += noisy(terms, sigmas[row], regression)
    positives = sum(row >= 0 for row in matched)
    hard = sum(sorted(negatives, reverse=True)[: 3 * positives])
    return (sum(parts) + hard) / max(1, positives), [part / max(1, positives) for part in parts]


def focal(logits: list[float], label: int, sigma: float) -> float:
    """Lin et al. 2017, Eq. 5, alpha 0.25 and gamma 2, summed over the classes; label 0 is none of them."""
    total = 0.0
    for number, logit in enumerate(logits):
        p = 1 / (1 + math.exp(-logit / sigma))
        right = label > 0 and number == label
        total -= 0.25 * (1 - p) ** 2 * math.log(p) if right else 0.75 * p**2 * math.log(1 - p)
    return total


def retinanet(logits, moves, anchors, boxes, labels, sigmas, background, regression) -> Answer:
    """Lin et al. 2017, section 4.1; a box also has the anchors that overlap it most, if that is the anchors' choice."""
    matched = match(boxes, anchors, 0.4, 0.5)
    for box in boxes:
        overlaps = [iou(box, anchor) for anchor in anchors]
        for number, overlap in enumerate(overlaps):
            if overlap == max(overlaps):
                theirs = [iou(other, anchors[number]) for other in boxes]
                matched[number] = theirs.index(max(theirs))
    parts, rest = [0.0] * len(boxes), 0.0
    for number, row in enumerate(matched):
        if row == -1:
            rest += focal(logits[number], 0, background)
        elif row >= 0:
            wanted = offsets(boxes[row], anchors[number])
            terms = [abs(a - b) for a, b in zip(moves[number], wanted, strict=True)]
            parts[row] += focal(logits[number], labels[row], sigmas[row]) + noisy(terms, sigmas[row], regression)
    positives = max(1, sum(row >= 0 for row in matched))
    return (sum(parts) + rest) / positives, [part / positives for part in parts]


def second_stage(logits, moves, wanted, labels, rows, sigmas, background, regression) -> Answer:
    """Girshick 2015, Eqs 1 to 3; `moves` [proposal][class][4], `rows` the box of each proposal, labels 0 background."""
    parts, rest = [0.0] * len(sigmas), 0.0
    for number, label in enumerate(labels):
        if label == 0:
            rest += cross_entropy(logits[number], 0, background)
            continue
        sigma = sigmas[rows[number]]
        terms = [smooth(a - b, 1 / 9) for a, b in zip(moves[number][label], wanted[number], strict=True)]
        parts[rows[number]] += cross_entropy(logits[number], label, sigma) + noisy(terms, sigma, regression)
    count = max(1, len(labels))
    return (sum(parts) + rest) / count, [part / count for part in parts]


def centernet(logits, found, boxes, sigmas, background, regression) -> Answer:
    """Zhou et al. 2019, Eq. 1; `logits` [class][row][column], `found` [row][column] -> corners; labels from 0."""
    classes, height, width = len(logits), len(logits[0]), len(logits[0][0])
    wanted = heat_map(boxes, classes, height, width)
    owners: dict[tuple[int, int], list[int]] = {}
    for number, box in enumerate(boxes):
        x, y = cell(box[:4], height, width)
        owners.setdefault((y, x), []).append(number)
    parts, rest = [0.0] * len(boxes), 0.0
    for label in range(classes):
        for y in range(height):
            for x in range(width):
                there = owners.get((y, x), [])
                of_class = [number for number in there if boxes[number][4] == label]
                if not there:
                    p = 1 / (1 + math.exp(-logits[label][y][x] / background))
                    rest -= (1 - wanted[label][y][x]) ** 4 * p**2 * math.log(1 - p)
                for number in of_class or there:
                    p = 1 / (1 + math.exp(-logits[label][y][x] / sigmas[number]))
                    if of_class:
                        parts[number] -= (1 - p) ** 2 * math.log(p) / len(of_class)
                    else:
                        parts[number] -= (1 - wanted[label][y][x]) ** 4 * p**2 * math.log(1 - p) / len(there)
    for number, box in enumerate(boxes):
        parts[number] += 5 * noisy([box_loss(found, box[:4])], sigmas[number], regression)
    count = max(1, len(boxes))
    return (sum(parts) + rest) / count, [part / count for part in parts]
