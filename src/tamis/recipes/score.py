"""Score the samples of a data set with the models and the histories of trained runs."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from tamis.batch import Batch
from tamis.data import BoxedImages, CountedImages, Images, MemoryImages, UnreadableImage
from tamis.files import replace_file
from tamis.fit import whole_plan
from tamis.fit.settings import device_of
from tamis.history import write_table
from tamis.recipes.cells import plain_cell
from tamis.recipes.command_config import DEFAULT_SCORES, ScoreConfig
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import load, open_like, open_splits_of
from tamis.recipes.parts import model_of
from tamis.recipes.scorer import fitted_source, model_of_run
from tamis.recipes.watching import plain_console
from tamis.scores import ConfidenceLoss, average, cross_entropy, el2n, entropy, forgetting, grand, margin
from tamis.tasks.counting import Counting
from tamis.tasks.detection import Detection

OF_LOGITS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": cross_entropy,
    "margin": margin,
    "entropy": lambda logits, labels: entropy(logits),
    "el2n": el2n,
}
OF_HISTORY = ("forgetting", "aum")
_NAMED = 20  # samples that were left out, in the output


def score_command(config: ScoreConfig) -> None:
    """Score, and say where the table lies, and what is not in it."""
    console = plain_console()
    path, left_out = score(config, console)
    if left_out:
        console.print(f"images that could not be read and were left out: {len(left_out):,}")
        for key, reason in list(left_out.items())[:_NAMED]:
            console.print(f"  {key!r}: {reason}")
        if len(left_out) > _NAMED:
            console.print(f"  ... and {len(left_out) - _NAMED:,} more (`tamis check` lists all)")
    console.print(f"scores: {path}")


def score(config: ScoreConfig, console: Console | None = None) -> tuple[Path, dict[str, str]]:
    """Write a table with a row for each sample: key, label, predicted and one column for each score.

    The predictions are those of the last run. Images that cannot be read are left out, as far as the first run was
    allowed to (`max_bad` of its configuration).

    Returns:
        The path of the table, and why samples are not in it, by key.

    Raises:
        ValueError: an unknown score, images that do not fit a run, a score of the history for images that a run was
            not trained on, or images that could be read for one run and not for another.
        UnreadableImage: too many images cannot be read.
        FileNotFoundError: a folder is no run, or has no checkpoint yet.
    """
    task = TrainConfig.read(config.runs[0]).task if config.runs else config.task
    config = replace(config, scores=config.scores or DEFAULT_SCORES[task])
    _hold_to_known(config, task)
    console = console or Console(quiet=True)
    source: Images | None = None
    table: dict[str, list[Any]] = {}
    columns: dict[str, list[Tensor]] = {}
    for run in config.runs or [None]:
        source, scored = _of_weights(config, console) if run is None else _of_run(run, source, config, console)
        keys = [source.keys[place] for place in scored["index"].tolist()]
        if table and table["key"] != keys:
            raise ValueError(
                f"runs must be scored on the same images, got {len(keys)} that could be read for {str(run)!r} and "
                f"{len(table['key'])} before; repair the files, or score it by itself"
            )
        for name in config.scores:
            columns.setdefault(name, []).append(scored[name])
        table = {"key": keys, **_told(source, scored)}
    if source is None:
        raise ValueError("runs must name at least one run folder, got none")
    table |= {name: average(torch.stack(each)).tolist() for name, each in columns.items()}
    folder = config.runs[0] if config.runs else Path()
    return _write(config.out or folder / "scores.csv", table), _left_out(source)


def _told(source: Images, scored: dict[str, Tensor]) -> dict[str, list[Any]]:
    """What the data says of each sample, and what the model does."""
    labels, names = source.labels[scored["index"]].tolist(), source.class_names
    if isinstance(source, CountedImages):
        return {"count": [float(count) for count in labels], "predicted": scored["predicted"].tolist()}
    if isinstance(source, BoxedImages):
        return {"boxes": labels, "predicted": scored["predicted"].tolist()}
    return {
        "label": [names[label] for label in labels],
        "predicted": [names[label] for label in scored["predicted"].tolist()],
    }


def _hold_to_known(config: ScoreConfig, task: str) -> None:
    known = DEFAULT_SCORES[task]
    if task == "classification":
        known = [*OF_LOGITS, "grand", *(OF_HISTORY if config.runs else ())]
    unknown = [name for name in config.scores if name not in known]
    if unknown:
        raise ValueError(f"scores must be among {', '.join(known)} here, got {unknown[0]!r}; leave it out")
    if config.data is not None and set(config.scores) & set(OF_HISTORY):
        raise ValueError("forgetting and aum must be asked of a run's own training images, got --data; leave one out")


def _left_out(source: Images) -> dict[str, str]:
    """Why samples of the source could not be read, by key.

    Small images are read when a data set is opened, so of these it is all of the split, also those to judge by.
    """
    reasons = source.quarantine.reasons
    if isinstance(source, MemoryImages):
        return dict(reasons)
    return {key: reasons[key] for key in source.keys if key in reasons}


def _of_run(
    run: Path, source: Images | None, config: ScoreConfig, console: Console
) -> tuple[Images, dict[str, Tensor]]:
    """What is scored (the run's own training images, if nothing is given or asked for), and its scores by this run."""
    model, trained = model_of_run(run, config.which)
    data = load(trained, run)
    own = data.train.select(data.there)
    if config.data is not None:
        source = open_like(config.data, trained, data.train, "data")
    source = source or own
    if source.class_names != own.class_names or type(source) is not type(own):
        raise ValueError(f"runs must have the same classes, got others in {str(run)!r}; score it by itself")
    same = fitted_source(source.with_scale(data.train.mean, data.train.std), model)
    scored = _of_any(model, trained, same, config, f"scoring with {run.name}", console)
    if set(config.scores) & set(OF_HISTORY):
        if list(source.keys) != list(own.keys):
            raise ValueError(f"runs must be of the same samples for forgetting and aum, got others in {str(run)!r}")
        history = _of_history(run, len(data.train))
        scored |= {name: each[data.there][scored["index"]] for name, each in history.items()}
    return source, scored


def _of_weights(config: ScoreConfig, console: Console) -> tuple[Images, dict[str, Tensor]]:
    """What is scored, and its scores by a model that no run has trained."""
    if config.data is None or config.model is None:
        raise ValueError("model must come with data, got none; give --data")
    names = ("task", "model", "weights", "annotations", "size", "density_sigma", "density_scale")
    told = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    trained = TrainConfig(config.data, **told)
    source, _ = open_splits_of(trained)
    model = model_of(trained, source)
    return source, _of_any(
        model, trained, fitted_source(source, model), config, f"scoring with {config.model}", console
    )


def _of_any(
    model: nn.Module, trained: TrainConfig, source: Images, config: ScoreConfig, title: str, console: Console
) -> dict[str, Tensor]:
    """Scores by a model of any task: columns (m,) of what can be read."""
    if isinstance(source, CountedImages):
        told = partial(_of_counts, Counting(scale=trained.density_scale, tile=trained.tile))
    elif isinstance(source, BoxedImages):
        told = partial(_of_boxes, Detection(len(source.class_names)))
    else:
        return _of_model(model, source, config, title, console)
    device, parts = device_of(config.device), {}
    model.to(device).eval()
    plan = whole_plan(source, trained.batch_size)
    for batch in track(
        source.batches(plan, epoch=0, seed=0, train=False),
        title, len(plan), console=console, transient=True, disable=not console.is_terminal,
    ):  # fmt: skip
        if not len(batch):
            continue
        with torch.inference_mode():
            found = told(model, batch.to(device))
        for name, values in ({"index": batch.index} | found).items():
            parts.setdefault(name, []).append(values)
    if not parts:
        raise UnreadableImage(f"images must be readable, got none of {len(source)} that is; repair the files")
    columns = {name: torch.cat(each) for name, each in parts.items()}
    order = columns["index"].argsort()
    return {name: values[order] for name, values in columns.items()}


def _of_counts(task: Counting, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    columns = task.losses(model, batch)[1]
    loss, count, predicted = (columns[name].cpu() for name in ("loss", "count", "predicted_count"))
    found = {"predicted": predicted, "loss": loss, "pixel": loss / batch.targets[0].numel()}
    return found | {"head": loss / count.clamp(min=1), "error": (predicted - count).abs()}


def _of_boxes(task: Detection, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    rows = list(task.per_image(model, [batch]))
    predicted = torch.tensor([len(row.predicted.above(0.5)) for row in rows])
    loss = torch.tensor([row.loss for row in rows])
    return {
        "predicted": predicted,
        "loss": loss,
        "confidence": ConfidenceLoss()([row.predicted for row in rows]).float(),
    }


def _of_model(model: nn.Module, source: Images, config: ScoreConfig, title: str, console: Console) -> dict[str, Tensor]:
    """Scores of the m samples that can be read, (m,) each, their positions ("index") and what is predicted."""
    device = device_of(config.device)
    model.to(device).eval()
    features = _LastLayerInput(model) if "grand" in config.scores else None
    parts: dict[str, list[Tensor]] = {}
    for batch in _shown(source, config.batch_size, title, console):
        if not len(batch.index):
            continue
        with torch.inference_mode():
            logits = model(batch.inputs.to(device)).float().cpu()
        for name in config.scores:
            if name in OF_LOGITS:
                parts.setdefault(name, []).append(OF_LOGITS[name](logits, batch.targets))
        if features is not None:
            parts.setdefault("grand", []).append(grand(features.value.cpu(), logits, batch.targets, bias=features.bias))
        parts.setdefault("predicted", []).append(logits.argmax(1))
        parts.setdefault("index", []).append(batch.index)
    if not parts:
        raise UnreadableImage(f"images must be readable, got none of {len(source)} that is; repair the files")
    return {name: torch.cat(each) for name, each in parts.items()}


def _shown(source: Images, size: int, title: str, console: Console) -> Iterator[Batch]:
    """All batches in order, with a bar and the time left on a terminal."""
    plan = torch.arange(len(source)).split(size)
    batches = source.batches(plan, epoch=0, seed=0, train=False)
    yield from track(batches, title, len(plan), console=console, transient=True, disable=not console.is_terminal)


class _LastLayerInput:
    """What the last linear layer of a model gets, for GraNd in closed form."""

    def __init__(self, model: nn.Module) -> None:
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        if not layers:
            raise ValueError(f"grand needs a model that ends in a linear layer, got {type(model).__name__}")
        self.bias = layers[-1].bias is not None
        self.value = torch.empty(0)
        layers[-1].register_forward_pre_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.value = inputs[0].detach().float().flatten(1)


def _of_history(run: Path, size: int) -> dict[str, Tensor]:
    """Forgetting events, and the area under the margin (its mean over the epochs that showed the sample)."""
    epochs: dict[int, list[pa.Table]] = {}
    for path in sorted((run / "ledger").glob("epoch-*.parquet")):
        part = pq.read_table(path, columns=["index", "margin", "correct"])
        epochs.setdefault(int(path.name.split("-")[1]), []).append(part)
    if not epochs:
        raise ValueError(
            f"run must have kept its history for forgetting and aum, got {str(run)!r} without; train with it"
        )
    correct = torch.zeros(len(epochs), size, dtype=torch.bool)
    shown = torch.zeros_like(correct)
    total = torch.zeros(size, dtype=torch.float64)
    for place, (_, tables) in enumerate(sorted(epochs.items())):
        table = pa.concat_tables(tables)
        index = torch.tensor(table["index"].to_numpy())
        shown[place, index] = True
        correct[place, index] = torch.tensor(table["correct"].to_numpy())
        total[index] += torch.tensor(table["margin"].to_numpy()).double()
    return {"forgetting": forgetting(correct, shown).float(), "aum": (total / shown.sum(0)).float()}


def _write(path: Path, table: dict[str, list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        write_table(path, pa.table(table))
        return path
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    for row in zip(*table.values(), strict=True):
        # Nine digits of a float32 are the same float32 again: a curriculum may read them.
        writer.writerow([plain_cell(cell) if isinstance(cell, str) else f"{cell:.9g}" for cell in row])
    replace_file(path, text.getvalue())
    return path
