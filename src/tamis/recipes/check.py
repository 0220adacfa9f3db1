"""`tamis check`: reads every image once and says what is wrong with a data set; trains nothing, changes nothing."""

import csv
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

import tamis
from tamis.data.annotations import Inspected, Layout, counting_layouts, inspect_layouts, write_fixed
from tamis.data.annotations.dots import mask_files
from tamis.data.annotations.layouts import recognised
from tamis.data.decode import Files
from tamis.data.folder import image_names
from tamis.data.images import FileImages
from tamis.data.inspection import Finding, Row, Samples, changes, empty_folders, inspect, read_samples
from tamis.data.open import Images, open_undecoded
from tamis.data.points import splits_of
from tamis.history import read_samples as read_table
from tamis.recipes.cells import plain_cell
from tamis.recipes.command_config import CheckConfig

EXCLUDE, TABLE = "exclude.txt", "findings.csv"


def check_command(config: CheckConfig) -> int:
    """Check a data set and print what was found.

    Returns:
        The exit code: 0 = nothing found, 1 = something.
    """
    started = time.perf_counter()
    if config.fix is not None:
        _hold_new(config.fix, [path for path in (config.data, config.validation, config.annotations) if path])
    known = None if config.against is None else _known(config.against)
    layouts = _layouts(config)
    annotated = inspect_layouts(layouts) if layouts else None
    train, validation = _open(config, layouts)
    samples = _read(train, validation, config.workers)
    # A table may leave folders out on purpose, and annotations name no folder.
    by_folder = config.data.is_dir() and not layouts
    empty = [name for source in (train, validation) if source and by_folder for name in empty_folders(source)]
    findings, notes = inspect(samples, near=config.near, empty=empty), []
    if known is not None:
        found, unknown = changes(samples, *known)
        findings = found + findings
        if unknown:
            notes.append(f"the run has no digest of {unknown:,} samples: of these, only another size is found")
    if samples.train == len(samples):
        notes.append("no validation split: leaks were not looked for (--validation DIR), only duplicates")
    if annotated is not None:
        findings += annotated.findings
        notes += counted(annotated)
    if config.fix is not None:
        notes += _write_fixes(config.fix, findings)
        if annotated is not None:
            notes.append(_write_annotations(annotated, config.fix / "annotations"))
    seconds = time.perf_counter() - started
    if config.json:
        print(json.dumps(as_json(config, samples, findings, notes, seconds), indent=2))
    else:
        print("\n".join(told(config, samples, findings, notes, seconds)))
    return int(bool(findings))


def _layouts(config: CheckConfig) -> dict[str, Layout]:
    """Boxes or points that are named, or that are in the data beyond doubt; empty if it is of classes."""
    if config.annotations is None:
        return counting_layouts(config.data) if config.data.is_dir() else {}
    if not config.data.is_dir():
        raise ValueError(
            f"data must be a folder of images where there are annotations, got {str(config.data)!r}; unpack it"
        )
    return {"": Layout(recognised(config.annotations), config.annotations, config.data)}


def _unlabelled(folder: Path, layouts: Mapping[str, Layout]) -> tuple[Images, Images | None]:
    """All images below a folder, as if of one class: those to train on, and all others."""
    names = sorted(image_names(folder))
    if not names:
        raise ValueError(f"data must hold at least one image, got none in {str(folder)!r}; give their folder")
    masks = {name for layout in layouts.values() if layout.kind == "dots" for name in mask_files(folder)}
    splits = splits_of(layouts, names)
    parts = {True: list[str](), False: list[str]()}
    for name, split in zip(names, splits, strict=True):
        if name not in masks:
            parts[split == "train"].append(name)
    train, others = parts[True] or parts[False], parts[False] if parts[True] else []
    return _one_class(folder, train), _one_class(folder, others) if others else None


def _one_class(folder: Path, names: Sequence[str]) -> Images:
    keys = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
    return FileImages(Files(folder, names), torch.zeros(len(names), dtype=torch.int64), ("image",), keys)


def _open(config: CheckConfig, layouts: Mapping[str, Layout]) -> tuple[Images, Images | None]:
    if layouts:
        train, validation = _unlabelled(config.data, layouts)
        return train, validation if config.validation is None else _unlabelled(config.validation, {})[0]
    train = open_undecoded(config.data, "train")
    validation = open_undecoded(config.data, "validation")
    if config.validation is not None:
        validation = open_undecoded(config.validation, "validation") or open_undecoded(config.validation, "train")
    return train, validation


def _read(train: Images, validation: Images | None, workers: int) -> Samples:
    count = len(train) + (0 if validation is None else len(validation))
    with _counter(count) as told:
        return read_samples(train, validation, workers=workers, told=told)


@contextmanager
def _counter(count: int) -> Iterator[Callable[[int], None] | None]:
    """A line on the terminal that counts; nothing where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    started = time.perf_counter()

    def told(done: int) -> None:
        pace = done / (time.perf_counter() - started)
        print(f"\r{done:,} of {count:,} images, {pace:,.0f} images/s ", end="", file=sys.stderr, flush=True)

    try:
        yield told
    finally:
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)


def _known(run: Path) -> tuple[pa.Table, pa.Table | None]:
    """What a run knows of its samples, and of those that it was judged by.

    Raises:
        ValueError: it has not written down what its samples contain.
        FileNotFoundError: it is no run folder.
    """
    trained = read_table(run / "ledger")[0]
    there = (run / "ledger" / "validation.parquet").is_file()
    if trained["digest"].null_count == len(trained) and trained["size"].null_count == len(trained):
        raise ValueError(
            f"against must be a run that has digests of its samples, got none in {str(run)!r}, which an earlier "
            "version made; train it again to have them"
        )
    return trained, read_table(run / "ledger", "validation.parquet")[0] if there else None


def _hold_new(out: Path, data: Sequence[Path]) -> None:
    """Refuse to write over anything or into the data."""
    for path in data:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise ValueError(f"fix must be a folder outside of the data, got {str(out)!r}; choose another")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"fix must be a folder, got the file {str(out)!r}; choose another")
    there = [name for name in (EXCLUDE, TABLE, "annotations") if (out / name).exists()]
    if there:
        raise FileExistsError(
            f"fix must be a folder without {there[0]}, got {str(out)!r}, which has it; choose another"
        )


def _write_fixes(out: Path, findings: Sequence[Finding]) -> list[str]:
    keys = excluded(findings)
    lines = [key for key in keys if _is_a_line(key)]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["kind", "group", "split", "key", "label", "detail"])
    for finding in findings:
        for row in finding.rows:
            cells = (row.split, row.key, row.label, row.detail)
            group = "" if row.group is None else row.group
            writer.writerow([finding.kind, group, *map(plain_cell, cells)])
    out.mkdir(parents=True, exist_ok=True)
    for name, text in ((EXCLUDE, "".join(f"{key}\n" for key in lines)), (TABLE, table.getvalue())):
        with (out / name).open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
    notes = [f"wrote {out / EXCLUDE} ({len(lines):,} training images) and {out / TABLE}"]
    if len(lines) < len(keys):
        strange = next(key for key in keys if not _is_a_line(key))
        notes.append(f"{len(keys) - len(lines):,} keys cannot stand in {EXCLUDE}, such as {strange!r}: rename the file")
    return notes


def counted(annotated: Inspected) -> list[str]:
    """What was read of the annotations, and a line for each rule that something broke."""
    width = max((len(finding.kind) for finding in annotated.findings), default=0)
    lines = [f"  {finding.kind.replace('_', ' '):{width}}  {len(finding.rows):>9,}" for finding in annotated.findings]
    return [annotated.about(), *lines]


def _write_annotations(annotated: Inspected, out: Path) -> str:
    written = write_fixed(annotated, out)
    if written is None:
        return f"no corrected annotations were written: none for {annotated.kind}, or nothing was readable"
    return f"wrote {written} (corrected annotations)"


def excluded(findings: Sequence[Finding]) -> list[str]:
    """Keys of the training samples that are better left out, each once."""
    return list(dict.fromkeys(key for finding in findings for key in finding.exclude))


def _is_a_line(key: str) -> bool:
    """Whether a key can be a line of a text file."""
    return not any(mark in key for mark in "\r\n") and key.isprintable() | (
        key.encode("utf-8", "replace").decode() == key
    )


def as_json(
    config: CheckConfig, samples: Samples, findings: Sequence[Finding], notes: Sequence[str], seconds: float
) -> dict[str, Any]:
    """The outcome for programs."""
    counts = samples.counts().tolist()
    return {
        "tamis": tamis.__version__,
        "data": str(config.data),
        "validation": None if config.validation is None else str(config.validation),
        "annotations": None if config.annotations is None else str(config.annotations),
        "images": {"train": samples.train, "validation": len(samples) - samples.train},
        "classes": [
            {"name": name, "train": train, "validation": validation}
            for name, train, validation in zip(samples.class_names, *counts, strict=True)
        ],
        "findings": [asdict(finding) for finding in findings],
        "exclude": excluded(findings),
        "notes": list(notes),
        "seconds": round(seconds, 3),
    }


def told(
    config: CheckConfig, samples: Samples, findings: Sequence[Finding], notes: Sequence[str], seconds: float
) -> Iterator[str]:
    """The outcome for people, line by line."""
    counts = samples.counts()
    there = counts[0][counts[0] > 0]
    split = f"{samples.train:,} train"
    if len(samples) > samples.train:
        split += f", {len(samples) - samples.train:,} validation"
    classes = f"{len(samples.class_names):,} classes of {there.min():,} to {there.max():,} training images"
    within = f" in {classes}" if len(samples.class_names) > 1 else ""
    yield f"{len(samples):,} images ({split}){within}; read in {seconds:.1f} s"
    for finding in findings:
        yield f"\n{finding.kind.replace('_', ' ')}: {finding.summary}"
        yield from _lines(finding, 0 if finding.kind == "broken" else config.show)
        yield f"  fix: {finding.fix}"
    yield ""
    yield from notes
    yield _verdict(config, findings)


def _lines(finding: Finding, show: int) -> Iterator[str]:
    """The first groups or samples; 0 = all."""
    if finding.rows[0].group is None:
        lines = [_line(row) for row in finding.rows]
    else:
        groups = groupby(finding.rows, key=lambda row: row.group)
        lines = [" = ".join(_names(list(rows), show)) for _, rows in groups]
    if finding.kind.startswith("near"):
        lines = [line.replace(" = ", " ~ ") for line in lines]
    for line in lines[: show or None]:
        yield f"  {line}"
    if show and len(lines) > show:
        yield f"  ... and {len(lines) - show:,} more (--show 0, --json and --fix OUT have all)"


def _line(row: Row) -> str:
    return f"{_name(row)}  {row.detail}" if row.key else f"{row.label}: {row.detail}"


def _names(rows: list[Row], show: int) -> list[str]:
    names = [_name(row) for row in rows]
    most = max(show, 2)
    return names if not show or len(names) <= most else [*names[:most], f"... ({len(names):,} images)"]


def _name(row: Row) -> str:
    key = row.key if row.key.isprintable() else repr(row.key)  # no control character reaches the terminal
    return key + (f" [{row.label}]" if row.label else "") + (" in validation" if row.split == "validation" else "")


def _verdict(config: CheckConfig, findings: Sequence[Finding]) -> str:
    if not findings:
        return "nothing found"
    names = ", ".join(finding.kind.replace("_", " ") for finding in findings)
    verdict = f"{len(findings)} kind{'s' * (len(findings) > 1)} of findings: {names}"
    if not any(finding.exclude for finding in findings):
        return verdict
    out = config.fix or "OUT"
    count = len(excluded(findings))
    write = [] if config.fix else [shlex.join(["tamis", "check", str(config.data), "--fix", str(out)])]
    train = shlex.join(["tamis", "train", str(config.data), "--exclude", f"{out}/{EXCLUDE}"])
    return f"{verdict}\nto train without the {count:,} images better left out: {', then '.join([*write, train])}"
