"""tamis.testing: its checks pass what is right, and name what is wrong."""

import copy
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import tamis
from tamis.rules import InfoBatch, Uniform
from tamis.testing import assert_resumable, assert_same_after_kill, digest_of, digests_of_run
from tamis.testing.kills import start
from trainings import opened, save_number

# ----- digests --------------------------------------------------------------------------------------------------


@dataclass
class Pair:
    one: Any
    other: Any


NAN = float("nan")
VALUES = [
    torch.zeros(2),
    torch.zeros(2, 1),
    -torch.zeros(2),
    torch.zeros(2, dtype=torch.float64),
    torch.zeros(2, dtype=torch.bfloat16),
    torch.tensor([0.0, NAN]),
    torch.zeros(0),
    torch.tensor(0),
    np.zeros(2, np.float32),
    np.float32(0),
    *(0, 0.0, False, None, "0", b"0", NAN, 1j),
    *([], [[]], [0, 0], [[0], 0], {"a": 0}, {"a": [0]}, {0: "a"}, Pair(0, 1), Pair(1, 0)),
    *(["ab", "c"], ["a", "bc"]),
]


def test_digests_differ_where_values_do() -> None:
    assert len({digest_of(value) for value in VALUES}) == len(VALUES)
    assert [digest_of(copy.deepcopy(value)) for value in VALUES] == [digest_of(value) for value in VALUES]
    assert digest_of((0, 0)) == digest_of([0, 0])


@pytest.mark.parametrize("value", [object(), np.array([None]), {1, 2}])
def test_what_cannot_be_compared_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"value must be made of tensors, .* got \w+; turn it into these first"):
        digest_of(value)


def run_of_numbers(folder: Path, count: int = 4) -> Path:
    run = opened(folder)
    for number in range(1, count + 1):
        save_number(run, number, size=5)
        run.log({"epoch": number, "loss": 1 / number, "seconds": random.random(), "sigma": {"max": 2.0, "seconds": 1}})  # noqa: S311
    table = pa.table({"index": range(6), "loss": [0.5] * 6, "reason": pa.array(list("aabbcc")).dictionary_encode()})
    pq.write_table(table[:4], folder / "ledger" / "epoch-00000-000.parquet")
    pq.write_table(table[4:], folder / "ledger" / "epoch-00000-001.parquet")
    (folder / "suspects.csv").write_text("a\n")
    run.close()
    return folder


def test_two_runs_of_one_kind_have_equal_digests_though_cut_otherwise(tmp_path: Path) -> None:
    one, other = run_of_numbers(tmp_path / "one"), run_of_numbers(tmp_path / "other")
    parts = sorted((other / "ledger").glob("epoch-*.parquet"))
    pq.write_table(pa.concat_tables(map(pq.read_table, parts)).unify_dictionaries(), parts[0])
    parts[1].unlink()
    assert digests_of_run(one) == digests_of_run(other)
    assert not any("seconds" in name for name in digests_of_run(one))


def rewritten(folder: Path, column: str, values: list[Any]) -> None:
    path = folder / "ledger" / "epoch-00000-000.parquet"
    table = pq.read_table(path)
    table = table.set_column(
        table.column_names.index(column), column, pa.array(values).cast(table.schema.field(column).type)
    )
    pq.write_table(table, path)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a loss": (partial(rewritten, column="loss", values=[0.5, 0.5, 0.5, 0.25]), "ledger epoch-00000: loss"),
    "a reason": (partial(rewritten, column="reason", values=list("aabc")), "ledger epoch-00000: reason"),
    "an order": (partial(rewritten, column="index", values=[0, 1, 3, 2]), "ledger epoch-00000: index"),
    "a row": (lambda folder: (folder / "ledger" / "epoch-00000-001.parquet").unlink(), "ledger epoch-00000: rows"),
    "a suspect": (lambda folder: (folder / "suspects.csv").write_text("b\n"), "suspects.csv"),
    "an epoch": (lambda folder: opened(folder).log({"epoch": 4, "loss": 0.3}), "metrics of epoch 4: loss"),
    "a result": (lambda folder: opened(folder).finish({"last": {"accuracy": 1}}), "result: last/accuracy"),
    "a checkpoint": (lambda folder: save_number(opened(folder), 5, size=5), "last checkpoint: momentum"),
    "the best": (lambda folder: save_number(opened(folder), 6, size=5), "best checkpoint: weight"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_run_is_named(tmp_path: Path, change: str) -> None:
    one, other = run_of_numbers(tmp_path / "one"), run_of_numbers(tmp_path / "other")
    make, name = CHANGES[change]
    make(other)
    before, after = digests_of_run(one), digests_of_run(other)
    assert name in {each for each in before.keys() | after.keys() if before.get(each) != after.get(each)}


# ----- loaders --------------------------------------------------------------------------------------------------


class Loader:
    """A right one: shuffled by epoch and seed, its state is epoch and place; the faults below break one thing each."""

    def __init__(self, fault: str = "", size: int = 23, batch: int = 4) -> None:
        self.fault, self.size, self.batch = fault, size, batch
        self.epoch = self.place = 0
        self.random = random.Random(0)  # noqa: S311

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(self.size))
        shuffle = self.random if self.fault == "forgets the random state" else random.Random(self.epoch)  # noqa: S311
        shuffle.shuffle(order)
        batches = [order[place : place + self.batch] for place in range(0, self.size, self.batch)]
        first = self.place
        for batch in batches[first:]:
            self.place += 1
            if self.fault == "counts from where it went on" and first:
                self.place -= first
                first = 0
            yield batch
        self.epoch, self.place = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        if self.fault == "forgets the random state":
            return {"epoch": self.epoch, "place": self.place}
        if self.fault == "changes when asked" and self.place == 3:
            self.epoch += 1
        ahead = 2 if self.fault == "is ahead" and self.place else 0
        return {"epoch": self.epoch, "place": self.place + ahead}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.place = state["epoch"], state["place"]
        if self.fault == "forgets the epoch":
            self.epoch = 0
        if self.fault == "starts anew":
            self.place = 0


@pytest.mark.fault(1, "a loader stopped after any batch: the rest of the epoch and the next epoch are the same")
def test_right_loaders_pass(seen: Callable[..., None]) -> None:
    images = TensorDataset(torch.arange(30))

    def sampler(rule: Any) -> tamis.PlannedSampler:
        ledger = tamis.Ledger(30)
        ledger.record(torch.arange(30), torch.linspace(0, 1, 30))
        return tamis.PlannedSampler(ledger, rule, epochs=3)

    def batches(**options: Any) -> DataLoader:
        return DataLoader(images, batch_sampler=tamis.PlannedBatchSampler(sampler(InfoBatch()), 4), **options)

    makers: list[Callable[[], Any]] = [
        Loader,
        partial(Loader, batch=50),
        partial(Loader, batch=12),
        lambda: sampler(Uniform()),
        lambda: tamis.PlannedBatchSampler(sampler(InfoBatch()), 4),
        lambda: DataLoader(images, sampler=sampler(Uniform()), batch_size=7),
        batches,
    ]
    stops = [assert_resumable(make) for make in makers]
    assert stops[0] == assert_resumable(Loader, positions=100)
    assert stops[0] > stops[2] > stops[1] > 0
    seen(f"{len(makers)} loaders, the next batches as without a stop each time", count=sum(stops))


FAULTS = {
    "is ahead": r"go on with batch 1, got batch 3 after 1 of 6 batches of epoch 0; its state must hold",
    "starts anew": r"go on with batch 1, got batch 0 after 1 of 6 batches of epoch 0;",
    "forgets the epoch": r"got a batch that the uninterrupted epoch does not have",
    "forgets the random state": r"in the next epoch|does not have",
    "counts from where it went on": r"gone on with for 1 batch and stopped again",
    "changes when asked": r"in a loader that was asked for its state|in the next epoch|does not have",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_loader_is_told_what_is_wrong(fault: str) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        assert_resumable(partial(Loader, fault))


def test_a_loader_that_fetches_ahead_is_found() -> None:
    """A sampler's own state counts what was asked of it: with workers, that is more than what came out."""

    def make() -> DataLoader:
        sampler = tamis.PlannedSampler(tamis.Ledger(30), Uniform(), epochs=3)
        return DataLoader(TensorDataset(torch.arange(30)), sampler=sampler, batch_size=3, num_workers=1)

    with pytest.raises(AssertionError, match=r"go on with batch 1, got batch \d after 1 of 10 batches of epoch 0"):
        assert_resumable(make, positions=1)


def test_what_is_no_resumable_loader_is_refused() -> None:
    with pytest.raises(TypeError, match=r"loader must have state_dict and load_state_dict, .*, got list; use"):
        assert_resumable(lambda: [1, 2])
    with pytest.raises(ValueError, match="loader must yield batches, got an empty first epoch"):
        assert_resumable(lambda: Loader(size=0))
    assert assert_resumable(lambda: Loader(), part=lambda batch: batch[:1])


# ----- kills ----------------------------------------------------------------------------------------------------

COUNT = """
import pathlib, sys, time
out = pathlib.Path(sys.argv[1]); out.mkdir(exist_ok=True)
done = out / "done"
for number in range(int(done.read_text()) if done.exists() else 0, 12):
    time.sleep(0.05)
    new = out / "new"; new.write_text(str(number + 1)); new.replace(done)
"""


def count(path: Path) -> dict[str, str]:
    return {"done": (path / "done").read_text()}


def attempts(path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in path.iterdir()}


def command(code: str = COUNT) -> list[str]:
    return [sys.executable, "-c", code, "{out}"]


def test_a_command_line_is_killed_and_compared(tmp_path: Path) -> None:
    done = assert_same_after_kill(command(), 5, compare=count, folder=tmp_path)
    assert (done.kills, 2 <= done.runs <= 5) == (5, True)
    assert 0.5 < done.seconds < 10
    assert not list(tmp_path.iterdir())


def test_a_difference_is_named_with_the_moments(tmp_path: Path) -> None:
    code = COUNT.replace("done = out", "(out / 'log').open('a').write('.')\ndone = out")
    with pytest.raises(
        AssertionError,
        match=r"as without kills, got 1 of 2 parts that differ, log, after kills at [\d., s]+ of [\d.]+ s \(seed 0\)",
    ):
        assert_same_after_kill(command(code), 3, compare=attempts, folder=tmp_path)
    kept = {path.name for folder in tmp_path.iterdir() for path in folder.iterdir()}
    assert kept == {"straight", "killed-0"}


def test_a_command_that_does_not_repeat_is_told(tmp_path: Path) -> None:
    code = COUNT + "import time; (out / 'log').write_text(str(time.time()))"
    with pytest.raises(AssertionError, match=r"1 of 2 parts that differ, log, (after kills|without any kill)"):
        assert_same_after_kill(command(code), 3, compare=attempts, folder=tmp_path)


def test_a_command_that_cannot_go_on_is_told(tmp_path: Path) -> None:
    code = COUNT.replace("exist_ok=True", "exist_ok=False")
    with pytest.raises(AssertionError, match=r"again, got exit code 1 after kills at [\d.]+ s: FileExistsError"):
        assert_same_after_kill(command(code), 3, compare=count, folder=tmp_path)


def test_mistakes_are_told(tmp_path: Path) -> None:
    run = partial(assert_same_after_kill, compare=attempts, folder=tmp_path)
    with pytest.raises(ValueError, match="kills and most must be at least 1, got 0 and 3"):
        run(command(), 0)
    with pytest.raises(ValueError, match="must be a sequence of words with "):
        run(["true"], 1)
    with pytest.raises(ValueError, match="must be a sequence of words with "):
        run("train --out {out}", 1)
    with pytest.raises(RuntimeError, match="must end well undisturbed, got exit code 3: now"):
        run(command("import sys; print('now'); sys.exit(3)"), 1)
    with pytest.raises(TimeoutError, match=r"must end within 0.5 s, got none; it last said: it said nothing"):
        run(command("import time; time.sleep(60)"), 1, timeout=0.5)


def test_a_command_too_short_to_be_killed_is_told(tmp_path: Path) -> None:
    code = "import sys, pathlib, time; pathlib.Path(sys.argv[1]).mkdir(); time.sleep('straight' in sys.argv[1])"
    with pytest.raises(ValueError, match=r"must run long enough to be killed, got [\d.]+ s; give it more work"):
        assert_same_after_kill(command(code), 1, compare=attempts, folder=tmp_path)


def test_the_children_of_a_command_are_killed_too(tmp_path: Path) -> None:
    child = "import time, pathlib, sys; time.sleep(1.5); pathlib.Path(sys.argv[1] + '.late').write_text('x')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, sys.argv[1]])"
    assert start(command(code), tmp_path / "run", kill_after=1).code == -9
    time.sleep(1.2)
    assert not (tmp_path / "run.late").exists()
