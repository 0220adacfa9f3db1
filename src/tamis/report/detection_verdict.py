"""What the figures of detectors say, in a sentence or two, and no more than they say."""

import math
from collections.abc import Sequence

from tamis.report.costs import costs_of
from tamis.report.counting_verdict import CHANCE, fed, flipped
from tamis.report.detection_tables import three_places
from tamis.report.predictions import shared
from tamis.report.records import Record


def detection_verdict(records: Sequence[Record], focus: Record) -> str:
    """The page's first sentence, made from the figures of the runs."""
    text = _comparison(records, focus) if len(records) > 1 else _alone(focus)
    unfinished = [record.name for record in records if record.result is None]
    if unfinished and len(records) > 1:
        text += f" Not finished yet: {', '.join(unfinished)}."
    return text


def _comparison(records: Sequence[Record], focus: Record) -> str:
    ends = {record.name: record.figure("last", "map50") for record in records}
    if any(math.isnan(end) for end in ends.values()):
        return f"{len(records)} runs side by side; not all end with an mAP50, so they cannot be ranked."
    first = records[0]
    text = f"{focus.name} ends with an mAP50 of {three_places(ends[focus.name])}, {_against(focus, first)}"
    others = [f"{name} {three_places(end)}" for name, end in ends.items() if name not in (first.name, focus.name)]
    text += f" ({', '.join(others)})" if others else ""
    text += f". It was fed {fed(costs_of(focus))}, {first.name} {fed(costs_of(first))}. "
    return text + _chance(first, focus)


def _against(record: Record, first: Record) -> str:
    """0.613 and 0.6 -> "0.013 above that of standard, 0.600"."""
    own, before = record.figure("last", "map50"), first.figure("last", "map50")
    difference = round(own, 3) - round(before, 3)
    if abs(difference) < 5e-4:
        return f"as {first.name} does"
    side = "above" if difference > 0 else "below"
    return f"{abs(difference):.3f} {side} that of {first.name}, {three_places(before)}"


def _chance(first: Record, focus: Record) -> str:
    """What a paired test over the AP of the images with boxes that both were judged by says."""
    if first.boxes is None or focus.boxes is None:
        return "Without the boxes of single images in both, nobody can say whether the difference is chance."
    rows, others = shared(first.boxes, focus.boxes)
    both = {*first.boxes.keys} & {*focus.boxes.keys}
    if not len(rows) or len(both) < max(len(first.boxes), len(focus.boxes)) / 2:
        return "They were judged by different images, so they cannot be compared."
    own, before = focus.boxes.precision[others], first.boxes.precision[rows]
    p, text = flipped(own - before, "APs")
    means = f"By the AP of single images with boxes, {own.mean():.3f} and {before.mean():.3f} on average, this"
    if p > CHANCE:
        return f"{means} may be chance ({text})."
    return f"{means} is hardly chance ({text}); what another seed gives is not tested by it."


def _alone(record: Record) -> str:
    epochs, planned = len(record.metrics), record.epochs
    start = f"After {epochs} epoch{'s' if epochs > 1 else ''}"
    if record.result is None:
        start = f"Not finished: after {epochs}{f' of {planned}' if planned else ''} epoch{'s' if epochs > 1 else ''}"
    last, best = record.figure("last", "map50"), record.figure("best", "map50")
    if math.isnan(last):
        why = "no validation image has a box" if record.held_out else "there is no validation data"
        return f"{start} the mAP50 is not known: {why}. It was fed {fed(costs_of(record))}."
    text = f"{start} the mAP50 is {three_places(last)} on {record.held_out:,} validation images"
    if record.judged("best")["epoch"] == record.judged("last")["epoch"]:
        text += "; no epoch was better" if epochs > 1 else ""
    else:
        text += f"; the best epoch was {record.judged('best')['epoch'] + 1} with {three_places(best)}"
    return f"{text}. It was fed {fed(costs_of(record))}."
