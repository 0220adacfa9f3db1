"""What a detector's training tells of its boxes: how their sigma lies, which look wrong, how wrong ones stand out."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tamis.box_temperature import BoxParameters
from tamis.data import BoxedImages
from tamis.data.box_noise import CLEAN, COLUMN, FLIPPED, INVENTED, SHIFTED
from tamis.files import replace_file
from tamis.recipes.box_rows import BOXES
from tamis.recipes.cells import plain_cell
from tamis.scores import auroc

_WRONG = {"flipped": FLIPPED, "shifted": SHIFTED, "invented": INVENTED}
_CORNERS = ("x1", "y1", "x2", "y2")


def box_figures(run: Path, train: BoxedImages, rows: Any) -> dict[str, Any]:
    """Figures of the training boxes of a run that has ended.

    Args:
        run: its folder.
        train: its training images.
        rows: the data parameters, or None.

    Returns:
        count; sigma, its percentiles p05, p50, p95, or None; and noise, where boxes were made wrong: kind, of each way
        that there is the count, and the chance that such a box ranks above a right one by sigma and by its latest loss
        (None = not known).
    """
    table = pq.read_table(run / "ledger" / BOXES)
    figures: dict[str, Any] = {"count": len(table), "sigma": None}
    sigma = rows.all_sigma(train.box_labels).numpy() if isinstance(rows, BoxParameters) else None
    if sigma is not None:
        places = np.quantile(sigma, (0.05, 0.5, 0.95), method="lower").tolist()
        figures["sigma"] = dict(zip(("p05", "p50", "p95"), places, strict=True))
    if COLUMN in table.column_names:
        kinds, loss = table[COLUMN].to_numpy(), latest_losses(run, len(table))
        scores = {"auroc_sigma": sigma, "auroc_loss": loss}
        found = {name: _noticed(kinds, kind, scores) for name, kind in _WRONG.items() if (kinds == kind).any()}
        figures["noise"] = {"kind": found}
    return figures


def _noticed(kinds: np.ndarray, kind: int, scores: dict[str, np.ndarray | None]) -> dict[str, Any]:
    these = (kinds == kind) | (kinds == CLEAN)
    wrong = kinds[these] == kind
    chances = dict.fromkeys(scores, math.nan)
    for name, score in scores.items():
        if score is not None:
            chances[name] = auroc(torch.from_numpy(score[these]), torch.from_numpy(wrong))
    known = {name: chance if math.isfinite(chance) else None for name, chance in chances.items()}
    return {"count": int(wrong.sum()), **known}


def latest_sigma(run: Path) -> np.ndarray | None:
    """Sigma of every box at the end of the last epoch that a run's history has, float32 (m,); None without any."""
    paths = sorted((run / "ledger").glob("boxes-*.parquet"))
    table = pq.read_table(paths[-1]) if paths else pa.table({})
    return table["sigma"].to_numpy() if "sigma" in table.column_names else None


def latest_losses(run: Path, count: int) -> np.ndarray:
    """The loss of every box when a run's history saw it last, float32 (count,), NaN = never."""
    loss = np.full(count, np.nan, np.float32)
    for path in sorted((run / "ledger").glob("boxes-*.parquet"), reverse=True):
        unknown = np.isnan(loss)
        if not unknown.any():
            break
        before = pq.read_table(path, columns=["loss"])["loss"].to_numpy()
        if len(before) == count:  # else it is of before the data changed
            loss[unknown] = before[unknown]
    return loss


def write_box_suspects(run: Path, train: BoxedImages, count: int) -> Path:
    """Write the boxes of the highest sigma to suspects.csv: key, image, class, x1, y1, x2, y2, sigma, loss.

    Ties go by the loss, then by row.

    Args:
        run: the run folder.
        train: its training images.
        count: how many to write, at most.

    Raises:
        ValueError: the run has kept no sigma of these boxes.
    """
    table, sigma = pq.read_table(run / "ledger" / BOXES), latest_sigma(run)
    if sigma is None or len(sigma) != len(table):
        raise ValueError(f"run must have kept the sigma of its boxes, got none in {str(run)!r}; train it with history")
    loss = latest_losses(run, len(table))
    order = np.lexsort((-loss, -sigma))[:count]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "image", "class", *_CORNERS, "sigma", "loss"])
    for row, box in zip(order.tolist(), table.take(pa.array(order)).to_pylist(), strict=True):
        names = [box["key"], train.keys[box["image"]], train.class_names[box["label"]]]
        figures = [*(box[side] for side in _CORNERS), float(sigma[row]), float(loss[row])]
        writer.writerow([*map(plain_cell, names), *(_figure(value) for value in figures)])
    path = run / "suspects.csv"
    replace_file(path, text.getvalue())
    return path


def _figure(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
