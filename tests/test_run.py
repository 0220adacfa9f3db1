import json
import os
import shutil
import signal
import time
import warnings
from pathlib import Path

import pytest
import torch

from tamis.checkpoint import load_checkpoint
from tamis.run import Run, checkpoint_of, read_metrics

ABOUT = {"tamis": "0.1.0", "config": {"data": "ünï", "lr": 0.1, "steps": (3, 5), "noise": None}}


def opened(folder: Path, **changes) -> Run:
    return Run(folder, {**ABOUT, "config": ABOUT["config"] | changes})


def save(run: Run, epoch: int, *, best: bool = False) -> None:
    state = {"epoch": epoch, "optimizer": {"state": {0: {"momentum": torch.full((30,), float(epoch))}}}}
    run.save(epoch, {"weight": torch.full((100,), float(epoch))}, state, best=best)


def epoch_of(found) -> int:
    weights, state = found
    assert weights["weight"].unique().tolist() == [state["epoch"]]
    assert state["optimizer"]["state"][0]["momentum"].unique().tolist() == [state["epoch"]]
    return state["epoch"]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


# ----- the folder -----------------------------------------------------------------------------------------------


def test_a_new_run_and_the_same_again(tmp_path):
    run = opened(tmp_path / "a" / "run")
    assert not run.resumed
    assert not run.finished
    assert run.load() is None
    assert run.metrics() == []
    about = json.loads((run.folder / "run.json").read_text("utf-8"))
    assert about["config"] == {"data": "ünï", "lr": 0.1, "steps": [3, 5], "noise": None}
    save(run, 0)
    again = opened(run.folder)
    assert again.resumed
    assert json.loads((run.folder / "run.json").read_text("utf-8")) == about


def test_before_its_first_checkpoint_a_run_is_begun_anew(tmp_path):
    run = opened(tmp_path)
    run.log({"epoch": 0})
    (tmp_path / "ledger" / "epoch-00000-000.parquet").write_bytes(b"")
    again = opened(tmp_path, lr=0.5)
    assert not again.resumed
    assert list((tmp_path / "ledger").iterdir()) == []
    assert json.loads((tmp_path / "run.json").read_text("utf-8"))["config"]["lr"] == 0.5


def test_a_checkpoint_that_nothing_points_to_yet_counts(tmp_path):
    """A kill between the checkpoint and its pointer."""
    save(opened(tmp_path), 0)
    (tmp_path / "checkpoints" / "LATEST").unlink()
    assert opened(tmp_path).resumed


def test_a_finished_run_without_its_checkpoints_is_not_begun_anew(tmp_path):
    run = opened(tmp_path)
    save(run, 0)
    run.finish({"last": {}})
    (tmp_path / "ledger" / "samples.parquet").write_bytes(b"")
    shutil.rmtree(tmp_path / "checkpoints")
    assert opened(tmp_path).resumed
    assert (tmp_path / "ledger" / "samples.parquet").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("", "utf-8")
    with pytest.raises(FileExistsError, match=r"run folder must be a folder, got the file .*run; choose another"):
        opened(tmp_path / "run")


def test_an_empty_folder_is_a_new_one(tmp_path):
    assert not opened(tmp_path).resumed


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine", "utf-8")
    with pytest.raises(FileExistsError, match=r"run folder must be new or empty, got .* with other files; choose"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("finished", [False, True])
def test_another_configuration_is_refused_and_names_what_differs(finished, tmp_path):
    run = opened(tmp_path)
    save(run, 0)
    if finished:
        run.finish({"last": {}})
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(FileExistsError) as caught:
        opened(tmp_path, lr=0.2, steps=(3, 6), seed=1)
    message = str(caught.value)
    assert "got lr: 0.1 -> 0.2, seed: None -> 1, steps: [3, 5] -> [3, 6]; use another --out" in message
    assert "data" not in message.split("got")[1]
    assert (tmp_path / "run.json").read_bytes() == before


def test_what_is_not_the_configuration_may_differ(tmp_path):
    save(opened(tmp_path), 0)
    assert Run(tmp_path, {**ABOUT, "command": "another"}).resumed


def test_finished(tmp_path):
    run = opened(tmp_path)
    run.finish({"last": {"epoch": 2}})
    assert opened(tmp_path).finished
    assert json.loads((tmp_path / "result.json").read_text("utf-8")) == {"last": {"epoch": 2}}


def test_a_run_killed_before_it_began_can_be_started(tmp_path):
    (tmp_path / ".tmp-1-run.json").write_text("{", "utf-8")
    assert not opened(tmp_path).resumed


def test_stale_temporary_files_do_no_harm(tmp_path):
    run = opened(tmp_path)
    run.log({"epoch": 0})
    save(run, 0, best=True)
    (tmp_path / ".tmp-1-metrics.jsonl").write_text('{"epoch": 7', "utf-8")
    (tmp_path / "checkpoints" / ".tmp-1-LATEST").write_text("epo", "utf-8")
    leftover = tmp_path / "checkpoints" / ".tmp-1-epoch-00009"
    leftover.mkdir()
    (leftover / "state.json").write_text("{", "utf-8")
    again = opened(tmp_path)
    assert again.metrics() == [{"epoch": 0}]
    found = again.load()
    assert found is not None
    assert epoch_of(found) == 0
    save(again, 1)
    assert not leftover.exists()  # what takes space is removed with the next checkpoint


# ----- metrics --------------------------------------------------------------------------------------------------


def test_rows_are_added_and_those_of_epochs_done_again_replaced(tmp_path):
    run = opened(tmp_path)
    for epoch in range(4):
        run.log({"epoch": epoch, "loss": 1.0})
    run.log({"epoch": 2, "loss": 0.5})
    assert run.metrics() == [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]
    assert read_metrics(tmp_path / "nowhere") == []


def test_a_torn_last_line_is_left_out_wherever_it_is_torn(tmp_path):
    run = opened(tmp_path)
    for epoch in range(5):
        run.log({"epoch": epoch, "train_loss": 1.25e-3, "validation": {"accuracy": 0.5}, "name": 'é"}'})
    rows, path = run.metrics(), tmp_path / "metrics.jsonl"
    content = path.read_bytes()
    ends = [place for place, byte in enumerate(content) if byte == ord("\n")]
    for length in range(len(content) - 200, len(content)):
        path.write_bytes(content[:length])
        whole = sum(end <= length for end in ends)  # a line that only lacks its end is whole
        assert run.metrics() == rows[:whole]
    run.log({"epoch": 9})
    assert run.metrics()[-1] == {"epoch": 9}


# ----- checkpoints ----------------------------------------------------------------------------------------------


def test_the_newest_the_one_before_it_and_the_best_are_kept(tmp_path):
    run = opened(tmp_path)
    for epoch in range(6):
        save(run, epoch, best=epoch in (0, 2))
    assert checkpoints(tmp_path) == ["BEST", "LATEST", "epoch-00002", "epoch-00004", "epoch-00005"]
    found = run.load()
    assert found is not None
    assert epoch_of(found) == 5
    assert epoch_of(load_checkpoint(checkpoint_of(tmp_path, "last"))) == 5
    assert epoch_of(load_checkpoint(checkpoint_of(tmp_path, "best"))) == 2
    assert run.best_weights({})["weight"][0] == 2


def test_asking_for_a_checkpoint_that_is_not_there(tmp_path):
    run = opened(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run .* must hold a best checkpoint, got none; train it first"):
        checkpoint_of(tmp_path, "best")
    with pytest.raises(ValueError, match='checkpoint must be "last" or "best", got \'newest\''):
        checkpoint_of(tmp_path, "newest")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.best_weights({"mine": torch.ones(1)})["mine"] == 1  # none yet is nothing to warn of


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "state.json", "state.safetensors"])
def test_a_damaged_newest_one_falls_back_and_says_so(name, tmp_path):
    run = opened(tmp_path)
    for epoch in range(3):
        save(run, epoch)
    damage(tmp_path / "checkpoints" / "epoch-00002" / name)
    with pytest.warns(UserWarning, match=r"epoch-00002.*going back to the one before it"):
        found = opened(tmp_path).load()
    assert found is not None
    assert epoch_of(found) == 1
    damage(tmp_path / "checkpoints" / "epoch-00001" / name)
    with pytest.warns(UserWarning, match="going back to the one before it") as told:
        assert opened(tmp_path).load() is None
    assert [("epoch-00002" in str(each.message), "epoch-00001" in str(each.message)) for each in told] == [
        (True, False),
        (False, True),
    ]


def test_a_damaged_epoch_is_written_anew(tmp_path):
    run = opened(tmp_path)
    for epoch in range(3):
        save(run, epoch)
    damage(tmp_path / "checkpoints" / "epoch-00002" / "state.json")
    save(run, 2)
    found = run.load()
    assert found is not None
    assert epoch_of(found) == 2


def test_a_damaged_best_one_is_said(tmp_path):
    run = opened(tmp_path)
    save(run, 0, best=True)
    damage(tmp_path / "checkpoints" / "epoch-00000" / "model.safetensors")
    with pytest.warns(UserWarning, match=r"model.safetensors.*the weights of the best epoch are lost"):
        assert run.best_weights({"mine": torch.ones(1)})["mine"] == 1


# ----- crashes --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_run_killed_anywhere_goes_on_from_the_newest_or_the_one_before(tmp_path):
    """Twenty kills of one run, which goes on from where it is each time."""
    reached, moved = -1, 0
    for kill in range(20):
        child = os.fork()
        if child == 0:
            try:
                _train_on(tmp_path)
            finally:
                os._exit(1)
        if kill % 2:  # every other child is let go on until it has moved the pointer
            _wait_for_change(tmp_path / "checkpoints" / "LATEST")
        time.sleep(0.01 + 0.0023 * kill)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)  # it did not end by an error of its own
        run = opened(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no kill damages a checkpoint
            found = run.load() if run.resumed else None
        latest = run._pointer("LATEST")
        pointed = -1 if latest is None else int(latest.split("-")[1])
        now = -1 if found is None else epoch_of(found)
        assert now >= pointed
        assert now >= reached  # nothing that was there is lost
        assert [row["epoch"] for row in run.metrics()][: now + 1] == list(range(now + 1))
        moved += now > reached
        reached = now
        run.best_weights({})
    assert moved >= 10
    save(opened(tmp_path), reached + 1)
    assert len([name for name in checkpoints(tmp_path) if name.startswith("epoch-")]) <= 3  # last, previous, best


def _wait_for_change(path: Path) -> None:
    def now() -> str:
        return path.read_text("utf-8") if path.exists() else ""

    before, end = now(), time.monotonic() + 30
    while now() == before and time.monotonic() < end:
        time.sleep(0.001)


def _train_on(folder: Path) -> None:
    run = opened(folder)
    found = run.load() if run.resumed else None
    epoch = -1 if found is None else epoch_of(found)
    while True:
        epoch += 1
        run.log({"epoch": epoch})
        save(run, epoch, best=epoch % 3 == 0)


def test_a_checkpoint_half_removed_is_passed_over(tmp_path):
    """A kill while old checkpoints are removed leaves one without some of its files; the newest is sound."""
    run = opened(tmp_path)
    for epoch in range(3):
        save(run, epoch)
    shutil.copytree(tmp_path / "checkpoints" / "epoch-00001", tmp_path / "checkpoints" / "epoch-00000")
    (tmp_path / "checkpoints" / "epoch-00000" / "manifest.json").unlink()
    found = run.load()
    assert found is not None
    assert epoch_of(found) == 2
    save(run, 3)
    assert "epoch-00000" not in checkpoints(tmp_path)
