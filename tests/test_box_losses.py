"""Losses per image and per box, and what sigma does to them: against plain Python, torchvision and finite steps."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

import reference_box_losses as reference
from tamis.detections import ImageLosses
from tamis.models import image_losses
from tamis.models.anchor_detector import AnchorDetector
from tamis.models.anchor_losses import anchor_losses
from tamis.models.centernet import CenterNet
from tamis.models.centernet_losses import detection_losses
from tamis.models.detector_parts import truth_of
from tamis.models.image_losses import _wrapped
from tamis.models.proposal_losses import Chosen, proposal_losses
from tamis.models.region_detector import RegionDetector
from tamis.models.sigmas import Sigmas

SIDE, CLASSES = 64, 2
PADDING = [0.0, 0.0, 0.0, 0.0, -1.0]
NONE = [  # no area, no number, negative sides, no end
    [9.0, 9, 9, 30, 1],
    [float("nan"), 0, 9, 9, 0],
    [20.0, 20, 10, 10, 1],
    [5.0, 5, float("inf"), 9, 0],
]
TARGETS = torch.tensor(
    [
        [[4.0, 6, 30, 40, 1], [24, 8, 60, 30, 0], [6, 8, 31, 41, 0]],
        [[10, 20, 50, 60, 1], PADDING, PADDING],
        [PADDING] * 3,
    ]
)
SIGMA = torch.tensor([[0.5, 2.0, 1.3], [0.7, 1.0, 1.0], [1.0, 1.0, 1.0]])
BACKGROUND = torch.tensor(1.2)
KINDS = ["ssd", "retinanet", "fasterrcnn", "centernet"]


class Backbone(nn.Module):
    """Two levels of eight channels."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 8, stride=8)
        self.second = nn.Conv2d(8, 8, 2, stride=2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        first = self.first(images).relu()
        return OrderedDict({"0": first, "1": self.second(first).relu()})


def bare(kind: str) -> Any:
    """Torchvision's own, very small; it works at 64 pixels."""
    torch.manual_seed(0)
    backbone = Backbone()
    sizes, ratios = ((16,), (32,)), ((0.5, 1.0, 2.0),) * 2
    at: dict[str, Any] = {"min_size": SIDE, "max_size": SIDE}
    if kind == "ssd":
        boxes = DefaultBoxGenerator([[2], [2]], scales=[0.3, 0.6, 0.9])
        backbone.out_channels = [8, 8]  # pyright: ignore[reportAttributeAccessIssue]
        return SSD(backbone, boxes, (SIDE, SIDE), CLASSES + 1)
    if kind == "retinanet":
        return RetinaNet(backbone, CLASSES + 1, anchor_generator=AnchorGenerator(sizes, ratios), **at)
    pool = MultiScaleRoIAlign(["0", "1"], 7, 2)
    anchors = AnchorGenerator(sizes, ratios)
    return FasterRCNN(backbone, CLASSES + 1, rpn_anchor_generator=anchors, box_roi_pool=pool, **at)


def module_of(kind: str) -> Any:
    torch.manual_seed(1)
    if kind == "centernet":
        return CenterNet(CLASSES).eval()
    wrapper = RegionDetector if kind == "fasterrcnn" else AnchorDetector
    return wrapper(bare(kind), CLASSES).eval()


def images(count: int = 3, side: int = SIDE) -> Tensor:
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(3))
    return nn.functional.interpolate(coarse, (side, side), mode="bilinear")


# ---- Against plain Python ----

numbers = st.floats(0.25, 4.0)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Targets (2, 4, 5) with padding in between and boxes twice; sigma, the background's, and whether of regression."""
    rows = []
    for _ in range(8):
        x, y = draw(st.integers(0, 40)), draw(st.integers(0, 40))
        wide, high = draw(st.integers(8, 24)), draw(st.integers(8, 24))
        row = [x, y, x + wide, y + high, draw(st.integers(-1, CLASSES - 1))]
        rows.append(rows[-1] if rows and draw(st.integers(0, 4)) == 0 else row)
    sigma = torch.tensor([draw(numbers) for _ in rows], dtype=torch.float64).view(2, 4)
    targets = torch.tensor(rows, dtype=torch.float32).view(2, 4, 5)
    return targets, sigma, torch.tensor(draw(numbers), dtype=torch.float64), draw(st.booleans())


def check(losses: ImageLosses, targets: Tensor, answer: Callable[[int, list[int]], reference.Answer]) -> None:
    for i, rows in enumerate(targets[..., 4] >= 0):
        kept = rows.nonzero()[:, 0].tolist()
        image, parts = answer(i, kept)
        assert losses.image[i].item() == pytest.approx(image, rel=1e-6, abs=1e-9)
        assert losses.box[i][rows].tolist() == pytest.approx(parts, rel=1e-6, abs=1e-9)
        assert losses.box[i][~rows].abs().sum() == 0


@pytest.mark.parametrize("kind", ["ssd", "retinanet"])
@settings(max_examples=20, deadline=None)
@given(scene=scenes(), seed=st.integers(0, 99))
def test_anchors_are_the_papers(kind: str, scene: tuple[Tensor, Tensor, Tensor, bool], seed: int) -> None:
    targets, sigma, background, regression = scene
    anchors, heads = anchors_and_heads(seed)
    truth = truth_of(targets, CLASSES, (SIDE, SIDE))
    model = bare(kind)
    losses = anchor_losses(model, heads, anchors, truth, Sigmas(sigma, background, regression))

    def answer(i: int, kept: list[int]) -> reference.Answer:
        slow = reference.ssd if kind == "ssd" else reference.retinanet
        boxes, labels = targets[i, kept, :4].double().tolist(), (targets[i, kept, 4].long() + 1).tolist()
        given = (heads["cls_logits"][i].tolist(), heads["bbox_regression"][i].tolist(), anchors.tolist())
        return slow(*given, boxes, labels, sigma[i, kept].tolist(), background.item(), regression)

    check(losses, targets, answer)


def anchors_and_heads(seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """80 anchors of all sizes, none at the same place; float64 outputs for two images."""
    generator = torch.Generator().manual_seed(seed)
    corner = 44 * torch.rand(80, 2, generator=generator)
    anchors = torch.cat((corner, corner + 6 + 20 * torch.rand(80, 2, generator=generator)), 1)
    logits = torch.randn(2, 80, CLASSES + 1, generator=generator, dtype=torch.float64)
    moves = torch.randn(2, 80, 4, generator=generator, dtype=torch.float64)
    return anchors, {"cls_logits": logits, "bbox_regression": moves}


def proposals(seed: int) -> tuple[Tensor, Tensor, list[Chosen]]:
    """Outputs for 7 and 5 proposals of two images with four boxes, and nothing of a third."""
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for count in (7, 5, 0):
        labels = torch.randint(CLASSES + 1, (count,), generator=generator)
        rows = torch.randint(4, (count,), generator=generator)
        moves = torch.randn(count, 4, generator=generator, dtype=torch.float64)
        chosen.append(Chosen(torch.zeros(count, 4), labels, moves, rows))
    logits = torch.randn(12, CLASSES + 1, generator=generator, dtype=torch.float64)
    return logits, torch.randn(12, 4 * (CLASSES + 1), generator=generator, dtype=torch.float64), chosen


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.lists(numbers, min_size=12, max_size=12), numbers, st.booleans())
def test_proposals_are_the_papers(seed: int, sigmas: list[float], background: float, regression: bool) -> None:
    logits, moves, chosen = proposals(seed)
    sigma = torch.tensor(sigmas, dtype=torch.float64).view(3, 4)
    scales = Sigmas(sigma, torch.tensor(background, dtype=torch.float64), regression)
    losses = proposal_losses(logits, moves, chosen, 4, scales)

    def answer(i: int, kept: list[int]) -> reference.Answer:
        mine = slice(*[(0, 7), (7, 12), (12, 12)][i])
        one = chosen[i]
        changes = moves[mine].unflatten(1, (-1, 4)).tolist()
        given = (one.moves.tolist(), one.labels.tolist(), one.rows.tolist(), sigma[i].tolist())
        return reference.second_stage(logits[mine].tolist(), changes, *given, background, regression)

    check(losses, torch.zeros(3, 4, 5), answer)


@settings(max_examples=20, deadline=None)
@given(scenes(), st.integers(0, 99))
def test_centres_are_the_papers(scene: tuple[Tensor, Tensor, Tensor, bool], seed: int) -> None:
    targets, sigma, background, regression = scene
    heat, found = maps(seed)
    losses = detection_losses(heat, found, targets, Sigmas(sigma, background, regression))

    def answer(i: int, kept: list[int]) -> reference.Answer:
        boxes = [(*row[:4], int(row[4])) for row in targets[i, kept].tolist()]
        scales = (sigma[i, kept].tolist(), background.item(), regression)
        return reference.centernet(heat[i].tolist(), found[i].permute(1, 2, 0).tolist(), boxes, *scales)

    check(losses, targets, answer)


def maps(seed: int) -> tuple[Tensor, Tensor]:
    """Float64 logits, and boxes with an area around each cell, of two images of 64 pixels."""
    generator = torch.Generator().manual_seed(seed)
    heat = 2 * torch.randn(2, CLASSES, 16, 16, generator=generator, dtype=torch.float64)
    corner = 40 * torch.rand(2, 2, 16, 16, generator=generator, dtype=torch.float64)
    return heat, torch.cat((corner, corner + 2 + 20 * torch.rand(2, 2, 16, 16, generator=generator).double()), 1)


def test_boxes_of_one_class_in_one_cell_share_it() -> None:
    heat, found = maps(0)
    one = torch.tensor([[[10.0, 10, 30, 30, 1], PADDING], [PADDING, PADDING]])
    twice = one.clone()
    twice[0, 1] = one[0, 0]
    alone, shared = detection_losses(heat, found, one), detection_losses(heat, found, twice)
    assert shared.box[0, 0] == shared.box[0, 1]
    rest = [(losses.image - losses.box.sum(1))[0] for losses in (alone, shared)]
    torch.testing.assert_close(rest[1], rest[0] / 2)  # only by the number of boxes


# ---- Laws that all four obey ----


@pytest.mark.parametrize("kind", KINDS)
def test_one_is_the_plain_loss_and_parts_add_up(kind: str) -> None:
    module = module_of(kind)
    with torch.no_grad():
        plain = module(images(), TARGETS)
        parts = module(images(), TARGETS, parts=True)
        ones = (torch.ones(3, 3), torch.tensor(1.0))
        for losses in (parts, *(module(images(), TARGETS, *ones, parts=True, regression=each) for each in (0, 1))):
            torch.testing.assert_close(losses.image, plain, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(losses.box, parts.box, rtol=1e-6, atol=1e-6)
        assert torch.equal(module(images(), TARGETS, *ones), module(images(), TARGETS, ones[0]))
        assert torch.equal(module(images(), TARGETS, None, ones[1]), module(images(), TARGETS, *ones))
        scaled = module(images(), TARGETS, SIGMA, BACKGROUND, parts=True)
    assert isinstance(parts, ImageLosses)
    assert parts.image.shape == (3,)
    assert parts.box.shape == (3, 3)
    assert (parts.box[TARGETS[..., 4] >= 0] > 0).all()
    assert (parts.box[TARGETS[..., 4] < 0] == 0).all()
    assert (parts.image - parts.box.sum(1) >= 0).all()
    assert not torch.allclose(scaled.box[0], parts.box[0], rtol=1e-3)
    assert torch.equal(image_losses(module, images(), TARGETS, SIGMA, BACKGROUND).box, scaled.box)


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_log_sigma_are_those_of_finite_steps(kind: str, regression: bool) -> None:
    apart = [[4.0, 6, 20, 22, 1], [34, 8, 58, 30, 0], [30, 34, 54, 60, 0]]
    targets = torch.tensor([[*apart, PADDING], [PADDING, [10, 20, 30, 44, 1], PADDING, PADDING]])
    anchors, heads = anchors_and_heads(5)
    heat, found = maps(5)
    logits, moves, chosen = proposals(5)

    def losses(log_sigma: Tensor, log_background: Tensor) -> tuple[Tensor, Tensor]:
        scales = Sigmas(log_sigma.exp(), log_background.exp(), regression)
        if kind == "centernet":
            return detection_losses(heat, found, targets, scales)
        if kind == "fasterrcnn":
            return proposal_losses(logits, moves, chosen[:2], 4, scales)
        return anchor_losses(bare(kind), heads, anchors, truth_of(targets, CLASSES, (SIDE, SIDE)), scales)

    generator = torch.Generator().manual_seed(8)
    log_sigma = torch.randn(2, 4, generator=generator, dtype=torch.float64).mul(0.5).requires_grad_()
    log_background = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(losses, (log_sigma, log_background))
    losses(log_sigma, log_background)[0].sum().backward()
    assert log_background.grad is not None
    assert log_background.grad != 0
    assert log_sigma.grad is not None
    if kind != "fasterrcnn":
        assert ((log_sigma.grad != 0) == (targets[..., 4] >= 0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_do_not_count_have_no_loss_and_no_gradient(kind: str) -> None:
    module = module_of(kind)
    targets = torch.cat((torch.tensor([[*NONE, PADDING]] * 3), TARGETS), 1)
    sigma = torch.cat((torch.full((3, 5), 0.4), SIGMA), 1).requires_grad_()
    losses = module(images(), targets, sigma, BACKGROUND, parts=True, regression=True)
    losses.image.sum().backward()
    alone = module(images(), TARGETS, SIGMA, BACKGROUND, parts=True, regression=True)
    assert (losses.box[:, :5] == 0).all()
    assert sigma.grad is not None
    assert (sigma.grad[:, :5] == 0).all()
    assert ((sigma.grad[:, 5:] != 0) == (TARGETS[..., 4] >= 0)).all()
    assert all(each.grad is None or each.grad.isfinite().all() for each in module.parameters())
    if kind != "fasterrcnn":  # which draws by what all the rows hold
        torch.testing.assert_close(losses.image, alone.image, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(losses.box[:, 5:], alone.box, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_boxes(kind: str) -> None:
    module = module_of(kind)
    sigma, background = torch.ones(2, 0).requires_grad_(), torch.tensor(1.5, requires_grad=True)
    losses = module(images(2), torch.zeros(2, 0, 5), sigma, background, parts=True)
    assert losses.box.shape == (2, 0)
    assert losses.image.isfinite().all()
    assert (losses.image == 0).all() == (kind == "ssd")
    losses.image.sum().backward()
    assert background.grad is not None
    assert (background.grad == 0) == (kind == "ssd")


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_know_its_batch(kind: str) -> None:
    module = module_of(kind)
    with torch.no_grad():
        together = module(images(), TARGETS, SIGMA, BACKGROUND, parts=True, regression=True)
        for i in range(3):
            one = slice(i, i + 1)
            alone = module(images()[one], TARGETS[one], SIGMA[one], BACKGROUND, parts=True, regression=True)
            torch.testing.assert_close(alone.image, together.image[one], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(alone.box, together.box[one], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_high_sigma_takes_a_box_out_of_the_weights(kind: str) -> None:
    """The paper's curriculum: the logits of a box with a high sigma hardly matter."""
    module = module_of(kind)
    pull = []
    for sigma in (1.0, 100.0):
        losses = module(images()[1:2], TARGETS[1:2], torch.tensor([[sigma, 1, 1]]), parts=True, regression=True)
        weights = [each for each in module.parameters() if each.requires_grad]
        gradients = torch.autograd.grad(losses.box.sum(), weights, allow_unused=True)
        pull.append(sum(float(each.abs().sum()) for each in gradients if each is not None))
    assert pull[1] < pull[0] / 50


@pytest.mark.parametrize("kind", KINDS)
def test_short_numbers_and_compiled(kind: str) -> None:
    module = module_of(kind)
    exact = module(images(), TARGETS, SIGMA, BACKGROUND, parts=True, regression=True)
    with torch.autocast("cpu", torch.bfloat16):
        short = module(images(), TARGETS, SIGMA, BACKGROUND, parts=True, regression=True)
    assert short.image.dtype == short.box.dtype == torch.float32
    if kind != "fasterrcnn":  # whose proposals are others
        torch.testing.assert_close(short.image, exact.image, rtol=0.1, atol=0.05)
    if kind == "centernet":
        compiled = torch.compile(module, backend="eager", fullgraph=True)
        found = compiled(images(), TARGETS, SIGMA, BACKGROUND, parts=True, regression=True)
        torch.testing.assert_close(tuple(found), tuple(exact))


@pytest.mark.parametrize("kind", KINDS)
def test_scales_that_do_not_fit(kind: str) -> None:
    module = module_of(kind)
    with pytest.raises(ValueError, match=r"sigma must be one number for each row of targets, \(3, 3\), got \(3, 2\)"):
        module(images(), TARGETS, torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"background must be one number, shape \(\), got \(3,\)"):
        module(images(), TARGETS, None, torch.ones(3))


# ---- Torchvision's own ----


def theirs(model: Any, image: Tensor, target: Tensor) -> float:
    rows = target[target[:, 4] >= 0]
    with torch.no_grad():
        losses = model.train()([image], [{"boxes": rows[:, :4], "labels": rows[:, 4].long() + 1}])
    return float(sum(losses.values()))


@pytest.mark.parametrize(("kind", "side"), [("ssd", 64), ("ssd", 96), ("retinanet", 96), ("fasterrcnn", 64)])
def test_bare_models_lose_what_they_say_themselves(kind: str, side: int) -> None:
    model = bare(kind).eval()
    model.transform._skip_resize = side == SIDE  # in training only, where it would draw a number first
    inputs, targets = images(side=side), TARGETS * torch.tensor([side / SIDE] * 4 + [1])
    with torch.no_grad():
        losses = image_losses(model, inputs, targets)
    assert not any(each.training for each in model.modules())
    assert len(model(list(inputs))) == 3  # it still finds boxes
    for i in range(3):
        if kind == "fasterrcnn":
            module: Any = _wrapped(model)
            torch.manual_seed(*module._seeds(inputs[i : i + 1], targets[i : i + 1]))
        assert losses.image[i].item() == pytest.approx(theirs(model, inputs[i], targets[i]), rel=1e-5, abs=1e-6)
        model.eval()


MAKERS: dict[str, tuple[int, dict[str, Any]]] = {
    "ssdlite320_mobilenet_v3_large": (320, {}),
    "ssd300_vgg16": (200, {}),
    "retinanet_resnet50_fpn": (96, {"min_size": 128, "max_size": 160}),
    "retinanet_resnet50_fpn_v2": (96, {"min_size": 128, "max_size": 160}),
    "fasterrcnn_mobilenet_v3_large_fpn": (128, {"min_size": 128, "max_size": 128}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_published_models_lose_what_they_say_themselves(name: str) -> None:
    side, settings = MAKERS[name]
    torch.manual_seed(0)
    model: Any = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=3, **settings).train()
    if name.startswith("fasterrcnn"):
        model.transform._skip_resize = True  # where it would draw a number first
    # Batch norm by its running mean, which one image at 1 x 1 has no other.
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.train = lambda mode=True, each=each: each  # pyright: ignore[reportAttributeAccessIssue]
            each.training = False
    image, target = images(1, side), (TARGETS[:1] * torch.tensor([side / SIDE] * 4 + [1]))
    torch.manual_seed(7)
    with torch.no_grad():
        losses = image_losses(model, image, target)
    assert model.training
    if name.startswith("fasterrcnn"):
        torch.manual_seed(7)
        module: Any = _wrapped(model)
        torch.manual_seed(*module._seeds(image, target))
    assert losses.image.item() == pytest.approx(theirs(model, image[0], target[0]), rel=1e-4)
    assert (losses.box > 0).all()


def test_models_of_more_than_boxes_are_refused_and_left_as_they_were() -> None:
    model = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    with pytest.raises(ValueError, match="module must find boxes only, got a MaskRCNN"):
        image_losses(model, images(), TARGETS)
    model = bare("fasterrcnn")
    model.rpn.eval()
    modes = [each.training for each in model.modules()]
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), got 2"):
        image_losses(model, images(), torch.tensor([[[4.0, 6, 30, 40, 2]]] * 3))
    assert [each.training for each in model.modules()] == modes
