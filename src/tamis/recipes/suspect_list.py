"""suspects.csv: the labels and annotations that look wrong, for a spreadsheet or a labelling tool."""

import csv
import io
from pathlib import Path

from tamis.files import replace_file
from tamis.recipes.cells import plain_cell
from tamis.report import Suspect, suspects


def write_suspects(run: Path, count: int, class_names: list[str], *, boxed: bool = False) -> Path:
    """Write the most suspicious samples of a run to suspects.csv in its folder.

    Columns: rank (from 1), key, label, predicted, score (sigma, or the mean loss without data parameters). Without
    classes, in counting: rank, key, count and predicted (of the view that was shown last, the whole image or a patch),
    score (sigma, or the mean of its scores). In detection, `boxed`: rank, key, boxes (how many), score.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    named = ["label", "predicted"] if class_names else ["boxes"] if boxed else ["count", "predicted"]
    writer.writerow(["rank", "key", *named, "score"])
    for rank, suspect in enumerate(suspects(run, count), 1):
        cells = _names(suspect, class_names) if class_names else [str(suspect.label)] if boxed else _counts(suspect)
        writer.writerow([rank, plain_cell(suspect.key), *cells, f"{suspect.score:.6g}"])
    path = run / "suspects.csv"
    replace_file(path, table.getvalue())
    return path


def _names(suspect: Suspect, class_names: list[str]) -> list[str]:
    predicted = "" if suspect.predicted is None else class_names[suspect.predicted]
    return [plain_cell(class_names[suspect.label]), plain_cell(predicted)]


def _counts(suspect: Suspect) -> list[str]:
    return ["" if value is None else f"{value:.6g}" for value in (suspect.count, suspect.predicted_count)]
