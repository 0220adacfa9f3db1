"""Models of Ultralytics (YOLO and others) as detectors; their package comes with `tamis[ultralytics]`."""

from pathlib import Path

import torch
from torch import Tensor

from tamis.detections import Detections

_MOST = 100


class UltralyticsDetector:
    """A detector out of a `.pt` or `.onnx` file of Ultralytics.

    A `.pt` file of theirs is a pickle: opening one runs what is in it, so open only files that you trust.

    Attributes:
        class_names: those of the file.

    Args:
        path: the file; it must be there, since Ultralytics would download one by its name.
        device: where it runs.
        min_confidence: boxes below it are left out.

    Raises:
        FileNotFoundError: no such file.
        ImportError: the package is missing.
        ValueError: its classes are not numbered from 0.
    """

    def __init__(self, path: Path, *, device: torch.device | str = "cpu", min_confidence: float = 0.01) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"detector must be an existing file, got {str(path)!r}; nothing is downloaded")
        try:
            from ultralytics import YOLO  # pyright: ignore[reportMissingImports]: an extra
        except ImportError as error:
            raise ImportError(
                "ultralytics must be installed for 'ultralytics:FILE', got no such package; "
                "pip install 'tamis[ultralytics]'"
            ) from error
        self._model = YOLO(str(path.resolve()), task="detect")
        names = dict(self._model.names)
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"classes must be numbered from 0, got {sorted(names)[:10]} in {str(path)!r}")
        self.class_names = tuple(str(names[number]) for number in range(len(names)))
        self.device = device
        self.min_confidence = min_confidence

    def __call__(self, images: Tensor) -> list[Detections]:
        """uint8 (b, 3, h, w) RGB -> b detections on the CPU, in pixels of these images."""
        # Arrays are taken for BGR, as OpenCV has them.
        arrays = [each.flip(0).permute(1, 2, 0).contiguous().cpu().numpy() for each in images]
        size = [-(-side // 32) * 32 for side in images.shape[-2:]]
        answers = self._model.predict(
            arrays, imgsz=size, conf=self.min_confidence, max_det=_MOST, device=str(self.device), verbose=False
        )
        return [self._detections(each.boxes) for each in answers]

    def _detections(self, boxes) -> Detections:
        found = Detections(boxes.xyxy.float(), boxes.conf.float(), boxes.cls.long()).to("cpu")
        return found[found.scores.argsort(descending=True, stable=True)].above(self.min_confidence)
