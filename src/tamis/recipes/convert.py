"""`tamis convert`: any layout of points or boxes, or a video and its boxes, as images and one points.csv."""

import csv
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tamis.data.annotations import RULES, At, Problem, Rule, Unfit
from tamis.data.annotations.layouts import POINTS, is_split
from tamis.data.annotations.mot import Tracks, annotate_frames, read_tracks
from tamis.data.annotations.reading import join_key
from tamis.data.folder import image_names
from tamis.data.points import PointSet, as_points, open_points, point_set
from tamis.data.splits import VIDEOS
from tamis.files import replace_file, sync_folder

_SHOWN = 5  # lines of each kind of problem
# What is wrong and yet there; all else is left out.
_KEPT: dict[Rule, str] = {
    "duplicate_row": "kept, they add up", "partly_outside": "clipped", "wrong_size": "kept",
}  # fmt: skip


def convert_command(
    source: Path, out: Path, *, annotations: Path | None = None, at: At = "centre", every: int = 1
) -> None:
    """Write images with points as a new folder, and print what was written and what was left out.

    Without splits it gets images/ and points.csv, with splits train/ and test/ that have both. Image files are copied
    byte for byte; the frames of a video become PNG, box frame k (from 1) the k-th that is decoded.

    Args:
        source: what `open_points` takes, or a video, or a folder of one with gt.txt or gt/gt.txt.
        out: the new folder.
        annotations: as for `open_points`; of a video its gt.txt.
        at: as for `open_points`.
        every: take each so many-th image of a split, or frame of a video, from the first on.

    Raises:
        FileExistsError: `out` is there.
        ValueError: as `open_points`; every is below 1, or `out` is within the source.
        ImportError: PyAV is needed to read videos.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every!r}")
    if out.exists():
        raise FileExistsError(f"out must be a new folder, got {str(out)!r}, which exists; choose another")
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"out must be a folder outside of the data, got {str(out)!r}; choose another")
    video = _video(source)
    splits = {} if video else _splits(source, annotations, at, every)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".tmp-{os.getpid()}-{out.name}")
    draft.mkdir()
    try:
        if video is not None:
            splits = {"": _write_frames(video, _table(source, annotations), draft, at, every)}
        for name, points in splits.items():
            _write_split(points, draft / name)
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(out.parent)
    print("\n".join(_told(out, splits)))


def _splits(source: Path, annotations: Path | None, at: At, every: int) -> dict[str, PointSet]:
    train, test = open_points(source, annotations, at=at)
    found = {"": train} if test is None else {"train": train, "test": test}
    return {name: points.select(range(0, len(points), every)) for name, points in found.items()}


def _video(source: Path) -> Path | None:
    """The video to take frames from: itself, or the only one in a folder without images."""
    if source.is_file() and source.suffix.lower() in VIDEOS:
        return source
    if not source.is_dir() or next(image_names(source), None) is not None:
        return None
    videos = [each for each in sorted(source.iterdir()) if each.suffix.lower() in VIDEOS]
    if len(videos) > 1:
        raise ValueError(f"source must hold one video, got {len(videos)} in {str(source)!r}; give one of them")
    return videos[0] if videos else None


def _table(source: Path, annotations: Path | None) -> Path:
    """The boxes of a video."""
    folder = source if source.is_dir() else source.parent
    places = [annotations] if annotations else [folder / "gt.txt", folder / "gt" / "gt.txt"]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"annotations must be the gt.txt of the video, got none at {str(places[0])!r}; name it")


def _write_frames(video: Path, table: Path, out: Path, at: At, every: int) -> PointSet:
    """Write the frames that were annotated, and give their points."""
    try:
        tracks = read_tracks(table)
    except Unfit as error:
        raise ValueError(f"annotations must be readable, got {error} in {str(table)!r}; correct them") from error
    (out / "images").mkdir()
    images: dict[int, str] = {}
    for frame, picture in _decoded(video, tracks.last):
        if (frame - 1) % every == 0:
            images[frame] = f"images/{frame:06d}.png"
            picture.save(out / images[frame], compress_level=1)
    rows = [row for row in tracks.rows if (row.frame - 1) % every == 0]
    found = annotate_frames(Tracks(rows, tracks.wrong, tracks.last), table.name, images, out)
    if not found.images:
        raise ValueError(f"video must have a frame that is annotated, got none in {str(video)!r}; is it its gt.txt?")
    return point_set(out, as_points(found, at))


def _decoded(video: Path, last: int) -> Iterator[tuple[int, Any]]:
    """Number from 1 and picture of each frame, up to the last that is wanted.

    Raises:
        ValueError: it is no video that can be decoded.
    """
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise ImportError(
            "av must be installed to read videos, got none; install it: pip install 'tamis[video]'"
        ) from error
    number = 0
    try:
        with av.open(str(video)) as container:
            for number, frame in enumerate(container.decode(video=0), 1):
                if number > last:
                    return
                yield number, frame.to_image()
    except (FFmpegError, IndexError) as error:
        reason = f"{type(error).__name__} after {number:,} frames"
        raise ValueError(f"video must be readable, got {reason} in {str(video)!r}; repair it") from error


def _write_split(points: PointSet, folder: Path) -> None:
    """Copy the images, unless they are there, and write points.csv."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "x", "y"])
    for name, short, inside in zip(points.names, _short(points.names), points.points, strict=True):
        target = folder / "images" / short
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(points.root / name, target)
        rows: Sequence[Sequence[object]] = inside.tolist() or [("", "")]
        writer.writerows((f"images/{short}", x, y) for x, y in rows)
    replace_file(folder / POINTS, text.getvalue())


def _short(names: Sequence[str]) -> list[str]:
    """Names without the folders that only say what is in them and of which split it is."""
    short = [_bare(name) + PurePosixPath(name).suffix for name in names]
    distinct = {name.lower() for name in short}
    return short if len(distinct) == len(names) else list(names)


def _bare(name: str) -> str:
    top, _, rest = join_key(name).partition("/")
    return rest if rest and is_split(top) else join_key(name)


def _told(out: Path, splits: dict[str, PointSet]) -> Iterator[str]:
    for name, points in splits.items():
        counts = points.counts
        yield (
            f"{out / name}: {len(points):,} images with {counts.sum():,} points, {counts.min():,} to "
            f"{counts.max():,} an image, {(counts == 0).sum():,} without one (background)"
        )
    yield from _problems(next(iter(splits.values())).problems)


def _problems(problems: Iterable[Problem]) -> Iterator[str]:
    """What is wrong in the source: counts, and the first lines of each rule."""
    by_rule: dict[Rule, list[Problem]] = {}
    for problem in problems:
        by_rule.setdefault(problem.rule, []).append(problem)
    for rule, each in by_rule.items():
        yield f"{len(each):,} x {RULES[rule][0]}: {_KEPT.get(rule, 'left out')}"
        yield from (f"  {problem.where}  {problem.detail}" for problem in each[:_SHOWN])
        if len(each) > _SHOWN:
            yield f"  ... and {len(each) - _SHOWN:,} more"
