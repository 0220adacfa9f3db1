"""The figures about the sigma of training boxes: by occlusion, by height, over the epochs, and of wrong boxes."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator

from tamis.report.box_history import LEVELS, TOP, BoxHistory
from tamis.report.box_reading import TrainedBoxes
from tamis.report.drawing import (
    FOCUS,
    OCHRE,
    OTHERS,
    STYLE,
    WRONG,
    Chart,
    Series,
    log_ticks,
    new_axes,
    short_number,
    to_svg,
)
from tamis.report.label_charts import histogram, percentiles, separated
from tamis.report.records import Record

_EDGES = (10, 16, 25, 40, 64, 100, 160, 256)  # pixels of height, each 1.6 times the last; 25 and 40 are KITTI's
_LEVEL_COLOURS, _DASHES = (FOCUS, OCHRE, WRONG), {"-": "line", "--": "dash", ":": "dot"}
_SPREAD = "dot: median; thick: middle half; thin: 5th to 95th percentile"


def box_charts(record: Record, boxes: TrainedBoxes, history: BoxHistory, names: Sequence[str]) -> list[Chart]:
    """The charts about all boxes.

    Args:
        record: the run.
        boxes: its boxes.
        history: their sigma, at least one epoch of it.
        names: of the classes, by number.
    """
    with matplotlib.rc_context(STYLE):
        charts = [
            _by_level(boxes, history),
            _by_height(boxes, history),
            _levels_over_epochs(boxes, history),
            _classes_over_epochs(boxes, history, names),
            percentiles(record),
        ]
        charts[-1] = charts[-1] and replace(charts[-1], title="Sigma of all boxes")
        return [chart for chart in charts if chart is not None]


def noise_charts(boxes: TrainedBoxes, history: BoxHistory) -> list[Chart]:
    """Fig. 4 of Saxena et al. for boxes; none where no box was made wrong."""
    if boxes.noise is None:
        return []
    wrong = ~boxes.right
    most = min(1.0, float(wrong.mean()) / TOP)
    top = f"the {TOP:.0%} highest sigma (chance {wrong.mean():.0%}, at most {most:.0%})".replace("%", "\u00a0%")
    with matplotlib.rc_context(STYLE):
        charts = [histogram(history.sigma, wrong, "sigma", ("boxes", "boxes"))]
        charts += separated(history.noise, "sigma", top, "boxes")
        return [chart for chart in charts if chart is not None]


def _by_level(boxes: TrainedBoxes, history: BoxHistory) -> Chart | None:
    if boxes.occlusion is None:
        return None
    groups = {name: history.sigma[boxes.right & (boxes.occlusion == level)] for level, name in enumerate(LEVELS)}
    axes = new_axes("")
    _spreads(axes, {name.replace(" ", "\n"): values for name, values in groups.items()})
    return Chart("Sigma by occlusion, at the end", _of(boxes, _SPREAD), to_svg(axes, "sigma-occlusion"))


def _by_height(boxes: TrainedBoxes, history: BoxHistory) -> Chart:
    place = np.searchsorted(_EDGES, boxes.height, "right")
    names = [f"<{_EDGES[0]}", *(f"{low}\u2013{high}" for low, high in pairwise(_EDGES)), f"{_EDGES[-1]}+"]
    axes = new_axes("height of the box in pixels of the image")
    _spreads(axes, {name: history.sigma[boxes.right & (place == number)] for number, name in enumerate(names)})
    return Chart("Sigma by height, at the end", _of(boxes, _SPREAD), to_svg(axes, "sigma-height"))


def _of(boxes: TrainedBoxes, note: str) -> str:
    """The note, and that wrong boxes are left out where there are any."""
    return note if boxes.right.all() else f"{note}; without those made wrong"


def _spreads(axes: Axes, groups: dict[str, np.ndarray]) -> None:
    """A column for each group that has a value: its percentiles and how many it has."""
    groups = {name: values[np.isfinite(values)] for name, values in groups.items()}
    groups = {name: values for name, values in groups.items() if len(values)}
    for at, values in enumerate(groups.values()):
        lowest, low, middle, high, top = np.percentile(values, [5, 25, 50, 75, 95])
        axes.plot([at, at], [lowest, top], color=FOCUS, linewidth=1.2)
        axes.plot([at, at], [low, high], color=FOCUS, linewidth=6, alpha=0.55, solid_capstyle="butt")
        axes.plot(at, middle, "o", markersize=6, color=FOCUS, markeredgecolor="white", zorder=5)
    axes.set_yscale("log")
    log_ticks(axes.yaxis)
    axes.set_ylabel("sigma")
    axes.set_xlim(-0.6, len(groups) - 0.4)
    size = 8.5 if len(groups) > 6 else 9.5
    axes.xaxis.set_major_locator(FixedLocator(range(len(groups))))
    texts = [f"{name}\nn\u202f{short_number(_rounded(len(values)))}" for name, values in groups.items()]
    axes.xaxis.set_major_formatter(FixedFormatter(texts))
    axes.tick_params(axis="x", labelsize=size)


def _rounded(count: int) -> float:
    """Three significant digits."""
    return float(f"{count:.3g}")


def _levels_over_epochs(boxes: TrainedBoxes, history: BoxHistory) -> Chart | None:
    if not history.by_level:
        return None
    values = np.array(history.by_level)
    lines = [
        (name, values[:, level], colour, dash)
        for level, (name, colour, dash) in enumerate(zip(LEVELS, _LEVEL_COLOURS, _DASHES, strict=True))
    ]
    return _over_epochs(history, "Sigma by occlusion, over training", _of(boxes, "geometric mean; low: trusted"), lines)


def _classes_over_epochs(boxes: TrainedBoxes, history: BoxHistory, names: Sequence[str]) -> Chart | None:
    if len(history.classes) < 2:
        return None
    values, colours = np.array(history.by_class), (FOCUS, WRONG, *OTHERS)
    lines = [
        (names[int(label)], values[:, place], colours[place], list(_DASHES)[place % 3])
        for place, label in enumerate(history.classes)
    ]
    note = _of(boxes, "geometric mean; the most frequent classes")
    return _over_epochs(history, "Sigma by class, over training", note, lines)


def _over_epochs(
    history: BoxHistory, title: str, note: str, lines: Sequence[tuple[str, np.ndarray, str, str]]
) -> Chart:
    """Lines (name, values, colour, dashes) over the epochs; those without a value are left out."""
    axes = new_axes("epoch", whole=True)
    epoch, legend = np.array(history.epochs) + 1, []
    for name, values, colour, dash in lines:
        if np.isfinite(values).any():
            axes.plot(epoch, values, dash, color=colour, marker="." if len(epoch) == 1 else "")
            legend.append(Series(name, colour, _DASHES[dash]))
    axes.set_yscale("log")
    log_ticks(axes.yaxis)
    axes.set_ylabel("sigma")
    return Chart(title, note, to_svg(axes, title), legend)
