"""Points in a CSV of image,x,y: the layout that everything else can be written as."""

import csv
import io
from pathlib import Path

from tamis.data.annotations.columns import Annotations, Collected, Unfit
from tamis.data.annotations.reading import NamedImages, clean_name, images_by_name, read_text
from tamis.data.folder import SPLIT_FOLDERS, Split

LIMIT = 256 << 20


def read_points(path: Path, root: Path) -> Annotations:
    """Read a CSV with the header image,x,y.

    The suffix of an image may be left out; a row `image,,` says that there is nothing in it.

    Args:
        path: the table.
        root: the folder that its names start from.

    Raises:
        Unfit: it is no such table.
    """
    rows = _table(path)
    columns = [rows[0][1].index(name) for name in ("image", "x", "y")]
    found = Collected(2)
    images = NamedImages(found, root)
    for place, (line, row) in enumerate(rows[1:], 1):
        if not row:
            continue
        where = f"{path.name}:{line}"
        if len(row) != len(rows[0][1]):
            found.fault("malformed", where, f"{len(row)} columns, not {len(rows[0][1])}")
            continue
        name, x, y = (row[column].strip() for column in columns)
        image = images.position(name, where)
        if image is None or (x, y) == ("", ""):
            continue
        try:
            found.add(image, 0, (float(x), float(y)), where, place)
        except ValueError:
            found.fault("malformed", where, f"no number: {f'{x},{y}'!a:.100}")
    images.bare("not in the table; a row `image,,` says that there is nothing")
    return found.done(list(images.sizes), list(images.sizes.values()), ())


def read_split(path: Path, root: Path) -> dict[str, Split]:
    """The split of each image, where the table has a column `split`: train, or val, validation, valid or test.

    Returns:
        Image name -> split; empty where there is no such column, or no table. A cell without a word means train.

    Raises:
        ValueError: another word, or an image in both splits; with the line.
    """
    try:
        rows = _table(path)
    except Unfit:
        return {}
    header = rows[0][1]
    if "split" not in header:
        return {}
    known, splits = images_by_name(root), dict[str, Split]()
    words: dict[str, Split] = {"": "train"}
    for split, folders in SPLIT_FOLDERS.items():
        words.update(dict.fromkeys(folders, split))
    for line, row in rows[1:]:
        if len(row) != len(header):
            continue
        word, name = row[header.index("split")].strip(), known.get(clean_name(row[header.index("image")].strip()), "")
        where = f"in {path.name}:{line}"
        if word not in words:
            raise ValueError(f"split must be train, val or test, got {word!r} {where}; correct it")
        if splits.setdefault(name, words[word]) != words[word] and name:
            raise ValueError(f"split must be one for all rows of an image, got two for {name!r} {where}; correct it")
    return splits


def write_points(path: Path, kept: Annotations, root: Path, out: Path) -> None:
    """Write a table again, with the rows that are left; arguments as `write_coco`."""
    rows, known, good = _table(path), images_by_name(root), set(kept.images)
    header = rows[0][1]
    image, x, y = (header.index(name) for name in ("image", "x", "y"))
    left = set(kept.rows)
    with out.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for place, (_, row) in enumerate(rows[1:], 1):
            empty = len(row) == len(header) and not row[x].strip() and not row[y].strip()
            if place in left or (empty and known.get(clean_name(row[image].strip())) in good):
                writer.writerow(row)


def _table(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every row, the header first."""
    reader = csv.reader(io.StringIO(read_text(path, LIMIT), newline=""))
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise Unfit(f"no CSV: {error} in line {reader.line_num}") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if any(header.count(name) != 1 for name in ("image", "x", "y")):
        raise Unfit(f"header must have image, x and y, got {','.join(header)!a:.100}")
    rows[0] = (1, header)
    return rows
