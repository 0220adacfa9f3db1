"""The figures about a curriculum: its pace, the scores that it went by, and who was shown when."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

from tamis.report.charts import colours
from tamis.report.drawing import FOCUS, INK, OCHRE, STYLE, Chart, Series, log_ticks, new_axes, short_number, to_svg
from tamis.report.records import Record

_SHOWN, _WAITS, _PRUNED = FOCUS, "#d5dde2", OCHRE


def pacing(records: Sequence[Record], focus: Record) -> Chart:
    """Fig. 1 of the CLIP paper: what the pace exposes, and what is left of it."""
    axes = new_axes("epoch", whole=True)
    axes.yaxis.set_major_formatter(short_number)
    axes.set_ylabel("samples")
    for record, colour in zip(records, colours(records, focus), strict=True):
        epoch, shown = record.column("epoch"), record.column("shown")
        pruned = 0 if record.curriculum is None else record.curriculum.pruned[epoch.astype(int)]
        marker = "." if len(epoch) == 1 else ""
        axes.plot(epoch + 1, shown + pruned, color=colour, marker=marker)
        if np.any(pruned):
            axes.plot(epoch + 1, shown, "--", color=colour, linewidth=1.5, marker=marker)
    axes.set_ylim(bottom=0)
    legend = [Series("paced in", INK), Series("shown, after pruning", INK, "dash")]
    return Chart("The pace, with and without pruning", "samples per epoch", to_svg(axes, "pacing"), legend)


def sorted_scores(records: Sequence[Record], focus: Record) -> Chart | None:
    """Fig. 2 of the CLIP paper: scores of the samples, each run's in ascending order."""
    axes = new_axes("samples, in the order of their score")
    lows, highs, named = [], [], []
    for record, colour in zip(records, colours(records, focus), strict=True):
        score = np.sort(record.scores[np.isfinite(record.scores)])
        if not len(score):
            continue
        at = np.unique(np.linspace(0, len(score) - 1, 600).astype(int))
        axes.plot(at + 1, score[at], color=colour, marker="." if len(at) == 1 else "")
        lows.append(score[0])
        highs.append(score[-1])
        named.append(record.curriculum is not None and record.curriculum.initial)
    if not lows:
        return None
    if min(lows) > 0 and max(highs) > 30 * min(lows):
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
    axes.set_ylabel(_score_label(records))
    when = "before the training" if all(named) else "at the end of the training"
    if len(set(named)) > 1:
        when = "before the training where a run went by them, else as last shown: compare the shapes"
    return Chart("Scores of the samples, sorted", f"low: easy; {when}", to_svg(axes, "sorted"))


def _score_label(records: Sequence[Record]) -> str:
    per = {"sample" if each.task == "classification" else each.config.get("score_per", "image") for each in records}
    return f"loss per {per.pop()}" if per <= {"image", "pixel", "head", "sample"} and len(per) == 1 else "score"


def calendar(record: Record) -> Chart | None:
    """Who is shown when: a row for each share of the samples by score, a column for each epoch."""
    curriculum = record.curriculum
    if curriculum is None or not curriculum.waits_by_bin.size:
        return None
    epochs = curriculum.waits_by_bin.shape[1]
    axes = new_axes("epoch", whole=True)
    waits, pruned = curriculum.waits_by_bin, curriculum.pruned_by_bin
    cells = np.stack([1 - waits - pruned, waits, pruned])
    colours = np.array([to_rgb(colour) for colour in (_SHOWN, _WAITS, _PRUNED)])
    mixed = np.einsum("cbe,cr->ber", cells.clip(0, 1), colours).clip(0, 1)
    axes.imshow(mixed, aspect="auto", origin="lower", interpolation="nearest", extent=(0.5, epochs + 0.5, 0, 1))
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("samples, lowest score below")
    legend = [Series("shown", _SHOWN, "area"), Series("waits for the pace", _WAITS, "area")]
    legend.append(Series("pruned", _PRUNED, "area"))
    scores = "scores before the training" if curriculum.initial else "scores at the end"
    return Chart("Who is shown when", f"all samples in the order of their {scores}", to_svg(axes, "calendar"), legend)


def curriculum_charts(records: Sequence[Record], focus: Record) -> list[Chart]:
    """The charts about the curricula of the runs; none where no run has one."""
    if not any(record.curriculum for record in records):
        return []
    shown = curriculum_of(records, focus)
    with matplotlib.rc_context(STYLE):
        charts = [pacing(records, focus), sorted_scores(records, focus), calendar(shown)]
        return [chart for chart in charts if chart is not None]


def curriculum_of(records: Sequence[Record], focus: Record) -> Record:
    """The run whose curriculum is shown: the one in focus, else the first that has one."""
    return next((record for record in [focus, *records] if record.curriculum is not None), focus)
