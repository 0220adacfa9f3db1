"""What lies under the commands: configurations, the data of a run, what is said of it, going on after a kill."""

import csv
import io
import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from tamis.data import FileImages, Images, MemoryImages, UnreadableImage
from tamis.fit import Cosine, Progress
from tamis.fit.settings import device_of
from tamis.history import write_samples
from tamis.methods import PRESETS
from tamis.moment import Moment
from tamis.recipes.command_config import ScoreConfig
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import Data, excluded, hold_to_samples, load, open_like
from tamis.recipes.demo import demo_command
from tamis.recipes.explain import told
from tamis.recipes.score import score, score_command
from tamis.recipes.train import method_of, settings_of, temperature_of_config, train
from tamis.recipes.watching import epoch_line, pace, progress_bar
from tamis.report import EpochStory, SampleStory
from tamis.run import Run, checkpoint_of
from test_cli import write_images

CONFIG = TrainConfig(Path("data"))


def source(count: int = 12, prefix: str = "") -> MemoryImages:
    pixels = torch.arange(count * 64, dtype=torch.uint8).view(count, 1, 8, 8)
    keys = [f"{prefix}{'=a' if place % 2 else 'b'}/{place}" for place in range(count)]
    return MemoryImages(pixels, torch.arange(count) % 2, ("b", "=a"), keys)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "plain", count=20)


# ----- configurations -------------------------------------------------------------------------------------------


def test_a_configuration_survives_json() -> None:
    config = replace(CONFIG, out=Path("a b"), exclude=Path("x.csv"), data_parameters="joint", instance_rate=0.5)
    plain = json.loads(json.dumps(config.plain()))
    assert TrainConfig.from_plain(plain) == config
    assert TrainConfig.from_plain(plain).plain() == plain
    with pytest.raises(ValueError, match="must have settings of this version of tamis, got 'paces'"):
        TrainConfig.from_plain(plain | {"paces": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"noise_ratio": 1.1}, r"noise_ratio must be in \[0, 1\], got 1.1"),
        ({"ratio": 0.0}, r"ratio must be in \(0, 1\), got 0.0"),
        ({"weight_decay": float("nan")}, "weight_decay must be at least 0, got nan"),
        ({"instance_rate": 0.0, "data_parameters": "joint"}, "instance_rate must be above 0, got 0.0"),
    ],
)
def test_a_setting_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_score_needs_a_run() -> None:
    with pytest.raises(ValueError, match="runs must name at least one run folder"):
        ScoreConfig([])


@pytest.mark.parametrize(
    ("data", "changes", "name"),
    [
        ("x/cifar.tar.gz", {}, "cifar-uniform-seed0"),
        ("x/digits", {"data_parameters": "joint", "seed": 3}, "digits-uniform-joint-seed3"),
        ("x/d", {"out": None, "workers": 7, "processes": 2, "steps": [0.3, 0.6, 0.9]}, "d-uniform-seed0"),
    ],
)
def test_the_default_run_folder(data: str, changes: dict[str, Any], name: str) -> None:
    assert TrainConfig(Path(data), **changes).folder == Path("runs") / name


def test_other_settings_have_another_run_folder() -> None:
    """So that two runs that differ in anything that matters never meet in one."""
    changes: list[dict[str, Any]] = [{}, {"epochs": 9}, {"lr": 0.2}, {"noise": "random"}, {"steps": [0.5]}]
    changes += [{"noise": "random", "oracle": True}, {"exclude": Path("list")}]
    folders = [TrainConfig(Path("x/.hidden"), **each).folder.name for each in changes]
    assert len(set(folders)) == len(folders)
    assert folders[1].startswith("data-uniform-seed0-")
    assert folders[5].startswith("data-uniform-oracle-seed0-")


def test_several_processes_are_started_elsewhere(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    with pytest.raises(ValueError, match="processes must be started by the command line or torchrun, got 2 in one"):
        train(replace(CONFIG, data=tmp_path / "images", processes=2, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_settings_of_data_parameters() -> None:
    assert temperature_of_config(CONFIG) is None
    joint = replace(CONFIG, data_parameters="joint")
    assert temperature_of_config(joint) == replace(PRESETS["default"], kind="joint")
    paper = temperature_of_config(replace(joint, data_parameters="instance", preset="paper"))
    assert paper == replace(PRESETS["paper"], kind="instance")
    own = temperature_of_config(replace(joint, instance_rate=0.3, instance_decay=0.1))
    assert own == replace(PRESETS["default"], kind="joint", instance_rate=0.3, instance_decay=0.1)


def test_settings_of_the_loop() -> None:
    settings = settings_of(replace(CONFIG, optimizer="AdamW", lr=0.01, schedule="cosine", accumulate=2))
    group = settings.optimizer([torch.zeros(1, requires_grad=True)]).param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.01, 5e-4)
    assert (settings.schedule, settings.accumulate) == (Cosine(), 2)
    group = settings_of(CONFIG).optimizer([torch.zeros(1, requires_grad=True)]).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.9, True)
    plain = settings_of(replace(CONFIG, momentum=0.0)).optimizer([torch.zeros(1, requires_grad=True)])
    assert not plain.param_groups[0]["nesterov"]


def test_a_device_that_is_not_there() -> None:
    assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device must be one that works here, got 'cuda:99'"):
        device_of("cuda:99")


# ----- data -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["symmetric", "permute", "asymmetric", "random"])
def test_noise_is_for_training_only(images: Path, noise: str) -> None:
    config = TrainConfig(images, noise=noise, noise_ratio=0.8, hold_out=0.25)
    clean, noisy = load(replace(config, noise="none")), load(config)
    assert noisy.validation.keys == clean.validation.keys
    assert noisy.validation.labels.equal(clean.validation.labels)
    assert [noisy.validation.class_names[each] for each in noisy.validation.labels] == [
        key.split("/")[0] for key in noisy.validation.keys
    ]
    assert noisy.noise is not None
    assert noisy.train.keys == clean.train.keys
    assert noisy.noise.clean.equal(clean.train.labels)
    assert noisy.noise.changed.equal(noisy.train.labels != clean.train.labels)
    assert noisy.noise.changed.any()


def test_excluded_samples(tmp_path: Path) -> None:
    data = Data(source(), source(4, "held-out/"))
    table, lines = tmp_path / "a.csv", tmp_path / "a.txt"
    table.write_text("\ufeffrank,key\r\n1,'=a/3\r\n2,b/4\r\n3,held-out/b/0\r\n", newline="")
    lines.write_text("=a/3\nb/4\n\nheld-out/b/0\n")
    for path in (table, lines):
        assert excluded(path, data).nonzero().flatten().tolist() == [3, 4]
    lines.write_text("b/0\nnone\nother\n")
    with pytest.raises(ValueError, match=r"such as 'b/0', got 'none' in .*a\.txt' and 1 more; correct them"):
        excluded(lines, data)
    table.write_text("name;key\n")
    with pytest.raises(ValueError, match=r"exclude must have a column key, got \['name;key'\]"):
        excluded(table, data)
    lines.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="exclude must be text in UTF-8"):
        excluded(lines, data)


def test_the_method_hides_what_is_left_out(tmp_path: Path, images: Path) -> None:
    config = TrainConfig(images, noise="symmetric", oracle=True)
    data = load(config)
    assert data.noise is not None
    listed = tmp_path / "a.txt"
    listed.write_text(data.train.keys[5])
    rule = method_of(replace(config, exclude=listed), data).rule
    moment = Moment(epoch=0, epochs=2, seed=0)
    weight = rule(torch.ones(len(data.train)), torch.full((len(data.train),), torch.nan), moment)
    hidden = data.noise.changed.clone()
    hidden[5] = True
    assert weight.eq(0).equal(hidden)


def test_a_run_is_held_to_its_samples(tmp_path: Path) -> None:
    train = source()
    write_samples(tmp_path / "ledger", train.keys, train.labels, None)
    hold_to_samples(tmp_path, train)
    changed = train.labels.clone()
    changed[7] = 0
    with pytest.raises(ValueError, match="got 12, which differ from '=a/7' on"):
        hold_to_samples(tmp_path, train.with_labels(changed))
    with pytest.raises(ValueError, match=r"the 12 samples .*, got 11, which differ from '=a/11' on"):
        hold_to_samples(tmp_path, train.select(torch.arange(11)))


# ----- scores ---------------------------------------------------------------------------------------------------


def trained_with_bad_files(folder: Path, side: int, seed: int = 0, *, bad: int = 4) -> TrainConfig:
    """Train on 30 images of each of two classes, of which the first ones cannot be read."""
    if not (folder / "images").exists():
        write_images(folder / "images", ("c0", "c1"), count=30, side=side)
    for path in sorted((folder / "images" / "c0").iterdir())[:bad]:
        path.write_bytes(b"no image")
    config = TrainConfig(
        folder / "images",
        out=folder / f"run{seed}",
        epochs=1,
        batch_size=8,
        max_bad=0.1,
        model="small",
        image_size=16,
        hold_out=0.1,
        workers=0,
        seed=seed,
    )
    train(config)
    return config


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("side", "kind"), [(96, FileImages), (8, MemoryImages)])
def test_scores_leave_out_what_cannot_be_read(
    tmp_path: Path, side: int, kind: type[Images], capsys: pytest.CaptureFixture[str]
) -> None:
    config = trained_with_bad_files(tmp_path, side)
    data = load(config, config.folder)
    assert isinstance(data.train, kind)
    bad = {f"c0/{path.name}" for path in sorted((tmp_path / "images" / "c0").iterdir())[:4]}
    wanted: list[Any] = ["loss", "grand", "forgetting", "aum"]
    table, left_out = score(ScoreConfig([config.folder], scores=wanted, batch_size=1))
    rows = rows_of(table)
    assert [row["key"] for row in rows] == [key for key in data.train.keys if key not in bad]
    assert len(rows) >= 50
    assert set(left_out) == (bad & set(data.train.keys) if kind is FileImages else bad)
    assert len(left_out) >= 2
    assert {row["label"] for row in rows} == {"c0", "c1"}
    assert all(row["label"] == row["key"].split("/")[0] for row in rows)
    parts = pq.read_table(sorted((config.folder / "ledger").glob("epoch-*.parquet"))).to_pylist()
    margins = {data.train.keys[part["index"]]: part["margin"] for part in parts}
    for row in rows:
        assert float(row["aum"]) == pytest.approx(margins[row["key"]], rel=1e-4), row["key"]
    capsys.readouterr()
    score_command(ScoreConfig([config.folder], data=tmp_path / "images", out=tmp_path / "all.csv"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "images that could not be read and were left out: 4"
    assert [line.split(": ")[0] for line in lines[1:5]] == [f"  {key!r}" for key in sorted(bad)]
    assert len(rows_of(tmp_path / "all.csv")) == 56
    one, three = (score(ScoreConfig([config.folder], batch_size=size))[0].read_text() for size in (60, 3))
    keys = [[line.split(",")[:3] for line in text.splitlines()] for text in (one, three)]
    assert keys[0] == keys[1]


def test_runs_that_are_averaged_have_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [trained_with_bad_files(tmp_path, 96, seed) for seed in (0, 1)]
    asked = ScoreConfig([config.folder for config in configs], data=tmp_path / "images", out=tmp_path / "a.csv")
    assert len(rows_of(score(asked)[0])) == 56
    apart = [rows_of(score(replace(asked, runs=[run], out=tmp_path / "b.csv"))[0]) for run in asked.runs]
    for row, *each in zip(rows_of(tmp_path / "a.csv"), *apart, strict=True):
        assert float(row["loss"]) == pytest.approx(sum(float(one["loss"]) for one in each) / 2, rel=1e-4)

    def opened(path: Path, config: TrainConfig, *others: Any) -> Images:
        if config.seed == 1:  # it rots between the two
            (path / "c0" / "im 07 [b];$(touch x).png").write_bytes(b"")
        return open_like(path, config, *others)

    monkeypatch.setattr("tamis.recipes.score.open_like", opened)
    with pytest.raises(ValueError, match=r"runs must be scored on the same images, got 55 .*run1' and 56 before"):
        score(asked)


def test_no_scores_of_too_many_images_that_cannot_be_read(tmp_path: Path) -> None:
    config = trained_with_bad_files(tmp_path, 96)
    shutil.copytree(tmp_path / "images", tmp_path / "worse")
    for path in sorted((tmp_path / "worse" / "c1").iterdir())[:3]:
        path.write_bytes(b"")
    with pytest.raises(UnreadableImage, match="images must be readable but for 6 of the train split, got 7 that are"):
        score(ScoreConfig([config.folder], data=tmp_path / "worse"))


# ----- runs -----------------------------------------------------------------------------------------------------


def test_a_run_that_has_no_epoch_yet_is_begun_anew(tmp_path: Path) -> None:
    Run(tmp_path, {"config": {"lr": -1}})
    (tmp_path / "ledger" / "decisions-00000.parquet").write_text("of the first attempt")
    run = Run(tmp_path, {"config": {"lr": 1}})
    assert not run.resumed
    assert json.loads((tmp_path / "run.json").read_text()) == {"config": {"lr": 1}}
    assert not list((tmp_path / "ledger").iterdir())


def killed_after(config: TrainConfig, epochs: int, number: int) -> None:
    """Train in another process and send it a signal once so many epochs are finished."""
    # Not a fork of this process: autograd may have threads here, started by torch.compile in another test.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tamis.recipes.train"])
    process = context.Process(target=train, args=(config,))
    process.start()
    assert process.pid is not None
    metrics = config.folder / "metrics.jsonl"
    while process.is_alive() and (not metrics.is_file() or len(metrics.read_text().splitlines()) < epochs):
        time.sleep(0.005)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == -number
    assert not (config.folder / "result.json").exists()


def assert_same_end(one: Path, other: Path) -> None:
    for which in ("last", "best"):
        files = [checkpoint_of(run, which) / "model.safetensors" for run in (one, other)]
        assert files[0].read_bytes() == files[1].read_bytes()
    for path in (one / "ledger").iterdir():
        assert pq.read_table(path).equals(pq.read_table(other / "ledger" / path.name)), path.name
    results = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    for name in ("last", "best", "calibration"):
        assert results[0][name] == results[1][name]


def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, images: Path) -> None:
    config = TrainConfig(
        images, epochs=25, batch_size=8, method="sigma-drop", data_parameters="joint", crop=1, threads=1
    )
    config = replace(config, noise="symmetric")
    straight, killed = replace(config, out=tmp_path / "straight"), replace(config, out=tmp_path / "killed")
    train(straight)
    killed_after(killed, 5, signal.SIGKILL)
    train(killed)
    assert_same_end(straight.folder, killed.folder)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["uniform", "random", "infobatch", "self-paced", "loss-drop"])
def test_a_run_killed_three_times_ends_as_if_it_had_not_been(tmp_path: Path, images: Path, method: Any) -> None:
    config = TrainConfig(images, epochs=80, batch_size=8, method=method, optimizer="AdamW", lr=0.001, threads=1)
    straight, killed = replace(config, out=tmp_path / "straight"), replace(config, out=tmp_path / "killed")
    train(straight)
    for epochs in (1, 20, 45):
        killed_after(killed, epochs, signal.SIGKILL)
    train(killed)
    assert_same_end(straight.folder, killed.folder)


@pytest.mark.slow
def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    demo_command(tmp_path / "demo")
    lines = capsys.readouterr().out.splitlines()
    labels, counting = lines.index("[1/3] wrong labels"), lines.index("[2/3] counting")
    culling = lines.index("[3/3] culling")
    told = lines[labels + 2 : labels + 5]
    assert [line.split("  ")[0] for line in told] == [
        "plain training",
        "data parameters",
        "oracle (clean labels only)",
    ]
    plain, ours, oracle = (float(line.split("%")[0].split()[-1]) for line in told)
    assert plain + 5 < ours < oracle + 2
    assert int(lines[labels + 5].split()[0]) >= 90
    assert lines[counting - 1] == f"report: {tmp_path}/demo/report.html"
    errors = [float(line.split("MAE")[1].split()[0]) for line in lines[counting:] if "MAE" in line]
    mean_predictor = 69  # what counting every picture as the average one gives
    assert len(errors) == 2
    assert max(errors) < 0.9 * mean_predictor
    assert lines[culling - 1] == f"report: {tmp_path}/demo/counting.html"
    before, random, after = (float(line.split("mAP50")[1].split()[0]) for line in lines[culling:] if "mAP50" in line)
    assert before + 3 < after
    assert before < random
    page = "camera/session-001/report.html"
    assert lines[-1] == f"report: {tmp_path}/demo/{page}"
    for name in ("report.html", "counting.html", page):
        assert (tmp_path / "demo" / name).stat().st_size < 5_000_000


# ----- what is said ---------------------------------------------------------------------------------------------

ROW = {
    "epoch": 1,
    "train_loss": 0.5,
    "validation": {"accuracy": 0.25},
    "sigma": {"p05": 0.001, "p50": 1.0, "p95": 20.0},
    "hidden": 1234,
    "seconds": 60.0,
    "samples_seen": 6000,
}


def test_an_epoch_in_a_line() -> None:
    assert epoch_line(ROW, 4) == (
        "epoch   2/4 · loss 0.5000 · validation 25.00 % · sigma 0.001 / 1 / 20 · hidden 1,234 · 60 s · "
        "100 images/s, 0:01:00 left"
    )
    bare = epoch_line(ROW | {"validation": None, "sigma": None, "hidden": 0}, 4)
    assert bare == "epoch   2/4 · loss 0.5000 · 60 s · 100 images/s, 0:01:00 left"


def test_pace() -> None:
    assert pace(50_000, 10.0, 0.5, 30) == "5,000 images/s, 0:09:50 left"
    assert pace(0, 0.0, 0.0, 30) == "0 images/s, 0:00:00 left"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_for_terminals(terminal: bool) -> None:
    text = io.StringIO()
    with progress_bar("training", 4, Console(file=text, force_terminal=terminal, width=70)) as watch:
        watch(Progress(epoch=1, done=50, shown=100, samples_seen=150, seconds=3.0))
    assert ("training 2/4" in text.getvalue()) is terminal
    assert ("50 images/s, 0:00:05 left" in text.getvalue()) is terminal
    assert terminal or not text.getvalue()


def test_a_story_in_lines() -> None:
    shown = EpochStory(0, loss=0.5, margin=-1.25, correct=False, predicted=0, weight=1.0, sigma=2.0)
    epochs = (shown, EpochStory(1, weight=0.0, hidden="its loss"))
    story = SampleStory(7, "b/7.png", 1, 0, "sigma", 2.0, 3, 1000, epochs)
    assert told(story, ["a", "b"]) == [
        "b/7.png (sample 7)",
        "label b, which is wrong: it is a",
        "sigma 2: place 3 of 1,000, the first looks most wrong",
        "epoch     loss   margin  weight    sigma  predicted",
        "    1      0.5    -1.25       1        2  a (not its label)",
        "    2  hidden: its loss",
    ]
    assert told(replace(story, score=None, clean_label=None, epochs=()), ["a", "b"])[1:3] == ["label b", "never shown"]
