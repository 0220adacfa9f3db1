import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import reference_culling as reference
from tamis.detections import Detections
from tamis.scores import class_precision, image_precision, matching, mean_average_precision

CLASSES = 3


@st.composite
def boxes(draw, most: int):
    """On a small grid, so that overlaps of exactly a half, duplicates, ties and boxes without area are common."""
    count = draw(st.integers(0, most))
    rows = draw(
        st.lists(
            st.tuples(*[st.integers(0, 4)] * 4, st.integers(0, 5), st.integers(0, CLASSES - 1)),
            min_size=count,
            max_size=count,
        )
    )
    corners = [(x, y, x + w, y + h) for x, y, w, h, _, _ in rows]
    return made(corners, [score / 5 for *_, score, _ in rows], [label for *_, label in rows])


pairs = st.lists(st.tuples(boxes(8), boxes(6)), max_size=6)


def made(
    corners: Sequence[Sequence[float]], scores: Sequence[float], labels: Sequence[int] | None = None
) -> Detections:
    labels = [0] * len(corners) if labels is None else labels
    return Detections(
        torch.tensor(corners, dtype=torch.float32).view(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
    )


def plain(found: Detections) -> list[reference.Found]:
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    return [((box[0], box[1], box[2], box[3]), score, label) for box, score, label in rows]


def truth(true: Detections) -> list[reference.True_]:
    return [(box, label) for box, _, label in plain(true)]


def rows_of(images: Sequence[Detections]) -> list[dict[str, Any]]:
    found = []
    for image, one in enumerate(images):
        for (x1, y1, x2, y2), score, label in plain(one):
            box = [x1, y1, x2 - x1, y2 - y1]
            row = {"image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "score": score}
            found.append(row | {"id": len(found) + 1, "iscrowd": 0})
    return found


def pycocotools(student: Sequence[Detections], teacher: Sequence[Detections], classes: int) -> list[float]:
    """Average precision of each class at IoU 0.5; -1 where it has no true box."""
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    if not any(map(len, student)):
        return [
            0.0 if any(label == other for one in teacher for _, other in truth(one)) else -1.0
            for label in range(classes)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        true = coco.COCO()
        categories = [{"id": label} for label in range(classes)]
        images = [{"id": image} for image in range(len(teacher))]
        true.dataset = {"images": images, "annotations": rows_of(teacher), "categories": categories}
        true.createIndex()
        judged = evaluation.COCOeval(true, true.loadRes(rows_of(student)), "bbox")
        judged.params.iouThrs = judged.params.iouThrs[:1]
        judged.evaluate()
        judged.accumulate()
    return judged.eval["precision"][0, :, :, 0, -1].mean(0).tolist()


def random_pair(images: int, most: int, classes: int, seed: int) -> tuple[list[Detections], list[Detections]]:
    """A teacher, and a student that sees most of its boxes, shifted, some twice, and others."""
    generator = torch.Generator().manual_seed(seed)
    teachers, students = [], []
    for _ in range(images):
        count = int(torch.randint(0, most + 1, (1,), generator=generator))
        corner, side = torch.rand(2, count, 2, generator=generator).mul(100)
        true = torch.cat([corner, corner + side], 1)
        labels = torch.randint(0, classes, (count,), generator=generator)
        seen = torch.randint(0, max(1, count), (count and count + 3,), generator=generator)
        shifted = true[seen] + torch.randn(len(seen), 4, generator=generator) * 8
        shifted[:, 2:] = torch.maximum(shifted[:, 2:], shifted[:, :2])  # COCO drops boxes of negative area
        scores = (torch.rand(len(seen), generator=generator) * 20).round() / 20
        teachers.append(Detections(true, torch.ones(count), labels))
        students.append(Detections(shifted, scores, labels[seen]))
    return students, teachers


# ----- images ---------------------------------------------------------------------------------------------------


@given(pairs)
def test_an_image_has_the_precision_of_the_definition(given_pairs):
    students, teachers = [one for one, _ in given_pairs], [one for _, one in given_pairs]
    expected = [reference.image_precision(plain(s), truth(t)) for s, t in given_pairs]
    found = image_precision(students, teachers, CLASSES)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


@given(boxes(8), boxes(6))
def test_an_image_has_the_precision_of_pycocotools(student, teacher):
    known = [value for value in pycocotools([student], [teacher], CLASSES) if value > -1]
    if known:
        found = image_precision([student], [teacher], CLASSES).item()
        assert found == pytest.approx(sum(known) / len(known), abs=1e-12)


def test_images_of_many_boxes_have_the_precision_of_pycocotools():
    students, teachers = random_pair(images=40, most=30, classes=4, seed=0)
    found = image_precision(students, teachers, 4)
    assert 0.2 < found.mean().item() < 0.9
    for place, (student, teacher) in enumerate(zip(students, teachers, strict=True)):
        known = [value for value in pycocotools([student], [teacher], 4) if value > -1]
        assert found[place].item() == pytest.approx(sum(known) / len(known) if known else 1, abs=1e-12)


def row_of_boxes(count: int) -> Detections:
    corner = torch.arange(count)[:, None] * 20.0
    return Detections(
        torch.cat([corner, corner, corner + 9, corner + 9], 1), torch.ones(count), torch.zeros(count).long()
    )


def test_only_the_100_surest_of_a_class_count():
    true, generator = row_of_boxes(120), torch.Generator().manual_seed(0)
    student = Detections(true.boxes, torch.rand(120, generator=generator), true.labels)
    both = Detections(student.boxes.repeat(2, 1), student.scores.repeat(2), torch.arange(2).repeat_interleave(120))
    found = image_precision([student], [true], 1).item()
    assert found == pytest.approx(pycocotools([student], [true], 1)[0], abs=1e-12)
    assert found == pytest.approx(84 / 101)  # recalls 0 to 100 / 120
    assert image_precision([both], [true], 2).item() == found


@pytest.mark.parametrize(("hits", "boxes"), [(7, 20), (41, 100), (57, 100), (19, 20)])
def test_a_recall_that_rounds_below_a_threshold_does_not_reach_it(hits, boxes):
    true = row_of_boxes(boxes)
    student = true[torch.arange(hits)]
    found = image_precision([student], [true], 1).item()
    assert found == pytest.approx(pycocotools([student], [true], 1)[0], abs=1e-12)
    assert found == pytest.approx(hits * 100 / boxes / 101)  # without the last threshold, which is a hair higher


def test_what_is_seen_by_nobody_is_easy():
    nothing, box = Detections.none(), made([(0, 0, 9, 9)], [0.3])
    student, teacher = [nothing, nothing, box, box], [nothing, box, nothing, box]
    assert image_precision(student, teacher, 1).tolist() == [1, 0, 0, 1]
    assert image_precision([], [], 1).shape == (0,)


def test_doubts_about_an_empty_image_can_be_forgiven():
    doubt, sure = made([(0, 0, 9, 9)] * 2, [0.3, 0.1]), made([(0, 0, 9, 9)] * 2, [0.5, 0.1])
    nothing = [Detections.none()] * 2
    assert image_precision([doubt, sure], nothing, 1, alarm_confidence=0.5).tolist() == [1, 0]
    assert image_precision([doubt, sure], nothing, 1).tolist() == [0, 0]
    assert image_precision([doubt], [doubt], 1, alarm_confidence=0.5).tolist() == [1]


def test_alarms_of_classes_that_the_teacher_does_not_see_do_not_count():
    teacher = made([(0, 0, 9, 9)], [1], [1])
    student = made([(0, 0, 9, 9), (0, 0, 9, 9), (20, 20, 29, 29)], [0.5, 0.9, 0.9], [1, 0, 2])
    assert image_precision([student], [teacher], 3).tolist() == [1]


def test_an_alarm_of_the_same_class_costs_precision():
    teacher = made([(0, 0, 9, 9)], [1])
    for score, expected in ((0.9, 0.5), (0.3, 1.0)):
        student = made([(0, 0, 9, 9), (20, 20, 29, 29)], [0.5, score])
        assert image_precision([student], [teacher], 1).item() == pytest.approx(expected)


def test_of_two_that_fit_the_better_is_taken_and_once():
    teacher = made([(0, 0, 10, 10), (0, 0, 10, 8)], [1, 1])
    student = made([(0, 0, 10, 8), (0, 0, 10, 10)], [0.9, 0.8])
    assert image_precision([student], [teacher], 1).tolist() == [1]
    twice = made([(0, 0, 10, 10)] * 2, [0.9, 0.8])
    assert image_precision([twice], [made([(0, 0, 10, 10)], [1])], 1).tolist() == [1]
    assert image_precision([twice], [made([(0, 0, 10, 10), (50, 50, 60, 60)], [1, 1])], 1).item() == pytest.approx(
        51 / 101
    )


def test_half_an_overlap_is_a_hit_and_less_is_not():
    teacher = made([(0, 0, 10, 10)], [1])
    assert image_precision([made([(0, 0, 10, 5)], [1])], [teacher], 1).tolist() == [1]
    assert image_precision([made([(0, 0, 10, 4.999)], [1])], [teacher], 1).tolist() == [0]
    assert image_precision([made([(0, 0, 10, 5)], [1])], [teacher], 1, iou=0.51).tolist() == [0]
    assert image_precision([teacher], [teacher], 1, iou=1).tolist() == [1]


def test_boxes_without_area_and_numbers_that_are_none_hit_nothing():
    point, broken = made([(3, 3, 3, 3)], [1]), made([(math.nan, 0, 9, 9)], [1])
    assert image_precision([point, broken], [point, broken], 1).tolist() == [0, 0]
    assert image_precision([broken, point], [made([(0, 0, 9, 9)], [1])] * 2, 1).tolist() == [0, 0]


def test_a_confidence_that_is_no_number_is_left_out():
    teacher = made([(0, 0, 9, 9)], [1])
    student = made([(30, 30, 39, 39), (0, 0, 9, 9)], [math.nan, 0.5])
    lost = made([(0, 0, 9, 9)], [math.nan])
    found = image_precision([student, lost, lost], [teacher, teacher, Detections.none()], 1)
    assert found.tolist() == [1, 0, 1]


def test_ties_stay_in_order():
    teacher = made([(0, 0, 9, 9)], [1])
    hit, miss = (0, 0, 9, 9), (20, 20, 29, 29)
    first, last = made([hit, miss], [0.5, 0.5]), made([miss, hit], [0.5, 0.5])
    assert image_precision([first, last], [teacher] * 2, 1).tolist() == pytest.approx([1, 0.5])


# ----- laws -----------------------------------------------------------------------------------------------------


@given(pairs, st.randoms(use_true_random=False))
def test_images_do_not_depend_on_each_other(given_pairs, random):
    shuffled = list(range(len(given_pairs)))
    random.shuffle(shuffled)
    found = image_precision([s for s, _ in given_pairs], [t for _, t in given_pairs], CLASSES)
    other = image_precision(
        [given_pairs[place][0] for place in shuffled], [given_pairs[place][1] for place in shuffled], CLASSES
    )
    assert other.tolist() == found[torch.tensor(shuffled, dtype=torch.int64)].tolist()


@given(boxes(8), boxes(6))
def test_a_last_miss_changes_nothing_and_a_first_one_never_helps(student, teacher):
    label = torch.zeros(1, dtype=torch.int64)
    far = torch.full((1, 4), 50.0) + torch.tensor([0.0, 0, 1, 1])

    def with_miss(score: float) -> Detections:
        return Detections(
            torch.cat([student.boxes, far]),
            torch.cat([student.scores, torch.tensor([score])]),
            torch.cat([student.labels, label]),
        )

    if not len(teacher):
        return
    before = image_precision([student], [teacher], CLASSES).item()
    assert image_precision([with_miss(-1.0)], [teacher], CLASSES).item() == before
    assert image_precision([with_miss(2.0)], [teacher], CLASSES).item() <= before


@given(pairs)
def test_parts_in_memory_do_not_change_the_result(given_pairs):
    students, teachers = [one for one, _ in given_pairs], [one for _, one in given_pairs]
    whole = image_precision(students, teachers, CLASSES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_AT_ONCE", 3)
        assert torch.equal(image_precision(students, teachers, CLASSES), whole)


@given(boxes(8))
def test_the_teacher_itself_is_perfect(teacher):
    solid = teacher[((teacher.boxes[:, 2:] - teacher.boxes[:, :2]) > 0).all(1)]
    assert image_precision([solid], [solid], CLASSES).tolist() == [pytest.approx(1)]


# ----- data sets ------------------------------------------------------------------------------------------------


@given(pairs)
def test_a_data_set_has_the_precision_of_the_definition(given_pairs):
    students, teachers = [one for one, _ in given_pairs], [one for _, one in given_pairs]
    expected = [
        reference.class_precision([plain(s) for s in students], [truth(t) for t in teachers], label)
        for label in range(CLASSES)
    ]
    assert class_precision(students, teachers, CLASSES).tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(pairs)
def test_a_data_set_has_the_precision_of_pycocotools(given_pairs):
    students, teachers = [one for one, _ in given_pairs], [one for _, one in given_pairs]
    expected = pycocotools(students, teachers, CLASSES)
    found = mean_average_precision(students, teachers, CLASSES)
    assert _or_minus_1(found["per_class"]) == pytest.approx(expected, abs=1e-12)
    known = [value for value in expected if value > -1]
    assert found["map50"] == pytest.approx(sum(known) / len(known) if known else math.nan, abs=1e-12, nan_ok=True)


def test_a_large_data_set_has_the_precision_of_pycocotools():
    students, teachers = random_pair(images=150, most=20, classes=3, seed=1)
    found = mean_average_precision(students, teachers, 4)
    assert _or_minus_1(found["per_class"]) == pytest.approx(pycocotools(students, teachers, 4), abs=1e-12)
    assert math.isnan(found["per_class"][3])
    assert 0.2 < found["map50"] < 0.9


def test_alarms_on_empty_images_count_in_a_data_set():
    teacher = [made([(0, 0, 9, 9)], [1]), Detections.none()]
    student = [made([(0, 0, 9, 9)], [0.5]), made([(0, 0, 9, 9)], [0.6])]
    assert mean_average_precision(student, teacher, 1)["map50"] == pytest.approx(0.5)


def test_a_data_set_without_boxes_has_no_precision():
    for images in (0, 2):
        nothing = [Detections.none()] * images
        assert math.isnan(mean_average_precision(nothing, nothing, 2)["map50"])
    box = [made([(0, 0, 9, 9)], [1])]
    assert math.isnan(mean_average_precision(box, [Detections.none()], 1)["map50"])
    assert mean_average_precision([Detections.none()], box, 1)["map50"] == 0


def _or_minus_1(values: Sequence[float]) -> list[float]:
    return [-1.0 if math.isnan(value) else value for value in values]


# ----- refusals, devices ----------------------------------------------------------------------------------------


def test_lists_of_different_images_are_refused():
    with pytest.raises(ValueError, match="got 1 and 2; join them by key"):
        image_precision([Detections.none()], [Detections.none()] * 2, 1)


def test_a_label_out_of_range_is_told_with_its_image():
    box = made([(0, 0, 9, 9)], [1], [2])
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), got 2 in image 1 of the student"):
        image_precision([Detections.none(), box], [Detections.none()] * 2, 2)
    with pytest.raises(ValueError, match="got 2 in image 0 of the truth"):
        class_precision([Detections.none()], [box], 2)


@pytest.mark.parametrize("iou", [0.0, 1.1, math.nan])
def test_an_overlap_out_of_range_is_refused(iou):
    with pytest.raises(ValueError, match=r"iou must be in \(0, 1\]"):
        image_precision([Detections.none()], [Detections.none()], 1, iou=iou)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_the_same():
    students, teachers = random_pair(images=200, most=20, classes=3, seed=2)

    def there(images: Sequence[Detections]) -> list[Detections]:
        return [one.to("cuda") for one in images]

    found: Tensor = image_precision(there(students), there(teachers), 3)
    assert found.device.type == "cuda"
    assert torch.allclose(found.cpu(), image_precision(students, teachers, 3), rtol=0, atol=1e-12)
    assert torch.allclose(
        class_precision(there(students), teachers, 3).cpu(), class_precision(students, teachers, 3), atol=1e-12
    )
