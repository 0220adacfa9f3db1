"""The journal: what a crash leaves, who may go on, what a full disk does."""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.culling.journal import Journal
from tamis.lock import FolderInUse
from test_disk import largest_file

ABOUT = {"config": {"keep": 3, "out": "a"}, "sources": {"every": 1, "source 0 (cam.mp4)": {"size": 7}}}


def begun(folder: Path, lines: int = 5) -> bytes:
    """A folder with some lines; the bytes of its journal."""
    journal = Journal(folder, ABOUT)
    for number in range(lines):
        journal.append("scan", number=number, text="x" * number)
    journal.flush()
    journal.close()
    return (folder / "journal.jsonl").read_bytes()


def test_lines_come_back_in_their_order(tmp_path: Path) -> None:
    begun(tmp_path / "out")
    journal = Journal(tmp_path / "out", ABOUT)
    assert [line["number"] for line in journal.of("scan")] == [0, 1, 2, 3, 4]
    assert list(journal.of("judge")) == []
    assert journal.notes == []
    journal.close()


@pytest.mark.fault(5, "a torn last line of a cull's journal, cut at any byte: dropped with a warning, the others stay")
def test_a_torn_last_line_is_dropped_wherever_it_is_cut(tmp_path: Path, seen: Callable[..., None]) -> None:
    whole = begun(tmp_path / "out", 12)
    path = tmp_path / "out" / "journal.jsonl"
    ends = {place + 1 for place, byte in enumerate(whole) if byte == 10}
    for cut in range(len(whole) - 200, len(whole) + 1):
        path.write_bytes(whole[:cut])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            journal = Journal(tmp_path / "out", ABOUT)
        torn = cut not in ends
        assert len(told) == len(journal.notes) == torn
        assert len(journal.lines) == whole[:cut].count(b"\n")
        journal.append("scan", number=99)
        journal.flush()
        journal.close()
        kept = max(end for end in ends if end <= cut)
        assert path.read_bytes()[:kept] == whole[:kept]
        added = [json.loads(line) for line in path.read_bytes()[kept:].splitlines()]
        assert [line["kind"] for line in added] == ["note"] * torn + ["scan"]
        if torn:
            assert "dropped a torn last line of" in journal.notes[0]
    seen("201 cuts: every whole line kept, every torn one told and cut off", count=201)


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=60))
def test_any_rubbish_after_the_last_line_is_dropped(tmp_path_factory: Any, rubbish: bytes) -> None:
    folder = tmp_path_factory.mktemp("rubbish") / "out"
    begun(folder, 2)
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(rubbish.replace(b"\n", b" "))
    with pytest.warns(UserWarning, match="dropped a torn last line"):
        journal = Journal(folder, ABOUT)
    assert len(journal.lines) == 2
    journal.close()


def test_a_damaged_line_in_the_middle_is_refused(tmp_path: Path) -> None:
    whole = begun(tmp_path / "out")
    path = tmp_path / "out" / "journal.jsonl"
    path.write_bytes(b"}" + whole[1:])
    with pytest.raises(ValueError, match=r"journal must be as tamis wrote it, got a damaged line 1 in .*; take it"):
        Journal(tmp_path / "out", ABOUT)
    path.write_bytes(whole)
    Journal(tmp_path / "out", ABOUT).close()  # the lock was given back


def test_another_configuration_is_refused_and_named(tmp_path: Path) -> None:
    begun(tmp_path / "out")
    other = {"config": {"keep": 4, "out": "b"}, "sources": ABOUT["sources"]}
    with pytest.raises(FileExistsError, match=r"same configuration to go on, got keep: 3 -> 4; use another --out"):
        Journal(tmp_path / "out", other, free={"out"})
    same = {"config": {"keep": 3, "out": "b"}, "sources": ABOUT["sources"]}
    Journal(tmp_path / "out", same, free={"out"}).close()


def test_changed_sources_are_refused_and_named(tmp_path: Path) -> None:
    begun(tmp_path / "out")
    changed = ABOUT | {"sources": {"every": 1, "source 0 (cam.mp4)": {"size": 8}}}
    with pytest.raises(FileExistsError, match=r"same sources to go on, got source 0 \(cam.mp4\): .*7.* -> .*8"):
        Journal(tmp_path / "out", changed)


def test_a_cull_that_journaled_nothing_is_begun_anew(tmp_path: Path) -> None:
    begun(tmp_path / "out", 0)
    journal = Journal(tmp_path / "out", {"config": {"keep": 9}, "sources": {}})
    journal.close()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["config"] == {"keep": 9}


def test_other_folders_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_text("")
    with pytest.raises(FileExistsError, match=r"out must be new or empty, got .*mine.* with other files"):
        Journal(tmp_path / "mine", ABOUT)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match=r"out must be a folder, got the file"):
        Journal(tmp_path / "file", ABOUT)


def test_a_damaged_run_json_is_refused(tmp_path: Path) -> None:
    begun(tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text("{")
    with pytest.raises(FileExistsError, match=r"run.json must be as tamis wrote it, got JSONDecodeError"):
        Journal(tmp_path / "out", ABOUT)


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out", ABOUT)
    with pytest.raises(ValueError, match="JSON"):
        journal.append("scan", score=[float("nan")])
    journal.close()
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == b""


@pytest.mark.fault(7, "no room for a line of a cull's journal: an error with the bytes, what was journaled stays")
def test_a_full_disk_keeps_what_was_journaled(tmp_path: Path, seen: Callable[..., None]) -> None:
    before = begun(tmp_path / "out")
    journal = Journal(tmp_path / "out", ABOUT)
    words = r"room for a line of .* bytes, got .* bytes free in .*; free some"
    with largest_file(len(before) + 100), pytest.raises(OSError, match=words) as error:
        journal.append("scan", number=5, text="y" * 500)
    journal.close()
    assert error.value.errno == errno.EFBIG
    with pytest.warns(UserWarning, match="torn last line of"):
        again = Journal(tmp_path / "out", ABOUT)
    assert len(again.lines) == 5
    again.close()
    later = Journal(tmp_path / "out", ABOUT)
    assert len(later.notes) == 1  # told in every report from now on
    later.close()
    seen("refused with the bytes; all 5 lines there afterwards")


@pytest.mark.fault(8, "the folder of a cull vanishes, or is moved: an error, never a success")
@pytest.mark.parametrize("what", ["removed", "moved", "journal removed"])
def test_a_folder_that_vanishes(tmp_path: Path, what: str, seen: Callable[..., None]) -> None:
    folder = tmp_path / "out"
    journal = Journal(folder, ABOUT)
    journal.append("scan", number=0)
    journal.flush()
    if what == "removed":
        shutil.rmtree(folder)
    elif what == "moved":
        folder.rename(tmp_path / "elsewhere")
    else:
        (folder / "journal.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"out must stay where it is, got .*out.* moved or removed"):
        journal.append("scan", number=1)
    journal.close()
    seen(f"{what}: ended with an error that names the folder")


@pytest.mark.fault(9, "two culls into one folder: the second is refused, naming the first")
def test_a_folder_in_use_is_refused(tmp_path: Path, seen: Callable[..., None]) -> None:
    journal = Journal(tmp_path / "out", ABOUT)
    child = os.fork()
    if not child:  # a lock does not keep the own process out
        try:
            Journal(tmp_path / "out", ABOUT)
        except FolderInUse as error:
            os._exit(42 if f"process {os.getppid()} on" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    journal.close()
    seen("refused with pid and host of the first")
