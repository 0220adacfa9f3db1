"""Where the training of a detector starts, from what names the detector."""

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from tamis.models.open_detector import SHIPPED


class Start(NamedTuple):
    """A detector that can be trained.

    Attributes:
        model: its name, as of `build_detector`.
        weights: what it starts from.
        spec: what `open_detector` takes.
    """

    model: str
    weights: Path
    spec: str


def start_of(spec: str) -> Start:
    """The parts of NAME=weights-file, or of a detector that comes with tamis.

    Raises:
        ValueError: a detector that cannot be trained here.
    """
    if spec in SHIPPED:
        return Start(SHIPPED[spec], Path(str(files("tamis.models"))) / "data" / f"{spec}.safetensors", spec)
    name, equals, file = spec.partition("=")
    if not equals:
        raise ValueError(
            f"student must be one that can be trained, NAME=weights-file or {' or '.join(SHIPPED)}, got {spec!r}; "
            "cull with it, then train another with `tamis train --task detection`"
        )
    return Start(name, Path(file), spec)
