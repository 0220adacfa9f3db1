"""What stands in the page's tables, as plain numbers and texts; the template only lays it out."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tamis.report.costs import Costs, costs_of
from tamis.report.incidents import KINDS, Changed
from tamis.report.records import Record
from tamis.report.suspicion import ranking
from tamis.report.verdict import percent

CLASSES = 200
NAMED = 20  # of samples that could not be read, and of epochs
DASH = "\u2013"  # for what is not known


class ClassRow(NamedTuple):
    """A class: samples labelled so, how many of them are suspects, accuracy when last shown."""

    name: str
    samples: int
    suspects: int
    accuracy: str
    wrong: int | None


def number(value: float, digits: int = 3) -> str:
    """Three significant digits, thousands apart, a dash where unknown."""
    if not math.isfinite(value):
        return DASH
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def figure(value: float) -> str:
    """Three significant digits, zeros at the end kept, so that figures below each other compare: 47.0."""
    return number(value) if not math.isfinite(value) or abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def seconds(value: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 5 s, 2 h 10 min."""
    if not math.isfinite(value):
        return DASH
    if value < 60:
        return f"{value:.1f}\u00a0s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h {minutes}\u00a0min" if hours else f"{minutes}\u00a0min {rest}\u00a0s"


def results(records: Sequence[Record]) -> list[dict[str, str]]:
    """Last and best epoch, and the costs of each run."""
    return [_result(record) for record in records]


def _result(record: Record) -> dict[str, str]:
    row, last, best = record.metrics[-1], record.last, record.best
    costs = (record.result or {}).get("costs") or {}
    seen = costs.get("samples_seen", row.get("samples_seen"))
    full = costs.get("full_samples")
    saving = costs.get("seconds_checkpoints")
    training = float(costs.get("seconds_training") or row.get("seconds") or math.nan)
    unknown = math.isnan(best.accuracy)
    return {
        "name": record.name,
        "method": str(record.about.get("method") or DASH),
        "last": percent(last.accuracy),
        "last_epoch": str(last.epoch + 1),
        "best": percent(best.accuracy),
        "best_epoch": DASH if unknown else str(best.epoch + 1),
        "samples": f"{seen:,}" if seen is not None else DASH,
        "scores": scores_cost(costs_of(record)),
        "of_full": percent(seen / full) if seen is not None and full else DASH,
        "steps": f"{costs.get('steps', row.get('steps') or 0):,}",
        "training": seconds(training),
        "evaluation": seconds(float(costs.get("seconds_evaluation") or math.nan)),
        "checkpoints": seconds(math.nan if saving is None else float(saving)),
        "total": seconds(float(costs.get("seconds_total") or math.nan)),
        "state": "finished" if record.result is not None else f"{len(record.metrics)} epochs so far",
        **_calibration(record),
    }


def scores_cost(costs: Costs) -> str:
    """What the scores took beside the training, in samples; nothing where they took none."""
    parts = [f"{costs.scorer:,} for a scorer"] if costs.scorer else []
    return ", ".join([*parts, f"{costs.scored:,} more scored"] if costs.scored else parts)


def incidents(records: Sequence[Record]) -> list[dict[str, Any]]:
    """What happened to the data and the losses of each run, for those runs where something did."""
    rows = [_incidents(record) for record in records]
    return [row for row in rows if row["unreadable"] or row["changes"] or row["not_finite"]]


def _incidents(record: Record) -> dict[str, Any]:
    found, bad = record.incidents, record.not_finite
    epochs = ", ".join(str(epoch + 1) for epoch in list(bad)[:NAMED]) + (", ..." if len(bad) > NAMED else "")
    told = {
        "losses that were not finite": sum(bad.values()),
        "images that could not be read": len(found.unreadable),
        "accepted changes of the data": len({change.number for change in found.changes}),
    }
    return {
        "name": record.name,
        "summary": "; ".join(f"{text}: {count:,}" for text, count in told.items() if count),
        "splits": ", ".join(f"{count:,} of {split}" for split, count in found.unreadable_by_split.items()),
        "unreadable": found.unreadable[:NAMED],
        "unreadable_count": len(found.unreadable),
        "changes": [_change(change) for change in found.changes],
        "not_finite": f"{sum(bad.values()):,}" if bad else "",
        "epochs": f"epoch{'s' if len(bad) > 1 else ''} {epochs}",
    }


def _change(change: Changed) -> dict[str, Any]:
    kinds = {
        kind: [f"{count:,}", ", ".join(keys) + (", ..." if count > len(keys) else "") if count else ""]
        for kind, count, keys in zip(KINDS, change.counts, change.first, strict=True)
    }
    return {
        "number": change.number,
        "time": change.time.replace("T", " ")[:16] + " UTC",
        "split": change.split,
        "kinds": kinds,
    }


def _calibration(record: Record) -> dict[str, str]:
    found = (record.result or {}).get("calibration")
    if not found:
        return {"calibration": DASH, "temperature": ""}
    before, after = (percent(float(found[name])) for name in ("ece_before", "ece_after"))
    return {
        "calibration": f"{before} \u2192 {after}",
        "temperature": f"temperature {number(found['temperature'])}",
    }


def classes(record: Record) -> tuple[list[ClassRow], str]:
    """Rows by class, and what counts as a suspect.

    A suspect is one of the (number of wrong labels) highest where that number is known, else one of the highest 5 %.
    """
    names, samples, history = record.class_names, record.samples, record.history
    known = record.wrong_count
    count = known or max(1, len(samples) // 20)
    order = ranking(history.suspicion, history.mean_loss)[:count]
    order = order[np.isfinite(history.suspicion[order])]
    k = len(names)
    label = samples.label
    total = np.bincount(label, minlength=k)
    suspicious = np.bincount(label[order], minlength=k)
    shown = history.correct >= 0
    right = np.bincount(label[shown], weights=history.correct[shown], minlength=k)
    seen = np.bincount(label[shown], minlength=k)
    wrong = None if samples.wrong is None else np.bincount(label[samples.wrong], minlength=k)
    rows = [
        ClassRow(
            names[at],
            int(total[at]),
            int(suspicious[at]),
            percent(float(right[at] / seen[at])) if seen[at] else DASH,
            None if wrong is None else int(wrong[at]),
        )
        for at in np.argsort(-suspicious, kind="stable")
    ]
    note = f"the {len(order):,} highest by {history.measure}"
    return rows, note + (", as many as are known to be wrong" if known else ", 5 % of all")
