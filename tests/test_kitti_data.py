"""KITTI's layout and split, occlusion in COCO documents, and what a training says of easy, moderate and hard boxes."""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import reference_kitti as reference
from box_folders import CLASSES, Box, document, kitti_line
from point_layouts import picture, text
from reference_kitti import Line, Seen
from tamis.data import BoxedImages, open_boxes
from tamis.detections import Detections
from tamis.recipes.judged_boxes import by_difficulty
from tamis.recipes.parts import settings_of, temperature_of_config
from tamis.tasks.detection import Detected
from test_counting_recipes import ask
from test_paper_presets import Take, take

__all__ = ["ask", "take"]  # fixtures

PRESETS = Path(__file__).resolve().parents[1] / "presets"
CAR = Box("Car", 4, 2, 24, 18)
Columns = Mapping[str, Sequence[Sequence[float]]]
NAMES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")


def write_kitti(
    root: Path, split: dict[str, Sequence[int]], *, level: str = "training", missing: Sequence[int] = (),
    size: tuple[int, int] = (124, 38),
) -> None:  # fmt: skip
    """As KITTI's archives unpack, with one car in each image and the lists of Chen et al. 2015 beside `training`."""
    random = np.random.default_rng(3)
    for number in sorted({number for numbers in split.values() for number in numbers}):
        image = Image.fromarray(random.integers(90, 130, (size[1], size[0], 3), dtype=np.uint8))
        x, y, width, height = int(random.integers(size[0] // 2)), size[1] // 8, size[0] // 4, size[1] // 2
        ImageDraw.Draw(image).rectangle((x, y, x + width, y + height), fill=(240, 230, 60))
        if number not in missing:
            (root / level / "image_2").mkdir(parents=True, exist_ok=True)
            image.save(root / level / f"image_2/{number:06}.png")
        lines = [kitti_line(Box("Car", x, y, x + width, y + height), "0.00", str(number % 3))]
        lines += [kitti_line(Box("", 0, 0, 9, 9, ignored=True))]
        text(root / level / f"label_2/{number:06}.txt", "".join(lines))
        text(root / level / f"calib/{number:06}.txt", "P0: 1 2 3\n")
    for name, numbers in split.items():
        text(root / f"ImageSets/{name}.txt", "".join(f"{number:06}\n" for number in numbers))
    for number in range(3):  # of other pictures: the numbers start anew
        picture(root / f"testing/image_2/{number:06}.png")
    text(root / "ImageSets/test.txt", "000000\n000001\n000002\n")


CHEN = {"train": (0, 3, 4), "val": (1, 2), "trainval": (0, 1, 2, 3, 4)}


# ----- the split --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["as published", "without training", "lists inside", "from training", "suffixes"])
def test_the_split_of_chen(tmp_path: Path, case: str) -> None:
    root, inner = tmp_path / "kitti", "training/"
    if case == "without training":
        write_kitti(root, CHEN, level=".")
        shutil.rmtree(root / "testing")
        inner = ""
    else:
        write_kitti(root, CHEN)
    if case == "lists inside":
        shutil.move(root / "ImageSets", root / "training/ImageSets")
    if case == "from training":
        root, inner = root / "training", ""
    if case == "suffixes":
        text(root / "ImageSets/train.txt", "000000.png\r\n000003.png\r\n\r\n000004.png")
    train, validation = open_boxes(root)
    assert validation is not None
    for found, split in ((train, "train"), (validation, "val")):
        assert found.names == tuple(f"{inner}image_2/{number:06}.png" for number in CHEN[split])
        assert [len(each) for each in found.ignored] == [1] * len(found)
        assert [each.tolist() for each in found.columns["occlusion"]] == [[number % 3] for number in CHEN[split]]
    assert train.problems == ()


def test_listed_images_that_are_missing_are_named(tmp_path: Path) -> None:
    write_kitti(tmp_path, CHEN, missing=(2, 3))
    train, validation = open_boxes(tmp_path)
    assert validation is not None
    assert (len(train), len(validation)) == (2, 1)
    assert [(each.rule, each.where, each.detail) for each in train.problems if "list" not in each.where][2:] == [
        ("missing_image", "val.txt:2", "there is no image 000002"),
        ("missing_image", "train.txt:2", "there is no image 000003"),
    ]


@pytest.mark.parametrize(("missing", "first"), [((1, 2), "000001 .val.txt:1."), ((0, 3, 4), "000000 .train.txt:1.")])
def test_a_list_of_which_no_image_is_there_is_refused(tmp_path: Path, missing: tuple[int, ...], first: str) -> None:
    """Else a part of the training images would be judged by, and nobody would see it."""
    write_kitti(tmp_path, CHEN, missing=missing)
    told = rf"list of a split must name images that are there, got {len(missing)} names of none, first: {first}; add"
    with pytest.raises(ValueError, match=told):
        open_boxes(tmp_path)


def test_no_image_at_all(tmp_path: Path) -> None:
    write_kitti(tmp_path, CHEN, missing=range(5))
    with pytest.raises(ValueError, match=r"images must be named as their annotation files, got none that is in .*0 im"):
        open_boxes(tmp_path)


# ----- COCO -------------------------------------------------------------------------------------------------------


def told(tmp_path: Path, *given: dict[str, Any]) -> Columns:
    boxes = [Box("car", 4 + k, 2, 24, 18) for k in range(len(given))]
    found = json.loads(document({"a": boxes, "b": []}))
    found["annotations"] = [each | more for each, more in zip(found["annotations"], given, strict=True)]
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    text(tmp_path / "coco.json", json.dumps(found))
    train, _ = open_boxes(tmp_path)
    assert train.problems == ()
    assert train.counts.tolist() == [len(given), 0]
    return {name: [each.tolist() for each in column] for name, column in train.columns.items()}


def test_occlusion_in_a_coco_document(tmp_path: Path) -> None:
    assert told(tmp_path, {}, {"area": 3}) == {}
    assert told(tmp_path, {"occlusion": 2}, {"occlusion": 0}) == {"occlusion": [[2, 0], []]}
    named = told(tmp_path, {"occluded": 1, "truncated": 0.25}, {"occlusion": 3, "truncation": 0.5})
    assert named == {"occlusion": [[1, 3], []], "truncation": [[0.25, 0.5], []]}


@pytest.mark.parametrize("value", [-1, None, "2", True, [1], {}, float("nan"), float("inf"), 10**400, -0.5])
def test_what_is_no_number_is_not_known(tmp_path: Path, value: Any) -> None:
    columns = told(tmp_path, {"occluded": 1}, {"occluded": value})
    assert columns["occlusion"][0][0] == 1
    assert math.isnan(columns["occlusion"][0][1])
    assert told(tmp_path, {"occluded": value}, {}) == {}


def test_two_documents_of_which_one_knows(tmp_path: Path) -> None:
    found = json.loads(document({"a": [Box("car", 4, 2, 24, 18)]}))
    text(tmp_path / "train/_annotations.coco.json", json.dumps(found))
    found["annotations"][0]["occlusion"] = 2
    text(tmp_path / "valid/_annotations.coco.json", json.dumps(found))
    for split in ("train", "valid"):
        picture(tmp_path / split / "a.png")
    train, validation = open_boxes(tmp_path)
    assert validation is not None
    assert math.isnan(train.columns["occlusion"][0][0])
    assert validation.columns["occlusion"][0].tolist() == [2]


# ----- what a training says ---------------------------------------------------------------------------------------


def source_of(names: Sequence[str], columns: Columns, **given: Any) -> BoxedImages:
    boxes = [np.array([[0, 0, 200, 100], [300, 0, 500, 45]], np.float32), np.array([[0, 0, 90, 39]], np.float32)]
    return BoxedImages(
        lambda row: b"",
        boxes,
        [np.zeros(len(each), np.int64) for each in boxes],
        np.array([[1000, 500], [500, 500]]),
        torch.tensor([2, 1]),
        tuple(names),
        ("a", "b"),
        ignored=[np.array([[600, 0, 1000, 500]], np.float32), np.zeros((0, 4), np.float32)],
        columns={name: [np.array(each, np.float32) for each in column] for name, column in columns.items()},
        **given,
    )


def detected(source: BoxedImages, index: int, *boxes: tuple[float, ...]) -> Detected:
    """Boxes of class 0 in pixels of the image, as a model sees them that is given another size."""
    width, height = source.sizes[index].tolist()
    across, down = source.size or (width, height)
    corners, labels = torch.tensor(boxes, dtype=torch.float32).view(-1, 4), torch.zeros(len(boxes), dtype=torch.int64)
    found = Detections(corners, torch.linspace(0.9, 0.5, len(boxes)), labels)
    return Detected(index, Detections.none(), found.scaled(across / width, down / height), None, 1.0)


LEVELS = {"occlusion": [[0, 1], [0]], "truncation": [[0, 0.2], [0]]}


@pytest.mark.parametrize("size", [None, (64, 48)])
def test_boxes_are_judged_in_pixels_of_the_image(size: tuple[int, int] | None) -> None:
    """In those of a model's 64 x 48 none would be 25 pixels high."""
    source = source_of(NAMES, LEVELS, size=size)
    # The region takes the second one, the third is too low for a false alarm, and the first of the other image is one.
    seen = [
        [(0, 0, 200, 100), (700, 100, 900, 200), (0, 200, 100, 210), (300, 0, 500, 45)],
        [(200, 200, 300, 300), (0, 0, 90, 39)],
    ]
    true = [
        [Line("Car", (0, 0, 200, 100)), Line("Car", (300, 0, 500, 45), 1, 0.2), Line("DontCare", (600, 0, 1000, 500))],
        [Line("Car", (0, 0, 90, 39))],
    ]
    found = [detected(source, index, *boxes) for index, boxes in enumerate(seen)]
    told = by_difficulty(found, source)
    assert told is not None
    assert told["rules"]["name"] == "kitti"
    assert told["rules"]["min_height"] == (40, 25, 25)
    car = told["classes"]["Car"]
    assert car["boxes"] == (1, 3, 3)
    scores = [each.predicted.scores.tolist() for each in found]
    images = [
        ([Seen("Car", *pair) for pair in zip(boxes, score, strict=True)], lines)
        for boxes, score, lines in zip(seen, scores, true, strict=True)
    ]
    for level in range(3):
        expected = reference.precision(images, "Car", level, reference.Rules())
        assert (car["r40"][level], car["r11"][level]) == pytest.approx(expected[:2])
        assert car["r11"][level] > 0
    # Images that could not be read are not among them; an image that was removed shifts the rows.
    other = source.select(torch.tensor([1]))
    told = by_difficulty([replace(found[1], index=0)], other)
    assert told is not None
    assert told["classes"]["Car"]["boxes"] == (0, 1, 1)


def test_other_classes_are_judged_by_occlusion_alone() -> None:
    source = source_of(("car", "person"), LEVELS | {"truncation": [[1, 1], [1]]})
    found = [detected(source, 0, (0, 0, 200, 100), (300, 0, 500, 45)), detected(source, 1, (0, 0, 90, 39))]
    told = by_difficulty(found, source)
    assert told is not None
    assert (told["rules"]["name"], told["rules"]["iou"], told["rules"]["min_height"]) == ("occlusion", 0.5, (0, 0, 0))
    assert told["classes"]["car"] == {"r40": (1, 1, 1), "r11": (1, 1, 1), "boxes": (2, 3, 3)}
    assert told["classes"]["person"]["boxes"] == (0, 0, 0)
    json.dumps(told)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"occlusion": [[math.nan, math.nan], [math.nan]]},
        {"occlusion": [[0.3, 0.8], [1]]},
        {"truncation": [[0, 0], [0]]},
    ],
)
def test_nothing_is_said_without_levels_of_occlusion(columns: Columns) -> None:
    source = source_of(NAMES, columns)
    assert by_difficulty([detected(source, 0), detected(source, 1)], source) is None


def test_tamis_train_tells_of_easy_moderate_and_hard(tmp_path: Path, ask: Callable[..., str]) -> None:
    write_kitti(tmp_path / "kitti", {"train": range(6), "val": range(6, 9)})
    flags = ["--task", "detection", "--size", "64x32", "--epochs", "1", "--batch-size", "3", "--no-report"]
    said = ask("train", tmp_path / "kitti", "--out", tmp_path / "run", "--workers", "0", *flags)
    found = json.loads((tmp_path / "run/result.json").read_text())["detection"]["kitti"]
    assert found["rules"]["name"] == "kitti"
    assert list(found["classes"]) == ["Car", "Pedestrian", "Cyclist"]
    assert found["classes"]["Car"]["boxes"] == [0, 0, 0]  # 19 pixels are too low for KITTI
    assert "AP of" not in said
    # Written as COCO, with the levels as `tamis.data.street` writes them, these are boxes like any other.
    boxes = {f"{n:02}": [Box("car", 4, 2, 24, 18)] for n in range(4)}
    for split in ("train", "valid"):
        coco = json.loads(document(boxes))
        coco["annotations"] = [each | {"occlusion": n % 3} for n, each in enumerate(coco["annotations"])]
        text(tmp_path / "cameras" / split / "_annotations.coco.json", json.dumps(coco))
        for n, name in enumerate(boxes):
            picture(tmp_path / "cameras" / split / f"{name}.png", n)
    said = ask("train", tmp_path / "cameras", "--out", tmp_path / "other", "--workers", "0", *flags)
    found = json.loads((tmp_path / "other/result.json").read_text())["detection"]["kitti"]
    assert found["rules"]["name"] == "occlusion"
    assert list(found["classes"]) == list(CLASSES)
    assert found["classes"]["car"]["boxes"] == [2, 3, 4]
    r40 = found["classes"]["car"]["r40"]
    line = ", ".join(
        f"{name} {100 * value:.1f} %" for name, value in zip(("easy", "moderate", "hard"), r40, strict=True)
    )
    assert f"\nAP of car at 40 recalls: {line}\n" in said
    assert "AP of person" not in said


# ----- presets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kitti-ssd", "kitti-ssd-data-parameters"])
def test_presets_are_what_the_paper_prints_and_torchvision_published(take: Take, name: str) -> None:
    """References: python train.py --model ssd300_vgg16 --epochs 120 --lr-steps 80 110 --lr 0.002 --batch-size 4 (of 8).

    And --weight-decay 0.0005, its default momentum of 0.9; section 3.3: 0.1 for the instances, no decay, no momentum.
    """
    config = take(name)
    settings, temperature = settings_of(config), temperature_of_config(config)
    assert (config.task, config.model, config.size) == ("detection", "ssd300_vgg16", "300x300")
    assert (settings.epochs, settings.batch_size) == (120, 32)
    optimizer = settings.optimizer([torch.nn.Parameter(torch.zeros(1))])
    group = optimizer.param_groups[0]
    assert type(optimizer) is torch.optim.SGD
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, False, 5e-4)
    for epoch, rate in {0: 2e-3, 79.99: 2e-3, 80: 2e-4, 109.99: 2e-4, 110: 2e-5}.items():
        assert math.isclose(group["lr"] * settings.schedule(epoch / 120), rate, rel_tol=1e-6), epoch
    if name == "kitti-ssd":
        assert temperature is None
    else:
        assert temperature is not None
        assert (temperature.kind, temperature.schedule, temperature.clamp) == ("instance", "constant", "none")
        assert (temperature.momentum, temperature.instance_decay, temperature.regression) == (0, 0, False)
        assert temperature.rate(120, boxes=True) * 32 * 4.66 == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kitti-ssd", "kitti-ssd-data-parameters"])
def test_a_preset_is_one_command(tmp_path: Path, ask: Callable[..., str], name: str) -> None:
    write_kitti(tmp_path / "kitti", {"train": (0, 3), "val": (1, 2)}, size=(400, 120))
    command = ["train", "--config", PRESETS / f"{name}.yaml", "--data", tmp_path / "kitti", "--out", tmp_path / "run"]
    said = ask(*command, "--epochs", "1", "--batch-size", "2", "--workers", "0")
    assert f"\nreport: {tmp_path}/run/report.html\n" in said
    assert said.endswith("code 0")
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["detection"]["kitti"]["classes"]["Car"]["boxes"] == [0, 1, 2]
    assert math.isfinite(result["last"]["loss"])
    assert "AP of Car at 40 recalls: moderate " in said
    assert ("data parameters: instance, instance rate" in said) == ("data" in name)
    assert "Easy, moderate and hard boxes" in (tmp_path / "run/report.html").read_text()
