"""From what a user writes to a detector that runs."""

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TypedDict, cast

import torch
from torch import nn

from tamis.detections import Detector
from tamis.models.build_detector import build_detector
from tamis.models.class_names import COCO
from tamis.models.detector_weights import read_class_names
from tamis.models.mapped_detector import MappedDetector
from tamis.models.module_detector import ModuleDetector
from tamis.models.naming import find_callable, nearest

# Name of the module and the file of weights that comes with the package.
SHIPPED = {"street-student": "centernet-tiny", "street-teacher": "centernet-small"}
_FORMS = "NAME=weights.safetensors, file.onnx, ultralytics:file.pt, module:callable, " + " or ".join(SHIPPED)


def open_detector(
    spec: str,
    *,
    class_names: Sequence[str] | None = None,
    class_map: Mapping[str, str | None] | None = None,
    device: torch.device | str = "cpu",
    amp: str = "none",
    min_confidence: float = 0.01,
) -> Detector:
    """A detector of uint8 images; nothing is downloaded.

    Args:
        spec: `NAME=weights-file`, NAME as in `build_detector`; a `.onnx` file, see `OnnxDetector`;
            `ultralytics:file.pt`, with the package of Ultralytics; `module:callable`, a callable of your own that
            returns a `Detector` or a detection module; `street-student` or `street-teacher`, which come with tamis.
        class_names: the classes to keep, in this order, after `class_map`. Where the detector does not know what its
            classes are called, their names; a detector of 80 classes without names is one of COCO, and a file of
            torchvision's has COCO's names, if the names do not say otherwise.
        class_map: from the detector's names to others, several may become one ({"truck": "car"}); None leaves a class
            out. See `MappedDetector`.
        device: where it runs; an ONNX file runs on the CPU.
        amp: precision of a detection module: "none", "bf16" or "fp16".
        min_confidence: boxes below it are left out.

    Raises:
        ValueError: none of these forms, an unknown name (with the nearest), a file that cannot be read as a
            detector, or classes that it does not have.
        FileNotFoundError: no such file.
        ImportError: a package is missing; says which extra brings it.
        TypeError: `module:callable` returns neither.
    """
    running: _Running = {"device": device, "amp": amp, "min_confidence": min_confidence}
    # Names that COCO does not have, whatever the map makes of COCO's, can only be those of a detector without names.
    given = None if class_names is None or set(class_names) <= {*COCO, *(class_map or {}).values()} else class_names
    opened = _open(spec, given, running)
    if class_map or (class_names is not None and tuple(class_names) != opened.class_names):
        return MappedDetector(opened, class_map, class_names)
    return opened


class _Running(TypedDict):
    device: torch.device | str
    amp: str
    min_confidence: float


def _open(spec: str, given: Sequence[str] | None, running: _Running) -> Detector:
    if spec in SHIPPED:
        with as_file(files("tamis.models") / "data" / f"{spec}.safetensors") as path:
            return _from_weights(SHIPPED[spec], path, None, running)
    if spec.endswith(".onnx"):
        from tamis.models.onnx_detector import OnnxDetector

        return OnnxDetector(Path(spec), given, min_confidence=running["min_confidence"])
    if spec.startswith("ultralytics:"):
        from tamis.models.ultralytics_detector import UltralyticsDetector

        path = Path(spec.partition(":")[2])
        return UltralyticsDetector(path, device=running["device"], min_confidence=running["min_confidence"])
    if "=" in spec:
        name, _, file = spec.partition("=")
        return _from_weights(name, Path(file), given, running)
    if ":" in spec:
        return _from_callable(spec, given, running)
    hint = f"did you mean {nearest(spec, list(SHIPPED))}?" if "." not in spec else "write NAME=FILE for weights"
    raise ValueError(f"detector must be {_FORMS}, got {spec!r}; {hint}")


def _from_weights(name: str, path: Path, given: Sequence[str] | None, running: _Running) -> Detector:
    names = read_class_names(path) or given
    if names is None and ":" not in name:
        from tamis.models.torchvision_detector import COCO_OUTPUTS, NAMES  # a slow import

        if name in NAMES:
            module = build_detector(name, len(COCO_OUTPUTS), weights=path)
            return MappedDetector(ModuleDetector(module, COCO_OUTPUTS, **running), class_names=COCO)
    if names is None:
        raise ValueError(f"class_names must name the classes of {str(path)!r}, got none; list them in order")
    return ModuleDetector(build_detector(name, len(names), weights=path), names, **running)


def _from_callable(spec: str, given: Sequence[str] | None, running: _Running) -> Detector:
    made = find_callable(spec)()
    names = getattr(made, "class_names", None) or given
    if not callable(made):
        raise TypeError(f"detector must be a Detector or a module, got {type(made).__name__} from {spec!r}")
    if not names:
        raise ValueError(f"class_names must name the classes of the detector, got none for {spec!r}; list them")
    if isinstance(made, nn.Module):
        return ModuleDetector(made, tuple(names), **running)
    if not hasattr(made, "class_names"):
        raise TypeError(f"detector must have class_names, got {type(made).__name__} from {spec!r} without; set them")
    return cast(Detector, made)
