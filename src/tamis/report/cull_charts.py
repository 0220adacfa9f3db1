"""The figures about a culling: timeline, scores with their cuts, resolution, drift."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from tamis.report.cull_reading import Culled
from tamis.report.cull_timeline import timeline
from tamis.report.drawing import FOCUS, INK, OCHRE, SOFT, STYLE, WRONG, Chart, Series, new_axes, short_number, to_svg

_PALE = "#c9d3d9"


def histograms(culled: Culled) -> list[Chart]:
    """How the scores and the precisions are spread, and where each stage cut."""
    charts = []
    scored, taught, kept, compared = culled.scored, culled.taught, culled.kept, culled.compared
    legend = [Series("kept", FOCUS, "area"), Series("seen by the teacher", OCHRE, "area")]
    if scored.any():
        seen = culled.score[taught & scored]
        cut = None if taught[scored].all() or not len(seen) else float(seen.min())
        values = [culled.score[scored], seen, culled.score[kept & scored]]
        low, high = min(float(values[0].min()), 0.0), max(float(values[0].max()), 1e-6)
        svg = _histogram("confidence loss", np.linspace(low, high, 49), values, (_PALE, OCHRE, FOCUS), cut, "scores")
        note = "every frame that the student saw; counts on a log scale"
        more = [Series("seen by the student only", _PALE, "area")]
        line = [] if cut is None else [Series("lowest score that the teacher saw", WRONG, "dash")]
        charts.append(Chart("Scores", note, svg, [*legend, *more, *line]))
    if compared.any():
        chosen = culled.precision[kept & compared]
        cut = float(chosen.max()) if len(chosen) and not kept[compared].all() else None
        values = [culled.precision[compared], chosen]
        svg = _histogram("AP", np.linspace(0, 1, 26), values, (OCHRE, FOCUS), cut, "precisions")
        line = [] if cut is None else [Series("highest AP that was kept", WRONG, "dash")]
        note = "of the student by the teacher's boxes, on each frame that the teacher saw; counts on a log scale"
        charts.append(Chart("Precision", note, svg, [*legend, *line]))
    return charts


def _histogram(
    label: str,
    edges: np.ndarray,
    values: Sequence[np.ndarray],
    tints: Sequence[str],
    cut: float | None,
    name: str,
) -> str:
    """Each of the values is part of the one before, so they are drawn over each other and not stacked."""
    axes = new_axes(label)
    axes.set_ylabel("frames")
    axes.set_yscale("log")
    for each, tint in zip(values, tints, strict=True):
        counts = np.histogram(each, edges)[0]
        axes.stairs(np.maximum(counts, 0.5), edges, baseline=0.5, fill=True, color=tint, linewidth=0)
    axes.set_ylim(bottom=0.5)
    axes.yaxis.set_major_formatter(short_number)
    axes.yaxis.set_minor_locator(NullLocator())
    if cut is not None:
        axes.axvline(cut, color=WRONG, linewidth=1.4, dashes=(4, 3))
    return to_svg(axes, name)


def resolution_charts(resolution: dict[str, Any] | None) -> list[Chart]:
    """Fig. 4: mAP and error of the confidence loss against scale, the chosen one starred; and what a scale costs."""
    if not resolution or not resolution.get("scales"):
        return []
    scales = _numbers(resolution["scales"])
    chosen = chosen_scale(resolution)
    charts = [_error_chart(resolution, scales, chosen)]
    flops = _series(resolution, "flops", len(scales))
    speed = 1 / _series(resolution, "seconds", len(scales))
    if np.isfinite(flops).any() or np.isfinite(speed).any():
        charts.append(_cost_chart(scales, flops / 1e9, speed, chosen))
    return charts


def resolution_svg(resolution: dict[str, Any]) -> str:
    """Fig. 4 as a picture of its own."""
    with matplotlib.rc_context(STYLE):
        return _error_chart(resolution, _numbers(resolution["scales"]), chosen_scale(resolution)).svg


def _error_chart(resolution: dict[str, Any], scales: np.ndarray, chosen: int) -> Chart:
    left = _scale_axes()
    left.set_ylabel("error of the confidence loss")
    errors, precision = (_series(resolution, name, len(scales)) for name in ("errors", "map50"))
    left.plot(scales, errors, "--", color=INK, marker="o", markersize=3.2, zorder=3)
    legend = [Series("error, left axis", INK, "dash")]
    limit = resolution.get("threshold")
    if isinstance(limit, int | float) and math.isfinite(limit):
        left.axhline(limit, color=OCHRE, linewidth=1.1, dashes=(1.5, 2.5))
        legend.append(Series("threshold", OCHRE, "dash"))
    left.set_ylim(bottom=0)
    left.margins(y=0.1)
    star, height = left, errors[chosen]
    if np.isfinite(precision).any():
        right = left.twinx()
        right.set_ylabel("mAP at IoU 0.5")
        right.grid(visible=False)
        right.plot(scales, precision, color=FOCUS, marker="o", markersize=3.2)
        low, high = np.nanmin(precision), np.nanmax(precision)
        right.set_ylim(max(0.0, math.floor(10 * low - 0.5) / 10), min(1.0, math.ceil(10 * high + 0.5) / 10))
        legend.insert(0, Series("mAP, right axis", FOCUS))
        if np.isfinite(precision[chosen]):
            star, height = right, precision[chosen]
    star.plot(scales[chosen], height, "*", markersize=15, color=WRONG, markeredgecolor="white", zorder=6, clip_on=False)
    note = f"star: the chosen scale, {scales[chosen]:.2f}"
    return Chart("Accuracy and error", note, to_svg(left, "resolution"), legend)


def _cost_chart(scales: np.ndarray, giga: np.ndarray, speed: np.ndarray, chosen: int) -> Chart:
    known = [
        (values, label, name, tint, dashes)
        for values, label, name, tint, dashes in (
            (giga, "GFLOPs an image", "GFLOPs", FOCUS, "-"),
            (speed, "images a second", "speed", OCHRE, "--"),
        )
        if np.isfinite(values).any()
    ]
    left, legend = _scale_axes(), []
    for side, (values, label, name, tint, dashes) in zip(("left", "right"), known, strict=False):
        axes = left if side == "left" else left.twinx()
        axes.set_ylabel(label)
        axes.grid(visible=side == "left", axis="y")
        axes.plot(scales, values, dashes, color=tint, marker="o", markersize=3.2)
        axes.set_ylim(bottom=0)
        legend.append(Series(f"{name}, {side} axis", tint, "dash" if dashes == "--" else "line"))
    left.plot(scales[chosen], known[0][0][chosen], "*", markersize=15, color=WRONG, markeredgecolor="white", zorder=6)
    return Chart("Cost of an image", "of the student at each scale", to_svg(left, "resolution-cost"), legend)


def _scale_axes() -> Axes:
    axes = new_axes("scale")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    return axes


def chosen_scale(resolution: dict[str, Any]) -> int:
    """Which of the scales was chosen: given as its place (a whole number) or as the scale itself."""
    scales, chosen = _numbers(resolution["scales"]), resolution.get("chosen")
    if isinstance(chosen, int) and 0 <= chosen < len(scales):
        return chosen
    return int(np.argmin(np.abs(scales - chosen))) if isinstance(chosen, float) else 0


def _series(table: dict[str, Any], name: str, count: int) -> np.ndarray:
    """A list of the table as (count,) floats; NaN where unknown."""
    given = table.get(name)
    found = _numbers(given) if isinstance(given, list) else np.zeros(0)
    return np.concatenate([found, np.full(count, np.nan)])[:count]


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.array([value if isinstance(value, int | float) else np.nan for value in values], dtype=float)


def drift_chart(drift: dict[str, Any] | None) -> Chart | None:
    """Percentiles of the confidence loss in each session, before and after the student was retrained."""
    sessions = (drift or {}).get("sessions") or []
    if not sessions:
        return None
    axes = new_axes("session", whole=True)
    axes.set_ylabel("confidence loss")
    for shift, name, colour in ((-0.14, "before", SOFT), (0.14, "after", FOCUS)):
        for place, session in enumerate(sessions, 1):
            _ranges(axes, place + shift, _numbers(session.get(name) or []), colour)
    axes.set_xlim(0.4, len(sessions) + 0.6)
    axes.set_ylim(bottom=0)
    ends = [f"{value:g}" for value in _numbers((drift or {}).get("percentiles") or []).tolist()]
    note = f"percentiles {', '.join(ends)}; the dot is the middle one" if ends else "the dot is the middle percentile"
    legend = [Series("before retraining", SOFT), Series("after", FOCUS)]
    return Chart("Drift of the confidence loss", note, to_svg(axes, "drift"), legend)


def _ranges(axes: Axes, x: float, values: np.ndarray, colour: str) -> None:
    """The outermost percentiles as a thin line, the next ones as thicker ones, the middle one as a dot."""
    values = values[np.isfinite(values)]
    for depth in range(len(values) // 2):
        ends = [values[depth], values[-1 - depth]]
        axes.plot([x, x], ends, color=colour, linewidth=1.6 + 3.2 * depth, solid_capstyle="butt", alpha=0.55)
    if len(values):
        middle = values[len(values) // 2]
        axes.plot(x, middle, "o", markersize=5.5, color="white", markeredgecolor=colour, markeredgewidth=1.6, zorder=5)


def cull_charts(culled: Culled) -> dict[str, Any]:
    """The charts of each section of the page."""
    with matplotlib.rc_context(STYLE):
        return {
            "timeline": timeline(culled),
            "histograms": histograms(culled),
            "resolution_charts": resolution_charts(culled.resolution),
            "drift_chart": drift_chart(culled.result.get("drift")),
        }
