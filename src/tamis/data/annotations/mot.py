"""MOT Challenge: one table of boxes for a video, whose frames are images or a film (motchallenge.net, "format")."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tamis.data.annotations.columns import Annotations, Collected, Unfit, shown
from tamis.data.annotations.reading import files_of, read_text
from tamis.data.folder import image_names

LIMIT = 256 << 20
_MOST_FRAMES = 1 << 24


class Track(NamedTuple):
    """A row of a table: the frame from 1, its box x1, y1, x2, y2 in pixels, and its line."""

    frame: int
    box: tuple[float, float, float, float]
    line: int


class Tracks(NamedTuple):
    """A table: rows that count, rows that are none (line, what is wrong), and the last frame that was annotated."""

    rows: list[Track]
    wrong: list[tuple[int, str]]
    last: int


def read_tracks(path: Path) -> Tracks:
    """Read a gt.txt of `frame,id,x,y,width,height,conf,...`; rows with conf 0 say: do not count this.

    The last frame that was annotated is seqLength of a seqinfo.ini beside it or in the folder above, or else the
    last one with a row; frames before it without a row are background.

    Raises:
        Unfit: it cannot be read.
    """
    rows, wrong, last = [], [], _length(path)
    for line, text in enumerate(read_text(path, LIMIT).splitlines(), 1):
        cells = [cell.strip() for cell in text.split(",")]
        if cells == [""]:
            continue
        try:
            frame, _, x, y, width, height, *more = map(float, cells)
        except ValueError:
            few = len(cells) < 6
            wrong.append((line, f"{len(cells)} columns, not 6 or more" if few else f"no number: {text!a:.100}"))
            continue
        if not frame.is_integer() or not 1 <= frame <= _MOST_FRAMES:
            wrong.append((line, f"frame {cells[0]!a:.40} is no number from 1"))
            continue
        last = max(last, int(frame))
        if not more or more[0] != 0:
            rows.append(Track(int(frame), (x, y, x + width, y + height), line))
    return Tracks(rows, wrong, last)


def _length(path: Path) -> int:
    for folder in (path.parent, path.parent.parent):
        if (folder / "seqinfo.ini").is_file():
            try:
                found = re.search(r"^seqLength\s*=\s*(\d{1,8})\s*$", read_text(folder / "seqinfo.ini", 1 << 16), re.M)
            except Unfit:
                return 0
            return int(found[1]) if found else 0
    return 0


def sequences(path: Path) -> list[str]:
    """Folders of the sequences below a folder, relative: each has gt/gt.txt beside img1/."""
    found = [PurePosixPath(name) for name in files_of(path, "gt.txt")]
    folders = [str(name.parent.parent) for name in found if name.parts[-2:] == ("gt", "gt.txt")]
    return [folder for folder in folders if (path / folder / "img1").is_dir()]


def read_mot(path: Path, root: Path) -> Annotations:
    """Read sequences of images: gt/gt.txt beside img1/000001.jpg, for each folder that has both.

    Args:
        path: a sequence, or a folder of them.
        root: the folder of the images; names are relative to it.

    Raises:
        Unfit: there is no sequence.
    """
    found, sizes = Collected(4), dict[str, tuple[int, int]]()
    frames = _frames(root)
    folders = sequences(path)
    if not folders:
        raise Unfit("no gt/gt.txt beside a folder img1")
    for folder in folders:
        table = path / folder / "gt" / "gt.txt"
        where = shown(table.relative_to(path).as_posix())
        try:
            tracks = read_tracks(table)
        except Unfit as error:
            found.fault("unreadable_annotation", where, str(error))
            continue
        prefix = (path / folder / "img1").relative_to(root).as_posix()
        _sequence(found, tracks, where, frames.get(prefix, {}), root, sizes)
    return found.done(list(sizes), list(sizes.values()), ())


def annotate_frames(tracks: Tracks, where: str, images: dict[int, str], root: Path) -> Annotations:
    """What a table says of images that were taken from its video: (frame -> image name below `root`)."""
    found, sizes = Collected(4), dict[str, tuple[int, int]]()
    _sequence(found, tracks, where, images, root, sizes)
    return found.done(list(sizes), list(sizes.values()), ())


def _frames(root: Path) -> dict[str, dict[int, str]]:
    """Images by their folder and the number that is their name."""
    found: dict[str, dict[int, str]] = {}
    for name in sorted(image_names(root)):
        path = PurePosixPath(name)
        if re.fullmatch(r"\d{1,8}", path.stem):
            found.setdefault(str(path.parent), {}).setdefault(int(path.stem), name)
    return found


def _sequence(
    found: Collected, tracks: Tracks, where: str, images: dict[int, str], root: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    for line, detail in tracks.wrong:
        found.fault("malformed", f"{where}:{line}", detail)
    positions: dict[int, int] = {}
    for frame, name in sorted(images.items()):
        if frame > tracks.last:
            found.fault("missing_annotation", shown(name), f"{where} ends with frame {tracks.last}")
        else:
            positions[frame] = len(sizes)
            sizes[name] = found.size(root, name) or (0, 0)
    for track in tracks.rows:
        if track.frame in positions:
            found.add(positions[track.frame], 0, track.box, f"{where}:{track.line}", track.line - 1)
    for frame, line in _first_lines(tracks, set(images)):
        found.fault("missing_image", f"{where}:{line}", f"there is no image of frame {frame}")


def _first_lines(tracks: Tracks, known: set[int]) -> Iterator[tuple[int, int]]:
    """Frames that are not known, each with its first line."""
    seen = set(known)
    for track in tracks.rows:
        if track.frame not in seen:
            seen.add(track.frame)
            yield track.frame, track.line
