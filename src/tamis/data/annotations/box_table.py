"""Boxes in a CSV of image,x1,y1,x2,y2,class, or with the names that other programs give these columns."""

from pathlib import Path

from tamis.data.annotations.columns import Annotations, Unfit
from tamis.data.annotations.points import read_rows, table

_SIDES = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"))
_IMAGES, _CLASSES = ("image", "filename"), ("class", "label")


def read_box_table(path: Path, root: Path) -> Annotations:
    """Read a CSV with a header.

    Columns are image (or filename), x1, y1, x2, y2 (or xmin, ymin, xmax, ymax) in pixels, and class (or label), which
    may be missing: then there is one class without a name. The suffix of an image may be left out; a row of an image
    without corners says that there is nothing in it.

    Args:
        path: the table.
        root: the folder that its names start from.

    Raises:
        Unfit: it is no such table.
    """
    header = table(path, ())[0][1]
    image = next((name for name in _IMAGES if name in header), None)
    sides = next((names for names in _SIDES if set(names) <= set(header)), None)
    if image is None or sides is None:
        raise Unfit(f"header must have image, x1, y1, x2, y2 and class, got {','.join(header)!a:.100}")
    columns = (image, *sides)
    classes = next((name for name in _CLASSES if name in header), "")
    return read_rows(path, root, table(path, (*columns, classes) if classes else columns), columns, classes)


def is_box_table(path: Path) -> bool:
    """Whether the header of a CSV has the corners of boxes."""
    with path.open("rb") as file:
        cells = file.readline(4096).decode("utf-8-sig", "replace").replace('"', "").split(",")
    return any(set(names) <= {cell.strip() for cell in cells} for names in _SIDES)
