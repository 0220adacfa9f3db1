"""Detectors by name, their weights and classes, and detectors around detectors."""

import sys
import types
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from tamis.detections import Detections
from tamis.models import (
    COCO,
    MappedDetector,
    ModuleDetector,
    build_detector,
    check_same_classes,
    flops,
    open_detector,
    save_detector,
)
from tamis.models.detector_weights import read_class_names

IMAGES = torch.randint(0, 256, (3, 3, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Fixed:
    """Finds the same boxes on every image."""

    def __init__(self, class_names: tuple[str, ...], found: Detections) -> None:
        self.class_names = class_names
        self.found = found

    def __call__(self, images: Tensor) -> list[Detections]:
        return [self.found] * len(images)


class Brightness(nn.Module):
    """A detection module whose confidence is the mean of the image; the smallest there is."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.classes = num_classes
        self.gain = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[int, torch.dtype]] = []

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor | list[Detections]:
        self.seen.append((len(inputs), inputs.dtype))
        means = self.gain * inputs.mean((1, 2, 3))
        if targets is not None:
            return means
        box = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        return [Detections(box, mean[None], torch.zeros(1, dtype=torch.int64)) for mean in means]


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = torch.tensor(rows, dtype=torch.float64).view(-1, 6)
    return Detections(table[:, :4].float(), table[:, 4].float(), table[:, 5].long())


def test_module_detector_scales_cuts_and_keeps_to_its_batch_size() -> None:
    module = Brightness().train()
    found = ModuleDetector(module, ("a", "b"), batch_size=2)(IMAGES)
    assert [len(each) for each in found] == [1, 1, 1]
    for image, each in zip(IMAGES, found, strict=True):
        torch.testing.assert_close(each.scores[0], image.float().mean() / 255)
    assert module.seen == [(2, torch.float32), (1, torch.float32)]
    assert not module.training
    assert not found[0].scores.requires_grad
    assert ModuleDetector(module, ("a", "b"), min_confidence=1.0)(IMAGES)[0].boxes.shape == (0, 4)
    assert ModuleDetector(module, ("a", "b"))(IMAGES[:0]) == []


def test_module_detector_refuses_settings() -> None:
    with pytest.raises(ValueError, match="class_names must be one for each of the 2 classes"):
        ModuleDetector(Brightness(), ("a",))
    with pytest.raises(ValueError, match="amp must be one of none, bf16, fp16, got 'half'"):
        ModuleDetector(Brightness(), ("a", "b"), amp="half")
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        ModuleDetector(Brightness(), ("a", "b"), batch_size=0)


def test_map_renames_joins_drops_and_reorders() -> None:
    found = boxes((0, 0, 9, 9, 0.9, 2), (50, 0, 60, 9, 0.8, 0), (20, 0, 30, 9, 0.7, 1), (70, 0, 80, 9, 0.6, 3))
    detector = Fixed(("person", "car", "truck", "dog"), found)
    mapped = MappedDetector(detector, {"truck": "car", "dog": None})
    assert mapped.class_names == ("person", "car")
    assert mapped(IMAGES[:1])[0].labels.tolist() == [1, 0, 1]
    only = MappedDetector(detector, {"truck": "car"}, ["dog", "car"])
    (each,) = only(IMAGES[:1])
    assert only.class_names == ("dog", "car")
    assert each.labels.tolist() == [1, 1, 0]
    torch.testing.assert_close(each.scores, torch.tensor([0.9, 0.7, 0.6]))
    torch.testing.assert_close(each.boxes, found.boxes[[0, 2, 3]])


def test_joined_classes_leave_one_box_for_one_object() -> None:
    # A truck that is also called a car, beside two cars that overlap as much: those are two.
    found = boxes((0, 0, 10, 10, 0.9, 1), (0, 0, 10, 9, 0.8, 0), (40, 0, 50, 10, 0.7, 0), (41, 0, 51, 10, 0.6, 0))
    detector = Fixed(("car", "truck"), found)
    assert MappedDetector(detector, {"truck": "car"})(IMAGES[:1])[0].scores.tolist() == found.scores[[0, 2, 3]].tolist()
    assert len(MappedDetector(detector, {"truck": "lorry"})(IMAGES[:1])[0]) == 4


@given(st.lists(st.integers(0, 4), max_size=8), st.permutations(["a", "b", "c", "d", "e"]), st.integers(1, 5))
def test_map_is_a_function_of_the_name(labels: list[int], order: list[str], kept: int) -> None:
    names = ("a", "b", "c", "d", "e")
    found = boxes(*((20.0 * i, 0, 20.0 * i + 9, 9, 1 - i / 10, label) for i, label in enumerate(labels)))
    mapped = MappedDetector(Fixed(names, found), None, order[:kept])
    (each,) = mapped(IMAGES[:1])
    said = [mapped.class_names[label] for label in each.labels.tolist()]
    assert said == [names[label] for label in labels if names[label] in order[:kept]]
    assert each.scores.tolist() == sorted(each.scores.tolist(), reverse=True)


def test_map_names_what_it_does_not_know() -> None:
    detector = Fixed(("person", "car"), boxes())
    with pytest.raises(ValueError, match=r"class_map must name .* got 'cars'; the nearest are car"):
        MappedDetector(detector, {"cars": "car"})
    with pytest.raises(ValueError, match=r"class_names must name .* got 'persons'; the nearest are person"):
        MappedDetector(detector, class_names=["persons"])


def test_other_classes_are_refused_with_both_lists() -> None:
    student, teacher = Fixed(("car", "person"), boxes()), Fixed(("person", "car"), boxes())
    with pytest.raises(ValueError, match=r"\('car', 'person'\) of the student and \('person', 'car'\) of the teacher"):
        check_same_classes(student, teacher)
    check_same_classes(student, MappedDetector(teacher, class_names=["car", "person"]))


def test_flops_are_two_for_each_multiplication() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 5, 3, padding=1)
            self.last = nn.Linear(5, 7)

        def forward(self, inputs: Tensor) -> list[Detections]:
            self.last(self.layer(inputs).mean((2, 3)))
            return [Detections.none()] * len(inputs)

    module = Layer().train()
    wanted = 2 * 10 * 12 * 5 * 3 * 9 + 2 * 5 * 7
    assert flops(module, 10, 12) == wanted
    assert module.training
    assert module.last.training
    assert flops(MappedDetector(ModuleDetector(module, ("a",)), {"a": "b"}), 10, 12) == wanted
    assert flops(Fixed(("a",), boxes()), 10, 12) is None


def test_seed_decides_the_start_and_leaves_the_generator() -> None:
    before = torch.get_rng_state()
    one, two = (build_detector("centernet-tiny", 2, seed=7) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    other = build_detector("centernet-tiny", 2, seed=8).state_dict()
    assert any(not torch.equal(value, other[key]) for key, value in one.state_dict().items())


def test_build_refuses_names_and_settings() -> None:
    with pytest.raises(ValueError, match=r"got 'fasterrcnn_resnet_18'; the nearest are fasterrcnn_resnet18_fpn"):
        build_detector("fasterrcnn_resnet_18", 2)
    with pytest.raises(ValueError, match="classes must be at least 1, got 0"):
        build_detector("centernet-tiny", 0)
    with pytest.raises(ValueError, match="new_head must come with weights"):
        build_detector("centernet-tiny", 2, new_head=True)
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        build_detector("centernet-tiny", 2, weights=Path("absent.safetensors"))


def test_weights_carry_the_classes(tmp_path: Path) -> None:
    module = build_detector("centernet-tiny", 2, seed=1)
    path = tmp_path / "student.safetensors"
    save_detector(module, ["car", "person"], path)
    detector = open_detector(f"centernet-tiny={path}")
    assert detector.class_names == ("car", "person")
    for one, two in zip(detector(IMAGES), ModuleDetector(module, ["car", "person"])(IMAGES), strict=True):
        torch.testing.assert_close(one.boxes, two.boxes)
        torch.testing.assert_close(one.scores, two.scores)
    only = open_detector(f"centernet-tiny={path}", class_map={"person": "walker"}, class_names=["walker"])
    assert only.class_names == ("walker",)
    assert list(tmp_path.iterdir()) == [path]


def test_new_head_keeps_everything_else(tmp_path: Path) -> None:
    module = build_detector("centernet-tiny", 2, seed=1)
    path = tmp_path / "student.safetensors"
    save_detector(module, ["car", "person"], path)
    with pytest.raises(ValueError, match=r"other shapes: .*heat\.weight \(2, .* for \(3, .*new_head=True"):
        build_detector("centernet-tiny", 3, weights=path)
    for classes in (2, 3):
        fresh = build_detector("centernet-tiny", classes, weights=path, new_head=True, seed=2).state_dict()
        same = {key for key, value in module.state_dict().items() if torch.equal(fresh[key], value)}
        assert set(fresh) - same <= {"heat.weight", "heat.bias"}
        assert "heat.weight" not in same


@pytest.mark.parametrize(
    "text", ["", "3", "[]", '["a", "a"]', '["a", 1]', '{"a": 1}', '[""]', "[" * 100_000], ids=lambda text: text[:12]
)
def test_hostile_class_names_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"class_names": text})
    with pytest.raises(ValueError, match="class_names must be a list of different names"):
        read_class_names(path)


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match=r"weights must be a readable \.safetensors file") as refused:
        open_detector(f"centernet-tiny={path}")
    assert "\n" not in str(refused.value)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="class_names must name the classes"):
        open_detector(f"centernet-tiny={path}")
    with pytest.raises(ValueError, match=r"missing: \('stem"):
        open_detector(f"centernet-tiny={path}", class_names=["thing"])


def test_open_refuses_what_is_no_form() -> None:
    with pytest.raises(ValueError, match="did you mean street-student"):
        open_detector("street-studnet")
    with pytest.raises(ValueError, match="write NAME=FILE for weights"):
        open_detector("model.safetensors")
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        open_detector("absent.onnx")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("own_detectors")
    monkeypatch.setitem(sys.modules, "own_detectors", module)
    module.__dict__.update(Brightness=Brightness, fixed=lambda: Fixed(("a",), boxes((0, 0, 1, 1, 0.5, 0))))
    module.__dict__.update(number=lambda: 3, nameless=lambda: len, linear=lambda: nn.Linear(2, 2))
    return module


@pytest.mark.usefixtures("own")
def test_callables_of_ones_own() -> None:
    assert open_detector("own_detectors:fixed")(IMAGES)[2].scores.tolist() == [0.5]
    assert open_detector("own_detectors:fixed", class_map={"a": "b"}).class_names == ("b",)
    module = open_detector("own_detectors:Brightness", class_names=["x", "y"])
    assert isinstance(module, ModuleDetector)
    assert module.class_names == ("x", "y")
    with pytest.raises(ValueError, match="class_names must name the classes"):
        open_detector("own_detectors:Brightness")
    with pytest.raises(TypeError, match="got int from"):
        open_detector("own_detectors:number")
    with pytest.raises(TypeError, match="must have class_names"):
        open_detector("own_detectors:nameless", class_names=["x"])


@pytest.mark.usefixtures("own")
def test_modules_of_ones_own_are_tried() -> None:
    built = build_detector("own_detectors:Brightness", 5)
    assert isinstance(built, Brightness)
    assert built.classes == 5
    with pytest.raises(ValueError, match="detector must take images"):
        build_detector("own_detectors:linear", 5)


class FakeYolo:
    """What the adapter needs of `ultralytics.YOLO`."""

    names = {1: "car", 0: "person"}  # noqa: RUF012

    def __init__(self, path: str, task: str) -> None:
        self.asked: list[dict] = []
        assert task == "detect"

    def predict(self, arrays: list, **settings: object) -> list:
        self.asked.append({"shape": arrays[0].shape, "pixel": arrays[0][0, 0].tolist(), **settings})
        table = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
        found = types.SimpleNamespace(xyxy=table, conf=torch.tensor([0.3, 0.9]), cls=torch.tensor([0.0, 1.0]))
        return [types.SimpleNamespace(boxes=found) for _ in arrays]


def test_ultralytics_gets_bgr_and_gives_sorted_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", types.SimpleNamespace(YOLO=FakeYolo))
    path = tmp_path / "yolo.pt"
    path.write_bytes(b"")
    detector = open_detector(f"ultralytics:{path}", min_confidence=0.2)
    assert detector.class_names == ("person", "car")
    found = detector(IMAGES)
    assert len(found) == 3
    assert found[0].labels.tolist() == [1, 0]
    assert found[0].boxes[0].tolist() == [5, 6, 7, 8]
    (asked,) = detector._model.asked  # pyright: ignore[reportAttributeAccessIssue]
    assert asked["shape"] == (32, 48, 3)
    assert asked["pixel"] == IMAGES[0, :, 0, 0].flip(0).tolist()
    assert asked["imgsz"] == [32, 64]
    assert asked["conf"] == 0.2


def test_ultralytics_must_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        open_detector("ultralytics:yolo11n.pt")
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    (tmp_path / "yolo.pt").write_bytes(b"")
    with pytest.raises(ImportError, match=r"pip install 'tamis\[ultralytics\]'"):
        open_detector(f"ultralytics:{tmp_path / 'yolo.pt'}")


def test_coco_is_the_list_of_80() -> None:
    assert len(COCO) == len(set(COCO)) == 80
    assert (COCO[0], COCO[2], COCO[7], COCO[62], COCO[79]) == ("person", "car", "truck", "tv", "toothbrush")
    names = Path(__file__).parents[2] / "shared" / "data" / "weights" / "coco.names"
    if not names.is_file():
        pytest.skip("no list of Darknet's to compare with")
    same = [a == b for a, b in zip(COCO, names.read_text().split("\n"), strict=False)]
    assert sum(same) == 74  # six were renamed, see there


@pytest.mark.parametrize("name", ["street-student", "street-teacher"])
def test_shipped_detectors_open(name: str) -> None:
    folder = Path(sys.modules["tamis.models"].__path__[0]) / "data"
    if not (folder / f"{name}.safetensors").is_file():
        pytest.skip("the weights are not there yet")
    detector = open_detector(name)
    assert len(detector.class_names) > 1
    assert len(detector(IMAGES)) == 3
