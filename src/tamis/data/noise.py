"""Wrong labels, made or taken from people, with the clean ones kept beside them for the report.

Readings of the Data Parameters paper (Saxena et al. 2019, section 3.4) and of its published code.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tamis.data.cifar import CIFAR10_CLASSES

# Patrini et al. 2017, section 5: the pairs that people confuse. Given by name, because readers order classes freely.
CIFAR10_CONFUSIONS = {
    "truck": "automobile",
    "bird": "airplane",
    "deer": "horse",
    "cat": "dog",
    "dog": "cat",
}
_LARGEST_ARRAY = 1 << 20  # bytes; 50,000 int64 are 400,000
CIFAR10N_NAMES = ("aggre_label", "worse_label", "random_label1", "random_label2", "random_label3")


class Labelled(Protocol):
    """What of a source is needed to join labels to it."""

    @property
    def labels(self) -> Tensor:
        """int64 (n,)."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class."""
        ...

    @property
    def keys(self) -> Sequence[str]:
        """One a sample."""
        ...


@dataclass(frozen=True, eq=False)
class Noise:
    """Labels of which some are wrong.

    Attributes:
        kind: how they were made.
        ratio: what was asked for, in [0, 1]; with `symmetric` a drawn label may be the true one, so fewer change.
        labels: int64 (n,), to train on.
        clean: int64 (n,), the true ones; training never sees them.
    """

    kind: str
    ratio: float
    labels: Tensor
    clean: Tensor

    @property
    def changed(self) -> Tensor:
        """Which labels are wrong, bool (n,)."""
        return self.labels != self.clean

    def select(self, index: Tensor) -> "Noise":
        """The noise of a subset, int64 (m,) positions."""
        return Noise(self.kind, self.ratio, self.labels[index], self.clean[index])

    def summary(self) -> dict[str, str | float | int]:
        """Kind, ratio and the number of wrong labels, for the run's record."""
        return {"kind": self.kind, "ratio": self.ratio, "changed": int(self.changed.sum())}

    def told(self) -> str:
        """The same in a line."""
        changed, share = int(self.changed.sum()), 100 * float(self.changed.double().mean())
        return f"{self.kind} noise: {changed:,} labels ({share:.1f} %) are wrong now"


def symmetric(labels: Tensor, ratio: float, classes: int, generator: torch.Generator) -> Noise:
    """Replace each label with probability `ratio` by a class drawn uniformly from all `classes`.

    The drawn class may be the true one (as in the paper): ratio * (1 - 1 / classes) of the labels become wrong.

    Args:
        labels: int64 (n,), clean.
        ratio: in [0, 1].
        classes: number of classes.
        generator: where the randomness comes from.

    Raises:
        ValueError: ratio is outside [0, 1].
    """
    return _replaced("symmetric", labels, ratio, torch.randint(classes, labels.shape, generator=generator), generator)


def random_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Noise:
    """Replace every label by a class drawn uniformly (section 3.5: can the network still memorise?)."""
    drawn = torch.randint(classes, labels.shape, generator=generator)
    return Noise("random", 1.0, drawn, labels)


def asymmetric(
    labels: Tensor,
    ratio: float,
    class_names: Sequence[str],
    generator: torch.Generator,
    mapping: Mapping[int, int] | None = None,
) -> Noise:
    """Replace each label with probability `ratio` by the class it is confused with.

    Without a mapping CIFAR-10's classes get the usual one (truck to automobile, bird to airplane, deer to horse, cat
    and dog to each other; the others stay, so half of `ratio` becomes wrong), and any other classes the next class,
    the last one the first.

    Args:
        labels: int64 (n,), clean.
        ratio: in [0, 1].
        class_names: one name a class.
        generator: where the randomness comes from.
        mapping: from class to wrong class; classes that it leaves out stay as they are.

    Raises:
        ValueError: ratio is outside [0, 1], or the mapping names an unknown class.
    """
    classes = len(class_names)
    if mapping is None:
        mapping = _usual_mapping(class_names)
    table = torch.arange(classes)
    for source, target in mapping.items():
        if not (0 <= source < classes and 0 <= target < classes):
            raise ValueError(f"mapping must be between classes in [0, {classes}), got {source} to {target}")
        table[source] = target
    return _replaced("asymmetric", labels, ratio, table[labels], generator)


def permute(labels: Tensor, ratio: float, generator: torch.Generator) -> Noise:
    """Permute the labels among the first floor(ratio * n) samples (the published code, which permutes the images).

    The number of samples that take part is exact; some get a label of their own class back. In data that is sorted
    by class the first samples share few classes, and most labels stay right: shuffle such a source first.

    Args:
        labels: int64 (n,), clean.
        ratio: in [0, 1].
        generator: where the randomness comes from.

    Raises:
        ValueError: ratio is outside [0, 1].
    """
    _check_ratio(ratio)
    count = int(ratio * len(labels))
    noisy = labels.clone()
    noisy[:count] = labels[torch.randperm(count, generator=generator)]
    return Noise("permute", ratio, noisy, labels)


def from_cifar10n(path: str | Path, name: str, source: Labelled) -> Noise:
    """Human labels of CIFAR-10N (Wei et al. 2022) for the whole training set of CIFAR-10.

    The k-th sample of a class, by key, is the k-th entry of the file whose clean label is that class. The official
    order of classes is alphabetical; the source may have another.

    Args:
        path: `CIFAR-10_human.npz`.
        name: `aggre_label`, `worse_label`, `random_label1`, `random_label2` or `random_label3`; `_label` may be left
            out.
        source: all the training images, with clean labels.

    Raises:
        ValueError: the file is not such an archive or needs pickle; the name is unknown; the source's classes or
            their sizes are not those of the file.
    """
    matches = [known for known in CIFAR10N_NAMES if name in (known, known.replace("_label", ""))]
    if not matches:
        raise ValueError(f"name must be one of {', '.join(CIFAR10N_NAMES)}, got {name!r}")
    clean, given = _arrays(Path(path), ("clean_label", matches[0]))
    if sorted(source.class_names) != list(CIFAR10_CLASSES):
        raise ValueError(f"source must have CIFAR-10's classes {CIFAR10_CLASSES}, got {tuple(source.class_names)}")
    number = torch.tensor([source.class_names.index(name) for name in CIFAR10_CLASSES])
    clean, given = number[clean], number[given]
    sizes, wanted = (torch.bincount(labels, minlength=10).tolist() for labels in (source.labels, clean))
    if sizes != wanted:
        raise ValueError(
            f"source must have {wanted} samples a class, as CIFAR-10N has, got {sizes}; "
            "give it the whole training set, with its own labels, and select afterwards"
        )
    by_key = torch.tensor(sorted(range(len(source.keys)), key=source.keys.__getitem__))
    places = by_key[source.labels[by_key].argsort(stable=True)]
    noisy = torch.empty_like(source.labels)
    noisy[places] = given[clean.argsort(stable=True)]
    ratio = float((noisy != source.labels).double().mean())
    return Noise(f"cifar10n-{matches[0]}", ratio, noisy, source.labels)


def _replaced(kind: str, labels: Tensor, ratio: float, other: Tensor, generator: torch.Generator) -> Noise:
    _check_ratio(ratio)
    hit = torch.rand(labels.shape, generator=generator) < ratio
    return Noise(kind, ratio, torch.where(hit, other, labels), labels)


def _check_ratio(ratio: float) -> None:
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be in [0, 1], got {ratio!r}")


def _usual_mapping(class_names: Sequence[str]) -> dict[int, int]:
    names = [name.lower() for name in class_names]
    if sorted(names) == list(CIFAR10_CLASSES):
        return {names.index(source): names.index(target) for source, target in CIFAR10_CONFUSIONS.items()}
    return {number: (number + 1) % len(names) for number in range(len(names))}


def _array(file: zipfile.ZipFile, name: str) -> np.ndarray:
    member = file.getinfo(name)
    if member.file_size > _LARGEST_ARRAY or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} must be a deflated array of at most {_LARGEST_ARRAY} bytes, got {member.file_size}")
    return np.load(io.BytesIO(file.read(member)), allow_pickle=False)


def _arrays(path: Path, names: Sequence[str]) -> list[Tensor]:
    """Integer arrays of one length from an .npz file, values in [0, 10)."""
    try:
        with zipfile.ZipFile(path) as file:
            arrays = [_array(file, f"{name}.npy") for name in names]
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(
            f"file must be an .npz archive of plain arrays {', '.join(names)}, got {type(error).__name__}: "
            f"{str(error)!r} in {path.name!r}; a pickled file (CIFAR-10_human.pt) could run code and is not opened: "
            "convert it with its authors' tools"
        ) from error
    for name, array in zip(names, arrays, strict=True):
        bad = array.dtype.kind not in "iu" or array.ndim != 1 or len(array) != len(arrays[0])
        if bad or array.min(initial=0) < 0 or array.max(initial=0) > 9:
            raise ValueError(
                f"{name} must be whole numbers from 0 to 9, got {array.dtype} {array.shape} in {path.name!r}"
            )
    return [torch.from_numpy(array.astype(np.int64)) for array in arrays]
