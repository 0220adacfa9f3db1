"""KITTI's average precision: against the slow reference, and each rule by hand."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_kitti as reference
from reference_kitti import Line, Seen
from tamis.detections import Detections
from tamis.scores import KittiRules, KittiTruth, kitti_matching, kitti_precision

KINDS = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
NAN = math.nan


def found_of(seen: Sequence[Seen], kinds: Sequence[str] = KINDS) -> Detections:
    boxes, scores = torch.tensor([each.corners for each in seen]), torch.tensor([each.score for each in seen])
    labels = torch.tensor([kinds.index(each.kind) for each in seen], dtype=torch.int64)
    return Detections(boxes.view(-1, 4).float(), scores.float(), labels)


def truth_of(lines: Sequence[Line], kinds: Sequence[str] = KINDS) -> KittiTruth:
    boxes = [each for each in lines if each.kind != "DontCare"]
    corners = [each.corners for each in boxes]
    regions = [each.corners for each in lines if each.kind == "DontCare"]
    return KittiTruth(
        torch.tensor(corners).view(-1, 4),
        torch.tensor([kinds.index(each.kind) for each in boxes], dtype=torch.int64),
        torch.tensor([float(each.occluded) for each in boxes]),
        torch.tensor([float(each.truncated) for each in boxes]),
        torch.tensor(regions).view(-1, 4),
    )


def judged(images: Sequence[reference.Image], rules: KittiRules | None = None):
    return kitti_precision([found_of(a) for a, _ in images], [truth_of(b) for _, b in images], KINDS, rules)


def same(value: float, expected: float) -> bool:
    return value == pytest.approx(expected, abs=1e-12, nan_ok=True)


# ----- against the reference --------------------------------------------------------------------------------------

HEIGHTS = (24, 25, 30, 39, 40, 41, 60)
TRUE = ("Car", "Car", "Car", "Van", "Pedestrian", "Person_sitting", "Cyclist", "DontCare")


@st.composite
def image(draw) -> reference.Image:
    """On a small grid, so that equal overlaps and scores, duplicates and heights at the limits are common."""
    lines, seen = [], []
    for _ in range(draw(st.integers(0, 6))):
        x, y, width, height = (draw(st.integers(0, most)) for most in (4, 2, 3, len(HEIGHTS) - 1))
        box = (8.0 * x, 8.0 * y, 8.0 * x + 20 * (1 + width), 8.0 * y + HEIGHTS[height])
        kind, level, cut = draw(st.sampled_from(TRUE)), draw(st.integers(0, 3)), draw(st.sampled_from((0, 0.3, 0.4)))
        lines.append(Line(kind, box, level, cut))
        for _ in range(draw(st.integers(0, 2))):
            own = "Car" if kind == "DontCare" or draw(st.integers(0, 3)) == 0 else kind
            right, lower = draw(st.sampled_from((0, 0, 2, 8))), draw(st.sampled_from((0, 0, 1, 9)))
            corners = (box[0] + right, box[1], box[2] + right, box[3] - lower)
            seen.append(Seen(own, corners, draw(st.integers(0, 8)) / 8))
    return seen, lines


images = st.lists(image(), max_size=5)


@pytest.mark.parametrize("reached", [False, True])
def test_as_the_slow_reference(reached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kitti_matching, "_AT_ONCE", 20)  # so that the parts come into play
    rules = KittiRules(recalls="reached" if reached else "nearest")
    hits = [0]

    @settings(max_examples=60, deadline=None)
    @given(images)
    def holds(images: list[reference.Image]) -> None:
        found = judged(images, rules)
        assert list(found) == ["Car", "Pedestrian", "Cyclist"]
        for kind, told in found.items():
            for level in range(3):
                r40, r11, total = reference.precision(images, kind, level, reference.Rules(reached=reached))
                assert told["boxes"][level] == total
                assert same(told["r40"][level], r40)
                assert same(told["r11"][level], r11)
                hits[0] += r11 > 0

    holds()
    assert hits[0] > 50


def crowded(seed: int, images: int, objects: int, alarms: int) -> list[reference.Image]:
    """Cars, each found a few times, not quite in its place; and false alarms."""
    random = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(images):
        lines, seen = [], []
        for _ in range(objects):
            x, y, width, height, level, cut = torch.rand(6, generator=random).tolist()
            box = (1000 * x, 200 * y, 1000 * x + 30 + 120 * width, 200 * y + 20 + 80 * height)
            kind = ("Car", "Car", "Car", "Van", "DontCare")[int(5 * torch.rand(1, generator=random).item())]
            lines.append(Line(kind, tuple(torch.tensor(box).tolist()), int(4 * level**2), cut**4))
            for _ in range(int(3 * torch.rand(1, generator=random).item())):
                off = torch.randn(4, generator=random) * 3
                seen.append(Seen("Car", tuple((torch.tensor(box) + off).tolist()), 0.5))
        for _ in range(alarms):
            x, y = torch.rand(2, generator=random).tolist()
            seen.append(Seen("Car", (1000 * x, 200 * y, 1000 * x + 80, 200 * y + 50), 0.0))
        scores = torch.rand(len(seen), generator=random).tolist()
        scored = [each._replace(score=each.score + score) for each, score in zip(seen, scores, strict=True)]
        result.append((scored, lines))
    return result


def test_as_the_slow_reference_on_many_boxes() -> None:
    """Enough boxes that the steps of recall skip scores."""
    images = crowded(seed=1, images=90, objects=7, alarms=3)
    told = judged(images)["Car"]
    for level in range(3):
        r40, r11, total = reference.precision(images, "Car", level, reference.Rules())
        assert (told["boxes"][level], 0.2 < r40 < 0.9) == (total, True)
        assert total > 80
        assert same(told["r40"][level], r40)
        assert same(told["r11"][level], r11)


def test_rules_of_ones_own() -> None:
    images = crowded(seed=2, images=30, objects=5, alarms=2)
    rules = KittiRules.by_occlusion(0.6, min_height=(30, 20, 10))
    told = judged(images, rules)
    assert list(told) == list(KINDS)
    own = reference.Rules(
        (30, 20, 10), truncation=(1, 1, 1), overlap=dict.fromkeys(KINDS, 0.6), beside={}, reached=True
    )
    for kind in ("Car", "Van", "Tram"):
        for level in range(3):
            r40, r11, total = reference.precision(images, kind, level, own)
            assert told[kind]["boxes"][level] == total
            assert same(told[kind]["r40"][level], r40)
            assert same(told[kind]["r11"][level], r11)


# ----- rule by rule -----------------------------------------------------------------------------------------------

CAR = (100.0, 100.0, 200.0, 150.0)
FAR = (500.0, 100.0, 600.0, 150.0)


def moved(box: reference.Corners, share: float) -> reference.Corners:
    """As large, and so far to the right that the overlap is this."""
    step = (box[2] - box[0]) * (1 - share) / (1 + share)
    return box[0] + step, box[1], box[2] + step, box[3]


def easy(seen: Sequence[Seen], true: Sequence[Line], level: int = 0, **rules) -> float:
    """AP of cars at 11 recalls where each step that is reached counts: 1 = all found before any false alarm."""
    return judged([(seen, true)], KittiRules(recalls="reached", **rules))["Car"]["r11"][level]


def test_a_hit_overlaps_by_more_than_the_least() -> None:
    for share, expected in ((0.72, 1.0), (0.68, 0.0)):
        assert easy([Seen("Car", moved(CAR, share), 0.9)], [Line("Car", CAR)]) == expected
    half = (0.0, 0.0, 100.0, 50.0)  # exactly a half of what is twice as long
    for least, expected in ((0.5, 0.0), (0.4999, 1.0)):
        assert easy([Seen("Car", half, 0.9)], [Line("Car", (0.0, 0.0, 200.0, 50.0))], iou={"Car": least}) == expected
    pedestrian = [([Seen("Pedestrian", moved(CAR, 0.6), 0.9)], [Line("Pedestrian", CAR)])]
    assert judged(pedestrian, KittiRules(recalls="reached"))["Pedestrian"]["r11"][0] == 1


def test_boxes_that_are_too_low_occluded_or_truncated_are_neither_hit_nor_miss() -> None:
    other = Line("Car", FAR)
    found = Seen("Car", FAR, 0.5)
    cases = [  # a box, and the first level at which it counts
        (Line("Car", (0.0, 0.0, 90.0, 40.0)), 0),
        (Line("Car", (0.0, 0.0, 90.0, 39.99)), 1),
        (Line("Car", (0.0, 0.0, 90.0, 25.0)), 1),
        (Line("Car", (0.0, 0.0, 90.0, 24.99)), 3),
        (Line("Car", CAR, occluded=1), 1),
        (Line("Car", CAR, occluded=2), 2),
        (Line("Car", CAR, occluded=3), 3),
        (Line("Car", CAR, truncated=0.15), 0),
        (Line("Car", CAR, truncated=0.3), 1),
        (Line("Car", CAR, truncated=0.5), 2),
        (Line("Car", CAR, truncated=0.51), 3),
        (Line("Car", CAR, occluded=NAN, truncated=NAN), 0),
        (Line("Car", CAR, occluded=-1, truncated=-1), 0),
    ]
    for line, first in cases:
        for level in range(3):
            images = [([found], [other, line])]
            told = judged(images, KittiRules(recalls="reached"))["Car"]
            assert told["boxes"][level] == 1 + (level >= first), line
            assert told["r11"][level] == (pytest.approx(6 / 11) if level >= first else 1.0), line  # recall 0.5 or 1
            # Who finds it raises no false alarm, even as the surest.
            if not first:
                continue
            box = Seen("Car", line.corners, 0.9)
            assert easy([box, found], [other, line], level) == 1


def test_neighbours_are_neither_hit_nor_miss() -> None:
    true = [Line("Van", CAR), Line("Car", FAR)]
    assert easy([Seen("Car", CAR, 0.9), Seen("Car", FAR, 0.5)], true) == 1
    assert easy([Seen("Car", CAR, 0.9), Seen("Car", FAR, 0.5)], [true[0]._replace(kind="Truck"), true[1]]) == 0.5
    # What finds a van twice raises one false alarm; a van that is found as a van none.
    assert easy([Seen("Car", CAR, 0.9), Seen("Car", CAR, 0.8), Seen("Car", FAR, 0.5)], true) == 0.5
    assert easy([Seen("Van", CAR, 0.9), Seen("Car", FAR, 0.5)], true) == 1
    sitting = [
        (
            [Seen("Pedestrian", CAR, 0.9), Seen("Pedestrian", FAR, 0.5)],
            [Line("Person_sitting", CAR), Line("Pedestrian", FAR)],
        )
    ]
    assert judged(sitting, KittiRules(recalls="reached"))["Pedestrian"]["r11"][0] == 1
    assert easy([Seen("Car", CAR, 0.9), Seen("Car", FAR, 0.5)], true, neighbours={}) == 0.5


def test_detections_that_are_too_low_are_ignored() -> None:
    low = (700.0, 100.0, 800.0, 139.0)
    found = [Seen("Car", low, 0.9), Seen("Car", CAR, 0.5)]
    assert easy(found, [Line("Car", CAR)], level=0) == 1
    assert easy(found, [Line("Car", CAR)], level=1) == 0.5


def test_a_box_that_only_a_low_detection_finds_is_no_miss_at_that_threshold_and_no_hit() -> None:
    """A detection of 39 pixels on a box of 40 takes it if there is none that is high enough; also one of a truck."""
    box, low = (0.0, 0.0, 100.0, 40.0), (0.0, 0.0, 100.0, 39.0)
    assert easy([Seen("Car", low, 0.9)], [Line("Car", box)]) == 0
    for kind in ("Car", "Truck"):
        # It is the surest: in the first pass it takes the box, and the other is not among the scores of hits.
        assert easy([Seen(kind, low, 0.9), Seen("Car", box, 0.5)], [Line("Car", box)]) == 0
        assert easy([Seen(kind, low, 0.5), Seen("Car", box, 0.9)], [Line("Car", box)]) == 1
    assert easy([Seen("Truck", box, 0.9), Seen("Car", box, 0.5)], [Line("Car", box)]) == 1


def test_regions_swallow_what_no_box_took() -> None:
    found = [Seen("Car", CAR, 0.9), Seen("Car", FAR, 0.5)]
    for region, expected in (
        ((90.0, 90.0, 900.0, 160.0), 1.0),  # nearly all of it, though the union is much larger
        ((100.0, 100.0, 171.0, 150.0), 1.0),
        ((100.0, 100.0, 170.0, 150.0), 0.5),  # 0.7 of its area, and not more
    ):
        assert easy(found, [Line("DontCare", region), Line("Car", FAR)]) == expected
    # A box is a hit although a region covers it; and two regions swallow one detection once.
    both = [Line("DontCare", CAR), Line("DontCare", (0.0, 0.0, 900.0, 900.0)), Line("Car", CAR)]
    assert easy([Seen("Car", CAR, 0.9)], both) == 1
    apart = Seen("Car", (300.0, 400.0, 400.0, 500.0), 0.95)
    alarm = Seen("Car", (1000.0, 1000.0, 1100.0, 1100.0), 0.95)
    assert easy([apart, alarm, Seen("Car", CAR, 0.9)], both) == 0.5


def test_a_box_takes_the_surest_for_the_scores_and_the_nearest_for_the_curve() -> None:
    """Two detections of one car: the score of the hit is the surest's; the other one is then a false alarm."""
    sure, near = Seen("Car", moved(CAR, 0.8), 0.9), Seen("Car", moved(CAR, 0.95), 0.6)
    assert easy([near, sure], [Line("Car", CAR)]) == 1  # the only threshold is 0.9: the nearer one is below it
    # A second car that only the surest finds (twice as good): the first takes it in the first pass.
    one, two = (0.0, 0.0, 100.0, 50.0), (20.0, 0.0, 120.0, 50.0)
    between, beside = Seen("Car", (10.0, 0.0, 110.0, 50.0), 0.9), Seen("Car", one, 0.6)
    scores = [
        reference.matched(([beside, between], [Line("Car", one), Line("Car", two)]), "Car", 0, reference.Rules(), None)[
            0
        ]
    ]
    assert scores == [[0.9]]
    assert easy([beside, between], [Line("Car", one), Line("Car", two)]) == pytest.approx(6 / 11)


def test_what_ties_goes_to_the_first() -> None:
    """Equal overlaps: the first detection is taken, and the second is the false alarm, whatever its score."""
    left, right = (90.0, 100.0, 190.0, 150.0), (110.0, 100.0, 210.0, 150.0)
    true = [Line("Car", CAR), Line("Van", right)]
    # If the car takes the right one, the van gets nothing and the left one is a false alarm.
    assert easy([Seen("Car", left, 0.9), Seen("Car", right, 0.9)], true) == 1
    assert easy([Seen("Car", right, 0.9), Seen("Car", left, 0.9)], true) == 0.5


def test_true_boxes_take_in_the_order_given() -> None:
    left, right = (90.0, 100.0, 190.0, 150.0), (110.0, 100.0, 210.0, 150.0)
    van, car = Line("Van", left), Line("Car", right)
    seen = [Seen("Car", CAR, 0.9)]  # on both
    assert easy(seen, [car, van]) == 1
    assert easy(seen, [van, car]) == 0


def test_steps_of_recall_and_the_monotone_curve() -> None:
    """Four cars; sure hit, false alarm, hit, hit: precision 1, 2/3, 3/4 -> 3/4; one car is not found."""
    cars = [(200.0 * k, 0.0, 200.0 * k + 100, 50.0) for k in range(4)]
    seen = [Seen("Car", cars[0], 0.9), Seen("Car", (0.0, 500.0, 100.0, 550.0), 0.8)]
    seen += [Seen("Car", cars[1], 0.7), Seen("Car", cars[2], 0.6)]
    image = (seen, [Line("Car", each) for each in cars])
    told = judged([image], KittiRules(recalls="reached"))["Car"]
    assert told["r40"][0] == pytest.approx((10 * 1 + 20 * 0.75) / 40)  # recall 1/40 to 10/40, and on to 30/40
    assert told["r11"][0] == pytest.approx((3 * 1 + 5 * 0.75) / 11)
    assert told["boxes"] == (4, 4, 4)
    # The devkit: each score once, step by step, however far they are apart.
    told = judged([image])["Car"]
    assert told["r40"][0] == pytest.approx((0.75 + 0.75) / 40)
    assert told["r11"][0] == pytest.approx(1 / 11)


@pytest.mark.parametrize(
    ("cars", "expected"), [(1, 0.0), (10, 9 / 40), (40, 39 / 40), (41, 1.0), (80, 1.0), (500, 1.0)]
)
def test_what_the_devkit_says_of_a_perfect_detector(cars: int, expected: float) -> None:
    """Each score is a threshold once: a class needs 41 boxes to come to an AP of 1."""
    images = [([Seen("Car", CAR, 1 - k / 1000)], [Line("Car", CAR)]) for k in range(cars)]
    assert judged(images)["Car"]["r40"][0] == pytest.approx(expected)
    assert judged(images, KittiRules(recalls="reached"))["Car"]["r40"][0] == 1


def test_nothing_at_all() -> None:
    for told in (judged([]), judged([([], [])]), judged([([Seen("Car", CAR, 0.9)], [])])):
        assert list(told) == ["Car", "Pedestrian", "Cyclist"]
        assert all(map(math.isnan, told["Car"]["r40"] + told["Cyclist"]["r11"]))
        assert told["Car"]["boxes"] == (0, 0, 0)
    assert judged([([], [Line("Car", CAR)])])["Car"]["r40"] == (0, 0, 0)
    assert kitti_precision([], [], ("boat",)) == {}


def test_damaged_detections() -> None:
    """A score that is not a number is left out; corners that are not are a false alarm."""
    true = [Line("Car", CAR)]
    assert easy([Seen("Car", FAR, NAN), Seen("Car", CAR, 0.5)], true) == 1
    assert easy([Seen("Car", (NAN, NAN, NAN, NAN), 0.9), Seen("Car", CAR, 0.5)], true) == 0.5
    assert easy([Seen("Car", (300.0, 300.0, 300.0, 350.0), 0.9), Seen("Car", CAR, 0.5)], true) == 0.5


def test_the_order_of_images_has_no_influence() -> None:
    images = crowded(seed=3, images=20, objects=4, alarms=2)
    assert judged(images) == judged(images[::-1]) == judged([*images[10:], *images[:10]])


@settings(max_examples=15, deadline=None)
@given(images, st.floats(0.01, 3))
def test_only_the_order_of_scores_counts(images: list[reference.Image], power: float) -> None:
    other = [([each._replace(score=each.score * power) for each in seen], true) for seen, true in images]
    assert str(judged(images)) == str(judged(other))


def test_what_does_not_fit_is_refused() -> None:
    car = truth_of([Line("Car", CAR)])
    with pytest.raises(ValueError, match=r"found and truth must tell of the same images, got 1 and 0; join"):
        kitti_precision([Detections.none()], [], KINDS)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), the classes, got 7 in found"):
        kitti_precision([found_of([Seen("Misc", CAR, 1)])], [car], KINDS[:2])
    with pytest.raises(ValueError, match=r"labels must be in \[0, 1\), the classes, got -1 in truth"):
        kitti_precision([Detections.none()], [KittiTruth(car.boxes, car.labels - 1)], KINDS[:1])
    with pytest.raises(ValueError, match=r"truth must be boxes \(k, 4\), columns \(k,\) and regions \(r, 4\), got"):
        KittiTruth(car.boxes, car.labels, torch.zeros(2))
    with pytest.raises(ValueError, match=r"got \(1, 4\), \[\(1,\)\] and \(4,\)"):
        KittiTruth(car.boxes, car.labels, ignored=torch.zeros(4))
    for iou in (0, 1, 1.5, {"Car": -0.1}):
        with pytest.raises(ValueError, match=r"iou must be in \(0, 1\), got"):
            KittiRules(iou=iou)
    with pytest.raises(ValueError, match=r"recalls must be 'nearest' or 'reached', got 'all'"):
        KittiRules(recalls="all")  # pyright: ignore[reportArgumentType]


def test_what_is_not_known_counts_as_visible() -> None:
    car = truth_of([Line("Car", CAR)])
    told = kitti_precision([Detections.none()], [KittiTruth(car.boxes, car.labels)], KINDS)
    assert told["Car"]["boxes"] == (1, 1, 1)
