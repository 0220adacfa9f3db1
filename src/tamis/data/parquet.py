"""Image data sets in Parquet, as the Hugging Face hub keeps them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tamis.data.folder import Split
from tamis.data.images import FileImages
from tamis.data.limits import FREE, MOST_CLASSES, allowance, numbered_classes

_ROWS = 1 << 10  # rows of a batch
_ROW = 16  # bytes of a row beside its values: a place in lists of numbers and keys
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")


def find_parquet(path: Path, split: Split) -> list[Path]:
    """The split's files: a file is the training split; in a folder, at any depth, the name must say the split."""
    if path.is_file():
        return [path] if split == "train" else []
    train = sorted(file for file in path.rglob("*train*.parquet") if file.is_file())
    if split == "train":
        return train
    found = (sorted(set(path.rglob(pattern)) - set(train)) for pattern in ("*val*.parquet", "*test*.parquet"))
    return [file for file in next((files for files in found if files), []) if file.is_file()]


def read_parquet(path: Path, split: Split = "train") -> FileImages | None:
    """Read a column of encoded images (bytes, or a struct with `bytes`) and a column of labels.

    The columns are those that the Hugging Face metadata call Image and ClassLabel, else `image` or `img` and `label`,
    `labels` or `fine_label`. Class names come from the metadata, else labels that are strings are sorted, else
    they are numbers. The encoded images are held in memory. Keys are `file name:row`.

    Returns:
        The split, or None where it has no files.

    Raises:
        ValueError: a file is no Parquet, a column is missing or of another type, or a value is missing.
    """
    files = find_parquet(path, split)
    if not files:
        return None
    try:
        schema = pq.read_schema(files[0])
        features = _features(schema)
        image = _column(schema, features, "Image", IMAGE_COLUMNS, files[0])
        label = _column(schema, features, "ClassLabel", LABEL_COLUMNS, files[0])
        tables = [_read_columns(file, [image, label]) for file in files]
        # The training labels name the classes of both splits.
        known = [_read_columns(file, [label]) for file in find_parquet(path, "train")]
        table = pa.concat_tables(tables, promote_options="permissive")
        trained = [value for part in known for value in _label_values(part[label], files[0])]
        given = _label_values(table[label], files[0])
    except (pa.ArrowException, OSError, KeyError, MemoryError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"file must be Parquet, got {str(error)!r} in {files[0].name!r}; fetch it again") from error
    root = path if path.is_dir() else path.parent
    keys = [
        f"{file.relative_to(root).as_posix()}:{row:07d}"
        for file, table in zip(files, tables, strict=True)
        for row in range(len(table))
    ]
    names = _class_names(trained, features.get(label, {}).get("names"), files[0])
    return FileImages(_Column(_encoded(table[image], files[0])), _numbers(given, names, files[0]), names, keys)


def _read_columns(file: Path, columns: list[str]) -> pa.Table:
    """Some columns of a file, as long as they take no more memory than a file of its size may."""
    with pq.ParquetFile(file) as opened:
        schema = opened.schema_arrow
        wanted = pa.schema([schema.field(name) for name in columns])
        parts, batches = [wanted.empty_table()], []
        for batch in _affordable(opened, columns, file):
            batches.append(batch)
            if len(batches) == _ROWS:
                parts.append(pa.Table.from_batches(batches, wanted).combine_chunks())
                batches = []
    return pa.concat_tables([*parts, pa.Table.from_batches(batches, wanted).combine_chunks()])


def _affordable(opened: pq.ParquetFile, columns: list[str], file: Path) -> Iterator[pa.RecordBatch]:
    """The rows in small batches, counted as they come: a page of one value may stand for a billion."""
    most = left = allowance(file)
    about = opened.metadata
    # Of whole groups of rows, not of their columns: to ask for a damaged one ends the process (pyarrow 26).
    largest = max((about.row_group(place).total_byte_size for place in range(about.num_row_groups)), default=0)
    # A dictionary may hold one value, and every row be that value: so few rows that this stays small.
    rows = max(1, min(_ROWS, FREE // 4 // max(largest, 1)))
    for batch in opened.iter_batches(rows, columns=columns) if largest <= most else ():
        left -= batch.nbytes + _ROW * len(batch)
        if left < 0:
            break
        yield batch
    if left < 0 or largest > most:
        raise ValueError(f"file must unpack to at most {most} bytes, got more in {file.name!r}; fetch it again")


def _label_values(column: pa.ChunkedArray, file: Path) -> list:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        got = type(column.slice(0, 1).to_pylist()[0]).__name__ if len(column) else str(kind)
        raise ValueError(f"label column must hold integers or strings, got {got} in {file.name!r}; convert it")
    return column.to_pylist()


@dataclass(frozen=True)
class _Column:
    """Reads the encoded images of a column of binary values."""

    column: pa.ChunkedArray

    def __call__(self, position: int) -> bytes:
        return self.column[position].as_py()


def _features(schema: pa.Schema) -> dict:
    """What the Hugging Face `datasets` library wrote about the columns; empty if it did not."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(text)["info"]["features"] if text else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _column(schema: pa.Schema, features: dict, kind: str, names: Sequence[str], file: Path) -> str:
    described = [name for name in schema.names if features.get(name, {}).get("_type") == kind]
    usual = [name for name in names if name in schema.names]
    # CIFAR-100 has two class labels: of several described columns the usual name decides.
    chosen = [name for name in usual if name in described] or described or usual
    if not chosen:
        wanted = " or ".join(names)
        raise ValueError(f"table must have a column {wanted}, got {schema.names} in {file.name!r}; rename one")
    return chosen[0]


def _encoded(column: pa.ChunkedArray, file: Path) -> pa.ChunkedArray:
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = column.flatten()[column.type.get_field_index("bytes")]
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise ValueError(f"image column must hold bytes, got {column.type} in {file.name!r}; embed the images")
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise ValueError(f"image must have bytes, got null in row {row} from {file.name!r} on; embed the images")
    return column


def _class_names(labels: list, described: object, file: Path) -> tuple[str, ...]:
    """Names of the classes, from the metadata or from the training labels."""
    if isinstance(described, list) and described:
        return tuple(map(str, described))
    given = {label for label in labels if label is not None}
    if all(isinstance(label, str) for label in given):
        return tuple(sorted(given))
    return numbered_classes(given, f"in {file.name!r}")


def _numbers(labels: list, class_names: tuple[str, ...], file: Path) -> Tensor:
    number = {name: place for place, name in enumerate(class_names)}
    numbers = [label if isinstance(label, int) else number.get(label) for label in labels]
    wrong = [number is None or abs(number) > MOST_CLASSES for number in numbers]
    if any(wrong):
        row = wrong.index(True)
        where = f"in row {row} from {file.name!r} on"
        raise ValueError(f"label must be one of the training classes, got {labels[row]!r} {where}; correct it")
    return torch.tensor(numbers, dtype=torch.int64)
