"""The two sources: one interface, the same randomness for a sample wherever and with whomever it is computed."""

import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tamis.data import FileImages, MemoryImages, PadCrop, ResizedCrop, UnreadableImage
from tamis.data.decode import Blobs, Files

COUNT = 23


def noise(width: int, height: int, seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def files(sizes: list[tuple[int, int]], augmentation=None) -> FileImages:
    blobs = [png(noise(width, height, seed)) for seed, (width, height) in enumerate(sizes)]
    keys = [f"k/{n}.png" for n in range(len(sizes))]
    labels = torch.arange(len(sizes)) % 3
    return FileImages(Blobs(blobs), labels, ("a", "b", "c"), keys, augmentation=augmentation or ResizedCrop(12))


def memory(count: int = COUNT, channels: int = 3) -> MemoryImages:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=generator)
    names = [str(n) for n in range(count)]
    return MemoryImages(images, torch.arange(count) % 3, ("a", "b", "c"), names, PadCrop(True, 2, "reflect"))


SMALL = [(8, 8)] * COUNT
SOURCES = {
    "memory": memory(),
    "grey": memory(channels=1),
    "resized": files([(8 + n, 30 - n) for n in range(COUNT)]),
    "cropped": files(SMALL, PadCrop(True, 2)),
}


def table(source, plan, epoch=1, seed=5, train=True) -> dict[int, torch.Tensor]:
    """Every sample's input by its index, with the targets checked on the way."""
    rows = {}
    for batch in source.batches(plan, epoch=epoch, seed=seed, train=train):
        assert torch.equal(batch.targets, source.labels[batch.index])
        assert batch.inputs.dtype == torch.float32
        rows.update(zip(batch.index.tolist(), batch.inputs, strict=True))
    return rows


def same(a: dict[int, torch.Tensor], b: dict[int, torch.Tensor]) -> bool:
    return all(torch.equal(a[n], b[n]) for n in a.keys() & b.keys())


WHOLE = {name: table(source, [torch.arange(COUNT)]) for name, source in SOURCES.items()}


@pytest.mark.parametrize("name", SOURCES)
@given(st.permutations(range(COUNT)), st.integers(1, COUNT))
@settings(max_examples=15, deadline=None)
def test_a_sample_is_augmented_alike_in_any_batch_and_order(name, order, size):
    assert same(WHOLE[name], table(SOURCES[name], torch.tensor(order).split(size)))


@pytest.mark.parametrize("name", ["resized", "cropped"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_sample_is_augmented_alike_by_any_number_of_workers(name, workers):
    source = SOURCES[name].with_workers(workers)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    plan = iter(torch.arange(COUNT).flip(0).split(5))
    assert same(WHOLE[name], table(source, plan))
    assert torch.equal(before, torch.get_rng_state())
    order = [b.index.tolist() for b in source.batches(torch.arange(9).split(2), epoch=0, seed=0, train=False)]
    assert order == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]


@pytest.mark.parametrize("name", SOURCES)
def test_epoch_and_seed_change_the_augmentation_and_evaluation_has_none(name):
    source, plan = SOURCES[name], [torch.arange(COUNT)]
    for other in (table(source, plan, epoch=2), table(source, plan, seed=6)):
        assert sum(not torch.equal(WHOLE[name][n], other[n]) for n in range(COUNT)) > COUNT / 2
    assert same(table(source, plan, epoch=0, train=False), table(source, plan, epoch=9, seed=1, train=False))


def test_global_randomness_is_neither_used_nor_changed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    table(SOURCES["memory"], [torch.arange(COUNT)])
    table(SOURCES["resized"], [torch.arange(COUNT)])
    assert torch.equal(before, torch.get_rng_state())


def test_memory_evaluation_is_the_plain_formula():
    source = SOURCES["memory"]
    rows = table(source, [torch.arange(COUNT)], train=False)
    values = source.images.double() / 255
    want = (values - values.mean((0, 2, 3), keepdim=True)) / values.std((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(torch.stack([rows[n] for n in range(COUNT)]).double(), want, atol=1e-5, rtol=0)


def test_files_in_memory_give_the_same_batches():
    source = files(SMALL, PadCrop(True, 2))
    small = source.in_memory()
    assert small is not None
    scaled = source.with_scale(small.mean, small.std)
    for train in (True, False):
        a, b = (table(s, [torch.arange(COUNT)], train=train) for s in (small, scaled))
        assert same(a, b)
    assert small.thumbnail(3).tobytes() == source.thumbnail(3).tobytes() == noise(8, 8, 3).tobytes()


def test_in_memory_declines_large_uneven_or_too_many_images():
    assert files([(65, 20)] * 2).in_memory() is None
    assert files([(8, 8), (8, 9)]).in_memory() is None
    assert files(SMALL).in_memory(limit=3 * 64 * COUNT - 1) is None
    small = files([(64, 40)]).in_memory()
    assert small is not None
    assert small.augmentation == PadCrop(True, 5)


@pytest.mark.parametrize("name", SOURCES)
def test_select_keeps_keys_labels_pictures_and_scale(name):
    source, index = SOURCES[name], torch.tensor([5, 2, 11])
    part = source.select(index)
    assert list(part.keys) == [source.keys[n] for n in (5, 2, 11)]
    assert part.labels.tolist() == source.labels[index].tolist()
    assert (part.mean, part.std, part.class_names) == (source.mean, source.std, source.class_names)
    assert part.thumbnail(0).tobytes() == source.thumbnail(5).tobytes()
    assert part.thumbnail(0).mode == "RGB"
    again = part.select(torch.tensor([2]))
    assert again.keys[0] == source.keys[11]
    assert again.thumbnail(0).tobytes() == source.thumbnail(11).tobytes()
    rows = table(source, [index], train=False)
    assert torch.equal(table(part, [torch.tensor([1])], train=False)[1], rows[2])


@pytest.mark.parametrize("name", SOURCES)
def test_with_labels(name):
    source = SOURCES[name]
    other = source.with_labels(torch.zeros(COUNT, dtype=torch.int64))
    assert other.labels.sum() == 0
    assert source.labels.sum() > 0
    assert next(iter(other.batches([torch.tensor([4])], epoch=0, seed=0, train=True))).targets.tolist() == [0]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.tensor([0, COUNT]), rf"index must be in \[0, {COUNT}\), the source's samples, got {COUNT}"),
        (torch.tensor([-1]), "got -1"),
        (torch.tensor([1.0]), "index must be int64"),
        (torch.tensor([[1]]), "index must be int64"),
        (torch.tensor([], dtype=torch.int64), "not empty"),
    ],
)
def test_wrong_positions(name, index, message):
    with pytest.raises(IndexError, match=message):
        list(SOURCES[name].batches([index], epoch=0, seed=0, train=False))
    with pytest.raises(IndexError, match=message):
        SOURCES[name].select(index)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(2, 3, 4, 4)}, "images must be uint8"),
        ({"images": torch.zeros(2, 4, 4, 4, dtype=torch.uint8)}, "images must be uint8"),
        ({"images": torch.zeros(0, 3, 4, 4, dtype=torch.uint8)}, "source must have at least one sample"),
        ({"labels": torch.tensor([0])}, "labels must be int64"),
        ({"labels": torch.tensor([0.0, 1.0])}, "labels must be int64"),
        ({"labels": torch.tensor([0, 2])}, r"label must be in \[0, 2\), the classes, got 2 for 'y'"),
        ({"labels": torch.tensor([-1, 0])}, "got -1 for 'x'"),
        ({"keys": ["x"]}, "keys must be one a sample"),
        ({"keys": ["x", "x"]}, "keys must be unique, got 'x' twice"),
        ({"mean": (0.5,)}, "mean and std must be 3 numbers"),
        ({"std": (0.5, 0.5, 0.0)}, "std must be above 0"),
    ],
)
def test_wrong_columns(changes, message):
    right = {
        "images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
        "labels": torch.tensor([0, 1]),
        "class_names": ("a", "b"),
        "keys": ["x", "y"],
    }
    MemoryImages(**right)
    with pytest.raises(ValueError, match=message):
        MemoryImages(**{**right, **changes})


def test_negative_workers_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 0"):
        files(SMALL).with_workers(-1)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_file_is_named_in_one_line(tmp_path, workers):
    noise(8, 8, 0).save(tmp_path / "good.png")
    (tmp_path / "bad <b>.png").write_bytes(png(noise(8, 8, 1))[:100])
    names = ["good.png", "bad <b>.png"]
    source = FileImages(Files(tmp_path, names), torch.tensor([0, 0]), ("a",), names, workers=workers)
    with pytest.raises(UnreadableImage, match=r"in 'bad <b>.png'; repair") as caught:
        list(source.batches([torch.tensor([0]), torch.tensor([0, 1])], epoch=0, seed=0, train=True))
    assert "\n" not in str(caught.value)


def test_pad_crop_needs_one_size():
    source = files([(8, 8), (8, 9)], PadCrop(True, 1))
    with pytest.raises(UnreadableImage, match=r"images must all have one size for PadCrop, got .* 'k/1.png'"):
        list(source.batches([torch.tensor([0, 1])], epoch=0, seed=0, train=True))


def test_one_image_of_one_pixel():
    source = files([(1, 1)], ResizedCrop(5))
    for train in (True, False):
        assert table(source, [torch.tensor([0])], train=train)[0].shape == (3, 5, 5)
    small = source.in_memory()
    assert small is not None
    assert table(small, [torch.tensor([0])])[0].shape == (3, 1, 1)


def test_sources_travel_to_other_processes():
    source = SOURCES["resized"]
    assert same(WHOLE["resized"], table(pickle.loads(pickle.dumps(source)), [torch.arange(COUNT)]))  # noqa: S301


def test_a_device_changes_nothing_but_the_place():
    moved = SOURCES["memory"].to("cpu").with_augmentation(PadCrop())
    assert same(table(moved, [torch.arange(COUNT)]), table(SOURCES["memory"], [torch.arange(COUNT)], train=False))


@pytest.mark.slow
def test_more_than_20_000_cifar_images_a_second_on_one_core():
    from time import process_time

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = torch.randint(0, 256, (20_000, 3, 32, 32), dtype=torch.uint8)
        names = [str(n) for n in range(20_000)]
        source = MemoryImages(images, torch.zeros(20_000, dtype=torch.int64), ("a",), names, PadCrop(True, 4))
        start = process_time()
        for _ in source.batches(torch.randperm(20_000).split(128), epoch=0, seed=0, train=True):
            pass
        assert process_time() - start < 1
    finally:
        torch.set_num_threads(threads)
