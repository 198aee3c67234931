"""Data to read, written as their publishers write them, and the `data.py` of small recipes."""

import gzip
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import yaml

import cnnspec
from cnnspec.train.data_file import data_source


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file of bytes: two zeros, 8 for bytes, the number of axes, their lengths, the values."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, name: str, images: np.ndarray, labels: Any, packed: bool = True) -> None:
    """The two files of one part."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", images), ("labels-idx1", np.asarray(labels))):
        content = idx_bytes(array)
        path = folder / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)


def numbers(seed: int, *shape: int) -> np.ndarray:
    """Bytes to tell images apart by."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def source(train: dict[str, Any], folder: Path, channels: int = 1, size: Any = 28, **sections: Any) -> str:
    """The text of `data.py` for a network with 10 outputs."""
    recipe = {"optimizer": {"sgd": 0.1}, "epochs": 2, "batch_size": 8, **train}
    spec = {"cnnspec": 1, "name": "small", "input": {"channels": channels, "size": size}, **sections}
    classes = len(sections.get("labels", range(10)))
    spec |= {"layers": ["flatten", {"dense": classes}], "train": recipe}
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(spec))
    net = cnnspec.load(file)
    assert net.recipe is not None
    return data_source(net.graph, net.recipe)


def module(text: str, folder: Path) -> Any:
    """What a `data.py` in `folder` defines."""
    made = ModuleType("data_of_a_test")
    made.__file__ = str(folder / "data.py")
    sys.modules[made.__name__] = made  # where dataclasses look for their module
    exec(compile(text, "data.py", "exec"), made.__dict__)
    return made


def data_module(train: dict[str, Any], folder: Path, channels: int = 1, size: Any = 28, **sections: Any) -> Any:
    """The generated `data.py`, in `folder`."""
    return module(source(train, folder, channels, size, **sections), folder)
