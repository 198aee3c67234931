"""Lowerings for double precision.

ONNX keeps attributes in float32, which is exact enough for a network in float32 and for no wider one. So what takes
such a number is said by arithmetic on constants instead; it is used to compare backends, never for files.
"""

from __future__ import annotations

from math import pi, sqrt

from cnnspec.backends.onnx.emit import Layer
from cnnspec.backends.onnx.table import TABLE, Lowering

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _leaky_relu(layer: Layer) -> str:
    return layer.emit("PRelu", layer.x, layer.numbers(layer.attrs["slope"], "slope"))


def _elu(layer: Layer) -> str:
    return _exponential(layer, layer.attrs["alpha"])


def _selu(layer: Layer) -> str:
    return _times(layer, _exponential(layer, _SELU_ALPHA), _SELU_SCALE)


def _exponential(layer: Layer, alpha: float) -> str:
    zero = layer.numbers(0.0, "zero")
    below = layer.emit("Sub", layer.emit("Exp", layer.emit("Min", layer.x, zero)), layer.numbers(1.0, "one"))
    return layer.emit("Add", layer.emit("Max", layer.x, zero), _times(layer, below, alpha))


def _gelu(layer: Layer) -> str:
    """x/2 · (1 + erf(x/√2)), or its approximation x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))."""
    if layer.attrs["approximate"]:
        cube = layer.emit("Mul", layer.x, layer.emit("Mul", layer.x, layer.x))
        inner = layer.emit("Add", layer.x, _times(layer, cube, 0.044715))
        part = layer.emit("Tanh", _times(layer, inner, sqrt(2 / pi)))
    else:
        part = layer.emit("Erf", _times(layer, layer.x, sqrt(0.5)))
    return layer.emit("Mul", _times(layer, layer.x, 0.5), layer.emit("Add", part, layer.numbers(1.0, "one")))


def _mish(layer: Layer) -> str:
    return layer.emit("Mul", layer.x, layer.emit("Tanh", layer.emit("Softplus", layer.x)))


def _hard_sigmoid(layer: Layer) -> str:
    shifted = layer.emit("Add", _times(layer, layer.x, 1 / 6), layer.numbers(0.5, "half"))
    return layer.emit("Clip", shifted, layer.numbers(0.0, "low"), layer.numbers(1.0, "high"))


def _hard_swish(layer: Layer) -> str:
    return layer.emit("Mul", layer.x, _hard_sigmoid(layer))


def _lrn(layer: Layer) -> str:
    """The sum over neighbouring channels as a 1×1 convolution with a band of ones."""
    channels, reach = layer.shape.channels, layer.attrs["size"] // 2
    band = [[[[float(abs(i - j) <= reach)]] for j in range(channels)] for i in range(channels)]
    total = layer.emit("Conv", layer.emit("Mul", layer.x, layer.x), layer.numbers(band, "band"), kernel_shape=(1, 1))
    base = layer.emit("Add", _times(layer, total, layer.attrs["alpha"]), layer.numbers(layer.attrs["k"], "k"))
    return layer.emit("Div", layer.x, layer.emit("Pow", base, layer.numbers(layer.attrs["beta"], "beta")))


def _batch_norm(layer: Layer) -> str:
    import numpy as np

    with np.errstate(all="ignore"):  # what is not finite is seen where it is compared
        scale = 1 / np.sqrt(layer.load("running_var") + layer.attrs["epsilon"])
    scale = scale if (weight := layer.load("weight")) is None else scale * weight
    shape = (-1, *[1] * (len(layer.shape) - 1))
    centred = layer.emit("Sub", layer.x, layer.param("running_mean", *shape[1:]))
    y = layer.emit("Mul", centred, layer.numbers(scale.reshape(shape), "scale"))
    return layer.emit("Add", y, layer.param("bias", *shape[1:])) if "bias" in layer.params else y


def _layer_norm(layer: Layer) -> str:
    """Mean and variance of the channels, which are the axis behind the batch."""
    ones = [1] * (len(layer.shape) - 1)
    centred = layer.emit("Sub", layer.x, _mean(layer, layer.x))
    variance = _mean(layer, layer.emit("Mul", centred, centred))
    deviation = layer.emit("Sqrt", layer.emit("Add", variance, layer.numbers(layer.attrs["epsilon"], "epsilon")))
    y = layer.emit("Div", centred, deviation)
    y = layer.emit("Mul", y, layer.param("weight", *ones)) if "weight" in layer.params else y
    return layer.emit("Add", y, layer.param("bias", *ones)) if "bias" in layer.params else y


def _mean(layer: Layer, x: str) -> str:
    return layer.emit("ReduceMean", x, layer.indices((1,), "axes"))


def _times(layer: Layer, x: str, factor: float) -> str:
    return layer.emit("Mul", x, layer.numbers(factor, "factor"))


EXACT: dict[str, Lowering] = TABLE | {
    "batch_norm": _batch_norm,
    "elu": _elu,
    "gelu": _gelu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
    "layer_norm": _layer_norm,
    "leaky_relu": _leaky_relu,
    "lrn": _lrn,
    "mish": _mish,
    "selu": _selu,
}
