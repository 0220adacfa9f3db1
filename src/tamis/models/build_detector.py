"""From a detector's name to a detection module."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from tamis.detections import Detections
from tamis.models.detector_weights import load_detector
from tamis.models.naming import own_model, unknown
from tamis.models.new_head import classes_of_weights, taken_over

_OWN = ("centernet-tiny", "centernet-small")
_TRY = 128  # pixels, the side of the image that a module is tried on


def build_detector(
    name: str,
    classes: int | Sequence[str],
    *,
    weights: Path | None = None,
    new_head: bool = False,
    seed: int | None = None,
) -> nn.Module:
    """A detection module, in training mode, on the CPU: images to detections, or with targets to a loss for each.

    `module(inputs)`: float (b, 3, h, w) in [0, 1] -> b `Detections` in pixels of the inputs, most confident first.
    `module(inputs, targets)`: float32 (b, k, 5), rows x1, y1, x2, y2, label with label -1 for padding -> losses
    float32 (b,). Nothing is downloaded.

    Args:
        name: `centernet-tiny`, `centernet-small`; a detector of torchvision, say `fasterrcnn_resnet18_fpn` (see
            docs/detectors.md); or `module:callable`, a callable of your own that returns a detection module and is
            given `num_classes` if it takes it. Only such a name, with a colon, imports code.
        classes: number of classes, without a background, or their names.
        weights: a state dict to start from, `.safetensors`, `.pt` or `.pth`; torchvision's own files will do.
        new_head: for weights of other classes: the tensors whose shapes depend on the number of classes are fresh. With
            names, classes of the same name (and a background) keep their part of the head, if the file has names or is
            one of torchvision's, of COCO's classes; see `same_classes`.
        seed: makes the start a function of this number alone and leaves torch's default generator as it was;
            None takes the start from that generator.

    Raises:
        ValueError: an unknown name (with the nearest ones), no class, a module that does not do as above, or weights
            that do not fit.
        ModuleNotFoundError: a `module` that cannot be found.
        FileNotFoundError: no such file of weights.
        TypeError: `module:callable` is no callable or returns no module.
    """
    count = classes if isinstance(classes, int) else len(classes)
    if count < 1:
        raise ValueError(f"classes must be at least 1, got {classes!r}; name what is to be found")
    if new_head and weights is None:
        raise ValueError("new_head must come with weights, got none; a detector without weights is all new")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        module = _start(name, count)
        if weights is None:
            _calibrate(module, name)
        wider = _start(name, count + 1) if new_head else None
    if weights is None:
        return module.train()
    known = wider is not None and not isinstance(classes, int) and ":" not in name
    old = classes_of_weights(name, Path(weights)) if known else None
    if old is None or isinstance(classes, int):
        load_detector(module, Path(weights), wider)
    else:
        load_detector(module, Path(weights), wider, partial(taken_over, old=old, new=classes))
    return module.train()


def _start(name: str, classes: int) -> nn.Module:
    if name in _OWN:
        from tamis.models.centernet import SMALL, TINY, CenterNet

        return CenterNet(classes, widths=TINY if name == "centernet-tiny" else SMALL)
    if ":" in name:
        module = own_model(name, num_classes=classes)
        _try(module, name, classes)
        return module
    from tamis.models.torchvision_detector import NAMES, torchvision_detector  # a slow import

    if name in NAMES:
        return torchvision_detector(name, classes)
    raise ValueError(unknown("detector", name, [*_OWN, *NAMES]))


def _calibrate(module: nn.Module, name: str) -> None:
    if ":" in name or name in _OWN:
        return
    from tamis.models.detector_parts import calibrate

    calibrate(module, _TRY)


def _try(module: nn.Module, name: str, classes: int) -> None:
    """Refuse a module of the user's that does not do what a detection module does."""
    inputs = torch.zeros(1, 3, _TRY, _TRY)
    targets = torch.tensor([[[16.0, 16.0, 64.0, 64.0, 0.0], [0.0, 0.0, 0.0, 0.0, -1.0]]])
    fit = f"images (1, 3, {_TRY}, {_TRY}) and give a list of Detections, and with targets (1, 2, 5) losses (1,)"
    if getattr(module, "classes", classes) != classes:
        raise ValueError(f"detector must be for {classes} classes, got {module.classes!r} from {name!r}")
    try:
        with torch.no_grad():
            found, losses = module.eval()(inputs), module.train()(inputs, targets)
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"detector must take {fit}, got {name!r}: {reason}; see docs/detectors.md") from error
    good = isinstance(found, list) and len(found) == 1 and isinstance(found[0], Detections)
    if not good or not isinstance(losses, Tensor) or losses.shape != (1,):
        got = (
            f"{type(found).__name__} and {tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__}"
        )
        raise ValueError(f"detector must take {fit}, got {got} from {name!r}; see docs/detectors.md")
