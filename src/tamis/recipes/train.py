"""Train: data -> noise (if asked for) -> method -> scores (if it needs them) -> fit -> what is told of the model."""

import json
import shlex
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch
from rich.console import Console
from torch import nn

import tamis
from tamis.data import BoxedImages, CountedImages, MemoryImages
from tamis.data.annotations import RULES
from tamis.files import replace_file
from tamis.fit import Fitted, Progress, Settings, fit
from tamis.fit.scoring import groups_of
from tamis.methods import Method, Temperature
from tamis.models import same_classes
from tamis.models.class_names import listed
from tamis.recipes.box_result import box_figures
from tamis.recipes.box_rows import write_rows
from tamis.recipes.config import FREE, TrainConfig
from tamis.recipes.data import Data, hold_to_samples, load, make_noise
from tamis.recipes.environment import environment
from tamis.recipes.judged import calibrate, write_predictions
from tamis.recipes.judged_boxes import write_boxes
from tamis.recipes.others import rank, together, wait_for_all
from tamis.recipes.parts import method_of, model_of, settings_of, stretched, task_of, temperature_of_config, visits
from tamis.recipes.reconcile import remember
from tamis.recipes.scorer import fitted_source, initial_scores, is_scored
from tamis.recipes.stopping import stopping
from tamis.recipes.watching import SLOW_SIGMA, TensorBoard, epoch_line, progress_bar, slow_sigma
from tamis.run import Run, is_begun
from tamis.tasks.counting import Counting
from tamis.tasks.detection import Detection

__all__ = ["Data", "load", "make_noise", "train", "train_on"]


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
    if config.stretch:
        settings = stretched(settings, method, len(data.train))
    data = on_device(data, settings.resolved_device())
    model = model_of(config, data.train)
    task = task_of(config, len(data.train.class_names), model)
    data = replace(data, train=fitted_source(data.train, model), validation=fitted_source(data.validation, model))
    if config.pace_unit == "batch" and groups_of(data.train, train=True) is not None:
        raise ValueError("pace_unit must be epoch for images of several sizes, got 'batch'; take epoch, or a --patch")
    # Closed also where a signal ends the training: nobody has to take the folder over.
    with closing(_opened(config, data, describe(config, data, settings, method, temperature))) as run:
        if lines:
            console.print(_intent(config, data, model, settings, method, temperature, run))
        _tell_head(config, data, console)
        _list_problems(data, run, console)
        scores, cost = None, None
        if method.score == "given" and not (run.finished and not is_scored(run.folder / "ledger")):
            scores, cost = initial_scores(config, data, run.folder / "ledger", console, train_on)
        board = TensorBoard(run.folder / "tensorboard" if rank() == 0 else None)
        with progress_bar(name, settings.epochs, console) as show, stopping() as stop:

            def watch(now: Progress) -> None:
                show(now)
                if now.row is not None:
                    board.add(now.row)
                    if lines:
                        console.print(epoch_line(now.row, settings.epochs))
                        if config.task == "classification" and slow_sigma(now.row, settings.epochs):
                            console.print(SLOW_SIGMA)

            try:
                fitted = fit(
                    model,
                    task,
                    data.train,
                    settings=settings,
                    method=method,
                    temperature=temperature,
                    validation=data.validation,
                    run=run,
                    watch=watch,
                    stop=stop,
                    changes=None if data.known is None else data.known.changes,
                    scores=scores,
                )
            except torch.OutOfMemoryError as error:
                raise ValueError(
                    f"batch_size must fit the memory of {settings.resolved_device()}, got {config.batch_size}; "
                    "take a smaller --batch-size, or cut it in pieces with --accumulate 2"
                ) from error
        board.close()
        if rank() == 0:
            _finish(config, data, fitted, settings, run, cost)
        return fitted


def _tell_head(config: TrainConfig, data: Data, console: Console) -> None:
    """Which classes a detector knew before, where its weights are of others."""
    if config.task != "detection" or not config.new_head or config.weights is None:
        return
    same = same_classes(config.model, config.weights, data.train.class_names)
    new = [name for name in data.train.class_names if name not in same]
    for what, names in (("taken over from the weights, by name", same), ("new", new)):
        if names:
            console.print(f"classes {what}: {listed(names, 10)}", markup=False)


def _list_problems(data: Data, run: Run, console: Console) -> None:
    """Count and list what is wrong with points or boxes: most of it is not in the data that is trained on."""
    if not isinstance(data.train, CountedImages | BoxedImages) or not data.train.problems or rank():
        return
    problems = data.train.problems
    path = run.folder / "problems.jsonl"
    replace_file(path, "".join(json.dumps(problem._asdict()) + "\n" for problem in problems))
    counts = Counter(RULES[problem.rule][0] for problem in problems)
    told = ", ".join(f"{count:,} x {what}" for what, count in counts.items())
    what = "points" if isinstance(data.train, CountedImages) else "boxes"
    console.print(f"problems with the {what}: {told}; see {path}, or `tamis check`")


def _finish(
    config: TrainConfig, data: Data, fitted: Fitted, settings: Settings, run: Run, cost: dict[str, Any] | None
) -> None:
    """What is found out about a trained model, beside the figures of its epochs."""
    # Also of a stretched training: what showing everything would have taken.
    fitted.result["costs"]["full_samples"] = config.epochs * len(data.train)
    if cost is not None:
        fitted.result["costs"]["scorer"] = cost
    task = task_of(config, len(data.train.class_names))
    if isinstance(task, Counting) and isinstance(data.validation, CountedImages):
        folder = run.folder / "predictions"
        fitted.result["counting"] = write_predictions(folder, fitted.model, task, data.validation, settings)
    elif isinstance(task, Detection) and isinstance(data.validation, BoxedImages):
        folder = run.folder / "predictions"
        fitted.result["detection"] = write_boxes(folder, fitted.model, task, data.validation, settings)
        if isinstance(data.train, BoxedImages):
            fitted.result["boxes"] = box_figures(run.folder, data.train, fitted.temperature)
    elif config.calibrate:
        fitted.result["calibration"] = calibrate(fitted.model, data.validation, settings)
    run.finish(fitted.result)


def _opened(config: TrainConfig, data: Data, about: dict[str, Any]) -> Run:
    """The run folder, first in the process that owns it, then in the others."""
    if rank():
        wait_for_all()
        return Run(config.folder, about, strict=config.strict, reader=True)
    run = Run(config.folder, about, free=FREE | _newer(config), strict=config.strict)
    if not run.resumed:
        clean = None if data.made_wrong is None else data.made_wrong.clean
        remember(run.folder, data.remembered, data.validation, clean, config.fingerprint)
    elif data.known is None:
        hold_to_samples(run.folder, data.remembered)
    else:
        data.known.write()
    if isinstance(data.train, BoxedImages):
        write_rows(run.folder / "ledger", data.train, 0 if data.known is None else data.known.changes.count)
    for source in (data.train, data.validation):
        source.quarantine.keep_in(run.folder / "quarantine.jsonl")
    wait_for_all()
    return run


def _newer(config: TrainConfig) -> set[str]:
    """Settings that a run of an earlier version has not, and that are as they were there: the default."""
    try:
        before = json.loads((config.folder / "run.json").read_text("utf-8"))["config"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()  # none is there, or `Run` says what is wrong with it
    defaults = config.defaults(config.task)
    return {name for name, value in config.plain().items() if name not in before and value == defaults.get(name)}


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
        "epochs": settings.epochs,
        "temperature": None if temperature is None else repr(temperature),
        "data": {
            "train": len(data.train),
            "validation": len(data.validation),
            "class_names": list(data.train.class_names),
            "root": str(config.data),
            "noise": None if data.made_wrong is None else data.made_wrong.summary(),
        },
        "environment": environment(settings.resolved_device()),
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
    labels = data.train.labels
    what = f"of {classes} classes" if classes else f"with {int(labels.min())} to {int(labels.max())} points"
    if config.task == "detection":
        what = f"with {int(labels.sum()):,} boxes of {classes} classes"
    lines = [
        f"{len(data.train):,} training images {what}, {len(data.validation):,} to judge by",
        f"model {config.model} ({type(model).__name__}, {parameters:,} parameters), method {config.method}, "
        f"epochs: {settings.epochs}, on {settings.resolved_device()}",
    ]
    if data.made_wrong is not None:
        lines.append(data.made_wrong.told())
    if temperature is not None:
        boxed = config.task == "detection"
        rate, whose = temperature.rate(settings.epochs, boxes=boxed), "box" if boxed else "sample"
        skilled = ", as far as the model is right" if temperature.course(boxes=boxed) == "skill" else ""
        lines.append(f"data parameters: {temperature.kind}, instance rate {rate:.3g} for a {whose}'s own loss{skilled}")
    shown, full = visits(settings, method, len(data.train)), config.epochs * len(data.train)
    if shown is not None and shown < 0.99 * full:
        lines.append(
            f"shows {shown:,} of {full:,} samples of full training; --stretch goes on until as many were shown"
        )
    if data.known is not None:
        lines += [f"changed since the run began, and accepted: {each}" for each in data.known.said]
    if run.finished:
        lines.append(f"{run.folder} is already trained to its end")
    elif run.resumed:
        lines.append(f"going on with {run.folder} after {len(run.metrics())} of {settings.epochs} epochs")
    return "\n".join(lines)
