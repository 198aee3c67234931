"""The table: what Keras code stands for each canonical kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from cnnspec.backends.keras.windows import EdgeKind, added, agreed, collapsed, not_negative, same
from cnnspec.expr import Expr, Value
from cnnspec.lower.program import Op, Unprintable
from cnnspec.lower.python import Code, literal, named
from cnnspec.lower.symbols import binary, const
from cnnspec.ops import Maps

SEPARATOR = "-"
"""Between the components of a path in a layer's name: Keras refuses slashes, and dots where it runs on torch."""
FULL = f"{SEPARATOR}full"
"""Behind the name of a weighted layer whose output is cut before it is the op's."""

_NONE = (0, 0, 0, 0)


class Piece(NamedTuple):
    """One call: a layer that is made with `args` and applied, or a `helper`, a function of the input and `args`.

    `suffix` is one more component of its name behind the op's path. What has no name of ours, an operation of
    `keras.ops` or a product, may get that of a layer from Keras: it has its place in helpers, inside `as_layer`.
    """

    function: str
    args: tuple[Code, ...] = ()
    suffix: str = ""
    helper: bool = False


class Text(Protocol):
    """How the expressions of a text are shown."""

    def __call__(self, expr: Expr) -> str: ...

    def edges(self, expr: Expr, kind: EdgeKind = "pads") -> str:
        """Pixels at edges, as a layer takes them."""
        ...

    def pairs(self, expr: Expr, kind: EdgeKind = "pads") -> str:
        """Pixels at edges, a pair for each axis."""
        ...

    def permuted(self, op: Op) -> bool:
        """Whether a flattened map must be put in the order channels, height, width."""
        ...


Lowering = Callable[[Op, Text], list[Piece]]


def layer_name(path: str) -> str:
    """What the layer at a path is called; components hold no dash, so that the path can be had back."""
    return path.replace(".", SEPARATOR)


def layer(name: str, *args: Code, suffix: str = "") -> Piece:
    """A layer of Keras."""
    return Piece(f"layers.{name}", args, suffix)


def helper(name: str, *args: Code, suffix: str = "") -> Piece:
    """A function that is defined in the file."""
    return Piece(name, args, suffix, helper=True)


def option(name: str, expr: Expr, default: Value, text: Text) -> list[Code]:
    """A keyword argument, unless it has its default."""
    return [] if expr == const(default) else [named(name, text(expr))]


# --- windows ----------------------------------------------------------------------------------------------------------


def _zeros(op: Op, text: Text, *, overhang: bool = False) -> list[Piece]:
    """The zeros around the input of an op."""
    known = agreed(op, added if overhang else lambda node: node.canonical().attrs["pads"])
    if known is not None:
        return [layer("ZeroPadding2D", text.edges(const(collapsed(known))), suffix="pad")] if any(known) else []
    made = [layer("ZeroPadding2D", text.edges(op.attrs["pads"]), suffix="pad")]
    if overhang and any(map(_present, op.values["overhang"])):
        made.append(layer("ZeroPadding2D", text.edges(op.attrs["overhang"], "overhang"), suffix="overhang"))
    return made


def _present(value: Value) -> bool:
    return value != 0


def _padding(op: Op, text: Text) -> tuple[list[Piece], list[Code]]:
    """What stands before a convolution, and its argument `padding`."""
    if "padding" in op.attrs:
        return [], option("padding", op.attrs["padding"], "valid", text)
    if not any(map(_present, op.values["pads"])):
        return [], []
    if same(op):
        return [], [named("padding", '"same"')]
    return _zeros(op, text), []


def _conv(op: Op, text: Text) -> list[Piece]:
    a = op.attrs
    plain = op.kind == "conv"
    args: list[Code] = [text(a["filters"])] if plain else []  # in the order of the call, as parameters then are
    args += [text(a["kernel"]), *([] if a["stride"] == const(1) else [text(a["stride"])])]
    before, padding = _padding(op, text)
    args += [*padding, *option("dilation_rate", a["dilation"], 1, text)]
    args += option("groups", a["groups"], 1, text) if plain else []
    bias = option("use_bias", a["bias"], True, text)
    if plain:
        return [*before, layer("Conv2D", *args, *bias)]
    if any(isinstance(stride, tuple) for stride in op.values["stride"]):  # TensorFlow wants one number
        filters = text(binary("*", op.channels, a["depth_multiplier"]))
        return [*before, layer("Conv2D", filters, *args, named("groups", text(op.channels)), *bias)]
    multiplier = option("depth_multiplier", a["depth_multiplier"], 1, text)
    return [*before, layer("DepthwiseConv2D", *args, *multiplier, *bias)]


def _transposed_conv(op: Op, text: Text) -> list[Piece]:
    """Keras has no crop, and its `valid` is longer than the kernels reach where the stride is larger than they are."""
    a = op.attrs
    before: list[Piece] = []
    options: list[Code] = [] if a["stride"] == const(1) else [text(a["stride"])]
    cut = ""
    if all(_like_same(**node.canonical().attrs) for node in op.nodes):
        options.append(named("padding", '"same"'))
    else:
        known = agreed(op, lambda node: _surplus(**node.canonical().attrs))
        if known is not None and min(known) >= 0:
            cut = text.edges(const(collapsed(known))) if any(known) else ""
        else:
            extra = a["output_padding"]
            if all(stride == 1 for stride in op.values["stride"]):  # longer by as many pixels as the input is
                if any(map(_present, op.values["output_padding"])):
                    longer = agreed(op, lambda node: (0, 0, *node.canonical().attrs["output_padding"]))
                    if longer is None:
                        raise Unprintable("transposed convolutions of stride 1, longer by different numbers of pixels")
                    before.append(layer("ZeroPadding2D", text.edges(const(longer)), suffix="pad"))
            else:
                options.append(named("output_padding", text(extra)))
            cut = text.edges(a["crop"]) if any(map(_present, op.values["crop"])) else ""
    options += option("dilation_rate", a["dilation"], 1, text)
    options += option("use_bias", a["bias"], True, text)
    suffix = FULL[1:] if cut else ""
    args = text(a["filters"]), text(a["kernel"])
    if all(groups == 1 for groups in op.values["groups"]):
        made = layer("Conv2DTranspose", *args, *options, suffix=suffix)
    elif 1 in op.values["groups"]:
        raise Unprintable("one transposed convolution with groups and without")
    else:
        made = helper("grouped_conv_transpose", text(a["groups"]), *args, *options, suffix=suffix)
    return [*before, made, *([layer("Cropping2D", cut)] if cut else [])]


def _reach(kernel: tuple[int, int], dilation: tuple[int, int]) -> list[int]:
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]


def _like_same(
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    crop: tuple[int, int, int, int],
    output_padding: tuple[int, int],
    **_: object,
) -> bool:
    """Whether a transposed convolution makes the map exactly `stride` times as large, TensorFlow's way."""
    surplus = [max(e - s, 0) for e, s in zip(_reach(kernel, dilation), stride, strict=True)]
    short = [max(s - e, 0) for e, s in zip(_reach(kernel, dilation), stride, strict=True)]
    begin = [n // 2 for n in surplus]
    end = [n - b for n, b in zip(surplus, begin, strict=True)]
    return crop == (*begin, *end) and output_padding == tuple(short) and dilation == (1, 1)


def _surplus(
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    crop: tuple[int, int, int, int],
    output_padding: tuple[int, int],
    **_: object,
) -> tuple[int, int, int, int]:
    """Pixels to take off what Keras's transposed convolution gives without padding."""
    longer = [max(s - e, 0) for e, s in zip(_reach(kernel, dilation), stride, strict=True)]
    bottom, right = (crop[a + 2] - output_padding[a] + longer[a] for a in (0, 1))
    return crop[0], crop[1], bottom, right


def _size(op: Op, text: Text) -> list[Code]:
    """A pool's size, and its stride where that is another."""
    kernel, stride = op.attrs["kernel"], op.attrs["stride"]
    return [text(kernel), *([text(stride)] if stride != kernel else [])]


def _max_pool(op: Op, text: Text) -> list[Piece]:
    if agreed(op, added) == _NONE:
        return [layer("MaxPooling2D", *_size(op, text))]
    if same(op):
        return [layer("MaxPooling2D", *_size(op, text), named("padding", '"same"'))]
    zeros = _zeros(op, text, overhang=True)
    if not all(not_negative(node.inputs[0]) for node in op.nodes):
        known = agreed(op, added)
        if known is not None:
            edges = {"pad": text.pairs(const(known))}
        else:
            edges = {"pad": text.pairs(op.attrs["pads"])}
            if any(map(_present, op.values["overhang"])):
                edges["overhang"] = text.pairs(op.attrs["overhang"], "overhang")
        zeros = [helper("pad_with_infinity", pairs, suffix=suffix) for suffix, pairs in edges.items()]
    return [*zeros, layer("MaxPooling2D", *_size(op, text))]


def _avg_pool(op: Op, text: Text) -> list[Piece]:
    size = _size(op, text)
    before: list[Piece] = []
    counted = op.attrs["divisor"] == const("padded") and any(map(_present, op.values["pads"]))
    if counted:
        before = _zeros(op, text)
    if agreed(op, lambda node: added(node, padded=not counted)) == _NONE:
        return [*before, layer("AveragePooling2D", *size)]
    around = [added(node, padded=not counted) for node in op.nodes]
    even = all((top, left) == (bottom, right) for top, left, bottom, right in around)
    if even and same(op, padded=not counted):  # Keras counts the odd pixel where it runs on torch
        return [*before, layer("AveragePooling2D", *size, named("padding", '"same"'))]
    known = agreed(op, lambda node: added(node, padded=not counted))
    if known is not None:
        outside = [text.edges(const(collapsed(known)))]
    else:
        outside = [] if counted else [text.edges(op.attrs["pads"])]
        if any(map(_present, op.values["overhang"])):
            outside.append(text.edges(op.attrs["overhang"], "overhang"))
    args = text(op.attrs["kernel"]), text(op.attrs["stride"])
    return [*before, helper("average_pool", *args, *outside)]


def _global_pool(name: str) -> Lowering:
    return lambda op, text: [layer(name, *option("keepdims", op.attrs["keep_dims"], False, text))]


# --- norms ------------------------------------------------------------------------------------------------------------


def _batch_norm(op: Op, text: Text) -> list[Piece]:
    a = op.attrs
    return [
        layer(
            "BatchNormalization",
            *option("momentum", a["momentum"], 0.99, text),
            *option("epsilon", a["epsilon"], 1e-3, text),
            *option("center", a["shift"], True, text),
            *option("scale", a["scale"], True, text),
        )
    ]


def _layer_norm(op: Op, text: Text) -> list[Piece]:
    a = op.attrs
    return [
        layer(
            "LayerNormalization",
            *option("epsilon", a["epsilon"], 1e-3, text),
            *option("center", a["shift"], True, text),
            *option("scale", a["scale"], True, text),
        )
    ]


def _lrn(op: Op, text: Text) -> list[Piece]:
    return [helper("local_response_norm", *(text(op.attrs[name]) for name in ("size", "alpha", "beta", "k")))]


# --- activations ------------------------------------------------------------------------------------------------------


def _activation(op: Op, text: Text) -> list[Piece]:
    return [layer("Activation", literal(op.kind))]


def _leaky_relu(op: Op, text: Text) -> list[Piece]:
    slope = op.attrs["slope"]
    if all(isinstance(value, int | float) and value >= 0 for value in op.values["slope"]):
        return [layer("LeakyReLU", text(slope))]
    return [helper("leaky_relu", text(slope))]


def _prelu(op: Op, text: Text) -> list[Piece]:
    spatial = isinstance(op.nodes[0].shape, Maps)
    return [layer("PReLU", *([named("shared_axes", "(1, 2)")] if spatial else []))]


def _gelu(op: Op, text: Text) -> list[Piece]:
    approximate = op.attrs["approximate"]
    if approximate == const(False):
        return _activation(op, text)
    return [helper("gelu", named("approximate", text(approximate)))]


# --- layout and merges ------------------------------------------------------------------------------------------------


def _flatten(op: Op, text: Text) -> list[Piece]:
    before = [layer("Permute", "(3, 1, 2)", suffix="permute")] if text.permuted(op) else []
    return [*before, layer("Flatten")]


def _upsample(op: Op, text: Text) -> list[Piece]:
    mode = option("interpolation", op.attrs["mode"], "nearest", text)
    return [layer("UpSampling2D", text(op.attrs["factor"]), *mode)]


def _plain(name: str, *attrs: str) -> Lowering:
    """A layer that takes attributes as they are, in this order."""
    return lambda op, text: [layer(name, *(text(op.attrs[attr]) for attr in attrs))]


TABLE: Mapping[str, Lowering] = {
    "conv": _conv,
    "depthwise_conv": _conv,
    "transposed_conv": _transposed_conv,
    "dense": lambda op, text: [
        layer("Dense", text(op.attrs["units"]), *option("use_bias", op.attrs["bias"], True, text))
    ],
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": _global_pool("GlobalAveragePooling2D"),
    "global_max_pool": _global_pool("GlobalMaxPooling2D"),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "lrn": _lrn,
    "dropout": _plain("Dropout", "rate"),
    "spatial_dropout": _plain("SpatialDropout2D", "rate"),
    "relu": _plain("ReLU"),
    "relu6": _activation,
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "elu": _plain("ELU", "alpha"),
    "selu": _activation,
    "gelu": _gelu,
    "silu": _activation,
    "mish": _activation,
    "hard_sigmoid": _activation,
    "hard_swish": _activation,
    "hard_tanh": _activation,
    "sigmoid": _activation,
    "tanh": _activation,
    "softmax": _plain("Softmax"),
    "flatten": _flatten,
    "zero_pad": lambda op, text: [layer("ZeroPadding2D", text.edges(op.attrs["pads"]))],
    "crop": lambda op, text: [layer("Cropping2D", text.edges(op.attrs["edges"]))],
    "upsample": _upsample,
    "channel_shuffle": lambda op, text: [helper("channel_shuffle", text(op.attrs["groups"]))],
    "scale": lambda op, text: [helper("scaled", text(op.attrs["factor"]))],
    "add": _plain("Add"),
    "multiply": _plain("Multiply"),
    "concat": _plain("Concatenate"),
}
"""Lowerings by canonical kind."""

MERGES = frozenset(("add", "multiply", "concat"))
"""Kinds whose layer is applied to a list."""


class Noted:
    """The expressions that a lowering shows."""

    def __init__(self) -> None:
        self.seen: list[Expr] = []

    def __call__(self, expr: Expr) -> str:
        self.seen.append(expr)
        return "0"

    def edges(self, expr: Expr, kind: EdgeKind = "pads") -> str:
        return self(expr)

    pairs = edges

    def permuted(self, op: Op) -> bool:
        return False


def shown(op: Op) -> list[Expr]:
    """The expressions of an op that are printed."""
    noted = Noted()
    TABLE[op.kind](op, noted)
    return noted.seen
