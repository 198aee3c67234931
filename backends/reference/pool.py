"""Pools over windows and over whole maps."""

import numpy as np

from cnnspec.backends.reference.arrays import Array, Four, Two, pad, windows


def max_pool(x: Array, *, kernel: Two, stride: Two, pads: Four, overhang: Two) -> Array:
    """The largest value of each window; what lies outside of the map is minus infinity."""
    outside = pads[0], pads[1], pads[2] + overhang[0], pads[3] + overhang[1]
    return np.asarray(windows(pad(x, outside, -np.inf), kernel, stride).max(axis=(-2, -1)))


def avg_pool(x: Array, *, kernel: Two, stride: Two, pads: Four, overhang: Two, divisor: str) -> Array:
    """The sum of each window divided by how many of its pixels count.

    Pixels of the map always count, padding does where `divisor` is `padded`, what overhangs never does.
    """
    behind = (0, 0, *overhang)
    counts = np.ones_like(x[:1, :1])
    counts = pad(pad(counts, pads, 1.0 if divisor == "padded" else 0.0), behind)
    total = windows(pad(pad(x, pads), behind), kernel, stride).sum(axis=(-2, -1))
    return np.asarray(total / windows(counts, kernel, stride).sum(axis=(-2, -1)))


def global_avg_pool(x: Array, *, keep_dims: bool) -> Array:
    """The mean of each channel over the map."""
    return np.asarray(x.mean(axis=(2, 3), keepdims=keep_dims))


def global_max_pool(x: Array, *, keep_dims: bool) -> Array:
    """The largest value of each channel over the map."""
    return np.asarray(x.max(axis=(2, 3), keepdims=keep_dims))
