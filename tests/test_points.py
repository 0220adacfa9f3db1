"""Points to count: every layout gives the same points, and every fault is named with its place and left out."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from point_layouts import BOXES, LAYOUTS, cell, coco, pictures, points_csv, savemat, text, yolo
from tamis.data.annotations import annotation_findings, counting_layouts, inspect_annotations
from tamis.data.annotations.dots import read_dots
from tamis.data.annotations.mat5 import read_arrays
from tamis.data.points import PointSet, open_points
from tamis.recipes.check import check_command
from tamis.recipes.command_config import CheckConfig

SHARED = Path(__file__).resolve().parents[2] / "shared"
NAN = float("nan")
GOOD = {"a": [(5.5, 6.5), (30.5, 10.5)], "b": [], "c": [(2.5, 3.5)]}


def rules(points: PointSet) -> list[tuple[str, str]]:
    return [(problem.rule, problem.where) for problem in points.problems]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_points(tmp_path: Path, layout: str) -> None:
    written = LAYOUTS[layout](tmp_path, GOOD)
    train, validation = open_points(written.data, written.annotations)
    assert validation is None
    assert train.problems == ()
    assert [np.round(each, 9).tolist() for each in train.points] == [[list(p) for p in each] for each in GOOD.values()]
    assert train.sizes.tolist() == [[40, 20]] * 3
    assert train.counts.tolist() == [2, 0, 1]
    assert list(train.names) == sorted(train.names)
    assert all((train.root / name).is_file() for name in train.names)
    assert {each.dtype for each in train.points} == {np.dtype(np.float64)}
    assert {each.shape[1] for each in train.points} == {2}


FAULTS = {
    "outside": ([(5.5, 6.5), (60.5, 3.5)], "outside", 1),
    "outside above": ([(5.5, 6.5), (3.5, -9.0)], "outside", 1),
    "nan": ([(5.5, 6.5), (NAN, 3.5)], "not_finite", 1),
    "infinite": ([(float("inf"), 3.5), (5.5, 6.5)], "not_finite", 0),
    "twice": ([(5.5, 6.5), (5.5, 6.5)], "duplicate_row", 1),
}


@pytest.mark.fault(20, "points of every layout: outside, NaN and infinite ones are named and left out; twice adds up")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "dots"])
def test_a_bad_point_is_named(tmp_path: Path, layout: str, fault: str, seen: Callable[..., None]) -> None:
    points, rule, place = FAULTS[fault]
    written = LAYOUTS[layout](tmp_path, {"a": points, "b": [(1.5, 1.5)]})
    train, _ = open_points(written.data, written.annotations)
    assert rules(train) == [(rule, written.place(place))]
    left = [(5.5, 6.5)] * (2 if rule == "duplicate_row" else 1)
    assert np.round(train.points[0], 9).tolist() == [list(point) for point in left]
    assert train.points[1].tolist() == [[1.5, 1.5]]
    seen(f"{layout}: named with file and line or number")


@pytest.mark.fault(20, "points of every layout: an image without annotation, or one that is gone or damaged, is named")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_file_is_named(tmp_path: Path, layout: str, seen: Callable[..., None]) -> None:
    written = LAYOUTS[layout](tmp_path / "bare", {"a": [(5.5, 6.5)], "b": [(1.5, 1.5)], "c": None})
    train, _ = open_points(written.data, written.annotations)
    assert [rule for rule, _ in rules(train)] == ["missing_annotation"]
    assert len(train) == 2
    for content, expected in ((None, "missing_image"), (b"no image", "unreadable_image")):
        written = LAYOUTS[layout](tmp_path / expected, {"a": [(5.5, 6.5)], "b": [(1.5, 1.5)]})
        names = open_points(written.data, written.annotations)[0].names
        (written.data / names[1]).unlink()
        if content:
            (written.data / names[1]).write_bytes(content)
        train, _ = open_points(written.data, written.annotations)
        assert [rule for rule, _ in rules(train)] == [expected]
        assert train.names == names[:1]
    seen(f"{layout}: left out and named")


@pytest.mark.fault(20, "annotations of every layout that are damaged are refused or named; the rest is read")
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b"[" * 100_000, b"<a", b"1,2\n3 4 5\n", b"{}"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_annotations(tmp_path: Path, layout: str, content: bytes, seen: Callable[..., None]) -> None:
    written = LAYOUTS[layout](tmp_path, {"a": [(5.5, 6.5)], "b": [(1.5, 1.5)]})
    endings = (".csv", ".mat", ".json", ".xml", ".txt")
    files = sorted(path for path in tmp_path.rglob("*") if path.suffix in endings or path.stem.endswith("_dots"))
    first = next(path for path in files if path.parent.name != "ImageSets")
    first.write_bytes(content)
    reason = ""
    try:
        train, _ = open_points(written.data, written.annotations)
    except ValueError as error:
        reason = str(error)
    else:
        assert train.problems or content == b""
        assert all(np.isfinite(each).all() for each in train.points)
    assert re.fullmatch("((annotations|data|images) must [^\n]*)?", reason)
    seen("refused in one line or named")


def test_points_on_the_border_are_inside(tmp_path: Path) -> None:
    points_csv(tmp_path, {"a": [(40, 20), (0, 0), (-0.04, 20.04), (39.99, 1)]})
    train, _ = open_points(tmp_path)
    assert train.problems == ()
    assert np.all((train.points[0] >= 0) & (train.points[0] < [40, 20]))
    assert len(train.points[0]) == 4


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=8))
def test_what_is_left_is_inside(tmp_path_factory: pytest.TempPathFactory, points: list[tuple[float, float]]) -> None:
    folder = tmp_path_factory.mktemp("any")
    points_csv(folder, {"a": points, "z": [(1, 1)]})
    train, _ = open_points(folder)
    inside = [(x, y) for x, y in points if -0.05 <= x <= 40.05 and -0.05 <= y <= 20.05]
    assert len(train.points[0]) == len(inside)
    assert np.all((train.points[0] >= 0) & (train.points[0] < [40, 20]))
    named = [problem for problem in train.problems if problem.rule in ("outside", "not_finite")]
    assert len(named) == len(points) - len(inside)


# ----- splits ------------------------------------------------------------------------------------------------------


def test_train_and_test_folders(tmp_path: Path) -> None:
    points_csv(tmp_path / "train", {"a": [(1, 1)], "b": []})
    points_csv(tmp_path / "test", {"a": [(2, 2)], "c": [(50, 1)]})
    train, test = open_points(tmp_path)
    assert test is not None
    assert train.names == ("train/images/a.png", "train/images/b.png")
    assert test.names == ("test/images/a.png", "test/images/c.png")
    assert [each.tolist() for each in test.points] == [[[2, 2]], []]
    assert rules(train) == rules(test) == [("outside", "test/points.csv:3")]
    points_csv(tmp_path / "val", {"v": []})
    _, validation = open_points(tmp_path)
    assert validation is not None
    assert validation.names == ("val/images/v.png",)


def test_one_table_for_folders(tmp_path: Path) -> None:
    pictures(tmp_path, ["train/a.png", "test/b.png", "other/c.png"])
    text(tmp_path / "points.csv", "image,x,y\ntrain/a.png,1,1\ntest/b,2,2\nother/c.png,,\n")
    train, test = open_points(tmp_path)
    assert test is not None
    assert (train.names, test.names) == (("train/a.png",), ("test/b.png",))
    assert rules(train) == [("no_split", "other/c.png")]


def test_split_column(tmp_path: Path) -> None:
    pictures(tmp_path, ["a.png", "b.png", "c.png"])
    text(tmp_path / "points.csv", "split,image,x,y\ntest,a.png,1,1\n,b.png,2,2\nval,c.png,,\ntest,a.png,3,3\n")
    train, test = open_points(tmp_path)
    assert test is not None
    assert (train.names, test.names) == (("b.png",), ("a.png", "c.png"))
    text(tmp_path / "points.csv", "image,x,y,split\na.png,1,1,tset\n")
    with pytest.raises(ValueError, match=r"split must be train, val or test, got 'tset' in points.csv:2; correct it"):
        open_points(tmp_path)
    text(tmp_path / "points.csv", "image,x,y,split\na.png,1,1,test\na,1,1,train\n")
    with pytest.raises(ValueError, match=r"split must be one for all rows of an image, got two for 'a.png' in .*:3"):
        open_points(tmp_path)


def test_shanghaitech_and_qnrf_splits(tmp_path: Path) -> None:
    for layout, folders in (("shanghaitech", ("train_data", "test_data")), ("ucf-qnrf", ("Train", "Test"))):
        LAYOUTS[layout](tmp_path / layout, {"a": [(1, 1)]})
        LAYOUTS[layout](tmp_path / "more", {"a": [(2, 2)]})
        (tmp_path / "more" / folders[0]).rename(tmp_path / layout / folders[1])
        train, test = open_points(tmp_path / layout)
        assert test is not None
        assert (train.points[0].tolist(), test.points[0].tolist()) == ([[1, 1]], [[2, 2]])
    for part in ("part_A", "part_B"):
        LAYOUTS["shanghaitech"](tmp_path / "whole" / part, {"a": []})
    with pytest.raises(ValueError, match=r"one part of ShanghaiTech, got .*holds part_A and part_B; give '.*part_A'"):
        open_points(tmp_path / "whole")


def test_mall_splits_and_counts(tmp_path: Path) -> None:
    frames = [{"loc": np.array([[1.0 + frame % 30, 2.0]])} for frame in range(2000)]
    counts = np.ones((2000, 1))
    counts[800] = 3
    savemat(tmp_path / "mall_gt.mat", {"frame": cell(*frames), "count": counts})
    pictures(tmp_path / "frames", [f"seq_{frame:06d}.jpg" for frame in (1, 799, 800, 801, 2000)])
    train, test = open_points(tmp_path)
    assert test is not None
    assert train.names == tuple(f"frames/seq_{frame:06d}.jpg" for frame in (1, 799, 800))
    assert test.names == tuple(f"frames/seq_{frame:06d}.jpg" for frame in (801, 2000))
    assert test.points[0].tolist() == [[1.0 + 800 % 30, 2.0]]
    assert ("malformed", "mall_gt.mat: frame 801") in rules(train)
    assert sum(rule == "missing_image" for rule, _ in rules(train)) == 1995


def test_mall_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "frames", ["seq_000001.jpg"])
    deep: Any = np.zeros((1, 2))
    for _ in range(150):
        deep = cell(deep)
    for content, reason in (
        ({"other": 1}, "no frame"),
        ({"frame": np.zeros((3, 3))}, "no frame, or none of cells"),
        ({"frame": deep}, "nested too deeply"),
    ):
        savemat(tmp_path / "mall_gt.mat", content)
        with pytest.raises(ValueError, match=f"annotations must be readable, got .*{reason}"):
            open_points(tmp_path)
    savemat(tmp_path / "mall_gt.mat", {"frame": cell({"other": 1})})
    assert annotation_findings(tmp_path / "mall_gt.mat", images=tmp_path)[0].kind == "unreadable_annotation"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f4", "f8"])
def test_matlab_files_are_read_as_scipy_reads_them(tmp_path: Path, dtype: str, packed: bool) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    values = np.random.default_rng(3).integers(0, 100, (7, 2)).astype(dtype)
    content = {"x": values, "one": np.ones((1, 1), dtype), "c": cell(values, {"loc": values, "long_name": values[:1]})}
    scipy_io.savemat(tmp_path / "a.mat", content, do_compression=packed)
    mine, theirs = read_arrays((tmp_path / "a.mat").read_bytes(), 1 << 20), scipy_io.loadmat(tmp_path / "a.mat")
    np.testing.assert_array_equal(mine["x"], theirs["x"])
    np.testing.assert_array_equal(mine["one"], theirs["one"])
    np.testing.assert_array_equal(mine["c"][0], theirs["c"][0, 0])
    for name in ("loc", "long_name"):
        np.testing.assert_array_equal(mine["c"][1][name][0], theirs["c"][0, 1][name][0, 0])


def test_carpk_splits(tmp_path: Path) -> None:
    written = LAYOUTS["carpk"](tmp_path, {"a": [(1, 1)], "b": [(2, 2)], "c": []})
    text(tmp_path / "ImageSets/train.txt", "a\n")
    text(tmp_path / "ImageSets/test.txt", "b\n")
    train, test = open_points(written.data)
    assert test is not None
    assert (train.names, test.names) == (("Images/a.png",), ("Images/b.png",))
    assert rules(train) == [("no_split", "Images/c.png")]
    (tmp_path / "ImageSets/test.txt").unlink()
    with pytest.raises(ValueError, match=r"ImageSets must hold test.txt, got no such file"):
        open_points(written.data)


# ----- boxes and labelling programs --------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", sorted(BOXES - {"yolo"}))
def test_centre_and_head_of_boxes(tmp_path: Path, layout: str) -> None:
    written = LAYOUTS[layout](tmp_path, {"a": [(5, 6), (40.5, 6)]})
    centres, _ = open_points(written.data, written.annotations)
    assert centres.points[0].tolist() == [[5, 6], [39.75, 6]]  # what is seen of the second is 39.5 to 40
    assert rules(centres) == [("partly_outside", written.place(1))]
    heads, _ = open_points(written.data, written.annotations, at="head")
    np.testing.assert_allclose(heads.points[0], [[5, 5 + 2 / 15], [39.75, 5 + 2 / 15]])
    with pytest.raises(ValueError, match="at must be 'centre' or 'head', got 'top'"):
        open_points(written.data, at="top")  # pyright: ignore[reportArgumentType]


def test_coco_keypoints(tmp_path: Path) -> None:
    path = coco(tmp_path, {"a": [(5, 6)] * 5}).annotations
    assert path is not None
    document = json.loads(path.read_text())
    document["categories"][0]["keypoints"] = ["ear", "nose"]
    given_points = ([1, 2, 2, 3, 4, 1], [1, 2, 2, 3, 4, 0], [1, 2, 0, 3, 4, 0], None, [99, 2, 2, 0, 0, 0])
    for shift, (row, keypoints) in enumerate(zip(document["annotations"], given_points, strict=True)):
        row |= {"keypoints": keypoints, "bbox": [4 + shift, 5, 2, 2]}
    path.write_text(json.dumps(document))
    train, _ = open_points(tmp_path, path)
    assert train.points[0].tolist() == [[3, 4], [1, 2], [7, 6], [8, 6]]
    assert rules(train) == [("outside", "labels.json: annotation 5")]


def test_mot(tmp_path: Path) -> None:
    pictures(tmp_path / "s1/img1", ["000001.jpg", "000002.jpg", "000003.jpg", "000004.jpg"])
    pictures(tmp_path / "s2/img1", ["000001.jpg"])
    rows = ["1,1,2,3,4,6,1,-1,-1", "3,1,2,3,4,6,0,1,1", "3,2,10,3,4,6,1", "", "9,2,10,3,4,6,1", "x,1,1", "0,1,1,1,1,1"]
    text(tmp_path / "s1/gt/gt.txt", "\n".join([*rows, "1,1,a,1,1,1"]))
    text(tmp_path / "s2/gt/gt.txt", "1,1,0,0,2,2\n")
    train, _ = open_points(tmp_path)
    assert train.names == (*(f"s1/img1/{frame:06d}.jpg" for frame in (1, 2, 3, 4)), "s2/img1/000001.jpg")
    assert [each.tolist() for each in train.points] == [[[4, 6]], [], [[12, 6]], [], [[1, 1]]]
    assert [(each.rule, each.where, each.detail) for each in train.problems] == [
        ("malformed", "s1/gt/gt.txt:6", "3 columns, not 6 or more"),
        ("malformed", "s1/gt/gt.txt:7", "frame '0' is no number from 1"),
        ("malformed", "s1/gt/gt.txt:8", "no number: '1,1,a,1,1,1'"),
        ("missing_image", "s1/gt/gt.txt:5", "there is no image of frame 9"),
    ]


def test_dots_are_not_merged(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["1.png", "2.png", "3.png"])
    masks = {"1": np.zeros((20, 40), bool), "2": np.zeros((20, 40, 3), np.uint8), "3": np.zeros((20, 20), np.uint8)}
    masks["1"][3, 4:6] = True
    masks["2"][0, 39, 2] = 1
    (tmp_path / "masks").mkdir()
    for name, mask in masks.items():
        Image.fromarray(mask).save(tmp_path / f"masks/{name}.png")
    found = read_dots(tmp_path, tmp_path)
    assert found.images == ["images/1.png", "images/2.png"]
    assert found.values.tolist() == [[4.5, 3.5], [5.5, 3.5], [39.5, 0.5]]
    assert [each.detail for each in found.problems] == ["a mask of 20 x 20 for an image of 40 x 20"]
    Image.new("L", (40, 20), 255).save(tmp_path / "masks/3.png")
    [problem] = read_dots(tmp_path / "masks", tmp_path).problems
    assert problem.detail == "800 of 800 pixels are not zero: regions, not dots"


def test_labelling_programs_boxes_and_other_shapes(tmp_path: Path) -> None:
    shapes: list[Any] = [
        {"shape_type": "rectangle", "points": [[6, 8], [2, 4]]},
        {"shape_type": "polygon", "points": [[1, 1]] * 3},
        {"shape_type": "point", "points": [[1, "1"]]},
        7,
    ]
    pictures(tmp_path / "m", ["a.png"])
    text(tmp_path / "m/a.json", json.dumps({"shapes": shapes, "imageWidth": 41, "imageHeight": 20}))
    train, _ = open_points(tmp_path / "m")
    assert train.points[0].tolist() == [[4, 6]]
    assert [each.rule for each in train.problems] == ["wrong_size", "malformed", "malformed", "malformed"]
    assert train.problems[1].detail == "shape_type 'polygon' is neither point nor rectangle"
    pictures(tmp_path / "c", ["sub/a.png"])
    inner = '<points points="1,2;3,4"/><box xtl="2" ytl="4" xbr="6" ybr="8"/><polygon points="1,1"/><points/><tag/>'
    table = text(
        tmp_path / "c/annotations.xml",
        f'<annotations><image id="4" name="sub/a.png">{inner}</image><image name="../x.png"/></annotations>',
    )
    train, _ = open_points(tmp_path / "c", table)
    assert train.points[0].tolist() == [[1, 2], [3, 4], [4, 6]]
    assert rules(train)[:2] == [
        ("malformed", "annotations.xml: image 4, shape 3"),
        ("malformed", "annotations.xml: image 4, shape 4"),
    ]
    assert ("unsafe_name", "annotations.xml: image 2") in rules(train)


def test_label_studio_rectangles_and_what_it_cannot_take(tmp_path: Path) -> None:
    pictures(tmp_path, ["a.png", "b c.png"])
    box = {"type": "rectanglelabels", "value": {"x": 10, "y": 10, "width": 20, "height": 40}}
    results = [box, box | {"type": "brushlabels"}, {"type": "keypointlabels", "value": {"x": "1", "y": 2}}]
    cancelled = {"was_cancelled": True, "result": [box] * 5}
    tasks = [
        {"data": {"image": "/data/local-files/?d=x/a.png"}, "annotations": [cancelled, {"result": results}]},
        {"data": {"image": "https://host/b%20c.png?q=1"}, "annotations": [{"result": []}]},
        {"data": {}},
        {"data": {"image": "a.png"}, "annotations": []},
    ]
    train, _ = open_points(tmp_path, text(tmp_path / "t.json", json.dumps(tasks)))
    assert train.names == ("a.png", "b c.png")
    assert [each.tolist() for each in train.points] == [[[8, 6]], []]
    places = ("t.json: task 1, result 2", "t.json: task 1, result 3", "t.json: task 3", "t.json: task 4")
    assert rules(train) == [("malformed", place) for place in places]


@pytest.mark.fault(20, "CVAT's XML with a DOCTYPE or ENTITY is refused, and tracks of a video are")
@pytest.mark.parametrize(
    "content", ['<!DOCTYPE a [<!ENTITY l "ha">]><annotations/>', "<annotations><track/></annotations>"]
)
def test_cvat_refused(tmp_path: Path, content: str, seen: Callable[..., None]) -> None:
    pictures(tmp_path, ["a.png"])
    with pytest.raises(ValueError, match=r"annotations must be readable, got XML (with a DOCTYPE|of tracks)"):
        open_points(tmp_path, text(tmp_path / "annotations.xml", content))
    seen("refused, nothing expanded")


# ----- what is there -----------------------------------------------------------------------------------------------


def test_errors_say_what_is_supported(tmp_path: Path) -> None:
    pictures(tmp_path / "crowd", ["a.png"])
    with pytest.raises(FileNotFoundError, match=r"did you mean '.*crowd'\?"):
        open_points(tmp_path / "crwd")
    with pytest.raises(ValueError, match=r"data must be images with points.csv .*which holds 'a.png'"):
        open_points(tmp_path / "crowd")
    text(tmp_path / "crowd/clip.avi", "")
    (tmp_path / "crowd/a.png").unlink()
    with pytest.raises(ValueError, match=r"which holds the video 'clip.avi'; make images of it first: tamis convert"):
        open_points(tmp_path / "crowd")
    with pytest.raises(ValueError, match=r"got the video .*; run tamis convert first"):
        open_points(tmp_path / "crowd/clip.avi")
    points_csv(tmp_path / "none", {"a": None})
    with pytest.raises(ValueError, match=r"with its annotation for training, got none .*\(1 problems, first: images/a"):
        open_points(tmp_path / "none")


def test_classes_are_not_taken_for_points(tmp_path: Path) -> None:
    pictures(tmp_path, ["train/cat/a.png", "train/dog/b.png", "val/cat/c.png"])
    text(tmp_path / "train/labels.csv", "path,label\n")
    assert counting_layouts(tmp_path) == {}


@pytest.mark.parametrize("layout", ["points", "shanghaitech", "ucf-qnrf", "mall", "carpk", "mot"])
def test_check_without_annotations(tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    written = LAYOUTS[layout](tmp_path, {"a": [(5, 6), (NAN, 3)], "b": []})
    assert check_command(CheckConfig(tmp_path, workers=0)) == 1
    told = capsys.readouterr().out
    assert f"annotations ({layout}): 2 " in told
    assert written.place(1) in told
    assert "in 2 images, 1 of them empty (background)" in told


def test_check_of_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points_csv(tmp_path / "train", {"a": [(5, 6)], "b": []})
    points_csv(tmp_path / "test", {"a": [(5, 99)]})
    config = CheckConfig(tmp_path, workers=0, json=True, near=False)
    assert check_command(config) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == {"train": 2, "validation": 1}
    kinds = {finding["kind"]: {row["key"] for row in finding["rows"]} for finding in document["findings"]}
    assert kinds == {"outside": {"test/points.csv:2"}, "leak": {"train/images/a.png", "test/images/a.png"}}
    (tmp_path / "train/points.csv").write_text("nothing")
    assert check_command(config) == 1
    document = json.loads(capsys.readouterr().out)
    found = {row["key"] for finding in document["findings"] for row in finding["rows"]}
    assert {"train/points.csv", "test/points.csv:2"} <= found


def test_yolo_splits_by_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        yolo(tmp_path / split, {f"{split}1": [(5, 6)]})
    train, validation = open_points(tmp_path)
    assert validation is not None
    assert (train.names, validation.names) == (("train/images/train1.png",), ("val/images/val1.png",))


def test_recognised_kinds(tmp_path: Path) -> None:
    for layout, write in LAYOUTS.items():
        written = write(tmp_path / layout, GOOD)
        if written.annotations is None:
            assert [each.kind for each in counting_layouts(written.data).values()] == [layout]
        else:
            assert inspect_annotations(written.annotations, images=written.data).kind == layout


@pytest.mark.parametrize(
    ("name", "train_counts", "test_counts"),
    [("cells", (200, 34_741), None), ("shanghaitech_b_sample/part_B", (30, 487), (8, 136))],
)
def test_real_points(name: str, train_counts: tuple[int, int], test_counts: tuple[int, int] | None) -> None:
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"no {path}")
    if "part" in name:
        pytest.importorskip("scipy.io")
    train, test = open_points(path)
    assert (len(train), train.counts.sum()) == train_counts
    assert (None if test is None else (len(test), test.counts.sum())) == test_counts
    assert train.problems == ()
