"""`tamis cull` and `tamis adapt` with a student out of a training, and with one that knows more classes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

pytest.importorskip("av")

from tamis.data.boxes import open_boxes
from tamis.data.street import StreetCamera, write_street
from tamis.models import COCO, build_detector, open_detector, save_detector
from tamis.recipes.adapt import adapt
from tamis.recipes.adapt_config import AdaptConfig
from tamis.recipes.config import TrainConfig
from tamis.recipes.cull import cull
from tamis.recipes.cull_config import CullConfig
from tamis.recipes.cull_detectors import digest_of_weights
from tamis.recipes.detector_of import detector_of
from tamis.recipes.start import start_of
from tamis.recipes.train import train
from test_detection_recipes import SETTINGS, write_boxes

CLASSES = ("car", "person")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film, weights of a teacher and of a student of COCO's classes, and a run that has trained a student."""
    folder = tmp_path_factory.mktemp("place")
    write_street(folder / "may.mp4", StreetCamera(5, 128, 72), range(30_000, 30_150, 5))
    for name, classes, seed in (("teacher", CLASSES, 1), ("coco", COCO, 2)):
        module = build_detector("centernet-tiny", len(classes), seed=seed)
        save_detector(module, classes, folder / f"{name}.safetensors")
    write_boxes(folder / "boxes")
    train(TrainConfig(folder / "boxes", model="centernet-tiny", out=folder / "run", **SETTINGS))
    return folder


def shared(place: Path, **changes: Any) -> dict[str, Any]:
    # Untrained detectors are sure of nothing: every box of the teacher becomes a label.
    teacher = f"centernet-tiny={place / 'teacher.safetensors'}"
    return {
        "sources": [place / "may.mp4"],
        "teacher": teacher,
        "keep": 4,
        "label_confidence": 0.0,
        "threads": 1,
    } | changes


def adapting(place: Path, out: Path, student: str, **changes: Any) -> AdaptConfig:
    settings: dict[str, Any] = {"epochs": 1, "judge_frames": 3, "onnx": False, "resize": False} | changes
    return AdaptConfig(student=student, out=out, **shared(place, **settings))


def test_a_run_culls(place: Path, tmp_path: Path) -> None:
    config = CullConfig(student=str(place / "run"), out=tmp_path / "out", **shared(place, report=False))
    result = cull(config)
    assert result["counts"]["kept"] == 4 == len(open_boxes(tmp_path / "out")[0])
    about = json.loads((tmp_path / "out" / "run.json").read_text())["sources"]
    assert about["weights of the student"] == digest_of_weights(str(place / "run")) is not None
    assert cull(config) == result


def test_a_run_that_was_trained_anew_does_not_go_on_with_a_cull(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings: dict[str, Any] = {**SETTINGS, "epochs": 1}
    config = CullConfig(student=str(run), out=tmp_path / "out", **shared(place, report=False))
    train(TrainConfig(place / "boxes", model="centernet-tiny", out=run, **settings))
    cull(config)
    shutil.rmtree(run)
    train(TrainConfig(place / "boxes", model="centernet-tiny", out=run, seed=1, **settings))
    with pytest.raises(FileExistsError, match="must read the same sources to go on, got weights of the student"):
        cull(config)


def test_a_run_goes_on_as_the_student_of_a_camera(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "gate"
    result = adapt(adapting(place, out, str(place / "run")))
    assert result["counts"]["kept"] == 4
    before = detector_of(str(place / "run"))
    image = torch.randint(0, 256, (1, 3, 72, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    start = open_detector(f"centernet-tiny={out / 'start.safetensors'}")
    assert start.class_names == before.class_names == CLASSES
    torch.testing.assert_close(start(image)[0].boxes, before(image)[0].boxes, rtol=0, atol=0)
    trained = json.loads((out / "session-001" / "train" / "run.json").read_text())["config"]
    assert trained["weights"] == str(out / "start.safetensors")
    assert not trained["new_head"]
    after = open_detector(f"centernet-tiny={out / 'session-001' / 'student.safetensors'}")
    assert not torch.equal(after(image)[0].scores, before(image)[0].scores)
    assert adapt(adapting(place, out, str(place / "run"))) == result


def test_a_student_of_more_classes_keeps_what_it_knows(place: Path, tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    config = adapting(place, tmp_path / "gate", f"centernet-tiny={place / 'coco.safetensors'}", classes=list(CLASSES))
    adapt(config, console)
    assert "classes taken over from the weights, by name: ('car', 'person')" in console.export_text()
    trained = json.loads((tmp_path / "gate" / "session-001" / "train" / "run.json").read_text())["config"]
    assert trained["new_head"]
    student = open_detector(f"centernet-tiny={tmp_path / 'gate' / 'session-001' / 'student.safetensors'}")
    assert student.class_names == CLASSES


def test_what_cannot_be_a_start_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"student must be one that can be trained, .* a run folder or street-student"):
        start_of("model.onnx", tmp_path)
    (tmp_path / "run").mkdir()
    about = json.loads((place / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    with pytest.raises(FileNotFoundError):
        start_of(str(tmp_path / "run"), tmp_path)
    assert list(tmp_path.glob("*.safetensors")) == []
