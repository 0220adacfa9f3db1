"""Lists of the images of a split: VOC's and KITTI's ImageSets, YOLO's data.yaml and train.txt."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tamis.data.annotations.columns import Unfit
from tamis.data.annotations.layouts import Layout
from tamis.data.annotations.reading import join_key, read_text
from tamis.data.annotations.yolo import read_yaml
from tamis.data.folder import Split, image_names

LIMIT = 256 << 20
_TRAIN, _VALIDATION = ("train", "trainval"), ("val", "valid", "validation", "test")


class Entry(NamedTuple):
    """An image that a list names, as it stands there, and the place of it."""

    name: str
    where: str


class Lists(NamedTuple):
    """What to train on, what to judge by, and what belongs to another split."""

    train: list[Entry]
    validation: list[Entry]
    others: list[Entry]

    def splits(self, names: Sequence[str]) -> tuple[list[Split | None], set[int], list[Entry]]:
        """The split of each image, those of another split, and the entries that are no image."""
        place = _Places(names)
        splits: list[Split | None] = [None] * len(names)
        missing = list[Entry]()
        lists: dict[Split, list[Entry]] = {"validation": self.validation, "train": self.train}
        for split, entries in lists.items():  # what is in both is trained on
            for entry in entries:
                position = place.find(entry.name)
                if position is None:
                    missing.append(entry)
                else:
                    splits[position] = split
        known = {place.find(entry.name) for entry in self.others}
        return splits, {position for position in known if position is not None and splits[position] is None}, missing


class _Places:
    """Positions of images by what a list may call them: with fewer folders in front, or with more."""

    def __init__(self, names: Sequence[str]) -> None:
        self._whole = {join_key(name): position for position, name in enumerate(names)}
        self._ends: dict[str, int | None] = {}
        for key, position in self._whole.items():
            parts = key.split("/")
            for start in range(1, len(parts)):
                end = "/".join(parts[start:])
                self._ends[end] = None if end in self._ends else position

    def find(self, name: str) -> int | None:
        """The position of an image, None where there is none or it is not certain."""
        for key in (join_key(name), join_key(f"{name}.x")):  # a number of an image has no suffix to take off
            parts = [part for part in key.split("/") if part not in ("", ".", "..")]
            for start in range(len(parts)):
                position = self._whole.get("/".join(parts[start:]))
                if position is not None:
                    return position
            position = self._ends.get("/".join(parts))
            if position is not None:
                return position
        return None


def split_lists(layout: Layout) -> Lists | None:
    """The lists of a data set; None where it has none for training.

    Raises:
        ValueError: one cannot be read.
    """
    if layout.kind == "yolo":
        folders = [layout.root, layout.path, layout.root.parent]
        found = next((each / "data.yaml" for each in folders if (each / "data.yaml").is_file()), None)
        lists = None if found is None else _of_yaml(found, layout.root)
        return lists or _of_folder(layout.root)
    if layout.kind in ("voc", "kitti"):
        tops = dict.fromkeys((layout.root, layout.path, layout.path.parent, layout.root.parent))
        found = (_of_folder(top / "ImageSets" / inner) for top in tops for inner in ("Main", ""))
        return next((lists for lists in found if lists), None)
    return None


def _of_folder(folder: Path) -> Lists | None:
    """train.txt and val.txt, or what they are called otherwise."""
    there = {word: folder / f"{word}.txt" for word in (*_TRAIN, *_VALIDATION) if (folder / f"{word}.txt").is_file()}
    train = next((word for word in _TRAIN if word in there), None)
    if train is None:
        return None
    judged_by = next((word for word in _VALIDATION if word in there), None)
    others = [entry for word in there if word not in (train, judged_by) for entry in _read(there[word])]
    return Lists(_read(there[train]), _read(there[judged_by]) if judged_by else [], others)


def _of_yaml(path: Path, root: Path) -> Lists | None:
    try:
        entries = read_yaml(path)
    except Unfit as error:
        raise ValueError(f"annotations must be readable, got {error} in {str(path)!r}; correct it") from error
    splits = {word: _expanded(entries.get(word), path, root) for word in ("train", "val", "test")}
    if not splits["train"]:
        return None
    judged_by = "val" if splits["val"] else "test"
    others = [] if judged_by == "test" else splits["test"]
    return Lists(splits["train"], splits[judged_by], others)


def _expanded(value: Any, path: Path, root: Path) -> list[Entry]:
    """The images of an entry of data.yaml: a folder, a list in a file, or several of these; below the root only."""
    entries = list[Entry]()
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, str):
            continue
        inner = PurePosixPath(*[part for part in PurePosixPath(each).parts if part not in ("/", "..", ".")])
        # Programs that wrote `path:` or ../ had the folder elsewhere: what counts is what is here.
        ends = [PurePosixPath(*inner.parts[start:]) for start in range(len(inner.parts))]
        there = next((root / end for end in ends if (root / end).exists()), None)
        if there is None:
            continue
        if there.is_dir():
            prefix = there.relative_to(root).as_posix()
            entries += [Entry(f"{prefix}/{name}", path.name) for name in sorted(image_names(there))]
        elif there.suffix == ".txt":
            entries += _read(there)
    return entries


def _read(path: Path) -> list[Entry]:
    try:
        lines = read_text(path, LIMIT).splitlines()
    except Unfit as error:
        raise ValueError(f"list of a split must be readable, got {error} in {str(path)!r}; correct it") from error
    return [Entry(line.strip(), f"{path.name}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
