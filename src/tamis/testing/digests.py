"""Digests: what must be the same, bit for bit, without what may differ (times, hosts, processes, paths)."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tamis.checkpoint import load_checkpoint
from tamis.run import checkpoint_of, read_metrics

# Where and when something ran, as opposed to what came out: the last words of a name.
_CIRCUMSTANCES = {"time", "date", "created", "mtime_ns", "host", "pid", "path"}


def digest_of(value: Any) -> str:
    """A digest of tensors, arrays, numbers, texts and bytes, also nested in lists, tuples, dicts and dataclasses.

    Two values have one digest if they are of the same types and shapes and equal bit for bit (so NaN equals NaN, and
    0.0 does not equal -0.0).

    Raises:
        TypeError: a value of another kind.
    """
    known = hashlib.blake2b(digest_size=16)
    for piece in _pieces(value):
        # With its length, so that no two different sequences of pieces run together.
        known.update(len(piece).to_bytes(8, "little") + piece)
    return known.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        yield f"tensor {plain.dtype} {tuple(plain.shape)}".encode()
        yield plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        yield f"array {value.dtype} {value.shape}".encode()
        yield value.tobytes()
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, Mapping):
        yield f"dict {len(value)}".encode()
        for key, held in value.items():
            yield from _pieces(key)
            yield from _pieces(held)
    elif isinstance(value, list | tuple):
        yield f"list {len(value)}".encode()
        for held in value:
            yield from _pieces(held)
    elif is_dataclass(value):
        yield type(value).__name__.encode()
        yield from _pieces({each.name: getattr(value, each.name) for each in fields(value)})
    else:
        raise TypeError(
            f"value must be made of tensors, arrays, numbers, texts, lists, dicts or dataclasses, got "
            f"{type(value).__name__}; turn it into these first"
        )


def digests_of_run(folder: Path) -> dict[str, str]:
    """What a run folder of tamis holds, by name: equal for two runs exactly if the one could stand for the other.

    Every tensor and number of the newest and the best checkpoint, every column of the samples' history and of the
    decisions of every epoch, the rows of metrics.jsonl, the result, the lists of suspects and of unreadable samples.
    Seconds, dates, hosts and processes are left out.

    Raises:
        FileNotFoundError: the run has no checkpoint.
        DamagedCheckpoint: a file of a checkpoint is not as it was written.
    """
    found: dict[str, str] = {}
    for which in ("last", "best"):
        model, state = load_checkpoint(checkpoint_of(folder, which))
        found |= {f"{which} checkpoint: {name}": digest_of(tensor) for name, tensor in model.items()}
        found |= _leaves(f"{which} checkpoint", state)
    for name, table in _tables(folder / "ledger").items():
        found |= {f"ledger {name}: {column}": _column(table, column) for column in table.column_names}
        found[f"ledger {name}: rows"] = str(table.num_rows)
    for row in read_metrics(folder):
        found |= _leaves(f"metrics of epoch {row['epoch']}", row)
    result = folder / "result.json"
    found |= _leaves("result", json.loads(result.read_text("utf-8"))) if result.is_file() else {}
    for path in [*folder.glob("*.csv"), *folder.glob("quarantine.jsonl")]:
        found[path.name] = digest_of(path.read_bytes())
    return {name: digest for name, digest in found.items() if not _is_circumstance(name)}


def _is_circumstance(name: str) -> bool:
    last = name.split("/")[-1].split(": ")[-1]
    return last in _CIRCUMSTANCES or last.startswith("seconds")


def _leaves(name: str, value: Any) -> dict[str, str]:
    """Digests of the parts of nested dicts and lists, by their place in it."""
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(held, dict | list | tuple | Tensor) for held in value):
        parts = list(enumerate(value))
    else:
        return {name: digest_of(value)}
    joint = "/" if ": " in name else ": "
    return {part: digest for key, held in parts for part, digest in _leaves(f"{name}{joint}{key}", held).items()}


def _tables(folder: Path) -> dict[str, pa.Table]:
    """The tables of a history, the parts of an epoch joined: a kill may cut an epoch into other parts."""
    parts: dict[str, list[pa.Table]] = {}
    for path in sorted(folder.glob("*.parquet")):
        parts.setdefault("-".join(path.stem.split("-")[:2]), []).append(pq.read_table(path))
    return {name: pa.concat_tables(tables, promote_options="default") for name, tables in parts.items()}


def _column(table: pa.Table, name: str) -> str:
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) and not column.null_count:
        return digest_of(column.to_numpy())
    return digest_of(column.to_pylist())
