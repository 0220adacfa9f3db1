"""Boxes of objects: every layout gives the same boxes and splits, and every fault is named with its place."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from box_folders import CLASSES, LAYOUTS, Box, document, kitti, kitti_line
from point_layouts import picture, text
from tamis.data.annotations import counting_layouts, inspect_layouts
from tamis.data.annotations.columns import Annotations, merged
from tamis.data.boxes import BoxSet, box_set, open_boxes
from tamis.data.points import open_points
from tamis.recipes.check import check_command
from tamis.recipes.command_config import CheckConfig

SHARED = Path(__file__).resolve().parents[2] / "shared"
NAN = float("nan")
CAR, PERSON = Box("car", 4, 2, 14, 12), Box("person", 20.5, 5, 24.5, 19)
TRAIN = {"a": [PERSON, CAR], "b": [], "c": [Box("person", 1, 1, 2, 3)]}
VALIDATION = {"d": [CAR]}


def stems(found: BoxSet) -> list[str]:
    return [Path(name).stem for name in found.names]


def rules(found: BoxSet) -> list[tuple[str, str]]:
    return [(problem.rule, problem.where) for problem in found.problems]


def plain(found: BoxSet) -> list[list[tuple]]:
    """Boxes with the names of their classes, by image."""
    return [
        [(found.class_names[label], *np.round(box.astype(float), 4).tolist()) for box, label in zip(*each, strict=True)]
        for each in zip(found.boxes, found.labels, strict=True)
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_boxes(tmp_path: Path, layout: str) -> None:
    written = LAYOUTS[layout](tmp_path, TRAIN, VALIDATION)
    train, validation = open_boxes(written.data, written.annotations)
    assert validation is not None
    assert train.problems == validation.problems == ()
    names = CLASSES[::-1] if layout == "table" else CLASSES  # in the order in which they come
    assert train.class_names == validation.class_names == names
    assert stems(train) == ["a", "b", "c"]
    assert stems(validation) == ["d"]
    assert [sorted(each) for each in plain(train)] == [[CAR[:5], PERSON[:5]], [], [("person", 1, 1, 2, 3)]]
    assert plain(validation) == [[CAR[:5]]]
    for found in (train, validation):
        assert all((found.root / name).is_file() for name in found.names)
        assert found.sizes.tolist() == [[40, 20]] * len(found)
        assert {(each.dtype, each.shape[1]) for each in found.boxes} == {(np.dtype(np.float32), 4)}
        assert {each.dtype for each in found.labels} == {np.dtype(np.int64)}
    assert train.counts.tolist() == [2, 0, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_images_to_judge_by(tmp_path: Path, layout: str) -> None:
    written = LAYOUTS[layout](tmp_path, TRAIN, {})
    train, validation = open_boxes(written.data, written.annotations)
    assert validation is None
    assert stems(train) == ["a", "b", "c"]
    assert train.problems == ()


FAULTS = {
    "outside": (Box("car", 50, 3, 60, 8), "outside"),
    "nan": (Box("car", NAN, 3, 10, 8), "not_finite"),
    "no width": (Box("car", 5, 3, 5, 8), "no_area"),
    "upside down": (Box("car", 5, 8, 15, 3), "no_area"),
    "twice": (PERSON, "duplicate_row"),
}


@pytest.mark.fault(20, "boxes of every layout: outside, NaN, without area and there twice: named and left out")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bad_box_is_named(tmp_path: Path, layout: str, fault: str, seen) -> None:
    box, rule = FAULTS[fault]
    written = LAYOUTS[layout](tmp_path, {"a": [PERSON, box]}, VALIDATION)
    train, _ = open_boxes(written.data, written.annotations)
    assert rules(train) == [(rule, written.place(1))]
    assert plain(train) == [[PERSON[:5]]]
    seen(f"{layout}: named with file and line or number")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_box_partly_outside_is_clipped(tmp_path: Path, layout: str) -> None:
    written = LAYOUTS[layout](tmp_path, {"a": [Box("car", -4, 3, 50, 8), Box("person", 1, 1, 40.04, 20)]}, VALIDATION)
    train, _ = open_boxes(written.data, written.annotations)
    assert rules(train) == [("partly_outside", written.place(0))]
    assert sorted(plain(train)[0]) == [("car", 0, 3, 40, 8), ("person", 1, 1, 40, 20)]


@pytest.mark.fault(20, "boxes of every layout: an image without annotation, or one that is gone or damaged, is named")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_file_is_named(tmp_path: Path, layout: str, seen) -> None:
    written = LAYOUTS[layout](tmp_path / "bare", {**TRAIN, "e": None}, VALIDATION)
    train, _ = open_boxes(written.data, written.annotations)
    assert [rule for rule, _ in rules(train)] == ["missing_annotation"]
    assert stems(train) == ["a", "b", "c"]
    for content, expected in ((None, "missing_image"), (b"no image", "unreadable_image")):
        written = LAYOUTS[layout](tmp_path / expected, TRAIN, VALIDATION)
        train, _ = open_boxes(written.data, written.annotations)
        (train.root / train.names[2]).unlink()
        if content:
            (train.root / train.names[2]).write_bytes(content)
        train, _ = open_boxes(written.data, written.annotations)
        assert {rule for rule, _ in rules(train)} == {expected}
        assert stems(train) == ["a", "b"]
    seen(f"{layout}: left out and named")


@pytest.mark.fault(
    20, "boxes of every layout in files that are damaged: refused in one line or named; the rest is read"
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b"[" * 100_000, b"<a", b"1,2\n3 4 5\n", b"{}", b"a: [b"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_annotations(tmp_path: Path, layout: str, content: bytes, seen) -> None:
    endings = (".json", ".txt", ".xml", ".yaml", ".csv")
    written = LAYOUTS[layout](tmp_path / "whole", TRAIN, VALIDATION)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.suffix in endings)
    for place, file in enumerate(files):
        written = LAYOUTS[layout](tmp_path / f"{place}/whole", TRAIN, VALIDATION)
        (tmp_path / f"{place}" / file).write_bytes(content)
        reason = ""
        try:
            train, _ = open_boxes(written.data, written.annotations)
        except (ValueError, FileNotFoundError) as error:
            reason = str(error)
        else:
            assert all(np.isfinite(each).all() for each in train.boxes)
            # An empty file says that there is nothing, and nobody needs a list of classes or words for people.
            assert train.problems or content == b"" or file.name in ("classes.txt", "README.dataset.txt"), file
        assert re.fullmatch("((annotations|data|images|list of a split|split) must [^\n]*)?", reason), file
    seen("refused in one line or named", count=len(files))


@pytest.mark.parametrize(
    ("header", "named"),
    [("filename,width,height,class,xmin,ymin,xmax,ymax", True), ("image,x1,y1,x2,y2,label", True),
     ("x1,y1,x2,y2,image", False)],
)  # fmt: skip
def test_tables_of_other_programs(tmp_path: Path, header: str, named: bool) -> None:
    cells = {"width": 40, "height": 20, "class": "car", "label": "car", "filename": "a.png", "image": "a"}
    cells |= dict(zip(("x1", "y1", "x2", "y2", "xmin", "ymin", "xmax", "ymax"), CAR[1:5] * 2, strict=True))
    line = ",".join(str(cells[name]) for name in header.split(","))
    picture(tmp_path / "images/a.png")
    path = text(tmp_path / "elsewhere.csv", f"{header}\n{line}\n{line.replace('car', '').replace('4,2', '5,2')}\n")
    train, _ = open_boxes(tmp_path / "images", path)
    assert train.class_names == (("car",) if named else ("0",))
    assert [each[1:] for each in plain(train)[0]] == [CAR[1:5]] if named else [CAR[1:5], (5, 2, 14, 12)]
    assert rules(train) == ([("wrong_class", "elsewhere.csv:3")] if named else [])


def test_the_order_of_a_file_has_no_influence(tmp_path: Path) -> None:
    boxes = [CAR, PERSON, Box("car", 3, 2, 14, 12), Box("car", 4, 2, 14, 11), Box("person", 20.5, 4, 24, 19)]
    text(tmp_path / "a/coco.json", document({"a": boxes}))
    text(tmp_path / "b/coco.json", document({"a": boxes[::-1]}))
    for folder in ("a", "b"):
        picture(tmp_path / folder / "a.png")
    one, other = (plain(open_boxes(tmp_path / folder)[0]) for folder in ("a", "b"))
    assert one == other
    assert len(one[0]) == 5


@pytest.mark.parametrize("layout", ["coco", "kitti"])
def test_regions_that_count_for_nothing(tmp_path: Path, layout: str) -> None:
    region = Box("car", 1, 2, 39, 19, ignored=True)
    written = LAYOUTS[layout](tmp_path, {"a": [CAR, region], "b": [region], "c": [CAR]}, VALIDATION)
    train, validation = open_boxes(written.data, written.annotations)
    assert train.problems == ()
    assert train.counts.tolist() == [1, 0, 1]
    assert [each.tolist() for each in train.ignored] == [[[1, 2, 39, 19]], [[1, 2, 39, 19]], []]
    assert validation is not None
    assert [len(each) for each in validation.ignored] == [0]
    inner = [written.data / name for name in ("train2017", "annotations/instances_train2017.json")]
    counted, _ = open_points(written.data) if layout == "kitti" else open_points(*inner)
    # A crowd is one to count; a region of no class is none.
    assert counted.counts[:3].tolist() == ([2, 1, 1] if layout == "coco" else [1, 0, 1])


def test_occlusion_and_truncation_stay_with_their_boxes(tmp_path: Path) -> None:
    kitti(tmp_path, {"a": [], "b": [CAR]}, VALIDATION)
    lines = [
        kitti_line(PERSON, "0.50", "3"),
        kitti_line(Box("car", 0, 0, 40, 20, ignored=True)),
        kitti_line(CAR, "0.00", "2"),
        kitti_line(Box("car", 5, 5, 9, 9), "-1", "-1"),
    ]
    text(tmp_path / "training/label_2/a.txt", "".join(lines))
    train, _ = open_boxes(tmp_path)
    assert train.problems == ()
    assert plain(train)[0] == [CAR[:5], ("car", 5, 5, 9, 9), PERSON[:5]]
    np.testing.assert_array_equal(train.columns["occlusion"][0], np.array([2, NAN, 3], np.float32))
    np.testing.assert_array_equal(train.columns["truncation"][0], np.array([0, NAN, 0.5], np.float32))
    assert train.columns["occlusion"][1].tolist() == [1]
    part = train.select([1])
    assert {name: [each.tolist() for each in column] for name, column in part.columns.items()} == {
        "occlusion": [[1.0]],
        "truncation": [[0.25]],
    }


@pytest.mark.fault(20, "KITTI: lines with too few columns, no numbers or unknown types are named with file and line")
@pytest.mark.parametrize(
    ("line", "rule", "detail"),
    [
        ("car 0 0 0 1 1 2 2", "malformed", "8 columns, not 15"),
        (kitti_line(CAR).replace("14 ", "x "), "malformed", "no number"),
        (kitti_line(CAR, occluded="4"), "malformed", "occluded '4' is not 0, 1, 2 or 3"),
        (kitti_line(CAR, occluded="nan"), "malformed", "occluded 'nan'"),
        (kitti_line(CAR, truncated="1.1"), "malformed", r"truncated '1.1' is not in \[0, 1\]"),
        (kitti_line(CAR, truncated="nan"), "malformed", "truncated 'nan'"),
        (kitti_line(CAR).replace("car", "boat"), "wrong_class", "type 'boat' is no class"),
        (kitti_line(CAR).replace("14 ", "inf "), "not_finite", ""),
    ],
)
def test_bad_lines_of_kitti(tmp_path: Path, line: str, rule: str, detail: str, seen) -> None:
    kitti(tmp_path, TRAIN, VALIDATION)
    text(tmp_path / "training/label_2/a.txt", kitti_line(PERSON) + "\n" + line)
    train, _ = open_boxes(tmp_path)
    assert rules(train) == [(rule, "training/a.txt:3")]
    assert train.problems[0].detail.startswith(detail.split("'")[0].replace("\\", "").split("[")[0])
    assert plain(train)[0] == [PERSON[:5]]
    findings = inspect_layouts(counting_layouts(tmp_path)).findings
    assert [(finding.kind, len(finding.rows)) for finding in findings] == [(rule, 1)]
    seen("named with file and line, the rest is read")


def test_classes_of_kitti(tmp_path: Path) -> None:
    kitti(tmp_path, TRAIN, VALIDATION)
    (tmp_path / "classes.txt").unlink()
    assert open_boxes(tmp_path)[0].class_names == ("person", "car")
    for path in (tmp_path / "training/label_2").iterdir():
        path.write_text(path.read_text().replace("person", "Pedestrian").replace("car", "Car"))
    train, _ = open_boxes(tmp_path)
    assert train.class_names[:4] == ("Car", "Van", "Truck", "Pedestrian")
    assert len(train.class_names) == 8
    assert [each[0] for each in plain(train)[0]] == ["Car", "Pedestrian"]


def test_classes_are_one_by_their_name(tmp_path: Path) -> None:
    """Documents with other ids, another order, and a class that the other does not have."""
    other = json.loads(document({"b": [CAR, PERSON]}, ids=(1, 2)))
    other["categories"] = [{"id": 3, "name": "bus"}, *other["categories"][::-1]]
    text(tmp_path / "train/_annotations.coco.json", document({"a": [CAR, PERSON]}))
    text(tmp_path / "valid/_annotations.coco.json", json.dumps(other))
    picture(tmp_path / "train/a.png")
    picture(tmp_path / "valid/b.png")
    train, validation = open_boxes(tmp_path)
    assert validation is not None
    assert train.class_names == validation.class_names == ("car", "person", "bus")
    assert plain(train) == plain(validation) == [[CAR[:5], PERSON[:5]]]


def test_classes_without_names_are_called_by_their_numbers(tmp_path: Path) -> None:
    LAYOUTS["yolo"](tmp_path, TRAIN, VALIDATION)
    (tmp_path / "data.yaml").unlink()
    train, validation = open_boxes(tmp_path)
    assert train.class_names == ("0", "1")
    assert validation is not None
    assert plain(validation) == [[("0", *CAR[1:5])]]


def test_sequences_of_images(tmp_path: Path) -> None:
    for sequence in ("train/one", "train/two", "test/three"):
        for frame in (1, 2):
            picture(tmp_path / sequence / f"img1/{frame:06d}.png")
        text(tmp_path / sequence / "gt/gt.txt", "1,1,4,2,10,10,1,1,1\n2,1,5,2,10,10,0,1,1\n")
    train, validation = open_boxes(tmp_path)
    assert train.class_names == ("person",)
    assert train.names[1] == "train/one/img1/000002.png"
    assert plain(train) == [[("person", 4, 2, 14, 12)], [], [("person", 4, 2, 14, 12)], []]
    assert validation is not None
    assert len(validation) == 2


def test_a_culled_folder(tmp_path: Path) -> None:
    """Many layouts in one folder: the COCO document counts."""
    text(tmp_path / "coco.json", document({"a": [CAR], "b": []}, "images/"))
    for name in "ab":
        picture(tmp_path / f"images/{name}.png")
        text(tmp_path / f"labels/{name}.txt", "1 0.5 0.5 0.1 0.1\n")
        text(tmp_path / f"kitti/label_2/{name}.txt", kitti_line(PERSON))
    text(tmp_path / "data.yaml", "train: train.txt\nnames: [x, y]\n")
    text(tmp_path / "train.txt", "images/a.png\nimages/b.png\n")
    for name in ("run.json", "result.json", "resolution.json"):
        text(tmp_path / name, json.dumps({"images": 3}))
    text(tmp_path / "label-studio.json", json.dumps([{"data": {"image": "a.png"}, "annotations": [], "categories": 0}]))
    train, validation = open_boxes(tmp_path)
    assert validation is None
    assert train.names == ("images/a.png", "images/b.png")
    assert plain(train) == [[CAR[:5]], []]
    assert train.class_names == CLASSES


def test_lists_of_splits(tmp_path: Path) -> None:
    """An image of another list is of no interest; one of no list, and one that is not there, are named."""
    LAYOUTS["voc"](tmp_path, {**TRAIN, "e": [CAR], "f": [CAR]}, VALIDATION)
    text(tmp_path / "ImageSets/Main/train.txt", "a\nb\n\nc\ng\n")
    text(tmp_path / "ImageSets/Main/test.txt", "e\na\n")  # a is trained on nevertheless
    train, validation = open_boxes(tmp_path)
    assert stems(train) == ["a", "b", "c"]
    assert validation is not None
    assert stems(validation) == ["d"]
    assert rules(train) == [("missing_image", "train.txt:5"), ("no_split", "JPEGImages/f.png")]
    (tmp_path / "ImageSets/Main/train.txt").unlink()
    text(tmp_path / "ImageSets/Main/trainval.txt", "a\nb\nc\nd\nf\n")
    (tmp_path / "ImageSets/Main/val.txt").unlink()
    train, validation = open_boxes(tmp_path)
    assert validation is not None
    assert (stems(train), stems(validation)) == (["a", "b", "c", "d", "f"], ["e"])


def test_names_with_dots_and_folders(tmp_path: Path) -> None:
    """A list that names by number or path finds what it means, and never an image of another folder."""
    for name in ("x/a.b", "y/a.b", "y/c"):
        picture(tmp_path / f"images/{name}.png")
        text(tmp_path / f"labels/{name}.txt", "0 0.5 0.5 0.1 0.1\n")
    text(tmp_path / "train.txt", "./images/x/a.b.png\nc\na.b\nz/c.png\n")
    text(tmp_path / "val.txt", "y/a.b\n")
    train, validation = open_boxes(tmp_path)
    assert train.names == ("images/x/a.b.png", "images/y/c.png")
    assert validation is not None
    assert validation.names == ("images/y/a.b.png",)
    assert rules(train) == [("missing_image", "train.txt:3"), ("missing_image", "train.txt:4")]


def test_an_image_in_both_lists_is_trained_on(tmp_path: Path) -> None:
    LAYOUTS["yolo lists"](tmp_path, TRAIN, VALIDATION)
    text(tmp_path / "val.txt", "a\nd\n")
    train, validation = open_boxes(tmp_path)
    assert validation is not None
    assert (stems(train), stems(validation)) == (["a", "b", "c"], ["d"])


@pytest.mark.fault(26, "names in COCO documents and lists of splits that lead out of the folder are not followed")
def test_hostile_names(tmp_path: Path, seen) -> None:
    LAYOUTS["coco"](tmp_path / "data", TRAIN, VALIDATION)
    picture(tmp_path / "secret.png")
    path = tmp_path / "data/annotations/instances_train2017.json"
    changed = json.loads(path.read_text())
    changed["images"][2]["file_name"] = "../../secret.png"
    path.write_text(json.dumps(changed))
    train, _ = open_boxes(tmp_path / "data")
    assert [rule for rule, _ in rules(train)] == ["unsafe_name", "missing_annotation"]
    assert stems(train) == ["a", "b"]
    LAYOUTS["yolo lists"](tmp_path / "yolo", TRAIN, VALIDATION)
    text(tmp_path / "yolo/train.txt", "a\n../secret.png\n/etc/passwd\n=1+1\n")
    text(tmp_path / "yolo/data.yaml", f"train: [train.txt, ../../secret, {tmp_path}]\nnames: [car, person]\n")
    train, _ = open_boxes(tmp_path / "yolo")
    assert stems(train) == ["a"]
    assert [where for rule, where in rules(train) if rule == "missing_image"] == [f"train.txt:{n}" for n in (2, 3, 4)]
    seen("named; nothing outside is read")


@pytest.mark.fault(20, "boxes: a folder that is no data set, a video or a wrong path is refused with what to do")
def test_what_is_no_data_set(tmp_path: Path, seen) -> None:
    with pytest.raises(FileNotFoundError, match="which is not there; correct the path"):
        open_boxes(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"data must be images with boxes: COCO .json, .*which holds nothing"):
        open_boxes(tmp_path)
    text(tmp_path / "film/a.mp4", "")
    with pytest.raises(ValueError, match=r"holds the video 'a.mp4'"):
        open_boxes(tmp_path / "film")
    text(tmp_path / "points.csv", "image,x,y\n")
    with pytest.raises(ValueError, match=r"got points in .*has no boxes"):
        open_boxes(tmp_path, tmp_path / "points.csv")
    for name in ("one.json", "two.json"):
        text(tmp_path / f"coco/{name}", document({"a": [CAR]}))
    with pytest.raises(ValueError, match=r"one COCO document, or one named train, got 'one.json' and 'two.json'"):
        open_boxes(tmp_path / "coco")
    LAYOUTS["kitti"](tmp_path / "kitti", {"a": None, "b": [CAR]}, {})
    (tmp_path / "kitti/training/image_2/b.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"image with its annotation for training, got none"):
        open_boxes(tmp_path / "kitti")
    text(tmp_path / "broken/coco.json", '{"images": [], "annotations": 3, "categories": []}')
    with pytest.raises(ValueError, match="annotations must be readable, got JSON without a list of annotations"):
        open_boxes(tmp_path / "broken")
    seen("refused in one line")


def annotations(boxes: list[tuple[float, float, float, float]], labels: list[int]) -> Annotations:
    count = len(boxes)
    return Annotations(
        ["a", "b"], np.array([[40, 20], [300, 200]]), (), np.arange(count) % 2, np.array(labels, np.int64),
        np.array(boxes, np.float64).reshape(-1, 4), [f"x:{row}" for row in range(count)], range(count), [],
    )  # fmt: skip


CORNER = st.one_of(st.floats(-50, 350), st.floats(), st.sampled_from([0.0, 20.0, 40.0, 39.99, 20.04, 1e-7]))


@given(st.lists(st.tuples(st.tuples(CORNER, CORNER, CORNER, CORNER), st.integers(0, 2)), max_size=12))
def test_what_is_left_has_an_area_inside(rows: list[tuple[tuple[float, float, float, float], int]]) -> None:
    found = box_set(Path(), annotations([box for box, _ in rows], [label for _, label in rows]))
    for boxes, labels, (width, height) in zip(found.boxes, found.labels, found.sizes.tolist(), strict=True):
        assert len(boxes) == len(labels)
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= (width, height)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert all(0 <= label < len(found.class_names) for label in labels.tolist())
    dropped = [problem for problem in found.problems if problem.rule != "partly_outside"]
    assert sum(found.counts) + len(dropped) == len(rows)


def test_a_box_too_thin_for_its_numbers_is_named() -> None:
    found = box_set(Path(), annotations([(5.00000001, 1, 5.00000002, 3), (1, 1, 2, 2), (5, 1, 6, 3)], [0, 0, 0]))
    assert rules(found) == [("no_area", "x:0")]
    assert found.counts.tolist() == [1, 1]


def test_boxes_and_points_do_not_mix() -> None:
    boxes = annotations([(1, 2, 3, 4)], [0])
    points = replace(boxes, values=boxes.values[:, :2])
    with pytest.raises(ValueError, match="all of boxes or all of points, got both in train, test"):
        merged([("train", boxes), ("test", points)])


def test_columns_that_a_part_does_not_have() -> None:
    one, two = annotations([(1, 2, 3, 4)], [1]), annotations([(1, 2, 3, 4)], [0])
    two.extra, two.class_names = {"occlusion": np.array([2.0])}, ("1", "x")
    whole = merged([("train", one), ("", two)])
    assert whole.images == ["train/a", "train/b", "a", "b"]
    assert whole.class_names == ("0", "1", "x")
    assert whole.label.tolist() == [1, 1]
    np.testing.assert_array_equal(whole.extra["occlusion"], [NAN, 2.0])


@pytest.mark.skipif(not (SHARED / "data/kitti_sample").exists(), reason="needs ../shared/data/kitti_sample")
def test_real_kitti(capsys: pytest.CaptureFixture[str]) -> None:
    train, validation = open_boxes(SHARED / "data/kitti_sample")
    assert validation is None
    assert train.problems == ()
    assert train.sizes.tolist() == [[1224, 370], [1242, 375], [1242, 375]]
    assert train.counts.tolist() == [1, 3, 2]
    assert [len(each) for each in train.ignored] == [0, 4, 0]
    assert [each[0] for each in plain(train)[1]] == ["Car", "Truck", "Cyclist"]
    assert train.columns["occlusion"][1].tolist() == [0, 0, 3]
    assert check_command(CheckConfig(SHARED / "data/kitti_sample")) == 0
    assert "annotations (kitti): 6 boxes in 3 images" in capsys.readouterr().out
