"""Functions that a generated file defines where it uses them: their text is copied, docstrings and all."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from keras import layers, ops


def average_pool(x, size, strides, *padding, name: str):
    """The mean of each window's pixels, without those of the padding."""
    counted = ops.ones_like(x)
    for i, edges in enumerate(padding):
        x = layers.ZeroPadding2D(edges, name=f"{name}-pad{i}")(x)
        counted = layers.ZeroPadding2D(edges, name=f"{name}-outside{i}")(counted)
    x = layers.AveragePooling2D(size, strides, name=f"{name}-pool")(x)
    counted = layers.AveragePooling2D(size, strides, name=f"{name}-counted")(counted)
    return layers.Multiply(name=name)([x, 1 / counted])


def local_response_norm(x, size, alpha, beta, k, *, name: str):
    """Channels divided by (k + alpha * sum of squares of `size` neighbours) ** beta."""
    around = ((0, 0), (0, 0), (0, 0), (size // 2, size // 2))
    squares = ops.pad(ops.square(x), around)
    total = sum(squares[..., i : i + x.shape[-1]] for i in range(size))
    return layers.Multiply(name=name)([x, ops.power(k + alpha * total, -beta)])


def channel_shuffle(x, groups: int, *, name: str):
    """Channels dealt out anew: (groups, n) becomes (n, groups)."""
    _, height, width, channels = x.shape
    split = (height, width, groups, channels // groups)
    x = layers.Reshape(split, name=f"{name}-split")(x)
    x = layers.Permute((1, 2, 4, 3), name=f"{name}-swap")(x)
    return layers.Reshape((height, width, channels), name=name)(x)


def grouped_conv_transpose(x, groups: int, filters: int, *args, name: str, **options):
    """A transposed convolution of each group of channels by itself."""
    parts = []
    for i, part in enumerate(ops.split(x, groups, axis=-1)):
        options["name"] = f"{name}-{i}"
        parts.append(layers.Conv2DTranspose(filters // groups, *args, **options)(part))
    return layers.Concatenate(name=name)(parts)
