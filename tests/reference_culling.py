"""Dataset Culling in plain Python, written from the paper and from COCO's definition of average precision; slow."""

import math
from collections.abc import Callable, Sequence

Box = tuple[float, float, float, float]
Found = tuple[Box, float, int]  # box, confidence, label
True_ = tuple[Box, int]  # box, label


def confidence_loss(x: float, q: float = 3.0, b: float = 0.5) -> float:
    """Section 2.1, with 0 log 0 = 0."""
    unsure = 0.0 if x == 0 else -x * math.log(x)
    return unsure * q + (1 - x) * math.exp(x) / (math.exp(x) + 1) + b


def published_loss(x: float, q: float = 4.0, t: float = 0.5) -> float:
    """As the published code has it."""
    return -x * math.log10(x + 0.00001) * q + (1 - x) * math.exp(x) / (math.exp(x) + 1) + t


def image_score(found: Sequence[Found], least: float = 0.05) -> float:
    """The sum over what was found."""
    return math.fsum(confidence_loss(confidence) for _, confidence, _ in found if confidence >= least)


def normalized_mean(sums: Sequence[Sequence[float]]) -> list[float]:
    """Of sums by image and class: the mean of the z-scores of the classes that vary."""
    columns = [column for column in zip(*sums, strict=True) if len(set(column)) > 1]
    scores = [0.0] * len(sums)
    for column in columns:
        mean = math.fsum(column) / len(column)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(column))
        scores = [score + (value - mean) / deviation for score, value in zip(scores, column, strict=True)]
    return [score / max(1, len(columns)) for score in scores]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union; 0 where nothing is shared."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def hits(found: Sequence[tuple[Box, float]], true: Sequence[Box], iou: float = 0.5) -> list[tuple[float, bool]]:
    """Confidence and whether it hits, of what was found of one class on one image: at most 100, the surest first."""
    free, result = list(range(len(true))), []
    for box, confidence in sorted(found, key=lambda one: -one[1])[:100]:
        near = [(overlap(box, true[place]), place) for place in free if overlap(box, true[place]) >= iou]
        if near:
            free.remove(max(near)[1])
        result.append((confidence, bool(near)))
    return result


def average_precision(marked: Sequence[tuple[float, bool]], true: int) -> float:
    """Mean over the recalls 0, 0.01 ... 1 of the best precision at that recall or a higher one."""
    curve, right = [], 0
    for number, (_, hit) in enumerate(sorted(marked, key=lambda one: -one[0]), 1):
        right += hit
        curve.append((right / true, right / number))
    recalls = [0.01 * step for step in range(101)]
    return math.fsum(max((p for r, p in curve if r >= recall), default=0.0) for recall in recalls) / 101


def image_precision(student: Sequence[Found], teacher: Sequence[True_], iou: float = 0.5) -> float:
    """Readings 4: of one image, mean over the classes that the teacher sees."""
    labels = {label for _, label in teacher}
    if not labels:
        return 0.0 if student else 1.0
    values = []
    for label in labels:
        true = [box for box, other in teacher if other == label]
        found = [(box, confidence) for box, confidence, other in student if other == label]
        values.append(average_precision(hits(found, true, iou), len(true)))
    return math.fsum(values) / len(values)


def class_precision(students: Sequence[Sequence[Found]], teachers: Sequence[Sequence[True_]], label: int) -> float:
    """Of one class over all images; not a number where it has no true box."""
    marked, count = [], 0
    for student, teacher in zip(students, teachers, strict=True):
        true = [box for box, other in teacher if other == label]
        marked += hits([(box, confidence) for box, confidence, other in student if other == label], true)
        count += len(true)
    return average_precision(marked, count) if count else math.nan


def opt_resolution(scores: Callable[[float], Sequence[float]], threshold: float, steps: int) -> tuple[list[float], int]:
    """Section 2.2, with the mean over the images: errors of the scales that are tried, and the step that is kept."""
    full, errors = scores(1.0), [0.0]
    for step in range(1, steps + 1):
        small = scores(0.9**step)
        errors.append(math.fsum((a - b) ** 2 for a, b in zip(full, small, strict=True)) / len(full))
        if errors[-1] > threshold:
            return errors, step - 1
    return errors, steps
