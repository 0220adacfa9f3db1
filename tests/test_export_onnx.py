"""Detection modules as ONNX files, compared with torch through onnxruntime."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tamis.detections import Detections
from tamis.models import ModuleDetector, OnnxDetector, build_detector, export_onnx, flops, open_detector
from tamis.models.export_onnx import _farthest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NAMES = ["car", "person", "<script>"]


@pytest.fixture(scope="module")
def student() -> nn.Module:
    return build_detector("centernet-tiny", 3, seed=0)


def random_images(count: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def test_exported_file_is_the_student_again(student: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    assert export_onnx(student, NAMES, path, 48, 80) < 1e-3
    assert student.training
    assert list(tmp_path.iterdir()) == [path]
    detector = open_detector(str(path))
    assert isinstance(detector, OnnxDetector)
    assert detector.class_names == tuple(NAMES)
    assert detector.size == (48, 80)
    images = random_images(2, 48, 80)
    for one, two in zip(detector(images), ModuleDetector(student, NAMES)(images), strict=True):
        assert len(one) == len(two) > 10
        torch.testing.assert_close(one.boxes, two.boxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(one.scores, two.scores, rtol=1e-4, atol=1e-5)
    twice = detector(random_images(1, 96, 160))[0]
    assert float(twice.boxes[:, 2].max()) > 80
    assert detector.flops(1, 1) == flops(student, 48, 80)
    about = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert (about["height"], about["width"], json.loads(about["class_names"])) == ("48", "80", NAMES)


@pytest.mark.slow
def test_dynamic_file_takes_other_sizes(student: Any, tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    assert export_onnx(student, NAMES, path, 48, 80, dynamic=True) < 1e-3
    assert open_detector(str(path)).size == (48, 80)  # pyright: ignore[reportAttributeAccessIssue]
    session = onnxruntime.InferenceSession(path)
    for height, width in ((48, 80), (101, 203), (64, 33)):
        images = random_images(1, height, width).float() / 255
        with torch.no_grad():
            boxes, scores, _ = student.raw(images)
        found = session.run(["boxes", "scores"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found[1]), scores, rtol=1e-4, atol=1e-5)
        # Boxes whose scores differ in the last bits may have changed places: each has its like on the other side.
        ours, theirs = (
            torch.cat([box[0], score[0, :, None]], 1).double()[score[0] > 0.01]
            for box, score in ((boxes, scores), (torch.from_numpy(found[0]), torch.from_numpy(found[1])))
        )
        apart = torch.cdist(ours, theirs, compute_mode="donot_use_mm_for_euclid_dist")
        assert max(apart.amin(0).max(), apart.amin(1).max()) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "ssdlite320_mobilenet_v3_large",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_resnet18_fpn",
        "retinanet_resnet50_fpn",
        "ssd300_vgg16",
    ],
)
def test_torchvisions_can_be_exported_for_one_size(name: str, tmp_path: Path) -> None:
    module: Any = build_detector(name, 3, seed=0)
    if name == "ssd300_vgg16":
        for each in module.model.head.parameters():
            each.data *= 0.005  # fresh ones find everything with a confidence of 1, in no order
    path = tmp_path / "x.onnx"
    # With fresh weights boxes are far apart from their anchors, where the last digits of a float are worth pixels.
    assert export_onnx(module, NAMES, path, 96, 128) < 1
    assert open_detector(str(path)).class_names == tuple(NAMES)
    with pytest.raises(ValueError, match="dynamic must be False for"):
        export_onnx(module, NAMES, path, 96, 128, dynamic=True)


def test_what_goes_wrong_is_said(student: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.onnx"
    with pytest.raises(ValueError, match="height and width must be at least 1"):
        export_onnx(student, NAMES, path, 0, 80)

    class Broken(nn.Module):
        def forward(self, inputs: Tensor) -> list[Detections]:
            raise RuntimeError("no such thing\nat all")

    with pytest.raises(ValueError, match=r"can export, got Broken: no such thing$"):
        export_onnx(Broken(), NAMES, path, 8, 8)
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'tamis\[onnx\]'"):
        export_onnx(student, NAMES, path, 16, 16)
    assert not list(tmp_path.iterdir())


def found(*rows: tuple[float, float, int]) -> Detections:
    """Boxes at a place, of a score and a label."""
    places = torch.tensor([[row[0], 0, row[0] + 5, 5] for row in rows]).view(-1, 4)
    labels = torch.tensor([row[2] for row in rows], dtype=torch.int64)
    return Detections(places, torch.tensor([row[1] for row in rows]), labels)


def test_difference_does_not_mind_the_order_but_the_rest() -> None:
    one = found((0, 0.9, 0), (20, 0.8, 1), (40, 0.1, 0))
    assert _farthest(one, one) == 0
    swapped = found((20, 0.8, 1), (0, 0.9, 0), (40, 0.1, 0))
    assert _farthest(one, swapped) == 0
    assert _farthest(one, found((0.25, 0.9, 0), (20, 0.8, 1))) == 0.25
    assert _farthest(one, found((0, 0.7, 0), (20, 0.8, 1))) == pytest.approx(0.2)
    assert math.isinf(_farthest(one, found((0, 0.9, 1), (20, 0.8, 1))) or 0)
    assert _farthest(one, found()) == pytest.approx(0.9)
    assert _farthest(found(), one) is None
