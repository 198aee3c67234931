"""How fast generated code and exported files run, as ratios against the frameworks' own networks.

    python benchmarks/runtime.py [--only torch|keras|onnx|NAME ...] [--rounds N] [--busy]

Both sides of a pair have the same weights, and run in one process in turn, AB BA AB ..., after both have warmed up;
a figure is the median of the ratios of neighbouring runs. With `--busy`, for a machine that does other work meanwhile,
it is processor time on one thread instead of time. Needs torchvision and the extras `torch`, `keras` and `onnx`;
for exported files `onnxscript`, and `tf2onnx` for Keras's. What is not installed is left out, and said so. Exits 1 if
a target is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any, NamedTuple

from measure import row

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
LEAST = 0.98
SIZE = 224
Run = Callable[[], Any]


class Pair(NamedTuple):
    """The same work done by a peer and by what cnnspec makes."""

    what: str
    peer: Run
    ours: Run


def measured(pair: Pair, rounds: int, clock: Callable[[], float]) -> list[float]:
    """How many times as long as ours the peer takes, once for each round."""
    for run in (pair.peer, pair.ours) * 2:
        run()
    ratios = []
    for number in range(rounds):
        order = (pair.peer, pair.ours) if number % 2 else (pair.ours, pair.peer)
        seconds = {}
        for run in order:
            start = clock()
            run()
            seconds[run] = clock() - start
        ratios.append(seconds[pair.peer] / seconds[pair.ours])
    return ratios


# ---- PyTorch


def torch_resnet50(folder: Path) -> Iterator[Pair]:
    """ResNet-50 against torchvision's, in both memory formats."""
    import torch

    for memory_format in (torch.contiguous_format, torch.channels_last):
        peer, ours = (model.to(memory_format=memory_format) for model in _torch_models("resnet50", folder))
        shown = str(memory_format).removeprefix("torch.")
        yield Pair(f"forward, 2 images, {shown}", *(_forward(model, 2, memory_format) for model in (peer, ours)))
        yield Pair(f"training step, 4 images, {shown}", *(_step(model, 4, memory_format) for model in (peer, ours)))


def _torch_models(name: str, folder: Path, ours: str = "") -> tuple[Any, Any]:
    import torch
    from vision import models

    import cnnspec

    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    peer = getattr(models, name)(weights=None, **options)
    torch.save(peer.state_dict(), folder / "peer.pth")
    net = cnnspec.load(ours or name)
    return peer, net.build("torch", net.load_weights(f"torchvision:{folder / 'peer.pth'}"))


def _forward(model: Any, batch: int, memory_format: Any) -> Run:
    import torch

    x = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=memory_format)

    def run() -> None:
        model.eval()
        with torch.inference_mode():
            model(x)

    return run


def _step(model: Any, batch: int, memory_format: Any) -> Run:
    import torch

    x = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=memory_format)
    classes = torch.arange(batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    loss = torch.nn.CrossEntropyLoss()

    def run() -> None:
        model.train()
        optimizer.zero_grad()
        loss(model(x), classes).backward()
        optimizer.step()

    return run


# ---- Keras


def keras_resnet50(folder: Path) -> Iterator[Pair]:
    """ResNet-50 against keras.applications'."""
    import numpy as np
    import tensorflow as tf

    peer, ours = _keras_models("ResNet50", "resnet50_keras", folder)
    x = tf.random.normal((2, SIZE, SIZE, 3))

    def forward(model: Any) -> Run:
        compiled = tf.function(lambda x: model(x, training=False))
        return lambda: compiled(x).numpy()

    yield Pair("forward in a tf.function, 2 images", forward(peer), forward(ours))
    images, classes = np.random.default_rng(0).normal(size=(4, SIZE, SIZE, 3)).astype(np.float32), np.arange(4)

    def step(model: Any) -> Run:
        import keras

        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), loss)
        return lambda: model.train_on_batch(images, classes)

    yield Pair("training step, 4 images", step(peer), step(ours))


def _keras_models(application: str, name: str, folder: Path) -> tuple[Any, Any]:
    import keras

    import cnnspec

    peer = getattr(keras.applications, application)(weights=None, classifier_activation=None)
    peer.save_weights(folder / "peer.weights.h5")
    net = cnnspec.load(name)
    return peer, net.build("keras", net.load_weights(f"keras:{folder / 'peer.weights.h5'}"))


# ---- ONNX Runtime


def torch_export(name: str, ours: str) -> Callable[[Path], Iterator[Pair]]:
    """A network's file against the one that PyTorch exports from torchvision's."""

    def pairs(folder: Path) -> Iterator[Pair]:
        import torch
        from vision import models

        import cnnspec

        options = {"init_weights": False} if name == "googlenet" else {}
        peer = getattr(models, name)(weights=None, **options).eval()
        torch.save(peer.state_dict(), folder / "peer.pth")
        batch = torch.export.Dim("N")
        example = (torch.zeros(2, 3, SIZE, SIZE),)
        torch.onnx.export(peer, example, folder / "peer.onnx", dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
        net = cnnspec.load(ours)
        net.export(folder / "ours.onnx", net.load_weights(f"torchvision:{folder / 'peer.pth'}"))
        yield Pair("1 image", *_sessions(folder, (1, 3, SIZE, SIZE)))

    return pairs


def keras_export(application: str, ours: str) -> Callable[[Path], Iterator[Pair]]:
    """A network's file against the one that Keras exports from keras.applications'."""

    def pairs(folder: Path) -> Iterator[Pair]:
        import keras
        import numpy as np

        import cnnspec

        peer = getattr(keras.applications, application)(weights=None, classifier_activation=None)
        size = peer.input_shape[1]
        peer(np.zeros((1, size, size, 3), np.float32))  # Keras exports only what has been called
        peer.save_weights(folder / "peer.weights.h5")
        peer.export(folder / "peer.onnx", format="onnx", verbose=False)
        net = cnnspec.load(ours)
        net.export(folder / "ours.onnx", net.load_weights(f"keras:{folder / 'peer.weights.h5'}"))
        yield Pair("1 image", *_sessions(folder, (1, 3, size, size)))

    return pairs


def _sessions(folder: Path, shape: tuple[int, ...]) -> tuple[Run, Run]:
    """Both files in ONNX Runtime, each with images in the layout that it takes; their results must agree."""
    import numpy as np
    import onnxruntime

    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    runs, results = [], []
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))  # 0 is as many as there are cores
    for name in ("peer", "ours"):
        session = onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        y = x if given.shape[1] == 3 else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        runs.append(lambda session=session, feed={given.name: y}: session.run(None, feed))
        results.append(runs[-1]()[0])
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-3 * np.abs(results[0]).max())
    return runs[0], runs[1]


SECTIONS: dict[str, tuple[Callable[[Path], Iterator[Pair]], tuple[str, ...]]] = {
    "torch": (torch_resnet50, ("torch", "torchvision")),
    "keras": (keras_resnet50, ("keras", "tensorflow")),
    "onnx-vgg16": (torch_export("vgg16", "vgg16"), ("torchvision", "onnxscript", "onnxruntime")),
    "onnx-resnet50": (torch_export("resnet50", "resnet50"), ("torchvision", "onnxscript", "onnxruntime")),
    "onnx-googlenet": (
        torch_export("googlenet", "googlenet_torchvision"),
        ("torchvision", "onnxscript", "onnxruntime"),
    ),
    "onnx-xception": (keras_export("Xception", "xception"), ("keras", "tensorflow", "tf2onnx", "onnxruntime")),
}
"""What makes the pairs, and the packages it needs."""


def main() -> int:
    """Measure, print, and say whether all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), metavar="NAME")
    arguments = parser.parse_args()
    chosen = [name for name in SECTIONS if name in arguments.only or name.partition("-")[0] in arguments.only]
    if len(chosen) == 1:
        return _section(chosen[0], arguments.rounds, busy=arguments.busy)
    command = [sys.executable, __file__, "--rounds", str(arguments.rounds), *["--busy"] * arguments.busy, "--only"]
    return max([subprocess.call([*command, name]) for name in chosen], default=2)  # frameworks' threads stay apart


def _section(name: str, rounds: int, *, busy: bool) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if busy:
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    pairs, packages = SECTIONS[name]
    if missing := [package for package in packages if find_spec(package) is None]:
        print(f"left out: {name} needs {' and '.join(missing)}")
        return 0
    met = True
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs(Path(folder)):
            ratios = measured(pair, rounds, process_time if busy else perf_counter)
            value = median(ratios)
            low, _, high = quantiles(ratios, n=4)
            spread = f"   half of the rounds {low:.2f}–{high:.2f}"
            print(row(f"{name}: {pair.what}, peer / ours", value, f"≥ {LEAST}", value >= LEAST) + spread, flush=True)
            met = met and value >= LEAST
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
