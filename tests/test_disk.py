"""A full disk, a disk that cannot be written, a folder that vanishes, checkpoints of other versions."""

import errno
import json
import os
import resource
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tamis.batch import Batch
from tamis.checkpoint import FORMAT, NewerCheckpoint, load_checkpoint, save_checkpoint, size_of
from tamis.fit import fit
from tamis.methods import Temperature
from tamis.tasks.classification import Classification
from test_fit import SETTINGS, images, run_at, same

EVERY_STEP = replace(SETTINGS, checkpoint_seconds=0)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


class Meanwhile(Classification):
    """Does something to the machine in the middle of a training."""

    def __init__(self, step: int, what: Any) -> None:
        self.left, self.what = step, what

    def losses(self, model: Any, batch: Batch, temperature: Any = None) -> Any:
        self.left -= 1
        if self.left == 0:
            self.what()
        return super().losses(model, batch, temperature)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond this size fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own, where this process may make one."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() or subprocess.run(words, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 - the system's


@pytest.mark.fault(
    7, "where a checkpoint cannot be written, the one before it is whole, and the message says how much is needed"
)
def test_a_file_that_cannot_grow(tmp_path: Path, seen: Any) -> None:
    run = run_at(tmp_path)
    for size in (10, 100, 700):
        with (
            largest_file(size),
            pytest.raises(OSError, match=r"of [\d,]+ bytes must have room on the disk, got .*free some"),
        ):
            fit(model(), Classification(), images(), settings=EVERY_STEP, run=run)
        assert not list(tmp_path.rglob(".tmp-*/*"))
        run.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run = run_at(tmp_path)
            run.load()
    straight = fit(model(), Classification(), images(), settings=EVERY_STEP)
    again = fit(model(), Classification(), images(), settings=EVERY_STEP, run=run)
    assert same(again.model.state_dict(), straight.model.state_dict())
    seen("stopped with one line 3 of 3 times, nothing half-written left, then gone on to the same bits", count=3)


@pytest.mark.fault(
    7, "a disk that is full for a while: stop and go on later, or continue without checkpoints, as asked"
)
def test_a_full_disk(tmp_path: Path, seen: Any) -> None:
    straight = fit(model(), Classification(), images(), settings=EVERY_STEP)
    with small_disk(tmp_path / "disk", "2m"):
        filler = tmp_path / "disk" / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(1024)):
                    pass

        folder = tmp_path / "disk" / "run"
        with pytest.raises(OSError, match="No space left") as caught:
            fit(model(), Meanwhile(7, fill), images(), settings=EVERY_STEP, run=run_at(folder))
        assert caught.value.errno == errno.ENOSPC
        filler.unlink()
        run = run_at(folder)
        found = run.load()
        assert found is not None
        assert found[1]["stepper"]["steps"] == 6
        again = fit(model(), Classification(), images(), settings=EVERY_STEP, run=run)
        assert same(again.model.state_dict(), straight.model.state_dict())
        shutil.rmtree(folder)
        forth = replace(EVERY_STEP, on_full="continue")

        class Later(Meanwhile):
            def evaluate(self, model: Any, batches: Any) -> dict[str, float]:
                filler.unlink(missing_ok=True)
                return super().evaluate(model, batches)

        with pytest.warns(UserWarning, match="going on without it"):
            other = fit(model(), Later(7, fill), images(), settings=forth, run=run_at(folder), validation=images(30))
        assert same(other.model.state_dict(), straight.model.state_dict())
        assert same(load_checkpoint(folder / "checkpoints" / (folder / "checkpoints" / "LATEST").read_text())[0],
                    straight.model.state_dict())  # fmt: skip
    seen(
        "stop: the 6 steps before are kept, same bits after; continue: ended with the same bits and its last checkpoint"
    )


@pytest.mark.fault(7, "a disk too small for two checkpoints is refused before the training")
def test_too_small_a_disk_is_refused_at_once(tmp_path: Path, monkeypatch: Any, seen: Any) -> None:
    run = run_at(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000))  # type: ignore[attr-defined]
    with pytest.raises(
        OSError, match=r"room for two checkpoints of about 4,300 bytes, got 5,000 bytes free in .*--out"
    ):
        fit(model(), Classification(), images(), settings=EVERY_STEP, run=run)
    seen("refused, with the bytes that are needed and those that are free")


@pytest.mark.fault(8, "a run folder that vanishes, or turns out not to be writable, is an error, never a success")
@pytest.mark.parametrize("what", ["removed", "moved", "a file in its place"])
def test_a_run_folder_that_vanishes(tmp_path: Path, what: str, seen: Any) -> None:
    folder = tmp_path / "run"

    def vanish() -> None:
        if what == "moved":
            folder.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(folder)
        if what == "a file in its place":
            folder.write_text("")

    with pytest.raises(OSError, match="run"):
        fit(model(), Meanwhile(7, vanish), images(), settings=EVERY_STEP, run=run_at(folder))
    assert not (folder / "result.json").exists()
    seen(f"{what}: ended with an error that names the folder")


@pytest.mark.fault(
    31, "a checkpoint of a later version is refused with both versions; those of each release are loaded"
)
def test_checkpoints_of_other_versions(tmp_path: Path, monkeypatch: Any, seen: Any) -> None:
    released = sorted((Path(__file__).parent / "checkpoints").iterdir())
    for folder in released:
        weights, state = load_checkpoint(folder)
        assert weights["weight"].tolist() == [0.5, 1.5]
        assert state["rows"] == [{"epoch": 0, "loss": 0.25}]
        assert state["momentum"][0].tolist() == [1.0]
    monkeypatch.setattr("tamis.checkpoint.FORMAT", FORMAT + 1)
    monkeypatch.setattr("tamis.__version__", "7.0.0")
    save_checkpoint(tmp_path / "later", {"weight": torch.ones(1)}, {})
    monkeypatch.undo()
    with pytest.raises(
        NewerCheckpoint, match=rf"of format {FORMAT} or older, got {FORMAT + 1}, made by tamis 7.0.0, in .*"
    ):
        load_checkpoint(tmp_path / "later")
    manifest = tmp_path / "later" / "manifest.json"
    assert json.loads(manifest.read_text())["tamis"] == "7.0.0"
    seen(f"{len(released)} of {len(released)} older ones loaded, the newer one refused")


def test_sizes() -> None:
    state = {"a": [torch.zeros(3), {"b": torch.zeros(2, dtype=torch.float64)}], "c": 1, "d": (torch.zeros(1),)}
    assert size_of(state) == 12 + 16 + 4
    assert size_of({}) == size_of(None) == 0


def test_data_parameters_count(tmp_path: Path) -> None:
    fitted = fit(
        model(), Classification(), images(), settings=EVERY_STEP, temperature=Temperature(), run=run_at(tmp_path)
    )
    assert fitted.result["costs"]["seconds_checkpoints"] > 0
