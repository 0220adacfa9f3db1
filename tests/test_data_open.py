"""Any layout is recognised by what is there; splits fit each other; a held-out part is stratified."""

import io
import struct
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tamis.data import FileImages, MemoryImages, PadCrop, ResizedCrop, held_out, hold_out, open_images, open_splits

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def png(value: int = 0, side: int = 4) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), value).save(file, "PNG")
    return file.getvalue()


def tree(root: Path, names: dict[str, int]) -> Path:
    for value, (name, side) in enumerate(names.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(50 * value, side))
    return root


def folder(root: Path) -> Path:
    return tree(root, {"train/a/1.png": 4, "train/b/2.png": 4, "val/b/3.png": 4})


def archive(root: Path) -> Path:
    with tarfile.open(root / "x.tar.gz", "w:gz") as file:
        file.add(folder(root / "unpacked"), ".")
    return root / "x.tar.gz"


def csv(root: Path) -> Path:
    folder(root)
    lines = ["path,label,split", "train/a/1.png,a,train", "train/b/2.png,b,train", "val/b/3.png,b,val"]
    (root / "x.csv").write_text("\n".join(lines))
    return root / "x.csv"


def parquet(root: Path) -> Path:
    pq.write_table(pa.table({"image": [png(0), png(50)], "label": ["a", "b"]}), root / "train-0.parquet")
    pq.write_table(pa.table({"image": [png(100)], "label": ["b"]}), root / "test-0.parquet")
    return root


def idx(root: Path) -> Path:
    for stem, values in (("train", [0, 50]), ("t10k", [100])):
        pixels = b"".join(bytes([value] * 16) for value in values)
        labels = [0, 1] if stem == "train" else [1]
        (root / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, len(values), 4, 4) + pixels)
        (root / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, len(values)) + bytes(labels))
    return root


def webvision(root: Path) -> Path:
    tree(root, {"google/1.png": 4, "google/2.png": 4, "val_images_256/3.png": 4})
    (root / "info").mkdir()
    (root / "info" / "train_filelist_google.txt").write_text("google/1.png 0\ngoogle/2.png 1\n")
    (root / "info" / "val_filelist.txt").write_text("3.png 1\n")
    return root


@pytest.mark.parametrize("make", [folder, archive, csv, parquet, idx, webvision])
def test_every_layout_gives_the_same_splits(tmp_path, make):
    path = make(tmp_path)
    train, held = open_splits(path)
    assert isinstance(train, MemoryImages)
    assert isinstance(held, MemoryImages)
    assert train.images[:, 0, 0, 0].tolist() == [0, 50]
    assert held.images[:, 0, 0, 0].tolist() == [100]
    assert train.labels.tolist() == [0, 1]
    assert held.labels.tolist() == [1]
    assert (held.mean, held.std) == (train.mean, train.std)
    assert len(set(train.keys) | set(held.keys)) == 3
    single = open_images(str(path), "validation")
    assert isinstance(single, MemoryImages)
    assert torch.equal(single.images, held.images)


def test_large_images_stay_in_files(tmp_path):
    tree(tmp_path, {"train/a/1.png": 65, "train/b/2.png": 80, "val/a/3.png": 4})
    train, held = open_splits(tmp_path, size=9, workers=0)
    assert isinstance(train, FileImages)
    assert isinstance(held, FileImages)  # its own images are small, but training has others
    assert train.augmentation == held.augmentation == ResizedCrop(9)
    batch = next(held.batches([torch.tensor([0])], epoch=0, seed=0, train=False))
    assert batch.inputs.shape == (1, 3, 9, 9)


def test_splits_of_two_small_sizes_stay_in_files(tmp_path):
    tree(tmp_path, {"train/a/1.png": 4, "val/a/3.png": 5})
    assert all(isinstance(source, FileImages) for source in open_splits(tmp_path))


def test_no_validation_split(tmp_path):
    tree(tmp_path, {"a/1.png": 8, "b/2.png": 8})
    train, held = open_splits(tmp_path)
    assert held is None
    assert isinstance(train, MemoryImages)
    assert train.augmentation == PadCrop(flip=True, pad=1)
    assert open_images(tmp_path, "validation") is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"data must be one of <class>/, train/<class>/, .* got no image in '.*', which holds nothing"),
        (["a.txt", "b/c.doc"], "which holds 'a.txt', 'b'"),
        ([f"{n}.txt" for n in range(9)], "'4.txt', ..."),
        (["x.parquet", "y.parquet"], "which holds 'x.parquet', 'y.parquet'"),
    ],
)
def test_what_was_looked_for_and_what_was_found(tmp_path, names, message):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=message) as caught:
        open_images(tmp_path)
    assert "\n" not in str(caught.value)


def test_wrong_places(tmp_path):
    with pytest.raises(ValueError, match=r"data must be a folder or a file, got .* which does not exist"):
        open_images(tmp_path / "no")
    (tmp_path / "x.bin").write_text("x")
    with pytest.raises(ValueError, match=r"data must be one of .*, got the file '.*x.bin'"):
        open_images(tmp_path / "x.bin")
    with pytest.raises(ValueError, match="split must be 'train' or 'validation', got 'test'"):
        open_images(tmp_path, "test")  # pyright: ignore[reportArgumentType, reportCallIssue]
    (tmp_path / "x.csv").write_text("path,label,split\na.png,0,val\n")
    tree(tmp_path, {"a.png": 4})
    with pytest.raises(ValueError, match="data must have a training split, got none in"):
        open_images(tmp_path / "x.csv")


def test_an_unreadable_small_image_is_named(tmp_path):
    tree(tmp_path, {"a/1.png": 8})
    (tmp_path / "a" / "2.png").write_bytes(png()[:30])
    with pytest.raises(ValueError, match=r"in 'a/2.png'"):
        open_images(tmp_path)


def source_of(labels: list[int]) -> MemoryImages:
    names = tuple(str(n) for n in range(max(labels) + 1))
    images = torch.arange(len(labels)).to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    return MemoryImages(images, torch.tensor(labels), names, [f"k{n}" for n in range(len(labels))])


@given(st.lists(st.integers(0, 4), min_size=12, max_size=80), st.floats(0.15, 0.85), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_held_out_parts_are_stratified(labels, ratio, seed):
    given_labels = torch.tensor(labels)
    chosen = held_out(given_labels, ratio, seed)
    assert torch.equal(chosen, held_out(given_labels, ratio, seed))
    total, taken = torch.bincount(given_labels), torch.bincount(given_labels[chosen], minlength=5)
    for label, count in enumerate(total.tolist()):
        if count:
            assert taken[label] <= count - 1  # something is left to learn from
            assert abs(int(taken[label]) - ratio * count) <= 2


def test_hold_out():
    source = source_of([n % 4 for n in range(100)])
    train, held = hold_out(source, 0.25, 3)
    assert (len(train), len(held)) == (75, 25)
    assert sorted([*train.keys, *held.keys]) == sorted(source.keys)
    assert list(train.keys) == sorted(train.keys, key=lambda key: int(key[1:]))
    assert train.mean == held.mean == source.mean
    assert sorted(torch.bincount(held.labels).tolist()) == [6, 6, 6, 7]
    other = hold_out(source, 0.25, 4)[1]
    assert list(other.keys) != list(held.keys)


def test_hold_out_of_nothing():
    for ratio in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"ratio must be in \(0, 1\)"):
            hold_out(source_of([0, 1]), ratio, 0)
    with pytest.raises(ValueError, match=r"ratio must leave a sample for validation, got 0.9 of 1 samples"):
        hold_out(source_of([0]), 0.9, 0)


def test_a_class_number_without_samples():
    assert held_out(torch.tensor([0, 0, 3, 3]), 0.5, 0).sum() == 2


def test_importing_the_data_loads_nothing_optional():
    import subprocess

    code = "import sys, tamis.data; print([m for m in ('cyclopts', 'jinja2', 'sklearn', 'timm') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "cifar10_jpeg.tar.xz").exists(), reason="needs ../shared/data/cifar10_jpeg.tar.xz")
def test_cifar10_as_jpegs():
    source = open_images(SHARED / "cifar10_jpeg.tar.xz", "validation")
    assert isinstance(source, MemoryImages)
    assert source.images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(source.labels).tolist() == [1000] * 10
    assert source.keys[1234] == "test/automobile/0234.jpg"
    assert np.allclose(source.mean, (0.49, 0.48, 0.45), atol=0.02)
