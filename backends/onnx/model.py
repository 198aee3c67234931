"""ONNX's messages, as plain values, and the bytes of each.

The numbers are those of `onnx.proto`. Weights are no part of a message here: a `Tensor` knows its shape, and loads its
values when they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, NamedTuple

from cnnspec.backends.onnx.wire import float32, header, integer, integers, message, text

OPSET = 20
"""The first with Gelu; ONNX Runtime knows it since 1.17, TensorRT since 10. Nothing newer is of use here."""
IR_VERSION = 9
"""The file format that came with opset 20 (onnx 1.15): a reader of that opset reads it."""

DType = Literal["float16", "float32", "float64", "int64", "uint8"]
Attribute = int | float | str | tuple[int, ...]

_CODES: dict[DType, int] = {"float32": 1, "uint8": 2, "int64": 7, "float16": 10, "float64": 11}
_WIDTHS: dict[DType, int] = {"float32": 4, "uint8": 1, "int64": 8, "float16": 2, "float64": 8}
_GRAPH, _INITIALIZER, _RAW_DATA, _EXTERNAL = 7, 5, 9, 1


class Tensor(NamedTuple):
    """An initialiser. `load` gives its values, in any float type and of this shape but for axes of 1."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    load: Callable[[], Any]
    weight: bool = True
    """Whether it may lie outside of the model file; what shapes depend on may not."""
    stored: Callable[[], Iterator[bytearray] | None] | None = None
    """Gives its values in float32 as bytes, little-endian, where a file has them so."""

    @property
    def nbytes(self) -> int:
        """How many bytes its values take in the file."""
        return prod(self.shape) * _WIDTHS[self.dtype]


class Call(NamedTuple):
    """One node."""

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Attribute]


class Value(NamedTuple):
    """An input or output of the network; an axis with a name is of any size."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]


class Place(NamedTuple):
    """Where values lie outside of the model file."""

    file: str
    offset: int


@dataclass(slots=True)
class Model:
    """A network in ONNX's terms. `values` says which value is the output of a layer, by the layer's path."""

    name: str
    producer_version: str = ""
    nodes: list[Call] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)


def model_parts(model: Model, places: dict[str, Place]) -> tuple[list[tuple[bytes, Tensor]], bytes]:
    """The file in order: before each tensor whose values go into it the bytes to write, and those behind the last.

    `places` says of tensors by name that their values lie elsewhere.
    """
    head = b"".join([message(1, _node(call)) for call in model.nodes]) + text(2, model.name)
    tail = b"".join([message(11, _value(v)) for v in model.inputs] + [message(12, _value(v)) for v in model.outputs])
    parts: list[tuple[bytes, Tensor]] = []
    length = len(head) + len(tail)
    pending = b""
    for tensor in model.tensors:
        fields = _tensor(tensor, places.get(tensor.name))
        inside = 0 if tensor.name in places else tensor.nbytes
        pending += header(_INITIALIZER, len(fields) + inside) + fields
        length += inside
        if tensor.name not in places:
            parts.append((pending, tensor))
            length += len(pending)
            pending = b""
    length += len(pending)
    start = integer(1, IR_VERSION) + text(2, "cnnspec") + text(3, model.producer_version)
    start += message(8, text(1, ""), integer(2, OPSET))
    start += b"".join([message(14, text(1, key), text(2, value)) for key, value in model.metadata.items()])
    start += header(_GRAPH, length) + head
    if not parts:
        return [], start + pending + tail
    parts[0] = (start + parts[0][0], parts[0][1])
    return parts, pending + tail


def _node(call: Call) -> bytes:
    return b"".join(
        [
            *(text(1, name) for name in call.inputs),
            text(2, call.output),
            text(3, call.name),
            text(4, call.op),
            *(message(5, _attribute(name, value)) for name, value in call.attributes.items()),
        ]
    )


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, str):
        return text(1, name) + text(4, value) + integer(20, 3)
    if isinstance(value, tuple):
        return text(1, name) + integers(8, value) + integer(20, 7)
    if isinstance(value, float):
        return text(1, name) + float32(2, value) + integer(20, 1)
    return text(1, name) + integer(3, value) + integer(20, 2)


def _value(value: Value) -> bytes:
    axes = [message(1, text(2, axis) if isinstance(axis, str) else integer(1, axis)) for axis in value.shape]
    return text(1, value.name) + message(2, message(1, integer(1, _CODES[value.dtype]), message(2, *axes)))


def _tensor(tensor: Tensor, place: Place | None) -> bytes:
    """All of a tensor but its values, which follow as raw data unless they have a place elsewhere."""
    fields = integers(1, tensor.shape) + integer(2, _CODES[tensor.dtype]) + text(8, tensor.name)
    if place is None:
        return fields + header(_RAW_DATA, tensor.nbytes)
    entries = {"location": place.file, "offset": str(place.offset), "length": str(tensor.nbytes)}
    external = b"".join([message(13, text(1, key), text(2, value)) for key, value in entries.items()])
    return fields + external + integer(14, _EXTERNAL)


def code(dtype: DType) -> int:
    """ONNX's number for a type, as `Cast` takes it."""
    return _CODES[dtype]
