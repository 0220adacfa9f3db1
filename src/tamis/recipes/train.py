"""Train an image classifier: data -> noise (if asked for) -> method -> fit -> calibration -> report."""

import shlex
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from inspect import signature
from typing import Any

import torch
from rich.console import Console
from torch import nn

import tamis
from tamis.data import Images, MemoryImages
from tamis.fit import Cosine, Fitted, Flat, Linear, Progress, Settings, Steps, Triangle, fit
from tamis.fit.settings import Schedule
from tamis.methods import METHODS, PRESETS, Method, Temperature
from tamis.models import build_model
from tamis.moment import seed_of
from tamis.recipes.config import FREE, TrainConfig
from tamis.recipes.data import Data, excluded, hold_to_samples, load, make_noise
from tamis.recipes.environment import environment
from tamis.recipes.others import device_of_this, rank, together, wait_for_all
from tamis.recipes.reconcile import remember
from tamis.recipes.stopping import stopping
from tamis.recipes.watching import SLOW_SIGMA, TensorBoard, epoch_line, progress_bar, slow_sigma
from tamis.rules import Chain, Exclude
from tamis.run import Run, is_begun
from tamis.tasks.calibration import ece, temperature_of
from tamis.tasks.classification import Classification, predictions

__all__ = ["Data", "load", "make_noise", "train", "train_on"]

SCHEDULES: dict[str, Schedule] = {
    "triangle": Triangle(),
    "cosine": Cosine(),
    "linear": Linear(),
    "flat": Flat(),
}


def method_of(config: TrainConfig, data: Data) -> Method:
    """The method, with what the user or the oracle leaves out before it."""
    options: dict[str, Any] = {"ratio": config.ratio} if config.method in ("random", "infobatch") else {}
    if config.method in ("sigma-drop", "loss-drop") and config.start is not None:
        options["start"] = config.start
    method = METHODS[config.method](**options)
    first = []
    if data.known is not None and data.known.gone.any():
        first.append(Exclude(data.known.gone, "no longer in the data"))
    if config.exclude is not None:
        first.append(Exclude(excluded(config.exclude, data), f"listed in {config.exclude.name}"))
    if config.oracle and data.noise is not None:
        first.append(Exclude(data.noise.changed, "its label is known to be wrong"))
    return replace(method, rule=Chain((*first, method.rule))) if first else method


def temperature_of_config(config: TrainConfig) -> Temperature | None:
    """The settings of the data parameters, or None."""
    if config.data_parameters == "none":
        return None
    given = {name: getattr(config, name) for name in ("instance_rate", "instance_decay", "class_lr")}
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(PRESETS[config.preset], kind=config.data_parameters, **chosen)


def settings_of(config: TrainConfig) -> Settings:
    """The settings of the training loop.

    Raises:
        ValueError: torch.optim has no such optimiser, or it takes other arguments.
    """
    kind = getattr(torch.optim, config.optimizer, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise ValueError(f"optimizer must be a name in torch.optim, got {config.optimizer!r}; SGD and AdamW are usual")
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer in ("SGD", "RMSprop"):
        options["momentum"] = config.momentum
    if config.optimizer == "SGD" and config.momentum > 0:
        options["nesterov"] = True
    names = ("epochs", "batch_size", "accumulate", "amp", "channels_last", "compile", "device", "history", "seed")
    names += ("checkpoint_seconds", "on_full")
    try:
        signature(kind).bind(None, **options)
    except TypeError as error:
        raise ValueError(
            f"optimizer must take {', '.join(options)}, got {config.optimizer!r}: {error}; SGD and AdamW do"
        ) from error
    settings = Settings(
        optimizer=partial(kind, **options),
        schedule=Steps(tuple(config.steps)) if config.schedule == "steps" else SCHEDULES[config.schedule],
        **{name: getattr(config, name) for name in names},
    )
    return replace(settings, device=device_of_this(config.device))


def model_of(config: TrainConfig, train: Images) -> nn.Module:
    """The model, initialised from the seed or with the given weights."""
    batch = next(train.batches([torch.arange(1)], epoch=0, seed=0, train=False))
    channels, size = batch.inputs.shape[1], batch.inputs.shape[-1]
    name = config.model if config.model != "auto" else "small" if size <= 64 else "resnet18"
    try:
        return build_model(
            name,
            classes=len(train.class_names),
            channels=channels,
            size=size,
            weights=config.weights,
            new_head=config.new_head,
            seed=seed_of(config.seed, "model"),
        )
    except TypeError as error:  # "module:callable" that is no callable, or that returns no model
        raise ValueError(str(error)) from error


def train(config: TrainConfig, console: Console | None = None) -> Fitted:
    """`tamis train`: everything from a configuration; the same one again goes on where it stopped."""
    return train_on(load_for(config), config, console)


def load_for(config: TrainConfig) -> Data:
    """The data of a training: as its run knows it, if there is one that goes on."""
    run = config.folder if is_begun(config.folder) else None
    return load(config, run, accept=config.accept_dataset_change)


def train_on(
    data: Data, config: TrainConfig, console: Console | None = None, *, name: str = "training", lines: bool = True
) -> Fitted:
    """Train on data that is already open; the rest as `train`.

    Args:
        data: what to train on and to judge by.
        config: everything else.
        console: where progress is shown; None shows nothing.
        name: of the training, in front of the bar.
        lines: print what is going to happen and a line for each epoch, beside the bar.

    Raises:
        ValueError: the configuration does not fit the data, or the memory of the device.
        FileExistsError: the run folder holds something else.
    """
    console = console or Console(quiet=True)
    if config.processes > 1 and not together():
        raise ValueError(
            f"processes must be started by the command line or torchrun, got {config.processes} in one process; "
            "run `tamis train --processes`, or initialise a process group"
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    settings, temperature, method = settings_of(config), temperature_of_config(config), method_of(config, data)
    data = on_device(data, settings.resolved_device())
    model = model_of(config, data.train.select(data.there[:1]))
    # Closed also where a signal ends the training: nobody has to take the folder over.
    with closing(_opened(config, data, describe(config, data, settings, method, temperature))) as run:
        if lines:
            console.print(_intent(config, data, model, settings, method, temperature, run))
        board = TensorBoard(run.folder / "tensorboard" if rank() == 0 else None)
        with progress_bar(name, config.epochs, console) as show, stopping() as stop:

            def watch(now: Progress) -> None:
                show(now)
                if now.row is not None:
                    board.add(now.row)
                    if lines:
                        console.print(epoch_line(now.row, config.epochs))
                        if slow_sigma(now.row, config.epochs):
                            console.print(SLOW_SIGMA)

            try:
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
                    stop=stop,
                    changes=None if data.known is None else data.known.changes,
                )
            except torch.OutOfMemoryError as error:
                raise ValueError(
                    f"batch_size must fit the memory of {settings.resolved_device()}, got {config.batch_size}; "
                    "take a smaller --batch-size, or cut it in pieces with --accumulate 2"
                ) from error
        board.close()
        if config.calibrate and rank() == 0:
            fitted.result["calibration"] = calibrate(fitted.model, data.validation, settings)
            run.finish(fitted.result)
        return fitted


def _opened(config: TrainConfig, data: Data, about: dict[str, Any]) -> Run:
    """The run folder, first in the process that owns it, then in the others."""
    if rank():
        wait_for_all()
        return Run(config.folder, about, strict=config.strict, reader=True)
    run = Run(config.folder, about, free=FREE, strict=config.strict)
    if not run.resumed:
        clean = None if data.noise is None else data.noise.clean
        remember(run.folder, data.train, data.validation, clean, config.fingerprint)
    elif data.known is None:
        hold_to_samples(run.folder, data.train)
    else:
        data.known.write()
    for source in (data.train, data.validation):
        source.quarantine.keep_in(run.folder / "quarantine.jsonl")
    wait_for_all()
    return run


def on_device(data: Data, device: torch.device) -> Data:
    """The data, with images that are held in memory moved to a GPU: they are augmented there."""
    if device.type != "cuda":
        return data
    moved = [each.to(device) if isinstance(each, MemoryImages) else each for each in (data.train, data.validation)]
    return replace(data, train=moved[0], validation=moved[1])


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
    config: TrainConfig,
    data: Data,
    model: nn.Module,
    settings: Settings,
    method: Method,
    temperature: Temperature | None,
    run: Run,
) -> str:
    """What is going to happen, in a few lines, before the first long wait."""
    classes, parameters = len(data.train.class_names), sum(each.numel() for each in model.parameters())
    lines = [
        f"{len(data.train):,} training images of {classes} classes, {len(data.validation):,} to judge by",
        f"model {config.model} ({type(model).__name__}, {parameters:,} parameters), method {config.method}, "
        f"epochs: {config.epochs}, on {settings.resolved_device()}",
    ]
    if data.noise is not None:
        changed = int(data.noise.changed.sum())
        lines.append(
            f"{data.noise.kind} noise: {changed:,} labels ({100 * changed / len(data.train):.1f} %) are wrong now"
        )
    if temperature is not None:
        rate = temperature.rate(method, config.epochs)
        lines.append(f"data parameters: {temperature.kind}, instance rate {rate:.3g} for a sample's own loss")
    if data.known is not None:
        lines += [f"changed since the run began, and accepted: {each}" for each in data.known.said]
    if run.finished:
        lines.append(f"{run.folder} is already trained to its end")
    elif run.resumed:
        lines.append(f"going on with {run.folder} after {len(run.metrics())} of {config.epochs} epochs")
    return "\n".join(lines)
