"""History of the samples over the epochs, as Parquet parts that DuckDB, pandas or polars read as one table.

Parts are written under a temporary name, flushed and renamed; an epoch that is done again writes the same names.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tamis.files import sync_file, sync_folder

# Rows held in memory before a part is written, and carried by a checkpoint in the middle of an epoch: some 8 MB.
_ROWS = 1 << 18


_ABOUT = b"tamis"  # the entry in the metadata of a table of samples


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
        self._remove_from(epoch, 0)
        for path in self.folder.glob("decisions-*.parquet"):
            if _numbers(path)[0] >= epoch:
                path.unlink()
        self._pending, self._rows, self._part, self._epoch = [], 0, 0, epoch

    def _remove_from(self, epoch: int, part: int) -> None:
        for path in self.folder.glob("epoch-*.parquet"):
            if tuple(_numbers(path)) >= (epoch, part):
                path.unlink()
        for path in self.folder.glob("boxes-*.parquet"):
            if _numbers(path)[0] >= epoch:
                path.unlink()

    def append(self, columns: dict[str, Tensor]) -> None:
        """Add rows: 1-D tensors of equal length by column name.

        Parts have a fixed number of rows, so that they do not depend on how the rows come.
        """
        self._pending.append({name: values.detach().cpu() for name, values in columns.items()})
        self._rows += len(next(iter(columns.values())))
        while self._rows >= _ROWS:
            held = self._held()
            self._write({name: values[:_ROWS] for name, values in held.items()})
            self._pending = [{name: values[_ROWS:] for name, values in held.items()}]
            self._rows -= _ROWS

    def flush(self) -> None:
        """Write what is held as the last part of the epoch."""
        if self._rows:
            self._write(self._held())
        self._pending, self._rows = [], 0

    def _held(self) -> dict[str, Tensor]:
        names = list(self._pending[0]) if self._pending else []
        return {name: torch.cat([rows[name] for rows in self._pending]) for name in names}

    def _write(self, columns: dict[str, Tensor]) -> None:
        table = pa.table({name: values.numpy() for name, values in columns.items()})
        write_table(self.folder / f"epoch-{self._epoch:05d}-{self._part:03d}.parquet", table)
        self._part += 1

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch, and the rows that are not in a part yet: parts never depend on checkpoints."""
        return {"epoch": self._epoch, "part": self._part, "pending": self._held()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in the middle of an epoch; what was written after that place is removed."""
        self._epoch, self._part = state["epoch"], state["part"]
        self._remove_from(self._epoch, self._part)
        columns = state["pending"]
        self._pending = [columns] if columns else []
        self._rows = len(next(iter(columns.values()))) if columns else 0


def _numbers(path: Path) -> list[int]:
    """Epoch, and part if there is one, in the name of a file."""
    return [int(number) for number in path.stem.split("-")[1:]]


def write_samples(
    folder: Path,
    keys: Sequence[str],
    labels: Tensor,
    clean: Tensor | None,
    extra: pa.Table | None = None,
    *,
    name: str = "samples.parquet",
    about: dict[str, Any] | None = None,
) -> None:
    """Write `samples.parquet`: index, key, label, and clean_label where it is known.

    Args:
        folder: the ledger's folder, which is made if needed.
        keys: of the n samples.
        labels: int64 (n,), trained on.
        clean: int64 (n,), the true ones where labels were made wrong.
        extra: more columns of n rows: digest, size, mtime_ns, annotation, gone, since (see `read_samples`).
        name: of the file.
        about: what else is to be known of the samples as a whole; any JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = pa.nulls(len(labels), pa.int32()) if clean is None else pa.array(clean.int().numpy())
    columns: dict[str, Any] = {
        "index": pa.array(range(len(labels)), pa.int64()),
        "key": pa.array(list(keys), pa.string()),
        "label": pa.array(labels.int().numpy()),
        "clean_label": known,
    }
    columns |= {} if extra is None else dict(zip(extra.column_names, extra.columns, strict=True))
    table = pa.table(columns)
    write_table(folder / name, table if about is None else table.replace_schema_metadata({_ABOUT: json.dumps(about)}))


def read_samples(folder: Path, name: str = "samples.parquet") -> tuple[pa.Table, dict[str, Any]]:
    """Read what `write_samples` wrote, and what it says about the samples as a whole.

    Returns:
        The table; columns that an earlier version did not write are added with what they mean by default. Beside those
        of `write_samples`: digest, size, mtime_ns, annotation as of `tamis.data.fingerprint` (null); gone, the sample
        is no longer in the data (false); since, the accepted change of the data from which on its scores count (0, the
        start).

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"ledger must have {name}, got none in {str(folder)!r}; give the folder of a run")
    table = pq.read_table(path)
    defaults = {"digest": (None, pa.binary(16)), "size": (None, pa.int64()), "mtime_ns": (None, pa.int64())}
    defaults |= {"annotation": (None, pa.binary(16)), "gone": (False, pa.bool_()), "since": (0, pa.int32())}
    for column, (value, kind) in defaults.items():
        if column not in table.column_names:
            table = table.append_column(column, pa.array([value] * len(table), kind))
    table = table.select([name for name in table.column_names if name not in defaults] + list(defaults))
    return table, json.loads((table.schema.metadata or {}).get(_ABOUT, b"{}"))


def write_decisions(
    folder: Path,
    epoch: int,
    hidden_by: Tensor,
    rules: Sequence[str],
    rank: Tensor | None = None,
    of: Tensor | None = None,
) -> None:
    """Write `decisions-EEEEE.parquet`: which samples an epoch hides, the rule that hid each, and its place by score.

    Args:
        folder: the ledger's folder.
        epoch: the epoch, from 0.
        hidden_by: int8 (n,), -1 or a position in `rules`.
        rules: texts of the rules.
        rank: int32 (n,), 1 for the lowest of the `of` scores that the rule saw; 0 = not scored. See `rules.ranks`.
        of: int32 (n,).
    """
    index = (hidden_by >= 0).nonzero().flatten()
    reason = pa.DictionaryArray.from_arrays(pa.array(hidden_by[index].numpy()), pa.array(list(rules), pa.string()))
    columns = {
        "index": pa.array(index.numpy()),
        "epoch": pa.array([epoch] * len(index), pa.int32()),
        "weight": pa.array([0.0] * len(index), pa.float32()),
        "reason": reason,
        "rank": _places(rank, index),
        "of": _places(of, index),
    }
    write_table(folder / f"decisions-{epoch:05d}.parquet", pa.table(columns))


def _places(place: Tensor | None, index: Tensor) -> pa.Array:
    """The places of some samples; null where there is none."""
    if place is None:
        return pa.nulls(len(index), pa.int32())
    return pa.array(place[index].numpy(), mask=(place[index] == 0).numpy())


def write_boxes(folder: Path, epoch: int, sigma: Tensor | None, loss: Tensor) -> None:
    """Write `boxes-EEEEE.parquet`: of every box, in the order of `boxes.parquet`, where it is at the end of an epoch.

    Args:
        folder: the ledger's folder.
        epoch: the epoch, from 0.
        sigma: float32 (m,); None without data parameters.
        loss: float32 (m,), its part of the loss of its image when it was shown last in the epoch; NaN = it was not.
    """
    columns = {} if sigma is None else {"sigma": sigma.numpy()}
    write_table(folder / f"boxes-{epoch:05d}.parquet", pa.table(columns | {"loss": loss.numpy()}))


def write_scores(folder: Path, score: Tensor, seen: Tensor) -> None:
    """Write `scores.parquet`: of every sample the latest score, and how often one was recorded."""
    index = pa.array(range(len(score)), pa.int64())
    write_table(folder / "scores.parquet", pa.table({"index": index, "score": score.numpy(), "seen": seen.numpy()}))
