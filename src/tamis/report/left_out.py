"""The samples that a curriculum left out, with pictures."""

from collections.abc import Sequence
from typing import Any

from tamis.report.curriculum import most_left_out, spans
from tamis.report.curriculum_charts import curriculum_charts, curriculum_of
from tamis.report.records import Record
from tamis.report.tables import number
from tamis.report.thumbnails import Thumbnails, thumbnail_uri

PICTURES = 24


def curriculum_section(records: Sequence[Record], focus: Record, thumbnails: Thumbnails | None) -> dict[str, Any]:
    """What the page's section about the curriculum shows; no chart where no run has one.

    Args:
        records: of all runs.
        focus: the run that the page is about, and whose training data the thumbnails are of.
        thumbnails: from an index to a picture.
    """
    run = curriculum_of(records, focus)
    pictured = thumbnails if run.samples.keys.equals(focus.samples.keys) else None
    return {
        "curriculum": curriculum_charts(records, focus),
        "paced": run,
        "left_out": _rows(run, pictured),
        "left_out_count": 0 if run.curriculum is None else int((run.curriculum.out > 0).sum()),
        "waited_count": 0 if run.curriculum is None else int((run.curriculum.waited > 0).sum()),
        "left_out_pictured": pictured is not None,
    }


def _rows(run: Record, thumbnails: Thumbnails | None) -> list[dict[str, Any]]:
    if run.curriculum is None:
        return []
    rows = []
    for each in most_left_out(run.folder, run.curriculum, PICTURES):
        kind, _, rule = each.reason.partition(": ")
        rows.append(
            {
                "key": run.samples.keys[each.index].as_py(),
                "picture": thumbnail_uri(each.index, thumbnails) if thumbnails else None,
                "what": kind if kind in ("waits", "pruned") else "left out",
                "reason": rule or each.reason,
                "epochs": spans([epoch + 1 for epoch in each.epochs]),
                "several": len(each.epochs) > 1,
                "rank": "" if each.rank is None else f"rank {each.rank:,} of {each.of:,}",
                "score": number(float(run.curriculum.scores[each.index])),
            }
        )
    return rows
