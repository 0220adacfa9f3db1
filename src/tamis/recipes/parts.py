"""From a configuration to the parts of a training: method, data parameters, settings, task and model."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from tamis.data import Images, MemoryImages
from tamis.fit import Cosine, Flat, Linear, Settings, Steps, Task, Triangle
from tamis.fit.settings import Schedule
from tamis.methods import METHODS, PRESETS, Method, Temperature
from tamis.models import build_counter, build_detector, build_model
from tamis.moment import Moment, seed_of
from tamis.paces import PACES, Ramp
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import Data, excluded
from tamis.recipes.others import device_of_this
from tamis.recipes.together import CURRICULA
from tamis.rules import Chain, Exclude, quantile_bins
from tamis.tasks.classification import Classification
from tamis.tasks.counting import Counting
from tamis.tasks.detection import Detection

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
    if config.method in CURRICULA:
        options |= _curriculum(config, data)
    method = METHODS[config.method](**options)
    first = []
    if data.known is not None and data.known.gone.any():
        first.append(Exclude(data.known.gone, "no longer in the data"))
    if config.exclude is not None:
        first.append(Exclude(excluded(config.exclude, data), f"listed in {config.exclude.name}"))
    if config.oracle and data.noise is not None:
        first.append(Exclude(data.noise.changed, "its label is known to be wrong"))
    return replace(method, rule=Chain((*first, method.rule))) if first else method


def _curriculum(config: TrainConfig, data: Data) -> dict[str, Any]:
    """What the settings say of a pace and of pruning, as far as the method has them."""
    options: dict[str, Any] = {"refresh": config.refresh, "groups": _groups(config, data)}
    if config.method != "prune":
        options["pace"] = PACES[config.pace](_pace_start(config), config.pace_full)
        options["unit"] = config.pace_unit
    if config.method != "curriculum":
        options["prune"] = config.prune if config.prune_to is None else _ramp(config.prune, config.prune_to)
        options["reading"] = config.reading
    return options


def _pace_start(config: TrainConfig) -> float:
    """What was best where it was measured: from a tenth on, if as many samples are shown as in full training."""
    if config.pace_start is not None:
        return config.pace_start
    return 0.1 if config.task == "counting" and config.stretch else 0.3


def _ramp(first: float, last: float) -> Ramp:
    """From one ratio to another over the training."""
    return Ramp(min(first, last), max(first, last), "rising" if last > first else "falling")


def _groups(config: TrainConfig, data: Data) -> Tensor | None:
    """Classes, or bins of equally many images by count, that a curriculum treats each by itself."""
    if not config.balance:
        return None
    labels = data.train.labels
    return labels if config.task == "classification" else quantile_bins(labels.float(), config.balance)


def temperature_of_config(config: TrainConfig) -> Temperature | None:
    """The settings of the data parameters, or None."""
    if config.data_parameters == "none":
        return None
    given = {name: getattr(config, name) for name in ("instance_rate", "instance_decay", "class_lr")}
    chosen = {name: value for name, value in given.items() if value is not None}
    kind, regression = config.data_parameters, config.sigma_regression
    preset = PRESETS[config.preset]
    if config.task == "counting" and config.preset == "default":  # a noise scale, and no sample is right or wrong
        preset = replace(preset, schedule="linear", clamp="touched")
    return replace(preset, kind=kind, regression=regression, **chosen)


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
        options["nesterov"] = config.nesterov
    names = ("epochs", "batch_size", "accumulate", "amp", "channels_last", "compile", "device", "history", "seed")
    names += ("checkpoint_seconds", "on_full", "evaluate_every")
    try:
        signature(kind).bind(None, **options)
    except TypeError as error:
        raise ValueError(
            f"optimizer must take {', '.join(options)}, got {config.optimizer!r}: {error}; SGD and AdamW do"
        ) from error
    settings = Settings(
        optimizer=partial(kind, **options),
        schedule=Steps(tuple(config.steps), config.step_factor)
        if config.schedule == "steps"
        else SCHEDULES[config.schedule],
        **{name: getattr(config, name) for name in names},
    )
    return replace(settings, device=device_of_this(config.device))


def visits(settings: Settings, method: Method, samples: int) -> int | None:
    """How many samples a method shows in all epochs; None where that depends on the losses."""
    moments = (Moment(epoch, settings.epochs, settings.seed) for epoch in range(settings.epochs))
    counts = [method.rule.count(samples, moment) for moment in moments]
    return None if None in counts else sum(count or 0 for count in counts)


def stretched(settings: Settings, method: Method, samples: int) -> Settings:
    """So many epochs that the method shows as many samples as full training does in the epochs of the settings.

    Raises:
        ValueError: how many the method shows is not known before.
    """
    shown = visits(settings, method, samples)
    if shown is None:
        raise ValueError(
            "stretch must come with a method that shows a number known before, such as clip, got one that depends "
            "on the losses; leave it out"
        )
    return replace(settings, epochs=round(settings.epochs**2 * samples / shown))


def task_of(config: TrainConfig, classes: int, model: nn.Module | None = None) -> Task:
    """What is learned, of so many classes: its losses (of boxes too, if the model knows them), scores and figures."""
    if config.task == "counting":
        return Counting(score=config.score_per, scale=config.density_scale, tile=config.tile)
    if config.task == "detection":
        knows_boxes = model is not None and "parts" in signature(model.forward).parameters
        return Detection(classes, box_losses=knows_boxes and config.history)
    return Classification()


def model_of(config: TrainConfig, train: Images) -> nn.Module:
    """The model for a source, initialised from the seed or with the given weights."""
    if isinstance(train, MemoryImages):
        return model_for(config, train.class_names, train.images.shape[1], train.images.shape[-1])
    return model_for(config, train.class_names, 3, config.image_size)


def model_for(config: TrainConfig, class_names: Sequence[str], channels: int, size: int) -> nn.Module:
    """The model for these classes, images of so many channels, and pixels a side; see `model_of`."""
    seed = seed_of(config.seed, "model")
    try:
        if config.task == "counting":
            return build_counter(config.model, weights=config.weights, front_end=config.front_end, seed=seed)
        if config.task == "detection":
            weights, new_head = config.weights, config.new_head
            return build_detector(config.model, class_names, weights=weights, new_head=new_head, seed=seed)
        return build_model(
            config.model if config.model != "auto" else "small" if size <= 64 else "resnet18",
            classes=len(class_names),
            channels=channels,
            size=size,
            weights=config.weights,
            new_head=config.new_head,
            seed=seed,
        )
    except TypeError as error:  # "module:callable" that is no callable, or that returns no model
        raise ValueError(str(error)) from error
