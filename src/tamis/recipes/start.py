"""Where the training of a detector starts, from what names the detector."""

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from tamis.models import save_detector
from tamis.models.open_detector import SHIPPED
from tamis.recipes.detector_of import is_run, module_of_run

_FILE = "start.safetensors"


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


def start_of(spec: str, folder: Path) -> Start:
    """The parts of NAME=weights-file, of a detector that comes with tamis, or of the run folder of a training.

    Args:
        spec: what names the detector.
        folder: where weights of a run are written, with the names of their classes.

    Raises:
        ValueError: a detector that cannot be trained here, or a run of another task.
        FileNotFoundError: a run without a checkpoint.
    """
    if spec in SHIPPED:
        return Start(SHIPPED[spec], Path(str(files("tamis.models"))) / "data" / f"{spec}.safetensors", spec)
    if is_run(spec):
        module, names, trained = module_of_run(Path(spec))
        save_detector(module, names, folder / _FILE)
        return Start(trained.model, folder / _FILE, f"{trained.model}={folder / _FILE}")
    name, equals, file = spec.partition("=")
    if not equals:
        raise ValueError(
            f"student must be one that can be trained, NAME=weights-file, a run folder or {' or '.join(SHIPPED)}, got "
            f"{spec!r}; cull with it, then train another with `tamis train --task detection`"
        )
    return Start(name, Path(file), spec)
