"""What the definitions share: the type of an array, and windows that slide over maps.

Maps are (batch, channels, height, width), vectors (batch, channels).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
Params = Mapping[str, Array]
"""A layer's parameters by name, in canonical layout."""
NONE: Params = MappingProxyType({})
Two = tuple[int, int]
Four = tuple[int, int, int, int]


def pad(x: Array, edges: Four, value: float = 0.0) -> Array:
    """The maps with `value` around them at (top, left, bottom, right)."""
    top, left, bottom, right = edges
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def windows(x: Array, kernel: Two, stride: Two, dilation: Two = (1, 1)) -> Array:
    """What the kernel sees from every place: (batch, channels, out height, out width, kernel height, kernel width)."""
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    places = sliding_window_view(x, extent, axis=(2, 3))
    return places[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def per_channel(values: Array, x: Array) -> Array:
    """One value for every channel, shaped so that it meets the channels of `x`."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


def affine(x: Array, params: Params) -> Array:
    """Every channel times its weight, plus its bias, as far as there are any."""
    if "weight" in params:
        x = x * per_channel(params["weight"], x)
    if "bias" in params:
        x = x + per_channel(params["bias"], x)
    return x
