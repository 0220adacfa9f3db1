"""Whether what the student was unsure of is there at all: a detector's least confident boxes are often noise."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tamis.culling.judge import Judged
from tamis.detections import Detections
from tamis.recipes.cull_config import CullConfig
from tamis.recipes.cull_detectors import loss_of
from tamis.scores import image_hits

_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5)
_NOISE = 0.1  # of noise, at most this share is there
_MUCH = 0.5  # of the confidence loss


def doubt_of(judged: Sequence[Judged], config: CullConfig) -> dict[str, Any] | None:
    """What the student's least confident boxes are worth, on frames that the teacher saw too.

    Args:
        judged: the frames, with boxes of both.
        config: whose confidence loss it is, and whose `label_confidence` makes the teacher's boxes true.

    Returns:
        "below": the highest of 0.1, 0.2 ... 0.5 up to which, from each of them to the next, at most a tenth of the
        boxes hit one of the teacher's; "hits": the share of those below it that do; "share": of the confidence loss
        that these make up; and "text", all of it in a sentence. None if there is no such level, or they make up less
        than half of the loss.
    """
    students = [each.student.above(config.min_confidence) for each in judged if each.student is not None]
    teachers = [each.teacher.above(config.label_confidence) for each in judged if each.student is not None]
    loss = replace(loss_of(config), per_class=False)
    classes = 1 + max((int(each.labels.max()) for each in (*students, *teachers) if len(each)), default=0)
    count, total = sum(map(len, students)), float(loss(students).sum())
    if not total:  # no box counts, as with a large min_side
        return None
    hits = _hits(students, teachers, classes, config)
    below, noise, hit, sure = None, 0, 0, students
    for level in (each for each in _LEVELS if each > config.min_confidence):
        surer = [each.above(level) for each in students]
        more, hit_then = count - sum(map(len, surer)), hits - _hits(surer, teachers, classes, config)
        if hit_then - hit > _NOISE * (more - noise):
            break
        below, noise, hit, sure = level, more, hit_then, surer
    share = 1 - float(loss(sure).sum()) / total
    if below is None or share < _MUCH:
        return None
    text = (
        f"{share:.0%} of the confidence loss comes from boxes of the student below {below:g}, and {hit / noise:.0%} of "
        f"them hit one of the teacher's: what was found hard may be noise; compare --min-confidence {below:g}"
    )
    return {"below": below, "hits": round(hit / noise, 4), "share": round(share, 4), "text": text}


def _hits(students: list[Detections], teachers: list[Detections], classes: int, config: CullConfig) -> int:
    """How many boxes hit one of the teacher's."""
    return int(image_hits(students, teachers, classes, iou=config.iou).sum())
