"""The figures about the curricula of several runs: Fig. 1 of Saxena et al. 2019, and whether it repeats."""

import hashlib
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from tamis.report.class_curricula import Curricula
from tamis.report.class_curricula_order import by_chance
from tamis.report.drawing import FOCUS, OTHERS, SOFT, STYLE, WRONG, Chart, Series, log_ticks, new_axes, to_svg

DRAWN = 4  # classes, as in Fig. 1
_REST = "#b7c1c9"
_MOST_LINES = 40  # a thousand are neither small nor readable


def curricula_charts(curricula: Curricula) -> list[Chart]:
    """The charts that the runs have figures for."""
    with matplotlib.rc_context(STYLE):
        charts = [*_class_charts(curricula), order(curricula), tracks(curricula)]
        return [chart for chart in charts if chart is not None]


def _class_charts(curricula: Curricula) -> list[Chart]:
    """The classes that end highest and lowest, and four others."""
    ending = curricula.class_sigma.mean(0)[-1]
    if len(ending) < 2:
        return []
    extremes = [int(ending.argmax()), int(ending.argmin())]
    others = at_random(curricula.class_names, extremes)
    note = f"mean ± standard deviation of {len(curricula.runs)} runs"
    names = curricula.class_names
    ends = [Series(f"{names[extremes[0]]} (highest)", WRONG), Series(f"{names[extremes[1]]} (lowest)", FOCUS)]
    charts = [_classes(curricula, extremes, ends, "Classes that end highest and lowest", note)]
    if others:
        drawn = [Series(names[number], colour) for number, colour in zip(others, OTHERS[1:], strict=False)]
        charts.append(_classes(curricula, others, drawn, "Classes at random", f"as Fig. 1 of the paper; {note}"))
    return charts


def at_random(names: Sequence[str], without: Sequence[int]) -> list[int]:
    """Four classes by a hash of their names, so that the page of the same data shows the same ones."""
    left = [number for number in range(len(names)) if number not in without]
    left.sort(key=lambda number: hashlib.blake2b(names[number].encode("utf-8", "replace")).digest())
    return sorted(left[:DRAWN])


def _classes(curricula: Curricula, named: Sequence[int], legend: Sequence[Series], title: str, note: str) -> Chart:
    axes = new_axes("epoch", whole=True)
    sigma = curricula.class_sigma
    epoch = 1 + np.arange(sigma.shape[1])
    rest = np.delete(sigma.mean(0), list(named), axis=1)
    if rest.shape[1] > _MOST_LINES:
        low, high = np.percentile(rest, [5, 95], axis=1)
        axes.fill_between(epoch, low, high, color=_REST, alpha=0.4, linewidth=0)
    elif rest.shape[1]:
        axes.plot(epoch, rest, color=_REST, linewidth=0.8, marker=_marker(epoch))
    for number, series in zip(named, legend, strict=True):
        mean, spread = sigma[:, :, number].mean(0), sigma[:, :, number].std(0, ddof=1)
        _band(axes, epoch, np.array([np.maximum(mean - spread, 0), mean, mean + spread]), series.colour)
    axes.set_ylabel("sigma of the class")
    others = [Series("other classes", _REST)] * bool(rest.shape[1])
    return Chart(title, note, to_svg(axes, title), [*legend, *others])


def _marker(epoch: np.ndarray) -> str:
    return "." if len(epoch) == 1 else ""


def _band(axes: Axes, epoch: np.ndarray, lines: np.ndarray, colour: str) -> None:
    """The lower, middle and upper line of float (3, epochs)."""
    low, middle, high = lines
    axes.fill_between(epoch, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(epoch, middle, color=colour, marker=_marker(epoch))


def order(curricula: Curricula) -> Chart | None:
    """Rank correlation of sigma of the classes between each two runs, epoch by epoch."""
    classes, between = curricula.class_sigma.shape[2], curricula.class_order
    if not np.isfinite(between).any():
        return None
    axes = new_axes("epoch", whole=True)
    epoch = 1 + np.arange(len(between))
    chance = 2 * by_chance(classes)
    axes.axhspan(-min(1, chance), min(1, chance), color=_REST, alpha=0.3, linewidth=0)
    axes.plot(epoch, between, color=FOCUS, linewidth=1.1, alpha=0.5, marker=_marker(epoch))
    axes.plot(epoch, between.mean(1), color=FOCUS, marker=_marker(epoch))
    axes.set_ylim(min(-0.25, float(np.nanmin(between))) - 0.02, 1.02)
    axes.set_ylabel("rank correlation")
    legend = [Series("mean of the pairs", FOCUS), Series("two random orders, 95 %", _REST, "area")]
    note = "1: two runs put all classes in the same order"
    return Chart("Is the order the same in every run?", note, to_svg(axes, "order"), legend)


def tracks(curricula: Curricula) -> Chart | None:
    """Sigma of the chosen samples over the training."""
    chosen = curricula.tracks
    if chosen is None:
        return None
    axes = new_axes("epoch", whole=True)
    epoch = 1 + np.arange(chosen.log_sigma.shape[1])
    legend = []
    mean, spread = chosen.log_sigma.mean(0), chosen.log_sigma.std(0, ddof=1)
    lines = np.exp([mean - spread, mean, mean + spread])
    for place, colour in enumerate(track_colours(len(chosen.keys))):
        _band(axes, epoch, lines[:, :, place], colour)
        legend.append(Series(chosen.keys[place], colour))
    if np.nanmax(lines) > 3 * np.nanmin(lines):
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
    axes.set_ylabel("sigma of the sample")
    label = {curricula.class_names[number] for number in chosen.label.tolist()}
    title = "Samples of one class" if len(label) == 1 else "Chosen samples"
    alone = ", without that of its class" if curricula.class_sigma.size else ""
    return Chart(title, f"mean ± standard deviation of log sigma{alone}", to_svg(axes, "tracks"), legend)


def track_colours(count: int) -> list[str]:
    """A colour for each chosen sample."""
    palette = (WRONG, FOCUS, *OTHERS[1:], SOFT)
    return [palette[place % len(palette)] for place in range(count)]
