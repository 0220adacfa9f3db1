"""The manifest: a row for every frame that was looked at, kept or not, as Parquet and as CSV."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from tamis.files import sync_file, sync_folder

_ROWS = 1 << 17
"""Rows that are turned into text at a time: a few MB."""

# How a text that a spreadsheet would take for a formula begins, and what is written for it.
_QUOTED = pc.ReplaceSubstringOptions(pattern=r"\A([=+\-@\t\r])", replacement=r"'\1")


def write_manifest(folder: Path, columns: Mapping[str, Sequence[Any] | np.ndarray | pa.Array]) -> None:
    """Write manifest.parquet and manifest.csv, each as a whole or not at all.

    Both have the same rows and columns. In the CSV a text that a spreadsheet would take for a formula gets a quote
    before it, as in suspects.csv.

    Args:
        folder: made if need be.
        columns: name -> n values: numbers, bools or texts; NaN and None are null, in the CSV empty.

    Raises:
        ValueError: columns of different lengths.
    """
    table = pa.table({name: _column(values) for name, values in _of_one_length(columns).items()})
    folder.mkdir(parents=True, exist_ok=True)
    with _replaced(folder / "manifest.parquet") as path:
        pq.write_table(table, path, row_group_size=_ROWS, compression="zstd")
    with (
        _replaced(folder / "manifest.csv") as path,
        pyarrow.csv.CSVWriter(path, _plain(table.slice(0, 0)).schema) as csv,
    ):
        for start in range(0, len(table), _ROWS):
            csv.write_table(_plain(table.slice(start, _ROWS)))


def _of_one_length(columns: Mapping[str, Any]) -> Mapping[str, Any]:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise ValueError(f"columns must be of one length, got {told}")
    return columns


def _column(values: Any) -> pa.Array:
    try:
        return pa.array(values, from_pandas=True)
    except UnicodeEncodeError:  # file names that are no UTF-8
        texts = (None if each is None else str(each).encode("utf-8", "backslashreplace").decode() for each in values)
        return pa.array(list(texts), pa.string())


def _plain(table: pa.Table) -> pa.Table:
    """`tamis.recipes.cells.plain_cell`, for whole columns of text."""
    for place, name in enumerate(table.column_names):
        column = table.column(place)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.call_function("replace_substring_regex", [column], _QUOTED)
        table = table.set_column(place, name, column)
    return table


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A temporary file beside another, which takes its place at the end."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
