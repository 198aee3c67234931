"""Generated Keras training scripts as processes, on a few images that are drawn."""

import os
import subprocess
import sys
from pathlib import Path

from cnnspec.backends.keras import BACKEND
from cnnspec.lower.fold import fold

DATA = """
from typing import NamedTuple
import numpy as np

CLASSES = [str(i) for i in range(5)]
SEED = 0
Batch = tuple[np.ndarray, np.ndarray]
class DataError(Exception): pass
class Part:
    def __init__(self, seed, count):
        draw = np.random.default_rng(seed)
        self.labels = draw.integers(0, 5, count)
        self.images = draw.normal(size=(count, 8, 8, 2)).astype("float32") + self.labels[:, None, None, None] / 2
    def __len__(self): return len(self.labels)
    def digest(self): return f"{len(self)} images"
class Data(NamedTuple):
    train: Part
    validation: Part | None
    test: Part | None
def load_data(folder=None):
    return Data(Part(1, COUNT), Part(2, 23), Part(3, 23))
def batches(part, batch_size, *, epoch=None, start=0, rank=0, world=1):
    order = np.arange(len(part))
    if epoch is not None:
        order = np.random.default_rng([SEED, epoch]).permutation(order)
    for first in range(start * batch_size, len(order), batch_size):
        mine = order[first:first + batch_size]
        yield part.images[mine], part.labels[mine]
"""


def write_run(folder: Path, net, count: int = 100) -> Path:
    """The generated files, with other data in `data.py`; returns the path of `train.py`."""
    program = fold(net.graph)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(BACKEND.source(program))
    (folder / "train.py").write_text(BACKEND.train_source(program, net.recipe))
    (folder / "data.py").write_text(DATA.replace("COUNT", str(count)))
    return folder / "train.py"


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""} | more


def start(script: Path, run: Path, *arguments: str, **more: str) -> subprocess.Popen:
    """Training in a process."""
    command = [sys.executable, str(script), "--run", str(run), *arguments]
    return subprocess.Popen(command, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(script: Path, run: Path, *arguments: str, **more: str) -> tuple[int, str, str]:
    """Training to its end: the exit status, and what it said."""
    process = start(script, run, *arguments, **more)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
