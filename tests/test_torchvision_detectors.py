"""Torchvision's detectors as detection modules: their losses are torchvision's own, image by image."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import detection

from tamis.detections import Detections
from tamis.models import COCO, ModuleDetector, build_detector, open_detector
from tamis.models.detector_parts import truth_of
from tamis.models.detector_weights import _renamed, load_detector
from tamis.models.region_detector import RegionDetector

MOBILE, SSDLITE = "fasterrcnn_mobilenet_v3_large_fpn", "ssdlite320_mobilenet_v3_large"
SLOW = ["fasterrcnn_resnet18_fpn", "fasterrcnn_resnet101_fpn", "retinanet_resnet50_fpn", "ssd300_vgg16"]
ALL = [MOBILE, SSDLITE, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
PADDING = [0.0, 0.0, 0.0, 0.0, -1.0]
TARGETS = torch.tensor(
    [
        [[8, 12, 80, 100, 1], [60, 20, 140, 120, 0], [100, 40, 180, 126, 1]],
        [PADDING, PADDING, PADDING],
        [[21.5, 16, 68, 60, 0], PADDING, PADDING],
    ]
)


def images(count: int = 3, height: int = 128, width: int = 192, seed: int = 0) -> Tensor:
    """Smooth random images."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    return {}


def module_of(name: str, built: dict[str, Any]) -> Any:
    if name not in built:
        built.clear()
        built[name] = build_detector(name, 2, seed=3)
    return built[name].eval()


def theirs(module: Any, inputs: Tensor, targets: Tensor | None = None) -> Any:
    """Torchvision's own forward, at the size that the images have: dicts of losses or of boxes."""
    model = module.model
    height, width = inputs.shape[-2:]
    look = model.transform
    look._skip_resize = True  # in training, where choosing a size would draw from the generator
    look.min_size, look.max_size = (min(height, width),), max(height, width)
    look.fixed_size = (width, height) if look.fixed_size else None
    model.train(targets is not None)
    wanted = None
    if targets is not None:
        rows = [each[each[:, 4] >= 0] for each in targets]
        wanted = [{"boxes": each[:, :4], "labels": each[:, 4].long() + 1} for each in rows]
    with torch.no_grad():
        return model(list(inputs), wanted)


@pytest.mark.parametrize("name", ALL)
def test_losses_are_torchvisions_of_each_image_alone(name: str, built: dict[str, Any]) -> None:
    module = module_of(name, built)
    inputs = images(height=300, width=300) if name == "ssd300_vgg16" else images()
    for i in range(3):
        image, target = inputs[i : i + 1], TARGETS[i : i + 1]
        with torch.no_grad():
            (loss,) = module.eval()(image, target)
        if isinstance(module, RegionDetector):
            torch.manual_seed(*module._seeds(image, target))
        torch.testing.assert_close(loss, sum(theirs(module, image, target).values()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_boxes_are_torchvisions(name: str, built: dict[str, Any]) -> None:
    module = module_of(name, built)
    inputs = images(height=300, width=300) if name == "ssd300_vgg16" else images()
    with torch.no_grad():
        found = module(inputs[:1])[0]
    (wanted,) = theirs(module, inputs[:1])
    # Torchvision's RetinaNet and SSD also give boxes that the image's border has cut down to nothing.
    real = (wanted["labels"] > 0) & (wanted["boxes"][:, 2:] > wanted["boxes"][:, :2]).all(1)
    assert len(found)
    torch.testing.assert_close(found.boxes, wanted["boxes"][real], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.scores, wanted["scores"][real], rtol=1e-4, atol=1e-5)
    assert found.labels.tolist() == (wanted["labels"][real] - 1).tolist()
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


@pytest.mark.parametrize("name", ALL)
def test_loss_does_not_depend_on_the_batch(name: str, built: dict[str, Any]) -> None:
    module = module_of(name, built)
    with torch.no_grad():
        together = module(images(), TARGETS)
        alone = torch.cat([module(images()[i : i + 1], TARGETS[i : i + 1, : 3 if i == 0 else 1]) for i in range(3)])
        other_order = module(images().flip(0), TARGETS.flip(0)).flip(0)
    # The last digits of a convolution hang on the batch's size, and with them which of two like proposals comes first.
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(together, other_order, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_every_image_teaches_whatever_the_mode(name: str, built: dict[str, Any]) -> None:
    module = module_of(name, built).train()
    module.zero_grad()
    loss = module(images()[:1], TARGETS[:1])
    loss.sum().backward()
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    assert all(each.isfinite().all() for each in gradients)
    assert sum(float(each.abs().sum()) for each in gradients) > 0
    with torch.no_grad():
        assert isinstance(module(images()[:1])[0], Detections)  # in training mode too
        assert module.eval()(images()[:1], TARGETS[:1]).shape == (1,)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 33), (65, 127)])
@pytest.mark.parametrize("name", [MOBILE, SSDLITE])
def test_any_size(name: str, built: dict[str, Any], height: int, width: int) -> None:
    module = module_of(name, built)
    with torch.no_grad():
        (found,) = module(images(1, height, width))
        loss = module(images(1, height, width), torch.tensor([[[0, 0, width / 2, height / 2, 1]]]))
    assert loss.isfinite().all()
    assert found.boxes.numel() == 0 or float(found.boxes[:, 2].max()) <= width + 1e-3
    assert found.boxes.numel() == 0 or float(found.boxes[:, 3].max()) <= height + 1e-3


def test_frozen_norm_has_no_parameters_and_does_not_learn(built: dict[str, Any]) -> None:
    module = module_of(SSDLITE, built).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    module(images(), TARGETS)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not [each for each in module.modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)]


def test_choice_follows_the_generator_in_training_only(built: dict[str, Any]) -> None:
    module = module_of(MOBILE, built)
    state = torch.get_rng_state()
    with torch.no_grad():
        module(images(), TARGETS)
        assert torch.equal(torch.get_rng_state(), state)  # judging leaves it alone
        losses = []
        for seed in (1, 2, 1):
            torch.manual_seed(seed)
            losses.append(module.train()(images(), TARGETS))
            after = torch.get_rng_state()
            torch.manual_seed(seed)
            torch.randint(1 << 62, ())
            assert torch.equal(torch.get_rng_state(), after)  # one number, whatever is in the batch
    assert torch.equal(losses[0], losses[2])
    assert not torch.equal(losses[0], losses[1])


def test_boxes_that_are_none_do_not_count(built: dict[str, Any]) -> None:
    module = module_of(SSDLITE, built)
    nan, inf = float("nan"), float("inf")
    none = [[5, 5, 5, 20, 1], [9, 9, 3, 3, 1], [5, 5, 5.01, 30, 0], [nan, 0, 9, 9, 1], [0, 0, inf, 9, 0]]
    outside = [[400, 5, 500, 20, 1], [-50, -50, -1, -1, 0]]
    with torch.no_grad():
        empty = module(images()[:1], torch.tensor([[PADDING]]))
        alone = module(images()[:1], TARGETS[:1])
        assert torch.equal(module(images()[:1], torch.tensor([[*none, *outside]])), empty)
        both = torch.cat([torch.tensor([[*none, *outside]]), TARGETS[:1]], 1)
        torch.testing.assert_close(module(images()[:1], both), alone)
        torch.testing.assert_close(module(images()[:1], torch.zeros(1, 0, 5)), empty)


def test_truth_is_cut_at_the_border() -> None:
    (truth,) = truth_of(torch.tensor([[[-5.0, 2, 200, 9, 1]]]), 2, (32, 48)).images()
    assert truth["boxes"].tolist() == [[0, 2, 48, 9]]
    assert truth["labels"].tolist() == [2]
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), got 2"):
        truth_of(torch.tensor([[[0.0, 0, 9, 9, 2]]]), 2, (32, 48))
    with pytest.raises(ValueError, match=r"targets must be \(b, k, 5\), got \(1, 4\)"):
        truth_of(torch.zeros(1, 4), 2, (32, 48))


def test_short_numbers_find_the_same(built: dict[str, Any]) -> None:
    module = module_of(SSDLITE, built)
    pictures = (images(1, 96, 96) * 255).to(torch.uint8)
    (full,), (short,) = (ModuleDetector(module, ("a", "b"), amp=amp)(pictures) for amp in ("none", "bf16"))
    assert short.boxes.dtype == torch.float32
    assert abs(float(full.scores[0]) - float(short.scores[0])) < 0.05


def test_torchvisions_own_file_opens_with_cocos_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=91).eval()
    state = model.state_dict()
    assert any(key.endswith("num_batches_tracked") for key in state)
    path = tmp_path / "ssdlite.pth"
    torch.save(state, path)
    detector = open_detector(f"{SSDLITE}={path}", min_confidence=0.0)
    assert detector.class_names == COCO
    own = build_detector(SSDLITE, 90, weights=path)
    mine = own.state_dict()
    assert all(torch.equal(mine[f"model.{key}"], value) for key, value in state.items() if f"model.{key}" in mine)
    with pytest.raises(ValueError, match="use new_head=True"):
        build_detector(SSDLITE, 2, weights=path)
    fresh = build_detector(SSDLITE, 2, weights=path, new_head=True).state_dict()
    kept = [key for key, value in fresh.items() if torch.equal(value, mine[key]) if value.shape == mine[key].shape]
    heads = {key for key in fresh if key not in kept}
    assert heads
    assert all("classification_head" in key and ".1." in key for key in heads)


@pytest.mark.parametrize(
    ("published", "today"),
    [
        ("rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
        ("rpn.head.cls_logits.bias", "rpn.head.cls_logits.bias"),
        ("backbone.fpn.inner_blocks.3.bias", "backbone.fpn.inner_blocks.3.0.bias"),
        ("backbone.fpn.layer_blocks.0.weight", "backbone.fpn.layer_blocks.0.0.weight"),
        ("backbone.fpn.layer_blocks.0.0.weight", "backbone.fpn.layer_blocks.0.0.weight"),
        ("head.classification_head.conv.6.weight", "head.classification_head.conv.3.0.weight"),
        ("head.regression_head.conv.2.bias", "head.regression_head.conv.1.0.bias"),
        ("head.regression_head.conv.1.0.bias", "head.regression_head.conv.1.0.bias"),
    ],
)
def test_published_names_become_those_of_today(published: str, today: str) -> None:
    assert _renamed(published) == today


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn"])
def test_published_files_fill_everything(name: str, tmp_path: Path) -> None:
    module = build_detector(name, 90, seed=0)
    old = {
        "rpn.head.conv.0.0.": "rpn.head.conv.",
        **{f"fpn.{kind}_blocks.{i}.0.": f"fpn.{kind}_blocks.{i}." for kind in ("inner", "layer") for i in range(4)},
        **{f"_head.conv.{i}.0.": f"_head.conv.{2 * i}." for i in range(4)},
    }
    state = {}
    for key, value in module.state_dict().items():
        name_then = key.removeprefix("model.")
        for new, published in old.items():
            name_then = name_then.replace(new, published)
        state[name_then] = value + 1
    path = tmp_path / "published.pth"
    torch.save(state, path)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    load_detector(module, path)
    assert all(torch.equal(value, before[key] + 1) for key, value in module.state_dict().items())
