"""The head of a detector for other classes: classes of the same name find what they found before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn

from tamis.models import COCO, build_detector, same_classes, save_detector
from tamis.models.new_head import classes_of_weights, taken_over
from tamis.models.torchvision_detector import COCO_OUTPUTS
from tamis.recipes.config import TrainConfig
from tamis.recipes.train import train
from test_detection_recipes import SETTINGS, write_boxes

SSDLITE = "ssdlite320_mobilenet_v3_large"
ALL = [
    "centernet-tiny",
    SSDLITE,
    pytest.param("fasterrcnn_mobilenet_v3_large_fpn", marks=pytest.mark.slow),
    pytest.param("fasterrcnn_resnet18_fpn", marks=pytest.mark.slow),
    pytest.param("retinanet_resnet50_fpn", marks=pytest.mark.slow),
    pytest.param("ssd300_vgg16", marks=pytest.mark.slow),
]
OLD, NEW = ("person", "bicycle", "car", "Dog"), ("dog", "van", "person")


def outputs(module: Any, first: int) -> tuple[Tensor, Tensor | None]:
    """Logits (places, classes) of a random image, and sides of the boxes (places, classes, 4) if a class has its own.

    Args:
        module: a detection module.
        first: outputs before those of the classes.
    """
    torch.manual_seed(5)
    image = torch.rand(1, 3, 320, 320)
    module.eval()
    with torch.no_grad():
        if not first:
            heat, _ = module._maps(image)
            return heat[0].flatten(1).T, None
        features = module.model.backbone(image)
        if hasattr(module.model, "roi_heads"):
            inside = module.model.roi_heads.box_predictor.cls_score.in_features
            logits, sides = module.model.roi_heads.box_predictor(torch.randn(7, inside))
            return logits, sides.view(7, -1, 4)
        return module.model.head(list(features.values()))["cls_logits"][0], None


@pytest.mark.parametrize("name", ALL)
def test_classes_of_the_same_name_keep_their_outputs(name: str, tmp_path: Path) -> None:
    before = build_detector(name, len(OLD), seed=1)
    for parameter in before.parameters():  # heads begin alike for all classes, or with zeros
        nn.init.normal_(parameter, std=0.05)
    save_detector(before, OLD, tmp_path / "old.safetensors")
    after = build_detector(name, NEW, weights=tmp_path / "old.safetensors", new_head=True, seed=2)
    fresh = build_detector(name, len(NEW), weights=tmp_path / "old.safetensors", new_head=True, seed=2)
    first = int(not name.startswith("centernet"))
    for mine, theirs, new in zip(*(outputs(each, first) for each in (after, before, fresh)), strict=True):
        if mine is None or theirs is None or new is None:
            continue
        near: Any = {"rtol": 1e-4, "atol": 1e-5 * float(theirs.abs().max())}
        for place, source in ((0, 3), (2, 0)):
            torch.testing.assert_close(mine[:, first + place], theirs[:, first + source], **near)
        torch.testing.assert_close(mine[:, :first], theirs[:, :first], **near)
        torch.testing.assert_close(mine[:, first + 1], new[:, first + 1])
        assert not torch.allclose(mine[:, first + 1], theirs[:, first + 1])
        assert not torch.allclose(new[:, first], mine[:, first])
    assert same_classes(name, tmp_path / "old.safetensors", NEW) == ("dog", "person")


@pytest.mark.parametrize("name", [SSDLITE, pytest.param("retinanet_resnet50_fpn", marks=pytest.mark.slow)])
def test_files_of_torchvision_are_of_cocos_classes(name: str, tmp_path: Path) -> None:
    before: Any = build_detector(name, len(COCO_OUTPUTS), seed=1)
    nn.init.normal_(next(reversed(list(before.model.head.classification_head.parameters()))), std=0.5)
    path = tmp_path / "torchvisions.pth"
    torch.save(before.model.state_dict(), path)
    assert classes_of_weights(name, path) == COCO_OUTPUTS
    names = ("traffic light", "lorry", "toothbrush")
    after = build_detector(name, names, weights=path, new_head=True, seed=2)
    mine, theirs = (outputs(each, 1)[0] for each in (after, before))
    places = {0: COCO_OUTPUTS.index("traffic light"), 2: len(COCO_OUTPUTS) - 1}
    for place, source in places.items():
        torch.testing.assert_close(mine[:, 1 + place], theirs[:, 1 + source])
    assert same_classes(name, path, names) == ("traffic light", "toothbrush")
    assert set(COCO) < set(COCO_OUTPUTS)


def test_weights_without_names_give_a_head_that_is_new(tmp_path: Path) -> None:
    for name, classes in (("centernet-tiny", 80), (SSDLITE, 3)):
        before: Any = build_detector(name, classes, seed=1)
        path = tmp_path / f"{name}.pt"
        torch.save(before.state_dict() if name != SSDLITE else before.model.state_dict(), path)
        assert classes_of_weights(name, path) is None
        assert same_classes(name, path, ["person"]) == ()
        named, counted = (build_detector(name, each, weights=path, new_head=True, seed=2) for each in (["person"], 1))
        for one, other in zip(named.parameters(), counted.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_names_that_are_not_those_of_the_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    save_detector(build_detector(SSDLITE, 4, seed=1), ["person", "car"], path)
    with pytest.raises(ValueError, match=r"weights must have the classes that they name, got .* for the 2 classes"):
        build_detector(SSDLITE, ["person"], weights=path, new_head=True)


class Own(nn.Module):
    """A detection module whose head is called as one of ours, and means something else."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.classes, self.heat = num_classes, nn.Linear(2, num_classes)

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Any:
        from tamis.detections import Detections

        nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        return [nothing] * len(inputs) if targets is None else inputs.flatten(1).sum(1)


def test_nothing_is_known_of_the_heads_of_others(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_detector(Own(3), ["person", "car", "dog"], path)
    made: Any = build_detector("test_new_head:Own", ["dog", "person"], weights=path, new_head=True, seed=3)
    again: Any = build_detector("test_new_head:Own", 2, weights=path, new_head=True, seed=3)
    torch.testing.assert_close(made.heat.weight, again.heat.weight)
    assert same_classes("test_new_head:Own", path, ["dog"]) == ()


LISTS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)


@given(LISTS, LISTS, st.integers(1, 3), st.sampled_from(["heat", "anchors", "logits", "sides"]))
def test_rows_are_taken_over_one_by_one(old: list[str], new: list[str], anchors: int, kind: str) -> None:
    """Every row against a plain loop over places, classes and sides."""
    key, first, each = {
        "heat": ("heat.weight", 0, 1),
        "anchors": ("model.head.classification_head.cls_logits.weight", 1, anchors),
        "logits": ("model.roi_heads.box_predictor.cls_score.weight", 1, 1),
        "sides": ("model.roi_heads.box_predictor.bbox_pred.weight", 1, 4),
    }[kind]
    state = np.arange(each * (first + len(old)) * 2, dtype=np.float32).reshape(-1, 2)
    fresh = -1 - np.arange(each * (first + len(new)) * 2, dtype=np.float32).reshape(-1, 2)
    wanted = fresh.copy()
    for place in range(first + len(new)):
        if place < first:
            source = place
        elif new[place - first] in old:
            source = first + old.index(new[place - first])
        else:
            continue
        for k in range(each):
            here = place * each + k if kind == "sides" else k * (first + len(new)) + place
            there = source * each + k if kind == "sides" else k * (first + len(old)) + source
            wanted[here] = state[there]
    before = fresh.copy()
    found = taken_over({key: torch.from_numpy(fresh)}, {key: torch.from_numpy(state)}, old, new)
    np.testing.assert_array_equal(found[key].numpy(), wanted)
    np.testing.assert_array_equal(fresh, before)


def test_a_training_says_what_it_knew(tmp_path: Path) -> None:
    write_boxes(tmp_path / "data")
    names = ["person", "truck", "[bold]", "bus"]
    settings: dict[str, Any] = {**SETTINGS, "epochs": 1}
    save_detector(build_detector("centernet-tiny", 4, seed=0), names, tmp_path / "coco.safetensors")
    config = TrainConfig(
        tmp_path / "data", model="centernet-tiny", weights=tmp_path / "coco.safetensors", new_head=True,
        out=tmp_path / "run", **settings,
    )  # fmt: skip
    console = Console(record=True, width=200)
    train(config, console)
    said = console.export_text()
    assert "classes taken over from the weights, by name: ('person')" in said
    assert "classes new: ('car')" in said
