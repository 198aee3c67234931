"""State dicts in files: read without running what a pickle says, and written."""

from __future__ import annotations

import os
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from errno import EIO
from pathlib import Path
from typing import Any

from cnnspec.weights.foreign import BadFile, Stored

_WRAPPED = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")  # where training scripts keep it
_PIECE = 1 << 20


def read_state(path: Path) -> tuple[dict[str, Stored], str]:
    """The tensors of a state dict by name, mapped into memory where they can be.

    Of a checkpoint, those of the one state dict in it, and what this is called there; else nothing.
    """
    state = _load(path)
    if not isinstance(state, Mapping):
        raise BadFile("holds no state dict")
    inside = [name for name in _WRAPPED if isinstance(state.get(name), Mapping)]
    if len(inside) > 1:
        help = f'save one by itself: `torch.save(torch.load({path.name!r})["{inside[0]}"], ...)`'
        raise BadFile(f"holds several state dicts: {', '.join(f'`{name}`' for name in inside)}", help)
    state = state[inside[0]] if inside else state
    return {str(name): _stored(str(name), tensor) for name, tensor in state.items()}, "".join(inside)


def _load(path: Path) -> Any:
    import torch

    try:
        packed = zipfile.is_zipfile(path)
        if packed:
            _check_archive(path)
        safe = torch.serialization.safe_globals([Namespace])  # the command line of most training scripts: plain data
        with safe, warnings.catch_warnings(action="ignore"):  # of what it then refuses
            return torch.load(path, map_location="cpu", weights_only=True, mmap=packed)
    except (OSError, BadFile):
        raise
    except Exception as error:  # a damaged file makes it raise nearly anything
        help = "only `torch.save(model.state_dict(), ...)` is read: a pickle of anything else can run any code"
        raise BadFile("is damaged, or holds more than tensors", help) from error


def _check_archive(path: Path) -> None:
    """Compare all bytes with their checksums, which PyTorch's reader does not; a sum of 0 is one never computed."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise BadFile("is compressed, which PyTorch's files are not")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise BadFile("is damaged: its parts overlap")
        for member in members:
            if member.CRC:
                with archive.open(member) as file:
                    while file.read(_PIECE):
                        pass  # the end of a part is where its sum is compared


def _stored(name: str, tensor: Any) -> Stored:
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
        raise BadFile(f"holds no plain tensor as `{name[:100]}`")

    def read() -> Any:
        if not tensor.is_floating_point():
            raise BadFile(f"holds no floating-point numbers as `{name[:100]}`")
        return tensor.detach().float().numpy()

    return Stored(tuple(tensor.shape), read)


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write arrays as a state dict."""
    import torch

    # a tensor is never read-only
    own = {name: array if array.flags.writeable else array.copy() for name, array in state.items()}
    with path.open("wb") as file:
        try:
            torch.save({name: torch.from_numpy(array) for name, array in own.items()}, file)
        except RuntimeError as error:  # what its writer makes of a full disk
            cause = error.__context__
            number = (cause.errno if isinstance(cause, OSError) else None) or EIO
            raise OSError(number, os.strerror(number), str(path)) from error
