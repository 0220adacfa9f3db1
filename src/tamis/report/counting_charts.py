"""The figures about counters, all runs in each: errors, what they cost, and counts against the true ones."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tamis.report.charts import colours, marked_line, shown
from tamis.report.costs import costs_of
from tamis.report.drawing import INK, OTHERS, SOFT, STYLE, Chart, Series, new_axes, short_number, to_svg
from tamis.report.records import Record

_DOTS = 1500
_ERRORS = {"mae": "MAE", "rmse": "RMSE", "game1": "GAME 1", "game2": "GAME 2", "game3": "GAME 3"}
MARKS = "open dot: epoch of the lowest MAE; full dot: last"


def error_curves(records: Sequence[Record], focus: Record) -> list[Chart]:
    """MAE and loss on the validation images against samples fed, MAE against seconds; scores are paid for first."""
    wanted = [("mae", "samples_seen"), ("mae", "seconds"), ("loss", "samples_seen")]
    return [_curve(records, focus, what, against) for what, against in wanted]


def _curve(records: Sequence[Record], focus: Record, what: str, against: str) -> Chart:
    axes = new_axes("seconds of training" if against == "seconds" else "samples fed")
    axes.set_ylabel("mean absolute error, points" if what == "mae" else "loss per image")
    for record, colour in zip(records, colours(records, focus), strict=True):
        costs = costs_of(record)
        paid = costs.scorer if against == "samples_seen" else costs.scoring_seconds
        marked_line(axes, record, record.column(against) + paid, record.column("validation", what), colour)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    name = "Error" if what == "mae" else "Validation loss"
    unit = "seconds" if against == "seconds" else "samples fed"
    note = f"on the same validation images, what the scores took included; {MARKS}"
    return Chart(f"{name} against {unit}", note, to_svg(axes, f"{what}-{against}"))


def convergence(records: Sequence[Record], focus: Record) -> list[Chart]:
    """Fig. 3 of the CLIP paper: loss against samples fed, with an axis for each of two runs.

    First the validation loss, which can be compared; then, as in the paper, the training loss on what each run was
    shown, which cannot.
    """
    pair = [records[0]] if len(records) == 1 else [records[0], focus]
    tints = dict(zip([record.name for record in records], colours(records, focus), strict=True))
    misleading = "on what was shown: misleading, since a curriculum shows easy samples first and leaves some out"
    if len(pair) == 1:
        return [_convergence(pair, tints, ("train_loss",), "Training loss on the exposed subset", misleading)]
    axes = "bottom axis: first run, top axis: the other, without its scorer"
    held_out = f"on the validation images, the same for both; {axes}"
    return [
        _convergence(pair, tints, ("validation", "loss"), "Validation loss, each run on its own axis", held_out),
        _convergence(pair, tints, ("train_loss",), "Training loss on the exposed subset", f"{misleading}; {axes}"),
    ]


def _convergence(pair: Sequence[Record], tints: dict[str, str], path: tuple[str, ...], title: str, note: str) -> Chart:
    first = new_axes("samples fed")
    first.set_ylabel("loss per image")
    for record, axes in zip(pair, [first, first.twiny()] if len(pair) == 2 else [first], strict=True):
        tint = tints[record.name]
        x, y = record.column("samples_seen"), record.column(*path)
        axes.plot(x, y, color=tint, marker="." if len(x) == 1 else "")
        if len(pair) == 2:
            _own_axis(axes, float(np.nanmax(x, initial=1)), SOFT if tint == OTHERS[0] else tint)
    first.set_ylim(bottom=0)
    return Chart(title, note, to_svg(first, title))


def _own_axis(axes: Axes, most: float, colour: str) -> None:
    axes.set_xlim(0, most * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(short_number)
    axes.tick_params(axis="x", labelcolor=colour)
    axes.set_xlabel("samples fed", color=colour)


def bars(records: Sequence[Record], focus: Record) -> list[Chart]:
    """Figs 4 and 5 of the CLIP paper: the figures of the last epoch, side by side."""
    charts = []
    errors = np.array([[record.figure("last", name) for name in _ERRORS] for record in records])
    if np.isfinite(errors).any():
        axes = new_axes("")
        axes.set_ylabel("mean error, points")
        for place in range(len(_ERRORS)):
            _group(axes, place, errors[:, place], colours(records, focus))
        axes.set_xticks(range(len(_ERRORS)), list(_ERRORS.values()))
        charts.append(Chart("Errors of the counts", "last epoch; lower is better", _bars_svg(axes, "errors")))
    maps = np.array([quality(record) for record in records])
    if np.isfinite(maps).any():
        left = new_axes("")
        left.set_ylabel("SSIM")
        right = left.twinx()
        right.set_ylabel("PSNR, dB")
        right.grid(visible=False)  # it would lie over the bars of the left axis
        for place, axes in enumerate((left, right)):
            _group(axes, place, maps[:, place], colours(records, focus))
            axes.margins(y=0.12)
        left.set_xticks(range(2), ["SSIM", "PSNR"])
        charts.append(Chart("Likeness of the maps", "last epoch; higher is better", _bars_svg(left, "likeness")))
    return charts


def _group(axes: Axes, place: float, heights: np.ndarray, tints: Sequence[str]) -> None:
    """A bar for each run about a place, its figure above; a question mark where it is not known."""
    width = 0.8 / len(heights)
    for at, (height, tint) in enumerate(zip(heights.tolist(), tints, strict=True)):
        x, known = place + (at - (len(heights) - 1) / 2) * width, np.isfinite(height)
        axes.bar(x, height if known else 0, width=width * 0.92, color=tint, linewidth=0)
        if len(heights) <= 3:
            text = f"{height:.3g}" if known else "?"
            above = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": INK}
            axes.annotate(text, (x, height if known else 0), (0, 2), **above)


def _bars_svg(axes: Axes, name: str) -> str:
    axes.tick_params(axis="x", length=0)
    axes.margins(x=0.04, y=0.12)
    return to_svg(axes, name)


def quality(record: Record) -> tuple[float, float]:
    """SSIM and PSNR in dB, means over the validation images that have them; NaN where they were not found out."""
    told, found = (record.result or {}).get("counting") or {}, []
    for name in ("ssim", "psnr"):
        value = told.get(name)
        found.append(float(value) if isinstance(value, int | float) else record.figure("last", name))
    return found[0], found[1]


def scatter(records: Sequence[Record], focus: Record) -> Chart | None:
    """Predicted against true counts of the validation images."""
    axes = new_axes("true count")
    axes.set_ylabel("predicted count")
    axes.yaxis.set_major_formatter(short_number)
    low, high, cut = 0.0, 1.0, False
    for record, colour in zip(records, colours(records, focus), strict=True):
        found = record.predictions
        if found is None:
            continue
        known = np.flatnonzero(np.isfinite(found.error))
        cut |= len(known) > _DOTS
        known = known[np.unique(np.linspace(0, len(known) - 1, _DOTS).astype(int))] if len(known) else known
        count, predicted = found.count[known], found.predicted[known]
        axes.plot(count, predicted, "o", markersize=3.4, color=colour, alpha=0.55, markeredgewidth=0)
        low = min(low, *predicted.tolist(), 0.0)
        high = max(high, *predicted.tolist(), *count.tolist(), 1.0)
    if not any(len(record.predictions or ()) for record in records):
        return None
    axes.axline((0, 0), slope=1, color=SOFT, linewidth=1, dashes=(4, 3))
    axes.set_xlim(0, high * 1.04)
    axes.set_ylim(low * 1.04, high * 1.04)
    note = "a dot is a validation image; above the line: counted too high" + (f"; {_DOTS} of them" if cut else "")
    return Chart("Predicted against true counts", note, to_svg(axes, "scatter"), [Series("no error", SOFT, "dash")])


def counting_charts(records: Sequence[Record], focus: Record) -> dict[str, list[Chart]]:
    """The charts of each section of the page."""
    paced = any(record.curriculum for record in records)  # then its section shows that
    with matplotlib.rc_context(STYLE):
        counts = scatter(records, focus)
        return {
            "errors": [*bars(records, focus), *([counts] if counts else [])],
            "training": [
                *error_curves(records, focus),
                *convergence(records, focus),
                *([] if paced else [shown(records, focus)]),
            ],
        }
