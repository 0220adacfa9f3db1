"""Images with boxes as a source: what a model sees of them, and what has no influence on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tamis.batch import Batch
from tamis.data import BoxedImages, BoxSet, BoxViews, Quarantine, UnreadableImage
from tamis.data.box_views import scaled_boxes, scaled_pixels, seen_boxes, seen_pixels
from tamis.data.count_views import View, lit
from tamis.fit.protocols import Grouped
from tamis.fit.scoring import whole_plan
from tamis.moment import uniforms

SIZES = [(40, 32), (40, 32), (33, 47), (50, 20), (40, 32), (9, 11)]
LIVELY = BoxViews(zoom=0.6, brightness=0.4, contrast=0.4)
PLAIN = BoxViews(flip=False)


def some_boxes(count: int, width: float, height: float, seed: int = 0) -> np.ndarray:
    """Boxes with an area inside of an image."""
    random = np.random.default_rng(seed)
    first, second = random.random((2, count, 2)) * (width, height)
    least, most = np.minimum(first, second), np.maximum(first, second)
    return np.concatenate([least, np.maximum(most, least + 0.01)], 1).clip(0, (width, height) * 2).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path) -> BoxedImages:
    """Six images of four sizes with 0 to 5 boxes."""
    rng = np.random.default_rng(0)
    for place, (width, height) in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(tmp_path / f"{place}.png")
    boxes = tuple(some_boxes(place, *size, seed=place) for place, size in enumerate(SIZES))
    labels = tuple(np.arange(place) % 3 for place in range(len(SIZES)))
    names = tuple(f"{place}.png" for place in range(len(SIZES)))
    found = BoxSet(tmp_path, names, boxes, labels, np.array(SIZES), ("a", "b", "c"))
    return BoxedImages.from_boxes(found, views=LIVELY, size=(24, 16))


def batches(source: BoxedImages, plan, *, train: bool = True, epoch: int = 2, seed: int = 5) -> list[Batch]:
    return list(source.batches([torch.tensor([*each]) for each in plan], epoch=epoch, seed=seed, train=train))


def by_index(source: BoxedImages, found: list[Batch]) -> dict[int, tuple[Tensor, Tensor]]:
    """Image and boxes of each sample; what follows the boxes is padding."""
    rows = {}
    for batch in found:
        assert batch.targets.shape[1] == max((int(source.labels[index]) for index in batch.index), default=0)
        for index, image, targets in zip(batch.index.tolist(), batch.inputs, batch.targets, strict=True):
            count = int(source.labels[index])
            assert torch.equal(targets[count:], torch.tensor([0.0, 0, 0, 0, -1]).expand(len(targets) - count, 5))
            rows[index] = image, targets[:count]
    return rows


def assert_same(source: BoxedImages, one: list[Batch], other: list[Batch]) -> None:
    mine, yours = by_index(source, one), by_index(source, other)
    assert mine.keys() == yours.keys()
    for index, pair in mine.items():
        assert all(torch.equal(*each) for each in zip(pair, yours[index], strict=True)), index


def test_a_source_of_boxes(source: BoxedImages) -> None:
    assert isinstance(source, Grouped)
    assert source.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(source) == 6
    assert source.class_names == ("a", "b", "c")
    assert source.thumbnail(2).size == (33, 47)
    part = source.select(torch.tensor([4, 2]))
    assert part.keys == ["4.png", "2.png"]
    assert part.labels.tolist() == [4, 2]
    assert part.boxes_of(0) == source.boxes_of(4)
    assert part.with_labels(torch.tensor([4, 2])).with_scale((0.5,) * 3, (0.2,) * 3).mean == (0.5,) * 3
    assert part.with_size((8, 8)).with_workers(2).with_views(BoxViews()).size == (8, 8)


@pytest.mark.parametrize("size", [(24, 16), (40, 64), None])
def test_evaluation_sees_the_scaled_image_and_boxes(source: BoxedImages, size: tuple[int, int] | None) -> None:
    source = source.with_size(size)
    for index, (width, height) in enumerate(SIZES):
        (batch,) = batches(source, [[index]], train=False)
        across, down = size or (width, height)
        image = source.thumbnail(index).resize((across, down), Image.Resampling.BILINEAR)
        torch.testing.assert_close(
            batch.inputs[0], torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255, rtol=0, atol=1e-6
        )
        assert batch.inputs.dtype == batch.targets.dtype == torch.float32
        assert batch.targets.shape == (1, index, 5)
        boxes, classes = source.boxes_of(index)
        for row, box, label in zip(batch.targets[0].tolist(), boxes.tolist(), classes.tolist(), strict=True):
            x, y = across / width, down / height
            assert row == pytest.approx([box[0] * x, box[1] * y, box[2] * x, box[3] * y, label], rel=1e-6)
        truth = source.truth(index)
        assert torch.equal(truth.boxes, batch.targets[0, :, :4])
        assert torch.equal(truth.labels, batch.targets[0, :, 4].long())
        assert truth.scores.tolist() == [1.0] * index


def test_inputs_are_from_0_to_1(source: BoxedImages, tmp_path: Path) -> None:
    for value in (0, 255):
        Image.new("RGB", SIZES[0], (value,) * 3).save(tmp_path / "0.png")
        (batch,) = batches(source, [[0]], train=False)
        assert batch.inputs.unique().tolist() == [value / 255]
    (batch,) = batches(source.with_scale((0.5,) * 3, (0.25,) * 3), [[0]], train=False)
    assert batch.inputs.unique().tolist() == [2.0]


@pytest.mark.parametrize("views", [LIVELY, BoxViews(), PLAIN, BoxViews(flip=False, zoom=0.9)])
def test_training_sees_a_view_of_it(source: BoxedImages, views: BoxViews) -> None:
    """The part is cut out of the scaled image, and boxes go with it; light is tested for itself."""
    source = source.with_views(replace(views, brightness=0.0, contrast=0.0))
    mirrors, dropped = set(), 0
    for index in range(6):
        for epoch in range(20):
            (batch,) = batches(source, [[index]], epoch=epoch)
            draw = uniforms(5, epoch, torch.tensor([index]), "augmentation", 6)[0].tolist()
            left, top, right, bottom = (view := source.views.view(24, 16, draw)).box
            mirrors.add(view.mirror)
            assert 0 <= left < right <= 24
            assert 0 <= top < bottom <= 16
            image = source.thumbnail(index).resize((24, 16), Image.Resampling.BILINEAR)
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.mirror else image
            image = image.crop(view.box).resize((24, 16), Image.Resampling.BILINEAR)
            torch.testing.assert_close(
                batch.inputs[0], torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255, rtol=0, atol=1e-6
            )
            truth = source.truth(index)
            for row, box, label in zip(
                batch.targets[0].tolist(), truth.boxes.tolist(), truth.labels.tolist(), strict=True
            ):
                x1, y1, x2, y2 = box if not view.mirror else (24 - box[2], box[1], 24 - box[0], box[3])
                if not (left <= (x1 + x2) / 2 <= right and top <= (y1 + y2) / 2 <= bottom):
                    assert row == [0, 0, 0, 0, -1]
                    dropped += 1
                    continue
                x, y = 24 / (right - left), 16 / (bottom - top)
                moved = [(x1 - left) * x, (y1 - top) * y, (x2 - left) * x, (y2 - top) * y]
                clipped = [min(max(value, 0), side) for value, side in zip(moved, (24, 16, 24, 16), strict=True)]
                assert row == pytest.approx([*clipped, label], abs=1e-4)
    assert mirrors == ({True, False} if views.flip else {False})
    assert (dropped > 0) == (views.zoom > 0)


def test_light_is_that_of_counting(source: BoxedImages) -> None:
    views = BoxViews(flip=False, brightness=0.9, contrast=0.9)
    lively, plain = source.with_views(views), source.with_views(PLAIN)
    draw = uniforms(5, 2, torch.tensor([3]), "augmentation", 6)[0].tolist()
    view = views.view(24, 16, draw)
    assert view.box == (0, 0, 24, 16)
    (dark,), (bare,) = batches(lively, [[3]]), batches(plain, [[3]])
    torch.testing.assert_close(dark.inputs[0], lit(bare.inputs[0] * 255, view) / 255, rtol=0, atol=1e-6)
    assert not torch.equal(dark.inputs, bare.inputs)
    assert torch.equal(dark.targets, bare.targets)


def test_nothing_else_has_an_influence(source: BoxedImages) -> None:
    plan = [[0, 1, 2], [3, 4, 5]]
    expected = batches(source, plan)
    assert_same(source, expected, batches(source, [[5], [3, 1], [4, 0, 2]]))
    assert_same(source, expected, batches(source.with_workers(2), plan))
    assert_same(source, expected, batches(source.held(), plan))
    assert_same(source, expected, batches(source.held().with_workers(2), plan))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert_same(source, expected, batches(source, plan))
    finally:
        torch.set_num_threads(before)
    other = by_index(source, batches(source, plan, epoch=3))
    assert not any(torch.equal(image, other[index][0]) for index, (image, _) in by_index(source, expected).items())
    alike = batches(source, [[0, 1, 4]], train=False)
    assert_same(source, alike, batches(source, [[0, 1, 4]], train=False, epoch=9, seed=1))


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    count=st.integers(0, 6),
    seed=st.integers(0, 99),
    zoom=st.floats(0, 0.9),
    numbers=st.lists(st.floats(0, 1, exclude_max=True), min_size=6, max_size=6),
)
@settings(max_examples=100, deadline=None)
def test_boxes_in_view(size: tuple[int, int], count: int, seed: int, zoom: float, numbers: list[float]) -> None:
    (width, height), boxes = size, some_boxes(count, *size, seed)
    view = BoxViews(zoom=zoom).view(width, height, numbers)
    left, top, right, bottom = view.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    found, classes = seen_boxes(boxes, np.arange(count), width, height, view)
    assert (found.dtype, found.shape, classes.dtype) == (np.float32, (count, 4), np.int64)
    kept = classes >= 0
    assert (classes[kept] == np.arange(count)[kept]).all()
    assert not found[~kept].any()
    assert (found[kept] >= 0).all()
    assert (found[kept][:, 2:] <= size).all()
    assert (found[kept][:, 2:] > found[kept][:, :2]).all()
    if view.box == (0, 0, width, height):
        assert kept.all()
    pixels = np.zeros((height, width, 3), np.uint8)
    assert seen_pixels(pixels, view).shape == pixels.shape


@given(size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)), seed=st.integers(0, 99))
def test_twice_mirrored_is_as_before(size: tuple[int, int], seed: int) -> None:
    width, height = size
    boxes, classes = some_boxes(9, width, height, seed), np.arange(9)
    view = View((0, 0, width, height), mirror=True)
    once, labels = seen_boxes(boxes, classes, width, height, view)
    twice, labels = seen_boxes(once, labels, width, height, view)
    np.testing.assert_allclose(twice, boxes, rtol=0, atol=width * 1e-7)
    assert (labels == classes).all()
    assert (once[:, 2] - once[:, 0]).min() > 0
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    small = View((0, 0, 9, 7), mirror=True)
    assert (seen_pixels(seen_pixels(pixels, small), small) == pixels).all()


@given(
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    other=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    seed=st.integers(0, 99),
)
def test_scaled_boxes_keep_their_shares(size: tuple[int, int], other: tuple[int, int], seed: int) -> None:
    boxes = some_boxes(9, *size, seed)
    scaled = scaled_boxes(boxes, other[0] / size[0], other[1] / size[1])
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled / np.tile(other, 2), boxes / np.tile(size, 2), rtol=1e-6)
    back = scaled_boxes(scaled, size[0] / other[0], size[1] / other[1])
    np.testing.assert_allclose(back, boxes, rtol=1e-6)
    assert (scaled[:, 2:] <= np.array(other)).all()


def test_a_box_that_has_lost_its_area_is_not_seen() -> None:
    boxes = np.array([[5, 1, 5, 3], [5, 1, 6, 3]], np.float32)  # such as numbers of 32 bits may leave of a thin one
    found, classes = seen_boxes(boxes, np.array([1, 0]), 9, 7, View((0, 0, 9, 7)))
    assert found.tolist() == [[0, 0, 0, 0], [5, 1, 6, 3]]
    assert classes.tolist() == [-1, 0]


def test_an_image_of_its_size_is_not_touched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    assert scaled_pixels(pixels, 9, 7) is pixels


def test_what_may_share_a_batch(source: BoxedImages) -> None:
    assert source.groups(train=True) is None
    assert source.groups(train=False) is None
    assert [len(each) for each in whole_plan(source, 4)] == [4, 2]
    free = source.with_size(None)
    for train in (True, False):
        groups = free.groups(train)
        assert groups is not None
        assert [(groups == group).nonzero().flatten().tolist() for group in groups.unique()] == [
            [5],
            [2],
            [0, 1, 4],
            [3],
        ]
    assert free.select(torch.tensor([0, 1])).groups(train=False) is None
    (batch,) = batches(free, [[0, 4]])
    assert (batch.inputs.shape, batch.targets.shape) == ((2, 3, 32, 40), (2, 4, 5))
    for workers in (0, 2):
        with pytest.raises(ValueError, match=r"one size, got 40 x 32 in '1.png' and 33 x 47 in '2.png'; give a size"):
            batches(free.with_workers(workers), [[0], [1, 4, 2]], train=False)
    with pytest.raises(IndexError):
        batches(source, [[6]])


def test_images_without_boxes(source: BoxedImages) -> None:
    (batch,) = batches(source, [[0]])
    assert batch.targets.shape == (1, 0, 5)
    assert len(source.truth(0)) == 0


@pytest.mark.fault(15, "images with boxes that cannot be read, or have another size than their boxes, are left out")
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_left_out(source: BoxedImages, tmp_path: Path, held: bool, workers: int, seen) -> None:
    whole = by_index(source, batches(source, [[0, 1, 2, 3]]))
    (tmp_path / "1.png").write_bytes(b"nothing")
    Image.new("RGB", (32, 40)).save(tmp_path / "3.png")  # another size than when its boxes were read
    strict = replace(source.held() if held else source, workers=workers)
    with pytest.raises(UnreadableImage, match=r"1\.png"):
        batches(strict, [[0, 1, 2]])
    lenient = replace(strict, quarantine=Quarantine(2))
    first, second = batches(lenient, [[0, 1, 2], [3, 1]])
    assert first.index.tolist() == [0, 2]
    for index, pair in by_index(lenient, [first]).items():
        assert all(torch.equal(*each) for each in zip(pair, whole[index], strict=True))
    assert second.index.dtype == torch.int64
    assert (second.inputs.shape, second.targets.shape) == ((0, 3, 16, 24), (0, 0, 5))
    assert lenient.quarantine.reasons == {
        "1.png": "no known image format",
        "3.png": "32 x 40 pixels where its boxes are of 50 x 20",
    }
    seen("counted, named and left out of the batch")


def test_images_are_held_where_they_fit(source: BoxedImages, tmp_path: Path) -> None:
    part = source.select(torch.tensor([5, 0]))
    assert part.held(2 * 3 * 24 * 16 - 1) is part
    assert part.with_size(None).held(3 * (9 * 11 + 40 * 32) - 1).kept == {}
    held = part.held(2 * 3 * 24 * 16)
    expected = batches(part, [[0, 1]])
    for path in tmp_path.iterdir():
        path.unlink()
    assert_same(part, expected, batches(held, [[0, 1]]))
    assert [len(batch) for batch in batches(held.select(torch.tensor([1])), [[0]])] == [1]
    with pytest.raises(UnreadableImage):
        batches(held.with_size((9, 9)), [[0]])


def test_an_image_that_was_removed(source: BoxedImages) -> None:
    gone = replace(source, rows=torch.tensor([0, -1, 2, 3, 4, 5]), quarantine=Quarantine(1)).with_size(None)
    assert len(gone.truth(1)) == 0
    groups = gone.groups(train=False)
    assert groups is not None
    assert groups[1] == groups[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": torch.tensor([0, 1, 2, 3, 4, 6])}, "label must be the number of boxes, 5, got 6 for '5.png'"),
        ({"labels": torch.zeros(6)}, r"labels must be int64 \(6,\)"),
        ({"keys": ["a"] * 6}, "keys must be unique, got 'a' twice"),
        ({"size": (0, 3)}, r"size must be a width and height of at least 1 pixel, got \(0, 3\)"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0"),
        ({"sizes": np.zeros((5, 2), np.int64)}, r"sizes must be int64 \(6, 2\)"),
        ({"rows": torch.tensor([0, 1, 2, 3, 4, 6])}, r"rows must be in \[-1, 6\)"),
        ({"class_names": ("a", "b")}, r"class must be in \[0, 2\), the classes, got 2 for '3.png'"),
        ({"classes": [np.zeros(0, np.int64)] * 6}, r"classes must be int64 \(1,\), got int64 \(0,\) for '1.png'"),
        ({"classes": []}, "classes must be of 6 images"),
    ],
)
def test_wrong_arguments_are_refused(source: BoxedImages, wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(source, **wrong)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (
            (1, 2, 40.5, 8),
            r"box must have an area in the image of 40 x 32 pixels, got \[1.0, 2.0, 40.5, 8.0\] for '1.png'",
        ),
        ((-1, 2, 4, 8), "box must have an area"),
        ((4, 2, 4, 8), "box must have an area"),
        ((4, 9, 8, 8), "box must have an area"),
        ((float("nan"), 2, 4, 8), "box must have an area"),
        ((1, 2, 3), r"boxes must be float32 \(k, 4\), got float32 \(1, 3\) for '1.png'"),
    ],
)
def test_wrong_boxes_are_refused(source: BoxedImages, box, message: str) -> None:
    boxes = [*source.boxes]
    boxes[1] = np.array([box], np.float32)
    with pytest.raises(ValueError, match=message):
        replace(source, boxes=boxes)


@pytest.mark.parametrize("wrong", [{"zoom": 0.91}, {"zoom": -0.1}, {"brightness": 1.1}, {"contrast": float("nan")}])
def test_wrong_views_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be in"):
        BoxViews(**wrong)
