"""Small files that unpack to far more than there is memory, or that promise it."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

GIGABYTE = 1 << 30
_MEMBER = 64 << 20
_PIECE = bytes(1 << 20)


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        yield _PIECE[: min(size, len(_PIECE))]
        size -= len(_PIECE)


def zip_of_zeros(path: Path, members: int = 32) -> None:
    """2 GiB: one packed member, listed many times (its files overlap)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("a/00000.png", "w", force_zip64=True) as file:
            for piece in _zeros(_MEMBER):
                file.write(piece)
        first = archive.infolist()[0]
        for number in range(1, members):
            again = zipfile.ZipInfo(f"a/{number:05d}.png")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(again, field, getattr(first, field))
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again


def lying_zip(path: Path) -> None:
    """A member of 256 MiB that says it has 100 bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("a/1.png", "w", force_zip64=True) as file:
            for piece in _zeros(256 << 20):
                file.write(piece)
        archive.infolist()[0].file_size = 100


def bzipped_zip(path: Path) -> None:
    """A method with which 4 KB stand for gigabytes; the member says it has 100 bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        with archive.open("a/1.png", "w") as file:
            for piece in _zeros(_MEMBER):
                file.write(piece)
        archive.infolist()[0].file_size = 100


def nested_zip(path: Path) -> None:
    """A zip in a zip in a zip, each of ten."""
    content = bytes(10 << 20)
    for name in ("x.png", "b.zip", "c.zip", "d.zip"):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(10):
                archive.writestr(f"a/{number}{name}", content)
        content = file.getvalue()
    path.write_bytes(content)


def tar_of_zeros(path: Path, pack: Callable[[bytes], bytes], name: str, size: int) -> None:
    """A packed tar with one member of zeros."""
    about = tarfile.TarInfo(name)
    about.size = size
    path.write_bytes(pack(about.tobuf()) + pack(_PIECE) * (size >> 20) + pack(bytes(1024)))


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def tar_gz(path: Path) -> None:
    tar_of_zeros(path, _gzip, "a/1.png", 2 * GIGABYTE)


def tar_bz2(path: Path) -> None:
    tar_of_zeros(path, bz2.compress, "a/1.png", 2 * GIGABYTE)


def tar_xz(path: Path) -> None:
    tar_of_zeros(path, lzma.compress, "a/1.png", 2 * GIGABYTE)


def tar_of_a_text(path: Path) -> None:
    """The large member is no picture: it only has to be passed over."""
    tar_of_zeros(path, _gzip, "notes.txt", 8 * GIGABYTE)


def tar_of_names(path: Path) -> None:
    """Four million empty pictures."""
    header = tarfile.TarInfo("a/1.png").tobuf()
    path.write_bytes(_gzip(header * 2048) * 2048)


def tar_of_a_header(path: Path) -> None:
    """An extended header, which tarfile reads as a whole, of 2 GiB."""
    about = tarfile.TarInfo("x")
    about.type, about.size = tarfile.XHDTYPE, 2 * GIGABYTE
    path.write_bytes(_gzip(about.tobuf()) + _gzip(_PIECE) * 2048)


def tar_backwards(path: Path) -> None:
    """A member of a negative size, after which comes the member itself (CVE-2025-8194)."""
    block = bytearray(tarfile.TarInfo("a/1.png").tobuf())
    block[124:136] = (-512 & ((1 << 96) - 1)).to_bytes(12, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(bytes(block) + bytes(1024))


def tar_sparse(path: Path) -> None:
    """A file of holes: 512 bytes that stand for 8 GiB - 1."""
    about = tarfile.TarInfo("a/1.png")
    about.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(about.tobuf())
    block[386:398] = block[398:410] = b"00000000000\0"
    block[483:495] = b"77777777777\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(bytes(block) + bytes(1024))


def idx_of_terabytes(path: Path) -> None:
    """A header that promises four terabytes, and zeros as long as somebody reads."""
    path.mkdir()
    head = bytes((0, 0, 8, 3)) + struct.pack(">3I", 1 << 20, 1 << 11, 1 << 11)
    (path / "train-images-idx3-ubyte.gz").write_bytes(_gzip(head) + _gzip(_PIECE) * 2048)
    (path / "train-labels-idx1-ubyte").write_bytes(bytes((0, 0, 8, 1)) + struct.pack(">I", 1 << 20))


def idx_of_gigabytes(path: Path) -> None:
    """A header that promises what is there: 2 GiB of zeros."""
    path.mkdir()
    head = bytes((0, 0, 8, 3)) + struct.pack(">3I", 1 << 15, 256, 256)
    (path / "train-images-idx3-ubyte.gz").write_bytes(_gzip(head) + _gzip(_PIECE) * 2048)
    (path / "train-labels-idx1-ubyte").write_bytes(bytes((0, 0, 8, 1)) + struct.pack(">I", 1 << 15))


def cifar_of_an_odd_size(path: Path) -> None:
    """A file with a hole of 3 GiB."""
    path.mkdir()
    for number in range(1, 6):
        with (path / f"data_batch_{number}.bin").open("wb") as file:
            file.truncate(3 * GIGABYTE + 1)


def parquet_of_one_image(path: Path) -> None:
    """A picture of a megabyte, and a million rows that say: the same."""
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), pa.array([_PIECE]))
    table = pa.table({"image": images, "label": pa.array([0] * 1_000_000)})
    pq.write_table(table, path, use_dictionary=True, dictionary_pagesize_limit=1 << 26, store_schema=False)


def parquet_of_labels(path: Path) -> None:
    """A hundred million rows in few bytes."""
    writer = pq.ParquetWriter(path, pa.schema([("image", pa.binary()), ("label", pa.int64())]), compression="zstd")
    with writer:
        part = 1 << 20
        offsets = pa.py_buffer(bytes(4 * (part + 1)))
        empty = pa.Array.from_buffers(pa.binary(), part, [None, offsets, pa.py_buffer(b"")])
        label = pa.Array.from_buffers(pa.int64(), part, [None, pa.py_buffer(bytes(8 * part))])
        table = pa.table({"image": empty, "label": label})
        for _ in range(64):
            writer.write_table(table)


def parquet_of_a_field(path: Path) -> None:
    """One value of a gigabyte."""
    table = pa.table({"image": pa.array([bytes(GIGABYTE)]), "label": [0]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)


def csv_of_a_field(path: Path) -> None:
    """A line of a gigabyte."""
    with path.open("wb") as file:
        file.write(b"path,label\na,")
        file.truncate(GIGABYTE)


def csv_of_a_class(path: Path) -> None:
    """A class number so high that a name for each below it would fill the memory."""
    path.write_text("path,label\na.png,99999999999\n")


def deep_json(path: Path) -> None:
    """run.json of a hundred thousand brackets."""
    path.mkdir()
    (path / "run.json").write_text('{"config": ' + "[" * 100_000 + "]" * 100_000 + "}")


def deep_yaml(path: Path) -> None:
    path.write_text("data: " + "[" * 20_000 + "\n")


def laughing_yaml(path: Path) -> None:
    """Each line ten times the line before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{place}: &a{place} [{', '.join([f'*a{place - 1}'] * 10)}]" for place in range(1, 12)]
    path.write_text("\n".join(lines))


def long_yaml(path: Path) -> None:
    path.write_bytes(b"a: 1\n" * (10 << 20))


def laughing_features(path: Path) -> None:
    """Hub metadata of a hundred thousand brackets."""
    table = pa.table({"image": [b"x"], "label": [0]})
    text = json.dumps({"info": {}})[:-2] + '"features": ' + "[" * 100_000 + "]" * 100_000 + "}}"
    pq.write_table(table.replace_schema_metadata({b"huggingface": text.encode()}), path)
