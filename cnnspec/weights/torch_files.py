"""PyTorch's state dicts: `.pth` and `.pt`, which its backend reads and writes, and the same in safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cnnspec.diagnostics import Report
from cnnspec.lower.backend import MissingDependency, backends
from cnnspec.weights.files import FLOATS, open_file
from cnnspec.weights.foreign import BadFile, Stored, replacing

_SAFE = ".safetensors"


def read_torch(path: Path) -> tuple[dict[str, Stored], str]:
    """The arrays in a file, an integer is one as well; and what a checkpoint calls the state dict that they are in."""
    return (_read_safetensors(path), "") if path.suffix == _SAFE else _pickled().read_state(path)


def _read_safetensors(path: Path) -> dict[str, Stored]:
    report = Report()
    file = open_file(path, report)
    report.raise_errors()
    assert file, "what is read without an error is a file"
    return {
        key: Stored(entry.shape, partial(file.__getitem__, key) if entry.dtype in FLOATS else partial(_no_float, key))
        for key, entry in file.entries.items()
    }


def _no_float(key: str) -> Any:
    raise BadFile(f"holds no floating-point numbers as `{key[:100]}`")


def write_torch(path: Path, state: Mapping[str, Any]) -> None:
    """Write arrays under their names, as the suffix says."""
    if path.suffix not in (_SAFE, ".pth", ".pt"):
        raise BadFile("is no name for PyTorch's weights", help="`.pth`, `.pt` or `.safetensors`")
    with replacing(path) as part:
        if path.suffix == _SAFE:
            from safetensors import SafetensorError
            from safetensors.numpy import save_file

            try:
                save_file(dict(state), part, {"format": "pt"})
            except SafetensorError as error:  # a full disk
                raise BadFile(f"cannot be written: {error}") from error
        else:
            _pickled().write_state(part, state)


def _pickled() -> Any:
    """The part of the backend for PyTorch that knows its files: nothing else imports it."""
    if find_spec("torch") is None:
        raise MissingDependency("torch", "torch")
    return import_module(f"{backends()['torch'].module}.state_dict")
