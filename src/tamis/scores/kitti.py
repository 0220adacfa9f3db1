"""KITTI's average precision of boxes, easy, moderate and hard (Geiger et al. 2012; rules of its object benchmark)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import torch
from torch import Tensor

from tamis.detections import Detections
from tamis.scores.kitti_matching import Pairs, overlapping, take_in_turn

Three = tuple[float, float, float]
_STEPS = 40  # of recall: 0, 1/40 ... 1
_AT_ONCE = 1 << 23  # pairs times thresholds


@dataclass(frozen=True)
class KittiRules:
    """What counts as easy, moderate and hard, and what as a hit; by default KITTI's own.

    Attributes:
        min_height: least height in pixels of the true boxes that count, and of the detections.
        max_occlusion: highest level of occlusion of the true boxes that count.
        max_truncation: highest truncation of these, in [0, 1].
        iou: what a hit overlaps by more than, of each class that is judged; or one number for all classes. In (0, 1).
        neighbours: classes whose boxes are neither hit nor miss for another class.
        recalls: which scores are the thresholds of the 41 steps of recall. "nearest" is the devkit's: those whose
            recall is nearest, each once, so that a class with fewer than 80 boxes never has an AP of 1. "reached": the
            highest that reaches the step.

    Raises:
        ValueError: an overlap out of range, or other words for `recalls`.
    """

    min_height: Three = (40, 25, 25)
    max_occlusion: Three = (0, 1, 2)
    max_truncation: Three = (0.15, 0.30, 0.50)
    iou: Mapping[str, float] | float = field(default_factory=lambda: {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5})
    neighbours: Mapping[str, str] = field(default_factory=lambda: {"Van": "Car", "Person_sitting": "Pedestrian"})
    recalls: Literal["nearest", "reached"] = "nearest"

    def __post_init__(self) -> None:
        overlaps = self.iou.values() if isinstance(self.iou, Mapping) else [self.iou]
        if not all(0 < least < 1 for least in overlaps):
            raise ValueError(f"iou must be in (0, 1), got {self.iou!r}; 0.5 is usual, and 0.7 for cars")
        if self.recalls not in ("nearest", "reached"):
            raise ValueError(f"recalls must be 'nearest' or 'reached', got {self.recalls!r}")

    @classmethod
    def by_occlusion(cls, iou: Mapping[str, float] | float = 0.5, min_height: Three = (0, 0, 0)) -> "KittiRules":
        """Difficulty by the level of occlusion alone, 0, up to 1, up to 2, for cameras of which no more is known."""
        return cls(min_height, max_truncation=(1, 1, 1), iou=iou, neighbours={}, recalls="reached")

    def judged(self, class_names: Sequence[str]) -> dict[str, float]:
        """The classes that are judged, and what a hit overlaps by more than."""
        by_name = self.iou if isinstance(self.iou, Mapping) else dict.fromkeys(class_names, self.iou)
        return {name: by_name[name] for name in class_names if name in by_name}


@dataclass(frozen=True, eq=False)
class KittiTruth:
    """The true boxes of an image.

    Attributes:
        boxes: float32 (k, 4): x1, y1, x2, y2 in pixels.
        labels: int64 (k,), positions in the list of classes.
        occlusion: float32 (k,): 0 fully visible, 1 partly, 2 largely occluded, 3 unknown. NaN or None = not said: such
            a box counts as visible, as the devkit takes -1.
        truncation: float32 (k,), in [0, 1]; NaN or None likewise.
        ignored: float32 (r, 4), regions that count for nothing (DontCare).

    Raises:
        ValueError: shapes that do not fit.
    """

    boxes: Tensor
    labels: Tensor
    occlusion: Tensor | None = None
    truncation: Tensor | None = None
    ignored: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        columns = [self.labels, *(each for each in (self.occlusion, self.truncation) if each is not None)]
        regions = self.ignored
        fit = self.boxes.shape == (count, 4) and all(each.shape == (count,) for each in columns)
        if not fit or (regions is not None and regions.shape != (len(regions), 4)):
            raise ValueError(
                f"truth must be boxes (k, 4), columns (k,) and regions (r, 4), got {tuple(self.boxes.shape)}, "
                f"{[tuple(each.shape) for each in columns]} and {None if regions is None else tuple(regions.shape)}"
            )


class KittiPrecision(TypedDict):
    """Average precision of a class, easy, moderate and hard.

    Attributes:
        r40: mean over recall 1/40, 2/40 ... 1 (as KITTI since 2019), in [0, 1]; NaN without a box that counts.
        r11: mean over recall 0, 0.1 ... 1 (as KITTI before).
        boxes: how many true boxes count.
    """

    r40: Three
    r11: Three
    boxes: tuple[int, int, int]


def kitti_precision(
    found: Sequence[Detections],
    truth: Sequence[KittiTruth],
    class_names: Sequence[str],
    rules: KittiRules | None = None,
) -> dict[str, KittiPrecision]:
    """KITTI's average precision of each class that is judged.

    Of a class, true boxes that are too occluded, truncated or small, and those of a neighbour, are neither hit nor
    miss; what takes one of them is no false alarm. True boxes take detections in the order given, each at most one that
    overlaps it by more than `rules.iou`:

    - To find the thresholds, the detection of the highest score. The scores of hits, in falling order, are the recalls.
    - At each threshold, the detection of the largest overlap among those that are high enough and of that score; if
      there is none the first that is too small. Of equals the first.

    A detection that is too small is neither hit nor false alarm, of whatever class it is (the devkit looks at its
    height first), and nor is one that no box took and that a region covers by more than `rules.iou` of its area. The
    precision at a step is the highest there or at a later one; a step that is not reached has 0.

    Args:
        found: n detections of any confidence, in pixels of the images; those whose score is NaN are left out.
        truth: of the same images in the same order.
        class_names: what labels are positions in.
        rules: by default KITTI's.

    Raises:
        ValueError: lists of different lengths, or a label that is no class.
    """
    rules = rules or KittiRules()
    if len(found) != len(truth):
        raise ValueError(
            f"found and truth must tell of the same images, got {len(found)} and {len(truth)}; join them by key"
        )
    detections, true = _detections(found), _true(truth)
    for labels, who in ((detections.label, "found"), (true.label, "truth")):
        wrong = labels[(labels < 0) | (labels >= len(class_names))].tolist()
        if wrong:
            raise ValueError(
                f"labels must be in [0, {len(class_names)}), the classes, got {wrong[0]!r} in {who}; map the classes"
            )
    regions = [torch.zeros(0, 4) if each.ignored is None else each.ignored for each in truth]
    place = {name: label for label, name in enumerate(class_names)}
    result = dict[str, KittiPrecision]()
    for name, least in rules.judged(class_names).items():
        label = place[name]
        beside = [place[other] for other, own in rules.neighbours.items() if own == name and other in place]
        own = true.at(torch.isin(true.label, torch.tensor([label, *beside])))
        seen = detections.at((detections.label == label) | (detections.height < max(rules.min_height)))
        covered = overlapping(_joined(regions, 4), _images(regions), seen.boxes, seen.image, least, of_found=True)
        uncovered = torch.ones_like(seen.label, dtype=torch.bool).index_fill(0, covered.found, False)
        near = overlapping(own.boxes, own.image, seen.boxes, seen.image, least)
        levels = [_level(level, rules, label, own, seen, near, uncovered) for level in range(3)]
        r40, r11, boxes = zip(*levels, strict=True)
        result[name] = {"r40": r40, "r11": r11, "boxes": boxes}
    return result


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Boxes of all images, float64 (m, 4), image by image; `columns` are occlusion and truncation, or the score."""

    boxes: Tensor
    image: Tensor
    label: Tensor
    columns: tuple[Tensor, ...]

    @property
    def height(self) -> Tensor:
        return (self.boxes[:, 3] - self.boxes[:, 1]).abs()

    def at(self, rows: Tensor) -> "_Boxes":
        return _Boxes(self.boxes[rows], self.image[rows], self.label[rows], tuple(each[rows] for each in self.columns))


def _detections(images: Sequence[Detections]) -> _Boxes:
    boxes, scores = [each.boxes for each in images], _joined([each.scores for each in images])
    labels = _joined([each.labels for each in images]).long()
    return _Boxes(_joined(boxes, 4), _images(boxes), labels, (scores,)).at(~scores.isnan())


def _true(images: Sequence[KittiTruth]) -> _Boxes:
    boxes, labels = [each.boxes for each in images], _joined([each.labels for each in images]).long()
    unknown = [torch.zeros(len(each)) for each in boxes]
    columns = [[each.occlusion for each in images], [each.truncation for each in images]]
    known = ([own if own is not None else none for own, none in zip(each, unknown, strict=True)] for each in columns)
    numbers = tuple(_joined(each).float().nan_to_num(0) for each in known)  # of 32 bits, so that 0.3 is not above 0.3
    return _Boxes(_joined(boxes, 4), _images(boxes), labels, numbers)


def _joined(parts: Sequence[Tensor], *shape: int) -> Tensor:
    return torch.cat([torch.zeros(0, *shape).double(), *(each.double().cpu() for each in parts)])


def _images(parts: Sequence[Tensor]) -> Tensor:
    """The number of the image of each row."""
    return torch.arange(len(parts)).repeat_interleave(torch.tensor([len(each) for each in parts], dtype=torch.int64))


def _level(
    level: int, rules: KittiRules, label: int, true: _Boxes, seen: _Boxes, near: Pairs, uncovered: Tensor
) -> tuple[float, float, int]:
    """Average precision of a class at one difficulty, at 40 and 11 recalls, and how many true boxes count."""
    occlusion, truncation = true.columns
    hard = (occlusion > rules.max_occlusion[level]) | (truncation > rules.max_truncation[level])
    counts = (true.label == label) & ~hard & (true.height >= rules.min_height[level])
    total = int(counts.sum())
    if not total:
        return math.nan, math.nan, 0
    (score,), small = seen.columns, seen.height < rules.min_height[level]
    valid = (seen.label == label) & ~small
    near = near[(valid | small)[near.found]]
    first = _preferred(near, -score[near.found])
    hits = take_in_turn(first, true.image, torch.ones(1, len(near.true), dtype=torch.bool))[0]
    hits &= counts[first.true] & valid[first.found]
    thresholds = _thresholds(score[first.found[hits]].sort(descending=True).values, total, rules.recalls)
    curve = torch.zeros(_STEPS + 1).double()
    curve[: len(thresholds)] = _precision(thresholds, true.image, counts, score, valid, uncovered, near)
    curve = curve.flip(0).cummax(0).values.flip(0)
    return curve[1:].mean().item(), curve[::4].mean().item(), total


def _preferred(pairs: Pairs, key: Tensor) -> Pairs:
    """By true box, then by this key; what ties stays in order."""
    order = key.argsort(stable=True)
    return pairs[order[pairs.true[order].argsort(stable=True)]]


def _thresholds(scores: Tensor, total: int, recalls: str) -> Tensor:
    """The scores at which the curve is looked at, of those of the hits, in falling order."""
    if recalls == "reached":
        needed = ((torch.arange(_STEPS + 1) * total + _STEPS - 1) // _STEPS).clamp(min=1)
        return scores[needed[needed <= len(scores)] - 1]
    places, step, last = list[int](), 0.0, len(scores) - 1
    for place in range(len(scores)):
        here, ahead = (place + 1) / total, (place + 2) / total
        if place == last or ahead - step >= step - here:
            places.append(place)
            step += 1 / _STEPS  # summed up, as in the devkit: to the bit
    return scores[places]


def _precision(
    thresholds: Tensor, image: Tensor, counts: Tensor, score: Tensor, valid: Tensor, uncovered: Tensor, near: Pairs
) -> Tensor:
    """Share of hits among the detections of at least each of these scores that count."""
    near = _preferred(near, -near.overlap.where(valid[near.found], 0))
    hit, alarm = counts[near.true] & valid[near.found], (valid & uncovered)
    of_alarm = alarm[near.found]
    alarms, precision = score[alarm].sort().values, []
    for part in thresholds.split(max(1, _AT_ONCE // max(1, len(near.true)))):
        chosen = take_in_turn(near, image, score[near.found] >= part[:, None])
        hits = (chosen & hit).sum(1)
        false = len(alarms) - torch.searchsorted(alarms, part) - (chosen & of_alarm).sum(1)
        precision.append(hits.double() / (hits + false).clamp(min=1))
    return torch.cat([thresholds[:0], *precision])
