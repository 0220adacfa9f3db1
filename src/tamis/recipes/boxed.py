"""The data of a detector: images with boxes, opened with the size and the views that the configuration wants."""

import re
from collections.abc import Collection
from dataclasses import replace
from math import floor
from pathlib import Path

import numpy as np

from tamis.data import BoxedImages, BoxNoise, BoxViews, Quarantine, with_box_noise
from tamis.data.boxes import BoxSet, open_boxes
from tamis.data.folder import Split
from tamis.moment import seed_of
from tamis.recipes.config import SIZE, TrainConfig


def open_boxed(config: TrainConfig, forgiven: Collection[str] = ()) -> tuple[BoxedImages, BoxedImages | None]:
    """Open the images and boxes of a detector; arguments, answer and errors are those of `open_counted`."""
    train, validation = open_boxes(config.data, config.annotations)
    source = _source(train, config, "train", forgiven)
    if config.validation is not None:
        return source, boxed_like(config.validation, config, train.class_names)
    return source, None if validation is None else _source(validation, config, "validation")


def boxed_like(path: Path, config: TrainConfig, class_names: tuple[str, ...]) -> BoxedImages:
    """Other images with boxes of the same classes, whatever their order: their validation split, else all of them.

    Raises:
        ValueError: a class that the detector does not know.
    """
    train, validation = open_boxes(path)
    return _source(with_classes(validation or train, class_names, path), config, "validation")


def with_classes(found: BoxSet, class_names: tuple[str, ...], path: Path) -> BoxSet:
    """The same boxes, their classes numbered as in another list.

    Raises:
        ValueError: boxes of a class that is not in the list.
    """
    seen = {found.class_names[label] for labels in found.labels for label in labels.tolist()}
    if unknown := sorted(seen - set(class_names)):
        raise ValueError(
            f"classes must be among {', '.join(class_names)}, got {unknown[0]!r} in {str(path)!r}; map or remove it"
        )
    place = np.array([class_names.index(name) if name in class_names else -1 for name in found.class_names], np.int64)
    return replace(found, labels=tuple(place[labels] for labels in found.labels), class_names=class_names)


def made_noisy(source: BoxedImages, config: TrainConfig) -> tuple[BoxedImages, BoxNoise | None]:
    """The training images with wrong boxes, if the configuration asks for them, and what was done.

    Raises:
        ValueError: no such noise, or a flip where there is one class.
    """
    if config.noise == "none":
        return source, None
    return with_box_noise(source, config.noise, config.noise_ratio, seed_of(config.seed, "box noise"))  # pyright: ignore[reportArgumentType]


def size_of(config: TrainConfig) -> tuple[int, int] | None:
    """Width and height in pixels that the images are resized to; None = as they are."""
    found = None if config.size is None else re.fullmatch(SIZE, config.size)
    return None if found is None else (int(found[1]), int(found[2]))


def _source(found: BoxSet, config: TrainConfig, split: Split, forgiven: Collection[str] = ()) -> BoxedImages:
    allowed = floor(round(config.max_bad * len(found.names), 6))
    views = BoxViews(flip=config.flip, zoom=config.zoom, brightness=config.brightness, contrast=config.contrast)
    source = BoxedImages.from_boxes(
        found,
        size=size_of(config),
        views=views,
        workers=config.workers,
        quarantine=Quarantine(allowed, split, forgiven),
    )
    return source.held()
