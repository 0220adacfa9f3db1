"""A detector, from what a user writes: also from the run folder of a training."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from tamis.detections import Detector
from tamis.history import read_samples
from tamis.models import ModuleDetector, open_detector
from tamis.models.mapped_detector import MappedDetector
from tamis.recipes.config import TrainConfig
from tamis.recipes.scorer import model_of_run


def detector_of(
    spec: str,
    *,
    class_names: Sequence[str] | None = None,
    device: str = "cpu",
    amp: str = "none",
    min_confidence: float = 0.01,
) -> Detector:
    """What `open_detector` opens, or the model of a run after its last epoch.

    Raises:
        ValueError: a run of another task, or as `open_detector`.
        FileNotFoundError: a run without a checkpoint, or as `open_detector`.
    """
    if not is_run(spec):
        return open_detector(spec, class_names=class_names, device=device, amp=amp, min_confidence=min_confidence)
    model, names, _ = module_of_run(Path(spec))
    detector = ModuleDetector(model, names, device, amp, min_confidence=min_confidence)
    return detector if class_names is None else MappedDetector(detector, None, class_names)


def is_run(spec: str) -> bool:
    """Whether a detector is named by the folder of its training."""
    return (Path(spec) / "run.json").is_file()


def module_of_run(run: Path) -> tuple[nn.Module, tuple[str, ...], TrainConfig]:
    """The detection module of a run after its last epoch, its classes, and the configuration of the run.

    Raises:
        ValueError: a run of another task.
        FileNotFoundError: a run without a checkpoint.
    """
    model, trained = model_of_run(run, "last")
    if trained.task != "detection":
        raise ValueError(f"detector must be a run of the task detection, got {trained.task!r} in {str(run)!r}")
    return model, tuple(read_samples(run / "ledger")[1]["classes"]), trained
