"""Images with true boxes (solid) and those that a detector found (dashed): validation images, and annotations."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tamis.report.boxed_pictures import CONFIDENCE, BoxesOf, Encoder, path_of
from tamis.report.detection_reading import JudgedBoxes
from tamis.report.records import Record
from tamis.report.suspicion import ranked_suspects
from tamis.report.tables import number
from tamis.report.thumbnails import Thumbnails, opened

EACH = 8  # validation images of a kind
LOOKED_AT = 24  # training images
BYTES = 1_300_000  # of the page's 5 MB, beside the table and what a curriculum left out


class Group(NamedTuple):
    """Some validation images under a title, a card of the page for each."""

    title: str
    note: str
    cards: list[dict[str, Any]]


def judged_groups(
    records: Sequence[Record], focus: Record, thumbnails: Thumbnails | None, encoder: Encoder
) -> list[Group]:
    """The images of the lowest and of the highest AP, and those with the most false alarms.

    Args:
        records: of all runs; the thumbnails are of the first.
        focus: the run whose boxes are shown.
        thumbnails: from an index in the first run's validation data to a picture.
        encoder: has the budget of bytes.
    """
    found, first = focus.boxes, records[0].boxes
    if found is None:
        return []
    place = dict(zip(first.keys, first.index.tolist(), strict=True)) if first is not None else {}
    size = _size(focus)

    def card(row: int) -> dict[str, Any]:
        key = found.keys[row]
        picture = opened(place[key], thumbnails) if thumbnails and key in place else None
        return {
            "key": key,
            "picture": encoder.encode(picture, size=size),
            "solid": path_of(found.true.on(row)),
            "dashed": path_of(found.predicted.on(row, CONFIDENCE)),
            "precision": f"{found.precision[row]:.2f}",
            "loss": number(float(found.loss[row])),
            "boxes": f"{found.found[row]} : {found.true_count[row]}",
            "alarms": int(found.found[row] - found.hits[row]),
        }

    return [Group(title, note, [card(row) for row in rows]) for title, note, rows in _wanted(found) if rows]


def _wanted(found: JudgedBoxes) -> list[tuple[str, str, list[int]]]:
    """Title, note and rows of each group."""
    boxed = np.flatnonzero((found.true_count > 0) & np.isfinite(found.precision))
    order = boxed[np.lexsort((-found.true_count[boxed], found.precision[boxed]))].tolist()
    best = boxed[np.lexsort((-found.true_count[boxed], -found.precision[boxed]))].tolist()
    each = min(EACH, (len(boxed) + 1) // 2)
    alarms = found.found - found.hits
    alarmed = [row for row in np.argsort(-alarms, kind="stable").tolist() if alarms[row] > 0]
    return [
        ("Lowest AP", "of the images with boxes", order[:each]),
        ("Highest AP", "of the images with boxes", [row for row in best if row not in order[:each]][:each]),
        ("Most false alarms", "boxes that hit none of their class at IoU 0.5", alarmed[:EACH]),
    ]


def _size(record: Record) -> tuple[int, int] | None:
    """Width and height of the model's inputs, where all images were resized."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(record.config.get("size")))
    return None if found is None else (int(found[1]), int(found[2]))


def boxed_annotations(
    record: Record, thumbnails: Thumbnails | None, boxes: BoxesOf | None, encoder: Encoder
) -> list[dict[str, Any]]:
    """The training images whose boxes are worth a look, with their boxes where these are at hand."""
    return [
        {
            "key": each.key,
            "picture": encoder.encode(opened(each.index, thumbnails) if thumbnails else None),
            "solid": path_of(boxes(each.index)) if boxes else "",
            "boxes": f"{each.label:,}",
            "score": number(each.score),
        }
        for each in ranked_suspects(record.samples, record.history, LOOKED_AT)
    ]
