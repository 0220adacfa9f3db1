"""What the figures say, in a sentence or two, and no more than they say."""

import math
from collections.abc import Sequence

from tamis.report.records import Record
from tamis.report.suspicion import ranked_suspects

LOOKED_AT = 100
INJECTED = {"symmetric", "permute", "asymmetric", "random", "all-random"}


def percent(value: float) -> str:
    """0.912 -> "91.2 %"; NaN -> "unknown"."""
    return "unknown" if math.isnan(value) else f"{100 * value:.1f}\u00a0%"


def points(value: float) -> str:
    """A difference of accuracies in percentage points."""
    return f"{100 * abs(value):.1f} points"


def within_chance(one: float, other: float, count: int) -> bool:
    """Whether two accuracies over `count` images differ by at most two standard errors of a difference.

    The images are the same for both, so this errs towards saying that nothing can be told.
    """
    variance = (one * (1 - one) + other * (1 - other)) / max(count, 1)
    return abs(one - other) <= 2 * math.sqrt(variance)


def verdict(records: Sequence[Record], focus: Record) -> str:
    """The page's first sentence, made from the figures of the runs."""
    parts = [_comparison(records, focus) if len(records) > 1 else _alone(focus), _labels(focus)]
    unfinished = [record for record in records if record.result is None]
    if unfinished and len(records) > 1:
        parts.append(f"Not finished yet: {', '.join(record.name for record in unfinished)}.")
    return " ".join(part for part in parts if part)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _comparison(records: Sequence[Record], focus: Record) -> str:
    others = [record for record in records if record is not focus]
    if any(math.isnan(record.last.accuracy) for record in records):
        return f"{len(records)} runs side by side; not all end with a validation accuracy, so they cannot be ranked."
    first, *rest = others
    text = f"{_capital(focus.name)} ended at {percent(focus.last.accuracy)} where {first.name} ended at "
    listed = [
        percent(first.last.accuracy),
        *(f"{record.name} at {percent(record.last.accuracy)}" for record in rest),
    ]
    text += " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
    count = focus.held_out
    if within_chance(focus.last.accuracy, first.last.accuracy, count):
        text += f"; on {count:,} validation images the difference from {first.name} may be chance"
    return text + "."


def _alone(record: Record) -> str:
    epochs = len(record.metrics)
    planned = record.epochs
    if record.result is None:
        of = f" of {planned}" if planned else ""
        start = f"Not finished: after {epochs}{of} epochs the accuracy is"
    else:
        start = f"After {epochs} epoch{'s' if epochs > 1 else ''} the accuracy is"
    last, best = record.last, record.best
    if math.isnan(last.accuracy) and record.held_out:
        return f"{start.removesuffix(' the accuracy is')} the validation accuracy is not a number."
    if math.isnan(last.accuracy):
        given = percent(record.column("train_accuracy")[-1])
        return f"{start} {given} on the given labels; without validation data its accuracy on new images is not known."
    text = f"{start} {percent(last.accuracy)} on {record.held_out:,} validation images"
    if best.epoch == last.epoch:
        return text + (", the best of all epochs." if epochs > 1 else ".")
    text += f"; the best epoch was {best.epoch + 1} with {percent(best.accuracy)}"
    if not within_chance(best.accuracy, last.accuracy, record.held_out):
        text += f", so {points(best.accuracy - last.accuracy)} were lost after it"
    return text + "."


def _labels(record: Record) -> str:
    found = ranked_suspects(record.samples, record.history, LOOKED_AT)
    if not found:
        return ""
    by = "by sigma" if record.history.has_sigma else "by mean loss"
    if record.samples.clean is None:
        return f"The labels are ranked {by}; which of them are wrong is for a person to say."
    if record.wrong_count == 0:
        return "None of its labels is known to be wrong."
    found = found[: record.wrong_count]
    wrong = sum(suspect.label != suspect.clean_label for suspect in found)
    noise = (record.about.get("data") or {}).get("noise") or {}
    why = "the noise was injected" if noise.get("kind") in INJECTED else "the clean labels were kept aside"
    if len(found) == 1:
        return f"The most suspicious label {by} is {'wrong' if wrong else 'right'} (known, because {why})."
    return f"Of the {len(found)} most suspicious labels {by}, {wrong} are wrong (known, because {why})."
