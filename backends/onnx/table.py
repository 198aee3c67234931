"""How every canonical kind is said in ONNX: one function each, which adds nodes and returns the value of the last.

A layer that changes nothing in inference returns the value that it reads, and has no node.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cnnspec.backends.onnx.emit import Layer
from cnnspec.backends.onnx.model import Attribute
from cnnspec.ops import Maps

Lowering = Callable[[Layer], str]


def _same(layer: Layer) -> str:
    """What changes nothing in inference."""
    return layer.x


def _unary(op: str, layer: Layer) -> str:
    """A node that means what the kind means, with nothing to say about it."""
    return layer.emit(op, layer.x)


# ---- convolutions and dense layers


def _conv(layer: Layer) -> str:
    """`depthwise_conv` too: a group for every input channel."""
    a = layer.attrs
    return layer.emit(
        "Conv",
        layer.x,
        *layer.given("weight", "bias"),
        kernel_shape=a["kernel"],
        strides=a["stride"],
        dilations=a["dilation"],
        pads=a["pads"],
        group=a.get("groups", layer.shapes[0].channels),
    )


def _transposed_conv(layer: Layer) -> str:
    """Runtimes take an output padding below the stride alone; a larger one is what a zero behind the input adds."""
    a = layer.attrs
    x, crop, beyond, more = layer.x, list(a["crop"]), [0, 0], [0, 0]
    for axis, (added, stride) in enumerate(zip(a["output_padding"], a["stride"], strict=True)):
        behind = added - crop[axis + 2]
        more[axis] = -(-behind // stride) if behind >= stride else 0
        crop[axis + 2] = max(more[axis] * stride - behind, 0)
        beyond[axis] = max(behind - more[axis] * stride, 0)
    if any(more):
        x = _pad(layer, (0, 0, more[0], more[1]))
    return layer.emit(
        "ConvTranspose",
        x,
        *layer.given("weight", "bias"),
        kernel_shape=a["kernel"],
        strides=a["stride"],
        dilations=a["dilation"],
        pads=tuple(crop),
        output_padding=tuple(beyond),
        group=a["groups"],
    )


def _dense(layer: Layer) -> str:
    return layer.emit("Gemm", layer.x, *layer.given("weight", "bias"), transB=1)


# ---- pools


def _max_pool(layer: Layer) -> str:
    return layer.emit("MaxPool", layer.x, **_window(layer, _with_overhang(layer)))


def _avg_pool(layer: Layer) -> str:
    """What counts as padding and what as the map is said by pads alone: runtimes differ in `ceil_mode`."""
    if layer.attrs["divisor"] == "valid":
        return layer.emit("AveragePool", layer.x, **_window(layer, _with_overhang(layer)), count_include_pad=0)
    if layer.attrs["overhang"] == (0, 0):
        return layer.emit("AveragePool", layer.x, **_window(layer, layer.attrs["pads"]), count_include_pad=1)
    padded = _pad(layer, layer.attrs["pads"])
    return layer.emit("AveragePool", padded, **_window(layer, (0, 0, *layer.attrs["overhang"])), count_include_pad=0)


def _window(layer: Layer, pads: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {"kernel_shape": layer.attrs["kernel"], "strides": layer.attrs["stride"], "pads": pads}


def _with_overhang(layer: Layer) -> tuple[int, ...]:
    top, left, bottom, right = layer.attrs["pads"]
    below, beside = layer.attrs["overhang"]
    return top, left, bottom + below, right + beside


def _global_pool(op: str, layer: Layer) -> str:
    pooled = layer.emit(op, layer.x)
    return pooled if layer.attrs["keep_dims"] else layer.emit("Flatten", pooled, axis=1)


# ---- normalisation


def _batch_norm(layer: Layer) -> str:
    """In float32 as it is, so that runtimes fuse it; else its scale and shift, computed in double precision.

    Half precision holds neither the variances of dead channels nor those of loud ones.
    """
    if layer.dtype == "float32":
        weight = layer.param("weight") if "weight" in layer.params else _filled(layer, 1.0, "ones")
        bias = layer.param("bias") if "bias" in layer.params else _filled(layer, 0.0, "zeros")
        statistics = layer.given("running_mean", "running_var")
        return layer.emit(
            "BatchNormalization", layer.x, weight, bias, *statistics, epsilon=float(layer.attrs["epsilon"])
        )
    channels = layer.params["running_mean"].shape
    scale = layer.tensor("scale", layer.dtype, channels, lambda: _folded_scale(layer))
    shift = layer.tensor("shift", layer.dtype, channels, lambda: _folded_shift(layer))
    plain = _filled(layer, 0.0, "zeros"), _filled(layer, 1.0, "ones")
    return layer.emit("BatchNormalization", layer.x, scale, shift, *plain, epsilon=0.0)


def _folded_scale(layer: Layer) -> object:
    scale = (layer.load("running_var") + layer.attrs["epsilon"]) ** -0.5
    weight = layer.load("weight")
    return scale if weight is None else weight * scale


def _folded_shift(layer: Layer) -> object:
    shift = -layer.load("running_mean") * _folded_scale(layer)
    bias = layer.load("bias")
    return shift if bias is None else shift + bias


def _filled(layer: Layer, value: float, what: str) -> str:
    return layer.numbers([value] * layer.shapes[0].channels, what)


def _layer_norm(layer: Layer) -> str:
    """ONNX normalises the last axes, so that maps are turned round for it."""
    weight = layer.param("weight") if "weight" in layer.params else _filled(layer, 1.0, "ones")
    maps = isinstance(layer.shape, Maps)
    x = layer.emit("Transpose", layer.x, perm=(0, 2, 3, 1)) if maps else layer.x
    epsilon = float(layer.attrs["epsilon"])
    y = layer.emit("LayerNormalization", x, weight, *layer.given("bias"), axis=-1, epsilon=epsilon)
    return layer.emit("Transpose", y, perm=(0, 3, 1, 2)) if maps else y


def _lrn(layer: Layer) -> str:
    """ONNX divides alpha by the number of channels in the neighbourhood."""
    a = layer.attrs
    return layer.emit(
        "LRN", layer.x, size=a["size"], alpha=float(a["alpha"] * a["size"]), beta=float(a["beta"]), bias=float(a["k"])
    )


# ---- activations


def _clip(low: float, high: float, layer: Layer) -> str:
    return layer.emit("Clip", layer.x, layer.numbers(low, "low"), layer.numbers(high, "high"))


def _leaky_relu(layer: Layer) -> str:
    return layer.emit("LeakyRelu", layer.x, alpha=float(layer.attrs["slope"]))


def _prelu(layer: Layer) -> str:
    axes = (1, 1) if isinstance(layer.shape, Maps) else ()
    return layer.emit("PRelu", layer.x, layer.param("weight", *axes))


def _elu(layer: Layer) -> str:
    return layer.emit("Elu", layer.x, alpha=float(layer.attrs["alpha"]))


def _gelu(layer: Layer) -> str:
    return layer.emit("Gelu", layer.x, approximate="tanh" if layer.attrs["approximate"] else "none")


def _silu(layer: Layer) -> str:
    return layer.emit("Mul", layer.x, layer.emit("Sigmoid", layer.x))


def _hard_sigmoid(layer: Layer) -> str:
    """ONNX's own slope is 0.2."""
    return layer.emit("HardSigmoid", layer.x, alpha=1 / 6, beta=0.5)


def _softmax(layer: Layer) -> str:
    return layer.emit("Softmax", layer.x, axis=1)


# ---- merges, and what moves or scales values


def _merge(op: str, layer: Layer) -> str:
    first, *others = layer.inputs
    for other in others:
        first = layer.emit(op, first, other)
    return first


def _concat(layer: Layer) -> str:
    return layer.emit("Concat", *layer.inputs, axis=1)


def _flatten(layer: Layer) -> str:
    return layer.emit("Flatten", layer.x, axis=1) if isinstance(layer.shapes[0], Maps) else layer.x


def _scale(layer: Layer) -> str:
    return layer.emit("Mul", layer.x, layer.numbers(layer.attrs["factor"], "factor"))


def _zero_pad(layer: Layer) -> str:
    return _pad(layer, layer.attrs["pads"])


def _pad(layer: Layer, pads: tuple[int, int, int, int]) -> str:
    top, left, bottom, right = pads
    return layer.emit("Pad", layer.x, layer.indices((0, 0, top, left, 0, 0, bottom, right), "pads"), mode="constant")


def _crop(layer: Layer) -> str:
    top, left, _, _ = layer.attrs["edges"]
    _, height, width = _maps(layer)
    starts, ends = layer.indices((top, left), "starts"), layer.indices((top + height, left + width), "ends")
    return layer.emit("Slice", layer.x, starts, ends, layer.indices((2, 3), "axes"))


def _maps(layer: Layer) -> Maps:
    assert isinstance(layer.shape, Maps), f"`{layer.kind}` is for maps"
    return layer.shape


def _upsample(layer: Layer) -> str:
    scales = layer.numbers(layer.attrs["factor"], "scales", "float32")
    if layer.attrs["mode"] == "nearest":  # pixel i comes from i // factor
        how: dict[str, Attribute] = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
    else:
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return layer.emit("Resize", layer.x, "", scales, axes=(2, 3), **how)


def _channel_shuffle(layer: Layer) -> str:
    channels, height, width = _maps(layer)
    groups = layer.attrs["groups"]
    dealt = layer.indices((0, groups, channels // groups, height, width), "groups")  # 0 keeps the batch
    whole = layer.indices((0, channels, height, width), "channels")
    turned = layer.emit("Transpose", layer.emit("Reshape", layer.x, dealt), perm=(0, 2, 1, 3, 4))
    return layer.emit("Reshape", turned, whole)


TABLE: dict[str, Lowering] = {
    "add": partial(_merge, "Add"),
    "avg_pool": _avg_pool,
    "batch_norm": _batch_norm,
    "channel_shuffle": _channel_shuffle,
    "concat": _concat,
    "conv": _conv,
    "crop": _crop,
    "dense": _dense,
    "depthwise_conv": _conv,
    "dropout": _same,
    "elu": _elu,
    "flatten": _flatten,
    "gelu": _gelu,
    "global_avg_pool": partial(_global_pool, "GlobalAveragePool"),
    "global_max_pool": partial(_global_pool, "GlobalMaxPool"),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": partial(_unary, "HardSwish"),
    "hard_tanh": partial(_clip, -1.0, 1.0),
    "layer_norm": _layer_norm,
    "leaky_relu": _leaky_relu,
    "lrn": _lrn,
    "max_pool": _max_pool,
    "mish": partial(_unary, "Mish"),
    "multiply": partial(_merge, "Mul"),
    "prelu": _prelu,
    "relu": partial(_unary, "Relu"),
    "relu6": partial(_clip, 0.0, 6.0),
    "scale": _scale,
    "selu": partial(_unary, "Selu"),
    "sigmoid": partial(_unary, "Sigmoid"),
    "silu": _silu,
    "softmax": _softmax,
    "spatial_dropout": _same,
    "tanh": partial(_unary, "Tanh"),
    "transposed_conv": _transposed_conv,
    "upsample": _upsample,
    "zero_pad": _zero_pad,
}

FLOAT32 = frozenset({"lrn"})
"""What half precision cannot compute: the squares of values above 255 are beyond its range."""
