"""The journal of a cull: one line on disk for each batch, so that a kill loses no more than the batch in flight."""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tamis.files import replace_json, sync_folder
from tamis.lock import FolderLock

_NAME = "journal.jsonl"


class Journal:
    """A folder that one process writes to, with what was done so far, line by line.

    Attributes:
        folder: where it lies.
        about: what run.json says, of the run that began it.
        lines: what an earlier process wrote, in its order.
        notes: what was ever wrong with it, in words.
    """

    def __init__(self, folder: Path, description: dict[str, Any], *, free: Collection[str] = ()) -> None:
        """Make the folder, or go on with it if it holds the same cull.

        Args:
            folder: made if needed.
            description: goes to run.json; "config" and "sources" of it decide whether an existing folder is the same.
            free: settings of "config" that may change, because what was journaled does not depend on them.

        Raises:
            FileExistsError: the folder holds something else, or another configuration, or sources that have changed
                since; the message names what differs.
            FolderInUse: another process owns it.
            ValueError: a line that is not the last one is damaged.
        """
        self.folder, self._about, self._path = folder, folder / "run.json", folder / _NAME
        if folder.is_file():
            raise FileExistsError(f"out must be a folder, got the file {str(folder)!r}; choose another")
        if folder.is_dir() and not self._about.is_file():
            names = [path.name for path in folder.iterdir()]
            if any(name != "lock" and not name.startswith(".tmp-") for name in names):
                raise FileExistsError(f"out must be new or empty, got {str(folder)!r} with other files; choose another")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(folder)
        self._handle: int | None = None
        self._flushed: Future[None] | None = None
        self._flusher = ThreadPoolExecutor(1, "journal")
        self.notes: list[str] = []
        try:
            self.about = self._open(description, free)
            self.lines = self._read()
            self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            sync_folder(folder)
            for note in self.notes:
                self.append("note", text=note)
            self.notes = [line["text"] for line in self.of("note")] + self.notes
        except BaseException:
            self.close()
            raise

    def _open(self, description: dict[str, Any], free: Collection[str]) -> dict[str, Any]:
        for path in self.folder.glob(".tmp-*"):
            path.unlink(missing_ok=True)
        if not self._path.is_file() or not self._path.stat().st_size:  # nothing to go on from
            replace_json(self._about, description)
        try:
            about = json.loads(self._about.read_text("utf-8"))
            config, sources = dict(about["config"]), dict(about["sources"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FileExistsError(
                f"run.json must be as tamis wrote it, got {type(error).__name__} in {str(self._about)!r}; take it from "
                "a backup, or choose another --out"
            ) from error
        new = json.loads(json.dumps(description))  # as it would be read back: lists for tuples
        what = f"cull {str(self.folder)!r} must"
        if changes := _differing(config, new["config"], free):
            raise FileExistsError(f"{what} have the same configuration to go on, got {changes}; use another --out")
        if changes := _differing(sources, new["sources"], ()):
            raise FileExistsError(f"{what} read the same sources to go on, got {changes}; use another --out")
        return about

    def _read(self) -> list[dict[str, Any]]:
        """The whole lines; what a crash left of another one is cut off, loudly."""
        raw = self._path.read_bytes() if self._path.is_file() else b""
        lines: list[dict[str, Any]] = []
        end = 0
        pieces = raw.split(b"\n")  # not splitlines: it knows other ends of lines
        for number, line in enumerate([each + b"\n" for each in pieces[:-1]] + [pieces[-1]] * bool(pieces[-1]), 1):
            found = _parsed(line)
            if found is None and end + len(line) < len(raw):
                raise ValueError(
                    f"journal must be as tamis wrote it, got a damaged line {number} in {str(self._path)!r}; take it "
                    "from a backup, or choose another --out"
                )
            if found is not None:
                lines.append(found)
                end += len(line)
        if end < len(raw):
            self.notes.append(
                f"dropped a torn last line of {len(raw) - end} bytes in {str(self._path)!r}; its batch is done again"
            )
            warnings.warn(self.notes[-1], stacklevel=4)
            with self._path.open("rb+") as file:
                file.truncate(end)
                os.fsync(file.fileno())
        return lines

    def of(self, kind: str) -> Iterator[dict[str, Any]]:
        """The lines of a kind that were there when it was opened."""
        return (line for line in self.lines if line["kind"] == kind)

    def append(self, kind: str, **values: Any) -> None:
        """Add a line: a kill cannot take it back, nor a loss of power once the next `append` or `flush` returns.

        Raises:
            OSError: a line could not be written, or the folder has vanished.
        """
        text = json.dumps({"kind": kind} | values, ensure_ascii=True, separators=(",", ":"), allow_nan=False) + "\n"
        self.flush()
        handle = self._write(text.encode())
        # A disk takes milliseconds for it: the next batch does not wait.
        self._flushed = self._flusher.submit(os.fsync, handle)

    def flush(self) -> None:
        """Wait until every line is on the disk."""
        if self._flushed is not None:
            done, self._flushed = self._flushed, None
            done.result()

    def _write(self, line: bytes) -> int:
        if self._handle is None or not self._about.is_file() or not os.fstat(self._handle).st_nlink:
            raise FileNotFoundError(f"out must stay where it is, got {str(self.folder)!r} moved or removed; cull again")
        try:
            while line:
                line = line[os.write(self._handle, line) :]
            return self._handle
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise
            free = shutil.disk_usage(self.folder).free
            raise OSError(
                error.errno,
                f"journal must have room for a line of {len(line):,} bytes, got {free:,} bytes free in "
                f"{str(self.folder)!r}; free some room, and run the same command again",
            ) from error

    def close(self) -> None:
        """Give the folder free."""
        self._flusher.shutdown()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        self._lock.release()


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What a whole line says; None for anything else."""
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "kind" in found else None


def _differing(old: dict[str, Any], new: dict[str, Any], free: Collection[str]) -> str:
    """What differs, in words; empty if nothing does."""
    names = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key) and key not in free)
    return ", ".join(f"{name}: {old.get(name)!r} -> {new.get(name)!r}" for name in names)
