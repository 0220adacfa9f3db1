"""Pickles of plain data, read without Python's unpickler: nothing is imported, looked up or called.

CIFAR's Python version is pickled by its publisher. A pickle is a program for a small stack machine; this one knows
the instructions that build numbers, texts, lists, tuples and dicts, and four names: those of an array of bytes.
"""

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_ARRAY, _TYPE, _ENCODE = "array", "type", "encode"
_NAMES = {
    "numpy ndarray": _ARRAY,
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy dtype": _TYPE,
    "_codecs encode": _ENCODE,  # how Python 3 writes bytes into old pickles
}
_MARK = object()
_VALUES = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE"}
_VALUES |= {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_OLD_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # of Python 2: bytes
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass
class _Name:
    """One of the known names, still without arguments."""

    kind: str


@dataclass
class _Array:
    """An array or the type of one; `state` says what is in it."""

    kind: str
    name: str
    state: tuple = ()

    def value(self) -> np.ndarray:
        _, shape, kind, by_column, raw = self.state
        if not isinstance(kind, _Array) or kind.name != "u1" or not isinstance(raw, bytes):
            raise ValueError("an array is not of bytes")
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if by_column else "C")


def read_plain(content: bytes) -> dict[str, Any]:
    """A pickled dict by its keys as texts; arrays are uint8, texts of Python 2 are bytes.

    Raises:
        Exception: of any kind: the pickle is damaged, or asks for anything else.
    """
    found = _Machine().run(content)
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not a dict")
    named = {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}
    return {key: value.value() if isinstance(value, _Array) else value for key, value in named.items()}


class _Machine:
    """The stack machine."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                return self.stack.pop()
            self._step(opcode.name, argument)
        raise ValueError("it has no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _OLD_TEXTS:
            stack.append(argument.encode("latin1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in _TUPLES:
            stack.append(tuple(self._take(_TUPLES[name])))
        elif name in ("LIST", "DICT", "TUPLE"):
            items = self._since_mark()
            stack.append({"LIST": list, "TUPLE": tuple, "DICT": _pairs}[name](items))
        elif name in ("APPEND", "APPENDS"):
            items = self._take(1) if name == "APPEND" else self._since_mark()
            _only(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._take(2) if name == "SETITEM" else self._since_mark()
            _only(stack[-1], dict).update(_pairs(items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            wanted = argument if name == "GLOBAL" else " ".join(_only(each, str) for each in self._take(2))
            if wanted not in _NAMES:
                raise ValueError(f"it asks for {wanted.replace(' ', '.')}")
            stack.append(_Name(_NAMES[wanted]))
        elif name == "REDUCE":
            maker, given = self._take(2)
            stack.append(_made(_only(maker, _Name).kind, _only(given, tuple)))
        elif name == "BUILD":
            (state,) = self._take(1)
            _only(stack[-1], _Array).state = _only(state, tuple)
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"it has the instruction {name}")

    def _take(self, count: int) -> list[Any]:
        taken = self.stack[len(self.stack) - count :]
        if len(taken) != count or any(each is _MARK for each in taken):
            raise ValueError("its stack runs empty")
        del self.stack[len(self.stack) - count :]
        return taken

    def _since_mark(self) -> list[Any]:
        place = next(place for place in reversed(range(len(self.stack))) if self.stack[place] is _MARK)
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken


def _only(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"it has a {type(value).__name__} for a {kind.__name__.strip('_').lower()}")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    """Keys are texts: to hash nested tuples may take for ever."""
    pairs: Iterator[tuple[Any, Any]] = zip(items[::2], items[1::2], strict=True)
    return {key if isinstance(key, bytes) else _only(key, str): value for key, value in pairs}


def _made(kind: str, given: tuple) -> Any:
    if kind == _ENCODE:
        text, encoding = given
        if encoding not in ("latin1", b"latin1"):
            raise ValueError(f"it has the encoding {encoding!r}")
        return _only(text, str).encode("latin1")
    name = given[0] if given else ""
    return _Array(kind, name.decode() if isinstance(name, bytes) else name if isinstance(name, str) else "")
