"""The run folder: configuration, metrics, checkpoints, ledger; the same command again goes on where it stopped."""

import errno
import json
import re
import shutil
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from tamis.checkpoint import DamagedCheckpoint, load_checkpoint, save_checkpoint
from tamis.files import replace_file, replace_json
from tamis.history import History
from tamis.lock import FolderLock

_TEMPORARY = ".tmp-"


class Run:
    """One training run on disk, owned by this process until `close` or the end of the process.

    Attributes:
        folder: where it lies.
        history: writer of the samples' history.
        resumed: whether an earlier run with a checkpoint, or a finished one, was found.
    """

    def __init__(
        self,
        folder: Path,
        description: dict[str, Any],
        *,
        free: Collection[str] = (),
        strict: bool = False,
        reader: bool = False,
    ) -> None:
        """Make the folder, or open it if it holds the same run.

        A run that was stopped before its first checkpoint has nothing to go on from: it is begun anew, with whatever
        configuration.

        Args:
            folder: the run folder.
            description: goes to run.json; its "config" decides whether an existing folder is the same run.
            free: settings of "config" that may change when a run goes on: they have no influence on its result.
            strict: refuse a damaged newest checkpoint instead of going back to the one before it.
            reader: this is another process of a run that its rank 0 has opened: it loads, and writes nothing.

        Raises:
            FileExistsError: the folder holds something else, or a run of another configuration; the message names the
                settings that differ.
            FolderInUse: another process owns the folder.
        """
        self.folder, self.strict = folder, strict
        self._about = folder / "run.json"
        self._lock = None
        if reader:
            self.resumed, self.history = self._resumable(), History(folder / "ledger")
            return
        if folder.is_file():
            raise FileExistsError(f"run folder must be a folder, got the file {folder}; choose another")
        self._refuse_other_files()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(folder)
        try:
            self._open(description, free)
        except BaseException:
            self.close()
            raise
        self.history = History(folder / "ledger")

    def _refuse_other_files(self) -> None:
        # A run that was killed before it began leaves a temporary file.
        if self.folder.is_dir() and not self._about.is_file():
            names = [path.name for path in self.folder.iterdir()]
            if any(name != "lock" and not name.startswith(_TEMPORARY) for name in names):
                raise FileExistsError(
                    f"run folder must be new or empty, got {self.folder} with other files; choose another"
                )

    def _open(self, description: dict[str, Any], free: Collection[str]) -> None:
        self.resumed = self._resumable()
        if self.resumed:
            try:
                before = dict(json.loads(self._about.read_text("utf-8"))["config"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise FileExistsError(
                    f"run.json must be as tamis wrote it, got {type(error).__name__} in {str(self._about)!r}; take it "
                    "from a backup, or choose another --out"
                ) from error
            _same_config(self.folder, before, description["config"], free)
        else:
            shutil.rmtree(self.folder / "ledger", ignore_errors=True)
            replace_json(self._about, description)
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        for path in [*self.folder.glob(f"{_TEMPORARY}*"), *self.folder.glob(f"*/{_TEMPORARY}*")]:
            _remove(path)

    def _resumable(self) -> bool:
        return self._about.is_file() and (self.finished or any(self.folder.glob("checkpoints/epoch-*")))

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return (self.folder / "result.json").is_file()

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a torn last line, left by a crash, is left out."""
        return read_metrics(self.folder)

    def log(self, row: dict[str, Any]) -> None:
        """Add the row of an epoch; rows of that epoch or later ones, from before a crash, are replaced."""
        rows = [old for old in self.metrics() if old["epoch"] < row["epoch"]] + [row]
        replace_file(self.folder / "metrics.jsonl", "".join(json.dumps(each) + "\n" for each in rows))

    def save(self, epoch: int, step: int, model: dict[str, Tensor], state: dict[str, Any], best: int | None) -> None:
        """Write a checkpoint; keep it, the one before it, and the best epochs that the two name.

        Args:
            epoch: finished epochs.
            step: steps of the epoch that was begun.
            model: the model's state dict.
            state: everything else.
            best: the epoch whose weights `save_best` wrote last.

        Raises:
            OSError: it could not be written, or the folder has vanished; the earlier checkpoints are as they were.
        """
        checkpoints = self._checkpoints()
        name = f"epoch-{epoch:05d}-step-{step:07d}"
        best_name = None if best is None else _best_name(best)
        save_checkpoint(checkpoints / name, model, state | {"best": best_name})
        previous = self._pointer("LATEST")
        self._point_to(name, best_name)
        keep = {name, previous, best_name, self._best_of(previous)}
        for path in checkpoints.iterdir():
            if path.is_dir() and path.name not in keep:
                _remove(path)

    def save_best(self, epoch: int, model: dict[str, Tensor]) -> None:
        """Write the weights of the best epoch so far; the next `save` makes them count."""
        save_checkpoint(self._checkpoints() / _best_name(epoch), model, {"epoch": epoch})

    def hold_room(self, needed: int) -> None:
        """Refuse to begin where two checkpoints would not fit.

        Args:
            needed: bytes of a checkpoint, about.

        Raises:
            OSError: there is less room on the disk.
        """
        free = shutil.disk_usage(self.folder).free
        if free < 2 * needed:
            raise OSError(
                errno.ENOSPC,
                f"run folder must have room for two checkpoints of about {needed:,} bytes, got {free:,} bytes free in "
                f"{str(self.folder)!r}; free some room, or choose another --out",
            )

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest sound checkpoint; None if there is none to go on from.

        A damaged newest one falls back to the one before it, with a warning that names the damaged file.

        Raises:
            DamagedCheckpoint: the newest one is damaged, and the run is strict.
            NewerCheckpoint: it was made by a later version of tamis.
        """
        checkpoints = self.folder / "checkpoints"
        for path in sorted(checkpoints.glob("epoch-*"), reverse=True):
            try:
                model, state = load_checkpoint(path)
            except DamagedCheckpoint as error:
                if self.strict:
                    raise
                warnings.warn(f"{error}; going back to the one before it", stacklevel=2)
                continue
            if self._lock is not None:
                # A kill after the last checkpoint may have left them behind, and no other will move them.
                self._point_to(path.name, state["best"])
            return model, state
        return None

    def load_best(self, state: dict[str, Any], otherwise: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of the best epoch that a loaded state names; `otherwise` if there is none, or it is damaged."""
        if state["best"] is None:
            return otherwise
        try:
            return load_checkpoint(self.folder / "checkpoints" / state["best"])[0]
        except DamagedCheckpoint as error:
            if self.strict:
                raise
            warnings.warn(f"{error}; the weights of the best epoch are lost", stacklevel=2)
            return otherwise

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json: the run is complete."""
        self._checkpoints()
        replace_json(self.folder / "result.json", result)

    def close(self) -> None:
        """Give the folder free for other processes."""
        if self._lock is not None:
            self._lock.release()

    def _checkpoints(self) -> Path:
        """The folder of checkpoints, which must still be there: a run never ends well without its files."""
        checkpoints = self.folder / "checkpoints"
        if not self._about.is_file() or not checkpoints.is_dir():
            raise FileNotFoundError(f"run folder must stay where it is, got {self.folder} moved or removed; run again")
        return checkpoints

    def _point_to(self, newest: str, best: str | None) -> None:
        for pointer, name in (("BEST", best), ("LATEST", newest)):
            if name is not None and name != self._pointer(pointer):
                replace_file(self.folder / "checkpoints" / pointer, name)

    def _pointer(self, name: str) -> str | None:
        path = self.folder / "checkpoints" / name
        return path.read_text("utf-8") if path.is_file() else None

    def _best_of(self, name: str | None) -> str | None:
        """The best epoch that an earlier checkpoint names."""
        try:
            text = (self.folder / "checkpoints" / (name or "") / "state.json").read_text("utf-8")
            return json.loads(text).get("best")
        except (OSError, ValueError, AttributeError):
            return None


def is_begun(folder: Path) -> bool:
    """Whether a folder holds a run with something to go on from: a checkpoint, or its end."""
    ended = (folder / "result.json").is_file() or any(folder.glob("checkpoints/epoch-*"))
    return (folder / "run.json").is_file() and ended


def checkpoint_of(folder: Path, which: str) -> Path:
    """The folder of the "last" or the "best" checkpoint of a run folder.

    Raises:
        ValueError: neither of the two words, or a pointer that leads elsewhere.
        FileNotFoundError: there is none yet.
    """
    names = {"last": "LATEST", "best": "BEST"}
    if which not in names:
        raise ValueError(f'checkpoint must be "last" or "best", got {which!r}')
    pointer = folder / "checkpoints" / names[which]
    if not pointer.is_file():
        raise FileNotFoundError(f"run {folder} must hold a {which} checkpoint, got none; train it first")
    name = pointer.read_text("utf-8")
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise ValueError(f"pointer must name a checkpoint beside it, got {name!r} in {str(pointer)!r}; write it anew")
    return pointer.parent / name


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run folder's metrics.jsonl, in the order of the epochs; empty if there is none."""
    path = folder / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _best_name(epoch: int) -> str:
    return f"best-{epoch:05d}"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _same_config(folder: Path, old: dict[str, Any], new: dict[str, Any], free: Collection[str]) -> None:
    new = json.loads(json.dumps(new))  # as it would be read back: lists for tuples
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key) and key not in free)
    if differing:
        changes = ", ".join(f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in differing)
        raise FileExistsError(
            f"run {folder} must have the same configuration to go on, got {changes}; use another --out"
        )
