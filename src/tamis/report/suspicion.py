"""Which labels look wrong, and how well that can be told where the clean labels are known."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis.report.reading import History, Samples, read_history, read_samples


@dataclass(frozen=True)
class Suspect:
    """A sample whose label, points or boxes look wrong.

    Attributes:
        index: position in the training data.
        key: stable name.
        label: class trained on; the number of points in counting, of boxes in detection.
        predicted: class predicted when the sample was last shown; None if it never was, and where labels are counts.
        score: sigma of the instance if the run has one, else the mean score or loss over the epochs; higher is worse.
        clean_label: the true class where it is known.
        count, predicted_count: in counting, of the view (the whole image, or a patch) that was shown last.
    """

    index: int
    key: str
    label: int
    predicted: int | None
    score: float
    clean_label: int | None
    count: float | None = None
    predicted_count: float | None = None


def ranking(score: np.ndarray, mean_loss: np.ndarray) -> np.ndarray:
    """Int64 (n,) sample indices, highest score first; ties by mean loss, then by index; NaN last.

    Many sigmas may stand at the upper clamp; among them the higher loss is the more suspicious.
    """
    return np.lexsort((-mean_loss, -score))


def ranked_suspects(samples: Samples, history: History, count: int) -> list[Suspect]:
    """The `count` samples with the highest suspicion; samples never scored, or no longer there, are left out."""
    score = np.where(samples.gone, np.nan, history.suspicion)
    order = ranking(score, history.mean_loss)[:count]
    order = order[np.isfinite(score[order])]
    keys = samples.keys.take(order).to_pylist()
    return [
        Suspect(
            index=int(index),
            key=key,
            label=int(samples.label[index]),
            predicted=int(history.predicted[index]) if history.predicted[index] >= 0 else None,
            score=float(score[index]),
            clean_label=None if samples.clean is None else int(samples.clean[index]),
            count=_known(float(history.count[index])),
            predicted_count=_known(float(history.predicted_count[index])),
        )
        for index, key in zip(order, keys, strict=True)
    ]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def suspects(run: Path, count: int) -> list[Suspect]:
    """The labels, points or boxes of a run that look most wrong, read from the ledger alone.

    Ranked by the instance's sigma (Saxena et al. 2019, Section 3.2) if the run learned one, else by the mean loss
    over the epochs in which the sample was shown (in counting and detection by the mean score, which makes images of
    different size comparable if it is per pixel); ties go by that loss, then by index.

    Args:
        run: the run folder; it may still be training.
        count: how many, at least 1.

    Raises:
        ValueError: count < 1.
        FileNotFoundError: the folder has no ledger.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count!r}; leave out the list instead of asking for none")
    samples = read_samples(run)
    return ranked_suspects(samples, read_history(run, samples), count)


def auroc(score: np.ndarray, wrong: np.ndarray) -> float:
    """Chance that a wrong label scores higher than a right one, ties counting half; NaN if either is absent.

    Args:
        score: float (n,); entries that are not finite are left out.
        wrong: bool (n,).
    """
    finite = np.isfinite(score)
    positive, negative = score[finite & wrong], np.sort(score[finite & ~wrong])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.mean() / 2 / len(negative))


def share_of_wrong(order: np.ndarray, score: np.ndarray, wrong: np.ndarray, count: int) -> float:
    """Share of wrong labels among the first `count` of a ranking; NaN if none of them is scored.

    Args:
        order: int64 (n,), sample indices, as `ranking` gives them.
        score: float (n,); entries that are not finite are left out.
        wrong: bool (n,).
        count: how many to look at.
    """
    order = order[:count]
    order = order[np.isfinite(score[order])]
    return float(wrong[order].mean()) if len(order) else float("nan")
