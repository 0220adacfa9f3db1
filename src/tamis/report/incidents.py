"""What a person should know of the data of a run beside its figures: what could not be read, and what has changed."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

KINDS = ("added", "removed", "edited")

_Entry = TypeVar("_Entry")


class Unreadable(NamedTuple):
    """A sample that was left out, since its image could not be read."""

    key: str
    split: str
    reason: str


class Changed(NamedTuple):
    """A change of one split of the data that somebody accepted.

    Attributes:
        number: of the change, from 1.
        time: when it was accepted, as in ISO 8601.
        split: train or validation.
        counts: samples that were added, removed and edited.
        first: the first keys of each kind.
    """

    number: int
    time: str
    split: str
    counts: tuple[int, ...]
    first: tuple[tuple[str, ...], ...]


class Incidents(NamedTuple):
    """All of a run, in the order of its files; `notes` says which lines could not be understood."""

    unreadable: Sequence[Unreadable] = ()
    changes: Sequence[Changed] = ()
    notes: Sequence[str] = ()

    @property
    def unreadable_by_split(self) -> dict[str, int]:
        """How many samples of each split were left out."""
        return dict(Counter(entry.split for entry in self.unreadable))


def read_incidents(run: Path) -> Incidents:
    """Read quarantine.jsonl and changed.jsonl of a run folder; where there are none, nothing happened."""
    unreadable, notes = _entries(run / "quarantine.jsonl", _unreadable)
    changes, more = _entries(run / "changed.jsonl", _changes)
    return Incidents(unreadable, [change for each in changes for change in each], [*notes, *more])


def _entries(path: Path, entry_of: Callable[[dict[str, Any]], _Entry]) -> tuple[list[_Entry], list[str]]:
    entries, notes = [], []
    content = path.read_bytes() if path.is_file() else b""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entries.append(entry_of(json.loads(line)))
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            notes.append(f"line {number} of {path.name} is damaged and was left out")
    return entries, notes


def _unreadable(line: dict[str, Any]) -> Unreadable:
    return Unreadable(str(line["key"]), str(line["split"]), str(line["reason"]))


def _changes(line: dict[str, Any]) -> list[Changed]:
    found = []
    for split in ("train", "validation"):
        kinds = [line[split][kind] for kind in KINDS]
        counts = tuple(int(kind["count"]) for kind in kinds)
        if any(counts):
            first = tuple(tuple(map(str, kind["first"])) for kind in kinds)
            found.append(Changed(int(line["change"]), str(line["time"]), split, counts, first))
    return found
