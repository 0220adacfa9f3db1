"""CIFAR's two published forms, and pickles that try to run code."""

import copyreg
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tamis.data.cifar import CIFAR10_CLASSES, find_cifar, load_plain, read_cifar
from tamis.data.folder import Split

COUNT = 4


def batch(seed: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (COUNT, 3072), dtype=np.uint8)
    return pixels, generator.integers(0, classes, COUNT, dtype=np.uint8)


def open_cifar(root: Path, split: Split = "train", **options):
    layout = find_cifar(root)
    assert layout is not None
    return read_cifar(layout, split, **options)


def write_binary10(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, stem in enumerate(["test_batch", *(f"data_batch_{n}" for n in range(1, 6))]):
        pixels, labels = batch(seed)
        (folder / f"{stem}.bin").write_bytes(np.hstack([labels[:, None], pixels]).tobytes())


def write_pickled10(folder: Path, protocol: int, binary_keys: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    key = str.encode if binary_keys else str
    for seed, stem in enumerate(["test_batch", *(f"data_batch_{n}" for n in range(1, 6))]):
        pixels, labels = batch(seed)
        content = {key("data"): pixels, key("labels"): labels.tolist(), key("filenames"): ["a.png"] * COUNT}
        (folder / stem).write_bytes(pickle.dumps(content, protocol=protocol))
    (folder / "batches.meta").write_bytes(pickle.dumps({key("label_names"): list(CIFAR10_CLASSES)}, protocol=protocol))


def check10(root: Path) -> None:
    train, held = open_cifar(root), open_cifar(root, "validation")
    assert train is not None
    assert held is not None
    want = np.concatenate([batch(seed)[0] for seed in range(1, 6)])
    assert torch.equal(train.images.flatten(1), torch.from_numpy(want))
    assert train.labels.tolist() == [int(n) for seed in range(1, 6) for n in batch(seed)[1]]
    assert held.labels.tolist() == batch(0)[1].tolist()
    assert train.class_names == held.class_names == CIFAR10_CLASSES
    assert train.keys[COUNT + 1] == "data_batch_2:00001"
    red = np.asarray(train.thumbnail(0))[:, :, 0]
    assert (red == want[0][:1024].reshape(32, 32)).all()


@pytest.mark.parametrize("subfolder", ["", "cifar-10-batches-bin"])
def test_cifar10_binary(tmp_path, subfolder):
    write_binary10(tmp_path / subfolder)
    check10(tmp_path)
    (tmp_path / subfolder / "test_batch.bin").unlink()
    assert open_cifar(tmp_path, "validation") is None


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("binary_keys", [True, False])
def test_cifar10_pickled(tmp_path, protocol, binary_keys):
    write_pickled10(tmp_path / "cifar-10-batches-py", protocol, binary_keys)
    check10(tmp_path)


def test_cifar100(tmp_path):
    pixels, fine = batch(7, 100)
    coarse = fine // 5
    for name in ("train", "test"):
        rows = np.hstack([coarse[:, None], fine[:, None], pixels])
        (tmp_path / f"{name}.bin").write_bytes(rows.tobytes())
    (tmp_path / "coarse_label_names.txt").write_text("\n".join(f"group{n}" for n in range(20)))
    source, groups = open_cifar(tmp_path), open_cifar(tmp_path, "validation", labels="coarse")
    assert source is not None
    assert groups is not None
    assert source.labels.tolist() == fine.tolist()
    assert groups.labels.tolist() == coarse.tolist()
    assert len(source.class_names) == 100
    assert groups.class_names[3] == "group3"

    other = tmp_path / "cifar-100-python"
    other.mkdir()
    content = {b"data": pixels, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
    for name in ("train", "test"):
        (other / name).write_bytes(pickle.dumps(content, protocol=2))
    meta = {b"fine_label_names": [f"f{n}".encode() for n in range(100)]}
    (other / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    pickled = open_cifar(other)
    assert pickled is not None
    assert torch.equal(pickled.images, source.images)
    assert pickled.class_names[42] == "f42"


def test_wrong_files(tmp_path):
    assert find_cifar(tmp_path) is None
    write_binary10(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    content = path.read_bytes()
    for wrong in (content[:-1], b""):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"file must be rows of 3073 bytes, got .* in 'data_batch_3.bin'"):
            open_cifar(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"must have five training files, got no 'data_batch_3.bin'"):
        open_cifar(tmp_path)


def test_pickle_without_the_fields(tmp_path):
    write_pickled10(tmp_path, 2, True)
    for content in ({b"data": 3}, {b"labels": [1, 2]}, {b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}):
        (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(ValueError, match=r"file must hold 'data' \(n, 3072\) and n 'labels'"):
            open_cifar(tmp_path)


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(canary: str) -> list[bytes]:
    touch = f"open({canary!r}, 'w').close()"
    calls = [
        Call(os.system, f"touch {canary}"),
        Call(eval, touch),
        Call(exec, touch),
        Call(open, canary, "w"),
        Call(getattr, os, "system"),
        Call(__import__, "os"),
        Call(np.load, canary),
        Call(np.fromfile, canary),
        Call(copyreg.__newobj__, Call),  # pyright: ignore[reportAttributeAccessIssue]
        Call(pickle.loads, b"cos\nsystem\n(S'true'\ntR."),
    ]
    written = []
    for call in calls:
        for protocol in (0, 2, 4):
            try:
                written.append(pickle.dumps({b"data": call}, protocol=protocol))
            except Exception:  # noqa: S112  (some cannot be pickled so)
                continue
    text = canary.encode()
    return [
        *written,
        b"cos\nsystem\n(S'touch " + text + b"'\ntR.",
        b"cposix\nsystem\n(S'touch " + text + b"'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(S'" + text + b"'\ntR.",
        b"cbuiltins\ngetattr\n(cnumpy\ndtype\nS'__init__'\ntR.",
        b"c_codecs\nencode\n(VABC\nS'rot13'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        b"P" + text + b"\n.",
    ]


def test_pickles_cannot_run_code(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "data_batch_1"
    hostile = attacks(str(canary))
    assert len(hostile) >= 20
    for content in hostile:
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"file must be a pickle of arrays and lists, got .* nothing in it was run"
        ):
            load_plain(path)
        assert not canary.exists()


@pytest.mark.parametrize("values", [np.zeros(3), np.array([None]), np.array(["x"]), np.zeros(2, "u1,u1")])
def test_arrays_of_anything_but_bytes_are_refused(tmp_path, values):
    (tmp_path / "x").write_bytes(pickle.dumps({b"data": values}, protocol=2))
    with pytest.raises(ValueError, match="an array is not of bytes"):
        load_plain(tmp_path / "x")


def test_column_order_is_kept(tmp_path):
    values = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    (tmp_path / "x").write_bytes(pickle.dumps({b"data": values}, protocol=2))
    assert (load_plain(tmp_path / "x")["data"] == values).all()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({b"a": 1})[:-3]])
def test_damaged_pickles_are_named(tmp_path, content):
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(ValueError, match="in 'batch'; nothing in it was run"):
        load_plain(tmp_path / "batch")
