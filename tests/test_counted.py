"""Images with points: views and maps against a slow reference, and what must have no influence on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from reference_source import padded_cells, padded_view
from tamis.batch import Batch
from tamis.data import CountedImages, CountViews, Density, DensityCache, PointSet, Quarantine, UnreadableImage
from tamis.data.count_views import View, lit, seen_density
from tamis.data.decode import Files
from tamis.data.density import density_map
from tamis.moment import uniforms

SIZES = [(40, 32), (40, 32), (33, 47), (50, 20), (40, 32), (9, 11)]
LIVELY = CountViews(patch=24, brightness=0.4, contrast=0.4)
# A wide Gaussian, so that mass leaks over every border.
WIDE = Density(3.0)


def heads(count: int, width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 2)) * (width, height)


@pytest.fixture
def source(tmp_path: Path) -> CountedImages:
    """Six images of four sizes with 0 to 5 heads."""
    rng = np.random.default_rng(0)
    for place, (width, height) in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(tmp_path / f"{place}.png")
    points = tuple(heads(place, *size, seed=place) for place, size in enumerate(SIZES))
    names = tuple(f"{place}.png" for place in range(len(SIZES)))
    found = PointSet(tmp_path, names, points, np.array(SIZES), ())
    return CountedImages.from_points(found, density=WIDE, stride=4, views=LIVELY)


def batches(source: CountedImages, plan, *, train: bool = True, epoch: int = 2, seed: int = 5) -> list[Batch]:
    return list(source.batches([torch.tensor([*each]) for each in plan], epoch=epoch, seed=seed, train=train))


def by_index(found: list[Batch]) -> dict[int, tuple[Tensor, Tensor]]:
    return {
        int(index): (image, cells)
        for batch in found
        for index, image, cells in zip(batch.index, batch.inputs, batch.targets, strict=True)
    }


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    mine, yours = by_index(one), by_index(other)
    assert mine.keys() == yours.keys()
    for index, pair in mine.items():
        assert all(torch.equal(*each) for each in zip(pair, yours[index], strict=True)), index


def test_a_source_of_counts(source: CountedImages) -> None:
    assert source.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(source) == 6
    assert source.class_names == ()
    assert source.thumbnail(2).size == (33, 47)
    assert source.points_of(3).shape == (3, 2)
    part = source.select(torch.tensor([4, 2]))
    assert part.keys == ["4.png", "2.png"]
    assert part.labels.tolist() == [4, 2]
    assert np.array_equal(part.points_of(0), source.points_of(4))
    assert part.with_labels(torch.tensor([4, 2])).with_scale((0.5,) * 3, (0.2,) * 3).mean == (0.5,) * 3
    assert part.with_stride(8).with_workers(2).with_views(CountViews()).stride == 8


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize(
    "views", [LIVELY, CountViews(), CountViews(patch=30, contrast=1.0), CountViews(10, flip=False)]
)
@pytest.mark.parametrize("train", [True, False])
def test_views_and_maps_are_those_of_the_reference(
    source: CountedImages, views: CountViews, stride: int, train: bool
) -> None:
    source, mirrors = source.with_stride(stride).with_views(views), set()
    for index, (width, height) in enumerate(SIZES):
        (batch,) = batches(source, [[index]], train=train)
        view = View((0, 0, width, height))
        if train:
            draw = uniforms(5, 2, torch.tensor([index]), "augmentation", 5)[0].tolist()
            view = views.view(width, height, draw)
        mirrors.add(view.mirror)
        side = (views.patch, views.patch) if train and views.patch else (width, height)
        across, down = (-(-each // stride) * stride for each in side)
        assert batch.inputs.shape == (1, 3, down, across)
        assert batch.targets.shape == (1, 1, down // stride, across // stride)
        rows = np.asarray(source.thumbnail(index)).tolist()
        expected = padded_view(rows, *view, source.mean, source.std, down, across)
        torch.testing.assert_close(batch.inputs[0], torch.tensor(expected), rtol=0, atol=2e-5)
        density = density_map(source.points_of(index), width, height, WIDE).tolist()
        cells = padded_cells(density, view.box, view.mirror, stride, down, across)
        torch.testing.assert_close(batch.targets[0, 0], torch.tensor(cells), rtol=0, atol=1e-6)
    assert mirrors == ({True, False} if train and views.flip else {False})


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    count=st.integers(0, 12),
    patch=st.integers(0, 50),
    stride=st.integers(1, 9),
    numbers=st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_heads_are_neither_lost_nor_made(size, count: int, patch: int, stride: int, numbers) -> None:
    (width, height), points = size, heads(count, *size)
    view = CountViews(patch).view(width, height, numbers)
    left, top, right, bottom = view.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (right - left, bottom - top) == (min(patch or width, width), min(patch or height, height))
    cells = seen_density(points, width, height, view, WIDE, stride)
    assert cells.shape == (-(-(bottom - top) // stride), -(-(right - left) // stride))
    assert float(cells.min()) >= 0
    if patch == 0 or patch >= max(size):
        assert float(cells.sum()) == pytest.approx(count, abs=1e-4)
    else:
        assert float(cells.sum()) < count + 1e-4


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    "box",
    [(0, 0, 34, 27), (8, 4, 24, 20), (8, 3, 24, 19), (5, 4, 21, 20), (6, 2, 22, 18), (8, 4, 23, 20), (8, 4, 24, 19)],
)
def test_cells_begin_at_the_corner_of_the_view(box: tuple[int, int, int, int], mirror: bool) -> None:
    points = heads(9, 34, 27)
    expected = padded_cells(density_map(points, 34, 27, WIDE).tolist(), box, mirror, 4, 28, 36)
    cells = seen_density(points, 34, 27, View(box, mirror), WIDE, 4)
    high, wide = cells.shape
    torch.testing.assert_close(cells, torch.tensor(expected)[:high, :wide], rtol=0, atol=1e-6)
    assert not torch.tensor(expected)[high:].any()
    assert not torch.tensor(expected)[:, wide:].any()


def test_parts_of_an_image_share_its_heads() -> None:
    points = heads(9, 32, 24)
    whole = density_map(points, 32, 24, WIDE, 4)
    parts = [seen_density(points, 32, 24, View((left, 0, left + 16, 24)), WIDE, 4) for left in (0, 16)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-6)
    # Also where the parts meet between two cells of the whole.
    parts = [seen_density(points, 32, 24, View((*box, 24)), WIDE, 4) for box in ((0, 0, 13), (13, 0, 32))]
    assert sum(float(part.sum()) for part in parts) == pytest.approx(9, abs=1e-4)


def test_light_is_that_of_torchvision() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    image = torch.rand(3, 20, 30) * 255
    for brightness, contrast in ((0.5, 1.0), (1.6, 1.0), (1.0, 0.3), (1.0, 1.9), (1.4, 0.6)):
        view = View((0, 0, 30, 20), brightness=brightness, contrast=contrast)
        expected = functional.adjust_contrast(functional.adjust_brightness(image / 255, brightness), contrast)
        torch.testing.assert_close(lit(image.clone(), view) / 255, expected, rtol=0, atol=1e-5)


def test_nothing_else_has_an_influence(source: CountedImages) -> None:
    plan = [[0, 1, 2], [3, 4, 5]]
    expected = batches(source, plan)
    assert_same(expected, batches(source, [[5], [3, 1], [4, 0, 2]]))
    assert_same(expected, batches(source.with_workers(2), plan))
    assert_same(expected, batches(source.held(), plan))
    assert_same(expected, batches(source.held().with_workers(2), plan))
    assert_same(expected, batches(replace(source, points=[each[::-1] for each in source.points]), plan))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert_same(expected, batches(source, plan))
    finally:
        torch.set_num_threads(before)
    other = by_index(batches(source, plan, epoch=3))
    assert not any(torch.equal(image, other[index][0]) for index, (image, _) in by_index(expected).items())
    alike = batches(source, [[0, 1, 4]], train=False)
    assert_same(alike, batches(source, [[0, 1, 4]], train=False, epoch=9, seed=1))


def test_a_cache_changes_nothing(source: CountedImages, tmp_path: Path) -> None:
    source, cache = source.with_views(CountViews()), DensityCache(tmp_path / "maps")
    cached = replace(source, cache=cache)
    for train in (True, False):
        plan = [[index] for index in range(6)]
        expected = batches(source, plan, train=train)
        assert_same(expected, batches(cached, plan, train=train))
        assert_same(expected, batches(cached.with_workers(2), plan, train=train))
    # As they are and mirrored; without heads both are one.
    assert 6 < len(list(cache.folder.iterdir())) <= 11
    patches = source.with_views(LIVELY)
    assert_same(batches(patches, [range(6)]), batches(replace(patches, cache=cache), [range(6)]))


def test_large_images_do_not_depend_on_threads(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (300, 401, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    sizes, labels = np.array([(401, 300)]), torch.tensor([90])
    views = CountViews(patch=0, brightness=0.3, contrast=0.3)
    for density in (Density(5.0), Density("adaptive")):
        source = CountedImages(
            Files(tmp_path, ["0.png"]), [heads(90, 401, 300)], sizes, labels, ["0"], density=density, views=views
        )
        before = torch.get_num_threads()
        try:
            found = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                found.append(batches(source, [[0]]) + batches(source.with_views(CountViews(257)), [[0]]))
        finally:
            torch.set_num_threads(before)
        for one, two in zip(*found, strict=True):
            assert_same([one], [two])


def test_what_may_share_a_batch(source: CountedImages) -> None:
    assert source.groups(train=True) is None
    groups = source.groups(train=False)
    assert groups is not None
    # Padded to multiples of 4: 40 x 32, 36 x 48, 52 x 20 and 12 x 12.
    assert [(groups == group).nonzero().flatten().tolist() for group in groups.unique()] == [[5], [2], [0, 1, 4], [3]]
    whole = source.with_views(CountViews())
    assert torch.equal(whole.groups(train=True), groups)  # pyright: ignore[reportArgumentType]
    assert source.select(torch.tensor([0, 1])).groups(train=False) is None
    # 33 x 47 and 40 x 32 are alike in cells of 64.
    assert source.with_stride(64).groups(train=False) is None
    for workers in (0, 2):
        with pytest.raises(ValueError, match=r"40 x 32 in '1.png' and 36 x 48 in '2.png'; take a patch"):
            batches(source.with_workers(workers), [[0], [1, 4, 2]], train=False)
    with pytest.raises(IndexError):
        batches(source, [[6]])


@pytest.mark.parametrize("form", ["L", "I;16", "LA", "palette"])
def test_grey_images_become_rgb(source: CountedImages, tmp_path: Path, form: str) -> None:
    values = np.arange(40 * 32, dtype=np.uint16).reshape(32, 40) * 51
    grey = (values >> 8).astype(np.uint8)
    made = {
        "L": Image.fromarray(grey),
        "I;16": Image.fromarray(values),
        "LA": Image.fromarray(np.stack([grey, np.full_like(grey, 255)], 2), "LA"),
        "palette": Image.fromarray(grey).convert("P"),
    }
    made[form].save(tmp_path / "0.png")
    (batch,) = batches(source.with_scale((0.0,) * 3, (1 / 255,) * 3), [[0]], train=False)
    torch.testing.assert_close(batch.inputs[0], torch.from_numpy(grey).float().expand(3, -1, -1), rtol=0, atol=1e-4)


def test_an_image_that_lies_on_its_side(source: CountedImages, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 40)).save(tmp_path / "0.png", exif=exif)  # upright it is 40 x 32
    assert batches(source, [[0]], train=False)[0].inputs.shape == (1, 3, 32, 40)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_left_out(source: CountedImages, tmp_path: Path, held: bool, workers: int) -> None:
    whole = by_index(batches(source, [[0, 1, 2, 3]]))
    (tmp_path / "1.png").write_bytes(b"nothing")
    Image.new("RGB", (32, 40)).save(tmp_path / "3.png")  # another size than when its points were read
    strict = replace(source.held() if held else source, workers=workers)
    with pytest.raises(UnreadableImage, match=r"1\.png"):
        batches(strict, [[0, 1, 2]])
    lenient = replace(strict, quarantine=Quarantine(2))
    first, second = batches(lenient, [[0, 1, 2], [3, 1]])
    assert first.index.tolist() == [0, 2]
    assert_same([first], [Batch(torch.tensor([0, 2]), *(torch.stack([whole[i][j] for i in (0, 2)]) for j in (0, 1)))])
    assert second.index.dtype == torch.int64
    assert (second.inputs.shape, second.targets.shape) == ((0, 3, 24, 24), (0, 1, 6, 6))
    assert lenient.quarantine.reasons == {
        "1.png": "no known image format",
        "3.png": "32 x 40 pixels where its points are of 50 x 20",
    }


def test_images_are_held_where_they_fit(source: CountedImages, tmp_path: Path) -> None:
    part = source.select(torch.tensor([5, 0]))
    taken = 3 * (9 * 11 + 40 * 32)
    assert part.held(taken - 1) is part
    held = part.held(taken)
    for path in tmp_path.iterdir():
        path.unlink()
    assert [len(batch) for batch in batches(held, [[0, 1]])] == [2]
    assert [len(batch) for batch in batches(held.select(torch.tensor([1])), [[0]])] == [1]
    with pytest.raises(UnreadableImage):
        batches(part, [[0]])


def test_an_image_of_unknown_size_is_with_the_others(source: CountedImages) -> None:
    sizes = source.sizes.copy()
    sizes[0] = 0
    unknown = replace(source, sizes=sizes, quarantine=Quarantine(1)).select(torch.tensor([0, 1, 4]))
    assert unknown.groups(train=False) is None
    (batch,) = batches(unknown, [[0, 1, 2]], train=False)
    assert batch.index.tolist() == [1, 2]
    assert [len(batch) for batch in batches(unknown.select(torch.tensor([0])), [[0]], train=False)] == [0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": torch.tensor([0, 1, 2, 3, 4, 6])}, "label must be the number of points, 5, got 6 for '5.png'"),
        ({"labels": torch.zeros(6)}, r"labels must be int64 \(6,\)"),
        ({"keys": ["a"] * 6}, "keys must be unique, got 'a' twice"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0"),
        ({"sizes": np.zeros((5, 2), np.int64)}, r"sizes must be int64 \(6, 2\)"),
        ({"rows": torch.tensor([0, 1, 2, 3, 4, 6])}, r"rows must be in \[-1, 6\)"),
    ],
)
def test_wrong_arguments_are_refused(source: CountedImages, wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(source, **wrong)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((40.0, 33.1), r"points must be in the image of 40 x 32 pixels, got \[40.0, 33.1\] for '1.png'"),
        ((-0.1, 3.0), "points must be in the image"),
        ((float("nan"), 3.0), "points must be in the image"),
        ((1.0, 2.0, 3.0), r"points must be float64 \(k, 2\), got float64 \(1, 3\) for '1.png'"),
    ],
)
def test_wrong_points_are_refused(source: CountedImages, point, message: str) -> None:
    points = [*source.points]
    points[1] = np.array([point])
    with pytest.raises(ValueError, match=message):
        replace(source, points=points)


@pytest.mark.parametrize("wrong", [{"patch": -1}, {"brightness": 1.1}, {"contrast": -0.1}])
def test_wrong_views_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        CountViews(**wrong)
