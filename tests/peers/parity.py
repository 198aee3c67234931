"""One network in its own framework and in cnnspec's three, from the same file of weights."""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from agreement import agree

import cnnspec

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras

Array = np.ndarray[Any, Any]

FLOAT64 = 1e-10  # of the largest logit; right networks of any depth come to 1e-12
FLOAT32 = 1e-5
SELF_ERROR = 4  # times PyTorch's own error in float32, which grows with the depth


Logits = Mapping[str, Array]
"""What one network gives, by precision."""
BOTH = ("float32", "float64")


def images(size: int, count: int = 2) -> Array:
    """Blurred noise (count, 3, size, size): images that do not look alike once they have been averaged."""
    coarse = np.random.default_rng(size).normal(size=(count, 3, 9, 9)).astype(np.float32)
    block = np.ones((1, 1, -(-size // 9), -(-size // 9)), np.float32)
    return np.ascontiguousarray(np.kron(coarse, block)[..., :size, :size])


def samples(size: int) -> Array:
    """Images to take statistics from; the fewer pixels reach the last layers, the more it takes."""
    return images(size, 4 if size > 128 else 16)


def check(net: cnnspec.Net, file: str, x: Array, peer: Logits, folder: Path, in_keras: Sequence[str] = BOTH) -> None:
    """Fail unless cnnspec's networks, with the weights that the peer saved in `file`, give the peer's logits.

    Keras runs in the precisions `in_keras`. Where the peer has no float32, what it gives in float64 counts.
    """
    exact = peer["float64"]
    scale = np.abs(exact).max()
    assert 1e-2 < scale < 1e4, f"activations vanish or explode: the largest logit is {scale:.3g}"
    apart = np.abs(exact[0] - exact[1]).max()
    assert apart > 1e-2 * scale, f"two images give the same logits but for {apart / scale:.3g} of them"
    weights = net.load_weights(file)
    ours = {"torch": torch_logits(net.build("torch", weights), x)}
    error = np.abs(ours["torch"]["float32"] - ours["torch"]["float64"]).max()
    gc.collect()
    ours["keras"] = {name: built_in_keras(net, weights, x, name) for name in in_keras}
    ours["onnx"] = {"float32": in_onnx(net, weights, x, folder / "model.onnx")}  # the runtime has no other
    allowed = {"float32": max(FLOAT32 * scale, SELF_ERROR * error), "float64": FLOAT64 * scale}
    for name, found in ours.items():
        for kind, logits in found.items():
            expected = peer.get(kind, exact)
            apart, limit = np.abs(logits - expected).max(), allowed[kind]
            print(f"{net.name:<24}{name:<6}{kind:<9} largest logit {scale:8.3g}  apart {apart:8.2g} of {limit:8.2g}")
            agree(logits, expected, limit)


def torch_logits(model: Any, x: Array) -> Logits:
    """The logits of a module; it computes in float64 afterwards."""
    model.eval()
    with torch.no_grad():
        single = model(torch.from_numpy(x)).numpy()
        return {"float32": single, "float64": model.double()(torch.from_numpy(x).double()).numpy()}


def built_in_keras(net: cnnspec.Net, weights: Any, x: Array, kind: str) -> Array:
    """The logits of our model in Keras."""
    with precision(kind):
        return keras_logits(net.build("keras", weights), x)


def keras_logits(model: Any, x: Array) -> Array:
    """The logits of a model in Keras for images with channels first."""
    given = np.ascontiguousarray(x.transpose(0, 2, 3, 1), model.dtype)
    return keras.ops.convert_to_numpy(model(given, training=False))


def in_onnx(net: cnnspec.Net, weights: Any, x: Array, path: Path) -> Array:
    """The logits of the exported file in ONNX Runtime."""
    written = net.export(path, weights)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": x})
    for file in written:
        file.unlink()
    return found


@contextmanager
def precision(name: str) -> Iterator[None]:
    """What Keras makes meanwhile computes in this precision, and is forgotten afterwards."""
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        keras.utils.clear_session()
