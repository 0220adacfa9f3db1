"""The figures about training, all runs in each."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tamis.report.drawing import FOCUS, INK, OTHERS, STYLE, Chart, Series, new_axes, short_number, to_svg
from tamis.report.records import Record


def colours(records: Sequence[Record], focus: Record) -> list[str]:
    """A colour for each run: the focus has the page's accent."""
    others = iter(OTHERS * (len(records) // len(OTHERS) + 1))
    return [FOCUS if record is focus else next(others) for record in records]


def curves(records: Sequence[Record], focus: Record) -> list[Chart]:
    """Accuracy and loss against samples seen and against seconds, best and last epoch marked."""
    return [_curve(records, focus, what, x) for what in ("accuracy", "loss") for x in ("samples_seen", "seconds")]


def _curve(records: Sequence[Record], focus: Record, what: str, against: str) -> Chart:
    x_name = against.replace("_", " ")
    axes = new_axes("seconds of training" if against == "seconds" else x_name, percent=what == "accuracy")
    held_out = any(np.isfinite(record.column("validation", what)).any() for record in records)
    for record, colour in zip(records, colours(records, focus), strict=True):
        x, y, training = (record.column(*path) for path in ((against,), ("validation", what), (f"train_{what}",)))
        order = 4 if record is focus else 2
        dashes = "_" if len(x) == 1 else "--"
        axes.plot(x, training, dashes, color=colour, linewidth=1.1 if held_out else 1.6, zorder=order - 1)
        axes.plot(x, y, color=colour, zorder=order)
        if held_out:
            best = record.column("epoch") == record.best.epoch
            edge = {"markeredgecolor": colour, "markeredgewidth": 1.6}
            axes.plot(x[best], y[best], "o", markersize=6, color="white", zorder=5, **edge)
            axes.plot(x[-1], y[-1], "o", markersize=5, color=colour, zorder=6)
    if what == "loss":
        axes.set_ylim(bottom=0)
    legend = [Series("validation", INK)] if held_out else []
    legend.append(Series("training, given labels", INK, "dash"))
    marks = "open dot: epoch of the best accuracy; full dot: last" if held_out else "no validation data in this run"
    return Chart(f"{what.capitalize()} against {x_name}", marks, to_svg(axes, f"{what}-{against}"), legend)


def marked_line(axes: Axes, record: Record, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    """A line of what is known of a run's epochs, with an open dot at its best epoch and a full one at its last."""
    known = np.isfinite(y)
    x, y, epoch = x[known], y[known], record.column("epoch")[known]
    if not len(x):
        return
    axes.plot(x, y, color=colour)
    best = epoch == record.judged("best")["epoch"]
    axes.plot(x[best], y[best], "o", markersize=6, color="white", markeredgecolor=colour, markeredgewidth=1.6, zorder=5)
    axes.plot(x[-1], y[-1], "o", markersize=5, color=colour, zorder=6)


def shown(records: Sequence[Record], focus: Record) -> Chart:
    """Samples shown per epoch; for one run the hidden ones stand on top."""
    axes = new_axes("epoch", whole=True)
    axes.yaxis.set_major_formatter(short_number)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    if len(records) == 1:
        epoch, number, hidden = focus.column("epoch") + 1, focus.column("shown"), focus.column("hidden")
        axes.bar(epoch, number, width=0.8, color=FOCUS, linewidth=0)
        axes.bar(epoch, hidden, bottom=number, width=0.8, color="#d5dde2", linewidth=0)
        if len(epoch) <= 3:
            axes.set_xlim(-1, 5)
            axes.set_xticks(epoch)
        legend = [Series("shown", FOCUS, "area"), Series("hidden", "#d5dde2", "area")]
        return Chart("Samples per epoch", "what the method showed and hid", to_svg(axes, "shown"), legend)
    for record, colour in zip(records, colours(records, focus), strict=True):
        axes.plot(
            record.column("epoch") + 1,
            record.column("shown"),
            color=colour,
            marker="." if len(record.metrics) == 1 else "",
        )
    axes.set_ylim(bottom=0)
    return Chart("Samples shown per epoch", "fewer samples, less work", to_svg(axes, "shown"), [])


def memorised(records: Sequence[Record], focus: Record) -> Chart | None:
    """Share of the wrong labels that the model predicts as given; None where no wrong label is known."""
    if not any(record.detection for record in records):
        return None
    axes = new_axes("epoch", percent=True, whole=True)
    for record, colour in zip(records, colours(records, focus), strict=True):
        epoch = [entry.epoch + 1 for entry in record.detection]
        axes.plot(
            epoch,
            [entry.fitted for entry in record.detection],
            color=colour,
            marker="." if len(epoch) == 1 else "",
        )
    axes.set_ylim(0, 1.02)
    return Chart("Wrong labels memorised", "share of them predicted as given", to_svg(axes, "memorised"))


def training_charts(records: Sequence[Record], focus: Record) -> list[Chart]:
    """The charts about training, all runs in each."""
    with matplotlib.rc_context(STYLE):
        accuracy_samples, accuracy_seconds, loss_samples, loss_seconds = curves(records, focus)
        remembered = memorised(records, focus)
        charts = [
            accuracy_samples,
            accuracy_seconds,
            remembered,
            loss_samples,
            loss_seconds,
            shown(records, focus),
        ]
        return [chart for chart in charts if chart is not None]
