"""The page of a culling: what was kept of a camera's video and why, in one file that needs nothing else."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from tamis.files import replace_file
from tamis.report import cull_tables, tables
from tamis.report.boxed_pictures import CONFIDENCE
from tamis.report.cull_charts import cull_charts
from tamis.report.cull_pictures import Picture, Pictures, before_after, groups
from tamis.report.cull_reading import Culled, read_culled
from tamis.report.cull_table import frame_table
from tamis.report.cull_verdict import loss_note, verdict
from tamis.report.templates import rendered


def write_cull_page(folder: Path, picture: Picture | None = None, out: Path | None = None) -> Path:
    """Write one HTML page about a culled folder (`tamis.report.cull_reading` says what it reads).

    The page needs no network and stays under 5 MB: beyond 20,000 frames its table holds the kept ones, those that the
    teacher saw, and an even sample of the others; pictures beyond 2.2 MB are left out.

    Args:
        folder: what `tamis cull` wrote.
        picture: from the key of a frame that was not kept to the frame as uint8 (h, w, 3), RGB, in the size that its
            boxes are in; None where it is not at hand any more. `frame_pictures` makes one that reads a video once.
            The kept frames have their pictures from `images/`, as coco.json names them.
        out: where to write; default `report.html` in the folder.

    Returns:
        The path written.

    Raises:
        FileNotFoundError: not a finished culled folder.
    """
    page = render(read_culled(Path(folder)), picture)
    target = Path(out) if out is not None else Path(folder) / "report.html"
    replace_file(target, page.encode("utf-8", "replace"))
    return target


def render(culled: Culled, picture: Picture | None) -> str:
    """The page's HTML."""
    content, embedded = frame_table(culled)
    return rendered(
        "culling.html.j2",
        {"number": tables.number, "precision": cull_tables.precision_of},
        script="table.js",
        content=Markup(content),  # noqa: S704 - escaped by script_json
        embedded=embedded,
        culled=culled,
        reproduce=_reproduction(culled),
        **_tables(culled),
        **_pictures(culled, picture),
        **cull_charts(culled),
    )


def _tables(culled: Culled) -> dict[str, Any]:
    lost, lost_count = cull_tables.lost_frames(culled)
    classes = cull_tables.class_balance(culled, label_confidence(culled))
    return {
        "verdict": verdict(culled),
        "facts": cull_tables.facts(culled),
        "funnel": cull_tables.funnel(culled),
        "costs": cull_tables.costs(culled),
        "trained": any(entry.get("stage") == "student training" for entry in culled.entries("full")),
        "factor": {
            name: cull_tables.times((culled.result.get("factor") or {}).get(name)) for name in ("seconds", "flops")
        },
        "strategies": cull_tables.strategies(culled),
        "classes": classes[: cull_tables.CLASSES],
        "class_count": len(classes),
        "notes": [*cull_tables.class_warnings(classes), *cull_tables.bad_boxes(culled), *cull_tables.doubts(culled)],
        "lost": lost,
        "lost_count": lost_count,
        "lost_entries": len(culled.entries("lost")),
        "loss_note": loss_note(culled),
        "iou": culled.config.get("iou", 0.5),
        "drift": cull_tables.drift_rows(culled),
        "label_confidence": label_confidence(culled),
    }


def label_confidence(culled: Culled) -> float:
    """From which confidence on the teacher's boxes are labels; 0 where the settings do not say."""
    given = cull_tables.known(culled.config.get("label_confidence"))
    return given if given > 0 else 0.0


def _pictures(culled: Culled, picture: Picture | None) -> dict[str, Any]:
    pictures = Pictures(culled, picture)
    figure = before_after(culled, pictures)  # first: it matters most when the budget of bytes is short
    found = groups(culled, pictures, label_confidence(culled))
    return {"before_after": figure, "groups": found, "spent": pictures.spent, "confidence": CONFIDENCE}


def _reproduction(culled: Culled) -> dict[str, Any]:
    notes = culled.result.get("notes")
    return {
        "notes": [str(note) for note in notes] if isinstance(notes, list) else [],
        "command": str(culled.about.get("command") or tables.DASH),
        "commit": (culled.about.get("environment") or {}).get("commit"),
        "config": {
            str(name): value if isinstance(value, str) else repr(value) for name, value in culled.config.items()
        },
    }
