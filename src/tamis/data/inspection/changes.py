"""Holds what the files contain now against what a run has seen: damage that still decodes shows nowhere else."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tamis.data.inspection.findings import Finding, Row, row_of
from tamis.data.inspection.samples import Samples


def changes(samples: Samples, trained: pa.Table, judged: pa.Table | None) -> tuple[list[Finding], int]:
    """Compare the content of every sample that a run knows.

    Args:
        samples: the data as it is now.
        trained: the run's samples, as `tamis.history.read_samples` gives them.
        judged: likewise what it was judged by: another split of the data, or a part of the training split.

    Returns:
        Findings "changed" and "gone"; and of how many samples the run knows no digest, so that only a change in
        their size was found.
    """
    changed, gone, unknown = [], [], 0
    for split, table in (("train", trained), ("validation", judged)):
        if table is None:
            continue
        digests, sizes, dates, keys = (table[name].to_pylist() for name in ("digest", "size", "mtime_ns", "key"))
        absent = table["gone"].to_pylist()
        for row, place in enumerate(_places(samples, split, keys)):
            if absent[row]:
                continue
            if place < 0:
                gone.append(Row(split, keys[row], "", None, "the run knows it, the data has it no more"))
                continue
            unknown += digests[row] is None
            now = samples.signatures[place]
            if not _same(now, digests[row], sizes[row]):
                changed.append(row_of(samples, place, None, _how(now, sizes[row], dates[row])))
    return list(_told(changed, gone)), unknown


def _places(samples: Samples, split: str, keys: list[str]) -> Iterator[int]:
    """Where the keys of a run are, -1 = nowhere; what was held out for validation lies in the training split."""
    train = {key: place for place, key in enumerate(samples.keys[: samples.train])}
    later = {key: samples.train + place for place, key in enumerate(samples.keys[samples.train :])}
    where = train if split == "train" or not later else later
    return (where.get(key, -1) for key in keys)


def _same(now: np.void, digest: bytes | None, size: int | None) -> bool:
    if digest is None:
        return size is None or now["size"] in (-1, size)
    # Small images are held in memory by a run, and have the digest of their pixels.
    return digest in (now["file"].tobytes(), now["pixels"].tobytes())


def _how(now: np.void, size: int | None, date: int | None) -> str:
    if size is None or now["size"] < 0:
        return "other pixels"
    if now["size"] != size:
        return f"{size:,} bytes before, {now['size']:,} now"
    if date is None:
        return "same size"
    return "same size and date: damaged on the disk?" if now["mtime_ns"] == date else "same size, written since"


def _told(changed: list[Row], gone: list[Row]) -> Iterator[Finding]:
    many = {True: "sample has", False: "samples have"}
    if changed:
        summary = f"{len(changed):,} {many[len(changed) == 1]} another content than the run has seen"
        fix = "restore these files from a copy; if they were edited on purpose, train anew"
        yield Finding("changed", summary, fix, changed)
    if gone:
        fix = "restore these files; if they were taken out on purpose, all is well"
        yield Finding("gone", f"{len(gone):,} {many[len(gone) == 1]} gone since the run", fix, gone)
