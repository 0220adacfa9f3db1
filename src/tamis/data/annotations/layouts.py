"""Which layout annotations have, by what is there, and its reader."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from tamis.data.annotations.box_table import is_box_table, read_box_table
from tamis.data.annotations.carpk import is_carpk, read_carpk
from tamis.data.annotations.coco import read_coco
from tamis.data.annotations.columns import Annotations
from tamis.data.annotations.dots import mask_files, read_dots
from tamis.data.annotations.kitti import LABELS, read_kitti
from tamis.data.annotations.labels import read_cvat, read_label_studio, read_labelme
from tamis.data.annotations.matlab import MALL, read_mall, read_mats, read_qnrf
from tamis.data.annotations.mot import read_mot
from tamis.data.annotations.points import read_points
from tamis.data.annotations.reading import files_of
from tamis.data.annotations.voc import read_voc
from tamis.data.annotations.yolo import label_files, read_yolo

Kind = Literal[
    "coco", "yolo", "voc", "points", "shanghaitech", "mall", "carpk", "ucf-qnrf", "mot", "dots", "labelme", "cvat",
    "label-studio", "kitti", "boxes",
]  # fmt: skip
READERS: dict[Kind, Callable[[Path, Path], Annotations]] = {
    "coco": read_coco,
    "yolo": read_yolo,
    "voc": read_voc,
    "points": read_points,
    "shanghaitech": read_mats,
    "mall": read_mall,
    "carpk": read_carpk,
    "ucf-qnrf": read_qnrf,
    "mot": read_mot,
    "dots": read_dots,
    "labelme": read_labelme,
    "cvat": read_cvat,
    "label-studio": read_label_studio,
    "kitti": read_kitti,
    "boxes": read_box_table,
}
POINTS, CVAT = "points.csv", "annotations.xml"
_START = 4096  # bytes of a file that are looked at


class Layout(NamedTuple):
    """Annotations that were recognised: their layout, where they are, and the folder that image names start from."""

    kind: Kind
    path: Path
    root: Path


def recognised(path: Path) -> Kind:
    """The layout of annotations, by what is there.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: it is none that is known.
    """
    if not path.exists():
        raise FileNotFoundError(f"annotations must be a file or folder, got {str(path)!r}, which is not there")
    kind = _of_folder(path) if path.is_dir() else _of_file(path)
    if kind is None:
        raise ValueError(
            "annotations must be COCO .json, Label Studio .json, points or boxes .csv, CVAT .xml, mall_gt.mat, or a "
            "folder of YOLO, KITTI or CARPK .txt, VOC .xml, LabelMe .json, dot masks, ShanghaiTech or UCF-QNRF "
            f".mat, or MOT gt/gt.txt, got {str(path)!r}; give one of them"
        )
    return kind


def counting_layouts(folder: Path) -> dict[str, Layout]:
    """The layouts of point data that a folder has beyond doubt, by the folder in it that each is for ("" = itself).

    Raises:
        ValueError: it holds several data sets.
    """
    itself = _certain(folder)
    if itself is not None:
        return {"": itself}
    found = {each.name: _certain(each) for each in sorted(folder.iterdir()) if each.is_dir() and is_split(each.name)}
    return {name: layout for name, layout in found.items() if layout is not None}


def is_split(name: str) -> bool:
    """Whether a folder of this name is a split, in any layout."""
    return re.fullmatch(r"(train|training|val|valid|validation|test|testing)(_data)?", name.lower()) is not None


def _certain(folder: Path) -> Layout | None:
    if (folder / "train_data").is_dir():
        return Layout("shanghaitech", folder, folder)
    parts = sorted(each.name for each in folder.glob("part_*") if (each / "train_data").is_dir())
    if parts:
        raise ValueError(
            f"data must be one part of ShanghaiTech, got {str(folder)!r}, which holds {' and '.join(parts)}; give "
            f"{str(folder / parts[0])!r}"
        )
    if (folder / MALL).is_file():
        return Layout("mall", folder / MALL, folder)
    if is_carpk(folder):
        return Layout("carpk", folder, folder)
    if _any(folder.glob("[Tt]rain/*_ann.mat")):
        return Layout("ucf-qnrf", folder, folder)
    if _any(folder.glob("gt/gt.txt")) or _any(folder.glob("*/gt/gt.txt")):
        return Layout("mot", folder, folder)
    if (folder / LABELS).is_dir():
        return Layout("kitti", folder, folder)
    if (folder / POINTS).is_file():
        return Layout("points", folder / POINTS, folder)
    return None


def _of_file(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return "label-studio" if re.match(rb"(\xef\xbb\xbf)?\s*\[\s*\{", _start(path)) else "coco"
    if suffix == ".csv":
        return "boxes" if is_box_table(path) else "points"
    kinds: dict[str, Kind] = {".xml": "cvat", ".mat": "mall"}
    return kinds.get(suffix)


def _of_folder(folder: Path) -> Kind | None:
    certain = _certain(folder)
    if certain is not None and certain.kind not in ("points", "mall"):  # those are files
        return certain.kind
    if folder.name == LABELS:
        return "kitti"
    matlab = next(files_of(folder, ".mat"), None)
    if matlab is not None:
        return "ucf-qnrf" if matlab.endswith("_ann.mat") else "shanghaitech"
    if next(files_of(folder, ".xml"), None):
        return "voc"
    if any(is_labelme(folder / name) for name in files_of(folder, ".json")):
        return "labelme"
    if label_files(folder)[1]:
        return "yolo"
    return "dots" if mask_files(folder) else None


def is_labelme(path: Path) -> bool:
    """Whether a file is LabelMe's, of one image."""
    return b'"shapes"' in _start(path)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_START)


def _any(paths: Iterable[Path]) -> bool:
    return next(iter(paths), None) is not None
