"""How the page's figures are drawn: small inline SVGs that hold no word of the user's, so nothing needs escaping.

Names of runs and classes stand in the HTML legends. Figures are deterministic: no date, fixed hash salt, no ids.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

INK, SOFT, GRID = "#26323c", "#6a7783", "#e7ebee"
FOCUS, WRONG, OCHRE = "#17708c", "#c6503a", "#c9932b"
OTHERS = ("#8b96a1", OCHRE, "#7a6aa6", "#5f8f57", "#a5627d", "#4d5d6c")
WIDTH, HEIGHT = 352, 218  # points; one SVG unit is about one CSS pixel in a column of the page

STYLE: dict[Any, Any] = {
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
    """A legend entry: a name, a colour, and whether it is a line ("line", "dash", "dot") or filled ("area")."""

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


def new_axes(x_label: str, *, percent: bool = False, whole: bool = False) -> Axes:
    """Axes of a figure in the size of a column of the page, with epochs (whole) or amounts along x."""
    axes = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained").add_subplot()
    axes.set_xlabel(x_label)
    axes.margins(x=0.02)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole, min_n_ticks=1))
    if not whole:
        axes.xaxis.set_major_formatter(short_number)
    return axes


def short_number(value: float, _: object = None) -> str:
    """4000 -> "4k"; numbers below a thousand as they are."""
    return EngFormatter(sep="")(value) if abs(value) >= 1000 else f"{value:g}"


def log_ticks(axis: Axis) -> None:
    """Plain numbers at 1, 3, 10, 30 ...; closer ones where the range is short."""
    low, high = sorted(axis.get_view_interval())
    span = high / max(low, 1e-12)
    steps = (1, 1.5, 2, 3, 5, 7) if span < 8 else (1, 2, 5) if span < 40 else (1, 3)
    axis.set_major_locator(LogLocator(subs=steps, numticks=30))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def to_svg(axes: Axes, name: str) -> str:
    """The figure as an SVG element for the middle of a page; `name` salts its ids."""
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
