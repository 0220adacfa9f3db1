"""Which settings of a training belong together: defaults that depend on the task, and settings that need another."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamis.recipes.config import TrainConfig

# A curriculum that prunes, and its parts alone.
CURRICULA = ("clip", "curriculum", "prune", "anti-curriculum", "random-order")

# What suits a task where nothing is said. Counting: Adam with 1e-4 as in the CLIP paper, section 3.1.
BY_TASK: Mapping[str, Mapping[str, Any]] = {
    "classification": {
        "model": "auto",
        "epochs": 30,
        "batch_size": 128,
        "optimizer": "SGD",
        "lr": 0.1,
        "schedule": "triangle",
        "weight_decay": 5e-4,
    },
    "counting": {
        "model": "csrnet",
        "epochs": 100,
        "batch_size": 8,
        "optimizer": "Adam",
        "lr": 1e-4,
        "schedule": "flat",
        "weight_decay": 0.0,
    },
    "detection": {
        "model": "centernet-tiny",
        "epochs": 20,
        "batch_size": 8,
        "optimizer": "AdamW",
        "lr": 5e-4,
        "schedule": "triangle",
        "weight_decay": 1e-4,
    },
}

_OF_COUNTING = (
    "at", "density", "density_sigma", "density_scale", "density_cache", "patch", "front_end", "score_per", "tile",
)  # fmt: skip
_OF_CLASSIFICATION = ("crop", "image_size", "oracle")
_OF_DETECTION = ("size", "zoom", "sigma_regression")
_OF_CURRICULA = (
    "pace", "pace_start", "pace_full", "prune", "prune_to", "reading", "pace_unit", "balance", "scorer",
    "scorer_column", "scorer_epochs", "refresh",
)  # fmt: skip


def check_together(config: "TrainConfig", defaults: Mapping[str, Any]) -> None:
    """Refuse settings of a training that do not go together.

    Args:
        config: a `TrainConfig`.
        defaults: of its settings, by name.

    Raises:
        ValueError: the first pair that does not fit, and what to do.
    """
    given = {name for name, default in defaults.items() if getattr(config, name) != default}
    method, rows, task = config.method, config.data_parameters, config.task
    for names, fits, needed, got in (
        (_OF_COUNTING, task == "counting", "the task counting", task),
        (_OF_CLASSIFICATION, task == "classification", "the task classification", task),
        (_OF_DETECTION, task == "detection", "the task detection", task),
        (("annotations", "brightness", "contrast"), task != "classification", "counting or detection", task),
        (("new_head", "noise"), task != "counting", "classification or detection", task),
        (_OF_CURRICULA, method in CURRICULA, "a curriculum such as clip", method),
    ):
        for name in names:
            if not fits and name in given:
                raise ValueError(f"{name} must come with {needed}, got {got!r}; leave it out")
    if "start" in given and method not in ("sigma-drop", "loss-drop"):
        raise ValueError(f"start must come with sigma-drop or loss-drop, got {method!r}; leave it out")
    if rows == "none" and "preset" in given:
        raise ValueError(f"preset must come with data parameters, got {rows!r}; add --data-parameters")
    if rows == "none" and "sigma_regression" in given:
        raise ValueError(f"sigma_regression must come with data parameters, got {rows!r}; add --data-parameters")
    if method == "sigma-drop" and task == "detection":
        raise ValueError("method must be another for detection, got 'sigma-drop': sigma is of boxes, it drops images")
    if rows in ("none", "class") and given & {"instance_rate", "instance_decay"}:
        raise ValueError(f"instance settings must come with instance or joint, got {rows!r}; add --data-parameters")
    if task == "counting" and rows in ("class", "joint"):
        raise ValueError(f"data_parameters must be none or instance for counting, got {rows!r}; there are no classes")
    if rows in ("none", "instance") and "class_lr" in given:
        raise ValueError(f"class_lr must come with class or joint, got {rows!r}; add --data-parameters")
    if config.oracle and config.noise == "none":
        raise ValueError("oracle must come with noise, got none; without it no label is known to be wrong")
    if method == "sigma-drop" and rows in ("none", "class"):
        raise ValueError(
            f"data_parameters must be instance or joint for sigma-drop, got {rows!r}; add --data-parameters instance"
        )
    if config.reading == "compounding" and config.pace_unit == "batch":
        raise ValueError("pace_unit must be epoch for the reading compounding, got 'batch'; it prunes at every step")
    if config.scorer is None and "scorer_column" in given:
        raise ValueError("scorer_column must come with a table as --scorer, got none; leave it out")
    if method == "random-order" and given & {"scorer", "scorer_epochs", "refresh"}:
        raise ValueError("scorer must come with a curriculum by scores, got 'random-order'; leave it out")
    if config.scorer is not None and "scorer_epochs" in given:
        raise ValueError("scorer_epochs must come without --scorer, got both; a scorer that is given is not trained")
    if method == "prune" and given & {"pace", "pace_start", "pace_full", "pace_unit"}:
        raise ValueError("pace must come with a curriculum, got 'prune', which shows all from the start; take clip")
    if method == "curriculum" and given & {"prune", "prune_to", "reading"}:
        raise ValueError("prune must come with clip or prune, got 'curriculum', which leaves nothing out; take clip")
    if method == "anti-curriculum" and config.reading == "compounding":
        raise ValueError("reading must be lowest or algorithm1 for anti-curriculum, got 'compounding'; leave it out")


def without_curriculum(config: "TrainConfig", **changes: Any) -> "TrainConfig":
    """The same training without its curriculum, and without what is only for people: a scorer."""
    plain = {name: value for name, value in type(config).defaults(config.task).items() if name in _OF_CURRICULA}
    off = {"method": "uniform", "stretch": False, "history": False, "report": False, "calibrate": False}
    return replace(config, **plain, **off, **changes)
