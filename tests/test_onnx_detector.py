"""ONNX files as detectors: what goes in, what comes out, and what is refused."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tamis.detections import Detections
from tamis.models import COCO, MappedDetector, OnnxDetector, open_detector
from tamis.models.onnx_heads import fastestdet_boxes, head_of, letterboxed, stretched_bgr, yolox_boxes, yolox_cells

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper  # noqa: E402

DATA = Path(__file__).parents[2] / "shared" / "data"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def write(path: Path, nodes: list, outputs: list, *, shape: tuple = (1, 3, 32, 64), props: dict | None = None) -> Path:
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", FLOAT, shape)],
        [helper.make_tensor_value_info(name, kind, size) for name, kind, size in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, props or {})
    onnx.save(model, path)
    return path


def constant(name: str, value: list, kind: int, shape: tuple) -> object:
    return helper.make_node(
        "Constant", [], [name], value=helper.make_tensor(name, kind, shape, np.ravel(value).tolist())
    )


def plain(path: Path, *, labels: tuple = (1, 0), shape: tuple = (1, 3, 32, 64), props: dict | None = None) -> Path:
    """Always the same two boxes, and scores of 0.5 and 0.9."""
    nodes = [
        constant("boxes", [[0, 0, 32, 16], [16, 8, 64, 32]], FLOAT, (2, 4)),
        constant("scores", [0.5, 0.9], FLOAT, (2,)),
        constant("labels", list(labels), INT64, (2,)),
    ]
    outputs = [("labels", INT64, (2,)), ("boxes", FLOAT, (2, 4)), ("scores", FLOAT, (2,))]
    return write(path, nodes, outputs, shape=shape, props=props)


def test_plain_outputs_come_back_in_pixels_of_the_image(tmp_path: Path) -> None:
    path = plain(tmp_path / "x.onnx", props={"class_names": json.dumps(["car", "person"])})
    detector = open_detector(str(path))
    assert detector.class_names == ("car", "person")
    found = detector(torch.zeros(2, 3, 64, 192, dtype=torch.uint8))  # twice as high, three times as wide
    assert len(found) == 2
    assert found[1].scores.tolist() == pytest.approx([0.9, 0.5])
    assert found[1].labels.tolist() == [0, 1]
    assert found[1].boxes.tolist() == [[48, 16, 192, 64], [0, 0, 96, 32]]
    (one, _) = OnnxDetector(path, min_confidence=0.6)(torch.zeros(2, 3, 32, 64, dtype=torch.uint8))
    assert len(one) == 1


def test_names_come_from_the_file_or_from_the_user(tmp_path: Path) -> None:
    path = plain(tmp_path / "x.onnx")
    with pytest.raises(ValueError, match="class_names must name the classes of"):
        open_detector(str(path))
    assert open_detector(str(path), class_names=["a", "b"]).class_names == ("a", "b")
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), got 0 to 7"):
        OnnxDetector(plain(tmp_path / "y.onnx", labels=(7, 0)), ["a", "b"])(
            torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
        )
    with pytest.raises(ValueError, match="class_names must be a list of different names"):
        open_detector(str(plain(tmp_path / "z.onnx", props={"class_names": "[1]"})))


def test_size_of_a_dynamic_file_comes_from_its_metadata(tmp_path: Path) -> None:
    shape = (1, 3, "height", "width")
    assert OnnxDetector(plain(tmp_path / "x.onnx", shape=shape), ["a", "b"]).size is None
    chosen = plain(tmp_path / "y.onnx", shape=shape, props={"height": "16", "width": "32"})
    assert OnnxDetector(chosen, ["a", "b"]).size == (16, 32)
    for text in ("-3", "0", "1e9", "999999999", "²"):
        wrong = plain(tmp_path / "z.onnx", shape=shape, props={"height": text, "width": "32"})
        with pytest.raises(ValueError, match="height and width must be pixels"):
            OnnxDetector(wrong, ["a", "b"])


def yolox_reference(output: np.ndarray, height: int, width: int) -> list[tuple[list[float], float, int]]:
    """Every cell's box, best score and class, cell after cell, in plain Python."""
    found, row = [], 0
    for stride in (8, 16, 32):
        for y in range(height // stride):
            for x in range(width // stride):
                dx, dy, w, h, objectness, *classes = output[row].tolist()
                cx, cy, w, h = (dx + x) * stride, (dy + y) * stride, math.exp(w) * stride, math.exp(h) * stride
                best = max(range(len(classes)), key=classes.__getitem__)
                found.append(([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], objectness * classes[best], best))
                row += 1
    assert row == len(output)
    return found


def fastestdet_reference(output: np.ndarray, height: int, width: int) -> list[tuple[list[float], float, int]]:
    found = []
    _, rows, columns = output.shape
    for y in range(rows):
        for x in range(columns):
            objectness, dx, dy, w, h, *classes = output[:, y, x].tolist()
            cx, cy = (x + math.tanh(dx)) / columns * width, (y + math.tanh(dy)) / rows * height
            w, h = width / (1 + math.exp(-w)), height / (1 + math.exp(-h))
            best = max(range(len(classes)), key=classes.__getitem__)
            found.append(([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], objectness * classes[best], best))
    return found


def overlap(a: list[float], b: list[float]) -> float:
    inside = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (a, b)]
    return inside / (sum(areas) - inside)


def suppressed(found: list, least: float, most_overlap: float) -> list:
    kept: list = []
    for box, score, label in sorted(found, key=lambda each: -each[1]):
        if score >= least and all(other != label or overlap(box, b) <= most_overlap for b, _, other in kept):
            kept.append((box, score, label))
    return kept[:100]


@pytest.mark.parametrize("seed", range(3))
def test_heads_are_decoded_as_published(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = 64, 96
    cells = yolox_cells((height, width))
    yolox = np.concatenate([generator.normal(0, 0.7, (cells, 4)), generator.random((cells, 4))], 1).astype(np.float32)
    fast = np.concatenate([generator.random((1, 4, 6)), generator.normal(0, 1, (4, 4, 6)), generator.random((3, 4, 6))])
    fast = fast.astype(np.float32)
    size = (height, width)
    for read, reference, output, most in (
        (yolox_boxes, yolox_reference, yolox, 0.65),
        (fastestdet_boxes, fastestdet_reference, fast, 0.45),
    ):
        found = read([torch.from_numpy(output)], size, 0.1)
        wanted = suppressed(reference(output, *size), 0.1, most)
        assert 3 < len(found) == len(wanted)
        np.testing.assert_allclose(found.boxes.numpy(), [box for box, _, _ in wanted], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found.scores.numpy(), [score for _, score, _ in wanted], rtol=1e-5)
        assert found.labels.tolist() == [label for _, _, label in wanted]


def test_inputs_are_as_published() -> None:
    image = torch.zeros(1, 3, 20, 40, dtype=torch.uint8)
    image[:, 0] = 200  # red
    boxed, scale = letterboxed(image, (32, 32))
    assert scale == (0.8, 0.8)
    assert boxed[0, :, 0, 0].tolist() == [0, 0, 200]
    assert boxed[0, :, 15, 31].tolist() == [0, 0, 200]
    assert boxed[0, :, 16, 0].tolist() == [114, 114, 114]
    flat, scale = stretched_bgr(image, (32, 32))
    assert scale == (0.8, 1.6)
    torch.testing.assert_close(flat[0, :, 5, 5], torch.tensor([0, 0, 200 / 255]))


def test_heads_are_known_by_their_shapes() -> None:
    for shapes, size, classes in (
        ([[1, 3549, 85]], (416, 416), 80),
        ([[1, "n", 7]], (416, 416), 2),
        ([[1, 85, 22, 22]], (352, 352), 80),
    ):
        head = head_of(shapes, size)
        assert head is not None
        assert head.classes == classes
    for shapes, size in (([[1, 3550, 85]], (416, 416)), ([[1, 3549, 85]], None), ([[1, 10]], (32, 32)), ([], (32, 32))):
        assert head_of(shapes, size) is None


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    garbage = {
        "empty": b"",
        "zeros": b"\0" * 100,
        "text": b"not a model\n" * 50,
        "torn": plain(tmp_path / "whole.onnx").read_bytes()[:60],
        "pickle": b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",
    }
    for name, content in garbage.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="detector must be an ONNX file that onnxruntime can run") as refused:
            open_detector(str(path))
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 500
    nodes = [helper.make_node("Identity", ["images"], ["same"])]
    classifier = write(tmp_path / "identity.onnx", nodes, [("same", FLOAT, (1, 3, 32, 64))])
    with pytest.raises(ValueError, match=r"outputs must be YOLOX .* got same \[1, 3, 32, 64\]"):
        open_detector(str(classifier))
    for shape in ((1, 1, 32, 64), (2, 3, 32, 64), (3, 32, 64)):
        with pytest.raises(ValueError, match="input must be"):
            OnnxDetector(plain(tmp_path / "shape.onnx", shape=shape), ["a", "b"])


def test_nothing_outside_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(np.ones(8, np.float32).tobytes())
    path = plain(tmp_path / "x.onnx", props={"class_names": '["a", "b"]'})
    model = onnx.load(path)
    stolen = helper.make_tensor("stolen", FLOAT, (2, 4), [0.0] * 8)
    stolen.ClearField("float_data")
    stolen.data_location = TensorProto.EXTERNAL
    stolen.external_data.add(key="location", value="secret")
    model.graph.initializer.append(stolen)
    model.graph.node[0].CopyFrom(helper.make_node("Identity", ["stolen"], ["boxes"]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="detector must be an ONNX file that onnxruntime can run"):
        open_detector(str(path))


def test_runtime_must_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(tmp_path / "x.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'tamis\[onnx\]'"):
        open_detector(str(path))


def test_flops_of_a_graph_are_counted_by_hand(tmp_path: Path) -> None:
    weights = helper.make_tensor("w", FLOAT, (5, 3, 3, 3), [0.0] * 135)
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["maps"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        constant("boxes", [[0, 0, 1, 1]], FLOAT, (1, 4)),
        constant("labels", [0], INT64, (1,)),
        helper.make_node("ReduceMean", ["maps"], ["scores"], axes=[1, 2, 3], keepdims=0),
    ]
    outputs = [("boxes", FLOAT, (1, 4)), ("scores", FLOAT, (1,)), ("labels", INT64, (1,))]
    path = write(tmp_path / "x.onnx", nodes, outputs, shape=(1, 3, "h", "w"), props={"class_names": '["a"]'})
    model = onnx.load(path)
    model.graph.initializer.append(weights)
    onnx.save(model, path)
    detector = OnnxDetector(path)
    assert detector.flops(20, 32) == 2 * 10 * 16 * 5 * 27
    assert detector.flops(40, 32) == 2 * 20 * 16 * 5 * 27


def truth_of_pets() -> dict[int, Tensor]:
    table = np.loadtxt(DATA / "pets09_s2l1" / "gt.txt", delimiter=",")
    table = table[table[:, 6] == 1]
    corners = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], 1)
    return {int(frame) - 1: torch.from_numpy(corners[table[:, 0] == frame]) for frame in np.unique(table[:, 0])}


def average_precision(found: list[Detections], truth: list[Tensor]) -> float:
    """COCO's, at IoU 0.5, of one class."""
    rows: list[tuple[float, bool]] = []
    for each, boxes in zip(found, truth, strict=True):
        used: set[int] = set()
        for box, score in zip(each.boxes.tolist(), each.scores.tolist(), strict=True):
            rest = [(overlap(box, other), j) for j, other in enumerate(boxes.tolist()) if j not in used]
            best, j = max(rest, default=(0.0, -1))
            used |= {j} if best >= 0.5 else set()
            rows.append((score, best >= 0.5))
    hits = np.cumsum([hit for _, hit in sorted(rows, reverse=True)])
    recall, precision = hits / sum(map(len, truth)), hits / np.arange(1, len(hits) + 1)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    return float(precision[np.searchsorted(recall, np.linspace(0, 1, 101))].mean())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("yolox_nano", 0.92), ("fastestdet", 0.78)])
def test_real_files_find_real_people(name: str, least: float) -> None:
    path, video = DATA / "weights" / f"{name}.onnx", DATA / "pets09_s2l1" / "vtest.avi"
    if not path.is_file() or not video.is_file():
        pytest.skip("no weights or no video")
    av = pytest.importorskip("av")
    detector = open_detector(str(path), class_names=["person"])
    assert isinstance(detector, MappedDetector)
    assert detector.detector.class_names == COCO
    truth, found, wanted = truth_of_pets(), [], []
    with av.open(str(video)) as container:
        for place, frame in enumerate(container.decode(video=0)):
            if place % 20 == 0 and len(found) < 40:
                image = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
                found += detector(image[None])
                wanted.append(truth.get(place, torch.zeros(0, 4)))
    assert average_precision(found, wanted) > least
