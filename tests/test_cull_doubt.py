"""What a cull says of a student whose least confident boxes are noise."""

import math
from pathlib import Path

import pytest
import torch

from tamis.culling.judge import Judged
from tamis.detections import Detections
from tamis.recipes.cull_config import CullConfig
from tamis.recipes.cull_doubt import doubt_of, level_of

BOX = (10.0, 10.0, 30.0, 30.0)
AWAY = (100.0, 100.0, 120.0, 120.0)


def seen(student: list[tuple[tuple[float, ...], float]] | None, teacher: list[tuple[float, ...]]) -> Judged:
    return Judged(
        200,
        200,
        found([(box, 0.9) for box in teacher]),
        None if student is None else found(student),
    )


def found(pairs: list[tuple[tuple[float, ...], float]]) -> Detections:
    pairs = sorted(pairs, key=lambda pair: -pair[1])
    boxes = torch.tensor([box for box, _ in pairs]).reshape(-1, 4)
    return Detections(boxes, torch.tensor([score for _, score in pairs]), torch.zeros(len(pairs), dtype=torch.int64))


def config(**settings: object) -> CullConfig:
    return CullConfig(sources=[Path("x.mp4")], student="street-student", teacher="street-teacher", **settings)  # type: ignore[arg-type]


def loss(confidence: float) -> float:
    """Section 3.2 with Q = 3 and b = 0.5."""
    rising = math.exp(confidence) / (math.exp(confidence) + 1)
    return -confidence * math.log(confidence) * 3 + (1 - confidence) * rising + 0.5


def test_weak_boxes_that_hit_nothing_are_told_of() -> None:
    judged = [seen([(BOX, 0.8), (AWAY, 0.06), (AWAY, 0.07), (AWAY, 0.25)], [BOX])] * 5
    told = doubt_of(judged, config())
    assert told is not None
    weak, all_ = loss(0.06) + loss(0.07) + loss(0.25), loss(0.06) + loss(0.07) + loss(0.25) + loss(0.8)
    assert told["below"] == 0.5
    assert told["hits"] == 0
    assert told["share"] == pytest.approx(weak / all_, abs=1e-4)
    assert "--min-confidence 0.5" in told["text"]


def test_the_level_is_the_highest_below_which_hardly_a_box_is_there() -> None:
    # Those from 0.3 to 0.4 hit, however much noise there is below.
    judged = [seen([*[(AWAY, 0.06)] * 40, (AWAY, 0.2), (BOX, 0.35)], [BOX])]
    told = doubt_of(judged, config())
    assert told is not None
    assert told["below"] == 0.3


@pytest.mark.parametrize(
    "judged",
    [
        [],
        [seen([], [])],
        [seen(None, [BOX])],
        [seen([(BOX, 0.06)], [BOX])],  # weak, and there
        [seen([(BOX, 0.4), (AWAY, 0.06)], [BOX])],  # weak, and a small part
    ],
    ids=["nothing", "empty", "not asked", "right", "few"],
)
def test_nothing_is_said_otherwise(judged: list[Judged]) -> None:
    assert doubt_of(judged, config()) is None


def test_boxes_that_did_not_count_are_no_doubt() -> None:
    judged = [seen([(BOX, 0.8), (AWAY, 0.06), (AWAY, 0.07)], [BOX])]
    assert doubt_of(judged, config(min_confidence=0.1)) is None
    assert doubt_of(judged, config(per_class=True)) is not None


@pytest.mark.parametrize(
    ("student", "level", "boxes", "hits"),
    [
        ([], 0.5, 0, 0),
        ([(BOX, 0.9)], 0.5, 0, 0),  # none below is none that is there
        ([(BOX, 0.06)], 0.05, 0, 0),
        ([(AWAY, 0.06), (BOX, 0.15)], 0.1, 1, 0),
        ([(AWAY, 0.06), (AWAY, 0.35), (BOX, 0.45)], 0.4, 2, 0),
        ([*[(AWAY, 0.25)] * 9, (BOX, 0.25)], 0.5, 10, 1),  # a tenth may be there
        ([*[(AWAY, 0.25)] * 8, (BOX, 0.25)], 0.2, 0, 0),
        ([(AWAY, 0.04), (BOX, 0.6), (AWAY, 0.55)], 0.5, 0, 0),  # below the lowest nothing counts
    ],
)
def test_the_level_from_which_on_a_student_is_believed(
    student: list[tuple[tuple[float, ...], float]], level: float, boxes: int, hits: int
) -> None:
    told = level_of([seen(student, [BOX]), seen(None, [BOX])], config(min_confidence="auto"))
    assert (told["level"], told["frames"], told["boxes"], told["hits"]) == (level, 1, boxes, hits)
    assert f"a confidence of {level:g} on" in told["text"]


def test_without_frames_nothing_speaks_against_the_highest_level() -> None:
    assert level_of([], config(min_confidence="auto"))["level"] == 0.5
