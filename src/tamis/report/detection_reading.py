"""What a detector found on each validation image, next to what is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.report.boxed_pictures import CONFIDENCE

if TYPE_CHECKING:  # torch takes seconds to import
    from tamis.detections import Detections

_MOST_CLASSES = 100_000
_CORNERS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Boxes:
    """Boxes of m images: of each, those from `starts[i]` to `starts[i + 1]`.

    Attributes:
        starts: int64 (m + 1,).
        corners: float32 (k, 4), x1, y1, x2, y2 in pixels of the model's inputs.
        scores: float32 (k,), confidences.
        labels: int64 (k,).
    """

    starts: np.ndarray
    corners: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def on(self, row: int, least: float = 0.0) -> np.ndarray:
        """The boxes of an image of at least this confidence, (j, 4)."""
        some = slice(self.starts[row], self.starts[row + 1])
        return self.corners[some][self.scores[some] >= least]

    def detections(self, least: float = 0.0) -> "list[Detections]":
        """The boxes of all images of at least this confidence."""
        import torch

        from tamis.detections import Detections

        columns = [torch.tensor(each) for each in (self.corners, self.scores, self.labels)]
        counts = np.diff(self.starts).tolist()
        parts = zip(*(column.split(counts) for column in columns), strict=True)
        return [Detections(*each).above(least) for each in parts]


@dataclass(frozen=True)
class JudgedBoxes:
    """The validation images of a detector that could be read; all arrays are (m,).

    Attributes:
        index: int64, positions in the validation data.
        keys: their names.
        loss: float64, NaN = not known.
        precision: float64, AP at IoU 0.5 of each image.
        true: what is there.
        predicted: what was found, of a confidence of at least 0.05.
    """

    index: np.ndarray
    keys: tuple[str, ...]
    loss: np.ndarray
    precision: np.ndarray
    true: Boxes
    predicted: Boxes

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def error(self) -> np.ndarray:
        """1 - AP of each image; NaN without a true box."""
        return np.where(self.true_count > 0, 1 - self.precision, np.nan)

    @property
    def true_count(self) -> np.ndarray:
        """How many boxes there are."""
        return np.diff(self.true.starts)

    @cached_property
    def found(self) -> np.ndarray:
        """How many boxes of at least `CONFIDENCE` were found."""
        sure = np.concatenate([[0], np.cumsum(self.predicted.scores >= CONFIDENCE)])
        return np.diff(sure[self.predicted.starts])

    @cached_property
    def hits(self) -> np.ndarray:
        """How many of them hit a true box of their class, at IoU 0.5; the rest are false alarms."""
        from tamis.scores import image_hits

        found, true = self.predicted.detections(CONFIDENCE), self.true.detections()
        return image_hits(found, true, self._classes).numpy()

    @cached_property
    def by_class(self) -> np.ndarray:
        """AP at IoU 0.5 of each class, NaN where it has no true box; what is below 0.05 confidence is not in it."""
        from tamis.scores import class_precision

        return class_precision(self.predicted.detections(), self.true.detections(), self._classes).numpy()

    @property
    def _classes(self) -> int:
        return 1 + int(max(self.true.labels.max(initial=0), self.predicted.labels.max(initial=0)))


def read_boxes(run: Path) -> JudgedBoxes | None:
    """Read `predictions/` of a detector's run; None where there is none, as in a run that has not ended.

    Raises:
        ValueError: the files are not what a run writes.
    """
    folder = run / "predictions"
    if not (folder / "validation.parquet").is_file():
        return None
    try:
        images, boxes = pq.read_table(folder / "validation.parquet"), pq.read_table(folder / "boxes.parquet")
        index = images["index"].to_numpy()
        loss, precision = (images[name].cast(pa.float64()).to_numpy() for name in ("loss", "precision"))
        true, predicted = (_of(boxes, who, index) for who in ("true", "predicted"))
        return JudgedBoxes(index, tuple(map(str, images["key"].to_pylist())), loss, precision, true, predicted)
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise ValueError(f"predictions must be tables of images and boxes, got {str(folder)!r}: {text}") from error


def _of(table: pa.Table, who: str, index: np.ndarray) -> Boxes:
    """The boxes of one kind, in the order of the images."""
    table = table.filter(pc.field("who") == who)
    place = {image: row for row, image in enumerate(index.tolist())}
    rows = np.array([place[image] for image in table["index"].to_pylist()], np.int64)
    order = np.argsort(rows, kind="stable")
    corners = np.column_stack([_column(table, name, pa.float32())[order] for name in _CORNERS]).reshape(-1, 4)
    labels = _column(table, "label", pa.int64())[order]
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= _MOST_CLASSES:
        raise ValueError(f"label must be in [0, {_MOST_CLASSES}), got {labels.min()} to {labels.max()}")
    starts = np.searchsorted(rows[order], np.arange(len(index) + 1))
    return Boxes(starts, corners, _column(table, "score", pa.float32())[order], labels)


def _column(table: pa.Table, name: str, kind: pa.DataType) -> np.ndarray:
    return table[name].cast(kind).to_numpy()


def class_names(about: Sequence[object], found: JudgedBoxes | None) -> list[str]:
    """Names by class number, as many as the boxes need."""
    names = [str(name) for name in about]
    count = 0 if found is None else len(found.by_class)
    return names + [f"class {number}" for number in range(len(names), count)]
