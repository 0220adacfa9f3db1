"""`tamis predict`: what a trained run says of images: counts or boxes, with pictures of where, or classes."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from tamis.batch import Batch
from tamis.data import CountedImages, FileImages, PadCrop, Quarantine, ResizedCrop, UnreadableImage
from tamis.data.decode import Files, decode
from tamis.data.folder import image_names
from tamis.files import replace_file
from tamis.fit.settings import device_of
from tamis.history import read_samples
from tamis.recipes.cells import plain_cell
from tamis.recipes.command_config import PredictConfig
from tamis.recipes.config import TrainConfig
from tamis.recipes.predict_boxes import BOX_COLUMNS, box_rows, picture, predict_boxes, summary
from tamis.recipes.scorer import model_of_run
from tamis.recipes.watching import plain_console
from tamis.report.overlay import overlay
from tamis.tasks.classification import predictions
from tamis.tasks.counting import Counting

TABLE = "predictions.csv"
Row = dict[str, Any]
COLUMNS = {
    "classification": ("image", "predicted", "probability"),
    "counting": ("image", "count"),
    "detection": BOX_COLUMNS,
}
Told = tuple[str, list[Row]]  # what is printed of an image, and its rows of the table


def predict_command(config: PredictConfig) -> None:
    """Predict, print a line for each image, and say where table and pictures lie."""
    console = plain_console()
    names = list(_names(config.images))
    quarantine = Quarantine(len(names), "images")
    told, rows = [], list[Row]()
    for line, found in predict(config, names, quarantine):
        console.print(line)
        told.append(line)
        rows += found
    for name, reason in quarantine.reasons.items():
        console.print(f"left out: {name!r}: {reason}")
    if not told:
        raise UnreadableImage(f"images must be readable, got none of {len(names)} that is; repair the files")
    task = TrainConfig.read(config.run).task
    config.out.mkdir(parents=True, exist_ok=True)
    _write(config.out / TABLE, COLUMNS[task], rows)
    if task != "classification" and config.overlay:
        console.print(f"pictures: {config.out}")
    console.print(f"predictions: {config.out / TABLE}")


def predict(config: PredictConfig, names: Sequence[str], quarantine: Quarantine) -> Iterator[Told]:
    """Run a model over images, one by one; of density maps and boxes, a picture is written for each.

    Args:
        config: which run, and where pictures go.
        names: paths of the images.
        quarantine: takes those that cannot be read.

    Yields:
        A line for people, and the rows of the table: one for each image, or for each box.

    Raises:
        ValueError: no image, or the run does not fit.
        FileNotFoundError: the folder is no run, or has no checkpoint yet.
    """
    if not names:
        raise ValueError(f"images must hold at least one image, got none in {', '.join(map(str, config.images))}")
    trained = TrainConfig.read(config.run)
    about = read_samples(config.run / "ledger")[1]
    model = model_of_run(config.run, config.which)[0].to(device_of(config.device)).eval()
    if trained.task == "counting":
        rows = _counts(config, trained, model, names, quarantine)
    elif trained.task == "detection":
        yield from _boxes(config, trained, about, model, names, quarantine)
        return
    else:
        rows = _classes(config, trained, about, model, names, quarantine)
    yield from (("  ".join(_text(value) for value in row.values()), [row]) for row in rows)


def _boxes(
    config: PredictConfig,
    trained: TrainConfig,
    about: dict[str, Any],
    model: nn.Module,
    names: Sequence[str],
    quarantine: Quarantine,
) -> Iterator[Told]:
    classes = about["classes"]
    for name, image, found in predict_boxes(config, trained, about, model, names, quarantine):
        if config.overlay:
            _save(config, name, picture(image, found, classes))
        yield f"{name}  {summary(found, classes)}", box_rows(name, found, classes)


def _counts(
    config: PredictConfig, trained: TrainConfig, model: nn.Module, names: Sequence[str], quarantine: Quarantine
) -> Iterator[Row]:
    task = Counting(scale=trained.density_scale, tile=config.tile or trained.tile)
    device = device_of(config.device)
    for name in names:
        try:
            image = decode(Path(name), name)
        except UnreadableImage as error:
            quarantine.record({name: error.reason})
            continue
        (found,) = task.per_image(model, [_without_points(image, name, model).to(device)])
        if config.overlay:
            _save(config, name, overlay(image, found.predicted.numpy(), text=f"{found.predicted_count:.1f}"))
        yield {"image": name, "count": found.predicted_count}


def _without_points(image: Image.Image, name: str, model: nn.Module) -> Batch:
    """An image as a counter is judged on it, normalised and padded."""
    source = CountedImages(
        Files(Path(), [name]),
        [np.empty((0, 2))],
        np.array([image.size], np.int64),
        torch.zeros(1, dtype=torch.int64),
        [name],
        stride=int(model.stride),  # pyright: ignore[reportArgumentType] - every counter has one
        kept={0: np.asarray(image)},
    )
    return source.batch(torch.tensor([0]), epoch=0, seed=0, train=False)[0]


def _classes(
    config: PredictConfig,
    trained: TrainConfig,
    about: dict[str, Any],
    model: nn.Module,
    names: Sequence[str],
    quarantine: Quarantine,
) -> Iterator[Row]:
    if len(about["mean"]) != 3:
        raise ValueError(f"run must be of colour images to predict, got grey ones in {str(config.run)!r}")
    large = about["form"] == "files"
    source = FileImages(
        Files(Path(), names),
        torch.zeros(len(names), dtype=torch.int64),
        tuple(about["classes"]),
        names,
        augmentation=ResizedCrop(trained.image_size) if large else PadCrop(),
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        quarantine=quarantine,
    )
    device = device_of(config.device)
    for place in range(len(names)):
        batches = source.batches([torch.tensor([place])], epoch=0, seed=0, train=False)
        for logits, _ in predictions(model, (each.to(device) for each in batches if len(each))):
            probability, label = logits.softmax(1)[0].max(0)
            predicted = about["classes"][int(label)]
            yield {"image": names[place], "predicted": predicted, "probability": float(probability)}


def _names(given: Sequence[Path]) -> Iterator[str]:
    """Paths of images: files as they are, and all images below folders."""
    for path in given:
        if path.is_dir():
            yield from (os.fspath(path / name) for name in sorted(image_names(path)))
        elif path.is_file():
            yield os.fspath(path)
        else:
            raise FileNotFoundError(f"images must be files or folders, got {str(path)!r}, which is not there")


def _save(config: PredictConfig, name: str, image: Image.Image) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    image.save(config.out / f"{_flat(name)}.png")


def _flat(name: str) -> str:
    """A file name that tells two images of one name in different folders apart."""
    return "_".join(part for part in Path(name).parts if part not in (os.sep, "..", "."))


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _write(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([plain_cell(each) if isinstance(each, str) else f"{each:.6g}" for each in row.values()])
    replace_file(path, text.getvalue())
