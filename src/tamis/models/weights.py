"""Read a model's weights from a local file; nothing is downloaded and no pickled code runs."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


def load_weights(model: nn.Module, path: Path, *, new_head: bool = False) -> None:
    """Fill a model from a file with its state dict: `.safetensors`, or `.pt` / `.pth` read with weights_only.

    Every tensor of the model must be in the file with its shape and the other way round, or nothing is kept.

    Args:
        model: filled in place.
        path: the file.
        new_head: leave the model's last layer with parameters as it is and do not read the file's: for other
            classes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a state dict, or one that does not fit; names the missing, unexpected and differing
            keys.
    """
    state = read_weights(Path(path))
    own = model.state_dict()
    head = _head(model) if new_head else set()
    state = {key: value for key, value in state.items() if key not in head}
    # Files from before torch 0.4.1 have no batch counters; they only matter to batch norm without a momentum.
    missing = [key for key in own if key not in state and key not in head and not key.endswith(".num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    differing = [
        f"{key} {tuple(state[key].shape)} for {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and value.shape != state[key].shape
    ]
    if missing or unexpected or differing:
        raise ValueError(
            f"weights must fit the model, got {str(path)!r} with missing: {_some(missing)}; unexpected: "
            f"{_some(unexpected)}; other shapes: {_some(differing)}; use new_head=True if only the last layer differs"
        )
    model.load_state_dict(state, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name; nothing in it is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds anything but a state dict of plain tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights must be an existing file, got {str(path)!r}; nothing is downloaded")
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise ValueError(f"weights must be a .safetensors, .pt or .pth file, got {str(path)!r}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except Exception as error:  # a damaged or hostile file can fail in any way
        # The first sentence: torch goes on to explain how to run what is in the file.
        reason = (str(error) or type(error).__name__).splitlines()[0].split(". ")[0]
        raise ValueError(
            f"weights must be tensors only, got {str(path)!r} ({reason}); nothing in it was run; "
            f"save model.state_dict() with safetensors.torch.save_file"
        ) from error
    plain = isinstance(state, dict) and all(isinstance(key, str) for key in state)
    if not plain or not all(isinstance(value, Tensor) and _is_plain(value) for value in state.values()):
        found = _some([str(key) for key in state]) if isinstance(state, dict) else type(state).__name__
        raise ValueError(
            f"weights must be a state dict, names to tensors, got {str(path)!r} with {found}; "
            f"save model.state_dict() alone"
        )
    return state


def _read_torch(path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        # From before torch 1.6. Not by its path: torch would take it for a tar and unpack that.
        return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("a compressed archive, which torch never writes")
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_plain(value: Tensor) -> bool:
    """Neither sparse, nor quantised, nor without values."""
    return value.layout == torch.strided and not value.is_quantized and value.device.type == "cpu"


def _head(model: nn.Module) -> set[str]:
    """The keys of the last module that has tensors of its own."""
    key = list(dict(model.named_parameters()))[-1]
    prefix = key.rpartition(".")[0]
    return {key for key in model.state_dict() if key.rpartition(".")[0] == prefix}


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
