"""A set of images with boxes in a folder, in as many formats as are wanted, with one copy of the images."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from tamis.data.export.coco import coco_files
from tamis.data.export.cvat import cvat_files
from tamis.data.export.fiftyone import fiftyone_files
from tamis.data.export.kitti import FOLDER, kitti_files
from tamis.data.export.label_studio import label_studio_files
from tamis.data.export.labelled import About, Exported, Labelled, labelled
from tamis.data.export.names import check_names, plain_class_names, plain_text
from tamis.data.export.voc import voc_files
from tamis.data.export.yolo import yolo_files
from tamis.files import replace_file

Format = Literal["coco", "yolo", "voc", "kitti", "fiftyone", "cvat", "label-studio"]
_FILES: dict[Format, Callable[[Sequence[Labelled], About], Iterator[tuple[str, str]]]] = {
    "coco": coco_files,
    "yolo": yolo_files,
    "voc": voc_files,
    "kitti": kitti_files,
    "fiftyone": fiftyone_files,
    "cvat": cvat_files,
    "label-studio": label_studio_files,
}
FORMATS: tuple[Format, ...] = tuple(_FILES)
_THREADS = 8  # they wait for the disk: a file is flushed before the next one


class Written(NamedTuple):
    """What was written: images, boxes, and the boxes that were dropped because nothing of them is in the image."""

    images: int
    boxes: int
    dropped: int


def write_data_set(
    folder: Path, images: Sequence[Exported], class_names: Sequence[str], formats: Iterable[Format] = FORMATS, *,
    predicted: bool = True, description: str = "boxes written by tamis",
) -> Written:  # fmt: skip
    """Write images, and their boxes in each format, into a folder.

    The same images give the same bytes, in the order of their names. Every file is replaced as a whole, and those that
    are as they should be are left alone, so a call that was cut short is completed by the same call. Other files in
    the folder are not touched.

    Args:
        folder: made if need be.
        images: with names as `safe_name` makes them; boxes are clipped to their image.
        class_names: what labels are positions in; written as `plain_class_names` makes them.
        formats: coco, yolo, voc, kitti, fiftyone, cvat, label-studio.
        predicted: whether a detector drew the boxes: with scores, and for review in Label Studio.
        description: whose boxes these are, and above which confidence.

    Raises:
        ValueError: an unknown format, an unsafe name or one of two images with the same stem; an image without a size,
            with a label that is no class or a score that is not finite.
        OSError: as the system has it; what was written stays.
    """
    wanted = set(formats)
    if not wanted <= set(FORMATS):
        raise ValueError(f"formats must be of {', '.join(FORMATS)}, got {', '.join(sorted(wanted - set(FORMATS)))!r}")
    check_names(image.name for image in images)
    images = sorted(images, key=lambda image: image.name)
    about = About(plain_class_names(class_names), predicted, plain_text(description))
    entries = [labelled(image, len(about.class_names)) for image in images]
    names = [image.name for image in images]
    with ThreadPoolExecutor(_THREADS) as pool:
        store = _prepared(folder / "images", names)
        list(pool.map(lambda image: _write(store / image.name, _content(image)), images))
        if "kitti" in wanted:
            links = _prepared(folder / FOLDER, names)
            list(pool.map(lambda name: _link(store / name, links / name), names))
        for files_of in (each for name, each in _FILES.items() if name in wanted):
            files = {folder / path: text for path, text in files_of(entries, about)}
            for parent in {path.parent for path in files}:
                _prepared(parent, (path.name for path in files if path.parent == parent))
            list(pool.map(lambda file: _write(file[0], file[1].encode()), files.items()))
    boxes = sum(len(entry.corners) for entry in entries)
    return Written(len(images), boxes, sum(len(image.detections) for image in images) - boxes)


def _prepared(folder: Path, names: Iterable[str]) -> Path:
    """Make a folder, and clear what a call that was killed has left of these files."""
    folder.mkdir(parents=True, exist_ok=True)
    ours = set(names)
    for left in folder.glob(".tmp-*"):
        if left.name.removeprefix(".tmp-").partition("-")[2] in ours:
            left.unlink(missing_ok=True)
    return folder


def _content(image: Exported) -> bytes:
    # Copied, not linked: some trainers repair JPEGs in place, and the source is not theirs.
    return image.image if isinstance(image.image, bytes) else image.image.read_bytes()


def _write(path: Path, content: bytes) -> None:
    there = path.is_file() and not path.is_symlink() and path.stat().st_size == len(content)
    if not (there and path.read_bytes() == content):
        replace_file(path, content)


def _link(image: Path, path: Path) -> None:
    """A second name for an image; a copy where the file system has none."""
    if path.exists() and path.samefile(image):
        return
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        os.link(image, temporary)
    except OSError:
        shutil.copyfile(image, temporary)
    temporary.replace(path)
