"""What the builders of models share: known names, callables of one's own, and a first try."""

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def unknown(what: str, name: str, known: list[str]) -> str:
    """The line that refuses a name and tells the nearest ones."""
    return f"{what} must be a known name, got {name!r}; the nearest are {nearest(name, known)}"


def own_model(name: str, **settings: Any) -> nn.Module:
    """What the user's `module:callable` returns; it is given the settings that it takes.

    Raises:
        ValueError: one side of the colon is empty.
        ModuleNotFoundError: no such module.
        TypeError: it is no callable, or returns no model.
    """
    make = find_callable(name)
    try:
        takes = inspect.signature(make).parameters
    except ValueError:  # a callable written in C
        takes = {}
    model = make(**{key: value for key, value in settings.items() if key in takes})
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must return a torch.nn.Module, got {type(model).__name__} from {name!r}")
    return model


def first_try(model: nn.Module, name: str, shape: tuple[int, ...], fit: str) -> tuple[int, ...] | str:
    """The shape of what a model in evaluation mode gives for black images; the name of its type if it is no tensor.

    Args:
        model: tried on its own device; its modes stay as they are.
        name: of the model, for the error.
        shape: of the images.
        fit: what the model must do, for the error: "images ... and give ...".

    Raises:
        ValueError: the model does not take such images.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameter = next(model.parameters(), None)
    device = None if parameter is None else parameter.device
    model.eval()
    try:
        with torch.no_grad():
            answer = model(torch.zeros(shape, device=device))
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"model must take {fit}, got {name!r}: {reason}; resize, or take another model") from error
    finally:
        for module, mode in modes:
            module.training = mode
    return tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__


def find_callable(name: str) -> Callable[..., Any]:
    """What `module:callable` names.

    Raises:
        ValueError: one side of the colon is empty.
        ModuleNotFoundError: no such module.
        TypeError: it is no callable.
    """
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
            f"the nearest are {nearest(attribute, known)}"
        )
    return found


def nearest(name: str, known: list[str]) -> str:
    """The names that are most alike, for an error."""
    return ", ".join(difflib.get_close_matches(name.lower(), known, cutoff=0.0)) or "none"
