"""Tiny networks of which a transfer case freezes the beginning, trained by their generated code in this process."""

import csv
import runpy
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import cnnspec
from cnnspec.lower.backend import backend as find_backend
from cnnspec.train.generate import build_files

SPEC = """\
cnnspec: 1
name: tiny
input: {channels: 2, size: 8}
preprocess: {scale: 1/255}
params: {classes: 3}
layers:
  - {conv: 6, kernel: 3, norm: batch_norm, activation: relu, name: block1}
  - {max_pool: 2}
  - {conv: 8, kernel: 3, norm: batch_norm, activation: relu, name: block2}
  - {dropout: 0.3, name: drop}
  - {conv: 8, kernel: 3, norm: batch_norm, activation: prelu, name: block3}
  - global_avg_pool
  - {dense: 6, activation: relu, name: fc1}
  - {dense: $classes, name: fc2}
transfer:
  head: [fc1, fc2]
  boundaries: [block1, block2]
  cases:
    small_similar: {freeze: ["*"], replace: [block3, fc2]}
    small_different:
      freeze: ["*"]
      features: {from: block2, layers: [global_avg_pool, {dense: 5, activation: relu, name: a}, {dense: 3, name: b}]}
    large_similar: {freeze_through: fc1, replace: [fc2], unfreeze: {2: [block3, fc1]}}
    large_different: {replace: [fc2]}
"""
RECIPE = "optimizer: {sgd: 0.1, momentum: 0.9}, epochs: 2, batch_size: 16"
AUX = """\
outputs:
  side: {from: block3, training_only: true, loss_weight: 0.3, layers: [flatten, {dense: 3, name: fc}]}
"""


def data_file(folder: Path, images: int = 70, seed: int = 0) -> Path:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, images)
    pixels = draw.integers(0, 120, (images, 8, 8, 2)) + 60 * labels[:, None, None, None] * (np.arange(8) < 4)[:, None]
    path = folder / "data.npz"
    np.savez(path, x_train=pixels.astype(np.uint8), y_train=labels)
    return path


def build(folder, backend, case="small_similar", more="split: 0.2", spec=SPEC, data=""):
    """A folder with generated files, data for them and first weights."""
    folder.mkdir(parents=True, exist_ok=True)
    data = data or f"{{npz: {data_file(folder)}}}"
    path = folder / "tiny.yaml"
    path.write_text(f"{spec}train: {{{RECIPE}, data: {data}, {more}}}\n")
    net = cnnspec.load(str(path), transfer=case)
    for name, content in build_files(net.graph, backend, net.recipe).items():
        (folder / name).write_bytes(content)
    write_weights(folder, net, backend, 0)
    return net


def write_weights(folder: Path, net, backend: str, seed: int) -> None:
    """Weights with statistics that are no batch's own, so that frozen norms show."""
    draw = np.random.default_rng(seed + 1)
    weights = {key: np.array(value) for key, value in net.weights(seed).items()}
    for key, value in weights.items():
        if key.endswith(("running_mean", "running_var", "mean", "variance")):
            weights[key] = draw.uniform(0.5, 1.5, value.shape).astype(np.float32)
    found = find_backend(backend)
    found.write_weights(net.graph, weights, folder / f"first{found.weights_suffix}")


def train(folder: Path, run: str, *options: str, status: int | str = 0) -> None:
    """Run `train.py`, which ends with a status or a message; features are kept in `folder`/kept unless the options say otherwise."""
    (first,) = folder.glob("first.*")
    argv = ["train.py", "--run", str(folder / run), "--device", "cpu", "--weights", str(first)]
    if not any("features" in option for option in options):
        argv += ["--features", str(folder / "kept")]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before, path = sys.argv, list(sys.path)
    sys.argv = [*argv, *options]
    sys.path.insert(0, str(folder))
    code = 0
    try:
        runpy.run_path(str(folder / "train.py"), run_name="__main__")
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv, sys.path[:] = before, path
        if "keras" in sys.modules:  # a recipe of mixed precision sets it for the whole process
            sys.modules["keras"].config.set_dtype_policy("float32")
        for name in ("model", "data"):
            sys.modules.pop(name, None)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert code == status


def rows(folder: Path, run: str) -> list[dict[str, float]]:
    with (folder / run / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(net, backend: str, folder: Path, run: str, name: str = "final") -> dict[str, np.ndarray]:
    found = find_backend(backend)
    return found.read_weights(net.graph, folder / run / f"{name}{found.weights_suffix}")


def assert_close(net, backend: str, folder: Path, one: str, other: str, within: float) -> None:
    """Two runs came to the same weights and figures."""
    first, second = weights(net, backend, folder, one), weights(net, backend, folder, other)
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_allclose(second[key], value, rtol=within, atol=within, err_msg=key)
    for a, b in zip(rows(folder, one), rows(folder, other), strict=True):
        assert a == pytest.approx(b, rel=within, abs=within)


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "kept").iterdir()) if (folder / "kept").exists() else []
