"""History of the samples over the epochs, as Parquet parts that DuckDB, pandas or polars read as one table.

Parts are written under a temporary name, flushed and renamed; an epoch that is done again writes the same names.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tamis.files import sync_file, sync_folder

# Rows held in memory before a part is written: bounds the memory whatever the size of the data set.
_ROWS = 1 << 20


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    pq.write_table(table, temporary, compression="zstd")
    sync_file(temporary)
    temporary.replace(path)
    sync_folder(path.parent)


class History:
    """Writes `ledger/epoch-EEEEE-PPP.parquet`: what happened to each sample that an epoch showed.

    Columns are those of `append`; `index` is the position in `ledger/samples.parquet`.
    """

    def __init__(self, folder: Path) -> None:
        """Write into `folder`, which is made if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._pending: list[dict[str, Tensor]] = []
        self._rows = self._part = self._epoch = 0

    def begin(self, epoch: int) -> None:
        """Start an epoch: what an interrupted run left behind of it, or of later ones, is removed."""
        for path in [*self.folder.glob("epoch-*.parquet"), *self.folder.glob("decisions-*.parquet")]:
            if int(path.stem.split("-")[1]) >= epoch:
                path.unlink()
        self._pending, self._rows, self._part, self._epoch = [], 0, 0, epoch

    def append(self, columns: dict[str, Tensor]) -> None:
        """Add rows: 1-D tensors of equal length by column name."""
        self._pending.append({name: values.detach().cpu() for name, values in columns.items()})
        self._rows += len(next(iter(columns.values())))
        if self._rows >= _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is held as the next part of the epoch."""
        if not self._pending:
            return
        names = list(self._pending[0])
        columns = {name: torch.cat([rows[name] for rows in self._pending]).numpy() for name in names}
        write_table(self.folder / f"epoch-{self._epoch:05d}-{self._part:03d}.parquet", pa.table(columns))
        self._pending, self._rows, self._part = [], 0, self._part + 1


def write_samples(folder: Path, keys: Sequence[str], labels: Tensor, clean: Tensor | None) -> None:
    """Write `samples.parquet`: index, key, label, and clean_label where it is known."""
    folder.mkdir(parents=True, exist_ok=True)
    known = pa.nulls(len(labels), pa.int32()) if clean is None else pa.array(clean.int().numpy())
    columns = {
        "index": pa.array(range(len(labels)), pa.int64()),
        "key": pa.array(list(keys), pa.string()),
        "label": pa.array(labels.int().numpy()),
        "clean_label": known,
    }
    write_table(folder / "samples.parquet", pa.table(columns))


def write_decisions(folder: Path, epoch: int, hidden_by: Tensor, rules: Sequence[str]) -> None:
    """Write `decisions-EEEEE.parquet`: which samples an epoch hides, and the rule that hid each.

    Args:
        folder: the ledger's folder.
        epoch: the epoch, from 0.
        hidden_by: int8 (n,), -1 or a position in `rules`.
        rules: texts of the rules.
    """
    index = (hidden_by >= 0).nonzero().flatten()
    reason = pa.DictionaryArray.from_arrays(pa.array(hidden_by[index].numpy()), pa.array(list(rules), pa.string()))
    columns = {
        "index": pa.array(index.numpy()),
        "epoch": pa.array([epoch] * len(index), pa.int32()),
        "weight": pa.array([0.0] * len(index), pa.float32()),
        "reason": reason,
    }
    write_table(folder / f"decisions-{epoch:05d}.parquet", pa.table(columns))


def write_scores(folder: Path, score: Tensor, seen: Tensor) -> None:
    """Write `scores.parquet`: the latest score and the number of visits of every sample."""
    index = pa.array(range(len(score)), pa.int64())
    write_table(folder / "scores.parquet", pa.table({"index": index, "score": score.numpy(), "seen": seen.numpy()}))
