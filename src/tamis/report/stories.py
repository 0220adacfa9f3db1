"""Everything a run knows of one sample."""

import difflib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.report.reading import Samples, decision_paths, parts_by_epoch, read_history, read_samples
from tamis.report.suspicion import ranking

# difflib compares about 50,000 keys a second: more than that would keep a person waiting.
NEAREST_AMONG = 50_000


@dataclass(frozen=True)
class EpochStory:
    """One sample in one epoch (from 0); the figures are None where it was hidden or not shown.

    Attributes:
        margin: logit of the given class minus the largest other; negative if the prediction is another class.
        weight: factor on the loss; 0 where the sample was hidden.
        sigma: the instance's, after the step.
        hidden: why the sample was hidden, None where it was shown.
        rank: its place by score then, 1 = lowest, among the `of` scored samples that the rule saw; None if not known.
        paced: how many of these the pace showed, where it was the pace that hid the sample.
        score: what the ledger was told, where the task tells it apart from the loss.
        count, predicted_count: in counting, of the view (the whole image, or a patch) that was shown.
        boxes: in detection, how many there were on the view that was shown.
    """

    epoch: int
    loss: float | None = None
    margin: float | None = None
    correct: bool | None = None
    predicted: int | None = None
    weight: float | None = None
    sigma: float | None = None
    hidden: str | None = None
    rank: int | None = None
    of: int | None = None
    paced: int | None = None
    score: float | None = None
    count: float | None = None
    predicted_count: float | None = None
    boxes: float | None = None


@dataclass(frozen=True)
class SampleStory:
    """One sample over a run.

    Attributes:
        measure: what the rank is by, "sigma", "mean score" or "mean loss".
        score: that figure at the end; None if the sample was never scored.
        rank: 1 for the most suspicious of `count` scored samples; None if never scored.
        epochs: one entry for each epoch of the ledger.
    """

    index: int
    key: str
    label: int
    clean_label: int | None
    measure: str
    score: float | None
    rank: int | None
    count: int
    epochs: tuple[EpochStory, ...]


def explain_sample(run: Path, key_or_index: str | int) -> SampleStory:
    """Tell what happened to one sample, epoch by epoch.

    Args:
        run: the run folder; it may still be training.
        key_or_index: the sample's key, or its index (an int, or digits that are no key).

    Raises:
        ValueError: there is no such sample; the message names the nearest key.
        FileNotFoundError: the folder has no ledger.
    """
    samples = read_samples(run)
    index = _find(samples, key_or_index)
    history = read_history(run, samples)
    score = history.suspicion
    scored = bool(np.isfinite(score[index]))
    return SampleStory(
        index=index,
        key=samples.keys[index].as_py(),
        label=int(samples.label[index]),
        clean_label=None if samples.clean is None else int(samples.clean[index]),
        measure=history.measure,
        score=float(score[index]) if scored else None,
        rank=int(np.flatnonzero(ranking(score, history.mean_loss) == index)[0]) + 1 if scored else None,
        count=int(np.isfinite(score).sum()),
        epochs=_epochs(run, index),
    )


def _find(samples: Samples, key_or_index: str | int) -> int:
    if isinstance(key_or_index, str):
        position = pc.index(samples.keys, pa.scalar(key_or_index, samples.keys.type)).as_py()
        if position >= 0:
            return position
        if not key_or_index.isdecimal():
            raise ValueError(
                f"sample must be a key or an index of the run, got {key_or_index!r}; {_hint(samples, key_or_index)}"
            )
    index = int(key_or_index)
    if not 0 <= index < len(samples):
        raise ValueError(
            f"index must be in [0, {len(samples)}), got {index!r}; keys look like {samples.keys[0].as_py()!r}"
        )
    return index


def _hint(samples: Samples, key: str) -> str:
    keys = samples.keys
    if len(keys) > NEAREST_AMONG:
        length = pc.call_function("utf8_length", [keys]).to_numpy(zero_copy_only=False)
        keys = keys.take(np.argsort(np.abs(length - len(key)), kind="stable")[:NEAREST_AMONG])
    nearest = difflib.get_close_matches(key, keys.to_pylist(), n=1, cutoff=0.3)
    return f"the nearest key is {nearest[0]!r}" if nearest else f"keys look like {samples.keys[0].as_py()!r}"


def _epochs(run: Path, index: int) -> tuple[EpochStory, ...]:
    chosen = [("index", "==", index)]
    stories = {}
    for path in decision_paths(run):
        for row in pq.read_table(path, filters=chosen).to_pylist():
            stories[row["epoch"]] = _hidden(path, row)
    for epoch, paths in parts_by_epoch(run).items():
        stories.setdefault(epoch, EpochStory(epoch))
        for path in paths:
            for row in pq.read_table(path, filters=chosen).to_pylist():
                stories[epoch] = _shown(epoch, row)
    return tuple(story for _, story in sorted(stories.items()))


def _hidden(path: Path, row: dict[str, Any]) -> EpochStory:
    epoch, reason, of = row["epoch"], row["reason"], row.get("of")  # earlier versions wrote no places
    paced = None
    if of is not None and (reason or "").startswith("waits: "):
        waiting = [("epoch", "==", epoch), ("reason", "==", reason), ("of", ">", 0)]
        paced = of - len(pq.read_table(path, columns=["epoch"], filters=waiting))
    return EpochStory(epoch, weight=row["weight"], hidden=reason, rank=row.get("rank"), of=of, paced=paced)


def _shown(epoch: int, row: dict[str, Any]) -> EpochStory:
    log_sigma = row.get("log_sigma")
    sigma = None if log_sigma is None or math.isnan(log_sigma) else math.exp(log_sigma)
    names = ("loss", "margin", "correct", "predicted", "weight", "score", "count", "predicted_count", "boxes")
    figures = {name: row.get(name) for name in names}
    return EpochStory(epoch, sigma=sigma, **figures)
