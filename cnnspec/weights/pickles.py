"""Pickles of NumPy arrays: a mapping from layers to their arrays, in Keras's layout. Nothing in them is executed.

Only what describes an array is understood, by stand-ins that keep what they are given; the arrays are made afterwards.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnnspec.weights.foreign import BadFile, Stored

_FLOATS = ("f2", "f4", "f8")
_ERRORS = (
    pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RecursionError,
    TypeError, ValueError,
)  # fmt: skip
"""What a damaged pickle makes Python raise."""


class _Array:
    """What is said of an array: shape, type of its numbers, whether its first axis is the fastest, bytes."""

    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = tuple(state)

    def stored(self) -> Stored:
        match self.state:
            case [
                int(),
                tuple() as shape,
                _Type() as kind,
                int() as fortran,
                bytes() | bytearray() | str() as data,
            ] if all(type(n) is int and n >= 0 for n in shape) and prod(shape) * kind.dtype.itemsize == len(data):
                order: Literal["F", "C"] = "F" if fortran else "C"
                raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote it as text
                return Stored(shape, lambda: np.frombuffer(raw, kind.dtype).reshape(shape, order=order))
        raise BadFile("holds an array of no floating-point numbers, or without its bytes")


class _Type:
    """The type of an array's numbers."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in _FLOATS:
            raise BadFile("holds an array of something else than floating-point numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """How the newest pickles spell an array."""
    array = _Array()
    array.state = (1, shape, kind, order == "F", data)
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """How the oldest pickles spell bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise BadFile("holds something else than arrays")
    return text.encode("latin1")


def _refused(*_: Any) -> None:
    raise BadFile("holds something else than arrays")


class _StandIn:
    """What a pickle gets for a name: it can be called, and nothing else can be done with it."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __setstate__(self, state: Any) -> None:
        _refused()


_KNOWN = {
    "numpy.core.multiarray._reconstruct": _StandIn(_Array),
    "numpy._core.multiarray._reconstruct": _StandIn(_Array),
    "numpy.core.numeric._frombuffer": _StandIn(_from_buffer),
    "numpy._core.numeric._frombuffer": _StandIn(_from_buffer),
    "numpy.ndarray": _StandIn(_refused),  # an argument of `_reconstruct`; called, it would take any amount of memory
    "numpy.dtype": _StandIn(_Type),
    "_codecs.encode": _StandIn(_encode),
}


class _Unpickler(pickle._Unpickler):
    # The one written in Python: the one in C takes as much memory as a pickle asks for.
    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get(f"{module}.{name}")
        if known is None:
            raise BadFile(
                f"asks for `{module[:60]}.{name[:60]}`, and is not read",
                help="a pickle can run any code; only those of NumPy arrays are read",
            )
        return known

    def persistent_load(self, pid: Any) -> Any:
        _refused()


def read_pickle(path: Path, limit: int) -> dict[str, list[Stored]]:
    """The arrays of every layer in a pickle, which is no larger than `limit` bytes."""
    if path.stat().st_size > limit:
        raise BadFile(f"is larger than {limit:,} bytes, far more than the network has")
    try:
        found = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        return dict(_layers(found))
    except _ERRORS as error:
        raise BadFile("is no whole pickle") from error


def _layers(found: Any) -> Iterator[tuple[str, list[Stored]]]:
    if not isinstance(found, dict):
        raise BadFile("holds no mapping from layers to arrays")
    for name, arrays in found.items():
        listed = arrays if isinstance(arrays, list | tuple) else [arrays]
        if not isinstance(name, str) or not all(isinstance(array, _Array) for array in listed):
            raise BadFile("holds something else than layers and their arrays")
        yield name, [array.stored() for array in listed]
