"""Where each training box of a detector is, and what its sigma was: read in batches, so that memory is bounded.

Beyond 250,000 boxes the page goes by those of every 2nd, 3rd, ... image, and says so; the boxes with the highest
sigma are found among all.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.report.reading import ledger_of
from tamis.report.suspicion import ranking

MOST = 250_000  # boxes that are held at a time: an AUROC of so many is right to about 0.001
UNREADABLE = (OSError, KeyError, ValueError, TypeError, pa.ArrowException)  # what damaged files raise
CORNERS = ("x1", "y1", "x2", "y2")
UNKNOWN = 3  # of occlusion
_BATCH = 1 << 18
_MOST_CLASSES = 100_000
_FARTHEST = 1e6  # pixels
_EPOCH_FILE = re.compile(r"boxes-(\d{5,9})\.parquet")


@dataclass(frozen=True)
class TrainedBoxes:
    """Training boxes as they were given to the model; all arrays are (m,).

    Attributes:
        count: boxes of the run; m of them are here.
        every: the images whose position is a multiple of it are here; 1 = all.
        rows: int64, ascending.
        image: int64, positions in the training data.
        label: int64.
        height: float32, pixels of the image.
        occlusion: int64, 0 fully visible, 1 partly, 2 largely, others unknown; None where the data does not tell.
        noise: int64, 0 as annotated, 1 flipped class, 2 shifted, 3 invented; None where nothing was made wrong.
    """

    count: int
    every: int
    rows: np.ndarray
    image: np.ndarray
    label: np.ndarray
    height: np.ndarray
    occlusion: np.ndarray | None = None
    noise: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def right(self) -> np.ndarray:
        """Bool (m,): not made wrong on purpose."""
        return np.ones(len(self), bool) if self.noise is None else self.noise == 0


def box_table(run: Path) -> Path:
    """The file that lists the run's training boxes."""
    return ledger_of(run) / "boxes.parquet"


def box_epochs(run: Path) -> dict[int, Path]:
    """The file of each epoch that tells of the boxes, epochs in order."""
    found = {_EPOCH_FILE.fullmatch(path.name): path for path in ledger_of(run).glob("boxes-*.parquet")}
    return dict(sorted((int(match[1]), path) for match, path in found.items() if match))


def read_trained(run: Path, images: int, most: int = MOST) -> TrainedBoxes:
    """Read where the boxes are, about `most` of them.

    Args:
        run: the run folder.
        images: how many the training data has.
        most: boxes that are held at a time.

    Raises:
        OSError, KeyError, ValueError, TypeError, ArrowException: the file is not what a run writes.
    """
    path = box_table(run)
    with pq.ParquetFile(path) as file:
        count, told = file.metadata.num_rows, file.schema_arrow.names
    names = ["image", "label", "y1", "y2", *(name for name in ("occlusion", "noise") if name in told)]
    every, parts = max(1, -(-count // most)), []
    for start, batch in _batches(path, names):
        here = np.flatnonzero(_whole(batch["image"]) % every == 0)
        part = {name: _whole(batch[name])[here] for name in names if name not in ("y1", "y2")}
        parts.append(part | {"rows": start + here, "height": (pixels(batch["y2"]) - pixels(batch["y1"]))[here]})
    columns = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
    if not len(columns.get("rows", ())):
        raise ValueError(f"{path.name} must list the training boxes, got none; train on images with boxes")
    for name, end in (("image", images), ("label", _MOST_CLASSES)):
        low, high = int(columns[name].min()), int(columns[name].max())
        if low < 0 or high >= end:
            raise ValueError(f"{name} must be in [0, {end}), got {low} to {high} in {path.name!r}")
    told_of = {"occlusion": lambda level: (level >= 0) & (level < UNKNOWN), "noise": lambda kind: kind > 0}
    for name, known in told_of.items():
        if name in columns and not known(columns[name]).any():
            del columns[name]
    return TrainedBoxes(count, every, **columns)


def read_sigma(path: Path, boxes: TrainedBoxes) -> np.ndarray:
    """Float32 (m,), the sigma of the boxes in an epoch's file; NaN where it is not a positive number.

    Raises:
        OSError, KeyError, ValueError, TypeError, ArrowException: the file is not what a run writes.
    """
    return positive(_of_all(path, boxes, "sigma"))


def read_loss(path: Path, boxes: TrainedBoxes) -> np.ndarray:
    """Float32 (m,), the loss of the boxes when last shown in an epoch, NaN where they were not; raises likewise."""
    return floats(_of_all(path, boxes, "loss"))


def _of_all(path: Path, boxes: TrainedBoxes, name: str) -> pa.ChunkedArray:
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows != boxes.count:
            raise ValueError(f"{path.name} must have {boxes.count} rows, got {file.metadata.num_rows}")
    return read_rows(path, boxes.rows, [name])[name]


def highest(path: Path, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, sigma and loss of the boxes with the highest sigma of all; ties by loss, then by row.

    Raises:
        OSError, KeyError, ValueError, TypeError, ArrowException: the file is not what a run writes.
    """
    best = np.zeros((3, 0))
    for start, batch in _batches(path, ["sigma", "loss"]):
        sigma, loss = positive(batch["sigma"]), floats(batch["loss"])
        best = np.concatenate([best, np.stack([start + np.arange(len(sigma)), sigma, loss])], axis=1)
        best = best[:, ranking(best[1], np.nan_to_num(best[2], nan=-np.inf))[:count]]
    best = best[:, np.isfinite(best[1])]
    return best[0].astype(np.int64), best[1], best[2]


def read_rows(path: Path, rows: np.ndarray, names: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
    """Some rows (ascending) of some columns, and of the optional ones that there are.

    Raises:
        OSError, KeyError, ValueError, TypeError, ArrowException: the file is not what a run writes.
    """
    with pq.ParquetFile(path) as file:
        names = [*names, *(name for name in optional if name in file.schema_arrow.names)]
    parts = []
    for start, batch in _batches(path, names):
        low, high = np.searchsorted(rows, [start, start + len(batch)])
        parts.append(batch.take(pa.array(rows[low:high] - start)))
    return pa.Table.from_batches(parts)


def _batches(path: Path, names: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Number of the first row, and rows; at least one batch."""
    with pq.ParquetFile(path) as file:
        if absent := sorted({*names} - {*file.schema_arrow.names}):
            raise KeyError(f"{path.name} has no column {', '.join(absent)}")
        start = 0
        for batch in file.iter_batches(_BATCH, columns=list(names)):
            yield start, batch
            start += len(batch)


def floats(column: Any) -> np.ndarray:
    """A column as float32, NaN where it is null."""
    return column.cast(pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32)


def pixels(column: Any) -> np.ndarray:
    """A column of places in an image, NaN where it cannot be one."""
    values = floats(column)
    return np.where(np.abs(values) < _FARTHEST, values, np.float32(np.nan))


def positive(column: Any) -> np.ndarray:
    """A column of sigma, NaN where it is not a positive number."""
    sigma = floats(column)
    return np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.float32(np.nan))


def _whole(column: Any) -> np.ndarray:
    """A column as int64, -1 where it is null or no number."""
    if pa.types.is_floating(column.type):
        values = floats(column)
        return np.where(np.isfinite(values) & (np.abs(values) < _MOST_CLASSES), values, -1).astype(np.int64)
    return pc.fill_null(column, -1).cast(pa.int64()).to_numpy(zero_copy_only=False)
