"""MATLAB 5 files: numbers, cells and structs (MathWorks, "MAT-File Format", version 5).

scipy reads them too, but its reader ends the whole process on some damaged files.
"""

import math
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from tamis.data.annotations.columns import Unfit

_HEAD = 128
# Types of data (table 1-1), and classes of arrays (table 1-3).
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CELL, _STRUCT, _NUMERIC = 1, 2, range(6, 16)
_DEEPEST = 32
Order = Literal["<", ">"]


def read_arrays(content: bytes, limit: int) -> dict[str, Any]:
    """The arrays of a file by name.

    Numbers are arrays in MATLAB's shape, a cell is a list, a struct a dict of lists, each in MATLAB's order (columns
    first); all else is None.

    Args:
        content: of the file.
        limit: the most bytes that it may unpack to.

    Raises:
        Unfit: it is no such file, damaged, or too large.
    """
    orders: dict[bytes, Order] = {b"IM": "<", b"MI": ">"}
    order = orders.get(content[126:_HEAD])
    if order is None:
        raise Unfit("no MATLAB 5 file")
    found: dict[str, Any] = {}
    for kind, body in _elements(memoryview(content)[_HEAD:], order):
        if kind == _COMPRESSED:
            try:
                body = memoryview(zlib.decompressobj().decompress(body, limit + 1))
            except zlib.error as error:
                raise Unfit(f"a damaged MATLAB file: {error}") from error
            kind, body = next(_elements(body, order), (0, body)) if len(body) <= limit else (0, body)
        limit -= len(body)
        if limit < 0:
            raise Unfit("a MATLAB file that unpacks to more than points need")
        if kind == _MATRIX:
            name, value = _array(body, order, 0)
            found[name] = value
    return found


def _elements(data: memoryview, order: Order) -> Iterator[tuple[int, memoryview]]:
    """Type and bytes of one element after the other; a tag with two numbers in its first word has up to 4 bytes."""
    byteorder = "little" if order == "<" else "big"
    place = 0
    while place + 8 <= len(data):
        kind = int.from_bytes(data[place : place + 4], byteorder)
        size, start, after = kind >> 16, place + 4, place + 8
        if not size:
            size, start = int.from_bytes(data[place + 4 : place + 8], byteorder), place + 8
            after = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(data):
            raise Unfit("a MATLAB file that is cut off")
        yield kind & 0xFFFF, data[start : start + size]
        place = after


def _array(data: memoryview, order: Order, depth: int) -> tuple[str, Any]:
    """Name and value of an array."""
    if depth > _DEEPEST:
        raise Unfit("a MATLAB file that is nested too deeply")
    if not len(data):
        return "", np.empty((0, 0))
    parts = _elements(data, order)
    flags, shape, name = _numbers(parts, order), _numbers(parts, order).tolist(), _numbers(parts, order).tobytes()
    if not len(flags) or not shape or min(shape) < 0:
        raise Unfit("a damaged MATLAB file: an array without class or size")
    number, count = int(flags[0]) & 0xFF, math.prod(shape)
    value = None
    if number in _NUMERIC:
        values = _numbers(parts, order)
        if len(values) != count:
            raise Unfit(f"a damaged MATLAB file: {len(values)} numbers for the size {shape}")
        value = values.reshape(shape, order="F")
    elif number == _CELL:
        value = _arrays(parts, count, order, depth)
    elif number == _STRUCT:
        width, names = int(_numbers(parts, order).sum()), _numbers(parts, order).tobytes()
        starts = range(0, len(names), width) if width > 0 else range(0)
        fields = [names[start : start + width].partition(b"\0")[0].decode("ascii", "replace") for start in starts]
        values = _arrays(parts, count * len(fields), order, depth)
        value = {field: values[place :: len(fields)] for place, field in enumerate(fields)}
    return name.decode("ascii", "replace"), value


def _arrays(parts: Iterator[tuple[int, memoryview]], count: int, order: Order, depth: int) -> list[Any]:
    values = []
    while len(values) < count:
        kind, body = next(parts, (0, memoryview(b"")))
        if kind != _MATRIX:
            raise Unfit(f"a damaged MATLAB file: {len(values)} arrays for {count}")
        values.append(_array(body, order, depth + 1)[1])
    return values


def _numbers(parts: Iterator[tuple[int, memoryview]], order: Order) -> np.ndarray:
    """The numbers of the next element."""
    kind, body = next(parts, (0, memoryview(b"")))
    if kind not in _NUMBERS:
        raise Unfit(f"a damaged MATLAB file: type {kind} for numbers")
    dtype = np.dtype(order + _NUMBERS[kind])
    return np.frombuffer(body[: len(body) // dtype.itemsize * dtype.itemsize], dtype)
