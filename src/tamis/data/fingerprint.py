"""What tells one content of a sample from another: digests of file and annotation, and the file's size and date."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tamis.data.boxed import BoxedImages
from tamis.data.counted import CountedImages
from tamis.data.images import FileImages
from tamis.data.memory import MemoryImages
from tamis.data.open import Images

How = Literal["auto", "content", "stat"]
Told = Callable[[int, int], None]
"""Called with the bytes that are read and those that are to be read."""

LIMIT = 4 << 30  # bytes of files that "auto" reads: seconds where the system has them in its cache, else as the disk
_FILE = pa.schema([("digest", pa.binary(16)), ("size", pa.int64()), ("mtime_ns", pa.int64())])
SCHEMA = _FILE.append(pa.field("annotation", pa.binary(16)))
_TELL = 16 << 20  # bytes between two calls of `told`


def fingerprint(
    source: Images, how: How = "auto", *, known: pa.Table | None = None, limit: int = LIMIT, told: Told | None = None
) -> pa.Table:
    """The fingerprints of all samples, in the order of the source.

    Files are not read where `known` has the same size and date. Of the others, "auto" reads those that have a digest
    in `known`, and all the rest if together they have at most `limit` bytes; "stat" reads none. "content" reads every
    file, whatever is known. What is in memory is digested in any case: it has no date.

    Costs where the system holds the files in its cache: some 15 us a file for size and date, 40 us for a file of 3 kB
    with its digest, and 1 to 2 s for each GB of large ones.

    Args:
        source: the samples.
        how: what to do with files.
        known: columns digest, size and mtime_ns (n,), what an earlier run saw of the same samples; null = nothing.
        limit: bytes that "auto" reads of files whose digest is not known.
        told: is called from time to time while files are read.

    Returns:
        digest: BLAKE2b of 16 bytes of the file's content, or of the pixels uint8 (c, h, w) of an image in memory;
        null = not computed. size in bytes and mtime_ns, the file's date in ns since 1970; null for an image in memory,
        the date also for a file in an archive or a table. All are null for a file that cannot be read.
        annotation: likewise of what belongs to the image beside its file and its label: its points, float64 (k, 2),
        sorted, so that their order has no effect; null for labelled images.

    Raises:
        ValueError: how is none of the three, or known has another length.
    """
    if how not in get_args(How):
        raise ValueError(f"fingerprint must be auto, content or stat, got {how!r}; auto is usual")
    if known is not None and len(known) != len(source):
        raise ValueError(f"known must have a row for each of the {len(source)} samples, got {len(known)}")
    if isinstance(source, MemoryImages):
        nothing = np.full(len(source), -1)
        return _table(source, list(_of_pixels(source)), nothing, nothing)
    digests, size, date, paths = _listed(source)
    before = SCHEMA.empty_table().take(pa.nulls(len(source), pa.int64())) if known is None else known
    carried = np.zeros(len(source), bool) if how == "content" else _as_known(before, size, date)
    for place in carried.nonzero()[0].tolist():
        digests[place] = before["digest"][place].as_py()
    wanted = _to_read(size, paths, carried, before, how, limit)
    for place, digest in _of_files(wanted, paths, int(size[wanted].sum()), told):
        digests[place] = digest
    return _table(source, digests, size, date)


def same(old: pa.Table, new: pa.Table, *, annotations: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Compare fingerprints row by row.

    Where both digests are known they decide; else size and date must be the same, or unknown in both. The annotations
    must be the same in any case, or none in both, unless they are not to be looked at.

    Returns:
        bool (n,), the content is the same; bool (n,), it counts as changed by its date alone: size and annotation are
        the same, but a digest is missing.
    """
    digest, size, date = (pc.call_function("equal", [old[name], new[name]]) for name in _FILE.names)
    decided = _flags(digest.is_valid())
    by_file = _flags(size) & _flags(date)
    unknown = _all_null(old, new, _FILE.names)
    equal = np.where(decided, _flags(digest), by_file | unknown)
    marks = pc.call_function("equal", [old["annotation"], new["annotation"]])
    told = _flags(marks) | _all_null(old, new, ["annotation"]) | (not annotations)
    return equal & told, ~equal & ~decided & _flags(size) & told


def _all_null(old: pa.Table, new: pa.Table, names: Sequence[str]) -> np.ndarray:
    return np.logical_and.reduce([_flags(table[name].is_null()) for table in (old, new) for name in names])


def _flags(column: pa.ChunkedArray) -> np.ndarray:
    return column.fill_null(False).to_numpy().astype(bool)


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _of_pixels(source: MemoryImages) -> Iterator[bytes]:
    for part in source.images.split(4096):
        for pixels in part.cpu().contiguous().numpy():
            yield _digest(pixels.data)


def _listed(
    source: FileImages | CountedImages | BoxedImages,
) -> tuple[list[bytes | None], np.ndarray, np.ndarray, dict[int, Path]]:
    """Digests of what is in memory, sizes and dates (-1 = unknown), and the paths of what is a file."""
    digests: list[bytes | None] = [None] * len(source)
    size, date = np.full(len(source), -1), np.full(len(source), -1)
    paths: dict[int, Path] = {}
    for place, row in enumerate(source.rows.tolist()):
        file = source.read(row)
        if isinstance(file, bytes):
            digests[place], size[place] = _digest(file), len(file)
            continue
        try:
            status = file.stat()
        except OSError:  # a table may list what is not there; whether that is allowed is not decided here
            continue
        size[place], date[place], paths[place] = status.st_size, status.st_mtime_ns, file
    return digests, size, date, paths


def _as_known(known: pa.Table, size: np.ndarray, date: np.ndarray) -> np.ndarray:
    before = [known[name].fill_null(-2).to_numpy() for name in ("size", "mtime_ns")]
    return (before[0] == size) & (before[1] == date)


def _to_read(
    size: np.ndarray, paths: dict[int, Path], carried: np.ndarray, known: pa.Table, how: How, limit: int
) -> np.ndarray:
    """Places of the files to read, int64 (m,)."""
    if how == "stat":
        return np.empty(0, np.int64)
    files = np.zeros(len(size), bool)
    files[list(paths)] = True
    files &= ~carried
    if how == "auto":
        digested = known["digest"].is_valid().to_numpy().astype(bool)
        new = files & ~digested
        if size[new].sum() > limit:
            files &= digested
    return files.nonzero()[0]


def _of_files(
    wanted: np.ndarray, paths: dict[int, Path], total: int, told: Told | None
) -> Iterator[tuple[int, bytes | None]]:
    read = shown = 0
    for place in wanted.tolist():
        try:
            with paths[place].open("rb", buffering=0) as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()  # pyright: ignore[reportArgumentType]
                read += file.tell()
        except OSError:
            digest = None
        yield place, digest
        if told is not None and (read >= shown + _TELL or place == wanted[-1]):
            told(read, total)
            shown = read


def _of_annotations(source: Images) -> list[bytes | None]:
    """Digests of the points or boxes of each sample, if it has any."""
    places = range(len(source))
    if isinstance(source, CountedImages):
        return [_digest(source.points_of(place).tobytes()) for place in places]
    if isinstance(source, BoxedImages):
        return [_digest(b"".join(part.tobytes() for part in source.boxes_of(place))) for place in places]
    return [None] * len(source)


def _table(source: Images, digests: list[bytes | None], size: np.ndarray, date: np.ndarray) -> pa.Table:
    columns = [
        pa.array(digests, pa.binary(16)),
        pa.array(size, pa.int64(), mask=size < 0),
        pa.array(date, pa.int64(), mask=date == -1),
        pa.array(_of_annotations(source), pa.binary(16)),
    ]
    return pa.table(columns, schema=SCHEMA)
