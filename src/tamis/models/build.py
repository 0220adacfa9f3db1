"""From a model's name to a model."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tamis.models.naming import first_try, own_model, unknown
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
        return own_model(name, num_classes=classes)
    from tamis.models.torchvision_classifier import names, torchvision_classifier  # a slow import

    if name in names():
        return torchvision_classifier(name, classes=classes, channels=channels, size=size)
    raise ValueError(unknown("model", name, [*_SMALL, "wrn-28-10", *names()]))


def _from_timm(name: str, classes: int, channels: int, size: int) -> nn.Module:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"timm must be installed for model 'timm:{name}', got no such package; pip install 'tamis[timm]'"
        ) from error
    if not timm.is_model(name):  # also keeps out timm's hf-hub: names, which download
        raise ValueError(unknown("timm model", name, timm.list_models()))
    card = timm.get_pretrained_cfg(name)
    sized: dict[str, Any] = {"img_size": size} if card is not None and card.fixed_input_size else {}
    return timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **sized)


def _try(model: nn.Module, name: str, classes: int, channels: int, size: int) -> None:
    fit = f"images ({channels}, {size}, {size}) and give {classes} logits"
    shape = first_try(model, name, (1, channels, size, size), fit)
    if shape != (1, classes):
        raise ValueError(f"model must take {fit}, got {shape} from {name!r}; check its last layer")
