"""Scores that are known before a training: of a run's model, of a table, or of a scorer that is trained first."""

import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from tamis.checkpoint import load_checkpoint
from tamis.data import CountedImages, Images
from tamis.fit import Fitted, Settings, Task, sample_scores
from tamis.fit.processes import Processes
from tamis.history import read_samples, write_table
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import Data
from tamis.recipes.others import rank, wait_for_all
from tamis.recipes.parts import model_for, settings_of, task_of
from tamis.recipes.together import without_curriculum
from tamis.run import checkpoint_of

INITIAL = "initial.parquet"
_SHARE = 10  # a scorer of one's own is trained for this part of the epochs
_COST = b"tamis"

Train = Callable[..., Fitted]


def initial_scores(
    config: TrainConfig, data: Data, ledger: Path, console: Console, train: Train
) -> tuple[Tensor, dict[str, Any]]:
    """The scores that a curriculum starts with, and what they cost; written down, so that they are found once.

    Args:
        config: of the training.
        data: of the training.
        ledger: folder of its run; the scores go to `initial.parquet` there.
        console: where progress is shown.
        train: trains the scorer, if there is none: `train_on` of `tamis.recipes.train`.

    Returns:
        float32 (n,), NaN = not known, and the cost: samples_seen (in training the scorer), samples_scored, seconds.

    Raises:
        ValueError: the scorer is no run or table that fits the data.
        FileNotFoundError: there is no such file.
    """
    path = ledger / INITIAL
    known = path.is_file()
    wait_for_all()  # nobody writes it before all have looked
    if not known:
        started = time.perf_counter()
        scores, cost = _found(config, data, console, train)
        cost |= {"seconds": time.perf_counter() - started}
        if rank() == 0:
            table = pa.table({"index": torch.arange(len(scores)).numpy(), "score": scores.numpy()})
            write_table(path, table.replace_schema_metadata({_COST: json.dumps(cost)}))
        wait_for_all()
    table = pq.read_table(path)
    scores = torch.full((len(data.train),), torch.nan)  # samples that came later are not scored
    scores[: len(table)] = torch.tensor(table["score"].to_numpy())
    return scores, json.loads((table.schema.metadata or {})[_COST])


def is_scored(ledger: Path) -> bool:
    """Whether the scores that a curriculum starts with were written down."""
    return (ledger / INITIAL).is_file()


def _found(config: TrainConfig, data: Data, console: Console, train: Train) -> tuple[Tensor, dict[str, Any]]:
    if config.scorer is not None and config.scorer.is_file():
        return _of_table(config.scorer, config.scorer_column, data.train), {"samples_seen": 0, "samples_scored": 0}
    settings = settings_of(config)
    if config.scorer is not None:
        model, trained = model_of_run(config.scorer, "last")
        _hold_to_task(config, trained, data.train)
        source = as_trained(config.scorer, data.train, model)
        task, seen = task_of(replace(trained, score_per=config.score_per), len(data.train.class_names)), 0
    else:
        epochs = config.scorer_epochs or max(1, math.ceil(config.epochs / _SHARE))
        proxy = without_curriculum(config, epochs=epochs, evaluate_every=epochs, out=config.folder / "scorer")
        console.print(f"no --scorer is given: one is trained first, for {epochs} of {config.epochs} epochs")
        fitted = train(data, proxy, console, name="scorer", lines=False)
        model, task = fitted.model, task_of(config, len(data.train.class_names))
        source, seen = fitted_source(data.train, model), fitted.result["costs"]["samples_seen"]
    scores = scored(model, task, source, settings, console, "scoring")
    return Processes().same(scores), {"samples_seen": seen, "samples_scored": len(data.there)}


def _hold_to_task(config: TrainConfig, trained: TrainConfig, train: Images) -> None:
    """Refuse a scorer that has learned something else."""
    run = config.scorer or Path()
    if trained.task != config.task:
        raise ValueError(f"scorer must be of the task {config.task}, got {trained.task!r} in {str(run)!r}")
    classes = read_samples(run / "ledger")[1]["classes"]
    if classes != list(train.class_names):
        raise ValueError(f"scorer must know the classes of the data, got {len(classes)} others in {str(run)!r}")


def scored(model: nn.Module, task: Task, source: Images, settings: Settings, console: Console, title: str) -> Tensor:
    """Scores of all samples of a source by a model, float32 (n,), NaN = it cannot be read; with a bar on a terminal."""
    device = settings.resolved_device()
    model.to(device).eval()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(title, total=len(source))
        return sample_scores(
            model, task, source, settings.batch_size, lambda batch: batch.to(device), lambda n: bars.advance(bar, n)
        )


def fitted_source(source: Images, model: nn.Module) -> Images:
    """The source with maps of the model's stride, if it has maps at all."""
    stride = getattr(model, "stride", None)
    return source.with_stride(int(stride)) if isinstance(source, CountedImages) and stride else source


def model_of_run(run: Path, which: Literal["last", "best"]) -> tuple[nn.Module, TrainConfig]:
    """The model of a run as it was trained, and the configuration of the run; its data need not be there any more.

    Raises:
        FileNotFoundError: the folder is no run, or has no checkpoint yet.
        ValueError: its checkpoint is not of the model that its configuration makes.
    """
    trained = TrainConfig.read(run)
    about = read_samples(run / "ledger")[1]
    large = about["form"] in ("files", "points", "boxes")
    channels, _, size = (3, 0, trained.image_size) if large else map(int, about["form"].split("x"))
    # What it started from may be gone: everything is in the checkpoint.
    start = replace(trained, weights=None, new_head=False, front_end=None)
    model = model_for(start, about["classes"], channels, size)
    try:
        model.load_state_dict(load_checkpoint(checkpoint_of(run, which))[0])
    except RuntimeError as error:
        raise ValueError(
            f"run must hold the model of its configuration, got another in {str(run)!r}: {str(error).splitlines()[-1]}"
        ) from error
    return model, trained


def as_trained(run: Path, source: Images, model: nn.Module) -> Images:
    """A source as a run's model knows it: with its mean and std, and maps of its stride."""
    about = read_samples(run / "ledger")[1]
    return fitted_source(source.with_scale(about["mean"], about["std"]), model)


def _of_table(path: Path, column: str | None, source: Images) -> Tensor:
    """Scores by key out of a table."""
    rows, name = _read(path, column)
    place = {key: index for index, key in enumerate(source.keys)}
    scores = torch.full((len(source),), torch.nan, dtype=torch.float64)
    for key, value in rows:
        index = place.get(key, place.get(key.removeprefix("'")))
        if index is None:
            continue
        try:
            scores[index] = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be a number, got {value!r} for {key!r} in {str(path)!r}") from error
        if not scores[index].float().isfinite():
            raise ValueError(f"{name} must be finite, got {value!r} for {key!r} in {str(path)!r}; leave the row out")
    if scores.isnan().all():
        raise ValueError(
            f"scorer must score the samples by their keys, such as {source.keys[0]!r}, got none of them in "
            f"{str(path)!r}; `tamis score` writes such a table"
        )
    return scores.float()


def _read(path: Path, column: str | None) -> tuple[list[tuple[str, Any]], str]:
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path).to_pydict()
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                lines = list(csv.DictReader(file))
            table = {name: [line[name] for line in lines] for name in (lines[0] if lines else {})}
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"scorer must be a run folder or a table, got {str(path)!r}: {error}") from error
    wanted = [column] if column is not None else ["score", "loss"]
    name = next((each for each in wanted if each in table), None)
    if name is None or "key" not in table:
        raise ValueError(
            f"scorer must have the columns key and {' or '.join(wanted)}, got {', '.join(map(str, table)) or 'none'} "
            f"in {str(path)!r}; name one with --scorer-column"
        )
    return list(zip(table["key"], table[name], strict=True)), name
