"""Data parameters of boxes: against a reference from the paper, and what holds whatever the data."""

import math
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import reference_box_temperature as reference
from tamis.box_temperature import BoxParameters
from tamis.methods import PRESETS, Temperature, box_rate
from tamis.temperature import LazySGD

COUNTS = st.lists(st.integers(0, 4), min_size=1, max_size=6).filter(any)


def starts_of(counts: list[int]) -> Tensor:
    return torch.tensor([0, *counts]).cumsum(0)


def targets_of(counts: list[int], index: list[int], hidden: int = 0, extra: int = 0) -> Tensor:
    """Boxes of images, padded; every `hidden`-th is not seen; label = place modulo 3."""
    most = max((counts[place] for place in index), default=0) + extra
    targets = torch.full((len(index), most, 5), -1.0)
    for rows, place in zip(targets, index, strict=True):
        for box in range(counts[place]):
            label = -1.0 if hidden and (box + 1) % hidden == 0 else float(box % 3)
            rows[box] = torch.tensor([0.0, 0.0, 5.0, 5.0, label])
    return targets


def filled(counts: list[int], kind: str) -> BoxParameters:
    rows = Temperature(kind=kind).box_rows(starts_of(counts), 3, lambda values: values)  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(3)
    for table in rows.parameters():
        table.data.normal_(generator=generator)
    return rows


@given(COUNTS, st.data(), st.sampled_from(["class", "instance", "joint"]), st.integers(0, 3), st.integers(0, 2))
def test_sigma_is_that_of_the_reference(
    counts: list[int], data: st.DataObject, kind: str, hidden: int, extra: int
) -> None:
    index = data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=5))
    rows, targets = filled(counts, kind), targets_of(counts, index, hidden, extra)
    sigma, background = rows(targets, torch.tensor(index))
    tables = [None if t is None else t.tolist() for t in (rows.log_sigma_class, rows.log_sigma_instance)]
    images = list(zip(index, targets.tolist(), strict=True))
    wanted, mean = reference.sigmas(images, rows.starts.tolist(), tables[0], tables[1])
    assert sigma.shape == targets.shape[:2]
    assert sigma.dtype == background.dtype == torch.float32
    torch.testing.assert_close(sigma, torch.tensor(wanted).view_as(sigma), rtol=1e-5, atol=1e-6)
    assert float(background.detach()) == pytest.approx(mean, rel=1e-5)


def test_a_fresh_start_is_1_and_of_both_1_001() -> None:
    targets, index = targets_of([2, 0, 1], [0, 2]), torch.tensor([0, 2])
    for kind, start in (("class", 1.0), ("instance", 1.0), ("joint", 1.001)):
        rows = Temperature(kind=kind).box_rows(starts_of([2, 0, 1]), 3, lambda values: values)  # pyright: ignore[reportArgumentType]
        sigma, background = rows(targets, index)
        assert sigma[0].tolist() == pytest.approx([start, start])
        assert sigma[1].tolist() == pytest.approx([start, 1.0])  # padding has none
        assert float(background.detach()) == pytest.approx(start)


def test_images_without_boxes_have_a_background_of_1_with_a_gradient_of_no_row() -> None:
    rows = filled([0, 2], "joint")
    for targets in (torch.zeros(2, 0, 5), torch.full((2, 3, 5), -1.0)):
        sigma, background = rows(targets, torch.tensor([0, 0]))
        assert float(background.detach()) == 1
        assert (sigma == 1).all()
        (sigma.sum() + 0 * background).backward()
        for table in rows.parameters():
            assert table.grad is not None
            assert table.grad.is_sparse
            assert len(table.grad._indices()[0]) == 0
            table.grad = None


@given(COUNTS, st.data())
def test_gradients_reach_the_boxes_of_the_batch_alone(counts: list[int], data: st.DataObject) -> None:
    """Against differences of the loss, of sigma and background together; a box that is there twice adds up."""
    index = data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=4))
    rows, targets = filled(counts, "instance").double(), targets_of(counts, index)
    weight = torch.linspace(0.5, 2.0, max(1, targets.shape[0] * targets.shape[1])).double()

    def loss() -> Tensor:
        sigma, background = rows(targets, torch.tensor(index))
        return (weight[: sigma.numel()] * sigma.flatten() ** 2).sum() + 3 * background**2

    loss().backward()
    table = rows.log_sigma_instance
    assert table is not None
    assert table.grad is not None
    gradient = table.grad.to_dense()
    for row in range(len(table)):
        with torch.no_grad():
            table[row] += 1e-6
            above = loss()
            table[row] -= 2e-6
            below = loss()
            table[row] += 1e-6
        assert float(gradient[row]) == pytest.approx(float(above - below) / 2e-6, rel=1e-4, abs=1e-6)
    touched = {int(rows.starts[i]) + j for i in index for j in range(counts[i])}
    assert set(table.grad._indices()[0].tolist()) == touched


def test_a_step_is_that_of_the_reference() -> None:
    counts, index = [2, 1, 3], [2, 0]
    rows, targets = filled(counts, "instance"), targets_of([2, 1, 3], [2, 0])
    table = rows.log_sigma_instance
    assert table is not None
    before = dict(enumerate(table.tolist()))
    sigma, background = rows(targets, torch.tensor(index))
    (sigma.sum() + background).backward()
    assert table.grad is not None
    gradient = dict.fromkeys(table.grad._indices()[0].tolist(), 0.0)
    for row, value in zip(*(each.tolist() for each in (table.grad._indices()[0], table.grad._values())), strict=True):
        gradient[row] += value
    LazySGD(rows.parameters(), lr=0.1, momentum=0.0).step()
    wanted = reference.step(before, gradient, 0.1)
    assert table.tolist() == pytest.approx([wanted[row] for row in range(len(table))], rel=1e-6)
    assert table[2].item() == before[2]  # of the image that was not shown


@pytest.mark.parametrize(
    ("starts", "options", "text"),
    [
        (torch.tensor([0, 2, 1]), {}, "rise from 0"),
        (torch.tensor([1, 2]), {}, "rise from 0"),
        (torch.tensor([0.0, 2.0]), {}, "int64"),
        (torch.tensor([0]), {}, "int64"),
        (torch.tensor([0, 0]), {}, "boxes must be at least 1"),
        (torch.tensor([0, 2]), {"instance": False}, "neither"),
        (torch.tensor([0, 2]), {"instance_start": 0.0}, "above 0"),
    ],
)
def test_what_cannot_be_is_refused(starts: Tensor, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        BoxParameters(starts, **options)


def test_boxes_of_another_source_are_refused() -> None:
    rows = filled([1, 2], "instance")
    with pytest.raises(ValueError, match="no more boxes"):
        rows(targets_of([2, 2], [0]), torch.tensor([0]))
    with pytest.raises(ValueError, match="one position each"):
        rows(targets_of([1, 2], [0]), torch.tensor([0, 1]))


def test_ten_million_boxes_cost_a_step_what_few_do() -> None:
    """Only rows of the batch change, and the time does not grow with the table."""

    def seconds(images: int) -> float:
        rows = BoxParameters(torch.arange(images + 1) * 10)
        optimizer = LazySGD(rows.parameters(), lr=0.1, momentum=0.9)
        index = torch.linspace(0, images - 1, 8).long()
        targets, times = torch.zeros(8, 10, 5), []
        for _ in range(30):
            started = time.perf_counter()
            sigma, background = rows(targets, index)
            (sigma.sum() + background).backward()
            optimizer.step()
            optimizer.zero_grad()
            times.append(time.perf_counter() - started)
        table = rows.log_sigma_instance
        assert table is not None
        changed = table.detach().nonzero().flatten()
        assert changed.tolist() == sorted({int(i) * 10 + j for i in index.tolist() for j in range(10)})
        return sorted(times)[len(times) // 2]

    few, many = seconds(100), seconds(1_000_000)
    assert many < 3 * few + 1e-3


@pytest.mark.slow
def test_rows_beyond_two_to_the_31() -> None:
    """A table of 2.4 billion rows, of which the system gives memory only to those that are touched."""
    images = 800
    rows = BoxParameters(torch.arange(images + 1) * 3_000_000)
    table = rows.log_sigma_instance
    assert table is not None
    targets, index = torch.zeros(1, 2, 5), torch.tensor([images - 1])
    optimizer = LazySGD([table], lr=1.0, momentum=0.0)
    sigma, background = rows(targets, index)
    (sigma[0, 0] * 2 + 0 * background).backward()
    optimizer.step()
    row = (images - 1) * 3_000_000
    assert row > 2**31
    assert table[row].item() == -2.0
    assert table[row + 1].item() == 0.0
    assert table[row - 2**31].item() == table[row - 2**32 if row >= 2**32 else 0].item() == 0.0


def test_the_rate_is_for_a_boxs_own_loss() -> None:
    """The step of a box does not depend on how many images and boxes share the mean loss that is minimised."""
    moved = []
    for images, boxes in ((1, 1), (4, 1), (1, 5), (4, 5)):
        temperature = Temperature(instance_rate=0.25, clamp="none", momentum=0.0)
        rows = temperature.box_rows(torch.arange(images + 1) * boxes, 3, lambda values: values)
        optimizer = temperature.optimizer(rows, 0.25, images * boxes)
        sigma, background = rows(torch.zeros(images, boxes, 5), torch.arange(images))
        (sigma.sum(1) / boxes + 0 * background).mean().backward()
        optimizer.step()
        table = rows.log_sigma_instance
        assert table is not None
        moved += table.tolist()
    assert moved == pytest.approx([-0.25] * len(moved))


def test_the_default_rate_of_boxes_and_the_printed_one() -> None:
    assert Temperature().rate(30, boxes=True) == box_rate(30)
    assert Temperature(instance_rate=0.5).rate(30, boxes=True) == 0.5
    printed = PRESETS["paper-kitti"]
    rows = printed.box_rows(torch.tensor([0, 3]), 3, lambda values: values)
    optimizer = printed.optimizer(rows, printed.rate(30, boxes=True), 32 * 4.66)
    group = optimizer.param_groups[0]
    assert math.isclose(group["lr"], 0.1)
    assert (group["weight_decay"], group["momentum"], group["clamp"]) == (0.0, 0.0, None)
    assert printed.schedule == "constant"


def test_all_sigma_are_those_of_the_steps() -> None:
    for kind in ("class", "instance", "joint"):
        counts = [2, 0, 3]
        rows, targets = filled(counts, kind), targets_of(counts, [0, 1, 2])
        labels = targets[..., 4][targets[..., 4] >= 0].long()
        sigma, _ = rows(targets, torch.arange(3))
        torch.testing.assert_close(rows.all_sigma(labels), sigma[targets[..., 4] >= 0].detach())
    assert list(rows.state_dict()) == ["log_sigma_class", "log_sigma_instance"]  # the data knows the starts
