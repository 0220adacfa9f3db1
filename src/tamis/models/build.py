"""From a model's name to a model."""

import difflib
import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tamis.models.small import SMALL, SMALL_WIDE, SmallNet
from tamis.models.weights import load_weights
from tamis.models.wide_resnet import WideResNet

_SMALL = {
    "small-fast": (SMALL, 2),
    "small": (SMALL, 1),
    "small-wide": (SMALL_WIDE, 1),
    "small-wide-fast": (SMALL_WIDE, 2),
}
_WIDE_RESNET = re.compile(r"wrn-(\d+)-(\d+)")


def build_model(
    name: str,
    *,
    classes: int,
    channels: int,
    size: int,
    weights: Path | None = None,
    new_head: bool = False,
    seed: int | None = None,
) -> nn.Module:
    """A classifier: float (b, channels, size, size) -> logits (b, classes), in training mode, on the CPU.

    It is tried once on a black image, so a model that does not fit the data fails here, by name. Nothing is
    downloaded.

    Args:
        name: `small`, `small-wide`, each also with `-fast` (a stem of stride 2); `wrn-D-K`, say `wrn-28-10`; a
            classifier of torchvision, say `resnet18`, with a stem for small images up to 64 pixels; `timm:NAME`
            with the extra `tamis[timm]`; or `module:callable`, a callable of your own that returns a model and is
            given `num_classes` if it takes it. Only such a name, with a colon, imports code.
        classes: number of outputs.
        channels: channels of the images.
        size: side of the images in pixels.
        weights: a state dict to start from, `.safetensors` or `.pt`; see `load_weights`.
        new_head: keep the fresh last layer instead of the one in `weights`.
        seed: makes the start a function of this number alone and leaves torch's default generator as it was;
            None takes the start from that generator.

    Raises:
        ValueError: an unknown name (with the nearest ones), a model that does not fit the data, or weights
            that do not fit the model.
        ModuleNotFoundError: `timm:NAME` without timm, or a `module` that cannot be found.
        FileNotFoundError: no such file of weights.
        TypeError: `module:callable` is no callable or returns no model.
    """
    if new_head and weights is None:
        raise ValueError("new_head must come with weights, got none; a model without weights is all new")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        model = _start(name, classes, channels, size)
        _try(model, name, classes, channels, size)
    if weights is not None:
        load_weights(model, weights, new_head=new_head)
    return model


def _start(name: str, classes: int, channels: int, size: int) -> nn.Module:
    if name in _SMALL:
        widths, stride = _SMALL[name]
        return SmallNet(classes, in_channels=channels, widths=widths, size=size, stride=stride)
    if wide := _WIDE_RESNET.fullmatch(name):
        return WideResNet(classes, depth=int(wide[1]), widen=int(wide[2]), in_channels=channels)
    if name.startswith("timm:"):
        return _from_timm(name.removeprefix("timm:"), classes, channels, size)
    if ":" in name:
        return _from_user(name, classes)
    from tamis.models.torchvision_classifier import names, torchvision_classifier  # a slow import

    if name in names():
        return torchvision_classifier(name, classes=classes, channels=channels, size=size)
    raise ValueError(_unknown("model", name, [*_SMALL, "wrn-28-10", *names()]))


def _unknown(what: str, name: str, known: list[str]) -> str:
    return f"{what} must be a known name, got {name!r}; the nearest are {_nearest(name, known)}"


def _nearest(name: str, known: list[str]) -> str:
    return ", ".join(difflib.get_close_matches(name.lower(), known, cutoff=0.0)) or "none"


def _from_timm(name: str, classes: int, channels: int, size: int) -> nn.Module:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"timm must be installed for model 'timm:{name}', got no such package; pip install 'tamis[timm]'"
        ) from error
    if not timm.is_model(name):  # also keeps out timm's hf-hub: names, which download
        raise ValueError(_unknown("timm model", name, timm.list_models()))
    card = timm.get_pretrained_cfg(name)
    sized: dict[str, Any] = {"img_size": size} if card is not None and card.fixed_input_size else {}
    return timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **sized)


def _from_user(name: str, classes: int) -> nn.Module:
    make = _find(name)
    try:
        takes = inspect.signature(make).parameters
    except ValueError:  # a callable written in C
        takes = {}
    model = make(num_classes=classes) if "num_classes" in takes else make()
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must return a torch.nn.Module, got {type(model).__name__} from {name!r}")
    return model


def _find(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"model must be 'module:callable', got {name!r}; name both sides of the colon")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise ModuleNotFoundError(
            f"model must name a module that can be imported, got {name!r}, no module {error.name!r}; "
            f"put its folder on PYTHONPATH",
            name=error.name,
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise TypeError(
            f"model must name a callable of {module_name!r}, got {attribute!r}; "
            f"the nearest are {_nearest(attribute, known)}"
        )
    return found


def _try(model: nn.Module, name: str, classes: int, channels: int, size: int) -> None:
    modes = [(module, module.training) for module in model.modules()]
    parameter = next(model.parameters(), None)
    device = None if parameter is None else parameter.device
    fit = f"images ({channels}, {size}, {size}) and give {classes} logits"
    model.eval()
    try:
        with torch.no_grad():
            answer = model(torch.zeros(1, channels, size, size, device=device))
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"model must take {fit}, got {name!r}: {reason}; resize, or take another model") from error
    finally:
        for module, mode in modes:
            module.training = mode
    shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
    if shape != (1, classes):
        raise ValueError(f"model must take {fit}, got {shape} from {name!r}; check its last layer")
