"""One owner for a run folder, whatever happens to the owner."""

import json
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from tamis.lock import FolderInUse, FolderLock

HOLD = """
import sys, time
from pathlib import Path
from tamis.lock import FolderInUse, FolderLock
Path(sys.argv[2]).touch()
while not Path(sys.argv[3]).exists(): time.sleep(0.001)
try:
    lock = FolderLock(Path(sys.argv[1]))
except FolderInUse as error:
    print(error); sys.exit(3)
print("mine", flush=True)
sys.stdin.read()
lock.release()
"""


def hold(folder: Path, name: str, go: Path) -> subprocess.Popen:
    words = [sys.executable, "-c", HOLD, str(folder), str(folder / name), str(go)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.fault(9, "of two processes on one run folder exactly one wins; the other names it")
def test_of_two_processes_one_wins(tmp_path: Path, seen) -> None:
    """Both are let go at the same moment, many times."""
    rounds, refused = 25, 0
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        pair = [hold(folder, name, folder / "go") for name in ("a", "b")]
        while not all((folder / name).exists() for name in ("a", "b")):
            time.sleep(0.001)
        (folder / "go").touch()
        lines = [process.stdout.readline() for process in pair]  # type: ignore[union-attr]
        assert sorted(line == "mine\n" for line in lines) == [False, True]
        winner = pair[lines.index("mine\n")]
        loser = next(line for line in lines if line != "mine\n")
        refused += f"in use by process {winner.pid} on " in loser or "in use by another process" in loser
        for process in pair:
            process.communicate("")
        assert (folder / "lock").read_text() == ""
    assert refused == rounds
    seen(f"one winner in {rounds} of {rounds} races", count=rounds)


@pytest.mark.fault(9, "the lock of a dead process is taken over, loudly")
def test_a_dead_owner_is_taken_over(tmp_path: Path, seen) -> None:
    (tmp_path / "go").touch()
    process = hold(tmp_path, "a", tmp_path / "go")
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(
        FolderInUse, match=rf"run folder must be free, got .* in use by process {process.pid} on .*--out"
    ):
        FolderLock(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.warns(UserWarning, match=f"took .* over from process {process.pid} on .* ended without closing it"):
        lock = FolderLock(tmp_path)
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    lock.release()
    seen("taken over with the dead process named")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_that_outlives_its_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    """As a loader's worker does for some seconds after a kill -9."""
    receive, send = mp.Pipe(duplex=False)
    owner = os.fork()
    if owner == 0:
        FolderLock(tmp_path)
        worker = os.fork()
        if worker == 0:
            time.sleep(30)
            os._exit(0)
        send.send(worker)
        time.sleep(30)
        os._exit(0)
    worker = receive.recv()
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    try:
        with pytest.warns(UserWarning, match=f"over from process {owner}"):
            FolderLock(tmp_path).release()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_released_in_order_nothing_is_said(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            lock = FolderLock(tmp_path)
            lock.release()
            lock.release()


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"pid": 1}'])
def test_whatever_is_in_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.warns(UserWarning, match="over from another process"):
        FolderLock(tmp_path).release()
