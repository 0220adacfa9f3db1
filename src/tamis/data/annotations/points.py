"""Points: a CSV of image,x,y, and the MATLAB files of ShanghaiTech."""

import csv
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tamis.data.annotations.columns import (
    Annotations,
    Collected,
    Unfit,
    files_of,
    join_key,
    joined,
    read_bytes,
    read_text,
    shown,
)
from tamis.data.decode import inside
from tamis.data.folder import image_names

CSV_LIMIT, MAT_LIMIT = 256 << 20, 16 << 20
# Tags of MATLAB 5 files (MathWorks, "MAT-File Format", table 1-1); an array within an array has its own tag.
_MATRIX, _COMPRESSED, _HEAD, _MOST_ARRAYS = 14, 15, 128, 2000


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
    found, known = Collected(2), _by_name(root)
    images: dict[str, int | None] = {}  # as in the table -> position
    names: dict[str, tuple[int, int]] = {}
    for place, (line, row) in enumerate(rows[1:], 1):
        if not row:
            continue
        where = f"{path.name}:{line}"
        if len(row) != len(rows[0][1]):
            found.fault("malformed", where, f"{len(row)} columns, not {len(rows[0][1])}")
            continue
        name, x, y = (row[column].strip() for column in columns)
        if name not in images:
            images[name] = _image(found, name, where, root, known, names, images)
        _point(found, (x, y), where, images[name], names, place)
    for name in sorted(set(known.values()) - set(names)):
        found.fault("missing_annotation", shown(name), "not in the table; a row `image,,` says that there is nothing")
    return found.done(list(names), list(names.values()), ())


def write_points(path: Path, kept: Annotations, root: Path, out: Path) -> None:
    """Write a table again, with the rows that are left; arguments as `write_coco`."""
    rows, known, good = _table(path), _by_name(root), set(kept.images)
    header = rows[0][1]
    image, x, y = (header.index(name) for name in ("image", "x", "y"))
    left = set(kept.rows)
    with out.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for place, (_, row) in enumerate(rows[1:], 1):
            empty = len(row) == len(header) and not row[x].strip() and not row[y].strip()
            if place in left or (empty and known.get(_clean(row[image].strip())) in good):
                writer.writerow(row)


def _table(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every row, the header first."""
    reader = csv.reader(io.StringIO(read_text(path, CSV_LIMIT), newline=""))
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise Unfit(f"no CSV: {error} in line {reader.line_num}") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if any(header.count(name) != 1 for name in ("image", "x", "y")):
        raise Unfit(f"header must have image, x and y, got {','.join(header)!a:.100}")
    rows[0] = (1, header)
    return rows


def _by_name(root: Path) -> dict[str, str]:
    """Images by name, and by name without suffix where that is one image's alone."""
    names = sorted(image_names(root))
    short: dict[str, list[str]] = {}
    for name in names:
        short.setdefault(str(Path(name).with_suffix("").as_posix()), []).append(name)
    return {stem: each[0] for stem, each in short.items() if len(each) == 1} | {name: name for name in names}


def _clean(name: str) -> str:
    try:
        return inside(name, "")
    except ValueError:
        return ""


def _image(
    found: Collected,
    name: str,
    where: str,
    root: Path,
    known: dict[str, str],
    names: dict[str, tuple[int, int]],
    images: dict[str, int | None],
) -> int | None:
    """The position of an image that a table names, which is read for the first time; None if it cannot be used."""
    clean = _clean(name)
    if not clean:
        found.fault("unsafe_name", where, f"image {name!a:.200} leads out of the folder")
        return None
    file = known.get(clean)
    if file is None:
        found.fault("missing_image", where, f"there is no image {shown(name)} in {str(root)!r}")
        return None
    if file not in names:
        names[file] = found.size(root, file) or (0, 0)
        images[file] = len(names) - 1
    return images[file]


def _point(
    found: Collected,
    texts: tuple[str, str],
    where: str,
    image: int | None,
    names: dict[str, tuple[int, int]],
    row: int,
) -> None:
    if image is None or texts == ("", ""):
        return
    try:
        found.add(image, 0, (float(texts[0]), float(texts[1])), where, row)
    except ValueError:
        found.fault("malformed", where, f"no number: {','.join(texts)!a:.100}")


def read_mats(path: Path, root: Path) -> Annotations:
    """Read the ground truth of ShanghaiTech: GT_<image>.mat with image_info{1}.location, (N, 2) x and y.

    Args:
        path: a folder with such files, at any depth.
        root: the folder of the images, at any depth.

    Raises:
        ImportError: scipy is not installed.
        ValueError: no file has an image of its name.
    """
    names = list(files_of(path, ".mat"))
    found = Collected(2)
    pairs, bare = joined(root, names, "GT_")
    images, sizes = [], []
    for name in names:
        if name not in pairs:
            found.fault("missing_image", shown(name), f"there is no image {shown(join_key(name, 'GT_'))}")
            continue
        try:
            points = read_mat(path / name)
        except Unfit as error:
            found.fault("unreadable_annotation", shown(name), str(error))
            continue
        for row, point in enumerate(points.tolist()):
            found.add(len(images), 0, point, f"{shown(name)}: point {row + 1}", row)
        sizes.append(found.size(root, pairs[name]) or (0, 0))
        images.append(pairs[name])
    for name in bare:
        found.fault("missing_annotation", shown(name), "no .mat file")
    return found.done(images, sizes, ())


def read_mat(path: Path) -> np.ndarray:
    """The points of one file of ShanghaiTech's: float64 (N, 2), x and y.

    Raises:
        ImportError: scipy is not installed.
        Unfit: it is no such file.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            "scipy must be installed to read .mat files, got none; install it: pip install scipy"
        ) from error
    content = read_bytes(path, MAT_LIMIT)
    _hold_small(content)
    try:
        info = loadmat(io.BytesIO(content), variable_names=["image_info"]).get("image_info")
    except Exception as error:  # scipy raises nearly anything on a damaged file
        raise Unfit(f"no MATLAB 5 file: {type(error).__name__}: {str(error)[:150]}") from error
    if info is None:
        raise Unfit("no image_info")
    return _location(info)


def _location(info: Any) -> np.ndarray:
    """image_info{1}.location, in whichever depth of 1 x 1 arrays scipy gives it."""
    while isinstance(info, np.ndarray) and info.dtype == object and info.size == 1:
        info = info.flat[0]
    if not isinstance(info, np.ndarray) or not info.dtype.names or "location" not in info.dtype.names or info.size != 1:
        raise Unfit("image_info without a location")
    points = info["location"].flat[0]
    if not isinstance(points, np.ndarray) or points.dtype.kind not in "iuf":
        raise Unfit("location is not of numbers")
    if not points.size:
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise Unfit(f"location must be (N, 2), got {points.shape}")
    return points.astype(np.float64)


def _hold_small(content: bytes) -> None:
    """Refuse, before scipy reads it, what is no MATLAB 5 file, unpacks to too much, or nests arrays without end."""
    order = {b"IM": "little", b"MI": "big"}.get(content[126:_HEAD])
    if order is None:
        raise Unfit("no MATLAB 5 file")
    place, left, arrays = _HEAD, MAT_LIMIT, 0
    mark = _MATRIX.to_bytes(4, order)  # pyright: ignore[reportArgumentType]
    while place + 8 <= len(content):
        kind = int.from_bytes(content[place : place + 4], order)  # pyright: ignore[reportArgumentType]
        size = int.from_bytes(content[place + 4 : place + 8], order)  # pyright: ignore[reportArgumentType]
        body = content[place + 8 : place + 8 + size]
        if len(body) < size:
            raise Unfit("a MATLAB file that is cut off")
        if kind == _COMPRESSED:
            try:
                body = zlib.decompressobj().decompress(body, left + 1)
            except zlib.error as error:
                raise Unfit(f"a damaged MATLAB file: {error}") from error
        left -= len(body)
        arrays += body.count(mark)
        if left < 0 or arrays > _MOST_ARRAYS:
            raise Unfit("a MATLAB file that unpacks to more than points need")
        place += 8 + size
