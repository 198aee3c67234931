"""What weights start from where no file has them."""

import math
import re

import keras


def fans(layer: keras.Layer) -> tuple[int, int]:
    """How many weights lead to one output of a layer, and from one input."""
    *area, before, after = layer.kernel.shape
    pixels = math.prod(area)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return pixels, pixels * before * after
    if isinstance(layer, keras.layers.Conv2DTranspose):
        before, after = after, before
    return pixels * before, pixels * after


def scaled(scale: float, fan: float, distribution: str) -> keras.Initializer:
    """Values about 0 with the variance `scale` / `fan`."""
    deviation = math.sqrt(scale / fan)
    if distribution == "uniform":
        bound = math.sqrt(3) * deviation
        return keras.initializers.RandomUniform(-bound, bound)
    if distribution == "normal":
        return keras.initializers.RandomNormal(0.0, deviation)
    # that of a normal distribution cut at twice its deviation
    return keras.initializers.TruncatedNormal(0.0, deviation / 0.8796256610342398)


def matches(layer: keras.Layer, pattern: str) -> bool:
    """Whether a layer, or what it is a part of, is called as a pattern says."""
    return bool(re.fullmatch(f"({pattern})(-.*)?", layer.name))


def draw(layer: keras.Layer, names: tuple[str, ...], start: keras.Initializer) -> None:
    """Give those variables of a layer that have one of these names their values."""
    for variable in layer.weights:
        if variable.name in names:
            variable.assign(start(variable.shape, variable.dtype))
