"""What a curriculum did: the scores that it went by, and whom it left out when, and at which place."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.report.reading import decision_paths, ledger_of

BINS = 120  # of the samples by score, in the picture of who is shown when
_WAITS = ("waits: ", "Easiest(", "Hardest(")
_COST = b"tamis"


@dataclass(frozen=True)
class LeftOut:
    """A sample that was not shown.

    Attributes:
        epochs: in which it was not shown, from 0.
        reason: the last one.
        rank, of: its place by score at the last time, 1 for the lowest; None where the run does not tell.
    """

    index: int
    epochs: tuple[int, ...]
    reason: str
    rank: int | None
    of: int | None


@dataclass(frozen=True)
class Curriculum:
    """Who waited for the pace, and who was pruned.

    Attributes:
        scores: float (n,), NaN = not known.
        initial: whether the scores are those that were known before the training, else those of its end.
        waits, pruned: int64 (epochs,), samples that were hidden in each epoch.
        waited, out: int64 (n,), epochs in which each sample waited, and in which it was pruned.
        waits_by_bin, pruned_by_bin: float (bins, epochs), share of the samples of a bin; the lowest scores first.
        cost: of the scores: samples_seen, samples_scored, seconds; empty where it is not known.
    """

    scores: np.ndarray
    initial: bool
    waits: np.ndarray
    pruned: np.ndarray
    waited: np.ndarray
    out: np.ndarray
    waits_by_bin: np.ndarray
    pruned_by_bin: np.ndarray
    cost: dict[str, Any]


def read_curriculum(run: Path, n: int, epochs: int) -> Curriculum | None:
    """Read scores and decisions of a run of n samples; None where samples were not left out by their scores."""
    scores, initial, cost = read_scores(run, n)
    bins = min(BINS, n)
    place = np.empty(n, np.int64)
    place[np.argsort(scores, kind="stable")] = np.arange(n) * bins // max(1, n)
    per_sample, per_bin = np.zeros((2, n), np.int64), np.zeros((2, bins, epochs))
    by_score = initial
    for index, epoch, pruned, ranked in _decisions(run, epochs):
        by_score |= ranked
        np.add.at(per_sample, (pruned.astype(int), index), 1)
        np.add.at(per_bin, (pruned.astype(int), place[index], epoch), 1)
    if not by_score:
        return None
    waits, pruned = per_bin.sum(1).astype(np.int64)
    share = per_bin / np.maximum(1, np.bincount(place, minlength=bins))[None, :, None]
    waited, out = per_sample
    return Curriculum(scores, initial, waits, pruned, waited, out, share[0], share[1], cost)


def _decisions(run: Path, epochs: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, bool]]:
    """Index, epoch, and whether it was pruned of each decision of a file; and whether places are known."""
    for path in decision_paths(run):
        table = pq.read_table(path)
        table = table.filter(pa.array(table["epoch"].to_numpy() < epochs))
        reason = table["reason"].cast(pa.string()).combine_chunks().dictionary_encode()
        texts = [*reason.dictionary.to_pylist(), ""]  # no reason given
        number = reason.indices.fill_null(len(texts) - 1).to_numpy()
        pruned = np.array([not text.startswith(_WAITS) for text in texts])[number]
        ranked = "rank" in table.column_names and table["rank"].null_count < len(table)
        yield table["index"].to_numpy(), table["epoch"].to_numpy(), pruned, ranked


def read_scores(run: Path, n: int) -> tuple[np.ndarray, bool, dict[str, Any]]:
    """Scores float (n,), NaN = not known; whether they are from before the training; and what those cost."""
    ledger, scores = ledger_of(run), np.full(n, np.nan)
    for name in ("initial.parquet", "scores.parquet"):
        if (ledger / name).is_file():
            table = pq.read_table(ledger / name)
            value = table["score"].cast(pa.float64()).to_numpy()
            index = table["index"].to_numpy()
            inside = (index >= 0) & (index < n)
            scores[index[inside]] = value[inside]
            cost = json.loads((table.schema.metadata or {}).get(_COST, b"{}"))
            return scores, name == "initial.parquet", cost
    return scores, False, {}


def most_left_out(run: Path, curriculum: Curriculum, count: int) -> list[LeftOut]:
    """The samples that were pruned most often, low scores first, then those that waited longest, high scores first."""
    hidden = np.flatnonzero(curriculum.out + curriculum.waited)
    score, out, waited = (each[hidden] for each in (curriculum.scores, curriculum.out, curriculum.waited))
    keys = (hidden, np.where(out > 0, score, -score), -waited, -out)
    chosen = hidden[np.lexsort(keys)][:count].tolist()
    rows: dict[int, list[dict[str, Any]]] = {index: [] for index in chosen}
    for path in decision_paths(run):
        for row in pq.read_table(path, filters=[("index", "in", chosen)]).to_pylist() if chosen else []:
            rows[row["index"]].append(row)
    return [_told(index, sorted(rows[index], key=lambda row: row["epoch"])) for index in chosen if rows[index]]


def _told(index: int, rows: Sequence[dict[str, Any]]) -> LeftOut:
    last = rows[-1]
    epochs = tuple(row["epoch"] for row in rows)
    return LeftOut(index, epochs, last["reason"] or "no reason given", last.get("rank"), last.get("of"))


def spans(numbers: Sequence[int]) -> str:
    """Ascending numbers as a person says them: 1\u20134, 7; no line breaks at a dash."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}\u2060\u2013\u2060{high}" for low, high in parts)
