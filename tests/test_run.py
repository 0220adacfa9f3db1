import json
import os
import shutil
import signal
import time
import warnings
from pathlib import Path

import pytest
import torch

from tamis.checkpoint import DamagedCheckpoint, load_checkpoint
from tamis.run import Run, checkpoint_of, read_metrics

ABOUT = {"tamis": "0.1.0", "config": {"data": "ünï", "lr": 0.1, "steps": (3, 5), "noise": None}}


def opened(folder: Path, **changes) -> Run:
    return Run(folder, {**ABOUT, "config": ABOUT["config"] | changes})


def save(run: Run, epoch: int, *, best: int | None = None) -> None:
    """The checkpoint after so many epochs; `best` is the epoch that was the best until then."""
    state = {"epoch": epoch, "optimizer": {"state": {0: {"momentum": torch.full((30,), float(epoch))}}}}
    if best == epoch:
        run.save_best(epoch, {"weight": torch.full((100,), float(epoch))})
    run.save(epoch, 0, {"weight": torch.full((100,), float(epoch))}, state, best)


def name_of(epoch: int) -> str:
    return f"epoch-{epoch:05d}-step-0000000"


def best_of(run: Run, otherwise: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = run.load()
    assert found is not None
    return run.load_best(found[1], otherwise)


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


def test_stale_temporary_files_are_swept(tmp_path):
    run = opened(tmp_path)
    run.log({"epoch": 0})
    save(run, 0, best=0)
    leftovers = [tmp_path / ".tmp-1-metrics.jsonl", tmp_path / "checkpoints" / ".tmp-1-LATEST"]
    leftovers += [tmp_path / "checkpoints" / ".tmp-1-epoch-00009", tmp_path / "ledger" / ".tmp-1-scores.parquet"]
    for path in leftovers:
        if path.suffix or path.name.endswith("LATEST"):
            path.write_text('{"epoch": 7', "utf-8")
        else:
            path.mkdir()
            (path / "state.json").write_text("{", "utf-8")
    again = opened(tmp_path)
    assert not any(path.exists() for path in leftovers)
    assert again.metrics() == [{"epoch": 0}]
    found = again.load()
    assert found is not None
    assert epoch_of(found) == 0


def test_free_settings_may_change(tmp_path):
    save(opened(tmp_path), 0)
    changed = {**ABOUT, "config": ABOUT["config"] | {"lr": 0.5}}
    assert Run(tmp_path, changed, free={"lr"}).resumed
    with pytest.raises(FileExistsError, match=r"got lr: 0.1 -> 0.5"):
        Run(tmp_path, changed, free={"data"})


def test_a_folder_that_vanished_is_no_success(tmp_path):
    run = opened(tmp_path / "run")
    save(run, 0, best=0)
    shutil.rmtree(tmp_path / "run")
    for write in (lambda: save(run, 1), lambda: run.save_best(1, {}), lambda: run.finish({}), lambda: run.log({})):
        with pytest.raises(FileNotFoundError):
            write()
    assert not (tmp_path / "run").exists()


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


def test_the_newest_the_one_before_it_and_their_best_are_kept(tmp_path):
    run = opened(tmp_path)
    for epoch in range(6):
        save(run, epoch, best=epoch if epoch in (0, 2) else 2 if epoch > 2 else 0)
    assert checkpoints(tmp_path) == ["BEST", "LATEST", "best-00002", name_of(4), name_of(5)]
    found = run.load()
    assert found is not None
    assert epoch_of(found) == 5
    assert epoch_of(load_checkpoint(checkpoint_of(tmp_path, "last"))) == 5
    assert load_checkpoint(checkpoint_of(tmp_path, "best"))[0]["weight"][0] == 2
    assert best_of(run, {})["weight"][0] == 2


def test_the_best_of_the_one_before_is_kept_too(tmp_path):
    """The newest one may be damaged; what the one before it names must be there."""
    run = opened(tmp_path)
    save(run, 0, best=0)
    save(run, 1, best=1)
    assert checkpoints(tmp_path) == ["BEST", "LATEST", "best-00000", "best-00001", name_of(0), name_of(1)]
    damage(tmp_path / "checkpoints" / name_of(1) / "state.json")
    with pytest.warns(UserWarning, match="going back"):
        assert best_of(opened(tmp_path), {})["weight"][0] == 0


def test_steps_of_an_epoch_are_newer_than_its_start(tmp_path):
    run = opened(tmp_path)
    for step in (7, 0, 123):
        run.save(3, step, {"weight": torch.ones(1)}, {"step": step}, None)
    found = run.load()
    assert found is not None
    assert found[1]["step"] == 123


def test_asking_for_a_checkpoint_that_is_not_there(tmp_path):
    run = opened(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run .* must hold a best checkpoint, got none; train it first"):
        checkpoint_of(tmp_path, "best")
    with pytest.raises(ValueError, match='checkpoint must be "last" or "best", got \'newest\''):
        checkpoint_of(tmp_path, "newest")
    save(run, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert best_of(run, {"mine": torch.ones(1)})["mine"] == 1  # none yet is nothing to warn of


@pytest.mark.parametrize("text", ["../../etc", "/etc", "", ".", "..", "a\nb", "epoch-1/../.."])
def test_a_pointer_that_leads_elsewhere_is_refused(text, tmp_path):
    save(opened(tmp_path), 0)
    (tmp_path / "checkpoints" / "LATEST").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="pointer must name a checkpoint beside it"):
        checkpoint_of(tmp_path, "last")


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "state.json", "state.safetensors"])
def test_a_damaged_newest_one_falls_back_and_says_so(name, tmp_path):
    run = opened(tmp_path)
    for epoch in range(3):
        save(run, epoch)
    damage(tmp_path / "checkpoints" / name_of(2) / name)
    with pytest.warns(UserWarning, match=r"epoch-00002.*going back to the one before it"):
        found = opened(tmp_path).load()
    assert found is not None
    assert epoch_of(found) == 1
    with pytest.raises(DamagedCheckpoint, match="epoch-00002"):
        Run(tmp_path, ABOUT, strict=True).load()
    damage(tmp_path / "checkpoints" / name_of(1) / name)
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
    damage(tmp_path / "checkpoints" / name_of(2) / "state.json")
    save(run, 2)
    found = run.load()
    assert found is not None
    assert epoch_of(found) == 2


def test_a_damaged_best_one_is_said(tmp_path):
    run = opened(tmp_path)
    save(run, 0, best=0)
    damage(tmp_path / "checkpoints" / "best-00000" / "model.safetensors")
    with pytest.warns(UserWarning, match=r"model.safetensors.*the weights of the best epoch are lost"):
        assert best_of(run, {"mine": torch.ones(1)})["mine"] == 1
    with pytest.raises(DamagedCheckpoint, match="best-00000"):
        best_of(Run(tmp_path, ABOUT, strict=True), {})


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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="took .* over from process")
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
        if found is not None:
            run.load_best(found[1], {})
        run.close()
    assert moved >= 10
    save(opened(tmp_path), reached + 1)
    assert len([name for name in checkpoints(tmp_path) if name.startswith("epoch-")]) == 2


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
        save(run, epoch, best=epoch // 3 * 3)


def test_a_checkpoint_half_removed_is_passed_over(tmp_path):
    """A kill while old checkpoints are removed leaves one without some of its files; the newest is sound."""
    run = opened(tmp_path)
    for epoch in range(3):
        save(run, epoch)
    shutil.copytree(tmp_path / "checkpoints" / name_of(1), tmp_path / "checkpoints" / name_of(0))
    (tmp_path / "checkpoints" / name_of(0) / "manifest.json").unlink()
    found = run.load()
    assert found is not None
    assert epoch_of(found) == 2
    save(run, 3)
    assert name_of(0) not in checkpoints(tmp_path)
