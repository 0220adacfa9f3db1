"""The presets of the Data Parameters paper: what they set, and that each trains on small data of its layout."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tamis import cli
from tamis.models import build_model
from tamis.recipes.commands import train_command
from tamis.recipes.config import TrainConfig
from tamis.recipes.parts import settings_of, temperature_of_config
from tamis.recipes.train import load_for
from tamis.report.reading import read_samples
from tamis.report.records import read_metrics

PRESETS = Path(__file__).resolve().parents[1] / "presets"
Take = Callable[..., TrainConfig]


class Printed(NamedTuple):
    """What the paper or the published code says, in its own units: data parameters' rates are for a batch's mean."""

    model: str
    epochs: int
    batch: int
    rates: dict[int, float]  # of the model, by epoch from 0
    nesterov: bool
    decay: float
    kind: str
    tables: dict[str, tuple[float, float]]  # rate and decay of log sigma
    clamp: Any = None
    noise: str = "none"


RESNET = ("resnet18", 100, 256, {0: 0.1, 29: 0.1, 30: 0.01, 59: 0.01, 60: 1e-3, 89: 1e-3, 90: 1e-4}, False, 1e-4)
WRN = {0: 0.1, 59: 0.1, 60: 0.02, 119: 0.02, 120: 0.004, 159: 0.004, 160: 0.0008, 199: 0.0008}
CODE = {0: 0.1, 79: 0.1, 80: 0.01, 99: 0.01, 100: 0.001, 119: 0.001}
CLASS = {"class": (0.1, 5e-4)}
INSTANCE = {"instance": (0.2, 0.0)}
PAPER = {"class": (0.1, 1e-4), "instance": (0.8, 1e-4)}
PUBLISHED = {"class": (0.1, 1e-4), "instance": (0.8, 1e-8)}
NOISE = ("wrn-28-10", 84, 128, {0: 0.1, 79: 0.1, 80: 0.01, 83: 0.01}, False, 5e-4, "instance", INSTANCE)
PRINTED = {
    "imagenet-paper": Printed(*RESNET, "joint", PAPER),
    "imagenet-published": Printed(*RESNET, "joint", PUBLISHED, "published"),
    "webvision-paper": Printed(*RESNET, "joint", PAPER),
    "webvision-published": Printed(*RESNET, "joint", PUBLISHED, "published"),
    "cifar100-paper": Printed("wrn-28-10", 200, 128, WRN, True, 5e-4, "joint", CLASS | INSTANCE),
    "cifar100-published": Printed("wrn-28-10", 120, 128, CODE, False, 5e-4, "joint", CLASS | INSTANCE, "published"),
    "cifar-noise-paper": Printed(*NOISE, None, "symmetric"),
    "cifar-noise-published": Printed(*NOISE, "published", "permute"),
    "random-labels-paper": Printed("vgg16", 150, 128, {0: 0.01}, False, 0.0, "class", CLASS, None, "random"),
}


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Take:
    """The settings that the command line makes of a preset and flags."""

    def taken(name: str, *flags: object, data: object = "data") -> TrainConfig:
        caught: list[TrainConfig] = []
        monkeypatch.setattr("tamis.recipes.commands.train_command", caught.append)
        monkeypatch.setattr(cli.app, "config", ())
        words = ["train", "--config", PRESETS / f"{name}.yaml", "--data", data, *flags]
        with pytest.raises(SystemExit) as end:
            cli.app.meta(list(map(str, words)))
        assert not end.value.code
        return caught[0]

    return taken


def test_every_preset_of_the_paper_is_listed() -> None:
    sources = {path.stem: path.read_text() for path in PRESETS.glob("*.yaml")}
    assert {name for name, text in sources.items() if "Data Parameters (Saxena" in text and "KITTI" not in text} == (
        PRINTED.keys()
    )


@pytest.mark.parametrize("name", PRINTED)
def test_presets_set_what_was_printed(name: str, take: Take) -> None:
    config, printed = take(name), PRINTED[name]
    settings, temperature = settings_of(config), temperature_of_config(config)
    assert (config.model, settings.epochs, settings.batch_size) == printed[:3]
    optimizer = settings.optimizer([nn.Parameter(torch.zeros(1))])
    group = optimizer.param_groups[0]
    assert type(optimizer) is torch.optim.SGD
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, printed.nesterov, printed.decay)
    for epoch, rate in printed.rates.items():
        assert math.isclose(group["lr"] * settings.schedule(epoch / printed.epochs), rate, rel_tol=1e-6), epoch
    assert temperature is not None
    assert (temperature.kind, temperature.momentum, temperature.schedule) == (printed.kind, 0.9, "constant")
    rows = temperature.rows(classes=3, samples=5)
    groups = temperature.optimizer(rows, temperature.rate(settings.epochs), printed.batch).param_groups
    tables = {3: "class", 5: "instance"}
    found = {tables[len(each["params"][0])]: (each["lr"], each["weight_decay"]) for each in groups}
    assert found.keys() == printed.tables.keys()
    assert all(found[table] == pytest.approx(pair) for table, pair in printed.tables.items())
    assert {str(each["clamp"]) for each in groups} == {str(printed.clamp)}
    assert config.noise == printed.noise


def test_the_rest_of_the_grid_is_a_flag(take: Take) -> None:
    for name in ("imagenet-paper", "webvision-published"):
        for kind in ("class", "instance"):
            assert take(name, "--data-parameters", kind).data_parameters == kind
    for name in PRINTED:
        assert temperature_of_config(take(name, "--data-parameters", "none", "--preset", "default")) is None
    assert take("cifar-noise-paper", "--noise-ratio", 0.8).noise_ratio == 0.8
    plain = ("--data-parameters", "none", "--preset", "default")
    assert take("cifar-noise-published", *plain, "--oracle").oracle


def image_of(label: int, side: int, draw: np.random.Generator) -> np.ndarray:
    pixels = draw.integers(0, 120, (side, side, 3), dtype=np.uint8)
    pixels[:, :, label % 3] += 100
    return pixels


def write_image(path: Path, label: int, draw: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_of(label, 70, draw)).save(path, quality=80)


def imagenet(root: Path) -> Path:
    draw = np.random.default_rng(0)
    for label, synset in enumerate(("n01440764", "n01443537", "n01484850")):
        for number in range(6):
            write_image(root / "train" / synset / f"{synset}_{number}.JPEG", label, draw)
        write_image(root / "val" / synset / f"ILSVRC2012_val_{label:08d}.JPEG", label, draw)
    return root


def webvision(root: Path) -> Path:
    """Two sources with lists of their own, of three classes of which two have one name, as ImageNet's cranes."""
    draw, lists = np.random.default_rng(0), {"google": "", "flickr": "", "val": ""}
    for number in range(18):
        source, label = ("google", "flickr")[number % 2], number % 3
        name = f"{source}/q{label:04d}/im{number}.jpg"
        write_image(root / name, label, draw)
        lists[source] += f"{name} {label}\n"
    for label in range(3):
        write_image(root / "val_images_256" / f"val{label:06d}.jpg", label, draw)
        lists["val"] += f"val{label:06d}.jpg {label}\n"
    (root / "info").mkdir()
    (root / "info" / "synsets.txt").write_text("n01440764 tench\nn02012849 crane\nn03126707 crane\n")
    for source in ("google", "flickr"):
        (root / "info" / f"train_filelist_{source}.txt").write_text(lists[source])
    (root / "info" / "val_filelist.txt").write_text(lists["val"])
    return root


def cifar(root: Path, classes: int, count: int = 24) -> Path:
    """The binary archive, unpacked: rows of labels and planes."""
    draw, folder = np.random.default_rng(0), root / {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}[classes]
    folder.mkdir(parents=True)
    names = {10: [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]}
    for name in names.get(classes, ["train.bin", "test.bin"]):
        rows = []
        for place in range(count):
            planes = image_of(place % 10, 32, draw).transpose(2, 0, 1).tobytes()
            rows.append(bytes([0] * (classes == 100) + [place % 10]) + planes)
        (folder / name).write_bytes(b"".join(rows))
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "imagenet": imagenet,
    "webvision": webvision,
    "cifar10": lambda root: cifar(root, 10),
    "cifar100": lambda root: cifar(root, 100),
}
RUNS = [
    ("imagenet-paper", "imagenet", "joint"),
    ("imagenet-published", "imagenet", "class"),
    ("webvision-paper", "webvision", "joint"),
    ("webvision-published", "webvision", "instance"),
    ("cifar100-paper", "cifar100", "joint"),
    ("cifar100-published", "cifar100", "joint"),
    ("cifar-noise-paper", "cifar10", "instance"),
    ("cifar-noise-published", "cifar100", "instance"),
    ("random-labels-paper", "cifar100", "class"),
    pytest.param("imagenet-paper", "imagenet", "instance", marks=pytest.mark.slow),
    pytest.param("imagenet-published", "imagenet", "joint", marks=pytest.mark.slow),
    pytest.param("webvision-paper", "webvision", "class", marks=pytest.mark.slow),
    pytest.param("cifar-noise-published", "cifar10", "none", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "layout", "kind"), RUNS)
def test_presets_train_from_their_layout(name: str, layout: str, kind: str, take: Take, tmp_path: Path) -> None:
    """One epoch of a thin model on a folder as its publishers lay it out; the real model is one setting away."""
    thin = ("--model", "small-fast", "--epochs", 1, "--image-size", 32, "--batch-size", 12, "--workers", 0)
    kinds = ("--data-parameters", kind, *(("--preset", "default") if kind == "none" else ()))
    out = tmp_path / "run"
    config = take(
        name, *thin, *kinds, "--no-report", "--threads", 1, "--out", out, data=LAYOUTS[layout](tmp_path / "data")
    )
    train_command(config)
    row = read_metrics(out / "metrics.jsonl")[0][-1]
    samples, data = read_samples(out), load_for(config)
    classes = {"imagenet": 3, "webvision": 3, "cifar10": 10, "cifar100": 100}[layout]
    assert len(data.train.class_names) == classes
    assert len(data.validation) == {"imagenet": 3, "webvision": 3}.get(layout, 24)
    assert len(samples) == {"cifar10": 120, "cifar100": 24}.get(layout, 18)
    assert (row["class_sigma"] is not None, row["sigma"] is not None) == (
        kind in ("class", "joint"), kind in ("instance", "joint")
    )  # fmt: skip
    assert math.isfinite(row["train_loss"])
    wrong = samples.wrong
    if config.noise == "none":
        assert wrong is None
    elif config.noise == "random":
        assert wrong is not None
        assert wrong.mean() > 0.9
    else:
        assert wrong is not None
        assert 0 < wrong.mean() < 0.6


def test_vgg16_of_small_images_is_the_thirteen_convolutions_and_one_layer() -> None:
    """Simonyan and Zisserman 2015, configuration D, without the layers that need 224 pixels."""
    model = build_model("vgg16", classes=100, channels=3, size=32, seed=0)
    widths = [each.out_channels for each in model.modules() if isinstance(each, nn.Conv2d)]
    assert widths == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert not any(isinstance(each, nn.BatchNorm2d | nn.Dropout) for each in model.modules())
    (last,) = (each for each in model.modules() if isinstance(each, nn.Linear))
    assert (last.in_features, last.out_features) == (512, 100)
