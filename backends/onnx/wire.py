"""The protobuf wire format, as far as writing an ONNX file needs it: every function gives the bytes of one field.

A writer of its own keeps the export free of the `onnx` package, whose messages hold all weights in memory twice.
"""

from __future__ import annotations

import struct

_VARINT, _LENGTH, _FIXED32 = 0, 2, 5


def varint(number: int) -> bytes:
    """A whole number, seven bits a byte, the lowest first; a negative one as its 64-bit complement."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def integer(field: int, value: int) -> bytes:
    """An int32, int64 or enum field."""
    return varint(field << 3 | _VARINT) + varint(value)


def integers(field: int, values: tuple[int, ...]) -> bytes:
    """A repeated whole number, one field each: ONNX's messages do not pack them."""
    return b"".join(integer(field, value) for value in values)


def float32(field: int, value: float) -> bytes:
    """A float field."""
    return varint(field << 3 | _FIXED32) + struct.pack("<f", value)


def text(field: int, value: str) -> bytes:
    """A string field."""
    return message(field, value.encode())


def message(field: int, *parts: bytes) -> bytes:
    """A message, or bytes, made of `parts`."""
    return header(field, sum(map(len, parts))) + b"".join(parts)


def header(field: int, length: int) -> bytes:
    """What stands before a message, or bytes, of `length`; the content is written behind it by itself."""
    return varint(field << 3 | _LENGTH) + varint(length)
