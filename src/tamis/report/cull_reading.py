"""A culled folder as the page sees it: manifest, boxes, resolution, costs, and what a recipe has judged.

Of `run.json` it reads `command`, `config`, `created`, `tamis`, `environment`, `class_names`, `detectors`
({"student": name, "teacher": name}), `sources`. Of `result.json`, where every entry may be missing:

- `costs`, `full`: lists of {"stage", "images", "seconds", "flops" (null: unknown), "measured" (default: true)} for this
  run and for training on every frame; `factor`: {"seconds", "flops"}, how many times less this run took.
- `lost`: list of {"source", "where", "reason", "frames" (about how many; 0 or null: unknown)}.
- `judged`: {"trained", "full", "untrained" (mAP at IoU 0.5 in [0, 1] of the student trained on the kept frames, on all
  frames, and not at all; null: not judged), "images", "truth" ("teacher" or "human"), "where" (which frames)}.
- `notes`: list of what happened on the way, such as going on after a crash.
- `counts`: of it only {"bad_boxes": {"student", "teacher"}}, boxes that were left out because they were none.
- `strategies`: Table 2, a list of {"name", "images" (kept), "map50" (a number, or a list of one for each seed),
  "seconds", "flops", "measured"}; seconds and FLOPs are of everything: choosing, labelling, training.
- `before_after`: Fig. 3, {"models": list of {"name", "map50", "flops" (an image), "width", "height" (that it ran at)},
  "frames": list of {"key", "seconds", "image" (a picture inside the folder; null: that of a kept frame),
  "boxes": for each model a list of [x1, y1, x2, y2, score, label] in pixels of the picture, "truth": such a list}}.
- `drift`: {"percentiles": [5, 25, 50, 75, 95], "sessions": list, oldest first, of {"name", "frames" (looked at),
  "kept" (new), "before", "after" (the confidence loss at each percentile, of the student as it came and as it was
  retrained, both on this session's frames; after is null where it was not retrained), "map50_before", "map50_after"}}.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

STUDENT, TEACHER = "student", "teacher"


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes that one detector found, grouped by frame.

    Attributes:
        rows: int64 (k,), ascending: the row of the manifest that each box is on.
        boxes: float32 (k, 4): x1, y1, x2, y2 in pixels of the frame.
        scores: float32 (k,), in [0, 1].
        labels: int64 (k,), positions in the class names.
    """

    rows: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def on(self, row: int, confidence: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (j, 4) and labels (j,) on a row's frame that are at least so confident, the most confident first."""
        low, high = np.searchsorted(self.rows, [row, row + 1])
        found = low + np.flatnonzero(self.scores[low:high] >= confidence)
        found = found[np.argsort(-self.scores[found], kind="stable")]
        return self.boxes[found], self.labels[found]

    def above(self, confidence: float) -> "Boxes":
        """Those that are at least so confident."""
        kept = self.scores >= confidence
        return Boxes(self.rows[kept], self.boxes[kept], self.scores[kept], self.labels[kept])


@dataclass(frozen=True, eq=False)
class Words:
    """A column of texts of which few differ: the k different ones, and for each of n rows which (int32; -1: none)."""

    words: list[str]
    codes: np.ndarray

    def at(self, row: int) -> str:
        """The text of a row."""
        return self.words[self.codes[row]] if self.codes[row] >= 0 else ""

    def equal(self, word: str) -> np.ndarray:
        """Bool (n,): the rows with this text."""
        return self.codes == (self.words.index(word) if word in self.words else -2)


@dataclass(frozen=True, eq=False)
class Culled:
    """A culled folder, read. The arrays are (n,), a row for each frame, in the order of the video.

    Attributes:
        folder: where it lies.
        about, result, resolution: run.json, result.json, resolution.json (None where there is none).
        keys: n strings. source, stage, reason: texts of which few differ.
        seconds: float64, time in its source; NaN where unknown.
        change: float32, what the gate saw; NaN where it did not look.
        score: float64, confidence loss; NaN where the student was not asked.
        precision: float64, AP of the student by the teacher's boxes; NaN where they were not compared.
        detections: float64, number of the student's boxes; NaN where it was not asked.
        student, teacher: the boxes on the frames that the teacher saw.
    """

    folder: Path
    about: dict[str, Any]
    result: dict[str, Any]
    resolution: dict[str, Any] | None
    keys: pa.Array
    source: Words
    stage: Words
    reason: Words
    seconds: np.ndarray
    change: np.ndarray
    score: np.ndarray
    precision: np.ndarray
    detections: np.ndarray
    student: Boxes
    teacher: Boxes

    def __len__(self) -> int:
        return len(self.score)

    @cached_property
    def kept(self) -> np.ndarray:
        """Bool (n,): part of the culled data set."""
        return self.stage.equal("kept")

    @cached_property
    def gated(self) -> np.ndarray:
        """Bool (n,): the gate saw nothing new, so no detector looked."""
        return self.stage.equal("gated")

    @cached_property
    def scored(self) -> np.ndarray:
        """Bool (n,): the student looked."""
        return np.isfinite(self.score)

    @cached_property
    def compared(self) -> np.ndarray:
        """Bool (n,): student and teacher looked, and were compared."""
        return np.isfinite(self.precision)

    @cached_property
    def taught(self) -> np.ndarray:
        """Bool (n,): the teacher looked; it labels every frame that is kept."""
        return self.kept | self.compared | self.stage.equal("stage 2")

    @property
    def config(self) -> dict[str, Any]:
        """The settings of the culling."""
        return self.about.get("config") or {}

    def class_name(self, label: int) -> str:
        """What a label is called."""
        names = self.about.get("class_names") or []
        return str(names[label]) if 0 <= label < len(names) else f"class {label}"

    def entries(self, name: str) -> list[dict[str, Any]]:
        """A list of result.json; empty where it has none."""
        return [entry for entry in self.result.get(name) or [] if isinstance(entry, dict)]


def is_culled(folder: Path) -> bool:
    """Whether this is what `tamis cull` wrote, finished."""
    return (folder / "manifest.parquet").is_file() and (folder / "result.json").is_file()


def read_culled(folder: Path) -> Culled:
    """Read a culled folder.

    Raises:
        FileNotFoundError: not a finished culled folder.
    """
    if not is_culled(folder):
        raise FileNotFoundError(
            f"folder must hold manifest.parquet and result.json of a finished culling, got {str(folder)!r}; "
            "run `tamis cull` first, or again to go on"
        )
    table = pq.read_table(folder / "manifest.parquet")
    position = table["position"].to_numpy().astype(np.int64)
    order = np.argsort(position, kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        table, position = table.take(order), position[order]
    boxes = dict(_boxes(folder / "detections.parquet", position))
    return Culled(
        folder=folder,
        about=_json(folder / "run.json") or {},
        result=_json(folder / "result.json") or {},
        resolution=_json(folder / "resolution.json"),
        keys=table["key"].combine_chunks(),
        source=_words(table["source"]),
        stage=_words(table["stage"]),
        reason=_words(table["reason"]),
        seconds=_floats(table["seconds"]),
        change=_floats(table["change"]),
        score=_floats(table["score"]),
        precision=_floats(table["precision"]),
        detections=_floats(table["detections"]),
        student=boxes[STUDENT],
        teacher=boxes[TEACHER],
    )


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else None


def _words(column: pa.ChunkedArray) -> Words:
    coded = pc.cast(column, pa.string()).combine_chunks().dictionary_encode()
    return Words(coded.dictionary.to_pylist(), coded.indices.fill_null(-1).to_numpy(zero_copy_only=False))


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return pc.cast(column, pa.float64()).fill_null(np.nan).to_numpy()


def _boxes(path: Path, position: np.ndarray) -> Iterator[tuple[str, Boxes]]:
    """The boxes of each detector; those whose position is not in the manifest are left out."""
    table = pq.read_table(path) if path.is_file() else None
    for who in (STUDENT, TEACHER):
        if table is None or not len(position):
            yield who, Boxes(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
            continue
        part = table.filter(pc.field("who") == who)
        place = part["position"].to_numpy()
        rows = np.minimum(np.searchsorted(position, place), len(position) - 1)
        known = np.flatnonzero(position[rows] == place)
        known = known[np.argsort(rows[known], kind="stable")]
        corners = np.stack([part[name].to_numpy()[known] for name in ("x1", "y1", "x2", "y2")], axis=1)
        yield who, Boxes(rows[known], corners, *(part[name].to_numpy()[known] for name in ("score", "label")))
