"""Boxes and points: every fault is a named rule with its place, and --fix writes new annotations without it."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tamis.data.annotations import annotation_findings, inspect_annotations, upright_size, write_fixed
from tamis.recipes.check import check_command
from tamis.recipes.command_config import CheckConfig

SHARED = Path(__file__).resolve().parents[2] / "shared"
CLEAN = "0 0.5 0.5 0.25 0.25\n"


def pictures(folder: Path, *names: str) -> Path:
    """Pictures of 40 x 20 pixels, each another."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (20, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


def told(path: Path, **options: Any) -> list[tuple[str, str, str]]:
    """(rule, where, detail) of all that is found."""
    found = annotation_findings(path, **options)
    assert all(finding.fix and finding.rows for finding in found)
    return [(finding.kind, row.key, row.detail) for finding in found for row in finding.rows]


# ----- COCO --------------------------------------------------------------------------------------------------------


def coco(root: Path, *boxes: Any, **others: Any) -> Path:
    """Two images; a.png has one good box of class 3, then those that are given."""
    pictures(root, "a.png", "b.png")
    images = [{"id": n, "file_name": name, "width": 40, "height": 20} for n, name in ((1, "a.png"), (2, "b.png"))]
    first = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}
    rows = [first, *({"id": 2 + n} | first | {"id": 2 + n} | dict(box) for n, box in enumerate(boxes))]
    document = {"images": images, "annotations": rows, "categories": [{"id": 3, "name": "car"}]}
    for name, more in others.items():
        document[name] = document[name] + more
    path = root / "labels.json"
    path.write_text(json.dumps(document))
    return path


def image(**entry: Any) -> dict[str, Any]:
    return {"images": [{"id": 9, "file_name": "a.png", "width": 40, "height": 20} | entry]}


HERE = "labels.json: "
COCO: dict[str, tuple[list[dict[str, Any]], dict[str, Any], tuple[str, str, str]]] = {
    "class": ([{"category_id": 4}], {}, ("wrong_class", HERE + "annotation 2", "category_id 4 is no category")),
    "class -1": ([{"category_id": -1}], {}, ("wrong_class", HERE + "annotation 2", "category_id -1 is no category")),
    "class 3.5": ([{"category_id": 3.5}], {}, ("wrong_class", HERE + "annotation 2", "category_id 3.5 is no category")),
    "class list": ([{"category_id": []}], {}, ("wrong_class", HERE + "annotation 2", "category_id [] is no category")),
    "dangling": ([{"image_id": 7}], {}, ("dangling_image", HERE + "annotation 2", "image_id 7 is no image")),
    "id": ([{"id": 1}], {}, ("duplicate_id", HERE + "annotation 1", "the id of an earlier annotation")),
    "no id": ([{"id": None}], {}, ("malformed", HERE + "annotations[1]", "an annotation without a valid id")),
    "image id": ([], image(id=1), ("duplicate_id", HERE + "image 1", "the id of an earlier image")),
    "image twice": ([], image(), ("duplicate_id", HERE + "image 9", "the file of an earlier image: a.png")),
    "class id": (
        [],
        {"categories": [{"id": 3, "name": "x"}]},
        ("duplicate_id", HERE + "category 3", "the id of an earlier category"),
    ),
    "outside": (
        [{"bbox": [50, 2, 3, 4]}],
        {},
        ("outside", HERE + "annotation 2", "box [50, 2, 53, 6] in a.png of 40 x 20"),
    ),
    "partly": (
        [{"bbox": [38, -1, 5, 4]}],
        {},
        ("partly_outside", HERE + "annotation 2", "box [38, -1, 43, 3] in a.png of 40 x 20, clipped [38, 0, 40, 3]"),
    ),
    "zero": ([{"bbox": [1, 2, 0, 4]}], {}, ("no_area", HERE + "annotation 2", "box [1, 2, 1, 6] in a.png of 40 x 20")),
    "negative": (
        [{"bbox": [5, 2, -3, 4]}],
        {},
        ("no_area", HERE + "annotation 2", "box [5, 2, 2, 6] in a.png of 40 x 20"),
    ),
    "nan": (
        [{"bbox": [float("nan"), 2, 3, 4]}],
        {},
        ("not_finite", HERE + "annotation 2", "box [nan, 2, nan, 6] in a.png of 40 x 20"),
    ),
    "huge": (
        [{"bbox": [10**400, 2, 3, 4]}],
        {},
        ("not_finite", HERE + "annotation 2", "box [inf, inf, inf, inf] in a.png of 40 x 20"),
    ),
    "twice": ([{}], {}, ("duplicate_row", HERE + "annotation 2", "box [1, 2, 4, 6] in a.png of 40 x 20")),
    "three numbers": (
        [{"bbox": [1, 2, 3]}],
        {},
        ("no_box", HERE + "annotation 2", "bbox [1, 2, 3] is not four numbers"),
    ),
    "text": (
        [{"bbox": ["1", 2, 3, 4]}],
        {},
        ("no_box", HERE + "annotation 2", "bbox ['1', 2, 3, 4] is not four numbers"),
    ),
    "size": (
        [],
        {"images": [{"id": 9, "file_name": "c.png", "width": 20, "height": 40}]},
        ("wrong_size", HERE + "image 9", "said to be 20 x 40, the file is 40 x 20"),
    ),
    "up": (
        [],
        image(file_name="../a.png"),
        ("unsafe_name", HERE + "image 9", "file name '../a.png' leads out of the folder"),
    ),
    "drive": (
        [],
        image(file_name="C:\\a.png"),
        ("unsafe_name", HERE + "image 9", "file name 'C:\\\\a.png' leads out of the folder"),
    ),
}


@pytest.mark.fault(20, "COCO: each fault breaks one rule, named with its id; --fix writes a new file without it")
@pytest.mark.parametrize("name", COCO)
def test_coco(tmp_path: Path, name: str, seen: Callable[..., None]) -> None:
    boxes, others, expected = COCO[name]
    if name == "size":
        Image.new("RGB", (40, 20)).save(pictures(tmp_path / "data") / "c.png")
    path = coco(tmp_path / "data", *boxes, **others)
    before = path.read_bytes()
    assert told(path) == [expected]
    written = write_fixed(inspect_annotations(path), tmp_path / "out")
    assert written is not None
    assert path.read_bytes() == before
    again = inspect_annotations(written, images=tmp_path / "data")
    assert again.annotations is not None
    assert len(again.annotations.values) == 1 + (name == "partly")
    assert [finding.kind for finding in again.findings] == ["wrong_size"] * (name == "size")
    with pytest.raises(FileExistsError, match=r"without labels.json, got"):
        write_fixed(inspect_annotations(path), tmp_path / "out")
    seen("named with its id and mended in a new file")


def test_coco_no_bbox_missing_and_unreadable_images(tmp_path: Path) -> None:
    path = coco(tmp_path, images=[{"id": n, "file_name": f"{n}.png"} for n in (8, 9)])
    document = json.loads(path.read_text())
    del document["annotations"][0]["bbox"]
    path.write_text(json.dumps(document))
    (tmp_path / "8.png").write_text("no image")
    pictures(tmp_path, "new.png")
    found = told(path)
    assert ("no_box", "labels.json: annotation 1", "no bbox") in found
    assert ("missing_image", "9.png", f"there is no such file in {str(tmp_path)!r}") in found
    assert ("missing_annotation", "new.png", "not in the list of images") in found
    assert [(rule, where) for rule, where, _ in found if rule == "unreadable_image"] == [("unreadable_image", "8.png")]
    assert len(found) == 4


@pytest.mark.fault(20, "a JSON document that is damaged, deep or too large is refused with its name, not parsed")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "no JSON: Expecting property name"),
        (b"[1]", "JSON without images, annotations and categories"),
        (b'{"images": []}', "JSON without a list of annotations"),
        (b"[" * 200_000, "JSON that is nested too deeply"),
        (b"\xff\xfe\x00", "no JSON"),
        (None, "1,000,000,000 bytes, more than the 805,306,368"),
    ],
)
def test_json_refused(tmp_path: Path, content: bytes | None, reason: str, seen: Callable[..., None]) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(content or b"")
    if content is None:
        with path.open("r+b") as file:
            file.truncate(10**9)  # a file of holes takes no room
    [(rule, where, detail)] = told(path)
    assert (rule, where) == ("unreadable_annotation", "labels.json")
    assert detail.startswith(reason)
    assert write_fixed(inspect_annotations(path), tmp_path / "out") is None
    seen("refused with the reason")


# ----- YOLO --------------------------------------------------------------------------------------------------------


def yolo(root: Path, text: str | bytes, names: str | None = "names: [car, bus]\n") -> Path:
    pictures(root / "images", "a.png", "b.png", "empty.png")
    (root / "labels").mkdir(exist_ok=True)
    content = text if isinstance(text, bytes) else text.encode()
    for name, each in (("a", CLEAN.encode() + content), ("b", CLEAN.encode()), ("empty", b"")):
        (root / f"labels/{name}.txt").write_bytes(each)
    if names is not None:
        (root / "data.yaml").write_text(names)
    return root


YOLO = {
    "0 0.5 0.5 0.25": ("malformed", "4 columns, not 5"),
    "0 0.5 0.5 0.25 0.1 0.9": ("malformed", "6 columns, not 5; a sixth is a prediction's confidence"),
    "0 0 0 1 0 1 1": ("malformed", "7 columns, not 5; more are a polygon's"),
    "car 0.5 0.5 0.2 0.2": ("malformed", "no number: 'car 0.5 0.5 0.2 0.2'"),
    "0 20 10 4 4": ("malformed", "values above 1: '20 10 4 4'; divide pixels by the image's size"),
    "2 0.5 0.5 0.2 0.2": ("wrong_class", "'2' is not a class from 0 to 1"),
    "-1 0.5 0.5 0.2 0.2": ("wrong_class", "'-1' is not a class from 0 to 1"),
    "0.5 0.5 0.5 0.2 0.2": ("wrong_class", "'0.5' is not a class from 0 to 1"),
    "nan 0.5 0.5 0.2 0.2": ("wrong_class", "'nan' is not a class from 0 to 1"),
    "0 nan 0.5 0.2 0.2": ("not_finite", "box [nan, 8, nan, 12] in images/a.png of 40 x 20"),
    "0 inf 0.5 0.2 0.2": ("not_finite", "box [inf, 8, inf, 12] in images/a.png of 40 x 20"),
    "0 0.5 0.5 0 0.2": ("no_area", "box [20, 8, 20, 12] in images/a.png of 40 x 20"),
    "0 0.5 0.5 0.2 -0.2": ("no_area", "box [16, 12, 24, 8] in images/a.png of 40 x 20"),
    "1 1.5 0.5 0.2 0.2": ("outside", "box [56, 8, 64, 12] in images/a.png of 40 x 20"),
    "1 1 0.5 0.2 0.2": ("partly_outside", "box [36, 8, 44, 12] in images/a.png of 40 x 20, clipped [36, 8, 40, 12]"),
    CLEAN.strip(): ("duplicate_row", "box [15, 7.5, 25, 12.5] in images/a.png of 40 x 20"),
}


@pytest.mark.fault(20, "YOLO: each fault breaks one rule, named with file:line; --fix writes new files without it")
@pytest.mark.parametrize("line", YOLO)
def test_yolo(tmp_path: Path, line: str, seen: Callable[..., None]) -> None:
    path = yolo(tmp_path / "data", f"\n{line}\n")
    rule, detail = YOLO[line]
    assert told(path, images=path) == [(rule, "a.txt:3", detail)]
    written = write_fixed(inspect_annotations(path, images=path), tmp_path / "out")
    assert written is not None
    assert written == tmp_path / "out/labels"
    assert told(written, images=path / "images") == []
    clipped = "1 0.95 0.5 0.1 0.2\n" if rule == "partly_outside" else ""
    assert (written / "a.txt").read_text() == CLEAN + clipped
    assert (written / "empty.txt").read_text() == ""
    seen("named with file:line and mended in new files")


@pytest.mark.fault(20, "empty annotations are background: counted and no finding; so are Windows' line ends and marks")
@pytest.mark.parametrize(
    "text", [b"", b"\r\n", b"\xef\xbb\xbf1 0.5 0.5 0.1 0.1\r\n1 0.25 0.5 0.1 0.1\r\n", b"1 .5 .5 1 1"]
)
def test_yolo_legal(tmp_path: Path, text: bytes, seen: Callable[..., None]) -> None:
    path = yolo(tmp_path, b"")
    (path / "labels/a.txt").write_bytes(text)
    found = inspect_annotations(path, images=path)
    assert found.findings == []
    assert found.annotations is not None
    assert found.annotations.background == 1 + (not text.strip())
    seen("no finding, counted")


def test_yolo_files(tmp_path: Path) -> None:
    path = yolo(tmp_path, b"")
    pictures(path / "images", "bare.png")
    (path / "labels/lost.txt").write_text(CLEAN)
    (path / "labels/b.txt").write_bytes(b"\xff\xff")
    assert [each[:2] for each in told(path, images=path)] == [
        ("unreadable_annotation", "b.txt"),
        ("missing_image", "lost.txt"),
        ("missing_annotation", "images/bare.png"),
    ]
    with pytest.raises(ValueError, match=r"images must be named as their annotation files, got none .*give the folder"):
        annotation_findings(path, images=pictures(tmp_path / "other", "z.png"))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("names: 3", "data.yaml: names must be a list"),
        ("names: !!python/object/apply:os.system ['touch x']", "data.yaml: no YAML with names"),
        ("[" * 9000, "data.yaml: no YAML with names"),
        ("names: {1: a, 2: b}", "data.yaml: names must be a list"),
    ],
)
def test_class_names_refused(tmp_path: Path, names: str, reason: str) -> None:
    [(rule, _, detail)] = told(yolo(tmp_path, b"", names))
    assert rule == "unreadable_annotation"
    assert detail.startswith(reason)


@pytest.mark.parametrize("names", ["names: {0: car, 1: bus}", None])
def test_class_names(tmp_path: Path, names: str | None) -> None:
    path = yolo(tmp_path, b"", names)
    if names is None:
        (path / "classes.txt").write_text("car\nbus\n")
    found = inspect_annotations(path, images=path).annotations
    assert found is not None
    assert found.class_names == ("car", "bus")


# ----- VOC ---------------------------------------------------------------------------------------------------------

SIZE = "<size><width>40</width><height>20</height></size>"


def voc_object(corners: str = "1 2 5 6", name: str = "car") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners.split(), strict=True)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"


def voc(root: Path, inner: str, head: str = "") -> Path:
    pictures(root / "JPEGImages", "a.png")
    (root / "Annotations").mkdir()
    (root / "classes.txt").write_text("car\n")
    (root / "Annotations/a.xml").write_text(f"{head}<annotation>{inner}</annotation>")
    return root / "Annotations"


BOMB = '<!DOCTYPE a [<!ENTITY l "ha"><!ENTITY m "&l;&l;&l;">]>'
VOC = {
    "bomb": (BOMB, SIZE, "unreadable_annotation", "XML with a DOCTYPE or ENTITY, which VOC files do not have"),
    "external": (
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
        SIZE,
        "unreadable_annotation",
        "XML with a DOCTYPE or ENTITY, which VOC files do not have",
    ),
    "open": ("", "<size>", "unreadable_annotation", "no XML: mismatched tag: line 1, column 20"),
    "size": ("", voc_object(), "wrong_size", "no size"),
    "other size": (
        "",
        SIZE.replace("40", "41"),
        "wrong_size",
        "said to be 41 x 20, the file is 40 x 20",
    ),
    "no box": ("", SIZE + "<object><name>car</name></object>", "no_box", "no bndbox"),
    "text": ("", SIZE + voc_object("1 2 x 6"), "no_box", "bndbox ['1', '2', 'x', '6'] is not four numbers"),
    "name": ("", SIZE + voc_object(name="cat"), "wrong_class", "name 'cat' is no class"),
    "no name": ("", SIZE + voc_object(name=""), "wrong_class", "no name"),
    "turned": ("", SIZE + voc_object("5 2 1 6"), "no_area", "box [5, 2, 1, 6] in JPEGImages/a.png of 40 x 20"),
    "outside": ("", SIZE + voc_object("50 2 60 6"), "outside", "box [50, 2, 60, 6] in JPEGImages/a.png of 40 x 20"),
    "nan": ("", SIZE + voc_object("nan 2 4 6"), "not_finite", "box [nan, 2, 4, 6] in JPEGImages/a.png of 40 x 20"),
    "up": (
        "",
        SIZE + "<filename>../../a.png</filename>",
        "unsafe_name",
        "file name '../../a.png' leads out of the folder",
    ),
}


@pytest.mark.fault(20, "VOC: each fault breaks one rule, named with its file and object; no entity is ever expanded")
@pytest.mark.parametrize("name", VOC)
def test_voc(tmp_path: Path, name: str, seen: Callable[..., None]) -> None:
    head, inner, rule, detail = VOC[name]
    [(found, where, told_detail)] = told(voc(tmp_path, inner, head))
    assert (found, told_detail) == (rule, detail)
    assert where in ("a.xml", "a.xml: object 1")
    seen("named with its file and object")


def test_voc_clean_and_in_utf_16(tmp_path: Path) -> None:
    path = voc(tmp_path, SIZE + voc_object("0 0 40 20"))
    found = inspect_annotations(path)
    assert (found.kind, found.findings) == ("voc", [])
    assert write_fixed(found, tmp_path / "out") is None
    (path / "a.xml").write_bytes(f"{BOMB}<annotation/>".encode("utf-16"))
    assert told(path) == [("unreadable_annotation", "a.xml", "no UTF-8 text: byte 0")]


# ----- points ------------------------------------------------------------------------------------------------------

POINTS = {
    "a.png,41,3": ("outside", "point [41, 3] in a.png of 40 x 20"),
    "a.png,-1,3": ("outside", "point [-1, 3] in a.png of 40 x 20"),
    "a.png,nan,3": ("not_finite", "point [nan, 3] in a.png of 40 x 20"),
    "a.png,1,2": ("duplicate_row", "point [1, 2] in a.png of 40 x 20"),
    "a,1,2": ("duplicate_row", "point [1, 2] in a.png of 40 x 20"),
    "a.png,x,3": ("malformed", "no number: 'x,3'"),
    "a.png,,3": ("malformed", "no number: ',3'"),
    "a.png,3": ("malformed", "2 columns, not 3"),
    "/a.png,3,3": ("unsafe_name", "image '/a.png' leads out of the folder"),
    "c.png,3,3": ("missing_image", "there is no image c.png in "),
}


@pytest.mark.fault(20, "points in a CSV: each fault breaks one rule, named with file:line; --fix writes a new table")
@pytest.mark.parametrize("line", POINTS)
def test_points(tmp_path: Path, line: str, seen: Callable[..., None]) -> None:
    data = pictures(tmp_path / "data", "a.png", "b.png")
    table = tmp_path / "points.csv"
    table.write_text(f"image,x,y\na.png,1,2\nb.png,,\n{line}\n")
    [(rule, where, detail)] = told(table, images=data)
    assert (rule, where) == (POINTS[line][0], "points.csv:4")
    assert detail.startswith(POINTS[line][1])
    written = write_fixed(inspect_annotations(table, images=data), tmp_path / "out")
    assert written is not None
    assert written.read_text() == "image,x,y\na.png,1,2\nb.png,,\n"
    seen("named with file:line and left out of a new table")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,x,y\n", "header must have image, x and y, got 'path,x,y'"),
        ("", "header must have image, x and y, got ''"),
        ("image,x,y\n" + "a" * 200_000 + ",1,1\n", "no CSV: field larger than field limit"),
    ],
)
def test_points_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "points.csv").write_text(text)
    [(rule, where, detail)] = told(tmp_path / "points.csv")
    assert (rule, where) == ("unreadable_annotation", "points.csv")
    assert detail.startswith(reason)


def test_an_image_without_a_row_is_told(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png")
    (tmp_path / "points.csv").write_text("image,x,y\na.png,1,1\n")
    assert [each[:2] for each in told(tmp_path / "points.csv")] == [("missing_annotation", "b.png")]


def mat(path: Path, points: Any, name: str = "image_info", field: str = "location") -> Path:
    """As ShanghaiTech stores it: a cell that holds a struct."""
    scipy_io = pytest.importorskip("scipy.io")
    cell = np.empty((1, 1), object)
    cell[0, 0] = {field: points, "number": 0}
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy_io.savemat(path, {name: cell}, do_compression=True)
    return path


BIG = b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, 19_000)
MATS: dict[str, tuple[Any, str, str]] = {
    "key": ({"points": [[1.0, 2.0]], "name": "other"}, "unreadable_annotation", "no image_info"),
    "field": ({"points": [[1.0, 2.0]], "field": "x"}, "unreadable_annotation", "image_info without a location"),
    "shape": ({"points": [[1.0, 2.0, 3.0]]}, "unreadable_annotation", "location must be (N, 2), got (1, 3)"),
    "objects": ({"points": np.array([[{}, {}]], object)}, "unreadable_annotation", "location is not of numbers"),
    "text": (b"no mat", "unreadable_annotation", "no MATLAB 5 file"),
    "cut": (BIG, "unreadable_annotation", "a MATLAB file that is cut off"),
    "outside": ({"points": [[50.0, 2.0]]}, "outside", "point [50, 2] in images/IMG_1.png of 40 x 20"),
    "nan": ({"points": [[float("nan"), 2.0]]}, "not_finite", "point [nan, 2] in images/IMG_1.png of 40 x 20"),
    "twice": ({"points": [[1.0, 2.0]] * 2}, "duplicate_row", "point [1, 2] in images/IMG_1.png of 40 x 20"),
}


@pytest.mark.fault(20, "points of ShanghaiTech: a wrong key, shape or file is named; points are held to the same rules")
@pytest.mark.parametrize("name", MATS)
def test_mat(tmp_path: Path, name: str, seen: Callable[..., None]) -> None:
    content, rule, detail = MATS[name]
    pictures(tmp_path / "images", "IMG_1.png")
    path = tmp_path / "ground_truth/GT_IMG_1.mat"
    if isinstance(content, bytes):
        path.parent.mkdir()
        path.write_bytes(content)
    else:
        mat(path, **content)
    found = told(tmp_path, images=tmp_path)
    assert [(each[0], each[2]) for each in found] == [(rule, detail)]
    assert found[0][1].startswith("ground_truth/GT_IMG_1.mat")
    seen("named with file and point")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (bytes(20 << 20), "a MATLAB file that unpacks to more than points need"),
        (b"\x0e\0\0\0\x10\0\0\0" * 5000, "a MATLAB file that is cut off"),
    ],
)
def test_mat_bombs(tmp_path: Path, body: bytes, reason: str) -> None:
    pictures(tmp_path / "images", "IMG_1.png")
    packed = zlib.compress(body)
    (tmp_path / "GT_IMG_1.mat").write_bytes(BIG[:132] + struct.pack("<I", len(packed)) + packed)
    [(_, _, detail)] = told(tmp_path, images=tmp_path)
    assert detail == reason


def test_empty_mat_is_background(tmp_path: Path) -> None:
    pictures(tmp_path / "images", "IMG_1.png")
    mat(tmp_path / "ground_truth/GT_IMG_1.mat", np.empty((0, 0)))
    found = inspect_annotations(tmp_path / "ground_truth")
    assert (found.findings, found.about()) == (
        [],
        "annotations (shanghaitech): 0 points in 1 images, 1 of them empty (background)",
    )


# ----- all together ------------------------------------------------------------------------------------------------


def test_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert upright_size(tmp_path / "a.jpg") == (20, 40)


def test_unknown_layouts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="annotations must be a file or folder"):
        annotation_findings(tmp_path / "none")
    with pytest.raises(ValueError, match=r"annotations must be COCO .json, .*give one of them"):
        annotation_findings(tmp_path)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = coco(tmp_path / "data", {"bbox": [38, -1, 5, 4]}, {"category_id": 4}, {"category_id": 5})
    labels, out = path.rename(tmp_path / "labels.json"), tmp_path / "out"
    config = CheckConfig(tmp_path / "data", annotations=labels, fix=out, workers=0)
    assert check_command(config) == 1
    shown = capsys.readouterr().out
    assert "annotations (coco): 2 boxes in 2 images, 1 of them empty (background)" in shown
    assert "  wrong class             2\n  partly outside          1\n" in shown
    assert "  labels.json: annotation 4  category_id 5 is no category\n" in shown
    assert "fix: correct it (--fix clips it to the image)" in shown
    fixed = CheckConfig(tmp_path / "data", annotations=out / "annotations/labels.json", workers=0, json=True)
    assert check_command(fixed) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    with pytest.raises(FileExistsError):
        check_command(config)
    with pytest.raises(ValueError, match="fix must be a folder outside of the data"):
        check_command(CheckConfig(tmp_path / "data", annotations=labels, fix=tmp_path / "data/out"))
    with pytest.raises(ValueError, match="data must be a folder of images where there are annotations"):
        check_command(CheckConfig(labels, annotations=labels))


def test_command_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = coco(tmp_path, {"bbox": [1, 2, 0, 4]})
    assert check_command(CheckConfig(tmp_path, annotations=path, workers=0, json=True)) == 1
    [finding] = json.loads(io.StringIO(capsys.readouterr().out).read())["findings"]
    assert (finding["kind"], finding["rows"][0]["key"]) == ("no_area", "labels.json: annotation 2")


@pytest.mark.parametrize("name", ["cells/points.csv", "shanghaitech_b_sample/part_B"])
def test_real_points(name: str) -> None:
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"no {path}")
    if path.is_dir():
        pytest.importorskip("scipy.io")
    found = inspect_annotations(path, images=path if path.is_dir() else None)
    assert found.findings == []
    assert found.annotations is not None
    assert len(found.annotations.values) == (623 if path.is_dir() else 34_741)
