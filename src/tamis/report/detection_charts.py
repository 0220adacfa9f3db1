"""The figures about detectors, all runs in each: mAP50 and loss, over epochs and over what they cost."""

from collections.abc import Sequence

import matplotlib

from tamis.report.charts import colours, marked_line, shown
from tamis.report.costs import costs_of
from tamis.report.drawing import INK, STYLE, Chart, Series, new_axes, to_svg
from tamis.report.records import Record

_MARKS = "open dot: epoch of the highest mAP50; full dot: last"
_UNITS = {"epoch": "epoch", "samples_seen": "samples fed", "seconds": "seconds"}


def detection_charts(records: Sequence[Record], focus: Record) -> list[Chart]:
    """mAP50 against epochs, samples fed and seconds; loss against epochs and samples fed; samples per epoch."""
    paced = any(record.curriculum for record in records)  # then its section shows that
    with matplotlib.rc_context(STYLE):
        return [
            *(_curve(records, focus, "map50", against) for against in _UNITS),
            *(_curve(records, focus, "loss", against) for against in ("epoch", "samples_seen")),
            *([] if paced else [shown(records, focus)]),
        ]


def _curve(records: Sequence[Record], focus: Record, what: str, against: str) -> Chart:
    """What the scores of a curriculum took is paid for before its first epoch."""
    unit, loss = _UNITS[against], what == "loss"
    axes = new_axes("seconds of training" if against == "seconds" else unit, whole=against == "epoch")
    axes.set_ylabel("loss per image" if loss else "mAP50")
    for record, colour in zip(records, colours(records, focus), strict=True):
        costs = costs_of(record)
        paid = {"epoch": 1, "samples_seen": costs.scorer, "seconds": costs.scoring_seconds}[against]
        x = record.column(against) + paid
        if loss:
            axes.plot(x, record.column("train_loss"), "_" if len(x) == 1 else "--", color=colour, linewidth=1.1)
        marked_line(axes, record, x, record.column("validation", what), colour)
    axes.set_ylim(bottom=0)
    if against != "epoch":
        axes.set_xlim(left=0)
    name, note = ("Loss", f"on validation images and on what was shown; {_MARKS}") if loss else ("mAP50", _MARKS)
    if not loss and against != "epoch":
        note = f"what the scores took included; {note}"
    legend = [Series("validation", INK), Series("training, what was shown", INK, "dash")] if loss else []
    return Chart(f"{name} against {unit}", note, to_svg(axes, f"{what}-{against}"), legend)
