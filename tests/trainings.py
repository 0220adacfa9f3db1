"""Small trainings that can be killed: functions of the run folder; every fork imports this module."""

import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tamis.batch import Batch
from tamis.data import CountedImages, CountViews, FileImages, PadCrop
from tamis.data.decode import Blobs
from tamis.fit import Cosine, Progress, Settings, fit
from tamis.methods import METHODS, Temperature, clip
from tamis.paces import Polynomial
from tamis.run import Run
from tamis.tasks.classification import Classification
from tamis.tasks.counting import Counting
from tamis.temperature import DataParameters

SAMPLES, BATCH = 72, 8
STEPS = SAMPLES // BATCH  # of an epoch that shows everything


def blobs(count: int = SAMPLES, classes: int = 3) -> FileImages:
    """Grey images of 8 x 8 pixels as PNG files in memory, a stripe for each class, every sixth label wrong."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % classes
    pixels = torch.randint(0, 100, (count, 8, 8), generator=generator, dtype=torch.uint8)
    files = []
    for place, label in enumerate(labels.tolist()):
        pixels[place, 2 * label : 2 * label + 2] += 150
        file = io.BytesIO()
        Image.fromarray(pixels[place].numpy()).save(file, "PNG")
        files.append(file.getvalue())
    labels[::6] = (labels[::6] + 1) % classes
    keys = [f"image-{place}" for place in range(count)]
    return FileImages(Blobs(files), labels, tuple("abc"[:classes]), keys, augmentation=PadCrop(flip=True, pad=1))


def write_images(folder: Path) -> None:
    """The images of `blobs` as a folder with one folder a class."""
    images = blobs()
    for place, label in enumerate(images.labels.tolist()):
        path = folder / images.class_names[label] / f"{images.keys[place]}.png"
        path.parent.mkdir(exist_ok=True)
        images.thumbnail(place).save(path)


def net() -> nn.Module:
    """Convolution, batch normalisation and dropout, on images of 8 x 8 pixels."""
    torch.manual_seed(0)
    convolution = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*convolution, nn.Dropout(0.3), nn.Linear(128, 3))


class Mortal:
    """Classification that kills its process when it is asked for losses, or an evaluation, once more than it may be."""

    metric, lower_is_better = "accuracy", False

    def __init__(self, losses: int | None, evaluations: int | None) -> None:
        self._task = Classification()
        self._left = {"losses": losses, "evaluations": evaluations}

    def _live(self, what: str) -> None:
        left = self._left[what]
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left[what] = None if left is None else left - 1

    def losses(
        self, model: Any, batch: Batch, temperature: DataParameters | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self._live("losses")
        return self._task.losses(model, batch, temperature)

    def evaluate(self, model: Any, batches: Iterable[Batch]) -> dict[str, float]:
        self._live("evaluations")
        return self._task.evaluate(model, batches)


def attempt(out: Path) -> int:
    """How often a training was started with this run folder before, counted in a file beside it."""
    path = out.with_name("attempts")
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size - 1


def train_into(
    out: Path,
    *,
    epochs: int = 6,
    method: str = "sigma-drop",
    kind: Any = "joint",
    workers: Iterable[int] = (0,),
    deaths: Iterable[dict[str, int]] = (),
    settings: Callable[[Settings], Settings] = lambda settings: settings,
) -> None:
    """Train with dropout, augmentation, batch normalisation, momentum, a schedule and data parameters.

    Args:
        out: the run folder.
        epochs: length.
        method: name of the method.
        kind: of the data parameters; "none" for none.
        workers: how many processes decode in the first attempt, the second, ...; the last number is for all others.
        deaths: how many `losses`, `evaluations` or finished `epochs` the first attempt, the second, ... survives.
        settings: changes the settings.
    """
    torch.set_num_threads(1)
    before = attempt(out)
    workers, deaths = list(workers), list(deaths)
    death = deaths[before] if before < len(deaths) else {}
    images = blobs().with_workers(workers[min(before, len(workers) - 1)])

    def watch(now: Progress) -> None:
        if now.row is not None and now.epoch + 1 == death.get("epochs"):
            os.kill(os.getpid(), signal.SIGKILL)

    optimizer = partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True)
    fit(
        net(),
        Mortal(death.get("losses"), death.get("evaluations")),
        images,
        settings=settings(Settings(epochs, BATCH, optimizer, schedule=Cosine(), checkpoint_seconds=0.02)),
        method=METHODS[method](),
        temperature=None if kind == "none" else Temperature(kind=kind),
        validation=blobs(30).with_workers(0),
        run=Run(out, {"config": {"method": method}}),
        watch=watch,
    )


def four_pieces(settings: Settings) -> Settings:
    """Batches cut into four pieces."""
    return replace(settings, accumulate=4)


# ----- curricula, and counting ----------------------------------------------------------------------------------


def crowds(count: int = 24, sides: tuple[tuple[int, int], ...] = ((16, 16), (24, 16), (16, 24))) -> CountedImages:
    """Images of dots as PNG files in memory, of several sizes in turn (width, height), for maps of stride 4."""
    draw = np.random.default_rng(5)
    files, points, sizes = [], [], []
    for place in range(count):
        width, height = sides[place % len(sides)]
        pixels = draw.integers(0, 90, (height, width, 3), dtype=np.uint8)
        heads = draw.integers(0, (width, height), (place % 7, 2))
        pixels[heads[:, 1], heads[:, 0]] = 255
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files.append(file.getvalue())
        points.append(heads + 0.5)
        sizes.append((width, height))
    labels = torch.tensor([len(each) for each in points])
    keys = [f"crowd-{place}" for place in range(count)]
    views = CountViews(flip=True, brightness=0.2)
    return CountedImages(Blobs(files), points, np.array(sizes), labels, keys, stride=4, views=views)


def counter() -> nn.Module:
    """A counter of stride 4 with dropout."""
    torch.manual_seed(0)
    head = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Dropout2d(0.2)]
    return nn.Sequential(*head, nn.Conv2d(8, 1, 1))


def some_scores(count: int) -> Tensor:
    """One score a sample, none for every ninth."""
    scores = torch.rand(count, generator=torch.Generator().manual_seed(9))
    scores[::9] = torch.nan
    return scores


def pace_into(
    out: Path, *, counting: bool = False, epochs: int = 6, unit: Any = "epoch", refresh: int = 0, prune: float = 0.1
) -> None:
    """Train by CLIP with scores that are given, on images of classes, or on crowds of several sizes."""
    torch.set_num_threads(1)
    source = crowds(48) if counting else blobs()
    rule = clip(Polynomial(0.3, 0.8), prune, unit=unit, refresh=refresh)
    fit(
        counter() if counting else net(),
        Counting(score="head") if counting else Classification(),
        source,
        settings=Settings(
            epochs, BATCH, partial(torch.optim.Adam, lr=0.01), schedule=Cosine(), checkpoint_seconds=0.02
        ),
        method=rule,
        validation=crowds(9) if counting else blobs(30),
        run=Run(out, {"config": {"counting": counting, "unit": unit, "refresh": refresh}}),
        scores=some_scores(len(source)),
    )


def recipe_into(out: Path, *, data: Path, scoring: Iterable[int] = (), **settings: Any) -> None:
    """Train as `tamis train` does; the first attempts, as many as are told, die after so many batches of scoring."""
    from tamis.recipes import scorer
    from tamis.recipes.config import TrainConfig
    from tamis.recipes.train import train

    plain, deaths, before = scorer.sample_scores, list(scoring), attempt(out)

    def mortal(model: Any, task: Any, source: Any, size: int, move: Any, each: Any) -> Tensor:
        left = [deaths[before]] if before < len(deaths) else [-1]

        def live(count: int) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            each(count)

        return plain(model, task, source, 1, move, live)

    scorer.sample_scores = mortal
    train(TrainConfig(data, out=out, **settings))


# ----- parts of a run -------------------------------------------------------------------------------------------


def opened(out: Path, config: dict[str, Any] | None = None, *, strict: bool = False) -> Run:
    """A run without a training."""
    return Run(out, {"config": config or {}}, strict=strict)


def number_of(found: tuple[dict[str, Tensor], dict[str, Any]] | None) -> int:
    """Which save a checkpoint is of, after checking that all of its parts are; 0 = none."""
    if found is None:
        return 0
    weights, state = found
    assert weights["weight"].unique().tolist() == state["momentum"].unique().tolist() == [state["number"]]
    return state["number"]


def save_number(run: Run, number: int, size: int = 20_000) -> None:
    """A checkpoint in which every part tells its number, the best one of every third."""
    weights = {"weight": torch.full((size,), float(number))}
    best = number - number % 3
    if best == number:
        run.save_best(best, weights)
    state = {"number": number, "momentum": torch.full((size,), float(number))}
    run.save(number // 4, number % 4, weights, state, best if best else None)


def save_forever(out: Path, *, temporary: str | None = None) -> None:
    """Save one checkpoint after the other; the file `saved` beside the run folder tells which are complete."""
    if temporary is not None:
        os.environ["TMPDIR"], tempfile.tempdir = temporary, None
    run = opened(out)
    number = number_of(run.load())
    saved = os.open(out.with_name("saved"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        number += 1
        save_number(run, number)
        os.write(saved, f"{number}\n".encode())


def die_at(operation: int, work: Callable[[Path], object], out: Path) -> None:
    """Do some work on a run folder, and be killed right before its n-th (from 0) change of the file system there."""
    changes = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
    left = [operation]

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in changes or writes) and str(out) in str(arguments):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    sys.addaudithook(audit)
    work(out)


def save_one_more(out: Path) -> None:
    """Go on with a run of numbers by one."""
    run = opened(out)
    save_number(run, number_of(run.load()) + 1)
    run.close()
