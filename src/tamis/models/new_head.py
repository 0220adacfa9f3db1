"""The head of a detector for other classes: what the weights know of classes with the same name is taken over."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from tamis.models.class_names import listed
from tamis.models.detector_weights import read_class_names
from tamis.models.weights import read_weights

# Outputs before those of the classes (torchvision's background), and whether the outputs of a class lie together: the
# four sides of its boxes do, one for each anchor do not.
_HEADS = (
    (re.compile(r"heat\.(weight|bias)$"), 0, False),
    (re.compile(r"model\.head\.classification_head\."), 1, False),
    (re.compile(r"model\.roi_heads\.box_predictor\.cls_score\."), 1, False),
    (re.compile(r"model\.roi_heads\.box_predictor\.bbox_pred\."), 1, True),
)
_TORCHVISIONS = re.compile(r"(cls_score|cls_logits|classification_head\.module_list\..*)\.bias$")


def classes_of_weights(name: str, path: Path) -> tuple[str, ...] | None:
    """The classes that a file of weights is for: in its metadata, or COCO's in a file of torchvision's; None = unknown.

    Args:
        name: of the detector, as in `build_detector`.
        path: of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or its list is not one of different names.
    """
    names = read_class_names(path)
    if names is not None or ":" in name:
        return names
    from tamis.models.torchvision_detector import COCO_OUTPUTS, NAMES  # a slow import

    if name not in NAMES:
        return None
    outputs = [len(value) for key, value in read_weights(path).items() if _TORCHVISIONS.search(key)]
    fits = bool(outputs) and any(not each % (len(COCO_OUTPUTS) + 1) for each in outputs)
    return COCO_OUTPUTS if fits else None


def same_classes(name: str, path: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    """Those of a list of classes whose part of the head `build_detector` takes over from weights of other classes.

    Args:
        name: of the detector, as in `build_detector`; of a module of your own nothing is taken over.
        path: of the weights.
        class_names: what is to be found.

    Raises:
        As `classes_of_weights`.
    """
    old = None if ":" in name else classes_of_weights(name, path)
    return tuple(class_names[new] for new, _ in _pairs(old or (), class_names))


def taken_over(
    fresh: Mapping[str, Tensor], state: Mapping[str, Tensor], old: Sequence[str], new: Sequence[str]
) -> dict[str, Tensor]:
    """A fresh head with the parts of the classes that a state has by the same name, and of its background.

    Args:
        fresh: tensors of the head, by key.
        state: of the same detector for the classes `old`.
        old: names of its classes.
        new: names of the fresh head's classes.

    Raises:
        ValueError: the state is not one of as many classes as `old`.
    """
    head = {key: value.clone() for key, value in fresh.items()}
    for key, value in head.items():
        layout = next(((first, together) for pattern, first, together in _HEADS if pattern.match(key)), None)
        if layout is None or key not in state:
            continue
        first, together = layout
        try:
            mine, theirs = (
                _by_class(each, first + len(names), together) for each, names in ((value, new), (state[key], old))
            )
            for place in range(first):
                mine[place] = theirs[place]
            for place, source in _pairs(old, new):
                mine[first + place] = theirs[first + source]
        except RuntimeError as error:
            raise ValueError(
                f"weights must have the classes that they name, got {tuple(state[key].shape)} in {key!r} for the "
                f"{len(old)} classes {listed(old, 5)}; save them with the right list"
            ) from error
    return head


def _by_class(values: Tensor, outputs: int, together: bool) -> Tensor:
    """A view whose first dimension is the outputs of the classes, the second what there is for each of them."""
    parts = values.unflatten(0, (outputs, -1) if together else (-1, outputs))
    return parts if together else parts.transpose(0, 1)


def _pairs(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Places of a class in the new list and in the old one, whatever its capitals."""
    places = {name.casefold(): place for place, name in enumerate(old)} | {
        name: place for place, name in enumerate(old)
    }
    found = [(place, places.get(name, places.get(name.casefold()))) for place, name in enumerate(new)]
    return [(place, source) for place, source in found if source is not None]
