"""Train an image classifier: data -> noise (if asked for) -> method -> fit -> calibration -> report."""

import csv
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

import tamis
from tamis.data import (
    Images,
    MemoryImages,
    Noise,
    PadCrop,
    ResizedCrop,
    asymmetric,
    from_cifar10n,
    held_out,
    open_images,
    open_splits,
    permute,
    random_labels,
    symmetric,
)
from tamis.fit import Cosine, Fitted, Flat, Linear, Settings, Steps, Triangle, fit
from tamis.fit.settings import Schedule
from tamis.history import write_samples
from tamis.methods import METHODS, PRESETS, Method, Temperature
from tamis.models import build_model
from tamis.moment import seed_of
from tamis.recipes.config import TrainConfig
from tamis.recipes.environment import environment
from tamis.recipes.watching import TensorBoard, epoch_line, progress_bar
from tamis.rules import Chain, Exclude
from tamis.run import Run
from tamis.tasks.calibration import ece, temperature_of
from tamis.tasks.classification import Classification, predictions

SCHEDULES: dict[str, Schedule] = {
    "triangle": Triangle(),
    "cosine": Cosine(),
    "linear": Linear(),
    "steps": Steps(),
    "flat": Flat(),
}


@dataclass(frozen=True)
class Data:
    """What a run trains on and is judged by.

    Attributes:
        train: the training samples, with the labels that are trained on.
        validation: the samples it is judged by.
        noise: what was done to the labels, if anything.
    """

    train: Images
    validation: Images
    noise: Noise | None = None


def load(config: TrainConfig) -> Data:
    """Open the data, make labels wrong if asked for, and hold a part out if there is no validation set.

    The images to judge by keep their own labels: only what is trained on gets the noise.
    """
    train, validation = open_splits(config.data, size=config.image_size, workers=config.workers)
    if config.validation is not None:
        validation = _given_validation(config, train)
    noise = make_noise(config, train)
    if validation is None:
        chosen = held_out(train.labels, config.hold_out, seed_of(config.seed, "hold out"))
        validation = train.select(chosen.nonzero().flatten())
        rest = (~chosen).nonzero().flatten()
        train, noise = train.select(rest), noise and noise.select(rest)
    train = _augmented(train, config)
    return Data(train if noise is None else train.with_labels(noise.labels), validation, noise)


def _given_validation(config: TrainConfig, train: Images) -> Images:
    path = str(config.validation)
    options = {"size": config.image_size, "workers": config.workers}
    validation = open_images(path, "validation", **options) or open_images(path, "train", **options)
    if validation.class_names != train.class_names:
        raise ValueError(
            f"validation must have the classes of the training images, got {list(validation.class_names)[:8]} "
            f"for {list(train.class_names)[:8]}; give both the same class folders"
        )
    return validation.with_scale(train.mean, train.std)


def _augmented(train: Images, config: TrainConfig) -> Images:
    if isinstance(train, MemoryImages):
        return train.with_augmentation(PadCrop(flip=config.flip, pad=config.crop))
    return train.with_augmentation(ResizedCrop(size=config.image_size, flip=config.flip))


def make_noise(config: TrainConfig, source: Images) -> Noise | None:
    """The noise that the configuration asks for, on the labels of a source."""
    if config.noise == "none":
        return None
    generator = torch.Generator().manual_seed(seed_of(config.seed, "label noise"))
    labels, ratio, classes = source.labels, config.noise_ratio, len(source.class_names)
    if config.noise == "symmetric":
        return symmetric(labels, ratio, classes, generator)
    if config.noise == "permute":
        return permute(labels, ratio, generator)
    if config.noise == "asymmetric":
        return asymmetric(labels, ratio, source.class_names, generator)
    if config.noise == "random":
        return random_labels(labels, classes, generator)
    if config.noise.endswith(".npz"):
        return from_cifar10n(config.noise, config.noise_name, source)
    raise ValueError(
        f"noise must be none, symmetric, permute, asymmetric, random or a CIFAR-N .npz file, got {config.noise!r}"
    )


def method_of(config: TrainConfig, data: Data) -> Method:
    """The method, with what the user or the oracle leaves out before it."""
    options: dict[str, Any] = {"ratio": config.ratio} if config.method in ("random", "infobatch") else {}
    if config.method in ("sigma-drop", "loss-drop") and config.start is not None:
        options["start"] = config.start
    method = METHODS[config.method](**options)
    first = []
    if config.exclude is not None:
        first.append(Exclude(_listed(config.exclude, data.train.keys), f"listed in {config.exclude.name}"))
    if config.oracle and data.noise is not None:
        first.append(Exclude(data.noise.changed, "its label is known to be wrong"))
    return replace(method, rule=Chain((*first, method.rule))) if first else method


def _listed(path: Path, keys: Sequence[str]) -> Tensor:
    lines = path.read_text().splitlines()
    if lines and path.suffix == ".csv":
        wanted = {row["key"] for row in csv.DictReader(lines)}
    else:
        wanted = {line.strip() for line in lines if line.strip()}
    unknown = wanted - set(keys)
    if unknown:
        raise ValueError(f"exclude must list keys of the data, got {sorted(unknown)[0]!r} in {path}, which is none")
    return torch.tensor([key in wanted for key in keys])


def temperature_of_config(config: TrainConfig) -> Temperature | None:
    """The settings of the data parameters, or None."""
    if config.data_parameters == "none":
        return None
    given = {"instance_rate": config.instance_rate, "instance_decay": config.instance_decay}
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(PRESETS[config.preset], kind=config.data_parameters, **chosen)


def settings_of(config: TrainConfig) -> Settings:
    """The settings of the training loop."""
    kind = getattr(torch.optim, config.optimizer, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise ValueError(f"optimizer must be a name in torch.optim, got {config.optimizer!r}; SGD and AdamW are usual")
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer in ("SGD", "RMSprop"):
        options["momentum"] = config.momentum
    if config.optimizer == "SGD" and config.momentum > 0:
        options["nesterov"] = True
    names = ("epochs", "batch_size", "accumulate", "amp", "channels_last", "compile", "device", "history", "seed")
    return Settings(
        optimizer=partial(kind, **options),
        schedule=SCHEDULES[config.schedule],
        **{name: getattr(config, name) for name in names},
    )


def model_of(config: TrainConfig, train: Images) -> nn.Module:
    """The model, initialised from the seed or with the given weights."""
    batch = next(train.batches([torch.arange(1)], epoch=0, seed=0, train=False))
    channels, size = batch.inputs.shape[1], batch.inputs.shape[-1]
    name = config.model if config.model != "auto" else "small" if size <= 64 else "resnet18"
    return build_model(
        name,
        classes=len(train.class_names),
        channels=channels,
        size=size,
        weights=config.weights,
        new_head=config.new_head,
        seed=seed_of(config.seed, "model"),
    )


def train(config: TrainConfig, console: Console | None = None) -> Fitted:
    """`tamis train`: everything from a configuration; the same one again goes on where it stopped."""
    return train_on(load(config), config, console)


def train_on(data: Data, config: TrainConfig, console: Console | None = None, *, name: str = "training") -> Fitted:
    """Train on data that is already open; the rest as `train`."""
    console = console or Console(quiet=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    settings, temperature, method = settings_of(config), temperature_of_config(config), method_of(config, data)
    run = Run(config.folder, describe(config, data, settings, method, temperature))
    clean = None if data.noise is None else data.noise.clean
    if not run.resumed:
        write_samples(run.folder / "ledger", data.train.keys, data.train.labels, clean)
    model = model_of(config, data.train)
    console.print(_intent(config, data, settings, method, temperature, run), highlight=False)
    board = TensorBoard(run.folder / "tensorboard")
    with progress_bar(name, config.epochs * len(data.train), config.epochs, console) as show:

        def watch(now: Any) -> None:
            show(now)
            if now.row is not None:
                board.add(now.row)
                console.print(epoch_line(now.row, config.epochs), highlight=False)

        fitted = fit(
            model,
            Classification(),
            data.train,
            settings=settings,
            method=method,
            temperature=temperature,
            validation=data.validation,
            run=run,
            watch=watch,
        )
    board.close()
    if config.calibrate:
        fitted.result["calibration"] = calibrate(fitted.model, data.validation, settings)
        run.finish(fitted.result)
    return fitted


def describe(
    config: TrainConfig, data: Data, settings: Settings, method: Method, temperature: Temperature | None
) -> dict[str, Any]:
    """What run.json says of a run."""
    return {
        "tamis": tamis.__version__,
        "command": shlex.join(["tamis", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.plain(),
        "method": repr(method.rule),
        "temperature": None if temperature is None else repr(temperature),
        "data": {
            "train": len(data.train),
            "validation": len(data.validation),
            "class_names": list(data.train.class_names),
            "root": str(config.data),
            "noise": None if data.noise is None else data.noise.summary(),
        },
        "environment": environment(settings.resolved_device()),
    }


def calibrate(model: nn.Module, validation: Images, settings: Settings) -> dict[str, float]:
    """Fit one temperature on the validation images; expected calibration error before and after.

    The second figure is of the images that the temperature was fitted on: a lower bound of what to expect.
    """
    device = settings.resolved_device()
    batches = validation.batches(torch.arange(len(validation)).split(512), epoch=0, seed=0, train=False)
    model.eval()
    pairs = [(z.cpu(), y.cpu()) for z, y in predictions(model, (batch.to(device) for batch in batches))]
    logits, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    temperature = temperature_of(logits, labels)
    return {
        "temperature": temperature,
        "ece_before": ece(logits, labels),
        "ece_after": ece(logits / temperature, labels),
    }


def _intent(
    config: TrainConfig, data: Data, settings: Settings, method: Method, temperature: Temperature | None, run: Run
) -> str:
    """What is going to happen, in a few lines, before the first long wait."""
    classes = len(data.train.class_names)
    lines = [
        f"{len(data.train):,} training images of {classes} classes, {len(data.validation):,} to judge by",
        f"{config.model} for {config.epochs} epochs on {settings.resolved_device()}, method {config.method}",
    ]
    if data.noise is not None:
        changed = int(data.noise.changed.sum())
        lines.append(
            f"{data.noise.kind} noise: {changed:,} labels ({100 * changed / len(data.train):.1f} %) are wrong now"
        )
    if temperature is not None:
        rate = temperature.rate(method, config.epochs)
        lines.append(f"data parameters: {temperature.kind}, instance rate {rate:.3g} for a sample's own loss")
    if run.resumed:
        done = len(run.metrics())
        lines.append(f"going on with {run.folder} after {done} of {config.epochs} epochs")
    return "\n".join(lines)
