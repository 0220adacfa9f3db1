import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import reference_counting as reference
from tamis.batch import Batch
from tamis.models import MCNN, MCNNLight, build_counter
from tamis.tasks import Counting
from tamis.temperature import DataParameters


def _dots(images: int, side: int, stride: int = 4, seed: int = 0, most: int = 12) -> Batch:
    """Bright blobs on noise, and the blobs as density."""
    generator = torch.Generator().manual_seed(seed)
    pixel = torch.arange(side).float()
    inputs, targets = 0.3 * torch.randn(images, 3, side, side, generator=generator), torch.zeros(images, 1, side, side)
    for image in range(images):
        places = torch.rand(1 + image * most // images, 2, generator=generator) * side
        for y, x in places:
            blob = torch.exp(-((pixel[:, None] - y) ** 2 + (pixel - x) ** 2) / 16)
            inputs[image] += 2 * blob
            targets[image, 0] += blob / blob.sum()
    return Batch(torch.arange(images), inputs, nn.functional.avg_pool2d(targets, stride) * stride**2)


def _fixed(maps: Tensor) -> Any:
    """A model that knows what it says."""
    return lambda inputs: maps


def _batch(targets: Tensor, stride: int = 4) -> Batch:
    count, _, height, width = targets.shape
    return Batch(torch.arange(count), torch.zeros(count, 3, stride * height, stride * width), targets)


def _parts(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [batch.part(end - size, end) for end, size in zip(ends, sizes, strict=True)]


# ----- losses ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.5, 1.0, 100.0]), st.integers(0, 9))
def test_the_loss_is_eq_2(images, height, width, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    true, density = (torch.rand(images, 1, height, width, generator=generator) for _ in range(2))
    losses, columns = Counting(scale=scale).losses(_fixed(scale * density), _batch(true))
    expected = [reference.euclidean(p[0].tolist(), t[0].tolist()) for p, t in zip(density, true, strict=True)]
    assert columns["loss"].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert losses.tolist() == pytest.approx([scale**2 * loss for loss in expected], rel=1e-4, abs=1e-5 * scale**2)
    assert columns["count"].tolist() == pytest.approx(true.sum((1, 2, 3)).tolist(), rel=1e-5)
    assert columns["predicted_count"].tolist() == pytest.approx(density.sum((1, 2, 3)).tolist(), rel=1e-5)
    assert all(values.dtype == torch.float32 and values.shape == (images,) for values in columns.values())
    assert not any(values.requires_grad for values in columns.values())


def test_the_score_is_per_image_pixel_or_head():
    true = torch.zeros(3, 1, 2, 3)
    true[0, 0, 0, 0], true[1, 0, 1, 1] = 4, 0.5  # the third is empty
    batch, model = _batch(true), _fixed(10 * true + 10)
    scores = {kind: Counting(kind, scale=10).losses(model, batch)[1]["score"].tolist() for kind in _KINDS}
    assert scores["image"] == pytest.approx([6, 6, 6])
    assert scores["pixel"] == pytest.approx([1, 1, 1])
    assert scores["head"] == pytest.approx([1.5, 6, 6])


_KINDS = ("image", "pixel", "head")


def test_gradients_are_those_of_the_scaled_maps():
    output = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    losses, columns = Counting(scale=2).losses(_fixed(output), _batch(torch.ones(1, 1, 2, 2)))
    losses.sum().backward()
    assert output.grad is not None
    assert output.grad.unique().tolist() == [2.0]  # 2 (3 - 2 · 1)
    assert (losses.item(), columns["loss"].item()) == (4, 1)


def test_gradients_reach_every_parameter():
    model, batch = build_counter("mcnn-light", seed=0), _dots(2, 32)
    Counting().losses(model, batch)[0].mean().backward()
    for key, value in model.named_parameters():
        assert value.grad is not None, key
        assert value.grad.any(), key


def test_half_precision_is_summed_in_single():
    true = torch.zeros(1, 1, 256, 256)
    losses, columns = Counting().losses(_fixed(torch.ones(1, 1, 256, 256, dtype=torch.bfloat16)), _batch(true))
    assert (losses.item(), columns["predicted_count"].item()) == (65536, 65536)


def test_class_parameters_are_refused():
    with pytest.raises(ValueError, match=r"temperature must be of instances for counting, got class rows; there are"):
        Counting().losses(_fixed(torch.ones(1, 1, 2, 2)), _batch(torch.ones(1, 1, 2, 2)), DataParameters(classes=2))


def test_maps_that_do_not_fit_are_refused():
    batch = _dots(2, 32, stride=8)
    with pytest.raises(ValueError, match=r"must be \(2, 1, 4, 4\) as the targets, got \(2, 1, 8, 8\); give the source"):
        Counting().losses(build_counter("mcnn-light"), batch)
    with pytest.raises(ValueError, match=r"targets must be maps \(b, 1, h, w\), got \(2,\); take a source of counted"):
        Counting().losses(build_counter("mcnn-light"), Batch(batch.index, batch.inputs, torch.ones(2)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"score": "sum"}, r"score must be 'image', 'pixel' or 'head', got 'sum'"),
        ({"scale": 0.0}, r"scale must be above 0 and finite, got 0.0; 100 is usual"),
        ({"scale": math.nan}, r"scale must be above 0 and finite, got nan"),
        ({"margin": -1}, r"margin must be at least 0 pixels, got -1"),
        ({"tile": 288}, r"tile must be 0 or more than twice the margin of 144 pixels, got 288; take 576"),
        ({"tile": -1}, r"tile must be 0 or more than twice"),
    ],
)
def test_settings_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        Counting(**wrong)


# ----- judging --------------------------------------------------------------------------------------------------


def _judged(count: int, seed: int = 0) -> tuple[Tensor, Batch]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 13, 15, generator=generator), _batch(torch.rand(count, 1, 13, 15, generator=generator))


def test_figures_are_those_of_the_paper():
    density, batch = _judged(4)
    figures = Counting(scale=7, quality=True).evaluate(_fixed(7 * density), [batch])
    maps = [(p[0].tolist(), t[0].tolist()) for p, t in zip(density, batch.targets, strict=True)]
    counts = density.sum((1, 2, 3)).tolist(), batch.targets.sum((1, 2, 3)).tolist()
    expected = {
        "mae": reference.mae(*counts),
        "rmse": reference.rmse(*counts),
        "count": sum(counts[1]) / 4,
        "loss": sum(reference.euclidean(*pair) for pair in maps) / 4,
        "ssim": sum(reference.ssim(*pair) for pair in maps) / 4,
        "psnr": sum(reference.psnr(*pair) for pair in maps) / 4,
        "quality_skipped": 0,
    }
    expected |= {
        f"game{level}": sum(reference.game(*pair, 2**level, 2**level) for pair in maps) / 4 for level in _LEVELS
    }
    assert figures == pytest.approx(expected, rel=1e-5)


_LEVELS = (1, 2, 3)


@pytest.mark.parametrize("sizes", [[6], [1] * 6, [4, 0, 2]])
def test_figures_do_not_depend_on_the_batches(sizes):
    model, batch = build_counter("mcnn-light", seed=0).eval(), _dots(6, 64)
    task = Counting(quality=True)
    assert task.evaluate(model, _parts(batch, sizes)) == pytest.approx(task.evaluate(model, [batch]), rel=1e-4)


def test_figures_are_means_of_what_is_told_of_each_image():
    density, batch = _judged(3)
    rows = list(Counting(quality=True).per_image(_fixed(density), [batch]))
    figures = Counting(quality=True).evaluate(_fixed(density), [batch])
    assert [row.index for row in rows] == [0, 1, 2]
    for name in ("game1", "game2", "game3", "loss", "count", "ssim", "psnr"):
        assert figures[name] == pytest.approx(sum(getattr(row, name) for row in rows) / 3)
    for row, predicted, true in zip(rows, density, batch.targets, strict=True):
        assert torch.equal(row.predicted, predicted[0])
        assert torch.equal(row.true, true[0])
        assert row.predicted_count == pytest.approx(predicted.sum().item())
        assert row.count == pytest.approx(true.sum().item())
    assert all(row.ssim is None and row.psnr is None for row in Counting().per_image(_fixed(density), [batch]))


def test_images_of_two_sizes_and_without_heads():
    some, (density, empty) = _judged(2), _judged(2)
    empty = Batch(empty.index + 2, empty.inputs, torch.zeros_like(empty.targets))
    task = Counting(quality=True)
    both = [task.evaluate(_fixed(some[0]), [some[1]]), task.evaluate(_fixed(density), [empty])]
    assert both[1]["count"] == 0
    assert both[1]["mae"] == pytest.approx(density.sum((1, 2, 3)).mean().item())
    assert both[1]["quality_skipped"] == 2
    assert not {"ssim", "psnr"} & set(both[1])

    answers = iter((some[0], density[:, :, :5]))
    shorter = Batch(empty.index, empty.inputs[:, :, :20], empty.targets[:, :, :5])
    figures = task.evaluate(lambda inputs: next(answers), [some[1], shorter])
    assert figures["ssim"] == both[0]["ssim"]
    assert figures["psnr"] == both[0]["psnr"]
    assert figures["quality_skipped"] == 2


def test_maps_smaller_than_the_window_have_psnr_alone():
    density, batch = _judged(2)
    small = Batch(batch.index, batch.inputs[:, :, :32], batch.targets[:, :, :8])
    figures = Counting(quality=True).evaluate(_fixed(density[:, :, :8]), [small])
    assert "ssim" not in figures
    assert figures["psnr"] > 0
    assert figures["quality_skipped"] == 2


def test_a_prediction_that_is_not_a_number_is_visible():
    density, batch = _judged(3)
    density[1, 0, 0, 0] = math.nan
    figures = Counting(quality=True).evaluate(_fixed(density), [batch])
    for name in ("mae", "rmse", "game1", "game2", "game3", "loss", "ssim", "psnr"):
        assert math.isnan(figures[name]), name
    assert not math.isnan(figures["count"])
    losses, columns = Counting().losses(_fixed(density), batch)
    for values in (losses, columns["loss"], columns["score"], columns["predicted_count"]):
        assert values.isnan().tolist() == [False, True, False]


def test_no_image_has_no_error():
    assert math.isnan(Counting().evaluate(_fixed(torch.ones(1)), [])["mae"])


# ----- tiles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "tile", "margin"), [(MCNN, 96, 36), (MCNNLight, 96, 28), (MCNNLight, 101, 29)])
@pytest.mark.parametrize("shape", [(180, 132), (64, 200), (109, 109)])
def test_tiles_give_the_same_map(kind, tile, margin, shape):
    torch.manual_seed(0)
    model, image, seen = kind().eval(), torch.randn(1, 3, *shape), []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    with torch.inference_mode():
        tiled = Counting(tile=tile, margin=margin, scale=10).density(model, image, 4)
        assert len(seen) > 1
        assert max(map(max, seen)) <= tile
        torch.testing.assert_close(tiled, model(image) / 10, atol=1e-5, rtol=1e-4)


def test_a_margin_that_is_too_small_shows():
    model, image = build_counter("mcnn-light", seed=0).eval(), torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        assert not torch.allclose(Counting(tile=64, margin=4).density(model, image, 4), model(image), atol=1e-4)


def test_tiles_are_for_large_images_without_gradients():
    calls = []

    def model(inputs: Tensor) -> Tensor:
        calls.append(inputs.shape)
        return nn.functional.avg_pool2d(inputs[:, :1], 4)

    task, batch = Counting(tile=64, margin=8), _dots(2, 64)
    task.evaluate(model, [batch])
    assert len(calls) == 1
    large = _dots(2, 128)
    task.losses(model, large)
    assert len(calls) == 2
    task.evaluate(model, [large])
    assert len(calls) == 2 + 9


def test_a_tile_that_holds_no_cell_is_refused():
    with (
        torch.inference_mode(),
        pytest.raises(ValueError, match=r"tile must hold a stride of 16 between two margins of"),
    ):
        Counting(tile=40, margin=10).density(_fixed(torch.ones(1)), torch.zeros(1, 3, 64, 64), 16)


# ----- together -------------------------------------------------------------------------------------------------


def test_a_small_counter_learns_to_count_dots():
    model, batch, task = build_counter("mcnn-light", seed=0), _dots(8, 64), Counting()
    before = task.evaluate(model, [batch])["mae"]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        task.losses(model, batch)[0].mean().backward()
        optimizer.step()
    assert task.evaluate(model, [batch])["mae"] < min(1.0, before / 2)
