"""The curricula that several runs learned: sigma of each class and of some samples, and whether the order repeats."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.report.class_curricula_order import farthest_apart, pair_correlations
from tamis.report.reading import Samples, parts_by_epoch, read_samples
from tamis.report.records import read_metrics


@dataclass(frozen=True)
class Learned:
    """What one run learned.

    Attributes:
        about: run.json.
        class_sigma: float (epochs, k), sigma of each class after each epoch; None where the run has none.
        log_sigma: float (n,), log sigma of each sample when it was last shown, NaN = never; None where there is none.
    """

    folder: Path
    name: str
    about: dict[str, Any]
    samples: Samples
    epochs: int
    class_sigma: np.ndarray | None
    log_sigma: np.ndarray | None

    @property
    def kind(self) -> str:
        """Of its data parameters: "class", "instance", "joint", or "none"."""
        kinds = {(True, True): "joint", (True, False): "class", (False, True): "instance", (False, False): "none"}
        return kinds[self.class_sigma is not None, self.log_sigma is not None]

    @property
    def class_names(self) -> list[str]:
        """Names by class number, as many as sigmas and labels need."""
        names = [str(name) for name in (self.about.get("data") or {}).get("class_names") or []]
        sigmas = 0 if self.class_sigma is None else self.class_sigma.shape[1]
        needed = max(sigmas, int(self.samples.label.max(initial=-1)) + 1)
        return names + [f"class {number}" for number in range(len(names), needed)]


@dataclass(frozen=True)
class Tracks:
    """Sigma of some samples over the training.

    Attributes:
        label: int64 (s,), their class.
        index: int64 (s,), where they stand in the first run.
        log_sigma: float (runs, epochs, s), after each epoch; NaN until the sample is shown for the first time.
    """

    keys: Sequence[str]
    label: np.ndarray
    index: np.ndarray
    log_sigma: np.ndarray


@dataclass(frozen=True)
class Curricula:
    """What several runs learned of the same data.

    Attributes:
        class_sigma: float (runs, epochs, k); k is 0 without class sigmas.
        class_order: float (epochs, pairs), rank correlation of sigma of the classes between each two runs after each
            epoch; NaN while it is the same for all classes.
        common: int64 (runs, m), where the samples stand that all runs trained on with the same label.
        sample_order: float (pairs,), rank correlation of sigma of these at the end; empty without instance sigmas.
        tracks: the chosen samples, or None where there is none.
    """

    runs: Sequence[Learned]
    class_sigma: np.ndarray
    class_order: np.ndarray
    common: np.ndarray
    sample_order: np.ndarray
    tracks: Tracks | None

    @property
    def class_names(self) -> list[str]:
        """Names by class number."""
        return self.runs[0].class_names

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The names of the runs of each pair, as the correlations have them."""
        return list(combinations((run.name for run in self.runs), 2))


def read_curricula(folders: Sequence[Path], keys: Sequence[str] = ()) -> Curricula:
    """Read what several runs learned, and compare it.

    Args:
        folders: run folders of image classifiers with data parameters of one kind, trained for equally many epochs.
        keys: samples to follow; by default two of one class, those whose sigmas end farthest apart.

    Raises:
        ValueError: fewer than two runs, the same twice, runs that do not fit together, or no such sample.
        FileNotFoundError: a folder is no run.
    """
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise ValueError(
            f"runs must be at least two different ones, got {', '.join(map(str, folders)) or 'none'}; "
            "train again with another --seed, or look at one run with tamis report"
        )
    names = [folder.resolve().name for folder in folders]
    names = names if len(set(names)) == len(names) else list(map(str, folders))
    runs = [_learned(folder, name) for folder, name in zip(folders, names, strict=True)]
    _check_fit(runs)
    sigma = np.stack([np.empty((run.epochs, 0)) if run.class_sigma is None else run.class_sigma for run in runs])
    order = np.array([pair_correlations(sigma[:, epoch]) for epoch in range(sigma.shape[1])])
    common = _common(runs)
    rows = zip(runs, common, strict=True)
    ended = [run.log_sigma[places] for run, places in rows if run.log_sigma is not None]
    if not ended:
        return Curricula(runs, sigma, order, common, np.empty(0), None)
    ending = np.stack(ended)
    sample_order = np.array(pair_correlations(ending[:, np.isfinite(ending).all(0)]))
    label = runs[0].samples.label[common[0]]
    chosen = [_place(runs[0], common[0], key) for key in keys] or farthest_apart(ending.mean(0), label)
    return Curricula(runs, sigma, order, common, sample_order, _followed(runs, common[:, chosen]) if chosen else None)


def _learned(folder: Path, name: str) -> Learned:
    path = folder / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"run must be a run folder with run.json, got {str(folder)!r}")
    metrics, _ = read_metrics(folder / "metrics.jsonl")
    rows = [row.get("class_sigma") for row in metrics]
    samples = read_samples(folder)
    return Learned(
        folder=folder,
        name=name,
        about=json.loads(path.read_text("utf-8")),
        samples=samples,
        epochs=len(metrics),
        class_sigma=np.array(rows, dtype=float) if all(rows) else None,
        log_sigma=_last_log_sigma(folder, len(samples)),
    )


def _last_log_sigma(run: Path, count: int) -> np.ndarray | None:
    """Log sigma of each sample when it was last shown, read from the end until all are known."""
    found = np.full(count, np.nan)
    for paths in reversed(parts_by_epoch(run).values()):
        for path in paths:
            index, value = _log_sigmas(path)
            new = np.isnan(found[index])
            found[index[new]] = value[new]
        if not np.isnan(found).any():
            break
    return found if np.isfinite(found).any() else None


def _log_sigmas(path: Path, chosen: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Index and log sigma of the rows of a ledger's part, or of the chosen samples among them."""
    if "log_sigma" not in pq.read_schema(path).names:
        return np.empty(0, np.int64), np.empty(0)
    wanted = None if chosen is None else [("index", "in", chosen)]
    table = pq.read_table(path, columns=["index", "log_sigma"], filters=wanted)
    return table["index"].to_numpy(), table["log_sigma"].cast(pa.float64()).to_numpy()


def _check_fit(runs: Sequence[Learned]) -> None:
    """Refuse runs of which a mean would mean nothing."""
    first = runs[0]
    for run in runs:
        if run.kind == "none":
            raise ValueError(
                f"runs must have a sigma of classes or samples, got none in {run.name!r}; "
                "train with --data-parameters class, instance or joint"
            )
        for what, ours, theirs in (
            ("data parameters of one kind", first.kind, run.kind),
            ("equally many finished epochs", first.epochs, run.epochs),
            ("equally many classes", len(first.class_names), len(run.class_names)),
        ):
            if ours != theirs:
                raise ValueError(
                    f"runs must have {what}, got {theirs} in {run.name!r} and {ours} in {first.name!r}; leave one out"
                )
        if run.class_names != first.class_names:
            raise ValueError(f"runs must have the same classes, got other names in {run.name!r}; leave it out")


def _common(runs: Sequence[Learned]) -> np.ndarray:
    """Where the samples stand that all runs trained on with the same label, int64 (runs, m)."""
    first = runs[0].samples
    kept = ~first.gone
    places = [np.arange(len(first))]
    for run in runs[1:]:
        keys = pc.cast(run.samples.keys, first.keys.type)
        found = pc.call_function("index_in", [first.keys], pc.SetLookupOptions(keys))
        found = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
        kept &= (found >= 0) & (run.samples.label[found] == first.label) & ~run.samples.gone[found]
        places.append(found)
    return np.stack(places)[:, kept]


def _place(run: Learned, rows: np.ndarray, key: str) -> int:
    """The position among the common samples of a key."""
    index = pc.index(run.samples.keys, pa.scalar(key, run.samples.keys.type)).as_py()
    place = np.flatnonzero(rows == index)
    if not len(place):
        raise ValueError(
            f"sample must be one that all runs trained on with the same label, got {key!r}; "
            "take a key of ledger/samples.parquet"
        )
    return int(place[0])


def _followed(runs: Sequence[Learned], rows: np.ndarray) -> Tracks:
    """Sigma of the samples at these rows, int64 (runs, s), epoch by epoch; what is not shown keeps its sigma."""
    log_sigma = np.full((len(runs), runs[0].epochs, rows.shape[1]), np.nan)
    for track, run, chosen in zip(log_sigma, runs, rows, strict=True):
        column = {int(index): place for place, index in enumerate(chosen)}
        for epoch, paths in parts_by_epoch(run.folder).items():
            for path in paths if epoch < len(track) else ():
                for index, value in zip(*_log_sigmas(path, chosen.tolist()), strict=True):
                    track[epoch:, column[int(index)]] = value
    samples = runs[0].samples
    return Tracks(samples.keys.take(rows[0]).to_pylist(), samples.label[rows[0]], rows[0], log_sigma)
