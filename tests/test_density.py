import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import reference_density as reference
from tamis.data.density import TOLERANCE, Density, density_map, inside, mirrored
from tamis.data.density_cache import DensityCache

sizes = st.integers(1, 40)
strides = st.integers(1, 9)
sigmas = st.one_of(st.just("adaptive"), st.floats(0.1, 12))
shares = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=12)


def dots_in(fractions: list[tuple[float, float]], width: int, height: int) -> np.ndarray:
    return np.array(fractions, np.float64).reshape(-1, 2) * (width, height)


def crowd(count: int, width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 2)) * (width, height)


def expected(dots: np.ndarray, width: int, height: int, settings: Density, stride: int = 1) -> torch.Tensor:
    pairs = [(x, y) for x, y in dots.tolist()]
    if settings.sigma == "adaptive":
        each = reference.adaptive_sigmas(pairs, settings.neighbours, settings.beta, settings.limits)
    else:
        each = [float(settings.sigma)] * len(pairs)
    whole = reference.density(pairs, width, height, each, settings.truncate, settings.border == "renormalise")
    return torch.tensor(reference.summed(whole, stride))


# ----- Eq. 1 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", ["renormalise", "zero"])
@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.7, 4.0, "adaptive"])
@pytest.mark.parametrize("stride", [1, 4])
def test_map_is_that_of_the_paper(sigma, border, stride) -> None:
    dots = np.concatenate([crowd(9, 30, 21), [(0, 0), (30, 21), (30, 0), (11.5, 6.5), (12, 7), (29.99, 20)]])
    settings = Density(sigma=sigma, border=border)
    assert_close(density_map(dots, 30, 21, settings, stride), expected(dots, 30, 21, settings, stride))


@given(shares, sizes, sizes, strides, sigmas, st.sampled_from(["renormalise", "zero"]), st.floats(1, 5))
def test_any_map_is_that_of_the_paper(fractions, width, height, stride, sigma, border, truncate) -> None:
    dots = dots_in(fractions[:5], width, height)
    settings = Density(sigma=sigma, border=border, truncate=truncate, limits=(0.3, 6))
    assert_close(density_map(dots, width, height, settings, stride), expected(dots, width, height, settings, stride))


def test_map_of_dots_at_pixel_centres_is_the_filter_of_the_published_codes() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    places = np.array([(30, 20), (31, 20), (45, 33), (45, 33)])
    spots = np.zeros((60, 80))
    np.add.at(spots, (places[:, 1], places[:, 0]), 1)
    filtered = ndimage.gaussian_filter(spots, 3, mode="constant", truncate=4)
    ours = density_map(places + 0.5, 80, 60, Density(sigma=3, truncate=4))
    assert_close(ours, torch.from_numpy(filtered).float(), atol=1e-7, rtol=1e-5)


def test_map_is_a_float32_grid_of_cells_with_a_last_partial_one() -> None:
    density = density_map([(9.9, 4.9)], 10, 5, Density(0.1), stride=4)
    assert density.dtype == torch.float32
    assert density.tolist() == [[0, 0, 0], [0, 0, 1]]


# ----- conservation ---------------------------------------------------------------------------------------------


@given(shares, sizes, sizes, strides, sigmas, st.floats(1, 5))
def test_map_sums_to_the_number_of_dots(fractions, width, height, stride, sigma, truncate) -> None:
    dots = dots_in(fractions, width, height)
    density = density_map(dots, width, height, Density(sigma, truncate=truncate), stride)
    assert tuple(density.shape) == (-(-height // stride), -(-width // stride))
    assert float(density.sum(dtype=torch.float64)) == pytest.approx(len(dots), abs=1e-5)
    assert float(density.min()) >= 0


@pytest.mark.parametrize("settings", [Density(4), Density(15), Density("adaptive")])
@pytest.mark.parametrize("stride", [1, 8])
def test_five_thousand_heads_are_five_thousand(settings, stride) -> None:
    density = density_map(crowd(5000, 1024, 768), 1024, 768, settings, stride)
    assert float(density.sum(dtype=torch.float64)) == pytest.approx(5000, rel=1e-6)


@pytest.mark.parametrize("corner", [(0, 0), (50, 0), (0, 40), (50, 40), (25, 0), (50.05, 40.05), (-0.05, -0.05)])
def test_a_dot_in_a_corner_keeps_its_mass(corner) -> None:
    assert float(density_map([corner], 50, 40, Density(6)).sum()) == pytest.approx(1, abs=1e-6)


def test_zero_border_loses_what_falls_outside() -> None:
    lost = Density(5, border="zero")
    assert float(density_map([(0, 0)], 90, 90, lost).sum()) == pytest.approx(0.25, abs=1e-6)
    assert float(density_map([(0, 45)], 90, 90, lost).sum()) == pytest.approx(0.5, abs=1e-6)
    assert float(density_map([(45, 45)], 90, 90, lost).sum()) == pytest.approx(1, abs=1e-6)


def test_dots_on_one_spot_add() -> None:
    once = density_map([(7.3, 9.1)], 20, 20, Density(2))
    assert_close(density_map([(7.3, 9.1)] * 3, 20, 20, Density(2)), 3 * once)


@pytest.mark.parametrize("empty", [[], np.zeros((0, 2)), torch.zeros(0, 2), [(np.nan, 3)], [(-2, 4), (3, np.inf)]])
@pytest.mark.parametrize("sigma", [4.0, "adaptive"])
def test_no_dots_make_an_empty_map(empty, sigma) -> None:
    density = density_map(empty, 20, 10, Density(sigma), stride=4)
    assert tuple(density.shape) == (3, 5)
    assert float(density.abs().sum()) == 0


def test_dots_outside_are_left_out_and_told() -> None:
    over = TOLERANCE + 0.01
    dots = [(5, 5), (20 + over, 5), (5, -over), (np.nan, 5), (5, -np.inf), (20, 10), (20.05, -0.05)]
    assert inside(dots, 20, 10).tolist() == [True, False, False, False, False, True, True]
    assert float(density_map(dots, 20, 10, Density()).sum()) == pytest.approx(3, abs=1e-5)


def test_dots_outside_are_nobodys_neighbours() -> None:
    settings = Density("adaptive", neighbours=1)
    near = density_map([(5, 5), (30, 30), (5, -1)], 60, 60, settings)
    assert_close(near, density_map([(5, 5), (30, 30)], 60, 60, settings))


# ----- cells and regions ----------------------------------------------------------------------------------------


@given(shares, sizes, sizes, strides, sigmas)
def test_coarse_cells_are_sums_of_fine_ones(fractions, width, height, stride, sigma) -> None:
    dots, settings = dots_in(fractions, width, height), Density(sigma)
    fine = density_map(dots, width, height, settings)
    padded = torch.nn.functional.pad(fine, (0, -width % stride, 0, -height % stride))
    sums = padded.unflatten(1, (-1, stride)).unflatten(0, (-1, stride)).sum((1, 3))
    assert_close(density_map(dots, width, height, settings, stride), sums, atol=1e-6, rtol=1e-5)


@given(shares, sizes, sizes, strides, sigmas, st.tuples(*[st.floats(0, 0.999)] * 4), st.booleans())
def test_a_region_is_cut_out_of_the_whole(fractions, width, height, stride, sigma, corners, lossy) -> None:
    dots = dots_in(fractions, width, height)
    settings = Density(sigma, border="zero" if lossy else "renormalise")
    left, top = int(corners[0] * width), int(corners[1] * height)
    right, bottom = left + 1 + int(corners[2] * (width - left)), top + 1 + int(corners[3] * (height - top))
    part = density_map(dots, width, height, settings, stride, (left, top, right, bottom))
    cut = density_map(dots, width, height, settings)[top:bottom, left:right]
    sums = torch.tensor(reference.summed(cut.double().tolist(), stride))
    assert_close(part, sums, atol=1e-6, rtol=1e-5)


def test_a_large_map_is_the_same_in_tiles() -> None:
    dots, settings = crowd(300, 500, 430), Density("adaptive", limits=(1, 25))
    whole = density_map(dots, 500, 430, settings)
    part = density_map(dots, 500, 430, settings, region=(150, 120, 260, 220))
    assert_close(part, whole[120:220, 150:260], atol=1e-7, rtol=1e-5)
    assert float(whole.sum()) == pytest.approx(300, abs=1e-3)


@given(shares, st.integers(1, 8), sizes, st.integers(1, 5), sigmas)
def test_the_map_of_mirrored_dots_is_the_mirrored_map(fractions, columns, height, stride, sigma) -> None:
    width = columns * stride
    dots, settings = dots_in(fractions, width, height), Density(sigma)
    straight = density_map(dots, width, height, settings, stride)
    assert_close(density_map(mirrored(dots, width), width, height, settings, stride), straight.flip(1))


def test_mirroring_twice_changes_nothing_and_keeps_dots_inside() -> None:
    dots = np.array([(0, 1), (20.05, 4), (-0.05, 3), (7.25, 2)])
    assert inside(mirrored(dots, 20), 20, 10).all()
    np.testing.assert_allclose(mirrored(mirrored(dots, 20), 20), dots, atol=1e-12)


# ----- adaptive sigma -------------------------------------------------------------------------------------------


def test_one_head_alone_gets_the_largest_sigma() -> None:
    alone = density_map([(30, 20)], 80, 60, Density("adaptive", limits=(1, 5)))
    assert_close(alone, density_map([(30, 20)], 80, 60, Density(5)))


def test_heads_on_one_spot_get_the_smallest_sigma() -> None:
    spot = [(30, 20)] * 4
    assert_close(
        density_map(spot, 80, 60, Density("adaptive", limits=(1.5, 5))), density_map(spot, 80, 60, Density(1.5))
    )


def test_two_heads_look_at_each_other() -> None:
    pair = [(30, 20), (40, 20)]
    assert_close(density_map(pair, 80, 60, Density("adaptive", beta=0.3)), density_map(pair, 80, 60, Density(3.0)))


@pytest.mark.parametrize("axes", [(400, 300), (300, 400), (500, 0), (0, 0)], ids=["wide", "high", "line", "spot"])
def test_neighbours_of_many_are_those_of_the_paper(axes) -> None:
    dots = crowd(700, 1, 1) * axes
    dots[500:] = dots[500:] * 0.02 + 0.5 * np.array(axes)  # a cluster: its neighbours are all in one block
    dots[600:650] = dots[0]
    settings = Density("adaptive", neighbours=4, beta=0.7, limits=(0.5, 8))
    each = reference.adaptive_sigmas([(x, y) for x, y in dots.tolist()], 4, 0.7, (0.5, 8))
    map_of_each = sum(
        density_map(dots[np.array(each) == sigma], 500, 500, Density(sigma)).double() for sigma in set(each)
    )
    assert_close(density_map(dots, 500, 500, settings).double(), map_of_each, atol=1e-5, rtol=1e-4)


# ----- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        {"sigma": 0.0}, {"sigma": float("nan")}, {"sigma": float("inf")}, {"sigma": "auto"}, {"neighbours": 0},
        {"beta": 0.0}, {"beta": float("nan")}, {"limits": (2.0, 1.0)}, {"limits": (0.0, 1.0)}, {"truncate": 0.5},
        {"truncate": float("inf")}, {"border": "reflect"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(setting) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(setting))} must be .*, got "):
        Density(**setting)


@pytest.mark.parametrize("region", [(0, 0, 0, 4), (-1, 0, 4, 4), (0, 0, 11, 4), (4, 4, 8, 2)])
def test_regions_outside_are_refused(region) -> None:
    with pytest.raises(ValueError, match="region must be inside the image, 10 x 8"):
        density_map([(1, 1)], 10, 8, Density(), region=region)


@pytest.mark.parametrize("bad", [[1.0, 2.0], [[1.0, 2.0, 3.0]], [[[1.0, 2.0]]]])
def test_points_of_another_shape_are_refused(bad) -> None:
    with pytest.raises(ValueError, match=r"points must be \(k, 2\)"):
        density_map(bad, 10, 10, Density())


@pytest.mark.parametrize("size", [(0, 5, 1), (5, 0, 1), (5, 5, 0)])
def test_sizes_below_one_are_refused(size) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        density_map([(1, 1)], size[0], size[1], Density(), size[2])


# ----- the cache ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapped", [False, True])
def test_cache_gives_the_same_map_again(tmp_path: Path, mapped: bool) -> None:
    cache, dots = DensityCache(tmp_path / "maps", mapped), crowd(30, 60, 50)
    first = cache(dots, 60, 50, Density(), 4)
    again = cache(dots, 60, 50, Density(), 4)
    assert torch.equal(first, again)
    assert torch.equal(first, density_map(dots, 60, 50, Density(), 4))
    again += 1  # never reaches the file
    assert torch.equal(first, cache(dots, 60, 50, Density(), 4))
    assert [path.suffix for path in (tmp_path / "maps").iterdir()] == [".npy"]


def test_cache_reads_what_is_there(tmp_path: Path) -> None:
    cache = DensityCache(tmp_path)
    cache(crowd(5, 20, 20), 20, 20, Density())
    np.save(cache.path(crowd(5, 20, 20), 20, 20, Density()), np.full((20, 20), 7, np.float32))
    assert float(cache(crowd(5, 20, 20), 20, 20, Density()).mean()) == 7


def test_cache_keeps_apart_what_differs(tmp_path: Path) -> None:
    cache, dots = DensityCache(tmp_path), crowd(5, 20, 20)
    paths = {
        cache.path(dots, 20, 20, Density()), cache.path(dots[:4], 20, 20, Density()),
        cache.path(dots + 0.001, 20, 20, Density()), cache.path(dots, 21, 20, Density()),
        cache.path(dots, 20, 21, Density()), cache.path(dots, 20, 20, Density(), 4),
        cache.path(dots, 20, 20, Density(border="zero")), cache.path(mirrored(dots, 20), 20, 20, Density()),
    }  # fmt: skip
    assert len(paths) == 8


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "shape", "pickle", "kind"])
def test_damaged_map_is_made_again(tmp_path: Path, damage: str, mapped: bool) -> None:
    cache, dots = DensityCache(tmp_path, mapped), crowd(9, 20, 30)
    right = cache(dots, 20, 30, Density()).clone()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage in ("shape", "kind", "pickle"):
        dtype = {"shape": np.float32, "kind": np.float64, "pickle": object}[damage]
        np.save(path, np.zeros((30, 21 if damage == "shape" else 20), dtype), allow_pickle=True)
    else:
        path.write_bytes({"cut": whole[:-1], "empty": b"", "text": b"no array"}[damage])
    assert torch.equal(cache(dots, 20, 30, Density()), right)
    assert path.read_bytes() == whole


def make_maps(folder: Path, count: int) -> None:
    for number in range(count):
        DensityCache(folder)(crowd(20, 40, 40, number), 40, 40, Density())


def test_processes_share_a_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=make_maps, args=(tmp_path, 8)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 8
    for number in range(8):
        dots = crowd(20, 40, 40, number)
        assert torch.equal(DensityCache(tmp_path)(dots, 40, 40, Density()), density_map(dots, 40, 40, Density()))


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        DensityCache(tmp_path)(crowd(5, 20, 20), 20, 20, Density())
    assert not list(tmp_path.iterdir())
