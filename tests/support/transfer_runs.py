"""Generated training code of transfer cases, run in this process on a few images that are drawn."""

import csv
import json
import runpy
import signal
import sys
from pathlib import Path

import numpy as np

import cnnspec
from cnnspec.lower.backend import backend as find_backend
from cnnspec.train.generate import build_files


def write_data(folder: Path, shape: tuple[int, int, int], classes: int, count: int) -> Path:
    """Images in which classes differ."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % classes
    channels, height, width = shape
    pixels = draw.integers(0, 120, (count, height, width, channels)) + 20 * labels[:, None, None, None]
    path = folder / "data.npz"
    np.savez(path, x_train=pixels.astype(np.uint8), y_train=labels)
    return path


def write_code(folder: Path, net: cnnspec.Net, backend: str, weights) -> None:
    """`train.py` with what belongs to it, and `initial` weights of the framework."""
    folder.mkdir(exist_ok=True)
    for name, content in build_files(net.graph, backend, net.recipe).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    found = find_backend(backend)
    found.write_weights(net.graph, weights, folder / f"initial{found.weights_suffix}")


def train_here(folder: Path, net: cnnspec.Net, backend: str, run: str = "run", *options: str):
    """Run `train.py` from the initial weights; the last weights, in canonical layout by their keys."""
    suffix = find_backend(backend).weights_suffix
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    argv, path = sys.argv, list(sys.path)
    sys.argv = ["train.py", "--run", str(folder / run), "--weights", str(folder / f"initial{suffix}"), *options]
    sys.path.insert(0, str(folder))
    try:
        runpy.run_path(str(folder / "train.py"), run_name="__main__")
    except SystemExit as stop:  # Keras's ends with a status
        if stop.code:
            raise
    finally:
        sys.argv, sys.path[:] = argv, path
        for name in ("model", "data"):
            sys.modules.pop(name, None)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return find_backend(backend).read_weights(net.graph, folder / run / f"final{suffix}")


def extended(folder: Path, name: str, case: str, size: int, classes: int, **recipe) -> cnnspec.Net:
    """A network of the zoo under a case, with a recipe and drawn images of its own."""
    channels = cnnspec.load(name).graph.input.shape.channels
    data = {"npz": str(write_data(folder, (channels, size, size), classes, 3 * classes))}
    own = {"optimizer": {"sgd": 0.05, "momentum": 0.9}, "epochs": 2, "batch_size": 4, "schedule": "constant"}
    nothing = dict.fromkeys(("ema", "split", "checkpoints", "early_stop", "clip"))
    others = {"augment": [], "metrics": ["accuracy"]} | nothing  # of the recipe that is inherited
    sections = {"data": data} | own | others | recipe
    path = folder / f"{name}_{case}.yaml"
    path.write_text(f"cnnspec: 1\nname: own\nextends: {name}\ntrain: {json.dumps(sections)}\n")
    return cnnspec.load(str(path), transfer=case, params={"classes": classes, "input.size": size})


def figures(run: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics, without what a clock says."""
    with (run / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
