"""Reads files that cnnspec wrote, as the model that was written: of tensors where their values lie, and no values."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

from cnnspec.backends.onnx.model import OPSET, Attribute, Call, DType, Model, Tensor, Value, code

_PIECE = 1 << 20
_OUTSIDE = 1024  # bytes from which floats may lie in a file of their own: what shapes depend on is smaller
_DTYPES: dict[int, DType] = {code(dtype): dtype for dtype in get_args(DType)}


class BadModel(Exception):
    """A file that cnnspec did not write; the text goes on where the file's name ends."""


class Bytes(NamedTuple):
    """Part of a file."""

    data: mmap.mmap
    start: int
    end: int

    def text(self) -> str:
        try:
            return self.data[self.start : self.end].decode()
        except UnicodeDecodeError:
            raise BadModel("has text that is not UTF-8") from None

    def pieces(self) -> Iterator[bytearray]:
        """All of it, a piece at a time."""
        for start in range(self.start, self.end, _PIECE):
            yield bytearray(self.data[start : min(start + _PIECE, self.end)])

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.start


def read_model(path: Path, files: ExitStack) -> tuple[Model, dict[str, Bytes], list[Path]]:
    """The model in a file, the values of its tensors, which can be read until `files` are closed, and other files.

    The latter hold values that do not lie in the file itself. Raises `BadModel` for what no export of this version of
    cnnspec has.
    """
    model = Model("")
    values: dict[str, Bytes] = {}
    outside: dict[Path, Bytes] = {}
    for number, value in _fields(_mapped(path, files)):
        if number == 3:
            model.producer_version = _bytes(value).text()
        elif number == 7:
            for part, content in _fields(_bytes(value)):
                if part == 5:
                    tensor, place = _tensor(_bytes(content), path, outside, files)
                    model.tensors.append(tensor)
                    values[tensor.name] = place
                else:
                    _add(model, part, _bytes(content))
        elif number == 8:
            for part, found in _fields(_bytes(value)):
                if part == 2 and found != OPSET:
                    raise BadModel(f"is of opset {_whole(found)}, and this cnnspec writes {OPSET}")
        elif number == 14:
            entry = {part: _bytes(text).text() for part, text in _fields(_bytes(value))}
            model.metadata[entry.get(1, "")] = entry.get(2, "")
    if not (model.inputs and model.outputs and model.nodes):
        raise BadModel("is no ONNX file of a network")
    return model, values, list(outside)


def _mapped(path: Path, files: ExitStack) -> Bytes:
    file = files.enter_context(path.open("rb"))
    try:
        data = files.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError:
        raise BadModel("is empty") from None
    return Bytes(data, 0, len(data))


def _fields(part: Bytes) -> Iterator[tuple[int, int | bytes | Bytes]]:
    """The fields of a message by their numbers: whole numbers, fixed ones as their bytes, and all else as parts."""
    data, place, end = part
    while place < end:
        key, place = _varint(data, place, end)
        number, wire = key >> 3, key & 7
        value: int | bytes | Bytes
        if wire == 0:
            value, place = _varint(data, place, end)
        elif wire == 2:
            length, place = _varint(data, place, end)
            value = Bytes(data, place, place + length)
            place += length
        elif wire in (1, 5):
            value = data[place : place + (8 if wire == 1 else 4)]
            place += len(value)
        else:
            raise BadModel("is no ONNX file")
        if place > end:
            raise BadModel("is no ONNX file, or cut short")
        yield number, value


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    number = 0
    for i in range(10):
        if place + i >= end:
            break
        byte = data[place + i]
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, place + i + 1
    raise BadModel("is no ONNX file, or cut short")


def _bytes(value: int | bytes | Bytes) -> Bytes:
    if not isinstance(value, Bytes):
        raise BadModel("is no ONNX file")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise BadModel("is no ONNX file")
    return value - (1 << 64) if value >> 63 else value


def _add(model: Model, number: int, content: Bytes) -> None:
    """Add what a field of the graph says."""
    if number == 1:
        model.nodes.append(_node(content))
    elif number == 2:
        model.name = content.text()
    elif number == 11:
        model.inputs.append(_value(content))
    elif number == 12:
        model.outputs.append(_value(content))
    elif number not in (10, 13):  # what is said of values between layers is no part of the network
        raise _foreign()


def _foreign() -> BadModel:
    return BadModel("has what no export of cnnspec has")


def _node(content: Bytes) -> Call:
    inputs: list[str] = []
    outputs: list[str] = []
    name = op = ""
    attributes: dict[str, Attribute] = {}
    for number, value in _fields(content):
        if number == 5:
            key, attribute = _attribute(_bytes(value))
            attributes[key] = attribute
            continue
        text = _bytes(value).text()
        if number == 1:
            inputs.append(text)
        elif number == 2:
            outputs.append(text)
        elif number == 3:
            name = text
        elif number == 4:
            op = text
        elif number == 7 and text:  # another domain's op
            raise _foreign()
    if len(outputs) != 1:
        raise _foreign()
    return Call(op, name, tuple(inputs), outputs[0], attributes)


def _attribute(content: Bytes) -> tuple[str, Attribute]:
    name, kind = "", 0
    single: Attribute = 0
    several: list[int] = []
    for number, value in _fields(content):
        if number == 1:
            name = _bytes(value).text()
        elif number == 2 and isinstance(value, bytes):
            (single,) = struct.unpack("<f", value)
        elif number == 3:
            single = _whole(value)
        elif number == 4:
            single = _bytes(value).text()
        elif number == 8:
            several.append(_whole(value))
        elif number == 20:
            kind = _whole(value)
        else:
            raise _foreign()
    return name, tuple(several) if kind == 7 else single


def _value(content: Bytes) -> Value:
    name, dtype = "", 0
    axes: list[int | str] = []
    for number, value in _fields(content):
        if number == 1:
            name = _bytes(value).text()
        elif number == 2:
            for _, kind in _fields(_bytes(value)):
                for part, found in _fields(_bytes(kind)):
                    if part == 1:
                        dtype = _whole(found)
                    elif part == 2:
                        axes += [_axis(_bytes(axis)) for _, axis in _fields(_bytes(found))]
    return Value(name, _dtype(dtype), tuple(axes))


def _axis(content: Bytes) -> int | str:
    for number, value in _fields(content):
        return _whole(value) if number == 1 else _bytes(value).text()
    return ""


def _dtype(number: int) -> DType:
    if number not in _DTYPES:
        raise _foreign()
    return _DTYPES[number]


def _tensor(content: Bytes, path: Path, outside: dict[Path, Bytes], files: ExitStack) -> tuple[Tensor, Bytes]:
    shape: list[int] = []
    name, dtype = "", 0
    found: Bytes | None = None
    place: dict[str, str] = {}
    for number, value in _fields(content):
        if number == 1:
            shape.append(_whole(value))
        elif number == 2:
            dtype = _whole(value)
        elif number == 8:
            name = _bytes(value).text()
        elif number == 9:
            found = _bytes(value)
        elif number == 13:
            entry = {part: _bytes(text).text() for part, text in _fields(_bytes(value))}
            place[entry.get(1, "")] = entry.get(2, "")
        elif number != 14:
            raise _foreign()
    if place:
        found = _outside(place, path, outside, files)
    tensor = Tensor(name, _dtype(dtype), tuple(shape), lambda: None)
    if found is None or found.size != tensor.nbytes:
        raise BadModel(f"has other values of `{name[:60]}` than its shape has")
    loaded = partial(_array, found, tensor.dtype)
    weight = tensor.dtype != "int64" and tensor.nbytes >= _OUTSIDE
    return tensor._replace(load=loaded, weight=weight, stored=found.pieces), found


def _outside(place: dict[str, str], path: Path, outside: dict[Path, Bytes], files: ExitStack) -> Bytes:
    """Values in a file beside the model's."""
    name = place.get("location", "")
    if not name or Path(name).name != name:
        raise _foreign()
    file = path.parent / name
    if file not in outside:
        if not file.is_file():
            raise BadModel(f"needs `{name}` beside it, which is not there")
        outside[file] = _mapped(file, files)
    try:
        start, length = int(place["offset"]), int(place["length"])
    except (KeyError, ValueError):
        raise _foreign() from None
    whole = outside[file]
    if not 0 <= start <= start + length <= whole.end:
        raise BadModel(f"needs more than `{name}` holds")
    return Bytes(whole.data, start, start + length)


def _array(content: Bytes, dtype: DType) -> Any:
    """The values of a tensor."""
    import numpy as np

    data = content.data[content.start : content.end]
    ordered = np.dtype(dtype).newbyteorder("<")
    return np.frombuffer(data, ordered) if data else np.empty(0, ordered)
