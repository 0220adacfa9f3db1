"""Score the samples of a data set with the models and the histories of trained runs."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from tamis.batch import Batch
from tamis.checkpoint import load_checkpoint
from tamis.data import Images
from tamis.files import replace_file
from tamis.fit.settings import device_of
from tamis.history import write_table
from tamis.recipes.config import Score, ScoreConfig, TrainConfig
from tamis.recipes.data import Data, hold_to_samples, load, open_like
from tamis.recipes.suspect_list import plain_cell
from tamis.recipes.train import model_of
from tamis.recipes.watching import plain_console
from tamis.run import checkpoint_of
from tamis.scores import average, cross_entropy, el2n, entropy, forgetting, grand, margin

OF_LOGITS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": cross_entropy,
    "margin": margin,
    "entropy": lambda logits, labels: entropy(logits),
    "el2n": el2n,
}
OF_HISTORY = ("forgetting", "aum")


def config_of(run: Path) -> TrainConfig:
    """The configuration that a run was trained with.

    Raises:
        FileNotFoundError: the folder is no run.
    """
    path = run / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"run must be a run folder with run.json, got {str(run)!r}")
    return TrainConfig.from_plain(json.loads(path.read_text())["config"])


def score_command(config: ScoreConfig) -> None:
    """Score, and say where the table lies."""
    console = plain_console()
    console.print(f"scores: {score(config, console)}")


def score(config: ScoreConfig, console: Console | None = None) -> Path:
    """Write a table with a row for each sample: key, label, predicted and one column for each score.

    The predictions are those of the last run.

    Raises:
        ValueError: an unknown score, images that do not fit a run, or a score of the history for images that a run
            was not trained on.
        FileNotFoundError: a folder is no run, or has no checkpoint yet.
    """
    unknown = [name for name in config.scores if name not in get_args(Score)]
    if unknown:
        raise ValueError(f"scores must be among {', '.join(get_args(Score))}, got {unknown[0]!r}")
    if config.data is not None and set(config.scores) & set(OF_HISTORY):
        raise ValueError("forgetting and aum must be asked of a run's own training images, got --data; leave one out")
    console = console or Console(quiet=True)
    source = table = None
    columns: dict[str, list[Tensor]] = {}
    for run in config.runs:
        trained = config_of(run)
        weights = checkpoint_of(run, config.which)
        data = load(trained)
        if config.data is not None:
            source = open_like(config.data, trained, data.train, "data")
        source = source or data.train
        if source.class_names != data.train.class_names:
            raise ValueError(f"runs must have the same classes, got others in {str(run)!r}; score it by itself")
        scored, predicted = _of_model(run, weights, config, data, source, console)
        if set(config.scores) & set(OF_HISTORY):
            hold_to_samples(run, source)
            scored |= _of_history(run, len(source))
        for name in config.scores:
            columns.setdefault(name, []).append(scored[name])
        names = source.class_names
        table = {
            "key": list(source.keys),
            "label": [names[label] for label in source.labels.tolist()],
            "predicted": [names[label] for label in predicted.tolist()],
        }
    if table is None:
        raise ValueError("runs must name at least one run folder, got none")
    table |= {name: average(torch.stack(each)).tolist() for name, each in columns.items()}
    return _write(config.out or config.runs[0] / "scores.csv", table)


def _of_model(
    run: Path, weights: Path, config: ScoreConfig, data: Data, source: Images, console: Console
) -> tuple[dict[str, Tensor], Tensor]:
    model = model_of(config_of(run), data.train)
    model.load_state_dict(load_checkpoint(weights)[0])
    device = device_of(config.device)
    model.to(device).eval()
    features = _LastLayerInput(model) if "grand" in config.scores else None
    parts: dict[str, list[Tensor]] = {}
    same = source.with_scale(data.train.mean, data.train.std)
    for batch in _shown(same, config.batch_size, f"scoring with {run.name}", console):
        with torch.inference_mode():
            logits = model(batch.inputs.to(device)).float().cpu()
        for name in config.scores:
            if name in OF_LOGITS:
                parts.setdefault(name, []).append(OF_LOGITS[name](logits, batch.targets))
        if features is not None:
            parts.setdefault("grand", []).append(grand(features.value.cpu(), logits, batch.targets, bias=features.bias))
        parts.setdefault("predicted", []).append(logits.argmax(1))
    joined = {name: torch.cat(each) for name, each in parts.items()}
    return joined, joined.pop("predicted")


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
        writer.writerow([plain_cell(cell) if isinstance(cell, str) else f"{cell:.6g}" for cell in row])
    replace_file(path, text.getvalue())
    return path
