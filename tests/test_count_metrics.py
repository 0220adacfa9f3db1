import math
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

import reference_counting as reference
from tamis.tasks import game, mae, psnr, rmse, ssim


def _maps(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = torch.rand(height, width, generator=generator, dtype=torch.float64) ** 4 / 50
    return true + torch.randn(height, width, generator=generator, dtype=torch.float64) / 500, true


# ----- counts ---------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.integers(0, 10_000)), min_size=1, max_size=20))
def test_mae_and_rmse_as_in_the_paper(pairs):
    predicted, counts = (list(map(float, each)) for each in zip(*pairs, strict=True))
    one, other = torch.tensor(predicted, dtype=torch.float64), torch.tensor(counts, dtype=torch.float64)
    assert mae(one, other) == pytest.approx(reference.mae(predicted, counts), abs=1e-9)
    assert rmse(one, other) == pytest.approx(reference.rmse(predicted, counts), abs=1e-9)
    assert rmse(one, other) >= mae(one, other) - 1e-9


def test_a_missing_prediction_is_visible():
    counts = torch.tensor([1.0, 2.0])
    assert math.isnan(mae(torch.tensor([1.0, math.nan]), counts))
    assert math.isnan(rmse(torch.tensor([1.0, math.nan]), counts))
    assert math.isnan(mae(torch.empty(0), torch.empty(0)))


# ----- GAME -----------------------------------------------------------------------------------------------------

sizes = st.integers(1, 13)


@given(sizes, sizes, st.integers(0, 3), st.integers(0, 5))
def test_game_as_in_the_paper(height, width, level, seed):
    predicted, true = _maps(height, width, seed)
    expected = reference.game(predicted.tolist(), true.tolist(), 2**level, 2**level)
    assert game(predicted, true, level).item() == pytest.approx(expected, abs=1e-12)


@given(sizes, sizes, st.integers(0, 5))
def test_game_0_is_the_error_of_the_count_and_game_never_falls(height, width, seed):
    predicted, true = _maps(height, width, seed)
    levels = [game(predicted, true, level).item() for level in range(6)]
    assert levels[0] == pytest.approx(abs(predicted.sum() - true.sum()).item(), abs=1e-12)
    assert all(high >= low - 1e-12 for low, high in pairwise(levels))


def test_game_of_a_misplaced_head():
    predicted, true = torch.zeros(8, 8), torch.zeros(8, 8)
    predicted[0, 0], true[7, 7] = 1, 1
    assert [game(predicted, true, level).item() for level in range(4)] == [0, 2, 2, 2]


def test_the_grid_of_the_paper_is_game_2():
    predicted, true = _maps(10, 13)
    assert game(predicted, true, grid=(4, 4)) == game(predicted, true, 2)
    assert game(predicted, true, grid=(4, 4)) != game(predicted, true, 4)
    expected = reference.game(predicted.tolist(), true.tolist(), 2, 3)
    assert game(predicted, true, grid=(2, 3)).item() == pytest.approx(expected, abs=1e-12)


def test_game_of_many_maps_at_once_and_of_nan():
    predicted, true = (torch.stack(each) for each in zip(*(_maps(9, 7, seed) for seed in range(3)), strict=True))
    together = game(predicted, true, 2)
    assert together.tolist() == [game(one, other, 2).item() for one, other in zip(predicted, true, strict=True)]
    predicted[1, 0, 0] = math.nan
    assert game(predicted, true, 2).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": -1}, r"level must be at least 0, got -1"),
        ({"grid": (0, 4)}, r"grid must have at least 1 row and 1 column, got \(0, 4\)"),
    ],
)
def test_game_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        game(torch.zeros(4, 4), torch.zeros(4, 4), **settings)


def test_game_refuses_maps_of_two_shapes():
    with pytest.raises(ValueError, match=r"maps must be of one shape \(..., h, w\), got \(4, 4\) and \(4, 1\)"):
        game(torch.zeros(4, 4), torch.zeros(4, 1))


# ----- SSIM and PSNR --------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=8)
@given(st.integers(11, 14), st.integers(11, 14), st.integers(0, 99))
def test_ssim_and_psnr_as_in_the_papers(height, width, seed):
    predicted, true = _maps(height, width, seed)
    assert ssim(predicted, true) == pytest.approx(reference.ssim(predicted.tolist(), true.tolist()), abs=1e-9)
    assert psnr(predicted, true) == pytest.approx(reference.psnr(predicted.tolist(), true.tolist()), abs=1e-5)


@pytest.mark.parametrize("shape", [(11, 11), (24, 31)])
def test_ssim_and_psnr_as_in_scikit_image(shape):
    predicted, true = _maps(*shape)
    peak = true.max().item()
    arrays = true.numpy(), predicted.numpy()
    expected = structural_similarity(
        *arrays, data_range=peak, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(predicted, true) == pytest.approx(expected, abs=1e-9)
    assert psnr(predicted, true) == pytest.approx(peak_signal_noise_ratio(*arrays, data_range=peak), abs=1e-5)


def test_equal_maps():
    true = _maps(16, 16)[1]
    assert ssim(true, true) == pytest.approx(1, abs=1e-12)
    assert psnr(true, true) == math.inf


def test_quality_does_not_depend_on_the_unit():
    predicted, true = _maps(16, 16)
    assert ssim(100 * predicted, 100 * true) == pytest.approx(ssim(predicted, true), abs=1e-9)
    assert psnr(100 * predicted, 100 * true) == pytest.approx(psnr(predicted, true), abs=1e-5)


def test_where_quality_is_not_defined():
    some, nothing = torch.rand(16, 16), torch.zeros(16, 16)
    assert (ssim(some, nothing), psnr(some, nothing)) == (None, None)
    assert ssim(some[:10], some[:10]) is None
    assert psnr(nothing[:10], some[:10]) is not None
    assert (ssim(some[:0], some[:0]), psnr(some[:0], some[:0])) == (None, None)
    assert math.isnan(ssim(torch.full((16, 16), math.nan), some) or 0)
    assert math.isnan(psnr(torch.full((16, 16), math.nan), some) or 0)


@pytest.mark.parametrize("metric", [ssim, psnr])
def test_without_torchmetrics_the_error_names_the_extra(monkeypatch, metric):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(ImportError, match=r"needs torchmetrics, got no such package; pip install 'tamis\[counting\]'"):
        metric(torch.rand(16, 16), torch.rand(16, 16))
