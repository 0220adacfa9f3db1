"""Data parameters of boxes in a training: losses, history, going on, several processes, changes of the data."""

import csv
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from boxed_trainings import COUNTS, SETTINGS, OldModule, Squares, squares, train_boxes
from tamis.batch import Batch
from tamis.box_temperature import BoxParameters
from tamis.checkpoint import load_checkpoint
from tamis.data import BoxedImages, BoxViews
from tamis.fit import Stopped, fit
from tamis.fit.growth import Changes, grown
from tamis.methods import METHODS, Temperature
from tamis.recipes.box_result import box_figures, latest_losses, write_box_suspects
from tamis.recipes.box_rows import BOXES, moves, write_moved, write_rows
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import load
from tamis.recipes.parts import temperature_of_config
from tamis.recipes.train import train
from tamis.run import checkpoint_of
from tamis.tasks import Detection
from tamis.testing import assert_same_after_kill
from test_counting_recipes import stopping_after
from test_detection_recipes import SETTINGS as DETECTION
from test_detection_recipes import write_boxes, write_table
from test_processes import equal, in_processes, run_at


def rows_of(fitted: Any) -> BoxParameters:
    assert isinstance(fitted.temperature, BoxParameters)
    return fitted.temperature


def one_batch(source: BoxedImages, index: list[int]) -> Batch:
    return next(source.batches([torch.tensor(index)], epoch=0, seed=0, train=False))


# ----- losses ---------------------------------------------------------------------------------------------------


def test_losses_with_sigma_1_are_the_plain_ones() -> None:
    source, model = squares(), Squares()
    batch = one_batch(source, [0, 1, 3, 11])
    plain, columns = Detection(2).losses(model, batch)
    assert list(columns) == ["loss", "score", "boxes"]
    rows = BoxParameters(source.box_starts)
    tempered, told = Detection(2, box_losses=True).losses(model, batch, rows)
    torch.testing.assert_close(tempered, plain, rtol=0, atol=1e-6)
    there = batch.targets[..., 4] >= 0
    assert torch.equal(told["box_loss"].isnan(), ~there)
    assert told["boxes"].tolist() == there.sum(1).tolist() == [2, 0, 4, 5]
    assert not told["box_loss"].requires_grad
    assert rows.log_sigma_instance is not None
    rows.log_sigma_instance.data.fill_(3.0)
    flat, _ = Detection(2).losses(model, batch, rows)
    assert not torch.allclose(flat, plain)
    flat.sum().backward()
    assert model.boxes.weight.grad is not None


def test_sigma_of_the_regression_is_passed_on() -> None:
    source = squares()
    rows = BoxParameters(source.box_starts, regression=True, instance_start=2.0)
    batch = one_batch(source, [0, 3])
    with_it, _ = Detection(2).losses(Squares(), batch, rows)
    rows.regression = False
    without, _ = Detection(2).losses(Squares(), batch, rows)
    torch.testing.assert_close(with_it - without, torch.tensor([2.0, 4.0]) * torch.tensor(2.0).log())


def test_a_module_without_sigma_is_refused_and_named() -> None:
    source = squares()
    batch = one_batch(source, [0])
    assert Detection(2).losses(OldModule(), batch)[0].shape == (1,)
    with pytest.raises(ValueError, match="forward\\(inputs, targets, sigma, background") as error:
        Detection(2).losses(OldModule(), batch, BoxParameters(source.box_starts))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="implement"):
        fit(OldModule(), Detection(2), source, settings=SETTINGS, temperature=Temperature())


def test_a_method_that_scores_by_sigma_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma is of boxes"):
        fit(
            Squares(), Detection(2), squares(),
            settings=SETTINGS, method=METHODS["sigma-drop"](), temperature=Temperature(),
        )  # fmt: skip


# ----- what a run leaves ----------------------------------------------------------------------------------------


def test_the_history_has_sigma_and_loss_of_every_box(tmp_path: Path) -> None:
    views = BoxViews(flip=False)
    plain = replace(SETTINGS, epochs=1, batch_size=13, optimizer=partial(torch.optim.SGD, lr=0.0))
    fitted = train_boxes(tmp_path / "run", kind="instance", settings=plain, views=views, clamp="none")
    table = pq.read_table(tmp_path / "run" / "ledger" / "boxes-00000.parquet")
    assert table["sigma"].to_numpy().tolist() == rows_of(fitted).all_sigma(torch.tensor([])).tolist()
    source = squares(views=views)
    wanted = Detection(2, box_losses=True).losses(Squares(), one_batch(source, list(range(13))))[1]["box_loss"]
    assert table["loss"].to_numpy() == pytest.approx(wanted[~wanted.isnan()].numpy(), rel=1e-5)
    assert table.schema.field("loss").type == table.schema.field("sigma").type == "float"


def test_without_data_parameters_there_is_no_sigma_and_what_is_hidden_has_no_loss(tmp_path: Path) -> None:
    train_boxes(tmp_path / "run", kind="none", method="random")
    for epoch in range(3):
        table = pq.read_table(tmp_path / "run" / "ledger" / f"boxes-{epoch:05d}.parquet")
        assert table.column_names == ["loss"]
        shown = set(pq.read_table(tmp_path / "run" / "ledger" / f"epoch-{epoch:05d}-000.parquet")["index"].to_pylist())
        assert 0 < len(shown) < len(COUNTS)
        image = np.repeat(np.arange(len(COUNTS)), COUNTS)
        known = ~np.isnan(table["loss"].to_numpy())
        assert set(image[known]) <= shown
        assert known.any()


def boxed_run(folder: Path) -> tuple[Path, BoxedImages]:
    """A finished run of boxes of which some are wrong."""
    train_boxes(folder / "run", kind="instance")
    noise = [np.arange(count, dtype=np.float32) % 3 for count in COUNTS]
    source = squares(columns={"noise": noise})
    write_rows(folder / "run" / "ledger", source, 0)
    return folder / "run", source


def test_rows_suspects_and_figures(tmp_path: Path) -> None:
    run, source = boxed_run(tmp_path)
    table = pq.read_table(run / "ledger" / BOXES).to_pylist()
    assert [row["box"] for row in table] == list(range(sum(COUNTS)))
    for row in table:
        boxes, classes = source.boxes_of(row["image"])
        place = row["box"] - int(source.box_starts[row["image"]])
        assert [row[side] for side in ("x1", "y1", "x2", "y2")] == boxes[place].tolist()
        assert row["label"] == classes[place]
        assert row["key"] == source.box_keys(row["image"])[place]
        assert row["noise"] == place % 3
    path = write_box_suspects(run, source, 5)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["key", "image", "class", "x1", "y1", "x2", "y2", "sigma", "loss"]
    sigma = pq.read_table(run / "ledger" / "boxes-00002.parquet")["sigma"].to_numpy()
    assert [float(row["sigma"]) for row in rows] == pytest.approx(sorted(sigma, reverse=True)[:5], rel=1e-5)
    assert {row["class"] for row in rows} <= {"'=car", "person"}  # no formula
    temperature = BoxParameters(source.box_starts)
    figures = box_figures(run, source, temperature)
    assert figures["count"] == sum(COUNTS)
    assert figures["sigma"] == {"p05": 1.0, "p50": 1.0, "p95": 1.0}
    kinds = figures["noise"]["kind"]
    assert list(kinds) == ["flipped", "shifted"]
    assert kinds["flipped"]["count"] == sum(len(range(1, count, 3)) for count in COUNTS)
    assert kinds["flipped"]["auroc_sigma"] == 0.5  # all are the same
    json.dumps(box_figures(run, squares(), None), allow_nan=False)


def test_latest_losses_are_the_newest_that_are_known(tmp_path: Path) -> None:
    run, _ = boxed_run(tmp_path)
    parts = [pq.read_table(path)["loss"].to_numpy() for path in sorted((run / "ledger").glob("boxes-*.parquet"))]
    wanted = parts[0]
    for part in parts[1:]:
        wanted = np.where(np.isnan(part), wanted, part)
    assert np.array_equal(latest_losses(run, sum(COUNTS)), wanted, equal_nan=True)


# ----- going on -------------------------------------------------------------------------------------------------


def stopped_and_ended(out: Path, steps: int, **options: Any) -> Any:
    """A training that is stopped after so many steps, again and again, and goes on."""
    for _ in range(50):
        asked = iter(range(10_000))
        try:
            return train_boxes(out, stop=lambda asked=asked: 15 * (next(asked) >= steps), **options)
        except Stopped:
            continue
    raise AssertionError("it does not end")


@pytest.mark.parametrize(("kind", "accumulate"), [("joint", 1), ("class", 2), ("none", 1)])
def test_a_stopped_training_ends_bit_for_bit_as_a_straight_one(tmp_path: Path, kind: str, accumulate: int) -> None:
    settings = replace(SETTINGS, accumulate=accumulate)
    straight = train_boxes(tmp_path / "straight", kind=kind, settings=settings)
    resumed = stopped_and_ended(tmp_path / "resumed", 2, kind=kind, settings=settings)
    if kind != "none":
        for name, table in rows_of(straight).state_dict().items():
            assert torch.equal(table, rows_of(resumed).state_dict()[name])
            assert table.any()
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
    names = sorted(path.name for path in (tmp_path / "straight" / "ledger").iterdir())
    assert [name for name in names if name.startswith("boxes-")] == [f"boxes-{epoch:05d}.parquet" for epoch in range(3)]
    for name in names:
        one, other = (pq.read_table(tmp_path / run / "ledger" / name) for run in ("straight", "resumed"))
        for column in one.column_names:
            assert np.array_equal(*(t[column].to_numpy() for t in (one, other)), equal_nan="loss" in column), name


@pytest.mark.slow
def test_a_killed_training_ends_the_same(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=12, checkpoint_seconds=0)
    assert_same_after_kill(partial(train_boxes, settings=settings), 6, folder=tmp_path)


# ----- several processes ----------------------------------------------------------------------------------------


def trained(rank: int, folder: Path | None = None, **options: Any) -> dict[str, Any]:
    run = None if folder is None else run_at(folder, rank)
    fitted = train_boxes(run=run, views=BoxViews(flip=False), **options)
    losses = (
        {path.name: pq.read_table(path)["loss"].to_numpy() for path in sorted(folder.glob("ledger/boxes-*"))}
        if (folder)
        else {}
    )
    return {
        "model": {name: value.numpy() for name, value in fitted.model.state_dict().items()},
        "rows": {name: value.numpy() for name, value in rows_of(fitted).state_dict().items()},
        "losses": losses if rank == 0 else {},
        "score": fitted.ledger.score.numpy(),
    }


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "fork") or not dist.is_gloo_available(), reason="needs os.fork and gloo")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("size", "kind", "batch"), [(2, "joint", 4), (2, "instance", 5), (3, "joint", 4)])
def test_processes_end_with_the_sigmas_of_one(tmp_path: Path, size: int, kind: str, batch: int) -> None:
    options = {"kind": kind, "settings": replace(SETTINGS, batch_size=batch)}
    alone = trained(0, tmp_path / "alone", **options)
    together = in_processes(size, lambda rank: trained(rank, tmp_path / "together", **options), tmp_path)
    for other in together[1:]:
        assert equal(together[0]["rows"], other["rows"])
        assert equal(together[0]["model"], other["model"])
        assert equal(together[0]["score"], other["score"])
    for group in ("rows", "model", "losses"):
        for name, value in alone[group].items():
            np.testing.assert_allclose(together[0][group][name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.abs(alone["rows"]["log_sigma_instance"]).max() > 0.1


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "fork") or not dist.is_gloo_available(), reason="needs os.fork and gloo")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_pieces_of_unequal_batches_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """The last batch has one image for one process and none more for the other than a piece each."""
    options = {"kind": "instance", "settings": replace(SETTINGS, batch_size=5, accumulate=3)}
    together = in_processes(2, lambda rank: trained(rank, **options), tmp_path)
    assert equal(together[0]["rows"], together[1]["rows"])
    assert equal(together[0]["model"], together[1]["model"])


# ----- keys and changes -----------------------------------------------------------------------------------------


@given(st.permutations(range(5)), st.integers(0, 4))
def test_keys_stay_with_boxes_whatever_their_order(order: list[int], gone: int) -> None:
    source = squares()
    boxes = np.array([[0, 0, 4, 4], [1, 1, 3, 3], [1, 1, 3, 3], [2, 0, 9.25, 4], [0, 0, 4.001, 4]], np.float32)
    labels = np.array([0, 1, 1, 0, 0])
    chosen = [place for place in order if place != gone]

    def keys(places: list[int]) -> list[str]:
        at = [*source.boxes[:11], boxes[places], *source.boxes[12:]]
        of = [*source.classes[:11], labels[places], *source.classes[12:]]
        counts = source.labels.clone()
        counts[11] = len(places)
        return replace(source, boxes=at, classes=of, labels=counts).box_keys(11)

    whole, some = keys(list(range(5))), keys(chosen)
    assert len(set(whole)) == 5
    assert whole[1:3] == ["11.png#person:1.00,1.00,3.00,3.00", "11.png#person:1.00,1.00,3.00,3.00~2"]
    assert whole[3] == "11.png#=car:2.00,0.00,9.25,4.00"
    assert set(some) <= set(whole)
    assert len(set(some)) == 4
    assert (whole[3] in some) == (gone != 3)


def test_removed_images_have_no_rows() -> None:
    source = squares()
    rows = torch.where(torch.arange(13) == 3, -1, source.rows)
    left = replace(source, rows=rows)
    assert left.box_starts.diff().tolist() == [0 if place == 3 else count for place, count in enumerate(COUNTS)]
    assert len(left.box_labels) == sum(COUNTS) - COUNTS[3]
    assert left.box_keys(3) == []


def test_moved_rows_are_found_by_image_and_key_after_several_changes(tmp_path: Path) -> None:
    """Box by box: sigma and momentum go where the box is now; new boxes, and those of other images, start anew."""
    source = squares()
    write_rows(tmp_path, source, 0)
    counts = source.labels.clone()
    counts[3] = 3  # the second box of image 3 is gone,
    counts[1] = 1  # image 1 has a new one, and image 6 is another image
    boxes = list(source.boxes)
    boxes[3], boxes[1] = boxes[3][[3, 0, 2]], np.array([[0, 0, 3, 3]], np.float32)
    classes = list(source.classes)
    classes[3], classes[1] = classes[3][[3, 0, 2]], np.array([0])
    changed = replace(source, boxes=boxes, classes=classes, labels=counts)
    fresh = np.arange(13) == 6
    write_moved(tmp_path, changed, fresh, 1)
    assert pq.read_table(tmp_path / BOXES).num_rows == sum(COUNTS)  # the samples do not know of the change yet
    write_moved(tmp_path, changed, fresh, 1)  # as after a crash
    write_moved(
        tmp_path, source, np.zeros(13, bool), 2
    )  # nobody has settled the first: it holds, since this is the second
    write_rows(tmp_path, source, 2)
    sigma, momentum = torch.arange(sum(COUNTS)).float(), torch.arange(sum(COUNTS)).float() + 100
    optimizer = {"param_groups": [{"params": [0]}], "state": {0: {"momentum": momentum}}}
    state = {
        "ledger": {"score": torch.zeros(13), "seen": torch.zeros(13)}, "changes": 0, "place": 3,
        "stepper": {"temperature": {"log_sigma_instance": sigma}, "rows_optimizer": optimizer},
    }  # fmt: skip
    since = torch.zeros(13, dtype=torch.int32)
    for count, now in ((1, changed), (2, source)):
        state_now = grown(state, Changes(count, since, moves(tmp_path)), log_sigma=-7.0)["stepper"]
        table = state_now["temperature"]["log_sigma_instance"]
        memory = state_now["rows_optimizer"]["state"][0]["momentum"]
        before = {
            (i, key): int(source.box_starts[i]) + j for i in range(13) for j, key in enumerate(source.box_keys(i))
        }
        lost = {key for key in source.box_keys(3)} - {key for key in changed.box_keys(3)}
        assert len(lost) == 1
        assert len(table) == len(memory) == int(now.box_starts[-1])
        for image in range(13):
            for place, key in enumerate(now.box_keys(image)):
                row = int(now.box_starts[image]) + place
                known = (image, key) in before and image != 6 and key not in lost
                assert table[row] == (sigma[before[image, key]] if known else -7.0), (count, key)
                assert memory[row] == (momentum[before[image, key]] if known else 0.0)


# ----- the command ----------------------------------------------------------------------------------------------


def test_a_run_goes_on_with_other_boxes(tmp_path: Path) -> None:
    rows = write_boxes(tmp_path / "street")
    config = TrainConfig(
        tmp_path / "street", out=tmp_path / "run", data_parameters="joint",
        **{**DETECTION, "checkpoint_seconds": 0, "epochs": 3},
    )  # fmt: skip
    with stopping_after(4), pytest.raises(Stopped):
        train(config)
    before = pq.read_table(tmp_path / "run" / "ledger" / BOXES).to_pylist()
    state = load_checkpoint(checkpoint_of(tmp_path / "run", "last"))[1]
    learned = state["stepper"]["temperature"]["log_sigma_instance"]
    first = next(row for row in rows if row[1] and row[-1] == "train")
    write_table(tmp_path / "street", [(first[0], "car", 1, 1, 20, 30, "train"), *reversed(rows)])
    with pytest.raises(ValueError, match="accept-dataset-change"):
        train(config)
    accepting = replace(config, accept_dataset_change=True)
    data = load(accepting, tmp_path / "run", accept=True)
    assert data.known is not None
    data.known.write()
    state = grown(state, data.known.changes, log_sigma=-7.0)
    table = state["stepper"]["temperature"]["log_sigma_instance"]
    write_rows(tmp_path / "run" / "ledger", data.train, 1)  # pyright: ignore[reportArgumentType]
    now = pq.read_table(tmp_path / "run" / "ledger" / BOXES).to_pylist()
    known = {row["key"]: learned[row["box"]] for row in before}
    assert len(now) == len(before) + 1
    for row in now:
        assert table[row["box"]] == known.get(row["key"], -7.0)
    assert sum(row["key"] not in known for row in now) == 1
    fitted = train(accepting)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["boxes"]["count"] == len(now) == len(rows_of(fitted).all_sigma(torch.zeros(len(now)).long()))
    assert set(result["boxes"]["sigma"]) == {"p05", "p50", "p95"}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"task": "detection", "data_parameters": "instance", "method": "sigma-drop"}, "sigma is of boxes"),
        ({"task": "detection", "sigma_regression": True}, "must come with data parameters"),
        ({"data_parameters": "instance", "sigma_regression": True}, "task detection"),
        ({"task": "detection", "data_parameters": "class", "instance_rate": 0.1}, "instance or joint"),
    ],
)
def test_settings_that_do_not_fit_boxes(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TrainConfig(Path("data"), **settings)


def test_settings_of_boxes_are_taken() -> None:
    config = TrainConfig(
        Path("data"), task="detection", data_parameters="joint", sigma_regression=True, preset="paper-kitti"
    )
    temperature = temperature_of_config(config)
    assert temperature is not None
    assert (temperature.kind, temperature.regression, temperature.clamp) == ("joint", True, "none")
