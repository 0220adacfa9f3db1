"""How sigma of the training boxes went: by occlusion, by class, and of boxes that were made wrong on purpose."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tamis.report.box_reading import UNREADABLE, TrainedBoxes, read_loss, read_sigma
from tamis.report.records import Detection, spread
from tamis.report.suspicion import auroc, share_of_wrong

TOP = 0.4  # of the boxes, as in Fig. 4 of Saxena et al.
LEVELS = ("fully visible", "partly occluded", "largely occluded")
MADE = ("class flipped", "box shifted", "box invented")  # by noise, from 1
CLASSES = 6  # with the most boxes
_EPOCHS = 60  # of more, so many that are equally far apart


@dataclass
class BoxHistory:
    """Figures of sigma after each epoch, and of each box at the end.

    Attributes:
        classes: int64 (c,), those with the most boxes.
        epochs: from 0, those that could be read.
        by_level: float64 (3,) for each epoch, geometric mean of sigma by occlusion, of right boxes; NaN without any.
        by_class: float64 (c,) for each epoch, likewise.
        noise: for each epoch, how far the boxes stand out that were made wrong; empty where none was.
        sigma, loss: float32 (m,), at the end, and when last shown (NaN = never).
        unread: names of the epochs' files that could not be read, or have other boxes: the data changed.
    """

    classes: np.ndarray
    epochs: list[int] = field(default_factory=list)
    by_level: list[np.ndarray] = field(default_factory=list)
    by_class: list[np.ndarray] = field(default_factory=list)
    noise: list[Detection] = field(default_factory=list)
    sigma: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    loss: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    unread: list[str] = field(default_factory=list)


def read_box_history(files: dict[int, Path], boxes: TrainedBoxes) -> BoxHistory:
    """Go through the epochs' files, one at a time; `epochs` is empty where none can be read."""
    often = np.bincount(boxes.label)
    order = np.argsort(-often, kind="stable")[:CLASSES]
    history = BoxHistory(order[often[order] > 0])
    for epoch in _apart(list(files), _EPOCHS):
        try:
            sigma, loss = read_sigma(files[epoch], boxes), read_loss(files[epoch], boxes)
        except UNREADABLE:
            history.unread.append(files[epoch].name)
            continue
        if not np.isfinite(sigma).any():
            continue
        _add(history, epoch, sigma, boxes)
        before = history.loss if len(history.loss) else loss
        history.sigma, history.loss = sigma, np.where(np.isfinite(loss), loss, before)
    return history


def _add(history: BoxHistory, epoch: int, sigma: np.ndarray, boxes: TrainedBoxes) -> None:
    history.epochs.append(epoch)
    right = np.where(boxes.right, sigma, np.nan)
    history.by_class.append(_means(right, boxes.label)[history.classes])
    if boxes.occlusion is not None:
        known = (boxes.occlusion >= 0) & (boxes.occlusion < len(LEVELS))
        history.by_level.append(_means(right, np.where(known, boxes.occlusion, len(LEVELS)))[: len(LEVELS)])
    if boxes.noise is not None:
        history.noise.append(_detect(epoch, sigma, ~boxes.right))


def _means(sigma: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Geometric mean of the finite values of each group, NaN where there is none; for all levels or more."""
    finite = np.isfinite(sigma)
    count = np.bincount(group[finite], minlength=max(len(LEVELS), int(group.max()) + 1))
    total = np.bincount(group[finite], weights=np.log(sigma[finite]), minlength=len(count))
    return np.exp(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


def _detect(epoch: int, sigma: np.ndarray, wrong: np.ndarray) -> Detection:
    count = round(TOP * np.isfinite(sigma).sum())
    order = np.argsort(-sigma, kind="stable")
    return Detection(
        epoch=epoch,
        clean=spread(sigma[~wrong]),
        wrong=spread(sigma[wrong]),
        top_share=share_of_wrong(order, sigma, wrong, count),
        auroc=auroc(sigma, wrong),
        fitted=math.nan,
    )


def _apart(epochs: Sequence[int], most: int) -> list[int]:
    """At most so many of them, equally far apart, the first and the last among them."""
    if len(epochs) <= most:
        return list(epochs)
    return [epochs[at] for at in np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int)).tolist()]


def moments(epochs: Sequence[int]) -> list[int]:
    """The epochs at the start, a quarter, half, three quarters and the end of a training, without repeats."""
    return _apart(epochs, 5)
