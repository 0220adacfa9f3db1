"""From a counter's name to a counter."""

from pathlib import Path

import torch
from torch import nn

from tamis.models.crowd import MCNN, CSRNet, CSRNetLite, MCNNLight
from tamis.models.naming import first_try, own_model, unknown
from tamis.models.weights import load_weights, read_weights

_COUNTERS = {"mcnn-light": MCNNLight, "mcnn": MCNN, "csrnet-lite": CSRNetLite, "csrnet": CSRNet}


def build_counter(
    name: str, *, weights: Path | None = None, front_end: Path | None = None, seed: int | None = None
) -> nn.Module:
    """A counter: float (b, 3, h, w) -> density (b, 1, h / stride, w / stride), in training mode, on the CPU.

    It is tried once on a black image, so a model that does not fit fails here, by name. Nothing is downloaded.

    Args:
        name: `mcnn-light`, `mcnn`, `csrnet-lite`, `csrnet`; or `module:callable`, a callable of your own that
            returns a model with an integer attribute `stride`. Only such a name, with a colon, imports code.
        weights: a state dict of the whole model to start from, `.safetensors` or `.pt`; see `load_weights`.
        front_end: a state dict of torchvision's `vgg16`, trained on ImageNet, of which `csrnet` and `csrnet-lite`
            take their first ten and seven convolutions.
        seed: makes the start a function of this number alone and leaves torch's default generator as it was;
            None takes the start from that generator.

    Raises:
        ValueError: an unknown name (with the nearest ones), a model that does not fit, one without a front end,
            or weights that do not fit the model.
        ModuleNotFoundError: a `module` that cannot be found.
        FileNotFoundError: no such file of weights.
        TypeError: `module:callable` is no callable or returns no model.
    """
    if weights is not None and front_end is not None:
        raise ValueError("front_end must not come with weights, got both; the weights have a front end")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        model = _start(name)
        _try(model, name)
    if weights is not None:
        load_weights(model, weights)
    if front_end is not None:
        _load_front_end(model, name, front_end)
    return model


def _start(name: str) -> nn.Module:
    if name in _COUNTERS:
        return _COUNTERS[name]()
    if ":" in name:
        return own_model(name)
    raise ValueError(unknown("counter", name, list(_COUNTERS)))


def _try(model: nn.Module, name: str) -> None:
    stride = getattr(model, "stride", None)
    if type(stride) is not int or stride < 1:
        raise ValueError(
            f"stride of the model must be an integer of at least 1, got {stride!r} from {name!r}; "
            f"set model.stride to the pixels of a cell of its map"
        )
    side = 8 * stride
    fit = f"images (3, {side}, {side}) and give a map (1, 8, 8) at stride {stride}"
    shape = first_try(model, name, (1, 3, side, side), fit)
    if shape != (1, 1, 8, 8):
        raise ValueError(f"model must take {fit}, got {shape} from {name!r}; check its stride and its last layer")


def _load_front_end(model: nn.Module, name: str, path: Path) -> None:
    if not isinstance(model, (CSRNet, CSRNetLite)):
        raise ValueError(f"front_end must come with csrnet or csrnet-lite, got {name!r}; leave it out")
    state = read_weights(Path(path))
    own = model.frontend.state_dict()
    wrong = [
        key
        for key, value in own.items()
        if (found := state.get(f"features.{key}")) is None or found.shape != value.shape
    ]
    if wrong:
        raise ValueError(
            f"front_end must have the convolutions of torchvision's vgg16, got {str(path)!r} without "
            f"features.{wrong[0]} {tuple(own[wrong[0]].shape)}; save vgg16(weights='IMAGENET1K_V1').state_dict()"
        )
    model.frontend.load_state_dict({key: state[f"features.{key}"] for key in own})
