"""Wrong settings, in files and as flags: each is refused in one line that names the setting and where it stands."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from tamis import cli
from tamis.recipes.command_config import ScoreConfig
from tamis.recipes.config import TrainConfig
from tamis.recipes.settings_file import LIMIT, read_settings
from tamis.recipes.train import train
from trainings import write_images


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.app, "config", ())
    return tmp_path


def asked(*words: str) -> str:
    """What the command line says to words that it refuses, in one line as `main` prints it."""
    with pytest.raises((ValueError, OSError)) as caught:
        cli.app.meta(list(words))
    return " ".join(str(caught.value).split())


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        cli.app.meta(list(words))
    assert not end.value.code
    return capsys.readouterr().out


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[str, str]]:
    """Value and source of every setting that `--show-config` shows, by name."""
    rows = {}
    for line in printed(capsys, *words, "--show-config").splitlines():
        name, rest = line.split(": ", 1)
        value, source = rest.rsplit("# ", 1)
        rows[name] = (value.strip(), source)
    return rows


# ----- files ------------------------------------------------------------------------------------------------------

FILES = [
    (
        "a.yaml",
        "data: x\nnoise_ration: 1\n",
        'Unknown option: "[noise_ration]" from a.yaml:2. Did you mean --noise-ratio?',
    ),
    ("a.yaml", "# why\n\nepochz: 2\n", 'Unknown option: "[epochz]" from a.yaml:3. Did you mean --epochs?'),
    ("a.toml", 'data = "x"\ndata_paramters = "joint"\n', "from a.toml:2. Did you mean --data-parameters?"),
    (
        "a.yaml",
        "data: x\nepochs: many\n",
        'Invalid value for [epochs] from a.yaml:2: unable to convert "many" into int.',
    ),
    (
        "a.yaml",
        "data: x\nflip: maybe\n",
        'Invalid value for [flip] from a.yaml:2: unable to convert "maybe" into bool.',
    ),
    ("a.yaml", "data: x\nlr: [1, 2]\n", "Invalid value for [lr] from a.yaml:2: unable to convert"),
    ("a.yaml", "epochs: 2.5\n", "epochs must be a whole number, got '2.5' in a.yaml:1; leave the fraction out"),
    ("a.toml", "epochs = 2.5\n", "epochs must be a whole number, got '2.5' in a.toml:1; leave the fraction out"),
    (
        "a.yaml",
        "data: x\nepochs: true\n",
        'Invalid value for [epochs] from a.yaml:2: unable to convert "True" into int.',
    ),
    ("a.yaml", "data: x\nlr: -1\n", "lr must be above 0, got -1.0 (lr is set in a.yaml:2)"),
    ("a.yaml", "data: x\nlr: .nan\n", "lr must be above 0, got nan (lr is set in a.yaml:2)"),
    ("a.toml", 'data = "x"\n\nlr = nan\n', "lr must be above 0, got nan (lr is set in a.toml:3)"),
    ("a.toml", 'data = "x"\nlr = inf\n', "lr must be finite, got inf (lr is set in a.toml:2)"),
    ("a.yaml", "data: x\nmomentum: 1\n", "momentum must be in [0, 1), got 1.0 (momentum is set in a.yaml:2)"),
    (
        "a.yaml",
        "data: x\nsteps: [0.5, nan]\n",
        "steps must be in (0, 1), got [0.5, nan]; epoch 80 of 84 is 0.9524 (steps",
    ),
    (
        "a.yaml",
        f"data: x\nepochs: {10**30}\n",
        f"epochs must be at most 2147483647, got {10**30} (epochs is set in a.yaml:2)",
    ),
    ("a.yaml", f"data: x\nseed: {10**30}\n", f"seed must be from -2**63 to 2**63 - 1, got {10**30} (seed is set in"),
    (
        "a.yaml",
        "data: x\nmethod: sigma_drop\n",
        'Invalid value "sigma_drop" for [method] from a.yaml:2. Choose from: "uniform"',
    ),
    ("a.yaml", "data: x\nmethod: sigma_drop\n", 'Did you mean "sigma-drop"?'),
    (
        "a.yaml",
        "data: x\nlr: 1\n\nlr: 2\n",
        "setting must be given once, got 'lr' in a.yaml:4 and in line 2; remove one",
    ),
    ("a.yaml", "batch-size: 8\nbatch_size: 9\n", "got 'batch_size' in a.yaml:2 and in line 1; remove one"),
    ("a.toml", "lr = 1\nlr = 2\n", "Cannot overwrite a value (at line 2, column 7) in 'a.toml'; correct it"),
    ("a.yaml", "no-flip: true\n", "setting must be named without no-, got 'no-flip' in a.yaml:1; write flip: false"),
    ("a.yaml", "", "config must be lines of setting: value, got nothing in 'a.yaml'; add the settings"),
    ("a.toml", "", "config must be lines of setting: value, got nothing in 'a.toml'; add the settings"),
    ("a.yaml", "# only a comment\n", "config must be lines of setting: value, got nothing in 'a.yaml'"),
    ("a.yaml", "- data\n- x\n", "config must be lines of setting: value, got a list in 'a.yaml'"),
    ("a.yaml", "data\n", "config must be lines of setting: value, got one value in 'a.yaml'"),
    (
        "a.yaml",
        "data: x\nlr:\n  start: 1\n",
        "setting must be a value or a list of values, got dict for 'lr' in a.yaml:2",
    ),
    (
        "a.toml",
        'data = "x"\n[lr]\nstart = 1\n',
        "setting must be a value or a list of values, got dict for 'lr' in a.toml:2",
    ),
    ("a.yaml", "data: [a\n", 'config must be YAML, got while parsing a flow sequence in "a.yaml", line 1, column 7'),
    ("a.yaml", "data: x\n\tlr: 1\n", "config must be YAML, got while scanning"),
    ("a.toml", 'data = "a\n', "config must be TOML, got Illegal character '\\n' (at line 1, column 10) in 'a.toml'"),
    ("a.yaml", "data: x\n---\ndata: y\n", "config must be YAML, got expected a single document"),
    ("a.yaml", "data: !!set {x}\n", "setting must be a value or a list of values, got set for 'data' in a.yaml:1"),
    ("a.yaml", "#" * (LIMIT + 1), f"config must be at most {LIMIT} bytes, got {LIMIT + 1} in 'a.yaml'; shorten it"),
    ("a.ini", "data = x\n", "config must end in .toml, .yaml or .yml, got 'a.ini'; rename it"),
]


@pytest.mark.fault(29, "a wrong setting in a file is refused with its nearest name, its value and its line")
@pytest.mark.parametrize(("name", "text", "message"), FILES)
def test_a_wrong_setting_in_a_file(here: Path, name: str, text: str, message: str, seen) -> None:
    (here / name).write_text(text)
    said = asked("train", "--config", name)
    assert message in said
    assert "\n" not in said
    seen("every wrong file answered by its golden message")


def test_a_file_that_is_not_text(here: Path) -> None:
    (here / "a.yaml").write_bytes(b"data: \xff\xfe\n")
    assert "config must be YAML, got 'utf-8' codec can't decode byte 0xff" in asked("train", "--config", "a.yaml")
    (here / "b.toml").write_bytes(b'data = "\x00"')
    assert "config must be TOML, got Illegal character" in asked("train", "--config", "b.toml")
    assert "config must be a file that is there, got 'c.yaml'" in asked("train", "--config", "c.yaml")


# ----- flags ------------------------------------------------------------------------------------------------------

FLAGS = [
    ("--epochs 2.5", "epochs must be a whole number, got '2.5'; leave the fraction out"),
    ("--epochs 2.0", "epochs must be a whole number, got '2.0'; leave the fraction out"),
    ("--batch-size 1e2", 'Invalid value for --batch-size: unable to convert "1e2" into int.'),
    ("--threads .5", "threads must be a whole number, got '.5'; leave the fraction out"),
    ("--lr inf", "lr must be finite, got inf"),
    ("--lr nan", "lr must be above 0, got nan"),
    ("--weight-decay inf", "weight_decay must be finite, got inf"),
    ("--hold-out nan", "hold_out must be in (0, 1), got nan"),
    ("--noise-ratio 1.5", "noise_ratio must be in [0, 1], got 1.5"),
    ("--workers -1", "workers must be at least 0, got -1"),
    (f"--epochs {2**31}", "epochs must be at most 2147483647, got 2147483648"),
    (f"--batch-size {10**19}", f"batch_size must be at most 2147483647, got {10**19}"),
    (f"--seed {2**63}", f"seed must be from -2**63 to 2**63 - 1, got {2**63}"),
    ("--epochs " + "9" * 5000, "Invalid value for --epochs: unable to convert"),
    ("--method unifrom", 'Invalid value "unifrom" for --method. Choose from:'),
    ("--method unifrom", 'Did you mean "uniform"?'),
    ("--prune-ration 1", "Unknown option: --prune-ration"),
]


@pytest.mark.fault(29, "a wrong flag is refused with its name and its value")
@pytest.mark.parametrize(("words", "message"), FLAGS)
def test_a_wrong_flag(words: str, message: str, seen) -> None:
    assert message in asked("train", "--data", "x", *words.split())
    seen("every wrong flag answered by its golden message")


def test_whole_numbers_of_other_commands() -> None:
    assert "batch_size must be a whole number, got '8.5'" in asked("score", "run", "--batch-size", "8.5")
    assert "seed must be a whole number, got '0.5'" in asked("demo", "--seed", "0.5")


# ----- what is shown ----------------------------------------------------------------------------------------------


@pytest.mark.fault(29, "--show-config shows every setting, its value and its source, and is a file of settings itself")
def test_show_config(here: Path, capsys: pytest.CaptureFixture[str], seen) -> None:
    text = "data: 0123\nepochs: 5\nflip: off\nlr: 1e-3\nstart: null\nsteps:\n- 0.5\n- 0.75\nmethod: loss-drop\n"
    (here / "a.yaml").write_text(text)
    words = ("train", "--config", "a.yaml", "--epochs", "7", "--no-calibrate", "--out", "a: b # c\n'd'")
    rows = shown(capsys, *words)
    assert list(rows) == [each.name for each in fields(TrainConfig)]
    assert rows["data"] == ('"0123"', "a.yaml:1")
    assert rows["epochs"] == ("7", "flag")
    assert rows["flip"] == ("false", "a.yaml:3")
    assert rows["lr"] == ("0.001", "a.yaml:4")
    assert rows["start"] == ("null", "default")
    assert rows["steps"] == ("[0.5, 0.75]", "a.yaml:6")
    assert rows["calibrate"] == ("false", "flag")
    assert rows["momentum"] == ("0.9", "default")
    (here / "b.yaml").write_text(printed(capsys, *words, "--show-config"))
    again = shown(capsys, "train", "--config", "b.yaml")
    assert {name: value for name, (value, _) in again.items()} == {name: value for name, (value, _) in rows.items()}
    assert yaml.safe_load((here / "b.yaml").read_text())["out"] == "a: b # c\n'd'"
    seen(f"{len(rows)} settings with their sources, and the same again from what was shown", count=len(rows))


def test_show_config_of_the_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, "score", "r1", "r2", "--scores", "aum")
    assert list(rows) == [each.name for each in fields(ScoreConfig)]
    assert rows["runs"] == ('["r1", "r2"]', "flag")
    assert shown(capsys, "demo", "--seed", "3")["seed"] == ("3", "flag")


@pytest.mark.fault(29, "a flag wins over the file, and that is said")
def test_a_flag_wins_and_that_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seen
) -> None:
    (here / "a.toml").write_text('data = "x"\nepochs = 5\nflip = true\nlr = -1\n')
    taken: list[TrainConfig] = []
    monkeypatch.setattr("tamis.recipes.commands.train_command", taken.append)
    with pytest.raises(SystemExit):
        cli.app.meta(["train", "--config", "a.toml", "--epochs", "7", "--no-flip", "--lr", "1"])
    assert (taken[0].epochs, taken[0].flip, taken[0].lr) == (7, False, 1)
    assert capsys.readouterr().err.splitlines() == [
        "tamis: --epochs 7 wins over epochs in a.toml:2",
        "tamis: --lr 1 wins over lr in a.toml:4",
        "tamis: --no-flip wins over flip in a.toml:3",
    ]
    seen("3 of 3 flags win, and are named with the line they win over", count=3)


def test_show_config_loads_no_torch(here: Path) -> None:
    code = (
        "import atexit, sys; from tamis import cli; sys.argv[1:] = ['train', '--data', 'x', '--show-config']\n"
        "atexit.register(lambda: print(*sys.modules)); cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *shown_lines, modules = done.stdout.splitlines()
    assert shown_lines[0].startswith('data: "x"')
    assert not {"torch", "numpy", "pyarrow"} & set(modules.split())
    assert "yaml" in modules


# ----- the classes ------------------------------------------------------------------------------------------------

TYPES = [
    ({"epochs": 2.5}, "epochs must be a whole number, got 2.5; correct it"),
    ({"epochs": True}, "epochs must be a whole number, got True; correct it"),
    ({"lr": "0.1"}, "lr must be a number, got '0.1'; correct it"),
    ({"flip": 1}, "flip must be true or false, got 1; correct it"),
    ({"data": "x"}, "data must be a path, got 'x'; correct it"),
    ({"out": 3}, "out must be a path or null, got 3; correct it"),
    ({"steps": (0.5,)}, r"steps must be a list, each a number, got \(0.5,\); correct it"),
    ({"steps": [0.5, "x"]}, r"steps must be a list, each a number, got \[0.5, 'x'\]; correct it"),
    ({"schedule": "none"}, "schedule must be one of triangle, cosine, linear, steps, flat, got 'none'; correct it"),
    ({"method": ["uniform"]}, r"method must be one of uniform, .*, got \['uniform'\]; correct it"),
]


@pytest.mark.parametrize(("settings", "message"), TYPES)
def test_types_are_held(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TrainConfig(Path("x")), **settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "run.json must be as tamis train wrote it, got Expecting value"),
        ("[]", "run.json must be as tamis train wrote it, got no config"),
        ('{"config": []}', "run.json must be as tamis train wrote it, got no config"),
        ("[" * 100_000, "run.json must be as tamis train wrote it, got deep nesting"),
        ('{"config": {}}', "config must name its data, got none"),
        ('{"config": {"data": 5}}', "data must be a path, got 5; correct it"),
        ('{"config": {"data": "x", "epochs": "many"}}', "epochs must be a whole number, got 'many'"),
        ('{"config": {"data": "x", "epochs": NaN}}', "epochs must be a whole number, got nan"),
        ('{"config": {"data": "x", "evil": 1}}', "config must have settings of this version of tamis, got 'evil'"),
        ('{"config": {"data": "x", "weights": {"a": 1}}}', "weights must be a path or null"),
    ],
)
def test_a_damaged_run_json(here: Path, text: str, message: str) -> None:
    (here / "run.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        TrainConfig.read(here)
    assert "run.json" in str(caught.value)


def test_a_configuration_survives_its_file(here: Path) -> None:
    config = TrainConfig(Path("x"), out=Path("y"), steps=[0.5], start=0.5, method="loss-drop")
    (here / "run.json").write_text(json.dumps({"config": config.plain()}))
    assert TrainConfig.read(here) == config
    (here / "a.yaml").write_text("data: x\nlr: 2\n")
    assert read_settings(here / "a.yaml").values == {"data": "x", "lr": "2"}


# ----- settings that belong together ------------------------------------------------------------------------------

_COUNT = "--task counting"
TOGETHER = [
    ("--density-sigma 2", "density_sigma must come with the task counting, got 'classification'; leave it out"),
    ("--density adaptive", "density must come with the task counting, got 'classification'; leave it out"),
    ("--density-scale 9", "density_scale must come with the task counting, got 'classification'; leave it out"),
    ("--density-cache d", "density_cache must come with the task counting, got 'classification'; leave it out"),
    ("--annotations a.json", "annotations must come with counting or detection, got 'classification'; leave it out"),
    ("--at head", "at must come with the task counting, got 'classification'; leave it out"),
    ("--patch 64", "patch must come with the task counting, got 'classification'; leave it out"),
    ("--brightness 0.2", "brightness must come with counting or detection, got 'classification'; leave it out"),
    ("--contrast 0.2", "contrast must come with counting or detection, got 'classification'; leave it out"),
    ("--front-end a.pt", "front_end must come with the task counting, got 'classification'; leave it out"),
    ("--score-per head", "score_per must come with the task counting, got 'classification'; leave it out"),
    ("--tile 900", "tile must come with the task counting, got 'classification'; leave it out"),
    (f"{_COUNT} --new-head", "new_head must come with classification or detection, got 'counting'; leave it out"),
    (f"{_COUNT} --data-parameters joint", "data_parameters must be none or instance for counting, got 'joint'; there"),
    (f"{_COUNT} --data-parameters class", "data_parameters must be none or instance for counting, got 'class'; there"),
    (f"{_COUNT} --preset paper", "preset must come with data parameters, got 'none'; add --data-parameters"),
    (f"{_COUNT} --instance-rate 1", "instance settings must come with instance or joint, got 'none'"),
    (f"{_COUNT} --instance-decay 1", "instance settings must come with instance or joint, got 'none'"),
    (f"{_COUNT} --class-lr 1", "class_lr must come with class or joint, got 'none'; add --data-parameters"),
    (f"{_COUNT} --crop 2", "crop must come with the task classification, got 'counting'; leave it out"),
    (f"{_COUNT} --image-size 64", "image_size must come with the task classification, got 'counting'; leave it out"),
    (
        f"{_COUNT} --noise symmetric",
        "noise must come with classification or detection, got 'counting'; leave it out",
    ),
    (f"{_COUNT} --oracle", "oracle must come with the task classification, got 'counting'; leave it out"),
    (f"{_COUNT} --method sigma-drop", "data_parameters must be instance or joint for sigma-drop, got 'none'"),
    ("--pace linear", "pace must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--pace-start 0.5", "pace_start must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--pace-full 0.5", "pace_full must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--pace-unit batch", "pace_unit must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--prune 0.1", "prune must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--method random --prune-to 0.1", "prune_to must come with a curriculum such as clip, got 'random'; leave it out"),
    ("--reading algorithm1", "reading must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--balance 2", "balance must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--scorer run", "scorer must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--scorer-column el2n", "scorer_column must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--scorer-epochs 2", "scorer_epochs must come with a curriculum such as clip, got 'uniform'; leave it out"),
    ("--method infobatch --refresh 2", "refresh must come with a curriculum such as clip, got 'infobatch'; leave it"),
    ("--method clip --start 0.5", "start must come with sigma-drop or loss-drop, got 'clip'; leave it out"),
    ("--method clip --reading compounding --pace-unit batch", "pace_unit must be epoch for the reading compounding"),
    ("--method clip --scorer-column el2n", "scorer_column must come with a table as --scorer, got none; leave it out"),
    ("--method random-order --scorer run", "scorer must come with a curriculum by scores, got 'random-order'"),
    ("--method random-order --refresh 2", "must come with a curriculum by scores, got 'random-order'; leave it out"),
    ("--method random-order --scorer-epochs 2", "must come with a curriculum by scores, got 'random-order'; leave it"),
    ("--method clip --scorer run --scorer-epochs 2", "scorer_epochs must come without --scorer, got both; a scorer"),
    ("--method prune --pace linear", "pace must come with a curriculum, got 'prune', which shows all from the start"),
    ("--method prune --pace-start 0.5", "pace must come with a curriculum, got 'prune', which shows all from the"),
    ("--method prune --pace-full 0.5", "pace must come with a curriculum, got 'prune', which shows all from the"),
    ("--method prune --pace-unit batch", "pace must come with a curriculum, got 'prune', which shows all"),
    ("--method curriculum --prune 0.1", "prune must come with clip or prune, got 'curriculum', which"),
    ("--method curriculum --prune-to 0.1", "prune must come with clip or prune, got 'curriculum', which"),
    ("--method curriculum --reading algorithm1", "prune must come with clip or prune, got 'curriculum', which"),
    ("--method anti-curriculum --reading compounding", "reading must be lowest or algorithm1 for anti-curriculum"),
    ("--method clip --pace-start 0", "pace_start must be in (0, 1], got 0.0"),
    ("--method clip --pace-start 1.1", "pace_start must be in (0, 1], got 1.1"),
    ("--method clip --pace-full 0", "pace_full must be in (0, 1], got 0.0"),
    ("--method clip --pace-full nan", "pace_full must be in (0, 1], got nan"),
    ("--method clip --prune 1", "prune must be in [0, 1), got 1.0"),
    ("--method clip --prune -0.1", "prune must be in [0, 1), got -0.1"),
    ("--method clip --prune-to 1", "prune_to must be in [0, 1), got 1.0"),
    ("--method clip --balance -1", "balance must be at least 0, got -1"),
    ("--method clip --refresh -1", "refresh must be at least 0, got -1"),
    ("--method clip --scorer-epochs 0", "scorer_epochs must be at least 1, got 0"),
    ("--method clip --reading easiest", 'Invalid value "easiest" for --reading. Choose from:'),
    ("--method clp", 'Did you mean "clip"?'),
    (f"{_COUNT} --density-sigma 0", "density_sigma must be above 0, got 0.0"),
    (f"{_COUNT} --density-scale nan", "density_scale must be above 0, got nan"),
    (f"{_COUNT} --brightness 1", "brightness must be in [0, 1), got 1.0"),
    (f"{_COUNT} --patch -1", "patch must be at least 0, got -1"),
    ("--task segmentation", 'Invalid value "segmentation" for --task. Choose from:'),
]


@pytest.mark.fault(
    29, "settings that do not go together are refused before anything is opened, by name and with advice"
)
@pytest.mark.parametrize(("words", "message"), TOGETHER)
def test_settings_that_do_not_go_together(words: str, message: str, seen) -> None:
    said = asked("train", "--data", "x", *words.split())
    assert message in said
    assert "\n" not in said
    seen("every pair answered by its golden message")


def test_what_goes_together_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        "--method clip --pace geometric --pace-start 0.2 --pace-full 1 --prune 0.1 --prune-to 0 --reading algorithm1",
        "--method clip --pace-unit batch --balance 5 --refresh 3 --scorer-epochs 4",
        "--method clip --scorer t.csv --scorer-column el2n --refresh 2",
        "--method prune --prune 0.3 --scorer run",
        "--method prune --reading compounding",
        "--method random-order --pace step --prune 0.1 --balance 2",
        "--method curriculum --pace root --pace-unit batch",
        "--method anti-curriculum --prune 0.2",
        "--task counting --method clip --score-per head --density adaptive --patch 64 --tile 900 --brightness 0.1",
        "--task counting --annotations a.json --at head --model csrnet-lite --front-end a.pt",
    ):
        rows = shown(capsys, "train", "--data", "x", *words.split())
        for name, value in zip(words.split()[::2], words.split()[1::2], strict=True):
            assert value in rows[name[2:].replace("-", "_")][0]
            assert rows[name[2:].replace("-", "_")][1] == "flag"


def test_defaults_depend_on_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("model", "epochs", "batch_size", "optimizer", "lr", "schedule", "weight_decay")
    rows = shown(capsys, "train", "--data", "x")
    assert [rows[name][0] for name in names] == ['"auto"', "30", "128", '"SGD"', "0.1", '"triangle"', "0.0005"]
    rows = shown(capsys, "train", "--data", "x", "--task", "counting", "--epochs", "7")
    assert [rows[name][0] for name in names] == ['"csrnet"', "7", "8", '"Adam"', "0.0001", '"flat"', "0.0"]
    assert (rows["epochs"][1], rows["lr"][1]) == ("flag", "default")
    assert (rows["task"][0], rows["prune_to"][0]) == ('"counting"', "null")


def test_help_tells_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "train", "--help")
    for each in fields(TrainConfig):
        assert f"--{each.name.replace('_', '-')}" in text
    assert "--which" in printed(capsys, "predict", "--help")
    assert "--density-scale" in printed(capsys, "score", "--help")


def test_a_run_of_before_there_were_tasks_goes_on(here: Path) -> None:
    (here / "images").mkdir()
    write_images(here / "images")
    config = TrainConfig(
        here / "images", out=here / "run", epochs=2, batch_size=16, model="small", report=False, calibrate=False,
        workers=0,
    )  # fmt: skip
    train(config)
    about = json.loads((here / "run" / "run.json").read_text())
    about["config"] = {name: value for name, value in about["config"].items() if name in OLDER}
    (here / "run" / "run.json").write_text(json.dumps(about))
    (here / "run" / "result.json").unlink()
    assert train(config).result["last"]["epoch"] == 1
    with pytest.raises(FileExistsError, match=r"must have the same configuration .* pace: None -> 'linear'"):
        train(replace(config, method="clip", pace="linear"))


# As tamis wrote it before there were tasks: the settings of its run.json.
OLDER = {
    "data": "digits", "out": None, "validation": None, "hold_out": 0.1, "model": "small", "weights": None,
    "new_head": False, "method": "sigma-drop", "ratio": 0.5, "start": None, "exclude": None,
    "data_parameters": "joint", "preset": "default", "instance_rate": None, "instance_decay": None, "class_lr": None,
    "epochs": 30, "batch_size": 128, "accumulate": 1, "optimizer": "SGD", "lr": 0.1, "momentum": 0.9,
    "weight_decay": 0.0005, "schedule": "triangle", "steps": [0.3, 0.6, 0.9], "flip": True, "crop": 2,
    "image_size": 224, "amp": "none", "channels_last": False, "compile": False, "device": "auto", "threads": 0,
    "workers": 2, "noise": "symmetric", "noise_ratio": 0.4, "noise_name": "worse_label", "oracle": False,
    "calibrate": True, "history": True, "report": True, "checkpoint_seconds": None, "on_full": "stop",
    "strict": False, "max_bad": 0.01, "accept_dataset_change": False, "fingerprint": "auto", "processes": 1,
    "seed": 0,
}  # fmt: skip


def test_a_configuration_of_before_there_were_tasks(here: Path) -> None:
    (here / "run.json").write_text(json.dumps({"config": OLDER}))
    config = TrainConfig.read(here)
    assert (config.task, config.method, config.model) == ("classification", "sigma-drop", "small")
    assert {name: value for name, value in config.plain().items() if name in OLDER} == OLDER
    new = {name: value for name, value in config.plain().items() if name not in OLDER}
    assert new == {name: value for name, value in TrainConfig.defaults("classification").items() if name in new}
    # The name of its folder is what it was: the same command goes on there.
    assert config.folder == Path("runs/digits-sigma-drop-joint-seed0-e47ed9")
