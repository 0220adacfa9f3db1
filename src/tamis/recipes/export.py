"""`tamis export`: images with boxes, in any layout that is read, in the formats of trainers and labelling tools."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import torch

from tamis.data.annotations.reading import join_key
from tamis.data.boxes import BoxSet, open_boxes
from tamis.data.export import FORMATS, Exported, Format, Written, safe_names, write_data_set
from tamis.data.folder import Split
from tamis.detections import Detections
from tamis.files import sync_folder


def export_command(
    source: Path, out: Path, *, annotations: Path | None = None, formats: Sequence[Format] = FORMATS
) -> None:
    """Write images with boxes as a new folder, and print what was written.

    Image files are copied byte for byte and get names that every format takes; boxes are those of humans.

    Args:
        source: what `open_boxes` takes.
        out: the new folder.
        annotations: as for `open_boxes`.
        formats: as for `write_data_set`.

    Raises:
        FileExistsError: `out` is there.
        ValueError: as `open_boxes`; an unknown format, or `out` is within the source.
    """
    if out.exists():
        raise FileExistsError(f"out must be a new folder, got {str(out)!r}, which exists; choose another")
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"out must be a folder outside of the data, got {str(out)!r}; choose another")
    train, validation = open_boxes(source, annotations)
    images = exported(train, validation)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".tmp-{os.getpid()}-{out.name}")
    try:
        description = f"boxes of {source.name}"
        written = write_data_set(draft, images, train.class_names, formats, predicted=False, description=description)
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(out.parent)
    print("\n".join(_told(source, out, train, written)))


def exported(train: BoxSet, validation: BoxSet | None) -> list[Exported]:
    """The images of both splits, under names that every format takes."""
    splits: list[tuple[BoxSet, Split]] = [(train, "train")]
    if validation is not None:
        splits.append((validation, "validation"))
    stems = iter(safe_names(_short([name for found, _ in splits for name in found.names]), ""))
    images = []
    for found, split in splits:
        for name, (width, height), boxes, labels in zip(
            found.names, found.sizes.tolist(), found.boxes, found.labels, strict=True
        ):
            truth = Detections(torch.from_numpy(boxes), torch.ones(len(boxes)), torch.from_numpy(labels))
            file = next(stems) + PurePosixPath(name).suffix.lower()
            images.append(Exported(file, found.root / name, width, height, truth, key=name, split=split))
    return images


def _short(names: Sequence[str]) -> Sequence[str]:
    """Names without the folders that only say what is in them, if they still differ."""
    short = [join_key(name) + PurePosixPath(name).suffix for name in names]
    return short if len(set(short)) == len(names) else names


def _told(source: Path, out: Path, found: BoxSet, written: Written) -> Iterator[str]:
    yield f"{out}: {written.images:,} images with {written.boxes:,} boxes"
    if regions := sum(len(each) for each in found.ignored):
        yield f"{regions:,} regions that count for nothing were left out: no format but the source's has them"
    if found.problems:
        yield f"{len(found.problems):,} problems in the annotations; `tamis check {source}` names them"
