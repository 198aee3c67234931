"""Writes a model as a file, tensor by tensor, and large weights as a second one beside it; all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from errno import EISDIR
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from cnnspec.backends.onnx.model import Model, Place, Tensor, model_parts
from cnnspec.weights.finite import finite

if TYPE_CHECKING:
    import numpy as np

LIMIT = 2**31 - 2**24
"""Bytes of weights that go into the model file: protobuf reads no message of 2 GiB."""

_PAGE = 4096  # external values begin at pages, so that readers can map them
_PIECE = 1 << 20  # values converted at a time


class Written(NamedTuple):
    """The files that there are now, and the names of weights in them that hold an infinity or a NaN."""

    files: list[Path]
    odd: list[str]


def write_model(model: Model, path: Path, limit: int = LIMIT) -> Written:
    """Write `path`, and `path`.data where the weights exceed `limit` bytes; where they do not, an old one goes."""
    outside = [t for t in model.tensors if t.weight] if sum(t.nbytes for t in model.tensors) > limit else []
    data = path.parent / f"{path.name}.data"
    places = _places(outside, data.name)
    parts, end = model_parts(model, places)
    targets = [data, path] if outside else [path]
    drafts = [target.parent / f".{target.name}.{os.getpid()}.part" for target in targets]
    odd = []
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        with drafts[-1].open("wb") as file:
            for head, tensor in parts:
                file.write(head)
                odd += _write_values(tensor, file)
            file.write(end)
        if outside:
            with drafts[0].open("wb") as file:
                for tensor in outside:
                    file.seek(places[tensor.name].offset)
                    odd += _write_values(tensor, file)
        _publish(drafts, targets, data)
    except OSError as error:  # about the file that was asked for, not about its draft
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    return Written(targets, odd)


def _places(tensors: Sequence[Tensor], file: str) -> dict[str, Place]:
    places = {}
    offset = 0
    for tensor in tensors:
        places[tensor.name] = Place(file, offset)
        offset += -(-tensor.nbytes // _PAGE) * _PAGE
    return places


def _publish(drafts: Sequence[Path], targets: Sequence[Path], data: Path) -> None:
    """Move all drafts to their places, the model last; where one cannot be moved, what was there before comes back."""
    old = None
    if data.is_symlink() or data.is_file():  # of an earlier export: what takes its place, or nothing, fits the model
        old = data.with_name(f".{data.name}.{os.getpid()}.old")
        data.replace(old)
    try:
        for draft, target in zip(drafts, targets, strict=True):
            draft.replace(target)
    except OSError:
        if old:
            old.replace(data)
        elif data in targets and not data.is_dir():
            data.unlink(missing_ok=True)
        raise
    if old:
        old.unlink()


def _write_values(tensor: Tensor, file: BinaryIO) -> list[str]:
    """Write the values of a tensor; returns its name where it is a weight and some are not finite."""
    odd = False
    for piece in (tensor.stored and tensor.dtype == "float32" and tensor.stored()) or _pieces(tensor):
        file.write(piece if isinstance(piece, bytearray) else piece.view("u1").data)
        odd = odd or not finite(piece)
    return [tensor.name] if odd and tensor.weight else []


def _pieces(tensor: Tensor) -> Iterator[np.ndarray[Any, Any]]:
    """The values in the file's type and byte order, a piece at a time where they must be converted."""
    import numpy as np

    values: np.ndarray[Any, Any] = np.ascontiguousarray(tensor.load()).reshape(-1)
    wanted = np.dtype(tensor.dtype).newbyteorder("<")
    if values.size * wanted.itemsize != tensor.nbytes:
        raise ValueError(f"`{tensor.name}` has {values.size} values, and not the shape {tensor.shape}")
    if values.dtype == wanted:
        yield values
        return
    for start in range(0, values.size, _PIECE):
        piece = values[start : start + _PIECE]
        with np.errstate(over="ignore"):
            converted = piece.astype(wanted)
        if wanted.kind == "f" and not np.isfinite(converted).all() and np.isfinite(piece).all():
            raise OverflowError(f"`{tensor.name}` has values of up to {abs(piece).max():.3g}, beyond {tensor.dtype}")
        yield converted
