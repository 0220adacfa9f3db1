"""The demo: digits with wrong labels, trained on in three ways; a counter on a generated crowd; a street camera.

The digits come inside scikit-learn (1,797 images of 8 x 8 pixels, UCI), so nothing is downloaded.
"""

from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from tamis.data import MemoryImages, hold_out
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import Data, make_noise
from tamis.recipes.demo_counting import counting_chapter
from tamis.recipes.demo_culling import culling_chapter
from tamis.recipes.train import train_on
from tamis.recipes.watching import plain_console
from tamis.report import suspects, write_report

EPOCHS = 30


def digits(config: TrainConfig) -> Data:
    """The digits with a fifth of them held out, and the configuration's noise on the labels of the rest.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('the demo needs scikit-learn for its digits; install "tamis[demo]"') from error
    values, target = load_digits(return_X_y=True)
    pixels = torch.as_tensor(values).mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    labels = torch.as_tensor(target).long()
    keys = [f"digit-{place:04d}" for place in range(len(labels))]
    source = MemoryImages(pixels, labels, tuple("0123456789"), keys)
    train, validation = hold_out(source, 0.2, config.seed)
    noise = make_noise(config, train)
    labelled = train if noise is None else train.with_labels(noise.labels)
    return Data(labelled, validation.with_scale(train.mean, train.std), noise)


def demo_command(out: Path, *, threads: int = 1, seed: int = 0) -> None:
    """Show the chapters one after another."""
    console = plain_console()
    console.print("[1/3] wrong labels")
    labels_chapter(out, console, threads=threads, seed=seed)
    console.print("[2/3] counting")
    counting_chapter(out, console, threads=threads, seed=seed)
    console.print("[3/3] culling")
    culling_chapter(out, console, threads=threads, seed=seed)


def labels_chapter(out: Path, console: Console, *, threads: int, seed: int) -> None:
    """Train plainly, with data parameters, and on the clean part only; print and compare."""
    base = TrainConfig(
        data=Path("digits"), epochs=EPOCHS, flip=False, model="small", seed=seed, threads=threads, noise="symmetric"
    )
    data = digits(base)
    wrong = 0 if data.noise is None else int(data.noise.changed.sum())
    console.print(
        f"{len(data.train):,} handwritten digits to train on, {wrong} of them with a wrong label; "
        f"{len(data.validation)} to judge by",
    )
    arms = {
        "plain training": replace(base, out=out / "plain"),
        "data parameters": replace(base, out=out / "data-parameters", data_parameters="instance"),
        "oracle (clean labels only)": replace(base, out=out / "oracle", oracle=True),
    }
    for name, config in arms.items():
        result = train_on(data, config, console, name=name, lines=False).result
        last, best = result["last"], result["best"]
        console.print(
            f"{name:<27} {100 * last['accuracy']:5.1f} % after the last epoch, {100 * best['accuracy']:5.1f} % after "
            f"its best; {result['costs']['seconds_training']:.0f} s",
        )
    folders = [config.folder for config in arms.values()]
    found = suspects(folders[1], 100)
    right = sum(suspect.label != suspect.clean_label for suspect in found)
    console.print(f"{right} of the {len(found)} labels that look most wrong are wrong")
    page = write_report(folders, out / "report.html", thumbnails=data.train.thumbnail, names=list(arms))
    console.print(f"report: {page}")
