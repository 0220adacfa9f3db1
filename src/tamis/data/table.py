"""A CSV file of paths and labels."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import torch

from tamis.data.decode import Files, inside
from tamis.data.folder import SPLIT_FOLDERS, Split
from tamis.data.images import FileImages
from tamis.data.limits import numbered_classes

_LONGEST_LINE = 1 << 20  # characters; a file without line ends would be read as a whole
_LONGEST_NUMBER = 20  # digits; Python refuses to read those of thousands


def read_table(path: Path, split: Split = "train") -> FileImages | None:
    """Read a CSV file with the header `path,label` or `path,label,split`, in UTF-8.

    Paths are relative to the file's folder and stay below it. Labels that are all numbers are class numbers from 0;
    otherwise they are class names, in the order of their names over all splits. Splits are `train`, or `val`,
    `validation`, `valid` or `test`; without that column every row is for training. Samples keep the file's order.

    Returns:
        The split, or None where it has no rows.

    Raises:
        ValueError: the header lacks a column; a row is too short or its path leads out of the folder; the first file
            is not there.
    """
    rows = _rows(path)
    labels = sorted({label for _, label, _ in rows})
    if all(re.fullmatch(rf"-?\d{{1,{_LONGEST_NUMBER}}}", label) for label in labels):
        number = {label: int(label) for label in labels}
        class_names = numbered_classes(set(number.values()), f"in {path.name!r}")
    else:
        number = {label: place for place, label in enumerate(labels)}
        class_names = tuple(labels)
    chosen = [(name, number[label]) for name, label, row_split in rows if row_split == split]
    if not chosen:
        return None
    names = [name for name, _ in chosen]
    if not (path.parent / names[0]).is_file():
        where = f"in {path.name!r}"
        raise ValueError(f"path must lead from the table's folder to a file, got {names[0]!r} {where}; correct it")
    labels = torch.tensor([label for _, label in chosen])
    return FileImages(Files(path.parent, names), labels, class_names, names)


def _rows(path: Path) -> list[tuple[str, str, Split]]:
    """All rows as (path, label, split)."""
    try:
        rows = list(_parsed(path))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"table must be CSV in UTF-8, got {str(error)!r} in {path.name!r}; save it so") from error
    if not rows:
        raise ValueError(f"table must have at least one row, got none in {path.name!r}; add the samples")
    return rows


def _parsed(path: Path) -> Iterator[tuple[str, str, Split]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(_lines(file))
        columns = list(table.fieldnames or [])
        if columns.count("path") != 1 or columns.count("label") != 1:
            raise ValueError(f"header must have path and label, got {columns} in {path.name!r}; add it")
        for row in table:
            where = f"in {path.name}:{table.line_num}"
            if not row["path"] or not row["label"]:
                raise ValueError(f"row must have a path and a label, got {list(row.values())} {where}; correct it")
            yield inside(row["path"], where), row["label"], _split(row.get("split") or "train", where)


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"a line of more than {_LONGEST_LINE} characters")
        yield line


def _split(name: str, where: str) -> Split:
    for split, names in SPLIT_FOLDERS.items():
        if name in names:
            return split
    raise ValueError(f"split must be 'train' or 'validation' (or val, test), got {name!r} {where}; correct it")
