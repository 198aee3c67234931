"""Functions that a generated file defines where it uses them: their text is copied, docstrings and all."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import keras
from keras import layers, ops


def as_layer(x, function, *, name: str):
    """A function of x as one layer: the names that Keras chooses stay inside."""
    inner = keras.Input(x.shape[1:], dtype=x.dtype)
    y = keras.Model(inner, function(inner), name=f"{name}-inner")(x)
    return layers.Identity(name=name)(y)


def scaled(x, factor: float, *, name: str):
    """A product with a constant, which `layers.Rescaling` would round to float32."""
    return as_layer(x, lambda x: x * factor, name=name)


def gelu(x, *, approximate: bool, name: str):
    """The Gaussian error linear unit, by tanh if it is `approximate`."""
    return as_layer(x, lambda x: ops.gelu(x, approximate), name=name)


def leaky_relu(x, slope: float, *, name: str):
    """A leaky ReLU whose slope may be negative, unlike that of `layers.LeakyReLU`."""
    return as_layer(x, lambda x: ops.leaky_relu(x, slope), name=name)


def pad_with_infinity(x, edges, *, name: str):
    """Maps with pixels around them that are no window's maximum."""
    around, least = ((0, 0), *edges, (0, 0)), float("-inf")
    return as_layer(x, lambda x: ops.pad(x, around, constant_values=least), name=name)


def average_pool(x, size, strides, *padding, name: str):
    """The mean of each window's pixels, without those of the padding."""

    def means(x):
        counted = ops.ones_like(x)
        for edges in padding:
            pad = layers.ZeroPadding2D(edges)
            x, counted = pad(x), pad(counted)
        pool = layers.AveragePooling2D(size, strides)
        return pool(x) / pool(counted)

    return as_layer(x, means, name=name)


def local_response_norm(x, size, alpha, beta, k, *, name: str):
    """Channels divided by (k + alpha * sum of squares of `size` neighbours) ** beta."""

    def normed(x):
        around = ((0, 0), (0, 0), (0, 0), (size // 2, size // 2))
        squares = ops.pad(ops.square(x), around)
        total = sum(squares[..., i : i + x.shape[-1]] for i in range(size))
        return x * ops.power(k + alpha * total, -beta)

    return as_layer(x, normed, name=name)


def channel_shuffle(x, groups: int, *, name: str):
    """Channels dealt out anew: (groups, n) becomes (n, groups)."""
    _, height, width, channels = x.shape
    split = (height, width, groups, channels // groups)
    x = layers.Reshape(split, name=f"{name}-split")(x)
    x = layers.Permute((1, 2, 4, 3), name=f"{name}-swap")(x)
    return layers.Reshape((height, width, channels), name=name)(x)


def grouped_conv_transpose(x, groups: int, filters: int, *args, name: str, **options):
    """A transposed convolution of each group of channels by itself."""
    split = as_layer(x, lambda x: ops.split(x, groups, axis=-1), name=f"{name}-split")
    parts = []
    for i, part in enumerate(split):
        options["name"] = f"{name}-{i}"
        parts.append(layers.Conv2DTranspose(filters // groups, *args, **options)(part))
    return layers.Concatenate(name=name)(parts)
