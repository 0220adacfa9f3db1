"""`tamis adapt` and `tamis resize`: sessions of a camera from film to student."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("av")
pytest.importorskip("onnxruntime")

from tamis.data.boxes import open_boxes
from tamis.data.frames import open_frames
from tamis.data.frames.leading import Leading
from tamis.data.street import StreetCamera, write_street
from tamis.models import build_detector, open_detector, save_detector
from tamis.recipes.adapt import adapt
from tamis.recipes.adapt_config import AdaptConfig
from tamis.recipes.adapt_sessions import session_of
from tamis.recipes.commands import report_command
from tamis.recipes.cull_config import CullConfig
from tamis.recipes.cull_detectors import open_detectors
from tamis.recipes.detector_of import detector_of
from tamis.recipes.resize import resize
from tamis.recipes.resize_config import ResizeConfig
from tamis.recipes.start import start_of

CLASSES = ("car", "person")


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of a street, and weights of two untrained detectors."""
    folder = tmp_path_factory.mktemp("camera")
    street = StreetCamera(5, 128, 72)
    for name, begin in (("may.mp4", 30_000), ("june.mp4", 60_000)):
        write_street(folder / name, street, range(begin, begin + 200, 5))
    for name, seed in (("student", 0), ("teacher", 1)):
        save_detector(build_detector("centernet-tiny", 2, seed=seed), CLASSES, folder / f"{name}.safetensors")
    return folder


def settings(camera: Path, out: Path, film: str = "may.mp4") -> AdaptConfig:
    # Untrained detectors are sure of nothing: every box of the teacher becomes a label.
    return AdaptConfig(
        [camera / film], student=f"centernet-tiny={camera / 'student.safetensors'}", out=out, keep=6, epochs=1,
        teacher=f"centernet-tiny={camera / 'teacher.safetensors'}", label_confidence=0.0, judge_frames=3, threads=1,
        min_confidence="auto",
    )  # fmt: skip


@pytest.fixture(scope="module")
def sessions(camera: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera with two sessions; the first one compared with random frames."""
    out = tmp_path_factory.mktemp("adapted") / "gate"
    adapt(replace(settings(camera, out), compare=["random"]))
    adapt(settings(camera, out, "june.mp4"))
    return out


def test_a_session_leaves_data_student_and_page(sessions: Path) -> None:
    folder = sessions / "session-001"
    result = json.loads((folder / "result.json").read_text())
    assert len(open_boxes(folder)[0]) == 6 == result["counts"]["kept"]
    assert {"trained", "untrained", "images", "truth"} <= result["judged"].keys()
    assert result["judged"]["images"] == 3
    assert [each["name"] for each in result["strategies"]] == ["confidence+precision", "random"]
    assert [each["stage"] for each in result["costs"]][-1] == "student training"
    assert result["factor"]["seconds"] > 0
    assert "random" in (folder / "report.html").read_text()  # Table 2
    for weights in (f"centernet-tiny={folder / 'student.safetensors'}", str(folder / "student.onnx")):
        assert open_detector(weights).class_names == CLASSES


def test_what_is_judged_by_was_not_trained_on(sessions: Path) -> None:
    folder = sessions / "session-001"
    looked = {line.split(",")[1] for line in (folder / "manifest.csv").read_text().splitlines()[1:]}
    judged = {image["key"] for image in json.loads((folder / "judge" / "coco.json").read_text())["images"]}
    assert len(looked) == 36
    assert not looked & judged


def test_the_next_session_goes_on_with_the_student(sessions: Path) -> None:
    about = json.loads((sessions / "session-002" / "run.json").read_text())
    assert about["config"]["student"] == f"centernet-tiny={sessions / 'session-001' / 'student.safetensors'}"
    assert len(open_boxes(sessions / "session-002" / "data")[0]) == 12  # of both sessions
    drift = json.loads((sessions / "session-002" / "result.json").read_text())["drift"]
    assert [each["name"] for each in drift["sessions"]] == ["session-001", "session-002"]


def test_the_level_of_the_first_session_holds_for_all(sessions: Path) -> None:
    found, later = (json.loads((sessions / f"session-00{n}" / "result.json").read_text())["level"] for n in (1, 2))
    told = [json.loads((sessions / f"session-00{n}" / "run.json").read_text())["config"] for n in (1, 2)]
    assert found["frames"] > 0
    assert later is None
    assert [each["min_confidence"] for each in told] == ["auto", found["level"]]
    assert found["text"][1:] in (sessions / "session-001" / "report.html").read_text().replace("&#39;", "'")


def test_the_same_again_changes_nothing(sessions: Path, camera: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sessions.rglob("*") if path.is_file() and path.name != "lock"}
    adapt(settings(camera, sessions, "june.mp4"))
    after = {path: path.stat().st_mtime_ns for path in sessions.rglob("*") if path.is_file() and path.name != "lock"}
    assert before == after


def test_other_footage_waits_for_an_unfinished_session(tmp_path: Path) -> None:
    session_of(tmp_path, {"name": "may"})
    with pytest.raises(ValueError, match="sources must be those of session-001 until that is done"):
        session_of(tmp_path, {"name": "june"})
    assert session_of(tmp_path, {"name": "may"}).folder.name == "session-001"


def test_leading_frames_end_where_the_rest_begins(camera: Path) -> None:
    frames = open_frames([camera / "may.mp4"])
    whole = [frame.ref for frame in frames.scan()]
    for share in (0.1, 0.5, 0.9, 0.99):
        end = frames.place(share)
        part = Leading(frames, end, share)
        first, last = [frame.ref for frame in part.scan()], [frame.ref for frame in frames.rest(end)]
        assert first + last == whole
        assert len(first) == pytest.approx(share * len(whole), abs=1)
        assert [frame.ref for frame in part.scan(first[1])] == first[2:]
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\)"):
        frames.place(1.0)


def test_a_student_that_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="student must be one that can be trained"):
        start_of("student.onnx", Path())


def test_resize_of_a_run(sessions: Path, tmp_path: Path) -> None:
    run = str(sessions / "session-001" / "train")
    config = ResizeConfig(sessions / "session-001", student=run, out=tmp_path, steps=2, min_side=16, images=4)
    found = resize(config, detector_of(run))
    assert [size.width for size in found.sizes] == [128, 115, 104]
    assert found.images == 4
    assert all(size.map50 is not None and size.flops for size in found.sizes)


def test_resize_without_boxes(camera: Path, tmp_path: Path) -> None:
    student = f"centernet-tiny={camera / 'student.safetensors'}"
    config = ResizeConfig(camera / "may.mp4", student=student, out=tmp_path, steps=1, min_side=16, images=3)
    found = resize(config, detector_of(student))
    assert found.images == 3
    assert found.sizes[0].map50 is None
    with pytest.raises(FileNotFoundError, match="is not there"):
        resize(replace(config, data=tmp_path / "nothing.mp4"), detector_of(student))


def test_a_run_can_cull(sessions: Path, camera: Path) -> None:
    run = str(sessions / "session-001" / "train")
    found = open_detectors(CullConfig([camera / "may.mp4"], student=run, teacher=run))
    assert found.student is not None
    assert found.class_names == CLASSES == found.student.class_names


def test_report_of_a_culled_folder(sessions: Path, tmp_path: Path) -> None:
    report_command([sessions / "session-001"], tmp_path / "page.html")
    assert "confidence+precision" in (tmp_path / "page.html").read_text()
