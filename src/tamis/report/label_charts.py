"""The figures about the labels of one run: what sigma, or the mean loss, tells of them."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from tamis.report.drawing import (
    FOCUS,
    INK,
    OCHRE,
    SOFT,
    STYLE,
    WRONG,
    Chart,
    Series,
    log_ticks,
    new_axes,
    short_number,
    to_svg,
)
from tamis.report.records import Detection, Record


def ending(record: Record) -> Chart | None:
    """Histogram of the suspicion at the end, right and wrong labels apart where they are known."""
    return histogram(record.history.suspicion, record.samples.wrong, record.history.measure, ("samples", "labels"))


def histogram(score: np.ndarray, wrong: np.ndarray | None, measure: str, of: tuple[str, str]) -> Chart | None:
    """Histogram of a score on a log scale; None where none is positive.

    Args:
        score: float (n,); what is not finite and positive is left out.
        wrong: bool (n,), or None where it is not known.
        measure: what the score is.
        of: what has the score ("samples"), and what of it is right or wrong ("labels").
    """
    finite = np.isfinite(score) & (score > 0)
    if not finite.any():
        return None
    axes = new_axes(f"{measure} at the end (log scale)")
    low, high = max(score[finite].min(), 1e-4), max(score[finite].max(), 2e-4)
    low, high = (low / 1.5, high * 1.5) if high / low < 1.01 else (low, high)
    bins = np.geomspace(low, high, 49)
    groups = [(finite, FOCUS, f"all {of[1]}")]
    if wrong is not None and wrong.any():
        groups = [(finite & ~wrong, FOCUS, f"right {of[1]}"), (finite & wrong, WRONG, f"wrong {of[1]}")]
    for chosen, colour, _ in groups:
        axes.hist(
            np.clip(score[chosen], low, high),
            bins=list(bins),
            color=colour,
            alpha=0.72,
            histtype="stepfilled",
            linewidth=0,
        )
    axes.set_xscale("log")
    log_ticks(axes.xaxis)
    axes.yaxis.set_major_formatter(short_number)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    title = f"{measure[0].upper()}{measure[1:]} of the {of[0]}"
    return Chart(
        title,
        f"how many {of[0]} end where",
        to_svg(axes, "ending"),
        [Series(name, colour, "area") for _, colour, name in groups],
    )


def separation(record: Record) -> list[Chart]:
    """Fig. 4 of Saxena et al.: spread of the suspicion by clean and wrong, and what the top of the list holds."""
    if not record.detection:
        return []
    return separated(record.detection, record.history.measure, f"the {record.wrong_count:,} highest", "labels")


def separated(entries: Sequence[Detection], measure: str, top: str, noun: str) -> list[Chart]:
    """The same of anything that is known to be right or wrong.

    Args:
        entries: one for each epoch.
        measure: what the score is.
        top: among which the share of wrong ones was taken.
        noun: what is right or wrong ("labels").
    """
    epoch = [entry.epoch + 1 for entry in entries]
    marker = "." if len(epoch) == 1 else ""
    spread = new_axes("epoch", whole=True)
    for values, colour in (
        ([e.clean for e in entries], FOCUS),
        ([e.wrong for e in entries], WRONG),
    ):
        mean, low, high = np.array(values).T
        spread.fill_between(epoch, low, high, color=colour, alpha=0.16, linewidth=0)
        spread.plot(epoch, mean, color=colour, marker=marker)
    if measure == "sigma":
        spread.set_yscale("log")
        log_ticks(spread.yaxis)
    share = new_axes("epoch", percent=True, whole=True)
    share.plot(epoch, [entry.top_share for entry in entries], color=WRONG, marker=marker)
    share.plot(epoch, [entry.auroc for entry in entries], "--", color=INK, linewidth=1.4, marker=marker)
    share.set_ylim(0, 1.02)
    legend = [Series(f"right {noun}", FOCUS), Series(f"wrong {noun}", WRONG)]
    found = [Series("wrong among the top", WRONG), Series("AUROC", INK, "dash")]
    title = f"Mean {measure}, right and wrong {noun}"
    return [
        Chart(title, "band: 10th to 90th percentile", to_svg(spread, "spread"), legend),
        Chart(
            f"Wrong {noun} found",
            f"share among {top}, and AUROC",
            to_svg(share, "share"),
            found,
        ),
    ]


def class_sigma(record: Record) -> Chart | None:
    """Fig. 1 of Saxena et al.: sigma of the classes over the epochs, the three highest named."""
    rows = [row.get("class_sigma") for row in record.metrics]
    if not any(rows):
        return None
    width = max(len(row) for row in rows if row)
    values = np.array([row if row else [math.nan] * width for row in rows], dtype=float)
    axes = new_axes("epoch", whole=True)
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
    return Chart(
        "Sigma of the classes",
        "high: the model trusts the class's labels less",
        to_svg(axes, "class-sigma"),
        legend,
    )


def percentiles(record: Record) -> Chart | None:
    """Median, 5th to 95th percentile and maximum of the instances' sigma over the epochs."""
    middle = record.column("sigma", "p50")
    if not np.isfinite(middle).any():
        return None
    axes = new_axes("epoch", whole=True)
    epoch = record.column("epoch") + 1
    marker = "." if len(epoch) == 1 else ""
    axes.fill_between(
        epoch,
        record.column("sigma", "p05"),
        record.column("sigma", "p95"),
        color=FOCUS,
        alpha=0.18,
        linewidth=0,
    )
    axes.plot(epoch, middle, color=FOCUS, marker=marker)
    axes.plot(epoch, record.column("sigma", "max"), "--", color=SOFT, linewidth=1.1, marker=marker)
    axes.set_yscale("log")
    log_ticks(axes.yaxis)
    legend = [Series("median", FOCUS), Series("highest", SOFT, "dash")]
    return Chart("Sigma of all samples", "band: 5th to 95th percentile", to_svg(axes, "percentiles"), legend)


def label_charts(record: Record) -> list[Chart]:
    """The charts about the labels of one run."""
    with matplotlib.rc_context(STYLE):
        charts = [ending(record), *separation(record), class_sigma(record), percentiles(record)]
        return [chart for chart in charts if chart is not None]
