"""The command line as a user meets it: one line for every mistake, any file names, the same command goes on."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tamis import cli
from tamis.recipes.command_config import ScoreConfig
from tamis.recipes.config import TrainConfig

ODD = ("a b;$(touch x)", "=cmd()", "-rf", "<b>ü [red]x[/red]")


def write_images(folder: Path, classes: tuple[str, ...] = ("c0", "c1", "c2"), count: int = 14, side: int = 8) -> Path:
    """Images whose class is a bright bar."""
    random = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place in range(count):
            pixels = random.integers(0, 90, (side, side, 3), dtype=np.uint8)
            pixels[2 * number : 2 * number + 2] += 150
            Image.fromarray(pixels).save(folder / name / f"im {place:02d} [b];$(touch x).png")
    return folder


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Ask = Callable[..., Answer]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Ask]:
    """Run the command line in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def answer(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tamis", *map(str, words)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(cli.app, "config", ())
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        texts = capfd.readouterr()
        return Answer(code, texts.out, texts.err)

    yield answer
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "plain")


@pytest.fixture
def here(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with the images as `plain`."""
    (tmp_path / "plain").symlink_to(images)
    monkeypatch.chdir(tmp_path)
    return tmp_path


QUICK = ("--data", "plain", "--epochs", "1", "--batch-size", "16")


# ----- help -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "score", "report", "explain", "demo"])
def test_help_names_every_setting(ask: Ask, command: str) -> None:
    answer = ask(command, "--help")
    assert answer.code == 0
    settings = {"train": TrainConfig, "score": ScoreConfig}.get(command)
    for each in fields(settings) if settings else ():
        if each.name not in ("data", "runs"):
            assert f"--{each.name.replace('_', '-')} " in answer.out, each.name
    assert "--empty" not in answer.out
    assert "--config" in answer.out


# ----- mistakes -------------------------------------------------------------------------------------------------

MISTAKES = [
    ("traim", 'Unknown command "traim". Did you mean "train"?'),
    ("train", "--data requires an argument"),
    ("train --data plain --epochz 3", "Unknown option: --epochz. Did you mean --epochs?"),
    ("train --data plain --epochs many", 'Invalid value for --epochs: unable to convert "many" into int.'),
    ("train --data plain --epochs 0", "epochs must be at least 1, got 0"),
    ("train --data plain --lr -1", "lr must be above 0, got -1.0"),
    ("train --data plain --lr nan", "lr must be above 0, got nan"),
    ("train --data plain --hold-out 1", "hold_out must be in (0, 1), got 1.0"),
    ("train --data plain --momentum 1", "momentum must be in [0, 1), got 1.0"),
    ("train --data plain --crop -1", "crop must be at least 0, got -1"),
    ("train --data plain --method fast", 'Invalid value "fast" for --method. Choose from: "uniform", "random"'),
    ("train --data plain --method sigma-drop", "add --data-parameters instance"),
    ("train --data plain --start 0.5", "start must come with sigma-drop or loss-drop, got 'uniform'; leave it out"),
    ("train --data plain --preset paper", "preset must come with data parameters, got 'none'; add --data-parameters"),
    ("train --data plain --instance-rate 1", "instance settings must come with instance or joint, got 'none'"),
    ("train --data plain --oracle", "oracle must come with noise, got none"),
    ("train --data plain extra", "Unused Tokens: ['extra']"),
    ("train --data nowhere", "data must be a folder or a file, got 'nowhere', which does not exist"),
    ("train --data plain --noise foo", "noise must be none, symmetric, permute, asymmetric, random or a CIFAR-N"),
    ("train --data plain --noise no.npz", "noise must be a file that is there, got 'no.npz'; correct the path"),
    ("train --data plain --optimizer foo", "optimizer must be a name in torch.optim, got 'foo'"),
    ("train --data plain --optimizer LBFGS", "optimizer must take lr, weight_decay, got 'LBFGS'"),
    ("train --data plain --device gpu", "device must be one that works here, got 'gpu'"),
    ("train --data plain --model resnet19", "model must be a known name, got 'resnet19'; the nearest are resnet18"),
    ("train --data plain --model nowhere:net", "model must name a module that can be imported, got 'nowhere:net'"),
    ("train --data plain --model os:sep", "model must name a callable of 'os', got 'sep'"),
    ("train --data plain --weights no.pt", "weights must be an existing file, got 'no.pt'"),
    ("train --data plain --validation nowhere", "data must be a folder or a file, got 'nowhere'"),
    ("train --data plain --exclude no.txt", "exclude must be a file that is there, got 'no.txt'; correct the path"),
    ("train --data plain --out file", "run folder must be a folder, got the file file"),
    ("train --data plain --out full", "run folder must be new or empty, got full with other files; choose another"),
    ("train --config no.yaml", "config must be a file that is there, got 'no.yaml'; correct the path"),
    ("train --config file", "config must end in .toml, .yaml or .yml, got 'file'; rename it"),
    ("score", "runs must name at least one run folder, got none; or give --model, --weights and --data"),
    ("score nowhere", "run must be a run folder with run.json, got 'nowhere'"),
    ("score nowhere --scores los", 'Invalid value "los" for --scores. Choose from: "loss"'),
    ("score nowhere --out x.txt", "out must end in .parquet or .csv, got 'x.txt'"),
    ("report nowhere", "run must be a run folder with run.json, got 'nowhere'"),
    ("explain nowhere 3", "run must have ledger/samples.parquet, got none in 'nowhere'"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_a_mistake_ends_with_one_line(ask: Ask, here: Path, words: str, message: str) -> None:
    (here / "file").write_text("x")
    (here / "full").mkdir()
    (here / "full" / "file").write_text("x")
    answer = ask(*words.split())
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.startswith("tamis: ")
    assert answer.err.count("\n") == 1


CONFIG_MISTAKES = [
    ("a.yaml", "data: plain\nepochz: 2\n", 'Unknown option: "[epochz]" from a.yaml:2. Did you mean --epochs?'),
    ("a.toml", 'data_paramters = "joint"\n', "from a.toml:1. Did you mean --data-parameters?"),
    ("a.yaml", "data: plain\nepochs: many\n", 'for [epochs] from a.yaml:2: unable to convert "many" into int.'),
    ("a.yaml", "data: plain\nflip: maybe\n", 'for [flip] from a.yaml:2: unable to convert "maybe" into bool.'),
    ("a.yaml", "data: plain\nlr: [1, 2]\n", "Invalid value for [lr] from a.yaml"),
    (
        "a.yaml",
        "data: plain\nmethod: fast\n",
        'Invalid value "fast" for [method] from a.yaml:2. Choose from: "uniform"',
    ),
    ("a.yaml", "- a\n", "config must be lines of setting: value, got a list in 'a.yaml'"),
    ("a.yaml", "", "config must be lines of setting: value, got nothing in 'a.yaml'"),
    ("a.yaml", "data: [a\n", "config must be YAML, got while parsing a flow sequence in"),
    ("a.toml", 'data = "a\n', "config must be TOML, got Illegal character '\\n' (at line 1, column 10) in 'a.toml'"),
]


@pytest.mark.parametrize(("name", "text", "message"), CONFIG_MISTAKES)
def test_a_mistake_in_a_config_names_file_and_key(ask: Ask, here: Path, name: str, text: str, message: str) -> None:
    (here / name).write_text(text)
    answer = ask("train", "--config", name)
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_debug_shows_the_traceback(ask: Ask, here: Path) -> None:
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        ask("train", "--data", "plain", "--epochs", 0, "--debug")


def test_an_unreadable_image_is_named(ask: Ask, here: Path, images: Path) -> None:
    shutil.copytree(images, here / "bad")
    (here / "bad" / "c1" / "broken.png").write_bytes(b"hello")
    answer = ask("train", "--data", "bad", "--epochs", 1)
    assert answer.code == 2
    assert "'c1/broken.png'" in answer.err


def test_too_few_images(ask: Ask, here: Path) -> None:
    write_images(here / "two", ("a", "b"), 1)
    assert "hold_out must leave at least one image to judge by, got 0.1 of 2" in ask("train", "--data", "two").err
    write_images(here / "one", ("a",), 20)
    answer = ask("train", "--data", "one")
    assert (answer.code, "classes must be at least 2, got 1" in answer.err) == (2, True)


def test_validation_must_fit(ask: Ask, here: Path) -> None:
    write_images(here / "other", ("x", "y"))
    write_images(here / "large", side=16)
    answer = ask("train", *QUICK, "--validation", "other")
    assert "must have the classes of the training images, 'c0', 'c1', 'c2', got 'x', 'y' in 'other'" in answer.err
    answer = ask("train", *QUICK, "--validation", "large")
    assert "as the training images, 8 x 8 pixels in colour, got 16 x 16 pixels" in answer.err


# ----- a whole course -------------------------------------------------------------------------------------------


def test_train_exclude_explain_report_with_odd_names(ask: Ask, here: Path) -> None:
    write_images(here / "odd;$(touch x)", ODD)
    data = ("--data", "odd;$(touch x)", "--epochs", 2, "--batch-size", 16)
    answer = ask("train", *data, "--data-parameters", "instance", "--out", "run [b]1[/b] -x")
    assert answer.code == 0
    assert answer.err == ""
    assert answer.out.startswith("tamis train: odd;$(touch x) -> run [b]1[/b] -x\n")
    assert answer.out.endswith("report: run [b]1[/b] -x/report.html\n")
    assert "\x1b" not in answer.out  # plain lines where the output is no terminal
    assert "\n\n" not in answer.out

    with (here / "run [b]1[/b] -x" / "suspects.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert all(row[1][0] not in "=+-@" for row in rows)
    with (here / "some.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows[:20])
    listed = {row[1].removeprefix("'") for row in rows[1:20]}
    assert {key.split("/")[0] for key in listed} >= {"=cmd()", "-rf"}
    answer = ask("train", *data, "--exclude", "some.csv", "--out", "again")
    assert answer.code == 0
    assert "hidden 19" in answer.out
    keys = pq.read_table(here / "again" / "ledger" / "samples.parquet")["key"].to_pylist()
    shown = pq.read_table(here / "again" / "ledger" / "epoch-00000-000.parquet")["index"].to_pylist()
    assert {keys[place] for place in shown} == set(keys) - listed

    key = next(key for key in keys if key.startswith("-rf"))
    answer = ask("explain", "run [b]1[/b] -x", key)
    assert answer.code == 0
    assert answer.out.startswith(key)
    assert answer.out.count("\n") == 6
    answer = ask("explain", "again", "c0/im 00.png")
    assert (answer.code, "the nearest key is" in answer.err) == (2, True)
    answer = ask("report", "again", "run [b]1[/b] -x", "--out", "both.html")
    assert answer.out.endswith("report: both.html\n")
    assert not list(here.rglob("x"))  # nothing was run by a shell


def test_a_config_file_and_flags(ask: Ask, here: Path) -> None:
    (here / "a.toml").write_text('data = "plain"\nepochs = 2\nbatch-size = 16\nreport = false\n')
    answer = ask("train", "--config", "a.toml", "--epochs", 1, "--out", "r")
    assert answer.code == 0
    assert "epochs: 1" in answer.out
    assert not (here / "r" / "report.html").exists()


def test_the_same_command_again(ask: Ask, here: Path, images: Path) -> None:
    shutil.copytree(images, here / "mine")
    words = ("train", "--data", "mine", "--out", "r", "--epochs", 1)
    first = ask(*words)
    again = ask(*words)
    assert "r is already trained to its end" in again.out
    assert first.out.splitlines()[-6:] == again.out.splitlines()[-6:]
    answer = ask(*words[:-1], 2, "--batch-size", 8)
    assert "got batch_size: 128 -> 8, epochs: 1 -> 2; use another --out" in answer.err
    (here / "mine" / "c0" / "im 00 [b];$(touch x).png").unlink()
    (here / "mine" / "c0" / "im 01 [b];$(touch x).png").unlink()
    answer = ask(*words)
    assert answer.code == 2
    assert "data must be what 'r' was trained on, got training +0 -2 ~0" in answer.err
    shutil.rmtree(here / "mine")
    answer = ask("report", "r")
    assert answer.code == 0
    assert "no pictures in the report: data must be a folder or a file, got 'mine'" in answer.out


def test_a_model_of_ones_own_from_the_working_directory(ask: Ask, here: Path) -> None:
    (here / "my_own_model.py").write_text(
        "from torch import nn\n"
        "def net(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))\n"
    )
    answer = ask("train", *QUICK, "--model", "my_own_model:net", "--no-report", "--no-history", "--out", "r")
    assert answer.code == 0
    assert "model my_own_model:net (Sequential, 579 parameters)" in answer.out
    assert answer.out.endswith("run folder: r\n")


@pytest.mark.parametrize(
    "extra",
    [
        "--method random --schedule cosine --optimizer AdamW --lr 0.001",
        "--method infobatch --schedule linear --accumulate 3",
        "--method self-paced --schedule steps --amp bf16 --channels-last",
        "--method loss-drop --start 0.5 --schedule flat --momentum 0",
        "--method sigma-drop --data-parameters joint --noise symmetric",
        "--data-parameters class --noise permute --crop 1 --no-flip",
        "--data-parameters instance --preset paper --noise asymmetric --oracle",
        "--data-parameters joint --preset published-imagenet --noise random",
        "--batch-size 500 --no-calibrate",
    ],
)
def test_every_kind_of_training_runs(ask: Ask, here: Path, extra: str) -> None:
    answer = ask("train", "--data", "plain", "--epochs", 2, *extra.split(), "--no-report", "--out", "r")
    assert answer.code == 0, answer.err
    assert "epoch   2/2" in answer.out


def test_score(ask: Ask, here: Path) -> None:
    for seed in (0, 1):
        ask("train", *QUICK, "--seed", seed, "--no-report", "--out", f"r{seed}")
    scores = ("loss", "margin", "entropy", "el2n", "grand", "forgetting", "aum")
    assert ask("score", "r0", "--scores", *scores).out == "tamis score: r0\nscores: r0/scores.csv\n"
    with (here / "r0" / "scores.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["key", "label", "predicted", *scores]
    assert len(rows) == 39
    assert ask("score", "r0", "r1", "--data", "plain", "--out", "both.parquet").code == 0
    both, one = (pq.read_table(here / name) for name in ("both.parquet", "both.parquet"))
    assert both.num_rows == one.num_rows == 42
    answer = ask("score", "r0", "r1", "--scores", "aum")  # other samples were held out
    assert "runs must be of the same samples for forgetting and aum, got others in 'r1'" in answer.err
    write_images(here / "other", ("x", "y"))
    assert "data must have the classes of the training images" in ask("score", "r0", "--data", "other").err


# ----- signals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_tells_how_to_go_on(
    ask: Ask, here: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def wait(config: TrainConfig) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr("tamis.recipes.commands.train_command", wait)
    answer = ask("train", "--data", "a b", "--out", "r")
    assert answer.code == 128 + number
    assert "tamis: stopped; to go on: tamis train --data 'a b' --out r\n" in answer.err


@pytest.mark.slow
@pytest.mark.alone
def test_the_first_line_comes_at_once_and_a_signal_ends_a_real_process(here: Path) -> None:
    words = [str(Path(sys.executable).with_name("tamis")), "train", "--data", "plain", "--epochs", "10000"]
    started = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("tamis train: plain -> runs/plain-uniform-seed0-")
        assert time.perf_counter() - started < 2
        while not process.stdout.readline().startswith("epoch "):
            pass
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "tamis: stopped and saved; to go on: tamis train --data plain --epochs 10000" in err
