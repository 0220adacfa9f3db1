"""Student and teacher of a cull: opened, brought to the same classes, and what one image costs them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tamis.detections import Detector
from tamis.fit.settings import device_of
from tamis.models.class_names import check_same_classes
from tamis.models.detector_flops import flops
from tamis.models.mapped_detector import MappedDetector
from tamis.recipes.cull_config import CullConfig
from tamis.recipes.detector_of import detector_of, is_run
from tamis.run import checkpoint_of
from tamis.scores import ConfidenceLoss

_LEAST = 0.01  # confidence from which on a detector tells a box at all
_LARGEST = 1 << 20  # bytes of a class map


@dataclass(frozen=True)
class Detectors:
    """Student and teacher of the same classes.

    Attributes:
        teacher: labels what is left.
        student: None where the strategy does not ask it.
    """

    teacher: Detector
    student: Detector | None
    _flops: dict[tuple[str, int, int], int | None] = field(default_factory=dict)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What labels are positions in."""
        return tuple(self.teacher.class_names)

    def flops(self, who: str, height: int, width: int) -> int | None:
        """Operations of the "student" or the "teacher" for an image of this size; None = unknown. Counted once."""
        key = who, height, width
        if key not in self._flops:
            self._flops[key] = flops(getattr(self, who), height, width)
        return self._flops[key]


def open_detectors(config: CullConfig, student: Detector | None = None, teacher: Detector | None = None) -> Detectors:
    """Open what a configuration names, where it is not given, and bring both to the same list of classes.

    Raises:
        ValueError: the classes differ; the message says both lists.
        FileNotFoundError: weights are missing.
    """
    device = str(device_of(config.device))

    def opened(spec: str) -> Detector:
        least = min(_LEAST, config.least_confidence)
        # With a map the list of classes is of the new names: what is in a file is told by the file alone.
        names = None if config.class_map else config.classes or None
        return detector_of(spec, class_names=names, device=device, amp=config.amp, min_confidence=least)

    needed = config.scored or config.compared
    pair = [teacher or opened(config.teacher)] + ([student or opened(config.student)] if needed else [])
    renamed = class_map_of(config.class_map)
    if unknown := [name for name in renamed if not any(name in each.class_names for each in pair)]:
        raise ValueError(
            f"class_map must name classes of the detectors, got {unknown[0]!r}; they have "
            f"{', '.join(dict.fromkeys(name for each in pair for name in each.class_names))}"
        )
    pair = [_mapped(each, renamed, config.classes) for each in pair]
    if len(pair) == 1:
        return Detectors(pair[0], None)
    if sorted(pair[0].class_names) == sorted(pair[1].class_names):
        pair[0] = _mapped(pair[0], {}, list(pair[1].class_names))  # the same in another order
    check_same_classes(pair[1], pair[0])
    return Detectors(pair[0], pair[1])


def _mapped(detector: Detector, renamed: Mapping[str, str | None], classes: list[str]) -> Detector:
    own = {name: new for name, new in renamed.items() if name in detector.class_names}
    if not own and (not classes or tuple(classes) == tuple(detector.class_names)):
        return detector
    return MappedDetector(detector, own, classes or None)


def class_map_of(given: list[str]) -> Mapping[str, str | None]:
    """Old names to new ones: of pairs such as truck=car, or of one .yaml or .json file.

    Raises:
        ValueError: the file does not hold a map of texts.
        OSError: it cannot be read.
    """
    if len(given) != 1 or "=" in given[0]:
        return dict(pair.split("=", 1) for pair in given)
    path = Path(given[0])
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"class_map must be below {_LARGEST:,} bytes, got {path.stat().st_size:,} in {given[0]!r}")
    text = path.read_text("utf-8")
    found = json.loads(text) if path.suffix == ".json" else _yaml(text)
    texts = isinstance(found, dict) and all(
        isinstance(old, str) and (new is None or isinstance(new, str)) for old, new in found.items()
    )
    if not texts:
        raise ValueError(f"class_map must be a map from names to names, got another content in {given[0]!r}")
    return dict(found)


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"class_map must be YAML, got {' '.join(str(error).split())}; correct it") from error


def loss_of(config: CullConfig) -> ConfidenceLoss:
    """The confidence loss that a configuration describes; where its level is not known (auto), from the lowest on."""
    loss = ConfidenceLoss() if config.score == "paper" else ConfidenceLoss.published()
    own = {name: getattr(config, name) for name in ("q", "b", "log_base") if getattr(config, name) is not None}
    return replace(
        loss, **own, min_confidence=config.least_confidence, min_side=config.min_side, per_class=config.per_class
    )


def digest_of_weights(spec: str) -> str | None:
    """SHA-256 of the file that a detector's name leads to, of a run the last checkpoint's; None if there is none."""
    run = (str(checkpoint_of(Path(spec), "last") / "model.safetensors"),) if is_run(spec) else ()
    for text in (*run, spec, spec.partition("=")[2], spec.partition(":")[2]):
        if text and Path(text).is_file():
            with Path(text).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return None
