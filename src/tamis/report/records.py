"""A run as the report sees it: what run.json, metrics.jsonl and result.json say, beside the ledger's figures."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from tamis.report.curriculum import Curriculum, read_curriculum, read_scores
from tamis.report.detection_reading import JudgedBoxes, read_boxes
from tamis.report.incidents import Incidents, read_incidents
from tamis.report.predictions import Predictions, read_predictions
from tamis.report.reading import Hidden, History, Samples, Snapshot, read_hidden, read_samples, snapshots
from tamis.report.suspicion import auroc, ranking, share_of_wrong


class Detection(NamedTuple):
    """How well wrong labels stand out after an epoch; needs clean labels.

    Attributes:
        clean, wrong: (mean, 10th, 90th percentile) of the suspicion of right and of wrong labels.
        top_share: share of wrong labels among the (number of wrong labels) highest.
        auroc: chance that a wrong label ranks above a right one.
        fitted: share of the wrong labels that the model predicts as given: what it has memorised.
    """

    epoch: int
    clean: tuple[float, float, float]
    wrong: tuple[float, float, float]
    top_share: float
    auroc: float
    fitted: float


class Mark(NamedTuple):
    """Validation at an epoch (from 0): accuracy in [0, 1], loss; NaN where unknown."""

    epoch: int
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Record:
    """One run, read.

    Attributes:
        about: run.json.
        metrics: the lines of metrics.jsonl, one for each epoch in order, at least one.
        result: result.json, or None while the run has not ended.
        detection: one entry for each epoch of the ledger; empty where no clean labels are known.
        incidents: images that could not be read, and accepted changes of the data.
        curriculum: who was left out by score, or None where nobody was.
        predictions: of the validation images, in counting, once the run has ended.
        boxes: likewise, in detection.
        notes: what was left out in reading, for the page to say.
    """

    folder: Path
    name: str
    about: dict[str, Any]
    metrics: Sequence[dict[str, Any]]
    result: dict[str, Any] | None
    samples: Samples
    history: History
    hidden: Hidden
    detection: Sequence[Detection]
    incidents: Incidents
    notes: Sequence[str]
    curriculum: Curriculum | None = None
    predictions: Predictions | None = None
    boxes: JudgedBoxes | None = None

    def column(self, *path: str) -> np.ndarray:
        """Float64 (epochs,) of a figure of the metrics, NaN where it is null or absent."""
        return np.array([_dig(row, path) for row in self.metrics])

    @property
    def config(self) -> dict[str, Any]:
        """The training's settings."""
        return self.about.get("config") or {}

    @property
    def task(self) -> str:
        """What the run trained: counting, detection, or classification (also where it does not say)."""
        return _task(self.about)

    @property
    def counting(self) -> bool:
        """Whether the run trained a counter."""
        return self.task == "counting"

    @property
    def epochs(self) -> int | None:
        """How many the training has; None where nothing says so."""
        return self.about.get("epochs") or self.config.get("epochs")

    @property
    def class_names(self) -> list[str]:
        """Names by class number, as many as the labels need; none where labels are counts."""
        if self.task != "classification":
            return []
        data = self.about.get("data") or {}
        names = [str(name) for name in data.get("class_names") or []]
        seen = [self.samples.label.max(initial=-1), self.history.predicted.max(initial=-1)]
        if self.samples.clean is not None:
            seen.append(self.samples.clean.max(initial=-1))
        return names + [f"class {number}" for number in range(len(names), int(max(seen)) + 1)]

    @property
    def last(self) -> Mark:
        """The last epoch."""
        return self._mark("last")

    @property
    def best(self) -> Mark:
        """The epoch with the highest validation accuracy, the first of equals."""
        return self._mark("best")

    def _mark(self, name: Literal["last", "best"]) -> Mark:
        row = self.judged(name)
        return Mark(row["epoch"], _dig(row, ["accuracy"]), _dig(row, ["loss"]))

    def judged(self, name: Literal["last", "best"]) -> dict[str, Any]:
        """The validation figures of an epoch, and its number as "epoch".

        The best has the highest accuracy, the lowest mae in counting, the highest map50 in detection, the first of
        equals.
        """
        row = (self.result or {}).get(name)
        if not row or row.get("epoch") is None:
            name_of = {"counting": "mae", "detection": "map50"}
            metric = self.column("validation", name_of.get(self.task, "accuracy"))
            metric = -metric if self.counting else metric
            at = int(np.nanargmax(metric)) if name == "best" and np.isfinite(metric).any() else -1
            row = {"epoch": self.metrics[at]["epoch"], **(self.metrics[at].get("validation") or {})}
        return row | {"epoch": int(row["epoch"])}

    def figure(self, name: Literal["last", "best"], metric: str) -> float:
        """A validation figure of the last or the best epoch; NaN where it is not known."""
        return _dig(self.judged(name), [metric])

    @property
    def held_out(self) -> int:
        """How many validation images there are."""
        return int((self.about.get("data") or {}).get("validation") or 0)

    @property
    def not_finite(self) -> dict[int, int]:
        """Losses that were NaN or infinite, by epoch (from 0), where there were any."""
        counts = self.column("not_finite")
        return {
            int(row["epoch"]): int(count)
            for row, count in zip(self.metrics, counts, strict=True)
            if 0 < count < math.inf
        }

    @cached_property
    def scores(self) -> np.ndarray:
        """Float (n,), what the samples are sorted by: scores from before the training, else those of its end."""
        return read_scores(self.folder, len(self.samples))[0]

    @cached_property
    def wrong_count(self) -> int:
        """How many labels are known to be wrong; 0 if none is, or if it is not known."""
        wrong = self.samples.wrong
        return 0 if wrong is None else int(wrong.sum())


def _dig(row: Any, path: Sequence[str]) -> float:
    for name in path:
        row = row.get(name) if isinstance(row, dict) else None
    return float(row) if isinstance(row, int | float) else math.nan


def read_record(folder: Path, name: str) -> Record:
    """Read a run folder, finished or still training.

    Raises:
        FileNotFoundError: run.json or the ledger is missing.
        ValueError: no epoch is finished.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"run must have run.json, got none in {str(folder)!r}; give the folder that `tamis train` wrote"
        )
    metrics, notes = read_metrics(folder / "metrics.jsonl")
    result = folder / "result.json"
    samples, incidents = read_samples(folder), read_incidents(folder)
    history = History(len(samples))
    detection = [_detect(shot, samples) for shot in snapshots(folder, history)]
    about = json.loads(path.read_text(encoding="utf-8"))
    predictions, boxes = None, None
    try:
        if _task(about) == "detection":
            boxes = read_boxes(folder)
        else:
            predictions = read_predictions(folder)
    except ValueError as error:
        notes.append(f"what it predicts of each image is left out: {error}")
    return Record(
        folder=folder,
        name=name,
        about=about,
        metrics=metrics,
        result=json.loads(result.read_text(encoding="utf-8")) if result.is_file() else None,
        samples=samples,
        history=history,
        hidden=read_hidden(folder, len(samples)),
        detection=[entry for entry in detection if entry is not None],
        incidents=incidents,
        notes=[*notes, *incidents.notes],
        curriculum=read_curriculum(folder, len(samples), metrics[-1]["epoch"] + 1),
        predictions=predictions,
        boxes=boxes,
    )


def _task(about: dict[str, Any]) -> str:
    task = (about.get("config") or {}).get("task")
    return task if task in ("counting", "detection") else "classification"


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a metrics.jsonl, one for each epoch in order, and what was left out of it.

    Raises:
        ValueError: no epoch is finished.
    """
    rows, notes = {}, []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            notes.append(f"line {number} of metrics.jsonl is damaged and was left out")
            continue
        rows[row["epoch"]] = row  # an epoch that was done again after a stop counts once
    if not rows:
        raise ValueError(
            f"run must have a finished epoch, got none in {str(path.parent)!r}; wait for the first one to end"
        )
    return [rows[epoch] for epoch in sorted(rows)], notes


def _detect(shot: Snapshot, samples: Samples) -> Detection | None:
    wrong = samples.wrong
    if wrong is None or not wrong.any():
        return None
    score = shot.sigma if shot.has_sigma else shot.mean_loss
    shown_wrong = shot.correct[wrong & (shot.correct >= 0)]
    return Detection(
        epoch=shot.epoch,
        clean=spread(score[~wrong]),
        wrong=spread(score[wrong]),
        top_share=share_of_wrong(ranking(score, shot.mean_loss), score, wrong, int(wrong.sum())),
        auroc=auroc(score, wrong),
        fitted=float(shown_wrong.mean()) if len(shown_wrong) else math.nan,
    )


def spread(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, 10th and 90th percentile of the finite values; NaN without any."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return (math.nan, math.nan, math.nan)
    low, high = np.percentile(finite, [10, 90])
    return (float(finite.mean()), float(low), float(high))
