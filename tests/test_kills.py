"""Pulling the plug: a run that was killed and started again ends, bit for bit, like one that was not."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tamis.checkpoint import DamagedCheckpoint, load_checkpoint
from tamis.data.synthetic import write_crowd
from tamis.run import checkpoint_of
from tamis.testing import assert_same_after_kill, digests_of_run
from tamis.testing.kills import start
from trainings import (
    STEPS,
    die_at,
    four_pieces,
    number_of,
    opened,
    pace_into,
    recipe_into,
    save_forever,
    save_number,
    save_one_more,
    train_into,
    write_images,
)

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need POSIX signals"),
    pytest.mark.timeout(1800),  # --kills 100 takes its time
]
KILLED = -9
FILES = ["manifest.json", "model.safetensors", "state.json", "state.safetensors"]


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder in memory, where there is one: a kill of a process does not show whether a file was flushed."""
    memory = Path("/dev/shm")  # noqa: S108 - made by mkdtemp below
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Mapping[str, str]]:
    """Digests of the uninterrupted training with some options; each is run once."""
    known: dict[str, Mapping[str, str]] = {}

    def digests(**options: Any) -> Mapping[str, str]:
        if repr(options) not in known:
            out = tmp_path_factory.mktemp("straight") / "run"
            assert start(partial(train_into, **options), out).code == 0
            known[repr(options)] = digests_of_run(out)
        return known[repr(options)]

    return digests


def die_and_end(out: Path, deaths: list[dict[str, int]], **options: Any) -> Mapping[str, str]:
    """The digests of a training that dies as told, and then goes on to its end."""
    training = partial(train_into, deaths=deaths, **options)
    codes = [start(training, out).code for _ in range(len(deaths) + 1)]
    assert codes == [KILLED] * len(deaths) + [0], out.with_name("output.txt").read_text()
    return digests_of_run(out)


# ----- at any moment --------------------------------------------------------------------------------------------


@pytest.mark.fault(1, "kill -9 at random moments of a training: weights, optimisers, sigma, ledger, history the same")
@pytest.mark.fault(3, "several kills in one run: as one")
@pytest.mark.parametrize(("method", "kind"), [("sigma-drop", "joint"), ("infobatch", "instance")])
def test_a_training_killed_at_random_moments_ends_the_same(
    quick: Path, method: str, kind: str, kills: int, seen: Callable[..., None]
) -> None:
    training = partial(train_into, method=method, kind=kind)
    done = assert_same_after_kill(training, kills // 2, folder=quick)
    seen(f"{method} with {kind} data parameters: {done.runs} of {done.runs} runs bitwise equal", count=done.kills)


@pytest.mark.slow
@pytest.mark.fault(1, "kill -9 at random moments, other methods: the same")
@pytest.mark.parametrize(
    ("method", "kind"), [("uniform", "none"), ("random", "class"), ("self-paced", "joint"), ("loss-drop", "none")]
)
def test_other_trainings_killed_at_random_moments_end_the_same(
    quick: Path, method: str, kind: str, kills: int, seen: Callable[..., None]
) -> None:
    done = assert_same_after_kill(partial(train_into, method=method, kind=kind), kills // 2, folder=quick)
    seen(f"{method}: {done.runs} of {done.runs} runs bitwise equal", count=done.kills)


@pytest.mark.slow
@pytest.mark.fault(
    11, "kill -9 of a training and its workers at random moments, workers changed at each start: the same"
)
def test_a_training_with_workers_killed_at_random_moments_ends_the_same(
    quick: Path, kills: int, seen: Callable[..., None]
) -> None:
    training = partial(train_into, workers=(2, 0, 1, 2))
    done = assert_same_after_kill(training, kills, folder=quick)
    seen(f"{done.runs} of {done.runs} runs bitwise equal", count=done.kills)


@pytest.mark.fault(1, "kill -9 at random moments of CLIP, also while it scores anew: plan, scores, weights the same")
@pytest.mark.parametrize(
    "options",
    [
        {"refresh": 1},
        {"unit": "batch"},
        {"counting": True, "refresh": 2},
    ],
    ids=["scored anew", "paced by batch", "counting, images of several sizes"],
)
def test_a_curriculum_killed_at_random_moments_ends_the_same(
    quick: Path, options: dict[str, Any], kills: int, seen: Callable[..., None]
) -> None:
    done = assert_same_after_kill(partial(pace_into, **options), max(2, kills // 4), folder=quick)
    seen(f"{options}: {done.runs} of {done.runs} runs bitwise equal", count=done.kills)


CURRICULUM: dict[str, Any] = {
    "task": "counting", "model": "mcnn-light", "method": "clip", "epochs": 3, "scorer_epochs": 2, "batch_size": 4,
    "report": False, "workers": 0, "checkpoint_seconds": 0.0,
}  # fmt: skip


def with_scorer(out: Path) -> dict[str, str]:
    """Digests of a run, and of the scorer that it has trained."""
    scorer = digests_of_run(out / "scorer").items()
    return digests_of_run(out) | {f"scorer: {name}": digest for name, digest in scorer}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crowd") / "crowd"
    write_crowd(folder, 10, 3, size=64)
    return folder


@pytest.mark.slow
@pytest.mark.fault(
    1, "kill -9 while CLIP trains its scorer, and in the middle of scoring: scores and training the same"
)
def test_a_curriculum_killed_while_it_scores_ends_the_same(quick: Path, crowd: Path, seen: Callable[..., None]) -> None:
    straight, killed = quick / "straight" / "run", quick / "killed" / "run"
    training = partial(recipe_into, data=crowd, **CURRICULUM)
    assert start(training, straight).code == 0
    scoring = partial(training, scoring=(1, 7, 10))
    codes = [start(scoring, killed).code for _ in range(4)]
    assert codes == [KILLED] * 3 + [0], killed.with_name("output.txt").read_text()
    assert with_scorer(killed) == with_scorer(straight)
    seen("killed after 1, 7 and 10 of 10 images: bitwise equal, the scorer too", count=3)


@pytest.mark.slow
@pytest.mark.fault(1, "kill -9 at random moments of a curriculum and of its scorer's training: the same")
def test_a_curriculum_and_its_scorer_killed_at_random_moments_end_the_same(
    quick: Path, crowd: Path, kills: int, seen: Callable[..., None]
) -> None:
    training = partial(recipe_into, data=crowd, **CURRICULUM)
    done = assert_same_after_kill(training, max(4, kills // 4), folder=quick, compare=with_scorer)
    seen(f"{done.runs} of {done.runs} runs bitwise equal, the scorer too", count=done.kills)


# ----- at certain places ----------------------------------------------------------------------------------------

PLACES: dict[str, list[dict[str, int]]] = {
    "before the first step": [{"losses": 0}],
    "after the first step": [{"losses": 1}],
    "in the middle of an epoch": [{"losses": 2 * STEPS + 4}],
    "after the last step of an epoch": [{"evaluations": 1}],
    "between two epochs": [{"epochs": 2}],
    "right after going on": [{"epochs": 2}, {"losses": 0}, {"losses": 0}],
    "three times in one epoch": [{"losses": STEPS + 3}, {"losses": 2}, {"losses": 1}],
    "after the last epoch": [{"epochs": 6}],
}


@pytest.mark.fault(3, "kill -9 at the first step, between epochs, right after going on, three times an epoch: the same")
@pytest.mark.parametrize("place", PLACES)
def test_a_training_killed_at_a_certain_place_ends_the_same(
    quick: Path, place: str, straight: Callable[..., Mapping[str, str]], seen: Callable[..., None]
) -> None:
    assert die_and_end(quick / "run", PLACES[place]) == straight()
    seen("bitwise equal at every place", count=len(PLACES[place]))


@pytest.mark.fault(11, "workers changed from 0 to 2 to 1 over two kills: order, augmentation and weights the same")
def test_the_number_of_workers_may_change(
    quick: Path, straight: Callable[..., Mapping[str, str]], seen: Callable[..., None]
) -> None:
    deaths = [{"losses": STEPS + 4}, {"losses": STEPS}]
    assert die_and_end(quick / "run", deaths, workers=(0, 2, 1)) == straight()
    seen("bitwise equal to 0 workers without a kill", count=2)


@pytest.mark.fault(12, "kill -9 within an accumulated batch (piece 2 of 4): it is done again as a whole")
def test_a_kill_between_the_pieces_of_a_batch(
    quick: Path, straight: Callable[..., Mapping[str, str]], seen: Callable[..., None]
) -> None:
    deaths = [{"losses": 4 * (STEPS + 5) + 2}, {"losses": 2}, {"losses": 4 * 3 + 1}]
    assert die_and_end(quick / "run", deaths, settings=four_pieces) == straight(settings=four_pieces)
    seen("bitwise equal", count=3)


@pytest.mark.slow
@pytest.mark.fault(2, "kill -9 before each single change of a file (write, rename, removal) of a training: the same")
def test_a_training_killed_at_each_change_of_a_file_ends_the_same(
    quick: Path, straight: Callable[..., Mapping[str, str]], seen: Callable[..., None]
) -> None:
    training = partial(train_into, epochs=2)
    expected = straight(epochs=2)
    operation = 0
    while True:
        out = quick / str(operation) / "run"
        if start(partial(die_at, operation, training), out).code == 0:
            break
        assert start(training, out).code == 0, out.with_name("output.txt").read_text()
        assert digests_of_run(out) == expected, operation
        shutil.rmtree(out.parent)
        operation += 1
    assert operation > 40
    seen(f"bitwise equal after {operation} of {operation}", count=operation)


# ----- while a checkpoint is written ----------------------------------------------------------------------------


def newest(out: Path) -> int:
    """The number that a run goes on from, to which the pointer leads then; damage would be warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "took .* over from")
        run = opened(out)
        found = run.load()
        if found is not None:
            run.load_best(found[1], {})
            assert number_of(load_checkpoint(checkpoint_of(out, "last"))) == number_of(found)
        run.close()
    return number_of(found)


@pytest.mark.fault(2, "kill -9 before each single change of a file that a checkpoint makes: the newest whole one opens")
def test_a_checkpoint_killed_at_each_change_of_a_file(quick: Path, seen: Callable[..., None]) -> None:
    """Of six checkpoints in a row, so that the first one, old ones that go and best ones are among them."""
    operations = 0
    for before in range(6):
        base = quick / f"base-{before}" / "run"
        run = opened(base)
        for number in range(1, before + 1):
            save_number(run, number, size=10)
        run.close()
        reached, operation = before, 0
        while True:
            out = quick / "now" / "run"
            shutil.copytree(base, out)
            code = start(partial(die_at, operation, save_one_more), out).code
            assert newest(out) in ((before, before + 1) if reached == before else (before + 1,))
            reached = newest(out)
            save_one_more(out)
            assert newest(out) == reached + 1
            assert not list(out.rglob(".tmp-*"))
            shutil.rmtree(out.parent)
            if code == 0:
                break
            assert code == KILLED
            operation += 1
        assert reached == before + 1
        operations += operation
    seen(f"{operations} of {operations} opened, none damaged, nothing left over", count=operations)


@pytest.mark.fault(2, "kill -9 while checkpoints are written, also with TMPDIR on another device: none is lost")
@pytest.mark.parametrize("elsewhere", [False, True])
def test_checkpoints_killed_at_random_moments(
    quick: Path, tmp_path: Path, elsewhere: bool, kills: int, seen: Callable[..., None]
) -> None:
    if elsewhere and quick.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system, /dev/shm")
    out, temporary = quick / "run", str(tmp_path if elsewhere else quick)
    within = 0
    for kill in range(kills):
        start(partial(save_forever, temporary=temporary), out, kill_after=0.05 + 0.0037 * kill % 0.05)
        within += bool(list(out.rglob(".tmp-*")))
        saved = out.with_name("saved").read_text().split() if out.with_name("saved").exists() else ["0"]
        assert int(saved[-1]) <= newest(out) <= int(saved[-1]) + 1
        with out.with_name("saved").open("a") as file:
            file.write(f"{newest(out)}\n")
    assert newest(out) >= kills // 2
    assert within
    assert not list(tmp_path.iterdir())
    seen(f"{kills} of {kills} opened, {within} of them killed within a write, 0 lost", count=kills)


# ----- damaged files --------------------------------------------------------------------------------------------


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)


@pytest.mark.fault(32, "a bit flipped in a file of the newest checkpoint: named, and the one before it is taken")
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_falls_back_loudly(quick: Path, name: str, seen: Callable[..., None]) -> None:
    places = [place / 20 for place in range(21)]
    for place in places:
        out = quick / str(place)
        run = opened(out)
        for number in (1, 2, 3):
            save_number(run, number, size=10)
        run.close()
        flip(checkpoint_of(out, "last") / name, place)
        with pytest.raises(DamagedCheckpoint, match=name):
            _closing(opened(out, strict=True)).load()
        with pytest.warns(UserWarning, match=rf"{name} must .*going back to the one before it"):
            assert number_of(_closing(opened(out)).load()) == 2
    seen(f"named and fallen back from, in each of {len(FILES)} files; refused when strict", count=len(places))


def _closing(run: Any) -> Any:
    run.close()
    return run


@pytest.mark.fault(32, "a training goes on from the checkpoint before the damaged one: the same")
@pytest.mark.parametrize("name", FILES)
def test_a_training_with_a_damaged_checkpoint_ends_the_same(
    quick: Path, name: str, straight: Callable[..., Mapping[str, str]], seen: Callable[..., None]
) -> None:
    out = quick / "run"
    training = partial(train_into, deaths=[{"epochs": 4}])
    assert start(training, out).code == KILLED
    flip(checkpoint_of(out, "last") / name, 0.7)
    assert start(training, out).code == 0
    assert "going back to the one before it" in out.with_name("output.txt").read_text()
    assert digests_of_run(out) == straight()
    seen("bitwise equal, and said so")


@pytest.mark.filterwarnings("ignore:took .* over from")
@pytest.mark.fault(5, "metrics.jsonl torn at any of its last 200 bytes: goes on, and all rows are there at the end")
def test_torn_metrics_are_whole_again_at_the_end(
    quick: Path, straight: Callable[..., Mapping[str, str]], seen: Callable[..., None]
) -> None:
    """Once as a training; at every byte as its run, which puts back the rows that its checkpoint holds."""
    out = quick / "run"
    training = partial(train_into, deaths=[{"epochs": 4}])
    assert start(training, out).code == KILLED
    metrics = out / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-120])
    run = opened(out, config={"method": "sigma-drop"})
    found = run.load()
    assert found is not None
    whole = metrics.read_bytes()
    rows = found[1]["rows"]
    run.close()
    for length in range(max(0, len(whole) - 200), len(whole) + 1):
        metrics.write_bytes(whole[:length])
        read = run.metrics()
        assert read == rows[: len(read)]
        for row in rows[len(read) :]:
            run.log(row)
        assert run.metrics() == rows
    metrics.write_bytes(whole)
    assert start(training, out).code == 0
    assert digests_of_run(out) == straight()
    seen("rows as without, after each of 201 cuts and at the end of the training", count=201)


# ----- the command line -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command line that trains for some seconds."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    tamis = str(Path(sys.executable).with_name("tamis"))
    words = f"train --data {folder} --epochs 60 --batch-size 8 --method sigma-drop --data-parameters joint --crop 1"
    return [tamis, *words.split(), "--threads", "1", "--no-report", "--out", "{out}"]


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert start(command, out).code == 0
    return digests_of_run(out)


@pytest.mark.slow
@pytest.mark.fault(1, "kill -9 of the command line at random moments, and the same command again: the same")
def test_a_command_line_killed_at_random_moments_ends_the_same(
    quick: Path, command: list[str], kills: int, seen: Callable[..., None]
) -> None:
    done = assert_same_after_kill(command, max(4, kills // 5), folder=quick)
    seen(f"{done.runs} of {done.runs} runs bitwise equal", count=done.kills)


@pytest.mark.slow
@pytest.mark.fault(6, "SIGTERM, SIGINT: the step is finished and saved, exit code 143, 130, a line with how to go on")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_saves_and_tells_how_to_go_on(
    quick: Path,
    command: list[str],
    undisturbed: Mapping[str, str],
    number: signal.Signals,
    seen: Callable[..., None],
) -> None:
    out = quick / "run"
    words = [word.replace("{out}", str(out)) for word in command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "epoch  10/60" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    line = told.strip().splitlines()[-1]
    assert line.startswith("tamis: stopped and saved; to go on: tamis train --data ")
    assert 10 <= load_checkpoint(checkpoint_of(out, "last"))[1]["epoch"] < 60
    again = shlex.split(line.split("to go on: ")[1])
    assert subprocess.run([command[0], *again[1:]], capture_output=True, check=False).returncode == 0
    assert digests_of_run(out) == undisturbed
    seen(f"exit code {128 + number}; the line, typed, ends bitwise equal")


SLEEPS = """
import time
from torch import nn

class Net(nn.Sequential):
    calls = 0

    def forward(self, inputs):
        self.calls += 1
        if self.calls == 3:
            print("asleep", flush=True)
            time.sleep(120)
        return super().forward(inputs)

def net(num_classes):
    return Net(nn.Flatten(), nn.Linear(192, num_classes))
"""


@pytest.mark.slow
@pytest.mark.fault(6, "a second SIGTERM or SIGINT ends at once, in the middle of a step")
def test_a_second_signal_ends_at_once(tmp_path: Path, command: list[str], seen: Callable[..., None]) -> None:
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    words = [word.replace("{out}", "run") for word in [*command, "--model", "sleeps:net"]]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "asleep" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)  # it wants to finish its step
        process.send_signal(signal.SIGINT)
        started = time.perf_counter()
        process.communicate(timeout=60)
    assert (
        process.returncode == -signal.SIGINT
    )  # by the system, which a call that never returns to Python cannot hold up
    seen(f"ended {time.perf_counter() - started:.1f} s after the second, in a step of 120 s")


SIGNALS_WHILE_SCORING = """
import inspect
import os
import signal
from pathlib import Path
from tamis.models.crowd import MCNNLight

class Net(MCNNLight):
    def forward(self, inputs):
        scoring = any(frame.function == "sample_scores" for frame in inspect.stack())
        if scoring and not Path("asked").exists():
            Path("asked").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(inputs)
"""


@pytest.mark.slow
@pytest.mark.fault(6, "SIGTERM while a curriculum is scored, before it or anew: exit code 143, and it goes on the same")
@pytest.mark.parametrize("when", ["first", "refresh"])
def test_a_signal_while_scoring(tmp_path: Path, crowd: Path, when: str, seen: Callable[..., None]) -> None:
    (tmp_path / "net.py").write_text(SIGNALS_WHILE_SCORING)
    tamis = [str(Path(sys.executable).with_name("tamis")), "train", "--task", "counting", "--data", str(crowd)]
    more = "--model net:Net --method clip --epochs 4 --batch-size 4 --workers 0 --no-report --threads 1 --refresh 2"
    words = [*tamis, *more.split()]

    def run(out: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, "--out", out], cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / "asked").touch()
    assert run("straight").returncode == 0
    if when == "refresh":
        words += ["--scorer", "straight/scorer"]
        assert run("given").returncode == 0
    (tmp_path / "asked").unlink()
    stopped = run("run")
    assert stopped.returncode == 143, stopped.stderr
    assert stopped.stderr.strip().splitlines()[-1].startswith("tamis: stopped")
    assert run("run").returncode == 0
    whole = tmp_path / ("straight" if when == "first" else "given")
    assert digests_of_run(tmp_path / "run") == digests_of_run(whole)
    seen("exit code 143; the same command again ends bitwise equal")
