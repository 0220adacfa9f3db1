"""Folders, archives, idx, Parquet and CSV, on files made in the published formats."""

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tamis.data.archive import is_archive, read_archive
from tamis.data.folder import arrange, read_folder, read_webvision
from tamis.data.idx import find_idx, read_idx
from tamis.data.parquet import read_parquet
from tamis.data.table import read_table


def png(value: int = 0, side: int = 4) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), value).save(file, "PNG")
    return file.getvalue()


def tree(root: Path, names: list[str]) -> Path:
    for value, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(value))
    return root


def rows(source) -> list[tuple[str, str]]:
    return [(key, source.class_names[label]) for key, label in zip(source.keys, source.labels.tolist(), strict=True)]


def grey(source, position: int) -> int:
    """The one value of a sample's image, the same in all channels."""
    values = np.unique(np.asarray(source.thumbnail(position)))
    assert len(values) == 1
    return int(values[0])


# folders


def test_class_folders(tmp_path):
    names = ["dog/b.png", "cat/z.png", "cat/deep/er/a.PNG", "stray.png", "dog/notes.txt", ".git/x.png", "cat/.y.png"]
    source = read_folder(tree(tmp_path, names))
    assert source is not None
    assert rows(source) == [("cat/deep/er/a.PNG", "cat"), ("cat/z.png", "cat"), ("dog/b.png", "dog")]
    assert grey(source, 1) == 1
    assert read_folder(tmp_path, "validation") is None


@pytest.mark.parametrize("validation", ["val", "validation", "valid", "test"])
def test_splits(tmp_path, validation):
    names = ["train/n02/a.png", "train/n01/b.png", f"{validation}/n02/a.png", "extra/c/d.png", "train/stray.png"]
    tree(tmp_path, names)
    train, held = read_folder(tmp_path), read_folder(tmp_path, "validation")
    assert train is not None
    assert held is not None
    assert rows(train) == [("train/n01/b.png", "n01"), ("train/n02/a.png", "n02")]
    assert rows(held) == [(f"{validation}/n02/a.png", "n02")]
    assert held.class_names == ("n01", "n02")


def test_validation_wins_over_test():
    names = ["train/a/1.png", "test/a/2.png", "val/a/3.png"]
    arranged = arrange(names, "validation", "x")
    assert arranged is not None
    assert arranged.names == ["val/a/3.png"]


def test_train_may_be_the_name_of_a_class(tmp_path):
    source = read_folder(tree(tmp_path, ["train/1.png", "bus/2.png"]))
    assert source is not None
    assert source.class_names == ("bus", "train")
    assert read_folder(tmp_path, "validation") is None


def test_one_class_one_image(tmp_path):
    source = read_folder(tree(tmp_path, ["only/one.png"]))
    assert source is not None
    assert rows(source) == [("only/one.png", "only")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "data must have one folder of images for each class .*, got no images in"),
        (["a.png", "b.png"], "got 2 images outside of folders"),
        (["train/a/1.png", "val/b/2.png"], "validation classes must be among the 1 .*, got 'b'"),
        (["test/a/1.png"], r"data must have train/<class>/ beside the other splits, got \['test'\]"),
    ],
)
def test_wrong_folders(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        read_folder(tree(tmp_path, names), "validation")


def test_hostile_names_are_only_names(tmp_path):
    names = ["a/</script><img onerror=1>.png".replace("/script", "script"), "a/$(touch x);`y`.png", "a/new\nline.png"]
    names += ["=cmd()/-rf.png", "é/ü 雪.png"]
    source = read_folder(tree(tmp_path, names))
    assert source is not None
    assert sorted(source.keys) == sorted(names)
    for position in range(len(source)):
        source.thumbnail(position)


def test_a_name_that_is_not_utf8(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    try:
        (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png"))).write_bytes(png(9))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = read_folder(tmp_path)
    assert source is not None
    assert source.keys[0] == "a/\\xff.png"
    assert grey(source, 0) == 9


def test_links_in_a_circle_end(tmp_path):
    tree(tmp_path, ["a/1.png"])
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    source = read_folder(tmp_path)
    assert source is not None
    assert list(source.keys) == ["a/1.png"]


def test_webvision(tmp_path):
    tree(tmp_path, ["google/q1/a b.jpg", "flickr/q2/b.jpg", "val_images_256/v1.jpg"])
    info = tmp_path / "info"
    info.mkdir()
    (info / "train_filelist_google.txt").write_text("google/q1/a b.jpg 1\n\n")
    (info / "train_filelist_flickr.txt").write_text("flickr/q2/b.jpg 0\n")
    (info / "val_filelist.txt").write_text("v1.jpg 1\n")
    train, held = read_webvision(tmp_path), read_webvision(tmp_path, "validation")
    assert train is not None
    assert held is not None
    assert rows(train) == [("flickr/q2/b.jpg", "0"), ("google/q1/a b.jpg", "1")]
    assert rows(held) == [("val_images_256/v1.jpg", "1")]
    assert grey(held, 0) == 2
    (info / "synsets.txt").write_text("n01 tench, Tinca tinca\nn02 goldfish\n")
    named = read_webvision(tmp_path)
    assert named is not None
    assert named.class_names == ("tench, Tinca tinca", "goldfish")
    (info / "val_filelist.txt").unlink()
    assert read_webvision(tmp_path, "validation") is None


@pytest.mark.parametrize("line", ["../../etc/x.jpg 0", "a.jpg", "a.jpg one", "a.jpg -1", "/abs.jpg 0"])
def test_wrong_webvision_lines(tmp_path, line):
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "train_filelist_google.txt").write_text(f"ok.jpg 0\n{line}\n")
    with pytest.raises(ValueError, match=r"in train_filelist_google.txt:2"):
        read_webvision(tmp_path)


# archives

ENTRIES = {"./train/cat/0001.png": png(1), "./train/cat/0000.png": png(0), "./train/dog/0.png": png(2)}
ENTRIES |= {"./test/dog/0.png": png(3), "./train/README.txt": b"hello"}


def pack(path: Path, entries: dict[str, bytes], mode: str = "w") -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, mode) as archive:  # pyright: ignore[reportArgumentType, reportCallIssue]
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.xz", "w:xz"), ("a.tgz", "w:gz"), ("a.zip", "")])
@pytest.mark.parametrize("outer", ["", "CIFAR-10-images-master/"])
def test_archives(tmp_path, name, mode, outer):
    entries = {f"{outer}{key[2:]}" if outer else key: value for key, value in ENTRIES.items()}
    path = pack(tmp_path / name, entries, mode)
    assert is_archive(path)
    train, held = read_archive(path), read_archive(path, "validation")
    assert train is not None
    assert held is not None
    want = [("train/cat/0000.png", "cat"), ("train/cat/0001.png", "cat"), ("train/dog/0.png", "dog")]
    assert rows(train) == want
    assert [grey(train, n) for n in range(3)] == [0, 1, 2]
    assert rows(held) == [("test/dog/0.png", "dog")]
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize("suffix", ["tar", "zip"])
@pytest.mark.parametrize("name", ["../evil/a.png", "/evil/a.png", "a/../../b.png", "C:/evil/a.png"])
def test_entries_that_lead_out_are_refused(tmp_path, suffix, name):
    path = pack(tmp_path / f"a.{suffix}", {"cat/1.png": png(), name: png()})
    with pytest.raises(ValueError, match="file name must lead to a file below its folder"):
        read_archive(path)


def test_links_twins_and_too_much_are_refused(tmp_path):
    path = tmp_path / "link.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("cat/1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ValueError, match=r"archive entry must be a file or a folder, got 'cat/1.png' in 'link.tar'"):
        read_archive(path)
    twins = pack(tmp_path / "twins.tar", {"cat/1.png": png(), "./cat/1.png": png()})
    with pytest.raises(ValueError, match=r"archive entries must be unique, got 'cat/1.png' twice"):
        read_archive(twins)
    whole = pack(tmp_path / "whole.tar", ENTRIES)
    with pytest.raises(ValueError, match="archive must hold fewer bytes of images"):
        read_archive(whole, limit=len(png()) * 2)


@pytest.mark.parametrize(("name", "mode"), [("a.tar.xz", "w:xz"), ("a.tgz", "w:gz"), ("a.tar", "w"), ("a.zip", "")])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_damaged_archive_is_named(tmp_path, name, mode, share):
    generator = np.random.default_rng(0)
    noise = {f"cat/{n}.png": generator.integers(0, 256, 20_000, dtype=np.uint8).tobytes() for n in range(9)}
    path = pack(tmp_path / name, noise, mode)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=f"archive must be readable, got .* in '{name}'; fetch it again"):
        read_archive(path)


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_header_is_not_the_end(tmp_path, cut):
    path = pack(tmp_path / "a.tar", {"cat/1.png": b"1" * 512, "cat/2.png": b"2" * 512})
    content = bytearray(path.read_bytes())
    content[1024:1030] = b"broken"
    path.write_bytes(content[:1024] if cut else content)
    with pytest.raises(ValueError, match="archive must be readable, got ReadError"):
        read_archive(path)


def test_other_files_are_no_archives(tmp_path):
    (tmp_path / "x").write_bytes(b"no")
    assert not is_archive(tmp_path / "x")
    assert not is_archive(tmp_path)


# idx


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 7), dtype=np.uint8)
DIGITS = np.array([3, 0, 2, 3, 1], dtype=np.uint8)


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("dash", "-.")
def test_idx(tmp_path, gz, dash):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    write = gzip.compress if gz else bytes
    (folder / f"train-images{dash}idx3-ubyte{gz}").write_bytes(write(idx(PIXELS)))
    (folder / f"train-labels{dash}idx1-ubyte{gz}").write_bytes(write(idx(DIGITS)))
    assert find_idx(tmp_path) == folder
    train = read_idx(folder)
    assert train is not None
    assert torch.equal(train.images, torch.from_numpy(PIXELS)[:, None])
    assert train.labels.tolist() == DIGITS.tolist()
    assert train.class_names == ("0", "1", "2", "3")
    assert train.keys[4] == "train:00004"
    assert read_idx(folder, "validation") is None
    (folder / f"t10k-images{dash}idx3-ubyte{gz}").write_bytes(write(idx(PIXELS[:2])))
    with pytest.raises(ValueError, match="labels must lie beside"):
        read_idx(folder, "validation")
    (folder / f"t10k-labels{dash}idx1-ubyte{gz}").write_bytes(write(idx(DIGITS[1:3])))
    held = read_idx(folder, "validation")
    assert held is not None
    assert held.class_names == train.class_names  # though no 3 is in it


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (idx(PIXELS)[:-1], idx(DIGITS), "209 bytes where the header says 210"),
        (idx(PIXELS) + b"x", idx(DIGITS), "more bytes where the header says 210"),
        (idx(PIXELS[0]), idx(DIGITS), "starts with 00 00 08 02, not 00 00 08 03"),
        (b"", idx(DIGITS), "idx file must be whole"),
        (idx(PIXELS), idx(DIGITS[:4]), "labels must be one an image, got 4 for 5"),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12 + b"x", idx(DIGITS), "where the header says"),
    ],
)
def test_wrong_idx(tmp_path, images, labels, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path)


def test_a_cut_gzip_is_named(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS))[:-20])
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(DIGITS)))
    with pytest.raises(ValueError, match=r"idx file must be whole, got .* in 'train-images-idx3-ubyte.gz'"):
        read_idx(tmp_path)


# parquet


def write(path: Path, columns: dict, features: dict | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)
    return path


def structs(values) -> list[dict]:
    return [{"bytes": png(value), "path": f"../{value}.png"} for value in values]


FEATURES = {
    "picture": {"_type": "Image"},
    "coarse_label": {"_type": "ClassLabel", "names": ["x", "y"]},
    "fine_label": {"_type": "ClassLabel", "names": ["cat", "dog", "eel"]},
}


def test_hugging_face_folder(tmp_path):
    for part, values in enumerate([[1, 2, 3], [4]]):
        columns = {"picture": structs(values), "coarse_label": [0] * len(values), "fine_label": [v % 3 for v in values]}
        write(tmp_path / "data" / f"train-0000{part}-of-00002.parquet", columns, FEATURES)
    columns = {"picture": structs([9]), "coarse_label": [0], "fine_label": [2]}
    write(tmp_path / "data" / "test-00000-of-00001.parquet", columns, FEATURES)
    train, held = read_parquet(tmp_path), read_parquet(tmp_path, "validation")
    assert train is not None
    assert held is not None
    assert train.labels.tolist() == [1, 2, 0, 1]
    assert train.class_names == held.class_names == ("cat", "dog", "eel")
    assert train.keys[3] == "data/train-00001-of-00002.parquet:0000000"
    assert [grey(train, n) for n in range(4)] == [1, 2, 3, 4]
    assert grey(held, 0) == 9


def test_one_file_of_plain_bytes_and_words(tmp_path):
    path = write(tmp_path / "x.parquet", {"img": [png(1), png(2)], "label": ["dog", "cat"]})
    source = read_parquet(path)
    assert source is not None
    assert rows(source) == [("x.parquet:0000000", "dog"), ("x.parquet:0000001", "cat")]
    assert read_parquet(path, "validation") is None
    small = source.in_memory()
    assert small is not None
    assert small.images[:, 0, 0, 0].tolist() == [1, 2]


def test_words_are_numbered_by_the_training_split(tmp_path):
    write(tmp_path / "train.parquet", {"image": [png()] * 2, "label": ["b", "a"]})
    write(tmp_path / "validation.parquet", {"image": [png()], "label": ["b"]})
    held = read_parquet(tmp_path, "validation")
    assert held is not None
    assert held.labels.tolist() == [1]
    write(tmp_path / "validation.parquet", {"image": [png()], "label": ["new"]})
    with pytest.raises(ValueError, match="label must be one of the training classes, got 'new' in row 0"):
        read_parquet(tmp_path, "validation")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [png()]}, "table must have a column label or labels or fine_label, got"),
        ({"label": [1]}, "table must have a column image or img"),
        ({"image": ["a.png"], "label": [1]}, "image column must hold bytes, got string"),
        ({"image": [png(), None], "label": [1, 0]}, "image must have bytes, got null in row 1"),
        ({"image": [png(), png()], "label": [0, None]}, "label must be one of the training classes, got None in row 1"),
        ({"image": [png()], "label": [0.5]}, "label column must hold integers or strings, got float"),
        ({"image": [png()], "label": [-1]}, "label must be in"),
    ],
)
def test_wrong_tables(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        read_parquet(write(tmp_path / "x.parquet", columns))


def test_a_damaged_parquet_file_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match=r"file must be Parquet, got .* in 'x.parquet'"):
        read_parquet(tmp_path / "x.parquet")


# CSV


def csv(root: Path, text: str) -> Path:
    path = root / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_of_names_and_splits(tmp_path):
    tree(tmp_path, ["a.png", "b/c, d.png", "e.png"])
    text = '\ufeffsplit,path,label,more\ntrain,./a.png,dog,1\ntrain,"b/c, d.png",cat,2\ntest,e.png,dog,3\n'
    train, held = read_table(csv(tmp_path, text)), read_table(tmp_path / "labels.csv", "validation")
    assert train is not None
    assert held is not None
    assert rows(train) == [("a.png", "dog"), ("b/c, d.png", "cat")]
    assert rows(held) == [("e.png", "dog")]
    assert grey(train, 1) == 1


def test_csv_of_numbers(tmp_path):
    source = read_table(csv(tree(tmp_path, ["a.png", "b.png"]), "path,label\na.png,10\nb.png,2\n"))
    assert source is not None
    assert source.labels.tolist() == [10, 2]
    assert len(source.class_names) == 11
    assert read_table(tmp_path / "labels.csv", "validation") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header must have path and label, got"),
        ("file,label\na.png,1\n", "header must have path and label, got .* in 'labels.csv'"),
        ("path,label\n", "table must have at least one row"),
        ("path,label\na.png\n", "row must have a path and a label, got .* in labels.csv:2"),
        ("path,label\na.png,1\n../a.png,1\n", "file name must lead to .* got '../a.png' in labels.csv:3"),
        ("path,label\n/etc/passwd,1\n", "file name must lead to"),
        ("path,label,split\na.png,1,dev\n", "split must be 'train' or 'validation' .*, got 'dev' in labels.csv:2"),
        ("path,label\nno.png,1\n", "path must lead from the table's folder to a file, got 'no.png'"),
        ("path,label\na.png,1\n./a.png,1\n", "keys must be unique, got 'a.png' twice"),
        ("path,label\na.png,-1\n", "label must be in"),
    ],
)
def test_wrong_csv(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(csv(tree(tmp_path, ["a.png"]), text))


def test_csv_in_another_encoding(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"path,label\n\xff.png,1\n")
    with pytest.raises(ValueError, match="table must be CSV in UTF-8"):
        read_table(tmp_path / "labels.csv")
