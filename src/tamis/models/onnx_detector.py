"""ONNX files as detectors, through onnxruntime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tamis.detections import Detections
from tamis.models.class_names import COCO
from tamis.models.detector_weights import names_of_json
from tamis.models.onnx_flops import graph_flops
from tamis.models.onnx_heads import Size, head_of

_HEADS = "YOLOX (1, n, 5 + classes), FastestDet (1, 5 + classes, rows, columns), or boxes, scores and labels"
_KEY = "class_names"
_BATCH = 16
_MOST_BYTES = 2_000_000_000  # of what ONNX can hold in one file


class OnnxDetector:
    """A detector out of an ONNX file, on the CPU, with as many threads as torch has.

    Three kinds of outputs are known by their shapes: YOLOX's (images in [0, 255], BGR, with a grey edge), FastestDet's
    (in [0, 1], BGR, stretched) and three outputs boxes (k, 4), scores (k,) and labels (k,), each perhaps with a first
    dimension for the image (in [0, 1], RGB, stretched), which is what `export_onnx` writes. Nothing but the file itself
    is read: not what it says lies in other files.

    Attributes:
        class_names: from the file's metadata ("class_names", a JSON list), else as given, else COCO's for 80 classes.
        size: height and width that images are resized to: the only ones that the file takes, or else those in its
            metadata ("height" and "width"); None = images stay as they are.

    Args:
        path: the file.
        class_names: for a file without any.
        min_confidence: boxes below it are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no ONNX file, not a detector of these kinds, or has as many names as it has no classes.
        ImportError: onnxruntime is missing.
    """

    def __init__(self, path: Path, class_names: Sequence[str] | None = None, *, min_confidence: float = 0.01) -> None:
        self.path = Path(path)
        self.min_confidence = min_confidence
        self._content = _read(self.path)
        self._session = _session(self._content, self.path)
        self._batch, self.size = _input(self._session, self.path)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if self.size is None and {"height", "width"} <= metadata.keys():
            self.size = (_side(metadata["height"], self.path), _side(metadata["width"], self.path))
        outputs = self._session.get_outputs()
        head = head_of([each.shape for each in outputs], self.size)
        if head is None:
            shapes = ", ".join(f"{each.name} {each.shape}" for each in outputs)
            raise ValueError(f"outputs must be {_HEADS}, got {shapes[:200]} in {str(path)!r}; export it so")
        self._head = head
        self._order = _order(outputs) if len(outputs) == 3 else [outputs[0].name]
        if _KEY in metadata:
            class_names = names_of_json(metadata[_KEY], str(path))
        self.class_names = _names(class_names, head.classes, self.path)

    def __call__(self, images: Tensor) -> list[Detections]:
        """uint8 (b, 3, h, w) RGB -> b detections, in pixels of these images."""
        height, width = images.shape[-2:]
        size = self.size or (height, width)
        found: list[Detections] = []
        for part in images.cpu().split(self._batch):
            inputs, (x, y) = self._head.prepare(part, size)
            name = self._session.get_inputs()[0].name
            values = self._session.run(self._order, {name: np.ascontiguousarray(inputs.numpy())})
            outputs = [torch.from_numpy(np.asarray(each)) for each in values]
            for i in range(len(part)):
                mine = [each[i] for each in outputs] if outputs[0].dim() > 2 else outputs
                each = self._head.read(mine, size, self.min_confidence).scaled(1 / x, 1 / y)
                found.append(self._checked(each, height, width))
        return found

    def flops(self, height: int, width: int) -> int | None:
        """Floating point operations for an image, at the file's own size if it has one; None without `onnx`."""
        return graph_flops(self._content, *(self.size or (height, width)))

    def _checked(self, found: Detections, height: int, width: int) -> Detections:
        most = torch.tensor((width, height, width, height))
        boxes = found.boxes.clamp(min=0).minimum(most)
        good = ((boxes[:, 2:] > boxes[:, :2]).all(1)) & boxes.isfinite().all(1)
        found = Detections(boxes, found.scores, found.labels)[good]
        if len(found) and not 0 <= int(found.labels.min()) <= int(found.labels.max()) < len(self.class_names):
            raise ValueError(
                f"labels must be in [0, {len(self.class_names)}), got {int(found.labels.min())} to "
                f"{int(found.labels.max())} from {str(self.path)!r}; name all its classes"
            )
        return found


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"detector must be an existing file, got {str(path)!r}; nothing is downloaded")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"detector must be at most 2 GB, got {path.stat().st_size} bytes in {str(path)!r}")
    return path.read_bytes()


def _session(content: bytes, path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "onnxruntime must be installed for .onnx files, got no such package; pip install 'tamis[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Weights in other files are looked for in a folder that does not exist.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", f"{path.resolve()}/none")
    options.log_severity_level = 4  # what is wrong is in the exception
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a damaged or hostile file can fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ValueError(
            f"detector must be an ONNX file that onnxruntime can run, got {str(path)!r}: {reason}"
        ) from error


def _input(session: Any, path: Path) -> tuple[int, Size | None]:
    """Most images at a time, and the height and width if they are fixed."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) != 4 or shape[1] not in (3, None):
        got = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        raise ValueError(f"input must be one of float32 (b, 3, h, w), got {got[:200]} in {str(path)!r}")
    batch, _, height, width = shape
    if isinstance(batch, int) and batch != 1:
        raise ValueError(f"input must be for 1 image or for any number, got {batch} in {str(path)!r}; export it so")
    if isinstance(height, int) and isinstance(width, int):
        return 1 if isinstance(batch, int) else _BATCH, (height, width)
    return 1, None


def _side(text: str, path: Path) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text)):
        raise ValueError(f"height and width must be pixels, got {text[:20]!r} in the metadata of {str(path)!r}")
    return int(text)


def _order(outputs: Sequence[Any]) -> list[str]:
    """Names of the boxes, scores and labels, by name or, failing that, by type and shape."""
    names = [each.name for each in outputs]
    if set(names) == {"boxes", "scores", "labels"}:
        return ["boxes", "scores", "labels"]
    labels = next((each.name for each in outputs if "int" in each.type), names[2])
    others = [each for each in outputs if each.name != labels]
    others.sort(key=lambda each: len(each.shape), reverse=True)
    return [others[0].name, others[1].name, labels]


def _names(given: Sequence[str] | None, classes: int | None, path: Path) -> tuple[str, ...]:
    if given is None and classes == len(COCO):
        return COCO
    if given is None:
        raise ValueError(f"class_names must name the classes of {str(path)!r}, got none; list them in order")
    if classes is not None and len(given) != classes:
        raise ValueError(f"class_names must be one for each of {classes} classes, got {len(given)} for {str(path)!r}")
    return tuple(given)
