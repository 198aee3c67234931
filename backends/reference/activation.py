"""Activations: elementwise functions, and softmax over the channels.

Where a formula as it is written would overflow, an equal one stands in its place.
"""

import math

import numpy as np

from cnnspec.backends.reference.arrays import Array, Params, per_channel

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6)."""
    return np.clip(x, 0, 6)


def leaky_relu(x: Array, *, slope: float) -> Array:
    """The input x where x ≥ 0, slope·x elsewhere."""
    return np.where(x >= 0, x, slope * x)


def prelu(x: Array, params: Params) -> Array:
    """The input x where x ≥ 0, elsewhere x times the slope of its channel."""
    return np.where(x >= 0, x, per_channel(params["weight"], x) * x)


def elu(x: Array, *, alpha: float) -> Array:
    """The input x where x ≥ 0, alpha·(exp(x) − 1) elsewhere."""
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


def selu(x: Array) -> Array:
    """ELU with the two constants under which mean 0 and variance 1 stay as they are."""
    return SELU_SCALE * elu(x, alpha=SELU_ALPHA)


def gelu(x: Array, *, approximate: bool) -> Array:
    """x·Φ(x) with Φ(x) = (1 + erf(x/√2)) / 2, or the tanh formula for it."""
    if approximate:
        return np.asarray(x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)
    erf = np.vectorize(math.erf, otypes=[x.dtype])
    return np.asarray(x * (1 + erf(x / math.sqrt(2))) / 2)


def silu(x: Array) -> Array:
    """x·sigmoid(x)."""
    return x * sigmoid(x)


def mish(x: Array) -> Array:
    """x·tanh(log(1 + exp(x)))."""
    return np.asarray(x * np.tanh(np.logaddexp(0, x)))


def hard_sigmoid(x: Array) -> Array:
    """min(max(x/6 + 1/2, 0), 1)."""
    return np.clip(x / 6 + 0.5, 0, 1)


def hard_swish(x: Array) -> Array:
    """x·hard_sigmoid(x)."""
    return x * hard_sigmoid(x)


def hard_tanh(x: Array) -> Array:
    """min(max(x, −1), 1)."""
    return np.clip(x, -1, 1)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(−x))."""
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return np.asarray(np.tanh(x))


def softmax(x: Array) -> Array:
    """exp(x) / Σ exp(x) over the channels."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
