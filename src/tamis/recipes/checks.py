"""What every setting is held to, without torch: its type and its range."""

from collections.abc import Callable
from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Whole numbers above it overflow somewhere in torch, each in another way.
_LARGEST = (1 << 31) - 1
_COUNTS = ("epochs", "batch_size", "accumulate", "image_size", "processes", "scorer_epochs", "evaluate_every")
_SMALLEST_0 = ("crop", "threads", "workers", "balance", "refresh", "patch", "tile")
_RATES = ("lr", "instance_rate", "class_lr", "weight_decay", "instance_decay", "density_sigma", "density_scale")
_SHARES = ("momentum", "max_bad", "prune", "prune_to", "brightness", "contrast", "zoom")
_RANGES: tuple[tuple[str, Callable[[float], bool], tuple[str, ...]], ...] = (
    ("at least 1", lambda value: value >= 1, _COUNTS),
    ("at least 0", lambda value: value >= 0, (*_SMALLEST_0, "weight_decay", "instance_decay", "checkpoint_seconds")),
    ("above 0", lambda value: value > 0, ("lr", "instance_rate", "class_lr", "density_sigma", "density_scale")),
    ("in (0, 1)", lambda value: 0 < value < 1, ("hold_out", "ratio", "start", "step_factor")),
    ("in (0, 1]", lambda value: 0 < value <= 1, ("pace_start", "pace_full")),
    ("in [0, 1)", lambda value: 0 <= value < 1, _SHARES),
    ("in [0, 1]", lambda value: value == "auto" or 0 <= value <= 1, ("noise_ratio", "min_confidence")),
    ("finite", isfinite, _RATES),
    (f"at most {_LARGEST}", lambda value: value <= _LARGEST, (*_COUNTS, *_SMALLEST_0)),
    ("from -2**63 to 2**63 - 1", lambda value: -(1 << 63) <= value < 1 << 63, ("seed",)),
)


def check_ranges(config: object) -> None:
    """Refuse a setting outside its range; None and settings that are not there are in every range."""
    for condition, holds, names in _RANGES:
        for name in names:
            value = getattr(config, name, None)
            if value is not None and not holds(value):
                raise ValueError(f"{name} must be {condition}, got {value!r}")


def check_types(config: "DataclassInstance") -> None:
    """Refuse a setting of another type than it is declared with: a whole number serves as a number, nothing else."""
    hints = get_type_hints(type(config))
    for each in fields(config):
        value, hint = getattr(config, each.name), hints[each.name]
        if not _is_a(value, hint):
            raise ValueError(f"{each.name} must be {_in_words(hint)}, got {value!r}; correct it")


def _is_a(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint) and isinstance(value, str)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_is_a(each, get_args(hint)[0]) for each in value)
    if get_args(hint):  # a union
        return any(_is_a(value, each) for each in get_args(hint))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return isinstance(value, hint)


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is list:
        return f"a list, each {_in_words(get_args(hint)[0])}"
    if get_args(hint):
        return " or ".join(map(_in_words, get_args(hint)))
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}
    return words.get(hint, "null")
