"""Export: what is written is read back equal, by the project's readers and others; hostile names change nothing."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from reference_export import cvat_boxes, fiftyone_boxes, label_studio_boxes, written_boxes
from tamis.data.annotations import inspect_annotations
from tamis.data.annotations.layouts import READERS, Kind
from tamis.data.boxes import BoxSet, open_boxes
from tamis.data.export import (
    Exported,
    plain_class_names,
    safe_name,
    safe_names,
    write_data_set,
    write_manifest,
)
from tamis.data.export import write as writing
from tamis.data.export.label_studio import label_studio_files
from tamis.data.export.labelled import GRID, About, labelled
from tamis.data.export.manifest import _ROWS, _plain
from tamis.data.export.names import words
from tamis.data.export.yolo import yolo_files
from tamis.detections import Detections
from tamis.recipes.cells import plain_cell
from tamis.recipes.export import export_command

HOSTILE = [
    "../../etc/passwd", "/etc/passwd", "C:\\boot.ini", "\\\\server\\share\\x.jpg", "a\0b.jpg", "..", ".", "", ".jpg",
    "-rf.jpg", "NUL", "con.mp4", "LPT1.jpg", "a b;$(touch x).mp4@3", "x\ny.jpg", "=cmd()|' /C calc'!A0",
    "</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "日本.jpg", "\ud800.jpg", "a" * 400,
    "a/../../b.jpg", "~/x.jpg", "%2e%2e%2fx.jpg", "x.jpg ", " x.jpg", "x\u202ey.jpg",
]  # fmt: skip
SPLITS: dict[int, Literal["train", "validation"]] = {0: "train", 1: "validation", 2: "train"}
CLASSES = ['a "car"', "<b>p'er & co</b>", "日本", "two\nlines: [x]", "=1+1", "a  b", "a b", "", "#x", "null", "{y}"]


def picture(width: int, height: int, shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (shade % 256, 90, 30)).save(file, "JPEG")
    return file.getvalue()


def found(boxes: Sequence[Sequence[float]], labels: Sequence[int]) -> Detections:
    scores = torch.linspace(0.9, 0.5, len(boxes))
    return Detections(torch.tensor(boxes).reshape(-1, 4), scores, torch.tensor(labels, dtype=torch.int64))


def some(count: int = 5, seed: int = 0) -> list[Exported]:
    """Images of several sizes, the first without boxes; boxes reach beyond, some are empty or NaN."""
    draws = np.random.default_rng(seed)
    images = []
    for number in range(count):
        width, height = 33 + 7 * number, 61 - 5 * number
        corners = draws.uniform(-20, 90, (0 if number == 0 else 6, 4)).astype(np.float32)
        corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 0.5)
        if number == 2:
            corners[0, 1], corners[1] = np.nan, (width + 1, 0, width + 9, 9)
            corners[2, 2] = corners[2, 0]
            corners[3], corners[4] = (0, 0, width, height), (0.25, 0.125, 0.2501, 9)
        labels = draws.integers(0, len(CLASSES), len(corners)).tolist()
        name, key = safe_name(f"cam {number}.mp4@{number}"), f"cam {number}.mp4@{number}"
        detections = found(corners.tolist(), labels)
        images.append(Exported(name, picture(width, height, number), width, height, detections, 0.5 * number, key))
    return images


def expected(images: Sequence[Exported]) -> dict[str, list]:
    return {
        each.name: written_boxes(
            each.detections.boxes.double().tolist(), each.detections.labels.tolist(), each.width, each.height
        )
        for each in images
    }


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    write_data_set(folder, some(), CLASSES)
    return folder


# What is written is read back.


@pytest.mark.parametrize(
    ("kind", "path", "root"),
    [
        ("coco", "coco.json", "images"),
        ("yolo", "labels", "images"),
        ("voc", "voc/Annotations", "images"),
        ("kitti", "kitti", "kitti"),
    ],
)
def test_boxes_are_read_back_equal(kind: Kind, path: str, root: str, written: Path) -> None:
    read = READERS[kind](written / path, written / root)
    assert read.problems == []
    names = words(plain_class_names(CLASSES)) if kind == "kitti" else plain_class_names(CLASSES)
    assert read.class_names == tuple(names)
    back: dict[str, list] = {Path(name).name: [] for name in read.images}
    for image, label, box in zip(read.image, read.label.tolist(), read.values.tolist(), strict=True):
        back[Path(read.images[image]).name].append((label, *(round(side, 3) for side in box)))
    assert back == expected(some())
    assert len(back[some()[0].name]) == 0
    assert not inspect_annotations(written / path, kind, written / root).findings


@pytest.mark.parametrize("predicted", [True, False])
def test_labelling_tools_get_the_same_boxes(predicted: bool, tmp_path: Path) -> None:
    write_data_set(tmp_path, some(), CLASSES, ["fiftyone", "cvat", "label-studio"], predicted=predicted)
    truth = expected(some())
    assert fiftyone_boxes(tmp_path) == truth
    assert cvat_boxes(tmp_path) == truth
    assert label_studio_boxes(tmp_path, "predictions" if predicted else "annotations") == truth


@pytest.mark.parametrize(("kind", "path"), [("cvat", "cvat.xml"), ("label-studio", "label-studio.json")])
def test_our_readers_take_the_labelling_files(kind: Kind, path: str, tmp_path: Path) -> None:
    write_data_set(tmp_path, some(), CLASSES, [kind], predicted=False)  # pyright: ignore[reportArgumentType]
    read = READERS[kind](tmp_path / path, tmp_path / "images")
    assert read.problems == []
    points: dict[str, list] = {Path(name).name: [] for name in read.images}
    for image, point in zip(read.image, read.values, strict=True):
        points[Path(read.images[image]).name].append(point)
    for name, boxes in expected(some()).items():
        middles = [((x1 + x2) / 2, (y1 + y2) / 2) for _, x1, y1, x2, y2 in boxes]
        np.testing.assert_allclose(np.reshape(points[name], (-1, 2)), np.reshape(middles, (-1, 2)), atol=1e-4)


def test_the_label_map_names_each_class_in_four_fields(written: Path) -> None:
    lines = (written / "voc" / "labelmap.txt").read_text("utf-8").splitlines()
    names = [name.replace(":", "_") for name in plain_class_names(CLASSES)]
    assert [line.split(":") for line in lines] == [[name, "", "", ""] for name in names]


def test_pycocotools_reads_coco(written: Path) -> None:
    coco = COCO(str(written / "coco.json"))
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == plain_class_names(CLASSES)
    for number in coco.getImgIds():
        image = coco.loadImgs(number)[0]
        boxes = [(each["category_id"] - 1, *each["bbox"]) for each in coco.loadAnns(coco.getAnnIds(number))]
        truth = [(label, x1, y1, x2 - x1, y2 - y1) for label, x1, y1, x2, y2 in expected(some())[image["file_name"]]]
        np.testing.assert_allclose(np.reshape(boxes, (-1, 5)), np.reshape(truth, (-1, 5)), atol=1e-9)
    document: Any = coco.dataset
    assert all(each["area"] > 0 and 0.5 <= each["score"] <= 0.9 for each in document["annotations"])
    assert [each["key"] for each in document["images"]] == [f"cam {n}.mp4@{n}" for n in order()]
    assert [each["score"] for each in document["images"]] == [0.5 * n for n in order()]


def order() -> list[int]:
    """The numbers of the images in the order of their names."""
    names = [each.name for each in some()]
    return sorted(range(len(names)), key=names.__getitem__)


def test_torchvision_reads_kitti(written: Path, tmp_path: Path) -> None:
    from torchvision.datasets import Kitti

    shutil.copytree(written / "kitti", tmp_path / "Kitti" / "raw" / "training")
    data = Kitti(str(tmp_path), train=True, download=False)
    names = words(plain_class_names(CLASSES))
    read = {}
    for place in range(len(data)):
        _, target = data[place]
        read[Path(data.images[place]).name] = [(names.index(each["type"]), *each["bbox"]) for each in target]
    assert read == expected(some())


def test_yolo_is_laid_out_as_trainers_want(written: Path) -> None:
    data = yaml.safe_load((written / "data.yaml").read_text("utf-8"))
    assert data["names"] == dict(enumerate(plain_class_names(CLASSES)))
    assert data["nc"] == len(CLASSES)
    assert "path" not in data  # else it is looked for below the working folder
    lines = (written / data["train"]).read_text("utf-8").splitlines()
    assert data["val"] == "train.txt"
    assert len(lines) == len(some())
    for line in lines:
        image = written / line.removeprefix("./")
        label = Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt")
        assert line.startswith("./images/")
        assert image.is_file()
        shares = [float(each) for row in label.read_text().splitlines() for each in row.split()[1:]]
        assert all(0 <= share <= 1 for share in shares)


def test_splits_are_listed_apart(tmp_path: Path) -> None:
    images = [Exported(f"{n}.jpg", picture(9, 9), 9, 9, Detections.none(), split=s) for n, s in SPLITS.items()]
    write_data_set(tmp_path, images, ["a"])
    assert (tmp_path / "train.txt").read_text() == "./images/0.jpg\n./images/2.jpg\n"
    assert (tmp_path / "val.txt").read_text() == "./images/1.jpg\n"
    assert yaml.safe_load((tmp_path / "data.yaml").read_text())["val"] == "val.txt"
    assert (tmp_path / "voc/ImageSets/Main/train.txt").read_text() == "0\n2\n"
    assert (tmp_path / "voc/ImageSets/Main/val.txt").read_text() == "1\n"
    assert (tmp_path / "kitti/ImageSets/train.txt").read_text() == "0\n2\n"
    assert not (tmp_path / "coco.json").exists()
    for name, files in (("coco-train.json", ["0.jpg", "2.jpg"]), ("coco-val.json", ["1.jpg"])):
        document = json.loads((tmp_path / name).read_text())
        assert [each["file_name"] for each in document["images"]] == files
    samples = json.loads((tmp_path / "fiftyone/samples.json").read_text())["samples"]
    assert [each["tags"] for each in samples] == [["train"], ["validation"], ["train"]]


def test_fiftyone_keeps_tags_score_and_key(tmp_path: Path) -> None:
    image = Exported("a.jpg", picture(9, 9), 9, 9, found([[1, 1, 5, 5]], [0]), 1.23456789, "cam.mp4@7", ("hard", "x"))
    write_data_set(tmp_path, [image], ["a"], ["fiftyone"])
    (sample,) = json.loads((tmp_path / "fiftyone/samples.json").read_text())["samples"]
    assert sample["tags"] == ["hard", "x", "train"]
    assert (sample["hardness"], sample["key"]) == (1.234568, "cam.mp4@7")
    assert sample["predictions"]["detections"][0]["confidence"] == 0.9
    # Without a version FiftyOne takes the samples as they are, without ids of a database.
    assert "version" not in json.loads((tmp_path / "fiftyone/metadata.json").read_text())


def test_nothing_at_all_is_a_data_set(tmp_path: Path) -> None:
    assert write_data_set(tmp_path, [], ["a"]) == (0, 0, 0)
    assert json.loads((tmp_path / "coco.json").read_text())["images"] == []
    assert json.loads((tmp_path / "label-studio.json").read_text()) == []
    assert json.loads((tmp_path / "fiftyone/samples.json").read_text()) == {"samples": []}


def test_what_was_written_is_counted(tmp_path: Path) -> None:
    boxes = [[0, 0, 5, 5], [9, 9, 12, 12], [-3, -3, 0, 4], [float("nan"), 0, 1, 1], [-1, -1, 99, 99], [4, 4, 2, 2]]
    image = Exported("a.jpg", picture(9, 9), 9, 9, found(boxes, [0] * 6))
    assert write_data_set(tmp_path, [image], ["a"], ["yolo"]) == (1, 2, 4)


def test_only_the_wanted_formats_are_there(tmp_path: Path) -> None:
    write_data_set(tmp_path, some(2), CLASSES, ["voc"])
    assert {path.name for path in tmp_path.iterdir()} == {"images", "voc"}


@given(
    st.lists(st.lists(st.floats(width=32), min_size=4, max_size=4), max_size=6), st.integers(1, 9), st.integers(1, 9)
)
@settings(max_examples=150, deadline=None)
def test_any_box_is_within_the_image(corners: list[list[float]], width: int, height: int) -> None:
    given_image = Exported("a.jpg", b"", width, height, found(corners, [0] * len(corners)))
    entry = labelled(given_image, 1)
    # float32 boxes: the reference gets what the tensor holds
    truth = written_boxes(given_image.detections.boxes.double().tolist(), [0] * len(corners), width, height)
    assert [(0, *(side / GRID for side in box)) for box in entry.corners] == truth
    for x, y, across, down in entry.shares:
        assert x >= 0
        assert y >= 0
        assert across > 0
        assert down > 0
        assert x + across <= 1 + 1e-12
        assert y + down <= 1 + 1e-12


# The same bytes, whatever happened before.


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    write_data_set(tmp_path, some(), CLASSES)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    write_data_set(tmp_path, some()[::-1], CLASSES)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("calls", [0, 1, 4, 6, 11, 17, 23])
def test_what_was_cut_short_is_completed(
    calls: int, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(range(calls))

    def dying(path: Path, content: bytes) -> None:
        if next(left, None) is None:
            path.with_name(f".tmp-77-{path.name}").write_bytes(content[: len(content) // 2])
            raise OSError("no space left on device")
        real(path, content)

    real = writing.replace_file
    monkeypatch.setattr(writing, "replace_file", dying)
    with pytest.raises(OSError, match="no space"):
        write_data_set(tmp_path / "out", some(), CLASSES)
    monkeypatch.setattr(writing, "replace_file", real)
    write_data_set(tmp_path / "out", some(), CLASSES)
    assert tree(tmp_path / "out") == tree(written)


def test_damaged_files_are_written_again_and_others_left(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "out")
    (tmp_path / "out" / "coco.json").write_text("{")
    image = next((tmp_path / "out" / "images").iterdir())
    image.write_bytes(b"\0" * image.stat().st_size)
    (tmp_path / "out" / "run.json").write_text("mine")
    (tmp_path / "out" / ".tmp-9-journal.jsonl").write_text("of another")
    write_data_set(tmp_path / "out", some(), CLASSES)
    more = tree(tmp_path / "out")
    assert {more.pop("run.json"), more.pop(".tmp-9-journal.jsonl")} != set()
    assert more == tree(written)


def test_the_source_is_copied_and_kitti_is_linked(tmp_path: Path) -> None:
    source = tmp_path / "mine.png"
    Image.new("RGB", (9, 9)).save(source)
    before = source.read_bytes(), source.stat().st_nlink
    write_data_set(tmp_path / "out", [Exported("a.png", source, 9, 9, Detections.none())], ["a"])
    copy, link = tmp_path / "out/images/a.png", tmp_path / "out/kitti/image_2/a.png"
    assert copy.read_bytes() == before[0]
    assert not copy.samefile(source)
    assert link.samefile(copy)
    assert (source.read_bytes(), source.stat().st_nlink) == before


def test_without_hard_links_kitti_has_copies(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", refuse)
    write_data_set(tmp_path / "out", some(), CLASSES)
    assert tree(tmp_path / "out") == tree(written)


# Hostile names.


def test_keys_become_plain_names() -> None:
    assert safe_name("cam.mp4@12480") == "cam-000012480.jpg"
    assert safe_name("day1/cam_2.mkv@7") == "day1-cam_2-000000007.jpg"
    assert safe_name("a/b/0001.png", ".png") == "a-b-0001.png"
    assert re.fullmatch(r"etc-x-[0-9a-f]{12}\.jpg", safe_name("../../etc/x.jpg"))
    assert re.fullmatch(r"nul-[0-9a-f]{12}\.jpg", safe_name("nul.png"))
    assert safe_name("a\u0301.png") != safe_name("b\u0301.png")


def check_safe(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}\.jpg", name)
    assert name.partition(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt1", "com0"}


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_stay_in_the_folder(key: str, tmp_path: Path) -> None:
    name = safe_name(key)
    check_safe(name)
    folder = tmp_path / "in" / "out"
    image = Exported(name, picture(9, 9), 9, 9, found([[1, 1, 5, 5]], [0]), key=key.encode("utf-8", "replace").decode())
    write_data_set(folder, [image], [key])
    assert {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*")} == {("in",), ("in", "out")}
    assert (folder / "images" / name).is_file()


@pytest.mark.parametrize(
    "name", [each for each in HOSTILE if each] + ["a.jpg/..", "x.tar.jpg", "x", "Aux.jpg", "a b.jpg"]
)
def test_names_that_are_not_safe_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name must be letters"):
        write_data_set(tmp_path / "out", [Exported(name, b"x", 9, 9, Detections.none())], ["a"])
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.text(max_size=100) | st.from_regex(r"\A[a-cA-C./@\\-]{0,6}[0-9]{0,3}\Z"), unique=True, max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_keys_get_names_of_their_own(keys: list[str]) -> None:
    names = safe_names(keys)
    for name in names:
        check_safe(name)
    assert len({name.lower() for name in names}) == len(keys)
    assert safe_names(keys[::-1]) == names[::-1]


def test_two_of_one_stem_are_refused(tmp_path: Path) -> None:
    images = [Exported(name, b"x", 9, 9, Detections.none()) for name in ("a.jpg", "A.png")]
    with pytest.raises(ValueError, match="only one of its stem"):
        write_data_set(tmp_path / "out", images, ["a"])


@given(st.lists(st.text(max_size=12) | st.sampled_from(CLASSES), max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_class_names_survive_yaml_xml_and_lines(names: list[str]) -> None:
    plain = plain_class_names(names)
    assert len(set(plain)) == len(names)
    assert plain_class_names(plain) == plain
    about = About(plain, True, "x")
    assert yaml.safe_load(dict(yolo_files([], about))["data.yaml"])["names"] == (dict(enumerate(plain)) or None)
    view = ElementTree.fromstring(dict(label_studio_files([], about))["label-studio.xml"])  # noqa: S314 - our own text
    assert [each.attrib["value"] for each in view.iter("Label")] == plain
    assert [line.strip() for line in "".join(f"{name}\n" for name in plain).splitlines()] == plain
    single = words(plain)
    assert len(set(single)) == len(names)
    assert all(len(word.split()) == 1 and word.split()[0] == word for word in single)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detections": found([[1, 1, 2, 2]], [3])}, "labels must be from 0 to 1, got 3 in 'a.jpg'"),
        ({"detections": found([[1, 1, 2, 2]], [-1])}, "labels must be from 0 to 1, got -1 in 'a.jpg'"),
        ({"width": 0}, "width and height must be at least 1, got 0 x 9 in 'a.jpg'"),
        ({"score": float("nan")}, "score must be finite or None, got nan in 'a.jpg'"),
    ],
)
def test_impossible_images_are_refused(change: dict, message: str, tmp_path: Path) -> None:
    values = {"name": "a.jpg", "image": b"x", "width": 9, "height": 9, "detections": Detections.none()} | change
    with pytest.raises(ValueError, match=message):
        write_data_set(tmp_path / "out", [Exported(**values)], ["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"formats must be of coco, .*, got 'pascal'"):
        write_data_set(tmp_path, [], ["a"], ["pascal"])  # pyright: ignore[reportArgumentType]


# The manifest.


def rows(folder: Path) -> list[list[str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_manifest_in_both_forms(tmp_path: Path) -> None:
    columns = {
        "position": np.arange(4),
        "key": ["cam.mp4@1", "=cmd()", 'a "b", c\nd', "-2"],
        "change": np.array([0.1, 0.25, 3, np.nan], np.float32),
        "score": [1.5, None, float("nan"), 2.0],
        "kept": np.array([True, False, True, False]),
    }
    write_manifest(tmp_path, columns)
    assert rows(tmp_path) == [
        ["position", "key", "change", "score", "kept"],
        ["0", "cam.mp4@1", "0.1", "1.5", "true"],
        ["1", "'=cmd()", "0.25", "", "false"],
        ["2", 'a "b", c\nd', "3", "", "true"],
        ["3", "'-2", "", "2", "false"],
    ]
    table = pq.read_table(tmp_path / "manifest.parquet")
    assert table["key"].to_pylist() == columns["key"]
    assert table["score"].to_pylist() == [1.5, None, None, 2.0]
    assert table.schema.field("change").type == pa.float32()
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.csv", "manifest.parquet"}


@given(
    st.lists(
        st.text(max_size=8) | st.sampled_from(["=", "+1", "@x", "\t1", "\r", "\n=1", "a\n=1", "-", "''"]), max_size=9
    )
)
@settings(max_examples=100, deadline=None)
def test_formulas_are_quoted_as_everywhere(texts: list[str]) -> None:
    utf8 = [text.encode("utf-8", "backslashreplace").decode() for text in texts]
    column = _plain(pa.table({"x": pa.array(utf8, pa.string())})).column("x").to_pylist()
    assert column == [plain_cell(text) for text in utf8]


def test_manifest_of_names_that_are_no_utf8(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"key": ["a\udcff.jpg", None]})
    assert pq.read_table(tmp_path / "manifest.parquet")["key"].to_pylist() == ["a\\udcff.jpg", None]


def test_manifest_of_a_day_takes_less_than_a_second(tmp_path: Path) -> None:
    count = 86_400
    columns = {
        "position": np.arange(count),
        "key": [f"camera.mp4@{512 * place}" for place in range(count)],
        "source": ["camera.mp4"] * count,
        "change": np.random.default_rng(0).random(count, np.float32),
        "stage": ["gated"] * count,
        "score": np.where(np.arange(count) % 3, np.nan, 1.25),
        "reason": ["no change"] * count,
    }
    start = time.process_time()
    write_manifest(tmp_path, columns)
    assert time.process_time() - start < 1
    first = tree(tmp_path)
    write_manifest(tmp_path, columns)
    assert tree(tmp_path) == first
    table = pq.read_table(tmp_path / "manifest.parquet")
    assert len(table) == count == len(rows(tmp_path)) - 1


def test_manifest_of_more_rows_than_are_written_at_a_time(tmp_path: Path) -> None:
    count = _ROWS + 3
    write_manifest(tmp_path, {"position": np.arange(count)})
    assert [int(row[0]) for row in rows(tmp_path)[1:]] == list(range(count))
    assert pq.read_table(tmp_path / "manifest.parquet")["position"].to_numpy().tolist() == list(range(count))


def test_manifest_quotes_formulas_in_categories(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"stage": pa.array(["=a", "b", "=a"]).dictionary_encode()})
    assert rows(tmp_path)[1:] == [["'=a"], ["b"], ["'=a"]]


def test_manifest_of_unequal_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="columns must be of one length, got a 2, b 1"):
        write_manifest(tmp_path / "out", {"a": [1, 2], "b": [1]})
    assert not (tmp_path / "out").exists()


# tamis export.


PLACES = {  # what open_boxes takes of a folder that was written
    "coco": ("", None), "yolo": ("", None), "voc": ("images", "voc/Annotations"), "kitti": ("kitti", None),
}  # fmt: skip


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize("form", [*PLACES])
def test_export_of_what_was_exported(
    form: Any, validation: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [replace(each, split="validation" if validation and n % 2 else "train") for n, each in enumerate(some())]
    write_data_set(tmp_path / "one", images, CLASSES, [form])
    place, annotations = PLACES[form]
    source, given = tmp_path / "one" / place, annotations and tmp_path / "one" / annotations
    export_command(source, tmp_path / "two", annotations=given, formats=[form])
    sets = [open_boxes(source, given), open_boxes(tmp_path / "two" / place, given and tmp_path / "two" / annotations)]
    for split, (first, second) in enumerate(zip(*sets, strict=True)):
        assert (first is None) == (second is None) == (bool(split) and not validation)
        if first is not None and second is not None:
            truth = {name: boxes for name, boxes in expected(images).items() if by_name(images)[name] == split}
            assert boxed(first) == boxed(second) == {n: sorted(boxes) for n, boxes in truth.items()}
            assert first.class_names == second.class_names
    same = {path.name: path.read_bytes() for path in (tmp_path / "one" / "images").iterdir()}
    assert same == {path.name: path.read_bytes() for path in (tmp_path / "two" / "images").iterdir()}
    assert f"5 images with {sum(map(len, expected(images).values()))} boxes" in capsys.readouterr().out


def by_name(images: Sequence[Exported]) -> dict[str, bool]:
    return {each.name: each.split == "validation" for each in images}


def boxed(found: BoxSet) -> dict[str, list]:
    return {
        Path(name).name: sorted(
            (label, *(round(side, 3) for side in box))
            for box, label in zip(boxes.astype(float).tolist(), labels.tolist(), strict=True)
        )
        for name, boxes, labels in zip(found.names, found.boxes, found.labels, strict=True)
    }


def test_export_gives_humans_boxes_to_label_studio_as_annotations(tmp_path: Path) -> None:
    write_data_set(tmp_path / "one", some(), CLASSES, ["coco"])
    export_command(tmp_path / "one", tmp_path / "two")
    assert label_studio_boxes(tmp_path / "two", "annotations").keys() == expected(some()).keys()
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


def test_export_leaves_nothing_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data_set(tmp_path / "one", some(), CLASSES, ["coco"])
    before = tree(tmp_path / "one")

    def full(path: Path, content: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(writing, "replace_file", full)
    with pytest.raises(OSError, match="no space"):
        export_command(tmp_path / "one", tmp_path / "two")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert tree(tmp_path / "one") == before
    with pytest.raises(FileExistsError, match="out must be a new folder"):
        export_command(tmp_path / "one", tmp_path / "one")
    with pytest.raises(ValueError, match="outside of the data"):
        export_command(tmp_path / "one", tmp_path / "one" / "two")
