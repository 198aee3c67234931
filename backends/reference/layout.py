"""Ops that move, add, drop, scale or bring together values, without weights."""

import math
from collections.abc import Callable
from functools import reduce

import numpy as np

from cnnspec.backends.reference.arrays import Array, Four, Two, pad


def flatten(x: Array) -> Array:
    """One vector in the order channels, height, width."""
    return x.reshape(len(x), -1)


def zero_pad(x: Array, *, pads: Four) -> Array:
    """Zeros added at (top, left, bottom, right)."""
    return pad(x, pads)


def crop(x: Array, *, edges: Four) -> Array:
    """Pixels taken off at (top, left, bottom, right)."""
    top, left, bottom, right = edges
    return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]


def upsample(x: Array, *, factor: Two, mode: str) -> Array:
    """Every pixel repeated (`nearest`), or straight lines drawn between their centres (`bilinear`), axis by axis."""
    enlarge: Callable[[Array, int, int], Array] = _interpolate if mode == "bilinear" else np.repeat
    return enlarge(enlarge(x, factor[0], 2), factor[1], 3)


def _interpolate(x: Array, factor: int, axis: int) -> Array:
    """Pixel i has its centre at i + 1/2; before the first and behind the last centre the line is flat."""
    size = x.shape[axis]
    place = (np.arange(size * factor) + 0.5) / factor - 0.5
    place = np.clip(place, 0, size - 1)
    before = np.floor(place).astype(int)
    behind = np.minimum(before + 1, size - 1)
    part = (place - before).astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1 - axis))
    return np.asarray(x.take(before, axis) * (1 - part) + x.take(behind, axis) * part)


def channel_shuffle(x: Array, *, groups: int) -> Array:
    """Channels as (groups, n) become (n, groups)."""
    n, channels, height, width = x.shape
    return x.reshape(n, groups, channels // groups, height, width).swapaxes(1, 2).reshape(x.shape)


def scale(x: Array, *, factor: float) -> Array:
    """A constant times the input."""
    return factor * x


def add(*inputs: Array) -> Array:
    """The sum of all inputs."""
    return reduce(np.add, inputs)


def multiply(*inputs: Array) -> Array:
    """The product of all inputs; an axis of 1 is stretched."""
    return math.prod(inputs[1:], start=inputs[0])


def concat(*inputs: Array) -> Array:
    """The channels of all inputs, one input behind the other."""
    return np.concatenate(inputs, axis=1)
