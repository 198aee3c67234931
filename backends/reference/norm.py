"""Normalisation and dropout."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnspec.backends.reference.arrays import NONE, Array, Params, affine, per_channel


def batch_norm(x: Array, params: Params, *, epsilon: float, momentum: float, scale: bool, shift: bool) -> Array:
    """Every channel normalised by its running mean and variance, then scaled and shifted."""
    mean, variance = per_channel(params["running_mean"], x), per_channel(params["running_var"], x)
    return affine((x - mean) / np.sqrt(variance + epsilon), params)


class Trained(NamedTuple):
    """What batch normalisation gives in training: its output, and the running statistics after this batch."""

    y: Array
    running_mean: Array
    running_var: Array


def batch_norm_in_training(x: Array, params: Params, *, epsilon: float, momentum: float) -> Trained:
    """Every channel normalised by its mean and biased variance over this batch, towards which the running ones move."""
    rest = (0, *range(2, x.ndim))
    mean, variance = x.mean(axis=rest), x.var(axis=rest)
    y = affine((x - per_channel(mean, x)) / np.sqrt(per_channel(variance, x) + epsilon), params)
    kept, new = momentum, 1 - momentum
    return Trained(y, kept * params["running_mean"] + new * mean, kept * params["running_var"] + new * variance)


def layer_norm(x: Array, params: Params = NONE, *, epsilon: float, scale: bool, shift: bool) -> Array:
    """Every pixel normalised by the mean and biased variance of its channels, then scaled and shifted."""
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return affine((x - mean) / np.sqrt(variance + epsilon), params)


def lrn(x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
    """Divided by (k + alpha·Σx²)^beta, the sum over the `size` channels around each; there are none beyond the ends."""
    around = np.pad(x * x, ((0, 0), (size // 2, size // 2), (0, 0), (0, 0)))
    total = sliding_window_view(around, size, axis=1).sum(axis=-1)
    return np.asarray(x / (k + alpha * total) ** beta)


def dropout(x: Array, *, rate: float) -> Array:
    """The identity: nothing is dropped outside of training."""
    return x


def spatial_dropout(x: Array, *, rate: float) -> Array:
    """The identity: nothing is dropped outside of training."""
    return x
