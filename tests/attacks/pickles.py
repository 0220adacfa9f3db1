"""Pickles that make a file when they are opened, in every coat in which pickles come."""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch '{self.canary}'",)


def plain(canary: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({b"data": Touch(canary), b"labels": [0]}, protocol=protocol)


def numpy_objects(canary: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Touch(canary)], dtype=object), allow_pickle=True)
    return file.getvalue()


def npz(canary: Path) -> bytes:
    file = io.BytesIO()
    objects = np.array([Touch(canary)], dtype=object)
    np.savez(file, clean_label=objects, worse_label=objects)
    return file.getvalue()


def torch_zip(canary: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "extra": Touch(canary)}, file)
    return file.getvalue()


def torch_old(canary: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": Touch(canary)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def torch_tar(canary: Path) -> bytes:
    """The form of before torch 0.2: a tar of pickles."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = plain(canary)
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return file.getvalue()


def zip_of_pickles(canary: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", plain(canary))
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def opcodes(canary: Path) -> bytes:
    """Written by hand, without what pickle itself would check."""
    return b"cos\nsystem\n(S'touch " + os.fsencode(canary) + b"'\ntR."


def stack_global(canary: Path) -> bytes:
    command = f"touch '{canary}'".encode()
    return b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(command)]) + command + b"\x85R."


def huge_memo() -> bytes:
    """Six bytes for which Python's own unpickler fills sixteen gigabytes."""
    return b"\x80\x02Nr" + (1 << 30).to_bytes(4, "little") + b"."


def endless_key() -> bytes:
    """A dict's key of nested pairs: to hash it takes 2 to the 60 steps."""
    return b"\x80\x02}K\x01" + b"q\x05h\x05\x86" * 60 + b"Ns."


def endless_labels() -> bytes:
    """Lists of twice the same list, 60 deep: as an array they have 2 to the 60 entries."""
    labels: list = [1]
    for _ in range(60):
        labels = [labels, labels]
    return pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": labels}, protocol=2)
