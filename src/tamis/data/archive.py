"""Archives of class folders (tar, compressed or not, and zip), read without unpacking them.

What `tamis.data.folder.arrange` says of folders holds for the names in the archive; one folder that contains all
the others is passed over. Everything is read into memory, nothing is written to disk.
"""

import lzma
import struct
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
from tamis.data.limits import LIMIT, allowance

# What an entry costs beside its bytes: a million empty ones would take minutes, and hundreds of megabytes.
_ENTRY = 2 << 10
# Headers that hold names and comments: tarfile reads them as a whole, and searches them in quadratic time.
_LONGEST_HEADER = 64 << 10
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    NotImplementedError,
    RecursionError,
    UnicodeError,
)


def is_archive(path: Path) -> bool:
    """Whether the file is a tar or zip archive, by content."""
    if not path.is_file():
        return False
    try:
        if zipfile.is_zipfile(path):
            return True
    except zipfile.BadZipFile:  # one of several disks: `read_archive` says so
        return True
    try:
        with tarfile.open(path, tarinfo=_StrictHeader):
            return True
    except _DAMAGED:
        return False


def read_archive(path: Path, split: Split = "train", limit: int = LIMIT) -> FileImages | None:
    """Images in an archive of class folders.

    Returns:
        The split, or None where there is no such split.

    Raises:
        ValueError: an entry leads out of the archive, is a link or a device, comes twice, or the archive is damaged;
            it unpacks to more than `limit` bytes, or to far more than images do; there is no image in a class folder.
    """
    blobs: dict[str, bytes] = {}
    try:
        entries = _zip(path) if zipfile.is_zipfile(path) else _tar(path)
        for name, content in _affordable(entries, path, limit):
            if name in blobs:
                raise ValueError(f"archive entries must be unique, got {name!r} twice in {path.name!r}; repack it")
            blobs[name] = content()
    except _DAMAGED as error:
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
"""Name of a file in an archive, the bytes that it costs to read or to pass over, and what reads it."""


def _affordable(entries: Iterator[Entry], path: Path, limit: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The images among the entries, while they hold at most `limit` bytes, and all entries what an archive may."""
    images, everything = limit, allowance(path)
    for name, size, content in entries:
        everything -= size + _ENTRY
        images -= size if is_image_name(name) else 0
        if min(images, everything) < 0:
            most = limit if images < 0 else allowance(path)
            raise ValueError(
                f"archive must hold fewer bytes of images, got more than {most} in {path.name!r}; unpack it"
            )
        if is_image_name(name):
            yield name, content


_ENCRYPTED = 1  # bit of a zip entry's flags
_LONG_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *tarfile.GNU_TYPES[:2])


class _StrictHeader(tarfile.TarInfo):
    """A tar header that may not be damaged: tarfile itself takes a damaged one for the end and drops the rest."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # the end marker
                raise
            raise tarfile.ReadError(str(error)) from error
        long = header.type in _LONG_HEADERS and header.size > _LONGEST_HEADER
        if long or header.size < 0:  # a negative size leads back in the file, for ever
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _tar(path: Path) -> Iterator[Entry]:
    with tarfile.open(path, tarinfo=_StrictHeader) as archive:
        for member in archive:
            where = f"in {path.name!r}"
            plain = member.isdir() or (member.isreg() and not member.issparse())
            if not plain or member.size < 0:
                raise ValueError(f"archive entry must be a file or a folder, got {member.name!r} {where}; repack it")
            name = "" if member.isdir() else inside(member.name, where)
            yield name, member.size, partial(_content, archive, member)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _zip(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            where = f"in {path.name!r}"
            name = inside(member.filename, where)
            # zipfile unpacks the other methods in steps without a bound.
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & _ENCRYPTED:
                raise ValueError(f"archive entry must be stored or deflated, got {name!r} {where}; repack it")
            size = member.file_size if is_image_name(name) else 0  # others are not touched
            yield "" if member.is_dir() else name, size, partial(_unpacked, archive, member)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        return file.read(member.file_size)  # without a number it would unpack what is there, not what is announced


def _without_outer_folder(blobs: dict[str, bytes]) -> dict[str, bytes]:
    outer = {name.split("/", 1)[0] for name in blobs}
    splits = {folder for folders in SPLIT_FOLDERS.values() for folder in folders}
    if len(outer) != 1 or outer & splits or not all(name.count("/") >= 2 for name in blobs):
        return blobs
    return {name.split("/", 1)[1]: content for name, content in blobs.items()}
