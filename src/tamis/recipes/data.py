"""The data of a run: opened, with wrong labels if asked for, and a part held out if there is no validation set."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor

from tamis.data import (
    BoxedImages,
    BoxNoise,
    CountedImages,
    Images,
    MemoryImages,
    Noise,
    PadCrop,
    ResizedCrop,
    asymmetric,
    from_cifar10n,
    held_out,
    open_images,
    open_splits,
    permute,
    random_labels,
    symmetric,
)
from tamis.moment import seed_of
from tamis.recipes.boxed import boxed_like, made_noisy, open_boxed
from tamis.recipes.config import TrainConfig
from tamis.recipes.counted import counted_like, open_counted
from tamis.recipes.reconcile import Known, reconcile
from tamis.rules import quantile_bins

_BINS = 4  # of equally many images by count


@dataclass(frozen=True)
class Data:
    """What a run trains on and is judged by.

    Attributes:
        train: the training samples, with the labels that are trained on.
        validation: the samples it is judged by.
        noise: what was done to the labels, if anything.
        known: of a run that goes on, what it knows of this data.
        box_noise: what was done to the boxes, if anything.
    """

    train: Images
    validation: Images
    noise: Noise | None = None
    known: Known | None = None
    box_noise: BoxNoise | None = None

    @property
    def there(self) -> Tensor:
        """Positions of the training samples that were not removed since the run began, int64 (m,)."""
        return torch.arange(len(self.train)) if self.known is None else (~self.known.gone).nonzero().flatten()

    @property
    def remembered(self) -> Images:
        """The training samples that a run is to know them by: without wrong boxes, which are made again of these."""
        return self.train if self.box_noise is None else self.box_noise.true

    @property
    def made_wrong(self) -> Noise | BoxNoise | None:
        """What was made wrong on purpose, labels or boxes."""
        return self.noise if self.box_noise is None else self.box_noise

    @property
    def quarantined(self) -> dict[str, str]:
        """Why images could not be read so far, by key."""
        return self.train.quarantine.reasons | self.validation.quarantine.reasons


def load(config: TrainConfig, run: Path | None = None, *, accept: bool = False) -> Data:
    """Open the data, make labels or boxes wrong if asked for, and hold a part out if there is no validation set.

    The images to judge by keep their own labels and boxes: only what is trained on gets the noise.

    Args:
        config: of the training.
        run: a run that goes on, or that is looked at: the data comes back as this run knows it.
        accept: accept that samples were added, removed or edited since.

    Raises:
        ValueError: the data is not there or not as it must be, nothing can be held out of it, or it is not that of the
            run.
    """
    listed = () if config.exclude is None else _listed(config.exclude)
    train, validation = open_splits_of(config, listed)
    if run is not None:
        known = reconcile(run, train, validation, accept=accept, how=config.fingerprint)
        if isinstance(known.train, BoxedImages):
            return _noisy(known.train, known.validation, config, known)
        noise = None
        if known.clean is not None:
            noise = Noise(config.noise, config.noise_ratio, known.train.labels, known.clean)
        return Data(_augmented(known.train, config), known.validation, noise, known)
    noise = None if isinstance(train, BoxedImages) else make_noise(config, train)
    if validation is None:
        chosen = _held_out(train, config)
        validation = train.select(chosen.nonzero().flatten())
        rest = (~chosen).nonzero().flatten()
        train, noise = train.select(rest), noise and noise.select(rest)
    if isinstance(train, BoxedImages):
        return _noisy(train, validation, config)
    train = _augmented(train, config)
    return Data(train if noise is None else train.with_labels(noise.labels), validation, noise)


def _noisy(train: BoxedImages, validation: Images, config: TrainConfig, known: Known | None = None) -> Data:
    noisy, noise = made_noisy(train, config)
    return Data(noisy, validation, None, known, noise)


def open_splits_of(config: TrainConfig, forgiven: Sequence[str] = ()) -> tuple[Images, Images | None]:
    """Open the splits of a configuration's data as they are; arguments and answer are those of `open_splits`."""
    if config.task == "counting":
        return open_counted(config, forgiven)
    if config.task == "detection":
        return open_boxed(config, forgiven)
    size, workers, max_bad = config.image_size, config.workers, config.max_bad
    train, validation = open_splits(config.data, size=size, workers=workers, max_bad=max_bad, forgiven=forgiven)
    if config.validation is not None:
        validation = open_like(config.validation, config, train, "validation")
    return train, validation


def open_like(path: Path, config: TrainConfig, train: Images, name: str) -> Images:
    """Open other images for a model of `train`: with its classes, and for images held in memory of its size.

    Args:
        path: a data set; its split called `name` if it has one, else its training split.
        config: of the training.
        train: the training images.
        name: what a message calls the other images.

    Raises:
        ValueError: the other images do not fit.
    """
    if config.task == "counting":
        return counted_like(path, config)
    if config.task == "detection":
        return boxed_like(path, config, train.class_names)
    size, workers, max_bad = config.image_size, config.workers, config.max_bad
    judged = name == "validation"
    other = open_images(path, "validation", size=size, workers=workers, max_bad=max_bad) if judged else None
    other = other or open_images(path, size=size, workers=workers, max_bad=max_bad)
    if other.class_names != train.class_names:
        raise ValueError(
            f"{name} must have the classes of the training images, {_few(train.class_names)}, got "
            f"{_few(other.class_names)} in {str(path)!r}; give both the same class folders"
        )
    if _form(other) != _form(train):
        raise ValueError(
            f"{name} images must be as the training images, {_form(train)}, got {_form(other)} in {str(path)!r}; "
            "resize them"
        )
    return other.with_scale(train.mean, train.std)


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (f", ... ({len(names)})" if len(names) > 8 else "")


def _form(source: Images) -> str:
    if isinstance(source, MemoryImages):
        channels, height, width = source.images.shape[1:]
        return f"{width} x {height} pixels in {'grey' if channels == 1 else 'colour'}"
    return "of various or large sizes"


def _held_out(train: Images, config: TrainConfig) -> Tensor:
    # Few images have the same count: they are held out of bins.
    bins = train.labels if config.task == "classification" else quantile_bins(train.labels.float(), _BINS)
    try:
        return held_out(bins, config.hold_out, seed_of(config.seed, "hold out"))
    except ValueError as error:
        parts = "classes" if config.task == "classification" else "bins"
        raise ValueError(
            f"hold_out must leave at least one image to judge by, got {config.hold_out!r} of {len(train)} images in "
            f"{len(bins.unique())} {parts}; raise it, add images, or give --validation"
        ) from error


def _augmented(train: Images, config: TrainConfig) -> Images:
    if isinstance(train, CountedImages | BoxedImages):
        return train  # its views come with it
    if isinstance(train, MemoryImages):
        return train.with_augmentation(PadCrop(flip=config.flip, pad=config.crop))
    return train.with_augmentation(ResizedCrop(size=config.image_size, flip=config.flip))


def make_noise(config: TrainConfig, source: Images) -> Noise | None:
    """The noise that the configuration asks for, on the labels of a source."""
    if config.noise == "none":
        return None
    generator = torch.Generator().manual_seed(seed_of(config.seed, "label noise"))
    labels, ratio, classes = source.labels, config.noise_ratio, len(source.class_names)
    if config.noise == "symmetric":
        return symmetric(labels, ratio, classes, generator)
    if config.noise == "permute":
        return permute(labels, ratio, generator)
    if config.noise == "asymmetric":
        return asymmetric(labels, ratio, source.class_names, generator)
    if config.noise == "random":
        return random_labels(labels, classes, generator)
    if not config.noise.endswith(".npz"):
        raise ValueError(
            f"noise must be none, symmetric, permute, asymmetric, random or a CIFAR-N .npz file, got {config.noise!r}"
        )
    if not Path(config.noise).is_file():
        raise FileNotFoundError(f"noise must be a file that is there, got {config.noise!r}; correct the path")
    return from_cifar10n(config.noise, config.noise_name, source)


def excluded(path: Path, data: Data) -> Tensor:
    """Which training samples a file lists: bool (n,).

    A key of a validation image is known, but has no effect: what a run is judged by stays the same. So is that of an
    image that cannot be read.

    Args:
        path: a key in each line, or a CSV with a column "key", where the quote that `suspects.csv` sets before
            = + - @ is taken off again.
        data: the data of the run.

    Raises:
        ValueError: the file is no such list, or a key is none of the data's.
        FileNotFoundError: there is no such file.
    """
    known = {*data.train.keys, *data.validation.keys, *data.quarantined}
    wanted = {key if key in known else key.removeprefix("'") for key in _listed(path)}
    unknown = sorted(wanted - known)
    if unknown:
        raise ValueError(
            f"exclude must list keys of the data, such as {data.train.keys[0]!r}, got {unknown[0]!r} in {str(path)!r}"
            + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else "")
            + "; correct them or take them out"
        )
    return torch.tensor([key in wanted for key in data.train.keys])


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"exclude must be a file that is there, got {str(path)!r}; correct the path")
    try:
        if path.suffix.lower() != ".csv":
            return [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if "key" not in (table.fieldnames or ()):
                raise ValueError(f"exclude must have a column key, got {table.fieldnames} in {str(path)!r}; name it so")
            return [row["key"] for row in table if row["key"]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"exclude must be text in UTF-8, got {str(error)!r} in {str(path)!r}; save it so") from error


def hold_to_samples(run: Path, train: Images) -> None:
    """Make sure that a run was trained on exactly these samples: its history counts them by position.

    Raises:
        ValueError: keys or labels differ.
    """
    table = pq.read_table(run / "ledger" / "samples.parquet", columns=["key", "label"])
    before = zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True)
    now = zip(train.keys, train.labels.tolist(), strict=True)
    for old, new in zip_longest(before, now):
        if old != new:
            raise ValueError(
                f"data must be the {len(table)} samples that {str(run)!r} was trained on, got {len(train)}, which "
                f"differ from {(new or old)[0]!r} on; put them back as they were, or train in another --out"
            )
