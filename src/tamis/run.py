"""The run folder: configuration, metrics, checkpoints, ledger; the same command again goes on where it stopped."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from tamis.checkpoint import DamagedCheckpoint, load_checkpoint, save_checkpoint
from tamis.files import replace_file, replace_json
from tamis.history import History


class Run:
    """One training run on disk.

    Attributes:
        folder: where it lies.
        history: writer of the samples' history.
        resumed: whether an earlier, unfinished run was found.
    """

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        """Make the folder, or open it if it holds the same run.

        A run that was stopped before its first epoch ended has nothing to go on from: it is begun anew, with whatever
        configuration.

        Args:
            folder: the run folder.
            description: goes to run.json; its "config" decides whether an existing folder is the same run.

        Raises:
            FileExistsError: the folder holds something else, or a run of another configuration; the message names the
                settings that differ.
        """
        self.folder = folder
        known = folder / "run.json"
        self.resumed = known.is_file() and (self.finished or any(folder.glob("checkpoints/epoch-*")))
        if folder.is_file():
            raise FileExistsError(f"run folder must be a folder, got the file {folder}; choose another")
        if self.resumed:
            _same_config(folder, json.loads(known.read_text("utf-8"))["config"], description["config"])
        else:
            folder.mkdir(parents=True, exist_ok=True)
            # A run that was killed before it began leaves a temporary file.
            if not known.is_file() and any(not path.name.startswith(".tmp-") for path in folder.iterdir()):
                raise FileExistsError(f"run folder must be new or empty, got {folder} with other files; choose another")
            shutil.rmtree(folder / "ledger", ignore_errors=True)
            replace_json(known, description)
        (folder / "checkpoints").mkdir(exist_ok=True)
        self.history = History(folder / "ledger")

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

    def save(self, epoch: int, model: dict[str, Tensor], state: dict[str, Any], *, best: bool) -> None:
        """Write the checkpoint of a finished epoch; keep it, the one before it, and the best."""
        checkpoints = self.folder / "checkpoints"
        name = f"epoch-{epoch:05d}"
        save_checkpoint(checkpoints / name, model, state)
        if best:
            replace_file(checkpoints / "BEST", name)
        previous = self._pointer("LATEST")
        replace_file(checkpoints / "LATEST", name)
        keep = {name, previous, self._pointer("BEST")}
        for path in checkpoints.iterdir():
            if path.is_dir() and path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest sound checkpoint; None if there is none to go on from.

        A damaged newest one falls back to the one before it, with a warning that names the damaged file.
        """
        checkpoints = self.folder / "checkpoints"
        for path in sorted(checkpoints.glob("epoch-*"), reverse=True):
            try:
                return load_checkpoint(path)
            except DamagedCheckpoint as error:
                warnings.warn(f"{error}; going back to the one before it", stacklevel=2)
        return None

    def best_weights(self, otherwise: dict[str, Tensor]) -> dict[str, Tensor]:
        """The model's state dict after the best epoch; `otherwise` if there is none yet or, with a warning, no more."""
        try:
            return load_checkpoint(checkpoint_of(self.folder, "best"))[0]
        except FileNotFoundError:
            return otherwise
        except DamagedCheckpoint as error:
            warnings.warn(f"{error}; the weights of the best epoch are lost", stacklevel=2)
            return otherwise

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json: the run is complete."""
        replace_json(self.folder / "result.json", result)

    def _pointer(self, name: str) -> str | None:
        path = self.folder / "checkpoints" / name
        return path.read_text("utf-8") if path.is_file() else None


def checkpoint_of(folder: Path, which: str) -> Path:
    """The folder of the "last" or the "best" checkpoint of a run folder.

    Raises:
        ValueError: neither of the two words.
        FileNotFoundError: there is none yet.
    """
    names = {"last": "LATEST", "best": "BEST"}
    if which not in names:
        raise ValueError(f'checkpoint must be "last" or "best", got {which!r}')
    pointer = folder / "checkpoints" / names[which]
    if not pointer.is_file():
        raise FileNotFoundError(f"run {folder} must hold a {which} checkpoint, got none; train it first")
    return pointer.parent / pointer.read_text("utf-8")


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


def _same_config(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    new = json.loads(json.dumps(new))  # as it would be read back: lists for tuples
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if differing:
        changes = ", ".join(f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in differing)
        raise FileExistsError(
            f"run {folder} must have the same configuration to go on, got {changes}; use another --out"
        )
