"""Pulling the plug on a cull: no frame is scored twice beyond the batch in flight, none is lost, nothing differs."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cullings import digests_of_cull, slow_cull, small_cull, video_cull, write_video
from tamis.testing import assert_same_after_kill
from tamis.testing.kills import start

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need POSIX signals"),
    pytest.mark.timeout(1800),  # --kills 100 takes its time
]
TESTS = Path(__file__).parent


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder in memory, where there is one: a kill of a process does not show whether a file was flushed."""
    memory = Path("/dev/shm")  # noqa: S108 - made by mkdtemp below
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def calls_of(folder: Path, who: str) -> Counter[int]:
    """How often a detector was shown each frame."""
    path = folder.with_name(f"{who}.calls")
    return Counter(int(line) for line in path.read_text().split()) if path.is_file() else Counter()


def digests_and_calls(folder: Path) -> Mapping[str, str]:
    """What lies in the folder, and which frames each detector was shown: none may be missing, none may be another."""
    shown = {who: str(sorted(calls_of(folder, who))) for who in ("student", "teacher")}
    return dict(digests_of_cull(folder)) | shown


@pytest.mark.fault(4, "kill -9 at random moments of a cull: no frame lost, none scored twice but the batch in flight")
@pytest.mark.parametrize(
    "options",
    [{}, {"min_confidence": "auto"}, pytest.param({"gate": False, "per_class": True}, marks=pytest.mark.slow)],
    ids=["gate", "level of confidence", "no gate, by class"],
)
def test_a_cull_killed_at_random_moments_ends_the_same(
    quick: Path, options: dict[str, Any], kills: int, seen: Callable[..., None]
) -> None:
    done = assert_same_after_kill(
        partial(slow_cull, **options), max(4, kills // 4), folder=quick, compare=digests_and_calls
    )
    seen(f"{options}: {done.runs} of {done.runs} culled sets byte-identical", count=done.kills)


@pytest.mark.slow
@pytest.mark.fault(4, "kill -9 at random moments of a cull of a video of 300 frames: the same")
def test_a_cull_of_a_video_killed_at_random_moments_ends_the_same(
    quick: Path, kills: int, seen: Callable[..., None]
) -> None:
    pytest.importorskip("av")
    write_video(quick / "cam.mkv", 300)
    work = partial(video_cull, video=quick / "cam.mkv", formats=["coco", "yolo", "voc", "kitti"])
    done = assert_same_after_kill(work, kills, folder=quick, compare=digests_and_calls)
    seen(f"{done.runs} of {done.runs} culled sets byte-identical", count=done.kills)


@pytest.mark.fault(4, "kill -9 within each batch of student and teacher: at most that batch is shown again")
@pytest.mark.parametrize(
    ("who", "options"),
    [
        pytest.param("student", {}, marks=pytest.mark.slow),
        ("teacher", {}),
        pytest.param("teacher", {"min_confidence": "auto"}, marks=pytest.mark.slow),
    ],
    ids=["student", "teacher", "teacher, level of confidence"],
)
def test_a_cull_killed_within_every_batch_repeats_only_that_batch(
    quick: Path, who: str, options: dict[str, Any], seen: Callable[..., None]
) -> None:
    straight, killed = quick / "straight" / "run", quick / "killed" / "run"
    assert start(partial(small_cull, **options), straight).code == 0
    calls = [len(batch) for batch in batches_of(straight, who)]
    dying = partial(small_cull, die=who, **options)  # at every call once, after it has noted the frames
    codes = [start(dying, killed).code for _ in range(len(calls) + 1)]
    assert codes == [-9] * len(calls) + [0], killed.with_name("output.txt").read_text()
    assert digests_of_cull(killed) == digests_of_cull(straight)
    assert calls_of(killed, who) == Counter({each: 2 * n for each, n in calls_of(straight, who).items()})
    other = "teacher" if who == "student" else "student"
    assert set(calls_of(killed, other)) == set(calls_of(straight, other))
    seen(f"{who}: killed in each of {len(calls)} batches, each shown once more", count=len(calls))


def batches_of(folder: Path, who: str) -> list[list[str]]:
    """The frames of each call of a detector."""
    return [line.split() for line in folder.with_name(f"{who}.calls").read_text().splitlines()]


@pytest.mark.fault(
    6, "SIGTERM or SIGINT during a cull: the batch is finished, exit code 143 or 130, the way to go on told"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_finishes_the_batch(tmp_path: Path, number: signal.Signals, seen: Callable[..., None]) -> None:
    straight, stopped = tmp_path / "straight" / "run", tmp_path / "stopped" / "run"
    small_cull(straight)
    code = "import sys; from pathlib import Path; from cullings import stoppable; stoppable(Path(sys.argv[1]))"
    words = [sys.executable, "-c", code, str(stopped)]
    process = subprocess.Popen(words, cwd=TESTS, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not calls_of(stopped, "student") and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, said
    assert "stopped and saved" in said
    before = calls_of(stopped, "student")
    small_cull(stopped)
    assert digests_of_cull(stopped) == digests_of_cull(straight)
    after = calls_of(stopped, "student")
    assert after == calls_of(straight, "student")
    assert sum(before.values()) < sum(after.values())
    seen(f"{number.name}: code {128 + number}, no frame shown again")
