"""Canonical weight files: safetensors, written and read one array at a time.

The format is an 8-byte length, a JSON header with type, shape and place of every array, then their bytes without gaps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from errno import EIO
from functools import cached_property
from io import SEEK_END, FileIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnspec.diagnostics import Report, Source, Span
from cnnspec.weights.finite import finite
from cnnspec.weights.foreign import replacing
from cnnspec.weights.mapping import Array, Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = "1"
"""Of the canonical layout, stated in a file's metadata as `cnnspec`."""

ORIGIN = ("seed", "from", "trained_on")
"""Which of a file's metadata say where its weights come from, and on what they were trained since."""

_MAX_HEADER = 100_000_000  # the format's own limit
_MAX_RANK = 32
_PIECE = 1 << 18  # bytes that are read at a time: as many as stay in a processor's cache until they are written
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
_FORMATS = {".pt": "torchvision", ".pth": "torchvision", ".h5": "keras", ".hdf5": "keras", ".keras": "keras"}
FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
"""The types that float32 is made of, and how NumPy reads them; it has no bfloat16."""


class Entry(NamedTuple):
    """An array in a file; `start` is the place of its first byte behind the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int


class _Bytes:
    """What lies behind the header of a file, as it was when it was opened."""

    def __init__(self, file: FileIO) -> None:
        self.file = file
        self.start = 0

    def __del__(self) -> None:
        self.file.close()

    @cached_property
    def mapped(self) -> NDArray[Any]:
        """All of them, mapped into memory; read-only."""
        import numpy as np

        if self.file.seek(0, SEEK_END) <= self.start:
            return np.empty(0, np.uint8)
        return np.memmap(self.file, np.uint8, "r", offset=self.start)

    def pieces(self, start: int, size: int) -> Iterator[bytearray]:
        """`size` of them from `start` on, in pieces that each overwrite the one before."""
        piece = bytearray(min(size, _PIECE))
        for done in range(0, size, _PIECE):
            del piece[size - done :]
            self.file.seek(self.start + start + done)
            if self.file.readinto(piece) != len(piece):
                raise OSError(EIO, "it was cut short while it was read", self.file.name)
            yield piece


class FileWeights(Weights):
    """The arrays of a safetensors file, mapped into memory: read-only, unless they are converted to float32.

    The file must not be written to meanwhile; one that replaces it does no harm.
    """

    def __init__(self, path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str], data: _Bytes) -> None:
        origin = {name: metadata[name] for name in ORIGIN if name in metadata}
        super().__init__({key: entry.shape for key, entry in entries.items()}, origin)
        self.path = path
        self.entries = entries
        self.metadata = metadata
        self._data = data

    def only(self, keys: Iterable[str]) -> FileWeights:
        """The arrays called `keys`."""
        return FileWeights(self.path, {key: self.entries[key] for key in keys}, self.metadata, self._data)

    def __getitem__(self, key: str) -> Array:
        """In float32, whatever kind of float the file holds. Raises `KeyError` for what is no float at all."""
        import numpy as np

        entry = self.entries[key]
        dtype = np.dtype(FLOATS[entry.dtype])
        stop = entry.start + prod(entry.shape) * dtype.itemsize
        array: NDArray[Any] = self._data.mapped[entry.start : stop].view(dtype).reshape(entry.shape)
        if entry.dtype == "BF16":  # the upper half of a float32
            return (array.astype("<u4") << 16).view("<f4")
        with np.errstate(over="ignore"):  # an infinity is seen when weights are written
            return array.astype(np.float32, copy=False)

    def stored(self, key: str) -> Iterator[bytearray] | None:
        entry = self.entries[key]
        return self._data.pieces(entry.start, 4 * prod(entry.shape)) if entry.dtype == "F32" else None


def file_span(path: Path) -> Span:
    """What a mistake in a file that is no text is about."""
    return Span(Source(str(path), ""), 0, 0)


def prefixed(path: Path) -> str:
    """How a file is called whose name ends as those of another project do, `torchvision:w.pth`; empty for others."""
    format = _FORMATS.get(path.suffix.lower())
    return f"{format}:{path}" if format else ""


def open_file(path: Path, report: Report) -> FileWeights | None:
    """A safetensors file, whatever it holds. Returns None, with the reason in `report`, where it is none."""
    span = file_span(path)
    try:
        if not path.is_file():  # a pipe would not end
            what = "is not a file" if path.exists() else "does not exist"
            report.add("no-file", f"`{path}` {what}", span)
            return None
        data = _Bytes(path.open("rb", buffering=0))
        size = data.file.seek(0, SEEK_END)
        data.file.seek(0)
        length = int.from_bytes(data.file.read(8), "little")
        header = data.file.read(length) if 2 <= length <= min(_MAX_HEADER, size - 8) else b""
        entries, metadata = _read_header(header, size - 8 - length)
        data.start = 8 + length
    except OSError as error:
        report.add("unreadable-file", f"`{path}` cannot be read: {error.strerror or error}", span)
    except _Corrupt as error:
        named = prefixed(path)
        help = f"a file of another project is named with it: `{named}`" if named else ""
        report.add("bad-weight-file", f"`{path}` is not a whole safetensors file: {error}", span, help=help)
    else:
        return FileWeights(path, entries, metadata, data)
    return None


class _Corrupt(Exception):
    """What contradicts the format."""


def _read_header(header: bytes, size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """Entries and metadata, checked against the `size` of all bytes behind the header."""
    if not header:
        raise _Corrupt("it does not begin with the length of a header")
    try:
        content = json.loads(header.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _Corrupt("its header is not JSON") from None
    if not isinstance(content, dict):
        raise _Corrupt("its header is not a JSON object")
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Corrupt("its metadata are not text")
    end = 0
    entries = {}
    for key, (entry, stop) in sorted(
        ((key, _read_entry(key, value)) for key, value in content.items()),
        key=lambda item: (item[1][0].start, item[1][1]),
    ):
        if entry.start != end:
            raise _Corrupt(f"the bytes of `{key[:200]}` begin at {entry.start} and not at {end}")
        entries[key], end = entry, stop
    if end != size:
        raise _Corrupt(f"its arrays take {end:,} bytes, it has {size:,}")
    return {key: entries[key] for key in content}, metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise _Corrupt("a key of its header is there twice")
    return content


def _read_entry(key: str, value: Any) -> tuple[Entry, int]:
    """An entry, and where its bytes end."""
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if (
            dtype in _BITS and len(shape) <= _MAX_RANK and all(type(n) is int and n >= 0 for n in shape)
        ):
            bits = prod(shape) * _BITS[dtype]
            if bits % 8 == 0 and stop - start == bits // 8:
                return Entry(dtype, tuple(shape), start), stop
    raise _Corrupt(f"the header's entry of `{key[:200]}` makes no sense")


def write_file(path: Path, weights: Weights, keys: list[str], origin: Mapping[str, str]) -> list[str]:
    """Write the arrays called `keys`, in this order and in float32; at once, so that a file is never there half.

    Returns the keys of those that hold an infinity or a NaN.
    """
    odd: dict[str, None] = {}
    try:
        with replacing(path) as part, part.open("wb") as file:
            file.write(_header({key: weights.shapes[key] for key in keys}, origin))
            for key in keys:
                for piece in weights.stored(key) or _converted(key, weights):
                    if not finite(piece):
                        odd[key] = None
                    file.write(piece if isinstance(piece, bytearray) else piece.view("u1").data)
    except OSError as error:  # about the file that was asked for
        raise OSError(error.errno, error.strerror, str(path)) from None
    return list(odd)


def _converted(key: str, weights: Weights) -> list[NDArray[Any]]:
    """All of an array in float32, little-endian."""
    import numpy as np

    array = np.asarray(weights[key], "<f4", "C")
    assert array.shape == weights.shapes[key], f"{key} is {array.shape}, not {weights.shapes[key]}"
    return [array.reshape(-1)]


def _header(shapes: Mapping[str, tuple[int, ...]], origin: Mapping[str, str]) -> bytes:
    content: dict[str, Any] = {"__metadata__": {"cnnspec": VERSION, **origin}}
    end = 0
    for key, shape in shapes.items():
        start, end = end, end + 4 * prod(shape)
        content[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    return len(text).to_bytes(8, "little") + text
