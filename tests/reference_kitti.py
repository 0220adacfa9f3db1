"""KITTI's average precision again, slowly, from the rules of the benchmark: one image, box and threshold at a time."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

HEIGHT, OCCLUSION, TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.30, 0.50)
OVERLAP = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
BESIDE = {"Van": "Car", "Person_sitting": "Pedestrian"}
STEPS = 40
Corners = tuple[float, float, float, float]


class Line(NamedTuple):
    """A line of a label file."""

    kind: str
    corners: Corners
    occluded: float = 0
    truncated: float = 0


class Seen(NamedTuple):
    """A line of a result file."""

    kind: str
    corners: Corners
    score: float


Image = tuple[Sequence[Seen], Sequence[Line]]


class Rules(NamedTuple):
    height: Sequence[float] = HEIGHT
    occlusion: Sequence[float] = OCCLUSION
    truncation: Sequence[float] = TRUNCATION
    overlap: Mapping[str, float] = OVERLAP
    beside: Mapping[str, str] = BESIDE
    reached: bool = False


def shared(one: Corners, other: Corners, own: bool = False) -> float:
    """Intersection over union, or over the area of the first."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    first, second = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (first if own else first + second - width * height)


def sides(image: Image, kind: str, level: int, rules: Rules) -> tuple[list[tuple[Corners, bool]], list]:
    """True boxes that take part, each with whether it counts; detections that do, each with whether it is too small."""
    true = []
    for line in image[1]:
        tall = line.corners[3] - line.corners[1] >= rules.height[level]
        easy = tall and line.occluded <= rules.occlusion[level] and line.truncated <= rules.truncation[level]
        if line.kind == kind:
            true.append((line.corners, easy))
        elif rules.beside.get(line.kind) == kind:
            true.append((line.corners, False))
    found = []
    for seen in image[0]:
        small = seen.corners[3] - seen.corners[1] < rules.height[level]
        if small or seen.kind == kind:
            found.append((seen, small))
    return true, found


def matched(image: Image, kind: str, level: int, rules: Rules, least: float | None) -> tuple[list[float], int, int]:
    """Scores of the hits, hits and false alarms; without a least score only what the first pass needs."""
    true, found = sides(image, kind, level, rules)
    gone: set[int] = set()
    scores, hits = [], 0
    for corners, counts in true:
        best = None
        for place, (seen, small) in enumerate(found):
            if place in gone or (least is not None and seen.score < least):
                continue
            overlap = shared(seen.corners, corners)
            if overlap <= rules.overlap[kind]:
                continue
            rank = (seen.score,) if least is None else (not small, 0.0 if small else overlap)
            if best is None or rank > best[0]:
                best = rank, place
        if best is None:
            continue
        gone.add(best[1])
        if counts and not found[best[1]][1]:
            hits += 1
            scores.append(found[best[1]][0].score)
    alarms = 0
    for place, (seen, small) in enumerate(found):
        if place in gone or small or (least is not None and seen.score < least):
            continue
        regions = (line.corners for line in image[1] if line.kind == "DontCare")
        alarms += not any(shared(seen.corners, region, own=True) > rules.overlap[kind] for region in regions)
    return scores, hits, alarms


def thresholds(scores: list[float], total: int, reached: bool) -> list[float]:
    scores = sorted(scores, reverse=True)
    if reached:
        steps = [next((n for n in range(1, len(scores) + 1) if n * STEPS >= k * total), None) for k in range(STEPS + 1)]
        return [scores[n - 1] for n in steps if n]
    found, recall = [], 0.0
    for place, score in enumerate(scores):
        left = (place + 1) / total
        right = (place + 2) / total if place + 1 < len(scores) else left
        if right - recall < recall - left and place + 1 < len(scores):
            continue
        found.append(score)
        recall += 1 / STEPS
    return found


def precision(images: Sequence[Image], kind: str, level: int, rules: Rules) -> tuple[float, float, int]:
    """AP at 40 and 11 recalls, and how many boxes count."""
    total = sum(counts for image in images for _, counts in sides(image, kind, level, rules)[0])
    if not total:
        return float("nan"), float("nan"), 0
    scores = [score for image in images for score in matched(image, kind, level, rules, None)[0]]
    curve = [0.0] * (STEPS + 1)
    for place, least in enumerate(thresholds(scores, total, rules.reached)):
        parts = [matched(image, kind, level, rules, least) for image in images]
        hits, alarms = sum(part[1] for part in parts), sum(part[2] for part in parts)
        curve[place] = hits / (hits + alarms) if hits else 0.0
    best = [max(curve[place:]) for place in range(STEPS + 1)]
    return sum(best[1:]) / 40, sum(best[::4]) / 11, total
