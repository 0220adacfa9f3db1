"""Every reader, a small valid input for it, and how inputs are damaged."""

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import random
import shutil
import struct
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

import box_folders
from box_folders import Box
from point_layouts import LAYOUTS
from tamis.checkpoint import load_checkpoint, save_checkpoint
from tamis.data import from_cifar10n, open_images
from tamis.data.boxes import open_boxes
from tamis.data.cifar import CIFAR10_CLASSES
from tamis.data.points import open_points
from tamis.models.weights import load_weights
from tamis.recipes.config import TrainConfig
from tamis.recipes.settings_file import read_settings

DOCUMENTED = (ValueError, OSError)  # UnreadableImage and DamagedCheckpoint are ValueErrors
Files = dict[str, bytes]
# What a byte is replaced by, and what is put in: ends of ranges, signs of formats, words that mean something.
SPECIAL_BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
SPECIAL_PARTS = (
    b"\0" * 8,
    b"\xff" * 8,
    b"../",
    b"\n",
    b"\r",
    b",",
    b'"',
    b"[",
    b"{",
    b"!!",
    b"nan",
    b"-1",
    b"1e999",
    b"9" * 30,
)


@dataclass(frozen=True)
class Reader:
    """Files of a valid input, and what reads the folder in which they lie."""

    files: Callable[[], Files]
    read: Callable[[Path], object]


@cache
def picture(value: int = 9) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def _zip(name: str, method: int) -> Files:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for each in ("a/1.png", "a/2.png", "b/1.png", "b/notes.txt"):
            archive.writestr(each, picture())
    return {name: file.getvalue()}


def _tar(kind: int, pack: Callable[[bytes], bytes] = bytes) -> Files:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for name in ("a/1.png", "a/" + "long" * 30 + ".png", "b/é.png"):
            about = tarfile.TarInfo(name)
            about.size = len(picture())
            archive.addfile(about, io.BytesIO(picture()))
    return {"data.tar": pack(file.getvalue())}


def _idx() -> Files:
    images = bytes((0, 0, 8, 3)) + struct.pack(">3I", 4, 3, 3) + bytes(range(36))
    labels = bytes((0, 0, 8, 1)) + struct.pack(">I", 4) + bytes((0, 1, 1, 0))
    return {"train-images-idx3-ubyte.gz": gzip.compress(images), "train-labels-idx1-ubyte": labels}


def _cifar_binary() -> Files:
    rows = np.zeros((2, 3073), np.uint8).tobytes()
    return {f"data_batch_{number}.bin": rows for number in range(1, 6)} | {"batches.meta.txt": b"a\nb\n"}


def _cifar_pickled(protocol: int) -> Files:
    content = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1], b"filenames": [b"x.png", b"y.png"]}
    names = {b"label_names": [b"a", b"b"], b"num_vis": 3072}
    batch = pickle.dumps(content, protocol=protocol)
    return {f"data_batch_{number}": batch for number in range(1, 6)} | {"batches.meta": pickle.dumps(names, protocol=2)}


def _parquet() -> Files:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"image": [{"bytes": picture(), "path": "x"}] * 3, "label": [0, 1, 1]})
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(about), file)
    return {"data.parquet": file.getvalue()}


def _table() -> Files:
    rows = io.StringIO()
    csv.writer(rows).writerows([["path", "label", "split"], ["a.png", "3", "train"], ["b, c.png", "1", "val"]])
    return {"table.csv": rows.getvalue().encode(), "a.png": picture(), "b, c.png": picture()}


def _webvision() -> Files:
    return {
        "info/train_filelist_google.txt": "q/ä b.png 0\nq/2.png 1\n".encode(),
        "info/val_filelist.txt": b"1.png 1\n",
        "info/synsets.txt": b"n01 a fish\nn02 a bird\n",
        **dict.fromkeys(("q/ä b.png", "q/2.png", "val_images/1.png"), picture()),
    }


def _noise() -> Files:
    file = io.BytesIO()
    labels = np.arange(20) % 10
    np.savez_compressed(file, clean_label=labels, worse_label=labels[::-1])
    return {"human.npz": file.getvalue()}


class _Labelled:
    labels = torch.arange(20) % 10
    class_names = CIFAR10_CLASSES
    keys = tuple(f"{place:02d}" for place in range(20))


def _settings(name: str, text: str) -> Files:
    return {name: text.encode()}


def _run() -> Files:
    config = TrainConfig(Path("x"), steps=[0.5]).plain()
    return {"run.json": json.dumps({"tamis": "0.1.0", "config": config}).encode()}


@cache
def _net() -> nn.Module:
    return nn.Linear(3, 2)


def _torch(new: bool) -> Files:
    file = io.BytesIO()
    torch.save(_net().state_dict(), file, _use_new_zipfile_serialization=new)
    return {"w.pt": file.getvalue()}


def _checkpoint() -> Files:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "checkpoint"
        save_checkpoint(folder, _net().state_dict(), {"a": [torch.zeros(2), {"b": 1.5}], "c": {1: None}})
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def _open(folder: Path, *names: str) -> None:
    """Open both splits and look at some pictures."""
    for split in ("train", "validation"):
        source = open_images(folder.joinpath(*names), split)
        for place in range(min(len(source), 3) if source is not None else 0):
            source.thumbnail(place)  # pyright: ignore[reportOptionalMemberAccess]


def _opener(*names: str) -> Callable[[Path], None]:
    return lambda folder: _open(folder, *names)


def _weights(name: str) -> Callable[[Path], None]:
    return lambda folder: load_weights(_net(), folder / name)


def _points(layout: str) -> Files:
    """The files of a layout of points, with names below a folder `set`."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        LAYOUTS[layout](root, {"a": [(3.0, 4.0), (30.5, 10.0)], "b": []})
        return {str(path.relative_to(folder)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _points_opener(layout: str) -> Callable[[Path], object]:
    """Opens such files as a training would; where the annotations lie is the same in every folder."""

    def opened(folder: Path) -> object:
        with tempfile.TemporaryDirectory() as other:
            root = Path(other) / "set"
            written = LAYOUTS[layout](root, {"a": [(3.0, 4.0)], "b": []})
            annotations = written.annotations and folder / "set" / written.annotations.relative_to(root)
            return open_points(folder / "set" / written.data.relative_to(root), annotations)

    return opened


def _boxes(layout: str) -> Files:
    """The files of a layout of boxes."""
    train = {"a": [Box("car", 4, 2, 14, 12), Box("person", 20.5, 4, 24, 19)], "b": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        box_folders.LAYOUTS[layout](root, train, {"c": [Box("car", 1, 2, 3.5, 9)]})
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _box_document() -> Files:
    """COCO's, with occlusion and truncation."""
    document = json.loads(box_folders.document({"a": [Box("car", 4, 2, 14, 12)] * 2}))
    document["annotations"] = [each | {"occlusion": 2, "truncated": 0.5} for each in document["annotations"]]
    return {"coco.json": json.dumps(document).encode(), "a.png": picture()}


YAML = "# settings\ndata: a b\nsteps: [0.1, 0.5]\nflip: off\nlr: 1e-3\nout: 'x\"y'\n"
TOML = '# settings\ndata = "a b"\nsteps = [0.1, 0.5]\nflip = false\nlr = 1e-3\n'
READERS: dict[str, Reader] = {
    "zip": Reader(lambda: _zip("data.zip", zipfile.ZIP_DEFLATED), _opener("data.zip")),
    "stored zip": Reader(lambda: _zip("data.zip", zipfile.ZIP_STORED), _opener("data.zip")),
    "tar": Reader(lambda: _tar(tarfile.PAX_FORMAT), _opener("data.tar")),
    "gnu tar": Reader(lambda: _tar(tarfile.GNU_FORMAT), _opener("data.tar")),
    "tar.gz": Reader(lambda: _tar(tarfile.PAX_FORMAT, gzip.compress), _opener("data.tar")),
    "tar.bz2": Reader(lambda: _tar(tarfile.PAX_FORMAT, bz2.compress), _opener("data.tar")),
    "tar.xz": Reader(lambda: _tar(tarfile.PAX_FORMAT, lzma.compress), _opener("data.tar")),
    "idx": Reader(_idx, _opener()),
    "CIFAR binary": Reader(_cifar_binary, _opener()),
    "CIFAR pickled": Reader(lambda: _cifar_pickled(2), _opener()),
    "CIFAR pickled anew": Reader(lambda: _cifar_pickled(4), _opener()),
    "Parquet": Reader(_parquet, _opener("data.parquet")),
    "CSV": Reader(_table, _opener("table.csv")),
    "WebVision": Reader(_webvision, _opener()),
    "CIFAR-N": Reader(_noise, lambda folder: from_cifar10n(folder / "human.npz", "worse", _Labelled())),
    "YAML": Reader(lambda: _settings("a.yaml", YAML), lambda folder: read_settings(folder / "a.yaml")),
    "TOML": Reader(lambda: _settings("a.toml", TOML), lambda folder: read_settings(folder / "a.toml")),
    "run.json": Reader(_run, TrainConfig.read),
    "safetensors": Reader(lambda: {"w.safetensors": save(_net().state_dict())}, _weights("w.safetensors")),
    "torch": Reader(lambda: _torch(True), _weights("w.pt")),
    "old torch": Reader(lambda: _torch(False), _weights("w.pt")),
    "checkpoint": Reader(_checkpoint, load_checkpoint),
    "COCO boxes": Reader(_box_document, open_boxes),
    "KITTI boxes": Reader(partial(_boxes, "kitti"), open_boxes),
    "box table": Reader(partial(_boxes, "table"), open_boxes),
    **{f"{layout} points": Reader(partial(_points, layout), _points_opener(layout)) for layout in LAYOUTS},
}


@cache
def valid(kind: str) -> Files:
    """The files of a valid input; made once."""
    return READERS[kind].files()


def damaged(kind: str, seed: int) -> Files:
    """A valid input with one to six injuries to one or two of its files: a pure function of the two."""
    chance = random.Random(f"{kind} {seed}")  # noqa: S311 - no secret
    files = dict(valid(kind))
    for name in chance.sample(sorted(files), k=min(len(files), chance.choice((1, 1, 2)))):
        content = bytearray(files[name])
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            _injure(content, chance)
        files[name] = bytes(content)
    return files


def _injure(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content) + 1)
    length = chance.choice((1, 2, 4, 8, 12, chance.randrange(len(content) + 1)))
    match chance.randrange(7):
        case 0:
            del content[place:]
        case 1:
            del content[place : place + length]
        case 2:
            content[place:place] = chance.choice(SPECIAL_PARTS)
        case 3:
            content[place : place + length] = bytes([chance.choice(SPECIAL_BYTES)]) * length
        case 4:
            content[place:place] = content[chance.randrange(len(content) + 1) :][:length]
        case 5:
            content[place : place + 4] = chance.randbytes(4)
        case _:
            if place < len(content):
                content[place] ^= 1 << chance.randrange(8)


def attempt(kind: str, files: Files, folder: Path) -> str:
    """Read an input: "read", or the kind of error that is documented.

    Raises:
        Exception: any other error: a fault of the reader.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            READERS[kind].read(folder)
        except DOCUMENTED as error:
            return type(error).__name__
    return "read"
