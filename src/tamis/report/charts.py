"""The page's figures: small inline SVGs that hold no word of the user's, so nothing in them needs escaping.

Names of runs and classes stand in the HTML legends. Figures are deterministic: no date, fixed hash salt, no ids.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from tamis.report.records import Record

INK, SOFT, GRID = "#26323c", "#6a7783", "#e7ebee"
FOCUS, WRONG, OCHRE = "#17708c", "#c6503a", "#c9932b"
OTHERS = ("#8b96a1", OCHRE, "#7a6aa6", "#5f8f57", "#a5627d", "#4d5d6c")
WIDTH, HEIGHT = 352, 218  # points; one SVG unit is about one CSS pixel in a column of the page

STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10.5,
    "axes.edgecolor": "#b9c2ca",
    "axes.labelcolor": SOFT,
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 1,
    "xtick.color": "#b9c2ca",
    "ytick.color": GRID,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
    "path.simplify_threshold": 0.5,
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True)
class Series:
    """A legend entry: a name, a colour, and whether the line is dashed ("line", "dash") or filled ("area")."""

    name: str
    colour: str
    kind: str = "line"


@dataclass(frozen=True)
class Chart:
    """A figure: title, what it shows in a sentence, SVG text, legend."""

    title: str
    note: str
    svg: str
    legend: Sequence[Series] = ()


def colours(records: Sequence[Record], focus: Record) -> list[str]:
    """A colour for each run: the focus has the page's accent."""
    others = iter(OTHERS * (len(records) // len(OTHERS) + 1))
    return [FOCUS if record is focus else next(others) for record in records]


def _axes(x_label: str, *, percent: bool = False, whole: bool = False) -> Axes:
    axes = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained").add_subplot()
    axes.set_xlabel(x_label)
    axes.margins(x=0.02)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
    if not whole:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return axes


def _log_ticks(axis: Axis) -> None:
    """Plain numbers at 1, 3, 10, 30 ...; closer ones where the range is short."""
    low, high = sorted(axis.get_view_interval())
    short = high / max(low, 1e-12) < 8
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if short else (1, 3), numticks=30))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _svg(axes: Axes, name: str) -> str:
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(axes.get_figure(root=True)).print_svg(buffer, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # these ids repeat from figure to figure
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)  # an HTML parser knows them
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    return re.sub(r"\s*\n\s*", "\n", text)


def curves(records: Sequence[Record], focus: Record) -> list[Chart]:
    """Accuracy and loss against samples seen and against seconds, best and last epoch marked."""
    accuracy, loss = ("validation", "accuracy"), ("validation", "loss")
    return [
        _curve(records, focus, accuracy, ("train_accuracy",), "Accuracy", "samples_seen"),
        _curve(records, focus, accuracy, ("train_accuracy",), "Accuracy", "seconds"),
        _curve(records, focus, loss, ("train_loss",), "Loss", "samples_seen"),
        _curve(records, focus, loss, ("train_loss",), "Loss", "seconds"),
    ]


def _curve(
    records: Sequence[Record], focus: Record, held: Sequence[str], train: Sequence[str], what: str, against: str
) -> Chart:
    x_label = against.replace("_", " ").replace("seconds", "seconds of training")
    axes = _axes(x_label, percent=what == "Accuracy")
    held_out = False
    for record, colour in zip(records, colours(records, focus), strict=True):
        x, y = record.column(against), record.column(*held)
        order = 3 if record is focus else 2
        axes.plot(x, record.column(*train), "--", color=colour, linewidth=1.1, alpha=0.75, zorder=order - 1)
        axes.plot(x, y, color=colour, zorder=order)
        if np.isfinite(y).any():
            held_out = True
            best = np.nanargmax(y) if what == "Accuracy" else np.nanargmin(y)
            axes.plot(x[best], y[best], "o", markersize=6, color="white", markeredgecolor=colour, markeredgewidth=1.6, zorder=5)
        axes.plot(x[-1], y[-1], "o", markersize=5, color=colour, zorder=6)
        if len(x) == 1:
            axes.plot(x, record.column(*train), "_", color=colour, markersize=12)
    if what == "Loss":
        axes.set_ylim(bottom=0)
    legend = [Series("validation", INK)] if held_out else []
    legend.append(Series("training, given labels", INK, "dash"))
    marks = "open dot: best epoch; full dot: last" if held_out else "no validation data in this run"
    return Chart(f"{what} against {x_label.split(' of')[0]}", marks, _svg(axes, f"{what}-{against}"), legend)


def shown(records: Sequence[Record], focus: Record) -> Chart:
    """Samples shown per epoch; for one run the hidden ones stand on top."""
    axes = _axes("epoch", whole=True)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    if len(records) == 1:
        epoch, number, hidden = focus.column("epoch") + 1, focus.column("shown"), focus.column("hidden")
        axes.bar(epoch, number, width=0.8, color=FOCUS, linewidth=0)
        axes.bar(epoch, hidden, bottom=number, width=0.8, color="#d5dde2", linewidth=0)
        legend = [Series("shown", FOCUS, "area"), Series("hidden", "#d5dde2", "area")]
        return Chart("Samples per epoch", "what the method showed and hid", _svg(axes, "shown"), legend)
    for record, colour in zip(records, colours(records, focus), strict=True):
        axes.plot(record.column("epoch") + 1, record.column("shown"), color=colour, marker="." if len(record.metrics) == 1 else "")
    axes.set_ylim(bottom=0)
    return Chart("Samples shown per epoch", "fewer samples, less work", _svg(axes, "shown"), [])


def memorised(records: Sequence[Record], focus: Record) -> Chart | None:
    """Share of the wrong labels that the model predicts as given; None where no wrong label is known."""
    if not any(record.detection for record in records):
        return None
    axes = _axes("epoch", percent=True, whole=True)
    for record, colour in zip(records, colours(records, focus), strict=True):
        epoch = [entry.epoch + 1 for entry in record.detection]
        axes.plot(epoch, [entry.fitted for entry in record.detection], color=colour, marker="." if len(epoch) == 1 else "")
    axes.set_ylim(0, 1.02)
    return Chart("Wrong labels memorised", "share of them predicted as given", _svg(axes, "memorised"))


def ending(record: Record) -> Chart | None:
    """Histogram of the suspicion at the end, right and wrong labels apart where they are known."""
    score = record.history.suspicion
    finite = np.isfinite(score) & (score > 0)
    if not finite.any():
        return None
    measure = record.history.measure
    axes = _axes(f"{measure} at the end (log scale)")
    low, high = max(score[finite].min(), 1e-4), max(score[finite].max(), 2e-4)
    low, high = (low / 1.5, high * 1.5) if high / low < 1.01 else (low, high)
    bins = np.geomspace(low, high, 49)
    wrong = record.samples.wrong
    groups = [(finite, FOCUS, "all labels")]
    if wrong is not None and wrong.any():
        groups = [(finite & ~wrong, FOCUS, "right labels"), (finite & wrong, WRONG, "wrong labels")]
    for chosen, colour, _ in groups:
        axes.hist(np.clip(score[chosen], low, high), bins=list(bins), color=colour, alpha=0.72, histtype="stepfilled", linewidth=0)
    axes.set_xscale("log")
    _log_ticks(axes.xaxis)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    title = f"{measure[0].upper()}{measure[1:]} of the samples"
    return Chart(title, "how many samples end where", _svg(axes, "ending"), [Series(name, colour, "area") for _, colour, name in groups])


def separation(record: Record) -> list[Chart]:
    """Fig. 4 of Saxena et al.: spread of the suspicion by clean and wrong, and what the top of the list holds."""
    if not record.detection:
        return []
    epoch = [entry.epoch + 1 for entry in record.detection]
    marker = "." if len(epoch) == 1 else ""
    spread = _axes("epoch", whole=True)
    for values, colour in (([e.clean for e in record.detection], FOCUS), ([e.wrong for e in record.detection], WRONG)):
        mean, low, high = np.array(values).T
        spread.fill_between(epoch, low, high, color=colour, alpha=0.16, linewidth=0)
        spread.plot(epoch, mean, color=colour, marker=marker)
    measure = record.history.measure
    if measure == "sigma":
        spread.set_yscale("log")
        _log_ticks(spread.yaxis)
    share = _axes("epoch", percent=True, whole=True)
    share.plot(epoch, [entry.top_share for entry in record.detection], color=WRONG, marker=marker)
    share.plot(epoch, [entry.auroc for entry in record.detection], "--", color=INK, linewidth=1.4, marker=marker)
    share.set_ylim(0, 1.02)
    count = record.wrong_count
    legend = [Series("right labels", FOCUS), Series("wrong labels", WRONG)]
    found = [Series("wrong among the top", WRONG), Series("AUROC", INK, "dash")]
    title = f"Mean {measure}, right and wrong labels"
    return [
        Chart(title, "band: 10th to 90th percentile", _svg(spread, "spread"), legend),
        Chart("Wrong labels found", f"share among the {count:,} highest, and AUROC", _svg(share, "share"), found),
    ]


def class_sigma(record: Record) -> Chart | None:
    """Fig. 1 of Saxena et al.: sigma of the classes over the epochs, the three highest named."""
    rows = [row.get("class_sigma") for row in record.metrics]
    if not any(rows):
        return None
    width = max(len(row) for row in rows if row)
    values = np.array([row if row else [math.nan] * width for row in rows], dtype=float)
    axes = _axes("epoch", whole=True)
    epoch = record.column("epoch") + 1
    order = np.argsort(-values[-1], kind="stable")
    named = list(zip(order[:3], (WRONG, OCHRE, FOCUS), strict=False))
    marker = "." if len(epoch) == 1 else ""
    if len(order) > 40:  # as a band: a thousand lines are neither small nor readable
        low, middle, high = np.nanpercentile(values, [5, 50, 95], axis=1)
        axes.fill_between(epoch, low, high, color="#b7c1c9", alpha=0.4, linewidth=0)
        axes.plot(epoch, middle, color="#8b96a1", linewidth=1.2)
    else:
        axes.plot(epoch, values[:, order[3:]], color="#b7c1c9", linewidth=1.1, marker=marker)
    for number, colour in named:
        axes.plot(epoch, values[:, number], color=colour, marker=marker)
    names = record.class_names
    legend = [Series(names[number] if number < len(names) else f"class {number}", colour) for number, colour in named]
    legend += [Series("other classes", "#b7c1c9")] * (len(order) > 3)
    return Chart("Sigma of the classes", "high: the model trusts the class's labels less", _svg(axes, "class-sigma"), legend)


def percentiles(record: Record) -> Chart | None:
    """Median, 5th to 95th percentile and maximum of the instances' sigma over the epochs."""
    middle = record.column("sigma", "p50")
    if not np.isfinite(middle).any():
        return None
    axes = _axes("epoch", whole=True)
    epoch = record.column("epoch") + 1
    marker = "." if len(epoch) == 1 else ""
    axes.fill_between(epoch, record.column("sigma", "p05"), record.column("sigma", "p95"), color=FOCUS, alpha=0.18, linewidth=0)
    axes.plot(epoch, middle, color=FOCUS, marker=marker)
    axes.plot(epoch, record.column("sigma", "max"), "--", color=SOFT, linewidth=1.1, marker=marker)
    axes.set_yscale("log")
    _log_ticks(axes.yaxis)
    legend = [Series("median", FOCUS), Series("highest", SOFT, "dash")]
    return Chart("Sigma of all samples", "band: 5th to 95th percentile", _svg(axes, "percentiles"), legend)


def training_charts(records: Sequence[Record], focus: Record) -> list[Chart]:
    """The charts about training, all runs in each."""
    with matplotlib.rc_context(STYLE):
        accuracy_samples, accuracy_seconds, loss_samples, loss_seconds = curves(records, focus)
        remembered = memorised(records, focus)
        charts = [accuracy_samples, accuracy_seconds, remembered, loss_samples, loss_seconds, shown(records, focus)]
        return [chart for chart in charts if chart is not None]


def label_charts(record: Record) -> list[Chart]:
    """The charts about the labels of one run."""
    with matplotlib.rc_context(STYLE):
        charts = [ending(record), *separation(record), class_sigma(record), percentiles(record)]
        return [chart for chart in charts if chart is not None]
