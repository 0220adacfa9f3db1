"""suspects.csv: the labels that look wrong, for a spreadsheet or a labelling tool."""

import csv
import io
from pathlib import Path

from tamis.files import replace_file
from tamis.recipes.cells import plain_cell
from tamis.report import suspects


def write_suspects(run: Path, count: int, class_names: list[str]) -> Path:
    """Write the most suspicious samples of a run to suspects.csv in its folder.

    Columns: rank (from 1), key, label, predicted, score (sigma, or the mean loss without data parameters).
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["rank", "key", "label", "predicted", "score"])
    for rank, suspect in enumerate(suspects(run, count), 1):
        predicted = "" if suspect.predicted is None else class_names[suspect.predicted]
        names = [plain_cell(class_names[suspect.label]), plain_cell(predicted)]
        writer.writerow([rank, plain_cell(suspect.key), *names, f"{suspect.score:.6g}"])
    path = run / "suspects.csv"
    replace_file(path, table.getvalue())
    return path
