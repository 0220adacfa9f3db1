"""The rows of the boxes of a run: `ledger/boxes.parquet`, and where rows go when the data changes.

A box is known by the position of its image and its key. While a change of the data is written down, what the rows will
be is in `next-boxes.parquet`: which of the two files holds is told by the number of changes that the samples know of.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tamis.data import BoxedImages
from tamis.history import write_table

BOXES = "boxes.parquet"
_NEXT = "next-boxes.parquet"
_CHANGES = b"tamis changes"


def write_rows(ledger: Path, train: BoxedImages, changes: int) -> None:
    """Write `boxes.parquet` of the training boxes, where it is not there yet, or is of before a change.

    Columns, in the order of the rows: box (the row), image (its position), key, label, x1, y1, x2, y2 in pixels of the
    image, and what is known beside: occlusion, truncation, noise.

    Args:
        ledger: the ledger's folder.
        train: the training images, as the run knows them.
        changes: of the data, that the run has accepted.
    """
    settle(ledger, changes)
    if _changes(ledger / BOXES) != changes:
        write_table(ledger / BOXES, _table(train, changes))


def settle(ledger: Path, changes: int) -> None:
    """Let rows that were written for a change hold, if the samples know of that change."""
    if _changes(ledger / _NEXT) == changes:
        (ledger / _NEXT).replace(ledger / BOXES)


def write_moved(ledger: Path, train: BoxedImages, fresh: np.ndarray, changes: int) -> None:
    """Write the rows as they are to be after a change, and `box-rows-EEEEE.parquet`: the row that each had before.

    Args:
        ledger: the ledger's folder, with `boxes.parquet` of before.
        train: the training images after the change.
        fresh: bool (n,), images of another content: their boxes are new ones.
        changes: the number of the change, from 1.
    """
    settle(ledger, changes - 1)
    if not (ledger / BOXES).is_file():  # of a version that learned nothing of boxes
        return
    before, now = pq.read_table(ledger / BOXES, columns=["image", "key"]), _table(train, changes)
    options = pc.SetLookupOptions(value_set=_names(before))
    row = pc.call_function("index_in", [_names(now)], options).fill_null(-1).to_numpy().astype(np.int64)
    row[fresh[now["image"].to_numpy()]] = -1
    write_table(_path(ledger, changes), pa.table({"row": row}))
    write_table(ledger / _NEXT, now)


def moves(ledger: Path) -> Callable[[int], Tensor]:
    """What `tamis.fit.growth.Changes` wants to know of boxes."""
    return partial(_moved, ledger)


def _moved(ledger: Path, change: int) -> Tensor:
    return torch.tensor(pq.read_table(_path(ledger, change))["row"].to_numpy())


def _path(ledger: Path, change: int) -> Path:
    return ledger / f"box-rows-{change:05d}.parquet"


def _changes(path: Path) -> int | None:
    """The number of changes after which a table holds; None if it is not there."""
    return int((pq.read_schema(path).metadata or {})[_CHANGES]) if path.is_file() else None


def _names(table: pa.Table) -> pa.Array:
    """A text of each box that no other has."""
    image = table["image"].cast(pa.string())
    return pc.call_function("binary_join_element_wise", [image, table["key"], pa.scalar(" ")]).combine_chunks()


def _table(train: BoxedImages, changes: int) -> pa.Table:
    counts = train.box_starts.diff().numpy()
    rows = [row for row in train.rows.tolist() if row >= 0]
    corners = np.concatenate([np.zeros((0, 4), np.float32), *(train.boxes[row] for row in rows)])
    columns: dict[str, Any] = {
        "box": np.arange(counts.sum()),
        "image": np.repeat(np.arange(len(train)), counts),
        "key": pa.array([key for index in range(len(train)) for key in train.box_keys(index)], pa.string()),
        "label": train.box_labels.numpy(),
        **dict(zip(("x1", "y1", "x2", "y2"), corners.T, strict=True)),
    }
    for name, column in train.columns.items():
        columns[name] = np.concatenate([np.zeros(0, np.float32), *(column[row] for row in rows)])
    return pa.table(columns).replace_schema_metadata({_CHANGES: str(changes)})
