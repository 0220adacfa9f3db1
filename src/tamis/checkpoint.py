"""States on disk: tensors as safetensors, the rest as JSON, hashes of both, no pickle.

A checkpoint is a folder, written under a temporary name, flushed and renamed: it is there as a whole or not at all.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import tamis
from tamis.files import replace_json, sync_file, sync_folder

# Of what the three files hold; raised when an older tamis could not read it.
FORMAT = 1
_TENSOR, _PAIRS = "tensor:", "pairs:"
_FILES = {"model.safetensors", "state.safetensors", "state.json"}


class DamagedCheckpoint(ValueError):
    """A file of a checkpoint is missing or is not what was written."""


class NewerCheckpoint(ValueError):
    """A checkpoint of a later version of tamis."""


def flatten(state: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """Turn nested dicts and lists with tensors into plain JSON; the tensors are put into `tensors` by name.

    Raises:
        TypeError: a value that is neither plain data nor a tensor.
    """
    if isinstance(state, Tensor):
        while name in tensors:  # the keys 1 and "1" have one name
            name += "'"
        tensors[name] = state.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(state, dict):
        pairs = [[key, flatten(value, tensors, f"{name}/{key}")] for key, value in state.items()]
        plain = all(isinstance(key, str) for key in state) and set(state) not in ({_TENSOR}, {_PAIRS})
        return dict(pairs) if plain else {_PAIRS: pairs}
    if isinstance(state, list | tuple):
        return [flatten(value, tensors, f"{name}/{place}") for place, value in enumerate(state)]
    if state is None or isinstance(state, bool | int | float | str):
        return state
    raise TypeError(f"state {name} must be tensors, numbers, texts, lists or dicts, got {type(state).__name__}")


def unflatten(plain: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `flatten`; tuples come back as lists."""
    if isinstance(plain, list):
        return [unflatten(value, tensors) for value in plain]
    if not isinstance(plain, dict):
        return plain
    if set(plain) == {_TENSOR}:
        return tensors[plain[_TENSOR]]
    if set(plain) == {_PAIRS}:
        return {key: unflatten(value, tensors) for key, value in plain[_PAIRS]}
    return {key: unflatten(value, tensors) for key, value in plain.items()}


def save_checkpoint(folder: Path, model: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint as a new folder.

    Args:
        folder: its final place; one that is already there is replaced.
        model: the model's state dict, in a file of its own that any tool can read.
        state: everything else, nested.
    """
    temporary = folder.with_name(f".tmp-{os.getpid()}-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write(temporary, model, state)
    except BaseException:  # where the disk is full, half a checkpoint must not stay on it
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    sync_folder(folder.parent)


def size_of(state: Any) -> int:
    """Bytes of the tensors in a nested state."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(map(size_of, values))


def _write(folder: Path, model: dict[str, Tensor], state: dict[str, Any]) -> None:
    tensors: dict[str, Tensor] = {}
    plain = flatten(state, tensors)
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.items()}
    for name, content in (("model.safetensors", weights), ("state.safetensors", tensors)):
        try:
            save_file(content, folder / name)
        except SafetensorError as error:  # it tells the system's error only in its text
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error), str(folder / name)) from error
        sync_file(folder / name)
    replace_json(folder / "state.json", plain)
    hashes = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    manifest = {"format": FORMAT, "tamis": tamis.__version__, "files": hashes}
    replace_json(folder / "manifest.json", manifest | {"sha256": _sha256_of(manifest)})


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint after checking every file against its hash.

    Returns:
        The model's state dict and the rest, on the CPU.

    Raises:
        DamagedCheckpoint: a file is missing or altered; the message names it.
        NewerCheckpoint: it was made by a later version of tamis, which wrote another format.
    """
    for name, expected in _manifest(folder / "manifest.json").items():
        path = folder / name
        if not path.is_file() or _sha256(path) != expected:
            raise DamagedCheckpoint(
                f"checkpoint file {path} must be as manifest.json lists it, got an altered or missing one; "
                "use an older checkpoint"
            )
    try:
        tensors = load_file(folder / "state.safetensors")
        state = unflatten(json.loads((folder / "state.json").read_text("utf-8")), tensors)
        return load_file(folder / "model.safetensors"), state
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        # As it was written, but not by us.
        raise DamagedCheckpoint(
            f"checkpoint {folder} must hold what tamis writes, got {type(error).__name__}: {error}; use an older one"
        ) from error


def _manifest(path: Path) -> dict[str, str]:
    """The hashes of the files, from a manifest that is itself as it was written."""
    try:
        manifest = json.loads(path.read_text("utf-8"))
        sound = manifest.pop("sha256") == _sha256_of(manifest)
        number, made, hashes = manifest["format"], manifest["tamis"], manifest["files"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound, number, made, hashes = False, FORMAT, "", {}
    if sound and number > FORMAT:
        raise NewerCheckpoint(
            f"checkpoint must be of format {FORMAT} or older, got {number}, made by tamis {made}, in "
            f"{str(path.parent)!r}; you have tamis {tamis.__version__}: install {made} or newer"
        )
    if not sound or set(hashes) != _FILES:
        raise DamagedCheckpoint(
            f"checkpoint file {path} must list {', '.join(sorted(_FILES))}, got an altered or missing one; "
            "use an older checkpoint"
        )
    return hashes


def _sha256_of(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
