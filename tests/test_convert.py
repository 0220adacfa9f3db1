"""Converting: the same points as in the source, files copied byte for byte, frames in their places, nothing touched."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from point_layouts import LAYOUTS, pictures, points_csv, text
from tamis.data.points import open_points
from tamis.recipes.convert import convert_command

SHARED = Path(__file__).resolve().parents[2] / "shared"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_converts(tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    written = LAYOUTS[layout](tmp_path / "data", {"a": [(5.25, 6.5), (1.5, 1.5)], "b": [], "c": None})
    before = contents(tmp_path / "data")
    convert_command(written.data, tmp_path / "out", annotations=written.annotations)
    assert contents(tmp_path / "data") == before
    told = capsys.readouterr().out
    assert "2 images with 2 points, 0 to 2 an image, 1 without one (background)" in told
    assert "1 x image without annotation: left out" in told
    source, _ = open_points(written.data, written.annotations)
    train, test = open_points(tmp_path / "out")
    assert test is None
    assert train.problems == ()
    for mine, name, points, others in zip(train.names, source.names, train.points, source.points, strict=True):
        assert (train.root / mine).read_bytes() == (source.root / name).read_bytes()
        np.testing.assert_array_equal(points, others)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "points.csv"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_splits_are_kept(tmp_path: Path) -> None:
    pictures(tmp_path / "data", ["train_data/images/x/a.jpg", "train_data/images/b.jpg", "test_data/images/a.jpg"])
    text(tmp_path / "t.csv", "image,x,y\n" + "".join(f"{split}_data/images/{name},1,2\n" for split, name in
         (("train", "x/a.jpg"), ("train", "b.jpg"), ("test", "a.jpg"))))  # fmt: skip
    convert_command(tmp_path / "data", tmp_path / "out", annotations=tmp_path / "t.csv")
    names = {"train/images/x/a.jpg", "train/images/b.jpg", "train/points.csv", "test/images/a.jpg", "test/points.csv"}
    assert set(contents(tmp_path / "out")) == names
    assert (tmp_path / "out/test/points.csv").read_text() == "image,x,y\nimages/a.jpg,1.0,2.0\n"


def test_equal_short_names_stay_apart(tmp_path: Path) -> None:
    pictures(tmp_path / "data", ["frames/a.png", "images/a.png"])
    text(tmp_path / "t.csv", "image,x,y\nframes/a.png,1,1\nimages/a.png,2,2\n")
    convert_command(tmp_path / "data", tmp_path / "out", annotations=tmp_path / "t.csv")
    train, _ = open_points(tmp_path / "out")
    assert [each.tolist() for each in train.points] == [[[1, 1]], [[2, 2]]]


def test_every_kth_and_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points_csv(tmp_path / "data", {"a": [(1, 1), (99, 1)], "b": [(2, 2)], "c": [(3, 3)] * 9})
    convert_command(tmp_path / "data", tmp_path / "out", every=2)
    train, _ = open_points(tmp_path / "out")
    assert train.counts.tolist() == [1, 9]
    told = capsys.readouterr().out
    assert "1 x box or point outside of its image: left out\n  points.csv:3  point [99, 1]" in told
    assert "8 x annotation that is there twice: kept, they add up\n" in told
    assert "... and 3 more" in told


@pytest.mark.fault(20, "converting never writes over or into anything, and a failure leaves nothing behind")
def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Callable[..., None]) -> None:
    data = points_csv(tmp_path / "data", {"a": [(1, 1)]}).data
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="out must be a new folder, got"):
        convert_command(data, data)
    with pytest.raises(ValueError, match="out must be a folder outside of the data, got"):
        convert_command(data, data / "out")
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        convert_command(data, tmp_path / "out", every=0)

    def full(*_: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="no space left"):
        convert_command(data, tmp_path / "out")
    assert contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    seen("nothing written", count=4)


# ----- videos ------------------------------------------------------------------------------------------------------


def video(path: Path, frames: int) -> Path:
    """A film of which the brightness of frame k (from 1) is 20 * k."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 40, 20, "yuv444p"
        for frame in range(1, frames + 1):
            picture = np.full((20, 40, 3), 20 * frame, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


ROWS = "1,1,2,3,4,6,1\n3,1,4,3,4,6,1\n3,2,4,3,4,6,0\n5,1,30,3,20,6,1\n7,1,90,90,1,1,1\n9,1,1,1,1,1,1\nx\n"


def brightness(path: Path) -> float:
    with Image.open(path) as image:
        return float(np.asarray(image).mean())


def test_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video(tmp_path / "data/film.mkv", 8)
    text(tmp_path / "data/gt.txt", ROWS)
    before = contents(tmp_path / "data")
    convert_command(tmp_path / "data", tmp_path / "out")
    assert contents(tmp_path / "data") == before
    train, _ = open_points(tmp_path / "out")
    assert train.names == tuple(f"images/{frame:06d}.png" for frame in range(1, 9))
    assert [each.tolist() for each in train.points] == [[[4, 6]], [], [[6, 6]], [], [[35, 6]], [], [], []]
    for frame, name in enumerate(train.names, 1):
        assert abs(brightness(train.root / name) - 20 * frame) < 3
    told = capsys.readouterr().out
    assert "8 images with 3 points, 0 to 1 an image, 5 without one (background)" in told
    for line in (
        "gt.txt:4  box [30, 3, 50, 9]",
        "gt.txt:5  box [90, 90, 91, 91]",
        "gt.txt:7  1 columns, not 6 or more",
    ):
        assert line in told
    assert "gt.txt:6  there is no image of frame 9" in told
    assert "reaches beyond its image: clipped" in told


def test_every_kth_frame(tmp_path: Path) -> None:
    path = video(tmp_path / "film.mkv", 8)
    boxes = text(tmp_path / "boxes.txt", ROWS.replace("9,1,", "5,1,"))
    convert_command(path, tmp_path / "out", annotations=boxes, at="head", every=2)
    train, _ = open_points(tmp_path / "out")
    assert train.names == tuple(f"images/{frame:06d}.png" for frame in (1, 3, 5, 7))
    np.testing.assert_allclose(train.points[0], [[4, 3 + 6 / 15]])
    assert abs(brightness(tmp_path / "out" / train.names[1]) - 60) < 3


def test_videos_refused(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "film.avi").write_bytes(b"RIFF no film")
    with pytest.raises(FileNotFoundError, match=r"annotations must be the gt.txt of the video, got none at '.*gt.txt'"):
        convert_command(tmp_path / "film.avi", tmp_path / "out")
    text(tmp_path / "gt.txt", ROWS)
    with pytest.raises(ValueError, match=r"video must be readable, got InvalidDataError after 0 frames in"):
        convert_command(tmp_path / "film.avi", tmp_path / "out")
    video(tmp_path / "film.avi", 3)
    text(tmp_path / "gt.txt", "")
    with pytest.raises(ValueError, match="video must have a frame that is annotated, got none"):
        convert_command(tmp_path / "film.avi", tmp_path / "out")
    (tmp_path / "two").mkdir()
    for name in ("a.avi", "b.mp4"):
        (tmp_path / "two" / name).touch()
    with pytest.raises(ValueError, match="source must hold one video, got 2 in"):
        convert_command(tmp_path / "two", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_real_video(tmp_path: Path) -> None:
    source = SHARED / "data" / "pets09_s2l1"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    pytest.importorskip("av")
    convert_command(source, tmp_path / "out", every=60)
    train, _ = open_points(tmp_path / "out")
    rows = [line.split(",") for line in (source / "gt.txt").read_text().split()]
    counts = {frame: sum(row[0] == str(frame) and row[6] == "1" for row in rows) for frame in range(1, 796, 60)}
    assert train.counts.tolist() == list(counts.values())
    assert train.sizes.tolist() == [[768, 576]] * 14
