"""Generated street cameras: pure functions of seed and second, with a truth that is what can be seen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tamis.data.street import CLASS_NAMES, StreetCamera, write_street
from tamis.data.street_camera import _Shown, _Sized  # pyright: ignore[reportPrivateUsage]
from tamis.data.street_traffic import Traffic, drift
from tamis.detections import Detections

NOON, NIGHT = 43_200, 10_000


@pytest.fixture(scope="module")
def camera() -> StreetCamera:
    return StreetCamera(0)


def same(one: Detections, other: Detections) -> bool:
    return torch.equal(one.boxes, other.boxes) and torch.equal(one.labels, other.labels)


def busiest(camera: StreetCamera, seconds: range) -> int:
    return max(seconds, key=lambda second: len(camera.frame(second)[1]))


def test_frame_is_a_function_of_seed_and_second(camera: StreetCamera) -> None:
    for second in (NIGHT, 31_000, NOON):
        picture, truth, occlusion = camera.frame(second)
        again = StreetCamera(0).frame(second)
        assert picture.shape == (180, 320, 3)
        assert picture.dtype == np.uint8
        assert np.array_equal(picture, again[0])
        assert same(truth, again[1])
        assert np.array_equal(occlusion, again[2])


def test_other_seeds_and_days_show_something_else(camera: StreetCamera) -> None:
    picture, _, _ = camera.frame(NOON)
    other = StreetCamera(1).frame(NOON)[0].astype(int)
    assert np.abs(picture.astype(int) - other).mean() > 10
    seconds = range(30_000, 34_000, 100)
    days = [[len(camera.frame(second + day * 86_400)[1]) for second in seconds] for day in (0, 1)]
    assert days[0] != days[1]


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_truth_is_in_the_picture(seed: int) -> None:
    camera = StreetCamera(seed)
    for second in range(25_000, 75_000, 2_500):
        _, truth, occlusion = camera.frame(second)
        sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
        assert (sides.prod(1) >= 40).all()
        assert (truth.boxes >= 0).all()
        assert (truth.boxes <= torch.tensor((320, 180, 320, 180))).all()
        assert set(truth.labels.tolist()) <= {0, 1}
        assert occlusion.shape == (len(truth),)
        assert ((occlusion >= 0) & (occlusion <= 3)).all()
        assert (truth.scores == 1).all()


def test_boxes_are_where_the_picture_changes(camera: StreetCamera) -> None:
    """Between two seconds the picture changes more in the boxes than out of them."""
    inside, outside = [], []
    for second in range(31_000, 31_100, 5):
        (one, before, _), (other, after, _) = camera.frame(second), camera.frame(second + 1)
        change = np.abs(one.astype(int) - other).mean(2)
        mask = np.zeros(change.shape, bool)
        for x1, y1, x2, y2 in torch.cat((before.boxes, after.boxes)).int().tolist():
            mask[y1:y2, x1:x2] = True
        inside.append(change[mask].mean() if mask.any() else np.nan)
        outside.append(change[~mask].mean())
    assert np.nanmean(inside) > 2 * np.mean(outside)


def test_consecutive_seconds_resemble_each_other(camera: StreetCamera) -> None:
    first = busiest(camera, range(30_000, 32_000, 50))
    picture, near, far = (camera.frame(second)[0].astype(int) for second in (first, first + 1, first + 7_200))
    assert 0 < np.abs(picture - near).mean() < np.abs(picture - far).mean()


def test_nights_are_dark_and_empty_and_rush_hours_full() -> None:
    night, rush, dark = [], [], []
    for seed in range(3):
        camera = StreetCamera(seed)
        night += [len(camera.frame(second)[1]) for second in range(7_200, 14_400, 400)]
        rush += [len(camera.frame(second)[1]) for second in range(28_800, 36_000, 400)]
        dark.append(camera.frame(NIGHT)[0].mean() / camera.frame(NOON)[0].mean())
    assert np.mean(night) < 0.7
    assert np.mean(rush) > 2
    assert max(dark) < 0.7


def test_all_levels_of_occlusion_occur() -> None:
    camera = StreetCamera(1)
    levels = [level for second in range(25_000, 75_000, 400) for level in camera.frame(second)[2].tolist()]
    assert set(levels) == {0, 1, 2, 3}


def test_occlusion_is_the_share_that_a_nearer_thing_covers(camera: StreetCamera) -> None:
    """Two cars by hand: the far one is covered to a half, then fully."""
    picture = Image.new("RGBA", (20, 10), (255, 0, 0, 255))
    sized = _Sized(picture, np.ones((10, 20), bool))
    far = _Shown(sized, 100, 50, 30.0, 0)
    for left, expected, boxes in ((110, [0.5, 0.0], 2), (101, [0.0], 1)):
        near = _Shown(sized, left, 50, 20.0, 1)
        owner = np.full((180, 320), -1, np.int16)
        owner[50:60, 100:120] = 0
        owner[50:60, left : left + 20] = 1
        truth, hidden = camera._truth([far, near], owner, [200, 200])
        assert hidden.tolist() == expected
        assert len(truth) == boxes
        assert truth.boxes[0].tolist() == ([100, 50, 110, 60] if boxes == 2 else [101, 50, 121, 60])


def test_traffic_passes_along_its_routes(camera: StreetCamera) -> None:
    traffic = Traffic(0, camera.scene.routes, camera.scene.standing)
    for second in range(30_000, 30_600, 60):
        for passing in traffic.at(second):
            if passing.route < len(camera.scene.routes):
                assert -3 <= passing.along <= camera.scene.routes[passing.route].length


def test_drift_is_smooth() -> None:
    values = np.array([drift(3, "fog", second, 600) for second in range(0, 6_000, 10)])
    assert ((values >= 0) & (values <= 1)).all()
    assert np.abs(np.diff(values)).max() < 0.04
    assert np.ptp(values) > 0.2


def test_video_holds_the_frames_and_the_record_their_truth(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    camera, seconds = StreetCamera(1, 128, 72), range(30_000, 30_600, 10)
    path, record = tmp_path / "street.mp4", tmp_path / "street.json"
    write_street(path, camera, seconds, fps=5, truth=record)
    with av.open(str(path)) as container:
        decoded = [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    written = json.loads(record.read_text())
    assert [image["file_name"] for image in written["images"]] == [f"street.mp4@{pts}" for pts, _ in decoded]
    assert [image["second"] for image in written["images"]] == list(seconds)
    assert [category["name"] for category in written["categories"]] == list(CLASS_NAMES)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["street.json", "street.mp4"]
    for number in (0, 30, 59):
        picture, truth, occlusion = camera.frame(seconds[number])
        assert np.abs(decoded[number][1].astype(int) - picture).mean() < 6
        mine = [note for note in written["annotations"] if note["image_id"] == number + 1]
        boxes = [[x, y, x + wide, y + high] for x, y, wide, high in (note["bbox"] for note in mine)]
        assert boxes == truth.boxes.tolist()
        assert [note["category_id"] - 1 for note in mine] == truth.labels.tolist()
        assert [note["occlusion"] for note in mine] == occlusion.tolist()


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 64"):
        StreetCamera(0, 320, 40)
    with pytest.raises(ValueError, match="second from 0"):
        StreetCamera(0, 96, 64).frame(-1)
    with pytest.raises(ValueError, match="even"):
        write_street(tmp_path / "a.mp4", StreetCamera(0, 97, 64), range(2))
    with pytest.raises(ValueError, match="fps"):
        write_street(tmp_path / "a.mp4", StreetCamera(0, 96, 64), range(2), fps=0)
    assert not list(tmp_path.iterdir())
