"""The page's section about how far each training box is trusted."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tamis.report.box_charts import box_charts, noise_charts
from tamis.report.box_history import MADE, BoxHistory, read_box_history
from tamis.report.box_reading import UNREADABLE, TrainedBoxes, box_epochs, box_table, read_trained
from tamis.report.box_strip import SIDE, examples, strip
from tamis.report.box_suspects import box_suspects
from tamis.report.boxed_pictures import Encoder
from tamis.report.records import Record
from tamis.report.suspicion import auroc
from tamis.report.tables import DASH
from tamis.report.thumbnails import Thumbnails

BYTES = 450_000  # of the page's 5 MB, for pictures
_LEARNED = ("class", "instance", "joint")


def box_section(records: Sequence[Record], focus: Record, thumbnails: Thumbnails | None) -> dict[str, Any]:
    """What the section shows of the first run with data parameters, the one in focus before others.

    Args:
        records: of all runs.
        focus: the run that the page is about, and whose training data the thumbnails are of.
        thumbnails: from an index to the whole picture.

    Returns:
        {"trust": None} where no run has data parameters; "problem" says why there is nothing else to show.
    """
    run = next((each for each in [focus, *records] if each.config.get("data_parameters") in _LEARNED), None)
    if run is None:
        return {"trust": None}
    pictured = thumbnails if run.samples.keys.equals(focus.samples.keys) else None
    try:
        return {"trust": {"record": run, "problem": "", **_shown(run, pictured)}}
    except UNREADABLE as error:
        text = str(error.args[0] if isinstance(error, KeyError) else error) or type(error).__name__
        return {"trust": {"record": run, "problem": text.splitlines()[0][:300].rstrip(".")}}


def _shown(run: Record, thumbnails: Thumbnails | None) -> dict[str, Any]:
    files = box_epochs(run.folder)
    if not box_table(run.folder).is_file() or not files:
        raise FileNotFoundError("there are no ledger/boxes*.parquet in the run folder; they come with history: true")
    boxes = read_trained(run.folder, len(run.samples))
    history = read_box_history(files, boxes)
    if not history.epochs:
        raise ValueError(f"no epoch of ledger/boxes-*.parquet has a sigma for each of the {boxes.count:,} boxes")
    files = {epoch: files[epoch] for epoch in history.epochs}
    names, encoder = _names(run, boxes), Encoder(BYTES)
    own = run.config.get("data_parameters") != "class"  # else all boxes of a class have one sigma
    cards = []
    if own:
        cards = box_suspects(run.folder, files[history.epochs[-1]], names, run.samples.keys, thumbnails, encoder)
    chosen = examples(boxes, history.sigma, thumbnails) if thumbnails else {}
    return {
        "boxes": boxes,
        "strip": _encoded(strip(run.folder, files, boxes, chosen, names), encoder) if chosen else None,
        "charts": box_charts(run, boxes, history, names),
        "noise": noise_charts(boxes, history),
        "kinds": noise_kinds(run, boxes, history),
        "cards": cards,
        "own": own,
        "pictured": thumbnails is not None,
        "unread": history.unread,
        "spent": encoder.spent,
    }


def _encoded(shown: dict[str, Any], encoder: Encoder) -> dict[str, Any] | None:
    """The strip with its pictures as the page holds them; None where no room is left for any."""
    rows = [row | {"picture": encoder.encode(row["picture"], SIDE)} for row in shown["rows"]]
    rows = [row for row in rows if row["picture"]]
    return shown | {"rows": rows} if rows else None


def _names(run: Record, boxes: TrainedBoxes) -> list[str]:
    names = [str(name) for name in (run.about.get("data") or {}).get("class_names") or []]
    return names + [f"class {number}" for number in range(len(names), int(boxes.label.max()) + 1)]


def noise_kinds(run: Record, boxes: TrainedBoxes, history: BoxHistory) -> list[dict[str, str]]:
    """How well each kind of box that was made wrong stands out from those as annotated, by sigma and by loss."""
    if boxes.noise is None:
        return []
    rows = []
    of_kind = {what.capitalize(): boxes.noise == number for number, what in enumerate(MADE, start=1)}
    rows = [_kind(what, wrong, boxes, history) for what, wrong in of_kind.items() if wrong.any()]
    if len(rows) > 1:
        rows.append(_kind("All of these", ~boxes.right, boxes, history))
    return rows + _missing(run)


def _kind(what: str, wrong: np.ndarray, boxes: TrainedBoxes, history: BoxHistory) -> dict[str, str]:
    chosen = wrong | boxes.right
    by = (auroc(each[chosen], wrong[chosen]) for each in (history.sigma, history.loss))
    sigma, loss = (f"{value:.3f}" if np.isfinite(value) else DASH for value in by)
    return {"what": what, "count": f"{int(wrong.sum()):,}", "sigma": sigma, "loss": loss}


def _missing(run: Record) -> list[dict[str, str]]:
    """Boxes that were left out have no sigma: only their number is known."""
    told = ((run.about.get("data") or {}).get("noise") or {}).get("missing")
    if not isinstance(told, int) or not told:
        return []
    return [{"what": "Box left out", "count": f"{told:,}", "sigma": DASH, "loss": DASH}]
