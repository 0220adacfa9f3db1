"""The table of frames, as JSON that the page's script lays out."""

import math
from typing import Any

import numpy as np

from tamis.report.cull_reading import Culled, Words
from tamis.report.sample_table import script_json

ROWS = 20_000
ROWS_BYTES = 2_000_000  # of the page's 5 MB
_TITLES = {"key": "Frame", "score": "Score", "seconds": "Time, s", "boxes": "Student's boxes"}


def frame_table(culled: Culled) -> tuple[str, int]:
    """Columnar JSON of the frames, safe inside a script element; and how many rows it has.

    All kept frames, then those that the teacher saw, then an even sample of the others; at most 20,000, and fewer if
    their keys are so long that the page would grow beyond its 5 MB.
    """
    order = np.argsort(np.where(culled.kept, 0, np.where(culled.taught, 1, 2)), kind="stable")
    sure = int((culled.kept | culled.taught).sum())
    count = min(ROWS, len(order))
    text = _columns(culled, _sampled(order, sure, count))
    while len(text) > ROWS_BYTES and count > 1:
        count = max(1, int(count * ROWS_BYTES / len(text) * 0.95))
        text = _columns(culled, _sampled(order, sure, count))
    return text, count


def _sampled(order: np.ndarray, sure: int, count: int) -> np.ndarray:
    """The first, as far as they are wanted for sure, and an even sample of the rest, in the order of the video."""
    first, rest = order[: min(sure, count)], order[sure:]
    more = count - len(first)
    return np.sort(np.concatenate([first, rest[np.arange(more) * len(rest) // max(more, 1)]]))


def _columns(culled: Culled, rows: np.ndarray) -> str:
    stage, reason = (_used(words, rows) for words in (culled.stage, culled.reason))
    columns = {
        "key": [key or "" for key in culled.keys.take(rows).to_pylist()],
        "seconds": _rounded(culled.seconds[rows], 7),
        "stage": stage.codes.tolist(),
        "change": _rounded(culled.change[rows]),
        "score": _rounded(culled.score[rows], 4),
        "precision": _rounded(culled.precision[rows]),
        "boxes": _rounded(culled.detections[rows], 7),
        "reason": reason.codes.tolist(),
    }
    content = {
        "classes": [],
        "columns": {name: column for name, column in columns.items() if any(value is not None for value in column)},
        "words": {"stage": stage.words, "reason": reason.words},
        "titles": _TITLES,
        "noun": "frame",
    }
    content["columns"].setdefault("key", [])
    return script_json(content)


def _used(column: Words, rows: np.ndarray) -> Words:
    """The texts of these rows only."""
    codes = column.codes[rows]
    used, places = np.unique(codes[codes >= 0], return_inverse=True)
    found = np.full(len(rows), -1)
    found[codes >= 0] = places
    return Words([column.words[code] for code in used.tolist()], found)


def _rounded(values: np.ndarray, digits: int = 3) -> list[Any]:
    """Numbers of so many digits, whole ones as such; null where unknown."""
    found = [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values.tolist()]
    return [int(value) if value is not None and value == int(value) else value for value in found]
