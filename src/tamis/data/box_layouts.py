"""Where the boxes of a data set are, and in which layout."""

import json
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tamis.data.annotations.layouts import Kind, Layout, counting_layouts, is_split, recognised
from tamis.data.annotations.reading import clean_name, files_of
from tamis.data.folder import SPLIT_FOLDERS, Split
from tamis.data.splits import refuse_path, refuse_video

KINDS: tuple[Kind, ...] = ("coco", "yolo", "voc", "kitti", "mot", "carpk", "boxes")
SUPPORTED = (
    "images with boxes: COCO .json, YOLO (data.yaml, labels/), VOC (Annotations/), KITTI (label_2/), MOT (gt/gt.txt "
    "beside img1/), CARPK, boxes.csv (image,x1,y1,x2,y2,class), or train/ and val/ of one of them"
)
TABLE = "boxes.csv"
_DOCUMENTS = ("coco.json", "_annotations.coco.json", "annotations.json")  # of several, these are the whole
_LOOKED_AT = 20  # names of a document by which the folder of its images is found


class Part(NamedTuple):
    """Annotations that belong to a data set; of one split, or as names and lists say (None)."""

    layout: Layout
    split: Split | None = None


def box_parts(path: Path, annotations: Path | None) -> list[Part]:
    """What is to be read of a data set.

    Raises:
        ValueError: no layout of boxes is there, or it cannot be told which of several is meant.
        FileNotFoundError: there is nothing.
    """
    if not path.is_dir():
        refuse_path(path)
    if annotations is not None:
        return _named(path, annotations)
    parts = _at(path, path) or [
        part for each in sorted(path.iterdir()) if each.is_dir() and is_split(each.name) for part in _at(each, path)
    ]
    if parts:
        return _judged_by_one(parts)
    refuse_video(path)
    kind = _kind(path)
    if kind is not None:
        return [Part(Layout(kind, path, path))]
    there = ", ".join(repr(each.name) for each in sorted(path.iterdir())[:5]) or "nothing"
    raise ValueError(f"data must be {SUPPORTED}; got {str(path)!r}, which holds {there}")


def _named(path: Path, annotations: Path) -> list[Part]:
    documents = _documents(annotations) if annotations.is_dir() else []
    if documents:
        return _judged_by_one([_document(each, path) for each in documents])
    kind = recognised(annotations)
    if kind not in KINDS:
        raise ValueError(f"annotations must be {SUPPORTED}; got {kind} in {str(annotations)!r}, which has no boxes")
    return _judged_by_one([_document(annotations, path) if kind == "coco" else Part(Layout(kind, annotations, path))])


def _at(folder: Path, data: Path) -> list[Part]:
    """What a folder has itself."""
    documents = _documents(folder) or _documents(folder / "annotations")
    if documents:
        return [_document(each, folder) for each in documents]
    table = folder / TABLE
    if table.is_file():
        return [Part(Layout("boxes", table, folder))]
    certain = counting_layouts(folder).get("")
    if certain is not None and certain.kind in KINDS:
        return [Part(certain)]
    if next(files_of(folder / "labels", ".txt"), None):
        return [Part(Layout("yolo", folder, folder))]
    if next(files_of(folder / "Annotations", ".xml"), None):
        return [Part(Layout("voc", folder / "Annotations", folder))]
    # The images of a split may lie beside their files, without a folder for either.
    kind = _kind(folder) if folder != data else None
    return [] if kind is None else [Part(Layout(kind, folder, folder))]


def _kind(folder: Path) -> Kind | None:
    """The layout of boxes that the files of a folder have, if any."""
    with suppress(ValueError):
        kind = recognised(folder)
        return kind if kind in KINDS else None
    return None


def _judged_by_one(parts: list[Part]) -> list[Part]:
    """Without those that are of a split to judge by where there is a better one: of val and test, val."""
    if len(parts) == 1 or not any(part.split for part in parts):
        return [part._replace(split=None) for part in parts]
    words = [(_word(part.layout.path), part) for part in parts if part.split != "train"]
    first = next((word for word in SPLIT_FOLDERS["validation"] if word in {each for each, _ in words}), None)
    return [part for part in parts if part.split == "train" or _word(part.layout.path) == first]


def _documents(folder: Path) -> list[Path]:
    """The COCO documents of a folder that make up its data set."""
    if not folder.is_dir():
        return []
    files = [each for each in sorted(folder.glob("*.json")) if each.is_file()]
    instances = [each for each in files if each.name.startswith("instances")]  # beside captions and keypoints
    whole = [each for each in files if each.name in _DOCUMENTS]
    if instances or whole:  # by their names, so that a damaged one is told
        return instances or whole[:1]
    found = [each for each in files if _is_coco(each)]
    if len(found) > 1 and not any(_split(each) == "train" for each in found):
        names = " and ".join(repr(each.name) for each in found[:3])
        raise ValueError(f"data must have one COCO document, or one named train, got {names}; give it as annotations")
    return found


def _is_coco(path: Path) -> bool:
    if recognised(path) != "coco":
        return False
    with _searchable(path) as text:
        return all(text.find(b'"%s"' % each) >= 0 for each in (b"images", b"annotations", b"categories"))


@contextmanager
def _searchable(path: Path) -> Iterator[bytes | mmap.mmap]:
    """The content of a file, not read as a whole."""
    with path.open("rb") as file:
        if not path.stat().st_size:  # nothing to map
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            yield text


def _word(path: Path) -> str | None:
    """The split that the name of a document tells: instances_val2017.json -> val."""
    words = re.findall("[a-z]+", path.stem.lower())
    return next((word for folders in SPLIT_FOLDERS.values() for word in folders if word in words), None)


def _split(path: Path) -> Split | None:
    word = _word(path)
    return next((split for split, folders in SPLIT_FOLDERS.items() if word in folders), None)


def _document(path: Path, data: Path) -> Part:
    """A COCO document with the folder that has most of the first images that it names."""
    word = path.stem.split("_")[-1]
    folders = [path.parent, data, data / "images", data / word, data / "images" / word, path.parent / word]
    inside = [each for each in dict.fromkeys(folders) if each.is_dir() and each.is_relative_to(data)]
    names = list(islice(_file_names(path), _LOOKED_AT))
    root = max(inside, key=lambda folder: sum((folder / name).is_file() for name in names))
    return Part(Layout("coco", path, root), _split(path))


def _file_names(path: Path) -> Iterator[str]:
    """Names of images in a document, as they stand in it; it is not parsed, since large ones take minutes."""
    with _searchable(path) as text:
        for found in re.finditer(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.){0,1000}")', text):
            with suppress(ValueError):
                name = clean_name(json.loads(found[1]))
                if name:
                    yield name
