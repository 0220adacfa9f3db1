"""Samples that cannot be read: which they are and why, how many may be, and a file that remembers them."""

import json
import os
from collections.abc import Collection
from pathlib import Path

from tamis.data.decode import UnreadableImage

_NAMED = 3  # samples that the message names


class Quarantine:
    """Counts and names the samples that cannot be read, and stops where they are too many.

    A source and all its subsets share one. `record` counts what this process finds; what an earlier process wrote
    into the file is known, and not written twice, but does not count: the file may have been repaired since.

    Attributes:
        limit: how many samples may be unreadable; with 0 the first one is an error.
        split: of the data set, for messages and the file.
        reasons: why a sample cannot be read, by its key, in the order in which they were found.

    The samples in `forgiven` (keys) do not count: somebody knows of them and leaves them out.

    Raises:
        ValueError: limit is below 0.
    """

    def __init__(self, limit: int = 0, split: str = "train", forgiven: Collection[str] = ()) -> None:
        if limit < 0:
            raise ValueError(f"limit must be at least 0, got {limit!r}")
        self.limit, self.split, self._forgiven = limit, split, frozenset(forgiven)
        self.reasons: dict[str, str] = {}
        self._found: set[str] = set()
        self._file: Path | None = None

    def __len__(self) -> int:
        """How many are known."""
        return len(self.reasons)

    def record(self, reasons: dict[str, str]) -> None:
        """Take over what was found, key -> reason.

        Raises:
            UnreadableImage: there are more than `limit`; they are recorded nevertheless.
        """
        new = {key: reason for key, reason in reasons.items() if key not in self.reasons}
        self.reasons |= new
        self._found |= reasons.keys() - self._forgiven
        self._write(new)
        if len(self._found) > self.limit:
            raise UnreadableImage(self._message())

    def keep_in(self, path: Path) -> None:
        """Keep a file of JSON lines {"key", "split", "reason"}, one for each sample, flushed to disk as it is found.

        What the file holds of this split is taken over; what is known but not in it is added. A last line that a
        crash has cut off is replaced. Several splits may share a file; only one process may write it.

        Raises:
            ValueError: a line is none of these; the message names it.
        """
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(path, len(whole))
        kept = _of_split(whole, self.split, path)
        new = {key: reason for key, reason in self.reasons.items() if key not in kept}
        self.reasons = kept | new
        self._file = path
        self._write(new)

    def _write(self, reasons: dict[str, str]) -> None:
        if self._file is None or not reasons:
            return
        entries = ({"key": key, "split": self.split, "reason": reason} for key, reason in reasons.items())
        with self._file.open("ab") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
            file.flush()
            os.fsync(file.fileno())

    def _message(self) -> str:
        first = [f"{self.reasons[key]} in {key!r}" for key in self.reasons if key in self._found][:_NAMED]
        if not self.limit:
            return (
                f"image must be readable, got {first[0]}; repair the file or take it out of the data "
                "(`tamis check DATA` lists all such files), or allow some with --max-bad"
            )
        more = ", ..." if len(self._found) > _NAMED else ""
        return (
            f"images must be readable but for {self.limit} of the {self.split} split, got {len(self._found)} that are "
            f"not: {', '.join(first)}{more}; repair these files or take them out of the data (`tamis check DATA` "
            "lists all such files), or allow more with --max-bad"
        )


def _of_split(content: bytes, split: str, path: Path) -> dict[str, str]:
    kept = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            entry = json.loads(line)
            key, its_split, reason = (str(entry[name]) for name in ("key", "split", "reason"))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"line must be a JSON object with key, split and reason, got {line[:80]!r} in {path.name}:{number}; "
                "remove the line"
            ) from error
        if its_split == split:
            kept[key] = reason
    return kept
