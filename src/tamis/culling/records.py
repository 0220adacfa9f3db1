"""What is known of every frame: columns that the journal's lines fill, in the order of the frames."""

import base64
import binascii
from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from tamis.culling.gate import PASSED
from tamis.detections import Detections

_UNSCORED = -1


class Records:
    """Columns of all frames that were looked at; a line of the journal adds the frames of a batch.

    Attributes:
        key: names.
        source: int, position of the source.
        names: of the sources, by their position.
        pts: int, time stamp.
        seconds: float, NaN for images.
        change: float, what the gate saw; NaN without a gate.
        reason: int, what the gate said, position in `tamis.culling.gate.REASONS`.
        score: confidence loss, or the list of that of each class; NaN where the student was not asked.
        detections: int, boxes of the student, -1 where it was not asked.
        bad: boxes that were left out because they were none, by detector.
        lost: what could not be decoded, each once.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.key: list[str] = []
        self.source, self.pts = array("i"), array("q")
        self.names: dict[int, str] = {}
        self.seconds, self.change = array("d"), array("f")
        self.reason, self.detections = array("b"), array("i")
        self.score: list[Any] = []
        self.bad = {"student": 0, "teacher": 0}
        self.lost: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self.key)

    def add(self, line: dict[str, Any]) -> None:
        """Take a line of the scan in."""
        self.key += line["key"]
        self.names |= {int(place): name for place, name in line["names"].items()}
        self.source.extend(line["source"])
        self.pts.extend(line["pts"])
        self.seconds.extend(float("nan") if each is None else each for each in line["seconds"])
        self.change.extend(float("nan") if each is None else each for each in line["change"])
        self.reason.extend(line["reason"])
        scores, counts = iter(line["score"]), iter(line["detections"])
        asked = [reason >= PASSED and bool(line["score"]) for reason in line["reason"]]
        self.score += [next(scores) if each else float("nan") for each in asked]
        self.detections.extend(next(counts) if each else _UNSCORED for each in asked)
        self.bad["student"] += line["bad"]
        self.lost += [each for each in line["lost"] if each not in self.lost]

    @property
    def passed(self) -> np.ndarray:
        """Positions, int64, of the frames that the gate let pass."""
        return np.flatnonzero(np.frombuffer(self.reason, np.int8) >= PASSED) if len(self) else np.zeros(0, np.int64)

    def ref(self, position: int) -> tuple[int, int]:
        """Source and time stamp of a frame."""
        return self.source[position], self.pts[position]


def packed(found: Detections) -> str:
    """Boxes as a text, exact: rows of x1, y1, x2, y2, score, label as little-endian float32, in base64."""
    rows = torch.cat([found.boxes.float(), found.scores[:, None].float(), found.labels[:, None].float()], 1)
    return base64.b64encode(rows.numpy().astype("<f4").tobytes()).decode()


def unpacked(text: str) -> Detections:
    """The inverse of `packed`.

    Raises:
        ValueError: it is no such text.
    """
    try:
        rows = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32).reshape(-1, 6)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"boxes in a journal must be as they were written, got {text[:40]!r}; cull anew") from error
    numbers = torch.from_numpy(rows)
    return Detections(numbers[:, :4], numbers[:, 4], numbers[:, 5].to(torch.int64))


def columns_of_detections(judged: Iterable[tuple[int, str, Detections]]) -> dict[str, Any]:
    """The columns of detections.parquet: a row for each box of (position, who, boxes)."""
    rows = list(judged)
    counts = [len(found) for _, _, found in rows]
    whole = torch.cat([found.boxes for _, _, found in rows] or [torch.zeros(0, 4)])
    return {
        "position": np.repeat(np.array([position for position, _, _ in rows], np.int64), counts),
        "who": [who for (_, who, _), count in zip(rows, counts, strict=True) for _ in range(count)],
        **{name: whole[:, place].numpy() for place, name in enumerate(("x1", "y1", "x2", "y2"))},
        "score": torch.cat([found.scores for _, _, found in rows] or [torch.zeros(0)]).numpy(),
        "label": torch.cat([found.labels for _, _, found in rows] or [torch.zeros(0, dtype=torch.int64)]).numpy(),
    }
