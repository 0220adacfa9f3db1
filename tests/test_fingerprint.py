"""Fingerprints: what is read, what is carried over, and what counts as the same."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tamis.data import CountedImages, FileImages, Images, MemoryImages
from tamis.data.decode import Blobs, Files
from tamis.data.fingerprint import SCHEMA, fingerprint, same

LONG_AGO = 1_600_000_000_000_000_000


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def write(path: Path, content: bytes, date: int = LONG_AGO) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(date, date))


@pytest.fixture
def files(tmp_path: Path) -> FileImages:
    for place in range(5):
        write(tmp_path / str(place), bytes([place]) * 100)
    return named(Files(tmp_path, [str(place) for place in range(5)]))


def named(read) -> FileImages:
    return FileImages(read, torch.zeros(5, dtype=torch.int64), ("a",), [f"k{place}" for place in range(5)])


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened from now on."""
    opened: list[str] = []
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self.name) or plain(self, *a, **k))
    return opened


def test_files(files: FileImages) -> None:
    table = fingerprint(files.select(torch.tensor([3, 1])))
    assert table.schema.equals(SCHEMA)
    assert table.to_pydict() == {
        "digest": [digest(b"\3" * 100), digest(b"\1" * 100)],
        "size": [100, 100],
        "mtime_ns": [LONG_AGO] * 2,
        "annotation": [None] * 2,
    }


def test_what_is_in_memory_has_no_date() -> None:
    blobs = [bytes([place]) * (7 + place) for place in range(5)]
    table = fingerprint(named(Blobs(blobs)), "stat")
    expected = {"digest": [digest(blob) for blob in blobs], "size": [7, 8, 9, 10, 11], "mtime_ns": [None] * 5}
    assert table.to_pydict() == expected | {"annotation": [None] * 5}
    pixels = torch.arange(5 * 3 * 4 * 4, dtype=torch.uint8).view(5, 3, 4, 4)
    images = MemoryImages(pixels, torch.zeros(5, dtype=torch.int64), ("a",), list("abcde"))
    table = fingerprint(images, "stat")
    assert table["digest"].to_pylist() == [digest(each.numpy().tobytes()) for each in pixels]
    assert table["size"].null_count == table["mtime_ns"].null_count == 5
    # Not contiguous, as a reader may leave them.
    turned = MemoryImages(pixels.transpose(2, 3), images.labels, ("a",), list("abcde"))
    assert fingerprint(turned)["digest"][0].as_py() == digest(pixels[0].transpose(1, 2).contiguous().numpy().tobytes())


@pytest.mark.parametrize(
    ("how", "limit", "read"), [("auto", 500, 5), ("auto", 499, 0), ("content", 0, 5), ("stat", 500, 0)]
)
def test_how_much_is_read(files: FileImages, how, limit: int, read: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, told = reads(monkeypatch), []
    table = fingerprint(files, how, limit=limit, told=lambda *now: told.append(now))
    assert len(opened) == read == 5 - table["digest"].null_count
    assert table["size"].to_pylist() == [100] * 5
    assert told == ([(500, 500)] if read else [])


def test_progress_is_told_from_time_to_time(files: FileImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.data.fingerprint._TELL", 200)
    told: list[tuple[int, int]] = []
    fingerprint(files, told=lambda *now: told.append(now))
    assert told == [(200, 500), (400, 500), (500, 500)]


def test_a_file_with_the_same_size_and_date_is_not_read_again(
    files: FileImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = fingerprint(files)
    write(tmp_path / "1", b"\1" * 100, LONG_AGO + 1)
    write(tmp_path / "2", b"x" * 100, LONG_AGO + 1)
    opened = reads(monkeypatch)
    # Over the limit too: it is for files of which no digest is known.
    table = fingerprint(files, known=known, limit=0)
    assert opened == ["1", "2"]
    assert [flags.tolist() for flags in same(known, table)] == [[True, True, False, True, True], [False] * 5]
    opened.clear()
    fingerprint(files, "content", known=known)
    assert len(opened) == 5
    # New samples have no row of `known`: they count against the limit.
    opened.clear()
    fingerprint(files, known=known.take(pa.array([0, 1, 2, None, 4])), limit=99)
    assert opened == ["1", "2"]


def test_without_a_digest_the_date_decides(files: FileImages, tmp_path: Path) -> None:
    known = fingerprint(files, "stat")
    write(tmp_path / "1", b"\1" * 100, LONG_AGO + 1)
    write(tmp_path / "2", b"x" * 99, LONG_AGO)
    equal, by_date = same(known, fingerprint(files, "stat", known=known))
    assert equal.tolist() == [True, False, False, True, True]
    assert by_date.tolist() == [False, True, False, False, False]


def test_a_file_that_is_not_there(files: FileImages, tmp_path: Path) -> None:
    (tmp_path / "3").unlink()
    known = fingerprint(files)
    assert known.take([3]).to_pylist() == [dict.fromkeys(SCHEMA.names)]
    again = fingerprint(files, known=known)
    assert same(known, again)[0].all()
    write(tmp_path / "3", b"back")
    assert same(known, fingerprint(files, known=known))[0].tolist() == [True, True, True, False, True]


def test_points_are_content(tmp_path: Path) -> None:
    points = [np.array([(4.0, 2.0), (1.0, 2.0), (3.0, 1.0)]), np.empty((0, 2)), np.array([(1.0, 1.0)])]
    for place in range(3):
        write(tmp_path / str(place), b"x")

    def printed(points: list[np.ndarray]) -> pa.Table:
        labels = torch.tensor([len(each) for each in points])
        files, sizes = Files(tmp_path, list("012")), np.full((3, 2), 9)
        return fingerprint(CountedImages(files, points, sizes, labels, list("abc")))

    table = printed(points)
    ordered = np.array([(3.0, 1.0), (1.0, 2.0), (4.0, 2.0)])  # from top to bottom
    assert table["annotation"].to_pylist() == [digest(ordered.tobytes()), digest(b""), digest(points[2].tobytes())]
    assert table["digest"].to_pylist() == [digest(b"x")] * 3
    assert same(table, printed([points[0][[2, 0, 1]], *points[1:]]))[0].tolist() == [True] * 3
    moved = printed([points[0] + [(0, 1e-9)] * 3, *points[1:]])
    assert [each.tolist() for each in same(table, moved)] == [[False, True, True], [False] * 3]
    assert same(table, printed([points[0], points[2], points[1]]))[0].tolist() == [True, False, False]
    # Before points were known: any is a change, whatever the file says.
    older = table.set_column(3, "annotation", pa.nulls(3, pa.binary(16)))
    assert [each.tolist() for each in same(older, table)] == [[False] * 3] * 2
    # Where the date decides, a moved point is not put down to it.
    undecided = table.set_column(0, "digest", pa.nulls(3, pa.binary(16)))
    later = moved.set_column(2, "mtime_ns", pa.array([LONG_AGO + 1] * 3))
    assert [each.tolist() for each in same(undecided, later)] == [[False] * 3, [False, True, True]]


def test_what_is_refused(files: FileImages) -> None:
    with pytest.raises(ValueError, match="fingerprint must be auto, content or stat, got 'hash'; auto is usual"):
        fingerprint(files, "hash")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="known must have a row for each of the 5 samples, got 4"):
        fingerprint(files, known=fingerprint(files).slice(1))


@pytest.mark.parametrize("byte", range(8))
def test_every_byte_counts(byte: int, tmp_path: Path) -> None:
    content = bytes(range(8))
    other = bytes(value ^ (place == byte) for place, value in enumerate(content))
    before, after = (fingerprint(named(Blobs([text] * 5))) for text in (content, other))
    assert not same(before, after)[0].any()
    pixels = [torch.from_numpy(np.frombuffer(text, np.uint8).copy()).view(1, 1, 2, 4) for text in (content, other)]
    images: list[Images] = [MemoryImages(each, torch.tensor([0]), ("a",), ["k"]) for each in pixels]
    before, after = (fingerprint(each) for each in images)
    assert not same(before, after)[0].any()
