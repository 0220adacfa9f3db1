"""Detection modules as ONNX files that need nothing but a runtime."""

import copy
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tamis.detections import Detections
from tamis.files import sync_file, sync_folder
from tamis.models.module_detector import ModuleDetector
from tamis.models.onnx_detector import OnnxDetector

_NAMES = ["boxes", "scores", "labels"]
_TRIALS = 2  # random images of each kind
_EDGE = 1e-3  # of confidence: boxes so close to where a list ends may be on one side and not on the other


def export_onnx(
    module: nn.Module, class_names: Sequence[str], path: Path, height: int, width: int, *, dynamic: bool = False
) -> float:
    """Write a detection module as an ONNX file and compare the two on random images.

    The file takes float32 (1, 3, h, w) RGB in [0, 1] and gives boxes (k, 4) in pixels of that, scores (k,) and labels
    (k,), perhaps with a first dimension of 1. Its metadata has "class_names" (a JSON list), "height", "width" and
    "pixels", and `open_detector` reads it again. All modules of `build_detector` can be exported, non-maximum
    suppression included.

    Args:
        module: a detection module; it stays as it is.
        class_names: what its labels are positions in.
        path: a `.onnx` file; replaced in one step.
        height: of the images, in pixels.
        width: of the images, in pixels.
        dynamic: the file takes images of any size, and only says which one was chosen; for modules with `raw`
            (CenterNet), whose outputs have a size of their own. Torchvision's are written for one size.

    Returns:
        The largest difference of a coordinate, in pixels, or of a confidence between torch and onnxruntime, whatever
        the order of the boxes; NaN if nothing was found on any of the images.

    Raises:
        ValueError: a module that cannot be exported, or not as dynamic; a size that is not positive.
        ImportError: a package is missing.
    """
    if min(height, width) < 1:
        raise ValueError(f"height and width must be at least 1, got {height!r} and {width!r}")
    if dynamic and not hasattr(module, "raw"):
        raise ValueError(f"dynamic must be False for {type(module).__name__}, got True; export it once for each size")
    own = copy.deepcopy(module).cpu().eval()
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        _write(own, temporary, height, width, dynamic)
        _describe(temporary, class_names, height, width)
        sync_file(temporary)
        difference = _difference(own, tuple(class_names), temporary, height, width)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return difference


class _Outputs(nn.Module):
    """Three tensors for one image, in the place of `Detections`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw = getattr(self.module, "raw", None)
        if raw is not None:
            return raw(images)
        found = self.module(images)[0]
        return found.boxes, found.scores, found.labels


def _write(module: nn.Module, path: Path, height: int, width: int, dynamic: bool) -> None:
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {"dynamo": False, "opset_version": 17}
    if hasattr(module, "raw"):
        # The newer exporter does not take numbers of boxes that hang on the image, as after suppression.
        sizes = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC} if dynamic else None
        settings = {"dynamo": True, "external_data": False, "dynamic_shapes": (sizes,), "verbose": False}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of constants in the graph, which is what a fixed size makes of sizes
            torch.onnx.export(
                _Outputs(module), (images,), str(path), input_names=["images"], output_names=_NAMES, **settings
            )
    except ImportError as error:
        raise ImportError(
            f"onnx must be installed to export, got no package {error.name!r}; pip install 'tamis[onnx]'"
        ) from error
    except Exception as error:  # the exporter fails in many ways
        reason = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
        raise ValueError(
            f"module must be one that torch.onnx can export, got {type(module).__name__}: {reason}"
        ) from error


def _describe(path: Path, class_names: Sequence[str], height: int, width: int) -> None:
    import onnx

    model = onnx.load(path)
    about = {"class_names": json.dumps(list(class_names)), "height": height, "width": width, "pixels": "RGB in [0, 1]"}
    onnx.helper.set_model_props(model, {key: str(value) for key, value in about.items()})
    onnx.save(model, path)


def _difference(module: nn.Module, class_names: tuple[str, ...], path: Path, height: int, width: int) -> float:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(_TRIALS, 3, height, width, generator=generator)
    coarse = torch.rand(_TRIALS, 3, max(1, height // 32), max(1, width // 32), generator=generator)
    patches = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    images = (torch.cat([noise, patches]) * 255).to(torch.uint8)
    ours = ModuleDetector(module, class_names, batch_size=1)(images)
    theirs = OnnxDetector(path)(images)
    worst = [_farthest(a, b) for one, two in zip(ours, theirs, strict=True) for a, b in ((one, two), (two, one))]
    compared = [each for each in worst if each is not None]
    return max(compared, default=float("nan"))


def _farthest(found: Detections, others: Detections) -> float | None:
    """Of all boxes, how far the one that is farthest from the nearest of the other list is."""
    sure = found.above(float(found.scores.min()) + _EDGE) if len(found) else found
    if not len(sure):
        return None
    if not len(others):
        return float(sure.scores.max())
    boxes = (sure.boxes[:, None] - others.boxes).abs().amax(2)
    scores = (sure.scores[:, None] - others.scores).abs()
    apart = torch.maximum(boxes, scores).masked_fill(sure.labels[:, None] != others.labels, float("inf"))
    return float(apart.amin(1).max())
