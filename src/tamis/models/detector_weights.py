"""Weights of a detector from a local file: its list of classes, other classes, torchvision's own files."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tamis.files import sync_file, sync_folder
from tamis.models.class_names import listed
from tamis.models.weights import read_weights

_KEY = "class_names"
_MOST_NAMES = 10_000
# Torchvision wrapped these convolutions once more after it had published its files.
_PROPOSALS = re.compile(r"(rpn\.head\.conv)\.(weight|bias)$")
_PYRAMID = re.compile(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$")
_RETINA = re.compile(r"(head\.(?:classification|regression)_head\.conv)\.([0246])\.(weight|bias)$")  # 1 was a ReLU


def save_detector(module: nn.Module, class_names: Sequence[str], path: Path) -> None:
    """Write a detection module's state with its list of classes, from which `open_detector` makes a detector.

    Args:
        module: a detection module.
        class_names: what its labels are positions in.
        path: a `.safetensors` file; replaced in one step.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    temporary = path.with_name(f".tmp-{path.name}")
    save_file(state, temporary, metadata={_KEY: json.dumps(list(class_names))})
    sync_file(temporary)
    temporary.replace(path)
    sync_folder(path.parent)


def read_class_names(path: Path) -> tuple[str, ...] | None:
    """The list of classes that a `.safetensors` file carries ("class_names" in its metadata, as JSON), if any.

    Raises:
        ValueError: the file is damaged, or the list is not one of different names.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights must be a readable .safetensors file, got {str(path)!r} ({error})") from error
    return None if text is None else names_of_json(text, str(path))


def names_of_json(text: str, where: str) -> tuple[str, ...]:
    """A list of classes out of a file's metadata.

    Raises:
        ValueError: it is not a JSON list of different names.
    """
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if (
        not isinstance(names, list)
        or not 0 < len(names) <= _MOST_NAMES
        or not all(isinstance(name, str) and name for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(f"class_names must be a list of different names, got {text[:80]!r} in {where!r}")
    return tuple(names)


Head = Callable[[dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]]


def load_detector(
    module: nn.Module, path: Path, wider: nn.Module | None = None, head_of: Head = lambda fresh, state: fresh
) -> None:
    """Fill a detection module from a file with its state dict; torchvision's own files will do.

    Args:
        module: filled in place.
        path: `.safetensors`, or `.pt` / `.pth` read with weights_only.
        wider: the same module for another number of classes: tensors that differ between the two in shape are the
            head. None reads the head as it is.
        head_of: with `wider`, from the fresh head and the file's state to the head; by default the fresh one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a state dict, or one that does not fit; names the missing, unexpected and differing keys.
    """
    own = module.state_dict()
    state = _as_ours(read_weights(path), own)
    head = set() if wider is None else _differing(own, wider.state_dict())
    missing = [key for key in own if key not in state and key not in head]
    unexpected = [key for key in state if key not in own]
    differing = [key for key in _differing(own, state) if key not in head]
    if missing or unexpected or differing:
        shapes = [f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in differing]
        raise ValueError(
            f"weights must fit the detector, got {str(path)!r} with missing: {listed(missing, 5)}; unexpected: "
            f"{listed(unexpected, 5)}; other shapes: {listed(shapes, 5)}; use new_head=True for other classes"
        )
    rest = {key: value for key, value in state.items() if key not in head}
    module.load_state_dict(rest | head_of({key: own[key] for key in sorted(head)}, state))


def _as_ours(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's names as those of the module around it, without what frozen batch norm does not count."""
    state = {key: value for key, value in state.items() if not key.endswith(".num_batches_tracked")}
    if state.keys() & own.keys() or not all(key.startswith("model.") for key in own):
        return state
    return {f"model.{_renamed(key)}": value for key, value in state.items()}


def _renamed(key: str) -> str:
    key = _PROPOSALS.sub(r"\1.0.0.\2", _PYRAMID.sub(r"\1.0.\2", key))
    return _RETINA.sub(lambda found: f"{found[1]}.{int(found[2]) // 2}.0.{found[3]}", key)


def _differing(state: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {key for key, value in state.items() if key in other and value.shape != other[key].shape}
