"""Archives of class folders (tar, compressed or not, and zip), read without unpacking them.

What `tamis.data.folder.arrange` says of folders holds for the names in the archive; one folder that contains all
the others is passed over. Everything is read into memory, nothing is written to disk.
"""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Self

import torch

from tamis.data.decode import Blobs, inside, is_image_name
from tamis.data.folder import SPLIT_FOLDERS, Split, arrange
from tamis.data.images import FileImages

LIMIT = 4 << 30  # bytes of images held in memory


def is_archive(path: Path) -> bool:
    """Whether the file is a tar or zip archive, by content."""
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def read_archive(path: Path, split: Split = "train", limit: int = LIMIT) -> FileImages | None:
    """Images in an archive of class folders.

    Returns:
        The split, or None where there is no such split.

    Raises:
        ValueError: an entry leads out of the archive, is a link or a device, comes twice, or the archive is damaged;
            the images take more than `limit` bytes; there is no image in a class folder.
    """
    blobs: dict[str, bytes] = {}
    try:
        for name, size, content in _zip(path) if zipfile.is_zipfile(path) else _tar(path):
            if name in blobs:
                raise ValueError(f"archive entries must be unique, got {name!r} twice in {path.name!r}; repack it")
            limit -= size
            if limit < 0:
                raise ValueError(f"archive must hold fewer bytes of images, got too many in {path.name!r}; unpack it")
            blobs[name] = content()
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise ValueError(
            f"archive must be readable, got {type(error).__name__}: {str(error)!r} in {path.name!r}; fetch it again"
        ) from error
    blobs = _without_outer_folder(blobs)
    arranged = arrange(list(blobs), split, path.name)
    if arranged is None:
        return None
    labels = torch.tensor(arranged.labels)
    return FileImages(Blobs([blobs[n] for n in arranged.names]), labels, arranged.class_names, arranged.names)


Entry = tuple[str, int, Callable[[], bytes]]
"""Name and size of an image in an archive, and what reads it."""


class _StrictHeader(tarfile.TarInfo):
    """A tar header that may not be damaged: tarfile itself takes a damaged one for the end and drops the rest."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # the end marker
                raise
            raise tarfile.ReadError(str(error)) from error


def _tar(path: Path) -> Iterator[Entry]:
    with tarfile.open(path, tarinfo=_StrictHeader) as archive:
        for member in archive:
            where = f"in {path.name!r}"
            if member.isdir():
                continue
            name = inside(member.name, where)
            if not member.isreg():
                raise ValueError(f"archive entry must be a file or a folder, got {member.name!r} {where}; repack it")
            file = archive.extractfile(member)
            if file is not None and is_image_name(name):
                yield name, member.size, file.read


def _zip(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = inside(member.filename, f"in {path.name!r}")
            if not member.is_dir() and is_image_name(name):
                yield name, member.file_size, partial(archive.read, member)


def _without_outer_folder(blobs: dict[str, bytes]) -> dict[str, bytes]:
    outer = {name.split("/", 1)[0] for name in blobs}
    splits = {folder for folders in SPLIT_FOLDERS.values() for folder in folders}
    if len(outer) != 1 or outer & splits or not all(name.count("/") >= 2 for name in blobs):
        return blobs
    return {name.split("/", 1)[1]: content for name, content in blobs.items()}
