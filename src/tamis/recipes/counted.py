"""The data of a counter: opened, with density maps and views as the configuration wants them."""

from collections.abc import Collection
from math import floor
from pathlib import Path

from tamis.data import CountedImages, CountViews, Quarantine
from tamis.data.density import Density
from tamis.data.density_cache import DensityCache
from tamis.data.folder import Split
from tamis.data.points import PointSet, open_points
from tamis.recipes.config import TrainConfig


def open_counted(config: TrainConfig, forgiven: Collection[str] = ()) -> tuple[CountedImages, CountedImages | None]:
    """Open the images and points of a counter.

    Args:
        config: of the training.
        forgiven: keys of training images that may be unreadable beyond `max_bad`.

    Returns:
        What to train on, and what to judge by if it comes with the data or is given.

    Raises:
        ValueError: no layout is recognised, or the points are not as they must be.
        UnreadableImage: too many images cannot be read.
    """
    train, validation = open_points(config.data, config.annotations, at=config.at)
    judged = None if validation is None else _source(validation, config, "validation")
    if config.validation is not None:
        judged = counted_like(config.validation, config)
    return _source(train, config, "train", forgiven), judged


def counted_like(path: Path, config: TrainConfig) -> CountedImages:
    """Other images to count, with maps as those of a training: their validation split, else all of them."""
    train, validation = open_points(path, at=config.at)
    return _source(validation or train, config, "validation")


def _source(found: PointSet, config: TrainConfig, split: Split, forgiven: Collection[str] = ()) -> CountedImages:
    allowed = floor(round(config.max_bad * len(found.names), 6))
    source = CountedImages.from_points(
        found,
        density=Density("adaptive" if config.density == "adaptive" else config.density_sigma),
        views=CountViews(patch=config.patch, flip=config.flip, brightness=config.brightness, contrast=config.contrast),
        workers=config.workers,
        cache=None if config.density_cache is None else DensityCache(config.density_cache),
        quarantine=Quarantine(allowed, split, forgiven),
    )
    return source.held()
