"""Both splits of a data set in one table: key, label, split, signature."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tamis.data.decode import Files
from tamis.data.folder import Split, is_webvision
from tamis.data.images import FileImages
from tamis.data.inspection.signatures import Told, read_signatures
from tamis.data.open import Images


@dataclass(frozen=True, eq=False)
class Samples:
    """All samples of a data set, the training samples first.

    Attributes:
        keys: n names; unique within a split.
        labels: int64 (n,), in `class_names`.
        class_names: of both splits together.
        train: how many of them are for training.
        signatures: SIGNATURE (n,), see `tamis.data.inspection.signatures`.
        reasons: why an image cannot be read, by position.
    """

    keys: Sequence[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    train: int
    signatures: np.ndarray
    reasons: dict[int, str]

    def __len__(self) -> int:
        return len(self.keys)

    def split(self, position: int) -> Split:
        """Of which split a sample is."""
        return "train" if position < self.train else "validation"

    def label(self, position: int) -> str:
        """The name of a sample's class."""
        return self.class_names[self.labels[position]]

    def counts(self) -> np.ndarray:
        """Samples of each class: int64 (2, classes), for training and for validation."""
        parts = (self.labels[: self.train], self.labels[self.train :])
        return np.stack([np.bincount(part, minlength=len(self.class_names)) for part in parts])

    def contents(self) -> np.ndarray:
        """Numbers of the pictures, int64 (n,): the same where all pixels are the same; -1 where it cannot be read.

        Numbered from 0, in the order in which the pictures come.
        """
        look = self.signatures
        shape = look["width"].astype(np.uint64) << np.uint64(32) | look["height"]
        rows = np.column_stack([look["pixels"], shape])[look["readable"]]
        _, start, number = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        rank = np.empty(len(start), np.int64)
        rank[np.argsort(start)] = np.arange(len(start))
        found = np.full(len(self), -1)
        found[look["readable"]] = rank[number.ravel()]
        return found

    @classmethod
    def of(cls, parts: Sequence[tuple[Images, np.ndarray, dict[int, str]]]) -> Self:
        """Put a training source and, if there is one, a validation source together, with what was read of them."""
        names = list(dict.fromkeys(name for source, _, _ in parts for name in source.class_names))
        number = {name: place for place, name in enumerate(names)}
        labels = [
            np.array([number[name] for name in source.class_names])[source.labels.numpy()] for source, _, _ in parts
        ]
        reasons = {place: reason for place, reason in parts[0][2].items()}
        for _, _, later in parts[1:]:
            reasons |= {len(parts[0][0]) + place: reason for place, reason in later.items()}
        return cls(
            [key for source, _, _ in parts for key in source.keys],
            np.concatenate(labels),
            tuple(names),
            len(parts[0][0]),
            np.concatenate([found for _, found, _ in parts]),
            reasons,
        )


def read_samples(train: Images, validation: Images | None, *, workers: int = 0, told: Told | None = None) -> Samples:
    """Read every image of both splits once; `told` is called with the number of those that are read."""
    sources = [train] if validation is None else [train, validation]
    parts = []
    for source in sources:
        before = sum(len(each) for each, _, _ in parts)
        count = None if told is None else lambda done, before=before: told(before + done)
        parts.append((source, *read_signatures(source, workers=workers, told=count)))
    return Samples.of(parts)


def empty_folders(source: Images) -> list[str]:
    """Folders that lie where the class folders of the source lie, but hold no image; none in other layouts."""
    if not isinstance(source, FileImages) or not isinstance(source.read, Files):
        return []
    root, first = source.read.root, source.read.names[0].split("/")
    depth = next((place for place in (0, 1) if first[place] == source.class_names[source.labels[0]]), None)
    if depth is None or is_webvision(root) or not root.is_dir():
        return []
    used = {name.split("/")[depth] for name in source.read.names}
    beside = sorted(path for path in root.joinpath(*first[:depth]).iterdir() if path.is_dir())
    return [
        path.relative_to(root).as_posix() for path in beside if path.name not in used and not path.name.startswith(".")
    ]
