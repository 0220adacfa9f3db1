"""Points in a CSV of image,x,y: the layout that everything else can be written as."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tamis.data.annotations.columns import Annotations, Collected, Unfit
from tamis.data.annotations.reading import NamedImages, clean_name, images_by_name, read_text
from tamis.data.folder import SPLIT_FOLDERS, Split

LIMIT = 256 << 20
Rows = list[tuple[int, list[str]]]
_COLUMNS = ("image", "x", "y")


def read_points(path: Path, root: Path) -> Annotations:
    """Read a CSV with the header image,x,y.

    The suffix of an image may be left out; a row `image,,` says that there is nothing in it.

    Args:
        path: the table.
        root: the folder that its names start from.

    Raises:
        Unfit: it is no such table.
    """
    return read_rows(path, root, table(path, _COLUMNS), _COLUMNS)


def read_rows(path: Path, root: Path, rows: Rows, columns: Sequence[str], classes: str = "") -> Annotations:
    """The numbers of a table's rows, with the images that it names.

    Args:
        path: the table.
        root: the folder that its names start from.
        rows: what `table` read of it.
        columns: the names of the image's column and those of the numbers.
        classes: the name of a column of class names; empty = there is none.
    """
    header = rows[0][1]
    name_at, *at = (header.index(name) for name in columns)
    found, names = Collected(len(at)), dict[str, int]()
    images = NamedImages(found, root)
    for place, (line, row) in enumerate(rows[1:], 1):
        if not row:
            continue
        where = f"{path.name}:{line}"
        if len(row) != len(header):
            found.fault("malformed", where, f"{len(row)} columns, not {len(header)}")
            continue
        image, cells = images.position(row[name_at].strip(), where), [row[column].strip() for column in at]
        if image is None or not any(cells):
            continue
        word = row[header.index(classes)].strip() if classes else ""
        if classes and not word:
            found.fault("wrong_class", where, "no name")
            continue
        try:
            numbers = [*map(float, cells)]
        except ValueError:
            found.fault("malformed", where, f"no number: {','.join(cells)!a:.100}")
            continue
        found.add(image, names.setdefault(word, len(names)), numbers, where, place)
    nothing = "," * len(at)
    images.bare(f"not in the table; a row `image{nothing}` says that there is nothing")
    return found.done(list(images.sizes), list(images.sizes.values()), tuple(names) if classes else ())


def read_split(path: Path, root: Path) -> dict[str, Split]:
    """The split of each image, where the table has a column `split`: train, or val, validation, valid or test.

    Returns:
        Image name -> split; empty where there is no such column, or no table. A cell without a word means train.

    Raises:
        ValueError: another word, or an image in both splits; with the line.
    """
    try:
        rows = table(path, ("image",))
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
    rows, known, good = table(path, _COLUMNS), images_by_name(root), set(kept.images)
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


def table(path: Path, columns: Sequence[str]) -> Rows:
    """Line number and cells of every row of a CSV, the header first.

    Raises:
        Unfit: it is no such table, or has not each of these columns once.
    """
    reader = csv.reader(io.StringIO(read_text(path, LIMIT), newline=""))
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise Unfit(f"no CSV: {error} in line {reader.line_num}") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if not rows or any(header.count(name) != 1 for name in columns):
        wanted = " and ".join(filter(None, (", ".join(columns[:-1]), *columns[-1:]))) or "names"
        raise Unfit(f"header must have {wanted}, got {','.join(header)!a:.100}")
    rows[0] = (1, header)
    return rows
