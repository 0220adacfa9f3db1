"""Does a training that is killed anywhere, and started again, end as if nothing had happened?

For systems with POSIX signals. The kill is SIGKILL, which no program can prepare for, sent to the whole process group.
What a machine that loses its power adds to that (files that were written but not flushed) it does not show.
"""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tamis.testing.digests import digests_of_run

Work = Callable[[Path], object]
_PLACE = "{out}"
_SHOWN = 5  # differences that a message names
# What a training imports, sooner or later: torch's optimisers take torch._dynamo in at their first step, pyarrow pandas
# at its first table, where it is installed. Seconds at every start, if the fork came before.
_IMPORTED = ["torch._dynamo", "pandas", "tamis.recipes.train", "tamis.tasks.classification"]
_PATIENCE = 10  # times as many runs as kills before a command counts as too short to be killed


@dataclass(frozen=True)
class Kills:
    """What was tried.

    Attributes:
        kills: how many kills hit a running command.
        runs: how many runs were hit at least once; each was compared.
        seconds: how long the work of the uninterrupted run took.
    """

    kills: int
    runs: int
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """How one start of a command ended.

    Attributes:
        code: exit code; negative: the signal that ended it.
        began: seconds from its start (of a function: from the start of its work) until the run folder held a file.
        seconds: from the same moment to its end.
    """

    code: int
    began: float
    seconds: float


def assert_same_after_kill(
    command: Sequence[str] | Work,
    kills: int = 20,
    *,
    most: int = 3,
    seed: int = 0,
    compare: Callable[[Path], Mapping[str, str]] = digests_of_run,
    folder: Path | None = None,
    timeout: float = 600,
) -> Kills:
    """Kill a command at random moments, let it go on to its end, and compare what it leaves with an uninterrupted run.

    The command must go on with its work when it is started again with the same folder, as `tamis train` does. It runs
    once undisturbed. After that, run after run in folders of their own, it is killed one to `most` times, started
    again after each kill, and let go to its end. The moments are drawn uniformly from the time between the first file
    of the undisturbed run and its end; a kill that comes after the end does not count.

    Args:
        command: words of a command line, run without a shell, with "{out}" where the run folder belongs; or a function
            that takes the run folder. A function runs in a fork of a process that has imported torch and the
            function's module, so that the imports are paid for once: it must be picklable (a function of a module, or
            a `functools.partial` of one), and a script that calls this needs `if __name__ == "__main__":`.
        kills: how many kills must hit.
        most: at most this many kills of one run.
        seed: decides how many kills a run gets, and their moments.
        compare: digests by name of what lies in a run folder; two runs must have equal ones. By default for tamis.
        folder: where the run folders go, by default a temporary folder. Runs that were equal are removed; after an
            AssertionError the two that differ stay there.
        timeout: seconds after which a start counts as hanging.

    Raises:
        AssertionError: the two folders differ, or the command failed after a kill; the message names what differs and
            the moments of the kills.
        ValueError: the command lacks "{out}", or ends before kills can hit it; kills or `most` below 1.
        RuntimeError: the command fails though nobody kills it.
        TimeoutError: the command hangs.
    """
    if kills < 1 or most < 1:
        raise ValueError(f"kills and most must be at least 1, got {kills!r} and {most!r}")
    place = Path(tempfile.mkdtemp(prefix="kills-", dir=folder))
    straight = place / "straight" / "run"
    whole = start(command, straight, timeout=timeout)
    if whole.code:
        raise RuntimeError(f"command must end well undisturbed, got exit code {whole.code}: {_last_words(straight)}")
    expected = compare(straight)
    draw = random.Random(seed)  # noqa: S311 - moments, no secrets
    hit = runs = 0
    for number in range(_PATIENCE * kills):
        if hit >= kills:
            break
        out = place / f"killed-{number}" / "run"
        wanted = (draw.uniform(whole.began, whole.seconds) for _ in range(draw.randint(1, min(most, kills - hit))))
        moments = _kill_then_finish(command, out, wanted, timeout)
        told = f"{_told(moments)} of {whole.seconds:.2f} s"
        _must_be_same(expected, compare(out), f"{told} (seed {seed}); compare {straight} and {out}")
        shutil.rmtree(out.parent)
        hit, runs = hit + len(moments), runs + bool(moments)
    if hit < kills:
        raise ValueError(f"command must run long enough to be killed, got {whole.seconds:.2f} s; give it more work")
    shutil.rmtree(place)
    return Kills(hit, runs, whole.seconds - whole.began)


def start(
    command: Sequence[str] | Work, out: Path, *, kill_after: float | None = None, timeout: float = 600
) -> Attempt:
    """Start a command once, kill its whole process group after some seconds if it still runs, and wait for its end.

    Args:
        command: as of `assert_same_after_kill`.
        out: the run folder, made by the command; what it prints is added to `output.txt` beside it.
        kill_after: seconds after the start (of a function: after the start of its work); None = never.
        timeout: seconds after which it counts as hanging, and is killed too.

    Raises:
        ValueError: the command lacks "{out}".
        TimeoutError: it hung.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    process = _Function(command, out) if callable(command) else _Words(command, out)
    started, began = time.perf_counter(), None
    end = timeout if kill_after is None else min(kill_after, timeout)
    try:
        while process.running():
            passed = time.perf_counter() - started
            if began is None and out.is_dir() and any(out.iterdir()):
                began = passed
            if passed >= end:
                break
            process.wait(min(0.01 if began is None else 0.5, end - passed))
        hung = kill_after is None and process.running()
    finally:
        code = process.kill()
    seconds = time.perf_counter() - started
    if hung:
        raise TimeoutError(f"command must end within {timeout:g} s, got none; it last said: {_last_words(out)}")
    return Attempt(code, seconds if began is None else began, seconds)


class _Words:
    """A command line in a process group of its own."""

    def __init__(self, words: Sequence[str], out: Path) -> None:
        if isinstance(words, str) or not any(_PLACE in word for word in words):
            raise ValueError(f'command must be a sequence of words with "{_PLACE}" in one of them, got {words!r}')
        placed = [word.replace(_PLACE, str(out)) for word in words]
        with _output(out).open("ab") as said:
            self._process = subprocess.Popen(  # noqa: S603 - the caller's own command, without a shell
                placed, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def kill(self) -> int:
        _kill_group(self._process.pid)
        code = self._process.wait()
        _wait_for_group(self._process.pid)
        return code


class _Function:
    """A function in a fork of a warm process, in a process group of its own."""

    def __init__(self, work: Work, out: Path) -> None:
        # Not a fork of this process: torch, Arrow and OpenMP may have threads here, which a fork does not survive.
        context = multiprocessing.get_context("forkserver")
        module = getattr(getattr(work, "func", work), "__module__", "torch")
        context.set_forkserver_preload([*_IMPORTED, module])
        ready, tell = context.Pipe(duplex=False)
        method = multiprocessing.get_start_method(allow_none=True)
        self._process = context.Process(target=_work, args=(work, out, tell, method))
        self._process.start()
        tell.close()
        with suppress(EOFError):  # it died before it began; its exit code tells
            ready.recv()
        ready.close()

    def running(self) -> bool:
        return self._process.is_alive()

    def wait(self, seconds: float) -> None:
        self._process.join(seconds)

    def kill(self) -> int:
        group = self._process.pid or 0
        _kill_group(group)
        self._process.join()
        _wait_for_group(group)
        return self._process.exitcode or 0


def _work(work: Work, out: Path, tell: Connection, start_method: str | None) -> None:
    os.setpgid(0, 0)
    multiprocessing.set_start_method(start_method, force=True)  # for its workers; here it would be forkserver
    said = os.open(_output(out), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(said, stream)
    tell.send(True)
    tell.close()
    work(out)
    sys.stdout.flush()


def _kill_group(group: int) -> bool:
    """Kill what is left of a process group; whether there was anything."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # gone, or (macOS) only dead ones left
        return False
    return True


def _wait_for_group(group: int) -> None:
    """Wait until workers that outlive their parent are dead as well, so that nobody writes or holds a lock any more."""
    end = time.perf_counter() + 1
    while _kill_group(group) and time.perf_counter() < end:
        time.sleep(0.005)


def _kill_then_finish(command: Sequence[str] | Work, out: Path, wanted: Iterable[float], timeout: float) -> list[float]:
    """Kill a run at these moments, as long as it runs; go on to its end; the moments that hit."""
    moments: list[float] = []
    for moment in (*wanted, None):
        attempt = start(command, out, kill_after=moment, timeout=timeout)
        if attempt.code == -signal.SIGKILL and moment is not None:
            moments.append(moment)
        elif attempt.code:
            raise AssertionError(
                f"command must end well when it is started again, got exit code {attempt.code} {_told(moments)}: "
                f"{_last_words(out)}"
            )
        else:
            break
    return moments


def _told(moments: Sequence[float]) -> str:
    if not moments:
        return "without any kill (it does not do the same twice)"
    return f"after kills at {', '.join(f'{moment:.2f} s' for moment in moments)}"


def _must_be_same(expected: Mapping[str, str], got: Mapping[str, str], told: str) -> None:
    differing = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
    if differing:
        words = [
            name if name in expected and name in got else f"{name} ({'new' if name in got else 'missing'})"
            for name in differing[:_SHOWN]
        ]
        more = ", ..." if len(differing) > _SHOWN else ""
        raise AssertionError(
            f"run must be the same as without kills, got {len(differing)} of {len(expected)} parts that differ, "
            f"{', '.join(words)}{more}, {told}"
        )


def _output(out: Path) -> Path:
    return out.with_name("output.txt")


def _last_words(out: Path) -> str:
    lines = _output(out).read_text("utf-8", "replace").split("\n") if _output(out).is_file() else []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "it said nothing"
