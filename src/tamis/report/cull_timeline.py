"""The timeline of a culling: what the detectors made of the video, and where the kept frames are."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from tamis.report.cull_reading import Culled
from tamis.report.cull_time import Clock, clock
from tamis.report.drawing import FOCUS, INK, OCHRE, SOFT, Chart, Series, short_number, to_svg

_WIDE, _HIGH = 1130, 262  # points
_BINS = 480  # beyond so many scores it shows percentiles
_DOTS = 600
_MARKS = 120  # gaps and ends of files, at most
_PALE, _GATED, _GAP = "#c9d3d9", "#f0f3f5", "#f3d3cb"


def timeline(culled: Culled) -> Chart | None:
    """The score over the whole video, what each stage looked at, and what was kept; None without frames."""
    when = clock(culled)
    if not len(culled):
        return None
    upper, lower = _panels(scores=bool(culled.scored.any()))
    edges = np.linspace(
        when.at[0], when.at[-1] + (when.at[-1] - when.at[0] or 1) / len(culled), min(_BINS, len(culled)) + 1
    )
    bins = np.clip(np.searchsorted(edges, when.at, side="right") - 1, 0, len(edges) - 2)
    if upper is not lower:
        _scores(upper, culled, when, edges, bins)
    _strips(lower, culled, when, edges, bins)
    frames = np.bincount(bins, minlength=len(edges) - 1)
    passed = np.bincount(bins[culled.gated], minlength=len(edges) - 1)
    gaps = sorted(when.gaps, key=lambda gap: gap[0] - gap[1])[:_MARKS]
    starts = when.starts if len(when.starts) <= _MARKS else []
    for axes in dict.fromkeys((upper, lower)):
        _shade(axes, edges, (frames > 0) & (passed == frames), _GATED)
        for start, end in gaps:
            axes.axvspan(start, max(end, start + (edges[1] - edges[0])), color=_GAP, linewidth=0, zorder=0.5)
        for start in starts:
            axes.axvline(start, color=SOFT, linewidth=0.8, dashes=(2, 3))
    lower.set_xlabel("frames" if when.unit == "frames" else f"time, {when.unit}")
    lower.xaxis.set_major_formatter(short_number)
    lower.set_xlim(edges[0], edges[-1])
    legend = [Series("kept", FOCUS), Series("seen by the teacher", OCHRE)]
    if upper is not lower:
        dense = int(culled.scored.sum()) > _BINS
        legend.append(Series("median score" if dense else "score", INK))
        legend += [Series("from the 5th to the 95th percentile", _PALE, "area")] if dense else []
    legend += [Series("nothing new for the gate", "#dde4e8", "area")] if culled.gated.any() else []
    legend += [Series("no frames", _GAP, "area")] if gaps else []
    legend += [Series("next file", SOFT, "dash")] if starts else []
    note = "which frames the detectors saw" if upper is lower else "confidence loss of the frames that the student saw"
    return Chart("Timeline", note, to_svg(upper, "timeline"), legend)


def _panels(*, scores: bool) -> tuple[Axes, Axes]:
    """The panel of the scores and that of the strips; the same one where nothing was scored."""
    layout = ConstrainedLayoutEngine(h_pad=0.02, hspace=0.02)
    if not scores:
        axes = Figure(figsize=(_WIDE / 72, _HIGH / 2 / 72), layout=layout).add_subplot()
        return axes, axes
    figure = Figure(figsize=(_WIDE / 72, _HIGH / 72), layout=layout)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
    return upper, lower


def _scores(axes: Axes, culled: Culled, when: Clock, edges: np.ndarray, bins: np.ndarray) -> None:
    rows = np.flatnonzero(culled.scored)
    axes.set_ylabel("score")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="x", length=0)
    if len(rows) > _BINS:
        low, middle, high = _percentiles(bins[rows], culled.score[rows], len(edges) - 1)
        x = (edges[:-1] + edges[1:]) / 2
        axes.fill_between(x, low, high, color=_PALE, linewidth=0, zorder=1)
        axes.plot(x, middle, color=INK, linewidth=1.1, marker=".", markersize=1.6, zorder=2)
    elif len(rows):
        score = np.where(culled.scored, culled.score, np.nan)  # no line over frames that were passed over
        axes.plot(when.at, score, color=INK, linewidth=1.1, marker=".", markersize=3)
    dots = np.flatnonzero(culled.kept & culled.scored)
    if len(dots) <= _DOTS:
        axes.plot(when.at[dots], culled.score[dots], "o", markersize=3.2, color=FOCUS, markeredgewidth=0, zorder=4)
    if len(rows) and culled.score[rows].min() >= 0:
        axes.set_ylim(bottom=0)


def _percentiles(bins: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """5th percentile, median and 95th of the scores in each bin (3, bins); NaN where there is none."""
    found = np.full((3, count), np.nan)
    order = np.argsort(bins, kind="stable")
    heads = np.searchsorted(bins[order], np.arange(count + 1))
    for at, (head, tail) in enumerate(zip(heads[:-1].tolist(), heads[1:].tolist(), strict=True)):
        if tail > head:
            found[:, at] = np.percentile(scores[order[head:tail]], (5, 50, 95))
    return found


def _strips(axes: Axes, culled: Culled, when: Clock, edges: np.ndarray, bins: np.ndarray) -> None:
    """Three rows: the share of frames that the student saw, the teacher's frames, the kept ones."""
    frames = np.bincount(bins, minlength=len(edges) - 1)
    share = np.bincount(bins[culled.scored], minlength=len(edges) - 1) / np.maximum(frames, 1)
    axes.stairs(2.1 + 0.8 * share, edges, baseline=2.1, fill=True, color=_PALE, zorder=2)
    for level, chosen, colour in ((1.1, culled.taught, OCHRE), (0.1, culled.kept, FOCUS)):
        places = np.unique(np.linspace(edges[0], edges[-1], 4 * _BINS)[_fine(when.at[chosen], edges)])
        x = np.repeat(places, 3)
        y = np.tile([level, level + 0.8, np.nan], len(places))
        axes.plot(x, y, color=colour, linewidth=0.9, solid_capstyle="butt", zorder=3)
    axes.set_ylim(0, 3)
    axes.set_yticks([0.5, 1.5, 2.5], ["kept", "teacher", "student"])
    axes.grid(visible=False)


def _fine(at: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.round((at - edges[0]) / (edges[-1] - edges[0]) * (4 * _BINS - 1)).astype(int)


def _shade(axes: Axes, edges: np.ndarray, where: np.ndarray, colour: str) -> None:
    if where.any():
        high = np.where(where, 1.0, np.nan)
        axes.stairs(high, edges, fill=True, color=colour, transform=axes.get_xaxis_transform(), zorder=0.4, linewidth=0)
