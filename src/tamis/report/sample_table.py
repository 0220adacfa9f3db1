"""The table of all samples, as JSON that the page's script lays out."""

import json
import math
from typing import Any

import numpy as np

from tamis.report.records import Record
from tamis.report.suspicion import ranking

ROWS = 20_000
ROWS_BYTES = 3_200_000  # of the page's 5 MB


def all_samples(record: Record) -> tuple[str, int]:
    """Columnar JSON of the samples, most suspicious first, safe inside a script element; and how many rows it has.

    At most 20,000 rows, and fewer if their keys are so long that the page would grow beyond its 5 MB.
    """
    order = ranking(record.history.suspicion, record.history.mean_loss)
    count = min(ROWS, len(order))
    text = _columns(record, order[:count])
    while len(text) > ROWS_BYTES and count > 1:
        count = max(1, int(count * ROWS_BYTES / len(text) * 0.95))
        text = _columns(record, order[:count])
    return text, count


def _columns(record: Record, order: np.ndarray) -> str:
    tell = {"counting": _counted, "detection": _boxed}.get(record.task, _labelled)
    columns = tell(record, order)
    columns["hidden"] = record.hidden.epochs[order].tolist() if record.hidden.reasons else None
    content = {
        "classes": record.class_names,
        "columns": {name: column for name, column in columns.items() if column is not None},
    }
    if record.task == "detection":
        content["titles"] = {"points": "Boxes"}
    return script_json(content)


def _labelled(record: Record, order: np.ndarray) -> dict[str, Any]:
    samples, history = record.samples, record.history
    return {
        "key": samples.keys.take(order).to_pylist(),
        "index": order.tolist(),
        "label": samples.label[order].tolist(),
        "predicted": history.predicted[order].tolist(),
        "clean": None if samples.clean is None else samples.clean[order].tolist(),
        "sigma": _rounded(history.sigma[order]) if history.has_sigma else None,
        "loss": _rounded(history.mean_loss[order]),
        "right": history.right[order].tolist(),
        "shown": history.shown[order].tolist(),
    }


def _counted(record: Record, order: np.ndarray) -> dict[str, Any]:
    samples, history = record.samples, record.history
    return {
        "key": samples.keys.take(order).to_pylist(),
        "index": order.tolist(),
        "points": samples.label[order].tolist(),
        "count": _rounded(history.count[order]),
        "predicted_count": _rounded(history.predicted_count[order]),
        "score": _rounded(history.mean_score[order]),
        "loss": _rounded(history.mean_loss[order]),
        "shown": history.shown[order].tolist(),
    }


def _boxed(record: Record, order: np.ndarray) -> dict[str, Any]:
    samples, history = record.samples, record.history
    return {
        "key": samples.keys.take(order).to_pylist(),
        "index": order.tolist(),
        "points": samples.label[order].tolist(),
        "score": _rounded(history.mean_score[order]),
        "loss": _rounded(history.mean_loss[order]),
        "shown": history.shown[order].tolist(),
    }


def _rounded(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.3g}") if math.isfinite(value) else None for value in values.tolist()]


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, nor be read as JavaScript's line ends (ASCII only)."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
