"""`tamis train --processes`: one command, several processes, and what becomes of them when one is told to end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tamis.checkpoint import load_checkpoint
from tamis.run import checkpoint_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    rng = np.random.default_rng(0)
    for label in range(3):
        folder = tmp_path / "images" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(40):
            pixels = rng.integers(0, 100, (8, 8, 3), dtype=np.uint8)
            pixels[2 * label : 2 * label + 2] += 150
            Image.fromarray(pixels).save(folder / f"{number}.png")
    started = []

    def begin(*words: str) -> subprocess.Popen[str]:
        command = [
            str(Path(sys.executable).with_name("tamis")),
            "train",
            "images",
            "--threads",
            "1",
            "--no-report",
            *words,
        ]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()


def until_epoch(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch"):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""


def follower(process: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(int(pid) for pid in children if b"tamis\0train" in Path(f"/proc/{pid}/cmdline").read_bytes())


def gone(pid: int) -> bool:
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.fault(
    10, "the command line with two processes: told to end, both end; the same command ends as one process would"
)
def test_one_command_two_processes(start: Start, tmp_path: Path, seen: Any) -> None:
    words = ["--epochs", "30", "--data-parameters", "instance", "--method", "infobatch"]
    process = start(*words, "--processes", "2", "--out", "two")
    until_epoch(process)
    other = follower(process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.strip().startswith("tamis: stopped and saved; to go on: tamis train images")
    assert gone(other)
    for again in (start(*words, "--processes", "2", "--out", "two"), start(*words, "--out", "one")):
        _, err = again.communicate(timeout=120)
        assert again.returncode == 0, err
    (two, _), (one, _) = (load_checkpoint(checkpoint_of(tmp_path / name, "last")) for name in ("two", "one"))
    assert two.keys() == one.keys()
    for epoch in range(30):
        part = f"ledger/epoch-{epoch:05d}-000.parquet"
        mine, theirs = (pq.read_table(tmp_path / name / part)["index"] for name in ("two", "one"))
        # Batch normalisation sees other batches, so that scores, and later what InfoBatch hides, differ.
        assert epoch or mine.equals(theirs)
    seen("143 and both ended; gone on with 2 processes; ended with code 0")


@pytest.mark.fault(
    33, "where one of several processes is killed, the others end with one line, and the same command goes on"
)
def test_a_process_that_dies_ends_the_others(start: Start, seen: Any) -> None:
    words = ["--epochs", "100000", "--processes", "2", "--out", "killed", "--checkpoint-seconds", "0.2"]
    process = start(*words)
    until_epoch(process)
    os.kill(follower(process), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith(
        "tamis: all 2 processes must stay alive, got process 1 ended with code -9; run the"
    )
    second = start(*words)
    until_epoch(second)
    other = follower(second)
    second.kill()
    assert gone(other)
    third = start(*words)
    until_epoch(third)
    third.send_signal(signal.SIGINT)
    _, err = third.communicate(timeout=60)
    assert third.returncode == 130
    seen(
        "a follower killed: code 2 and one line; the first one killed: the follower is gone; gone on both times",
        count=2,
    )


def test_torchrun(start: Start, tmp_path: Path) -> None:
    start()  # only for the images
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tamis"]
    words += ["train", "images", "--epochs", "2", "--threads", "1", "--out", "torchrun"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "report: torchrun/report.html" in done.stdout
    assert done.stdout.count("report: ") == 1
