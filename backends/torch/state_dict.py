"""State dicts in files: read without running what a pickle says, and written."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnspec.weights.foreign import BadFile, Stored

_WRAPPED = ("state_dict", "model_state_dict", "model")  # what training scripts keep it under


def read_state(path: Path) -> dict[str, Stored]:
    """The tensors of a state dict by name, or of a checkpoint that has one; mapped into memory where they can be."""
    state = _load(path)
    for name in _WRAPPED:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping):
        raise BadFile("holds no state dict")
    return {str(name): _stored(str(name), tensor) for name, tensor in state.items()}


def _load(path: Path) -> Any:
    import torch

    try:
        packed = zipfile.is_zipfile(path)
        if packed:
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise BadFile("is compressed, which PyTorch's files are not")
        with warnings.catch_warnings(action="ignore"):  # of what it then refuses
            return torch.load(path, map_location="cpu", weights_only=True, mmap=packed)
    except (OSError, BadFile):
        raise
    except Exception as error:  # a damaged file makes it raise nearly anything
        help = "only `torch.save(model.state_dict(), ...)` is read: a pickle of anything else can run any code"
        raise BadFile("is damaged, or holds more than tensors", help) from error


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
            raise BadFile("cannot be written: PyTorch's writer failed") from error
