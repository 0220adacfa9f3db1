"""What the figures of counters say, in a sentence or two, and no more than they say."""

import math
from collections.abc import Sequence

import numpy as np

from tamis.report.costs import Costs, costs_of
from tamis.report.predictions import shared, sign_flips
from tamis.report.records import Record
from tamis.report.tables import figure, number

CHANCE = 0.05  # above this a difference may be chance


def counting_verdict(records: Sequence[Record], focus: Record) -> str:
    """The page's first sentence, made from the figures of the runs."""
    text = _comparison(records, focus) if len(records) > 1 else _alone(focus)
    unfinished = [record.name for record in records if record.result is None]
    if unfinished and len(records) > 1:
        text += f" Not finished yet: {', '.join(unfinished)}."
    return text


def _comparison(records: Sequence[Record], focus: Record) -> str:
    errors = {record.name: record.figure("last", "mae") for record in records}
    if any(math.isnan(error) for error in errors.values()):
        return f"{len(records)} runs side by side; not all end with a validation error, so they cannot be ranked."
    first = records[0]
    mae, before = errors[focus.name], errors[first.name]
    text = f"The mean absolute error of {focus.name} is {figure(mae)}, {_relative(mae, before)} "
    text += f"that of {first.name}, {figure(before)}"
    others = [f"{name} {figure(error)}" for name, error in errors.items() if name not in (first.name, focus.name)]
    text += f" ({', '.join(others)})" if others else ""
    own, other = costs_of(focus), costs_of(first)
    text += f". It was fed {fed(own)}, {first.name} {fed(other)}. "
    return text + _chance(first, focus)


def _relative(value: float, before: float) -> str:
    """9 and 10 -> "10.0 % lower than"."""
    if value == before:
        return "the same as"
    if not before:
        return "higher than"
    return f"{100 * abs(value / before - 1):.1f}\u00a0% {'lower' if value < before else 'higher'} than"


def fed(costs: Costs) -> str:
    """What a training was fed, and what its scores took."""
    text = f"{costs.fed:,} samples"
    parts = [f"{costs.scorer:,} of them to train a scorer"] if costs.scorer else []
    parts += [f"{costs.scored:,} more scored"] if costs.scored else []
    return text + (f" ({', '.join(parts)})" if parts else "")


def _chance(first: Record, focus: Record) -> str:
    """What a paired test over the images that both have counted says."""
    if first.predictions is None or focus.predictions is None:
        return "Without the counts of single images in both, nobody can say whether the difference is chance."
    rows, others = shared(first.predictions, focus.predictions)
    if len(rows) < max(len(first.predictions), len(focus.predictions)) / 2:
        return "They were judged by different images, so the errors cannot be compared."
    p, text = flipped(first.predictions.error[rows] - focus.predictions.error[others], "errors")
    if p > CHANCE:
        return f"On these images the difference may be chance ({text})."
    return f"On these images that is hardly chance ({text}); what another seed gives is not tested by it."


def flipped(difference: np.ndarray, what: str) -> tuple[float, str]:
    """The chance of paired differences as far from 0, and how that was found out."""
    p = sign_flips(difference)
    size = f"= {p:.2g}" if p >= 0.001 else "< 0.001"
    return p, f"p\u00a0{size}, signs of {len(difference):,} paired {what} flipped"


def _alone(record: Record) -> str:
    epochs, planned = len(record.metrics), record.epochs
    start = f"After {epochs} epoch{'s' if epochs > 1 else ''}"
    if record.result is None:
        start = f"Not finished: after {epochs}{f' of {planned}' if planned else ''} epoch{'s' if epochs > 1 else ''}"
    mae, best = record.figure("last", "mae"), record.figure("best", "mae")
    if math.isnan(mae) and record.held_out:
        return f"{start} the validation error is not a number."
    if math.isnan(mae):
        return f"{start}, without validation data, the error on new images is not known."
    mean = record.figure("last", "count")
    size = f", which hold {number(mean)} on average" if math.isfinite(mean) else ""
    text = f"{start} the counts are off by {figure(mae)} on average, on {record.held_out:,} validation images{size}"
    if record.judged("best")["epoch"] == record.judged("last")["epoch"]:
        text += "; no epoch was better" if epochs > 1 else ""
    else:
        text += f"; the best epoch was {record.judged('best')['epoch'] + 1} with {figure(best)}"
    return f"{text}. It was fed {fed(costs_of(record))}."
