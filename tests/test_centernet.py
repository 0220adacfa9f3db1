"""The centre detector: losses against plain Python, images that do not know each other, decoding, learning."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

import tamis.models.centernet
from reference_centernet import box_loss, focal, heat_map
from tamis.detections import Detections
from tamis.models.centernet import SMALL, TINY, CenterNet
from tamis.models.centernet_losses import detection_losses

Box = tuple[float, float, float, float, int]
HEIGHT, WIDTH, CLASSES = 9, 12, 3
DATA = Path(tamis.models.centernet.__file__).parent / "data"


@st.composite
def boxes(draw: st.DrawFn) -> list[Box]:
    """Boxes of at least 2 pixels, some in part or as a whole outside of the image."""
    found = []
    for _ in range(draw(st.integers(0, 5))):
        x, y = draw(st.floats(-8, 4 * WIDTH + 8, width=32)), draw(st.floats(-8, 4 * HEIGHT + 8, width=32))
        wide, high = draw(st.floats(2, 60, width=32)), draw(st.floats(2, 60, width=32))
        found.append((x, y, x + wide, y + high, draw(st.integers(0, CLASSES - 1))))
    return found


def padded(batch: list[list[Box]], rows: int) -> Tensor:
    targets = torch.full((len(batch), rows, 5), -1.0)
    for target, image in zip(targets, batch, strict=True):
        if image:
            target[: len(image)] = torch.tensor(image)
    return targets


def maps(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits, and boxes with an area around each cell."""
    generator = torch.Generator().manual_seed(seed)
    heat = 3 * torch.randn(count, CLASSES, HEIGHT, WIDTH, generator=generator)
    corner = 48 * torch.rand(count, 2, HEIGHT, WIDTH, generator=generator)
    size = 1 + 30 * torch.rand(count, 2, HEIGHT, WIDTH, generator=generator)
    return heat, torch.cat((corner, corner + size), 1)


@settings(max_examples=25, deadline=None)
@given(st.lists(boxes(), min_size=1, max_size=3), st.integers(0, 9))
def test_losses_are_the_papers(batch: list[list[Box]], seed: int) -> None:
    heat, found = maps(len(batch), seed)
    losses = detection_losses(heat, found, padded(batch, 6)).image
    for number, image in enumerate(batch):
        total = focal(heat[number].tolist(), heat_map(image, CLASSES, HEIGHT, WIDTH))
        corners = found[number].permute(1, 2, 0).tolist()
        total += 5 * sum(box_loss(corners, (x1, y1, x2, y2)) for x1, y1, x2, y2, _ in image)
        assert losses[number].item() == pytest.approx(total / max(1, len(image)), rel=1e-4)


def test_padding_and_boxes_without_an_area_do_not_count() -> None:
    heat, found = maps(1, 0)
    real = [(4.0, 4.0, 20.0, 16.0, 1)]
    flat = [*real, (8.0, 8.0, 8.0, 30.0, 0), (9.0, 9.0, 5.0, 30.0, 2)]
    alone = detection_losses(heat, found, padded([real], 1)).image
    assert torch.allclose(detection_losses(heat, found, padded([flat], 7)).image, alone)
    assert torch.isfinite(detection_losses(heat, found, torch.zeros(1, 0, 5)).image).all()


def test_an_images_loss_and_boxes_do_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    model = CenterNet(2)
    inputs, targets = torch.rand(3, 3, 50, 70), padded([[(5, 5, 30, 40, 0)], [], [(1, 1, 9, 9, 1)] * 2], 4)
    together = model(inputs, targets)
    alone = torch.cat([model(inputs[i : i + 1], targets[i : i + 1]) for i in range(3)])
    assert together.shape == (3,)
    assert together.dtype == torch.float32
    assert torch.allclose(together, alone, rtol=1e-4)
    with torch.no_grad():
        for number, found in enumerate(model(inputs)):
            other = model(inputs[number : number + 1])[0]
            assert torch.allclose(found.boxes, other.boxes, atol=1e-2)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (37, 53), (180, 320)])
def test_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    model = CenterNet(4)
    torch.nn.init.normal_(model.heat.weight)  # so that there are many peaks
    with torch.no_grad():
        for found in model(torch.rand(2, 3, *size)):
            assert isinstance(found, Detections)
            assert len(found) <= 100
            assert (found.scores >= 0.01).all()
            assert torch.equal(found.scores, found.scores.sort(descending=True).values)
            assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
            assert (found.boxes >= 0).all()
            assert (found.boxes <= torch.tensor((size[1], size[0], size[1], size[0]))).all()
            assert set(found.labels.tolist()) <= {0, 1, 2, 3}


def test_raw_has_one_shape_and_holds_what_is_found() -> None:
    torch.manual_seed(2)
    model = CenterNet(2)
    inputs = torch.rand(2, 3, 60, 90)
    with torch.no_grad():
        boxes, scores, labels = model.raw(inputs)
        found = model(inputs)
    assert boxes.shape == (2, 100, 4)
    assert scores.shape == labels.shape == (2, 100)
    for number, one in enumerate(found):
        assert torch.equal(one.boxes, boxes[number, : len(one)])
        assert (scores[number, len(one) :] < 0.01).all()


def test_a_peak_is_found_where_it_is() -> None:
    """A model whose maps are set by hand."""
    model = CenterNet(2)
    heat = torch.full((1, 2, 10, 10), -9.0)
    heat[0, 1, 3, 7], heat[0, 1, 3, 8], heat[0, 0, 6, 2] = 2.0, 1.0, 0.5
    boxes = torch.tensor((1.0, 2.0, 11.0, 22.0))[None, :, None, None].expand(1, 4, 10, 10).clone()
    boxes[0, :, 3, 7] = torch.tensor((20.0, 5.0, 99.0, 25.0))
    model._maps = lambda inputs: (heat, boxes)  # pyright: ignore[reportAttributeAccessIssue]
    (found,) = model(torch.zeros(1, 3, 40, 40))
    assert found.labels.tolist() == [1, 0]
    assert found.boxes.tolist() == [[20, 5, 40, 25], [1, 2, 11, 22]]
    assert torch.allclose(found.scores, torch.tensor((2.0, 0.5)).sigmoid())


def test_it_learns_from_scratch() -> None:
    torch.manual_seed(0)
    model = CenterNet(2)
    inputs, targets = torch.full((4, 3, 64, 96), 0.4), torch.full((4, 2, 5), -1.0)
    for number, (x, y, label) in enumerate(((8, 10, 0), (50, 30, 1), (30, 20, 0))):
        wide, high = (30, 14) if label == 0 else (10, 24)
        inputs[number, label, y : y + high, x : x + wide] = 1.0
        targets[number, 0] = torch.tensor((x, y, x + wide, y + high, label))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(100):
        loss = model(inputs, targets).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = model(inputs)
    for number in range(3):
        assert found[number].labels[0] == targets[number, 0, 4]
        assert (found[number].boxes[0] - targets[number, 0, :4]).abs().max() < 3
    assert len(found[3].above(0.3)) == 0


def test_parameters() -> None:
    counts = [sum(weight.numel() for weight in CenterNet(2, widths=widths).parameters()) for widths in (TINY, SMALL)]
    assert counts == [128_102, 902_246]
    assert list(CenterNet(2).state_dict())[-2:] == ["heat.weight", "heat.bias"]  # what other classes replace


def test_bf16_autocast_gives_nearly_the_same() -> None:
    torch.manual_seed(0)
    model, inputs = CenterNet(2), torch.rand(2, 3, 48, 64)
    targets = padded([[(5, 5, 30, 40, 0)], []], 1)
    exact = model(inputs, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(inputs.contiguous(memory_format=torch.channels_last), targets)
    assert rough.dtype == torch.float32
    assert torch.allclose(exact, rough, rtol=0.1, atol=0.05)


@pytest.mark.parametrize(("classes", "widths"), [(0, TINY), (2, (8, 8, 8)), (2, (8, 0, 8, 8))])
def test_refusals(classes: int, widths: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CenterNet(classes, widths=widths)


@pytest.mark.parametrize(("name", "widths"), [("student", TINY), ("teacher", SMALL)])
def test_shipped_weights_fit(name: str, widths: tuple[int, int, int, int]) -> None:
    path = DATA / f"street-{name}.safetensors"
    model = CenterNet(2, widths=widths)
    model.load_state_dict(load_file(path))
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["class_names"]) == ["car", "person"]
    assert sum(file.stat().st_size for file in DATA.glob("street-*.safetensors")) < 5_000_000
