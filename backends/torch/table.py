"""Canonical kinds in PyTorch: the module that is constructed, the expression that is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnnspec.expr import Binary, Conditional, Const, Expr, Ref, Value
from cnnspec.lower.program import Op, Unprintable
from cnnspec.lower.python import Code, Group, Infix, call, flat, literal, named
from cnnspec.lower.symbols import binary, const
from cnnspec.ops import Maps, Vector

Arg = tuple[str, Expr, Value]
"""An argument: its name, its value, and the default that it has in PyTorch."""

Text = Callable[[Expr], str]
"""Prints an expression in the names of the text that it stands in."""


@dataclass(slots=True)
class Lowered:
    """One op in PyTorch.

    `module` is its class with `args`, where there is one; `function` what it computes from its inputs, where that needs
    no module. `before` and `after` are done to a module's input and output, in the forward pass. Arguments are (name,
    expression, default): by position where they have no default, left out where they have it.
    """

    module: str = ""
    args: list[Arg] = field(default_factory=list)
    function: Callable[[Sequence[Code], Text], Code] | None = None
    before: Callable[[Code, Text], Code] | None = None
    after: Callable[[Code, Text], Code] | None = None
    helper: str = ""

    def construct(self, text: Text) -> Code:
        """The module's construction."""
        return construct(self.module, self.args, text)

    def compute(self, inputs: Sequence[Code], text: Text, module: str = "") -> Code:
        """The op's result, by way of `module`, an attribute, where it has one."""
        if not module:
            assert self.function
            return self.function(inputs, text)
        (x,) = inputs
        y: Code = call(module, self.before(x, text) if self.before else x)
        return self.after(y, text) if self.after else y

    @property
    def plain(self) -> bool:
        """Whether the module alone is the whole op."""
        return bool(self.module) and self.before is None and self.after is None


def construct(module: str, args: Sequence[Arg], text: Text) -> Group:
    """`module(...)` without the arguments that have their defaults; those without one by position."""
    printed: list[Code] = []
    for name, expr, default in args:
        if default is REQUIRED:
            printed.append(text(expr))
        elif not (isinstance(expr, Const) and _same(expr.value, default)):
            printed.append(named(name, text(expr)))
    return call(module, *printed)


def _same(a: Value, b: Value) -> bool:
    return type(a) is type(b) and a == b


REQUIRED: Any = object()
"""The default of an argument that has none."""


def lower(op: Op) -> Lowered:
    """The op in PyTorch. Raises `KeyError` for a kind that is not in the table."""
    return TABLE[op.kind](op)


# --- windows ---------------------------------------------------------------------------------------------------------


def edges(value: Value) -> tuple[int, int, int, int]:
    """Collapsed pixels as (top, left, bottom, right)."""
    match value:
        case (int(h), int(w)):
            return h, w, h, w
        case (int(t), int(left), int(b), int(r)):
            return t, left, b, r
        case int(n):
            return n, n, n, n
    raise TypeError(value)


def pair(value: Value) -> tuple[int, int]:
    """A collapsed pair."""
    return value if isinstance(value, tuple) else (value, value)  # type: ignore[return-value]


def symmetric(op: Op, name: str = "pads") -> bool:
    """Whether the pixels on opposite edges are equal in all uses."""
    return all(not isinstance(value, tuple) or len(value) == 2 for value in op.values[name])


def torch_order(value: Value, sign: int = 1) -> tuple[int, int, int, int]:
    """(left, right, top, bottom), as `F.pad` wants it."""
    top, left, bottom, right = edges(value)
    return sign * left, sign * right, sign * top, sign * bottom


def in_torch_order(pads: Expr) -> Expr:
    """Pixels as `F.pad` wants them, whichever of several they are; a parameter has them so already."""
    match pads:
        case Const(value=value):
            return const(torch_order(value))
        case Conditional(test=test, then=then, otherwise=otherwise):
            return Conditional(0, 0, test, in_torch_order(then), in_torch_order(otherwise))
        case Ref():
            return pads
    raise Unprintable("pixels on four edges that an expression computes")


def ends(expr: Expr) -> Iterator[Expr]:
    """What an expression may come to."""
    if isinstance(expr, Conditional):
        yield from (*ends(expr.then), *ends(expr.otherwise))
    else:
        yield expr


def pad(x: Code, pads: Expr, text: Text, fill: str = "", extra: Value = 0) -> Code:
    """`F.pad` of x; a parameter with pixels is in `F.pad`'s order already."""
    down, across = pair(extra)
    if isinstance(pads, Const):
        top, left, bottom, right = edges(pads.value)
        shown = literal((left, right + across, top, bottom + down))
    elif down or across:
        raise Unprintable("padding that differs between uses, and windows that overhang")
    else:
        shown = text(in_torch_order(pads))
    return call("F.pad", x, shown, *([f"value={fill}"] if fill else []))


def by_hand(op: Op) -> bool:
    """Whether `F.pad` pads for this op, as PyTorch's own padding cannot."""
    if op.kind.endswith("pool"):
        return lower(op).module == ""
    return op.kind == "zero_pad" or not symmetric(op)


def ceils(op: Op) -> bool:
    """Whether PyTorch's `ceil_mode`, with the first edges' padding on both sides, gives every use its windows.

    What else a use has on its last edges, as padding or because windows overhang, must not count for its numbers.
    """
    for at, shape in enumerate(op.inputs[0].shapes):
        kernel, stride = pair(op.values["kernel"][at]), pair(op.values["stride"][at])
        pads, overhang = edges(op.values["pads"][at]), pair(op.values["overhang"][at])
        for axis in (0, 1):
            n, k, s, begin, end = shape[axis + 1], kernel[axis], stride[axis], pads[axis], pads[axis + 2]
            out = -(-(n + 2 * begin - k) // s) + 1
            if (out - 1) * s >= n + begin:
                out -= 1
            if begin > end or out != (n + begin + end + overhang[axis] - k) // s + 1:
                return False
    return True


def _overhangs(op: Op) -> bool:
    return any(value != 0 for value in op.values["overhang"])


def _fits(op: Op) -> bool:
    """Whether PyTorch's pools take this padding: at most half the window, the same on both sides."""
    for kernel, pads in zip(op.values["kernel"], op.values["pads"], strict=True):
        size, (top, left, *_) = pair(kernel), edges(pads)
        if top > size[0] // 2 or left > size[1] // 2:
            return False
    return symmetric(op)


def _conv(op: Op) -> Lowered:
    a = op.attrs
    depthwise = op.kind == "depthwise_conv"
    filters = a["filters"] if not depthwise else binary("*", op.channels, a["depth_multiplier"])
    lowered = Lowered("nn.Conv2d")
    pads = a["pads"]
    if not symmetric(op):
        lowered.before = lambda x, text: pad(x, a["pads"], text)
        pads = const(0)
    lowered.args = [
        ("in_channels", op.channels, REQUIRED),
        ("filters", filters, REQUIRED),
        ("kernel", a["kernel"], REQUIRED),
        ("stride", a["stride"], 1),
        ("padding", pads, 0),
        ("dilation", a["dilation"], 1),
        ("groups", op.channels if depthwise else a["groups"], 1),
        ("bias", a["bias"], True),
    ]
    return lowered


def _transposed_conv(op: Op) -> Lowered:
    a = op.attrs
    crop = a["crop"]
    lowered = Lowered("nn.ConvTranspose2d")
    if not symmetric(op, "crop"):
        cut = op.values["crop"][0] if isinstance(crop, Const) else None
        if cut is None:
            raise Unprintable("a transposed convolution whose crop differs between uses")
        lowered.after = lambda y, text: call("F.pad", y, literal(torch_order(cut, -1)))
        crop = const(0)
    lowered.args = [
        ("in_channels", op.channels, REQUIRED),
        ("filters", a["filters"], REQUIRED),
        ("kernel", a["kernel"], REQUIRED),
        ("stride", a["stride"], 1),
        ("padding", crop, 0),
        ("output_padding", a["output_padding"], 0),
        ("groups", a["groups"], 1),
        ("bias", a["bias"], True),
        ("dilation", a["dilation"], 1),
    ]
    return lowered


def _dense(op: Op) -> Lowered:
    return Lowered(
        "nn.Linear",
        [
            ("in_channels", op.channels, REQUIRED),
            ("units", op.attrs["units"], REQUIRED),
            ("bias", op.attrs["bias"], True),
        ],
    )


def _pool(op: Op, module: str, function: str, extra: list[Arg], pads: Expr) -> Lowered:
    """A pool whose padding is PyTorch's: `pads` on both sides, and with `ceil_mode` what a last window needs."""
    a = op.attrs
    same = a["stride"] == a["kernel"]
    args: list[Arg] = [("kernel", a["kernel"], REQUIRED)]
    if not same:
        args.append(("stride", a["stride"], REQUIRED))
    args += [("padding", pads, 0), *extra]
    if _overhangs(op) or not symmetric(op):
        args.append(("ceil_mode", const(True), False))
    lowered = Lowered(module, args)

    def compute(inputs: Sequence[Code], text: Text) -> Code:
        made = construct(function, args, text)
        return Group(made.open, (inputs[0], *made.items))

    lowered.function = compute
    return lowered


def _own_padding(op: Op, counts: bool = False) -> Expr | None:
    """The padding that PyTorch's pool takes for the op's windows; None where it cannot have them.

    `counts` says that padding counts in a mean, unlike what a last window overhangs.
    """
    if _fits(op) and (not _overhangs(op) or ceils(op)):
        return op.attrs["pads"]
    first = {edges(value)[:2] for value in op.values["pads"]}
    if counts or len(first) > 1 or not ceils(op):
        return None
    top, left = first.pop()
    kernels = [pair(value) for value in op.values["kernel"]]
    if any(top > down // 2 or left > across // 2 for down, across in kernels):
        return None
    return const(top if top == left else (top, left))


def _max_pool(op: Op) -> Lowered:
    if pads := _own_padding(op):
        return _pool(op, "nn.MaxPool2d", "F.max_pool2d", [], pads)
    a = op.attrs

    def compute(inputs: Sequence[Code], text: Text) -> Code:
        padded = pad(inputs[0], a["pads"], text, 'float("-inf")', _overhang(op))
        return call("F.max_pool2d", padded, text(a["kernel"]), text(a["stride"]))

    return Lowered(function=compute)


def _overhang(op: Op) -> Value:
    overhang = op.attrs["overhang"]
    if not isinstance(overhang, Const):
        raise Unprintable("windows that overhang differently between uses")
    return overhang.value


def _avg_pool(op: Op) -> Lowered:
    a = op.attrs
    divisor = a["divisor"]
    assert isinstance(divisor, Const)
    counts = divisor.value == "padded"
    if pads := _own_padding(op, counts):
        unpadded = isinstance(pads, Const) and pads.value == 0
        extra: list[Arg] = [] if counts or unpadded else [("count_include_pad", const(False), True)]
        return _pool(op, "nn.AvgPool2d", "F.avg_pool2d", extra, pads)

    def compute(inputs: Sequence[Code], text: Text) -> Code:
        kernel, stride = text(a["kernel"]), text(a["stride"])
        if counts and not _overhangs(op):
            return call("F.avg_pool2d", pad(inputs[0], a["pads"], text), kernel, stride)
        shown = text(in_torch_order(a["pads"]))
        down, across = pair(_overhang(op))
        rest = [f"overhang={literal((0, across, 0, down))}"] if down or across else []
        return call("avg_pool", inputs[0], kernel, stride, shown, *rest, *(["counted=True"] if counts else []))

    return Lowered(function=compute, helper="avg_pool")


# --- norms -----------------------------------------------------------------------------------------------------------


def _batch_norm(op: Op) -> Lowered:
    a = op.attrs
    base = "nn.BatchNorm2d" if isinstance(op.inputs[0].shapes[0], Maps) else "nn.BatchNorm1d"
    scale, shift = _flag(op, "scale"), _flag(op, "shift")
    momentum = a["momentum"]
    moves: Expr = Binary(0, 0, "-", const(1), momentum)
    if isinstance(momentum, Const) and isinstance(momentum.value, float):
        moves = const(float(f"{1 - momentum.value:.12g}"))  # 0.1, not 0.09999999999999998
    args: list[Arg] = [
        ("channels", op.channels, REQUIRED),
        ("eps", a["epsilon"], 1e-5),
        ("momentum", moves, 0.1),
    ]
    if scale == shift:
        return Lowered(base, [*args, ("affine", const(scale), True)])
    name = f"{'Scaled' if scale else 'Shifted'}{base.removeprefix('nn.')}"
    return Lowered(name, args, helper=name)


def _layer_norm(op: Op) -> Lowered:
    scale, shift = _flag(op, "scale"), _flag(op, "shift")
    spatial = isinstance(op.inputs[0].shapes[0], Maps)
    args: list[Arg] = [("channels", op.channels, REQUIRED), ("eps", op.attrs["epsilon"], 1e-5)]
    if shift and not scale:
        name = "ShiftedChannelNorm" if spatial else "ShiftedLayerNorm"
        return Lowered(name, args, helper=name)
    args += [("elementwise_affine", const(scale), True), ("bias", const(shift or not scale), True)]
    return Lowered("ChannelNorm", args, helper="ChannelNorm") if spatial else Lowered("nn.LayerNorm", args)


def _flag(op: Op, name: str) -> bool:
    value = op.attrs[name]
    assert isinstance(value, Const)  # uses that differ here have other parameters, and are not one text
    return bool(value.value)


def _lrn(op: Op) -> Lowered:
    a = op.attrs
    # PyTorch divides alpha by the size
    alpha: Expr = Binary(0, 0, "*", a["alpha"], a["size"])
    if isinstance(a["alpha"], Const) and isinstance(a["size"], Const):
        one, size = a["alpha"].value, a["size"].value
        assert isinstance(one, int | float) and isinstance(size, int)
        alpha = const(float(f"{one * size:.12g}"))  # 1e-4, not 1.0000000000000002e-4
    args = [("size", a["size"], REQUIRED), ("alpha", alpha, 1e-4), ("beta", a["beta"], 0.75), ("k", _real(a["k"]), 1.0)]
    return _both("nn.LocalResponseNorm", "F.local_response_norm", args)


def _real(expr: Expr) -> Expr:
    return const(float(expr.value)) if isinstance(expr, Const) and isinstance(expr.value, int) else expr


def _both(module: str, function: str, args: list[Arg]) -> Lowered:
    """An op that is a module without weights, or a function with the same arguments."""

    def compute(inputs: Sequence[Code], text: Text) -> Code:
        made = construct(function, args, text)
        return Group(made.open, (*inputs, *made.items))

    return Lowered(module, args, compute)


def _module(module: str, **args: tuple[str, Value]) -> Callable[[Op], Lowered]:
    """A module alone, with attributes as arguments: {argument: (attribute, default)}."""
    return lambda op: Lowered(module, [(name, op.attrs[attr], default) for name, (attr, default) in args.items()])


def _function(module: str, function: str, **args: tuple[str, Value]) -> Callable[[Op], Lowered]:
    return lambda op: _both(
        module, function, [(name, op.attrs[attr], default) for name, (attr, default) in args.items()]
    )


# --- layout and arithmetic -------------------------------------------------------------------------------------------


def operand(code: Code) -> Code:
    """An input as part of an expression."""
    bare = isinstance(code, Infix) or (isinstance(code, str) and " " in code and not code.endswith(")"))
    return Group("(", (code,)) if bare else code


def _infix(sign: str) -> Callable[[Op], Lowered]:
    return lambda op: Lowered(function=lambda inputs, text: Infix(sign, tuple(map(operand, inputs))))


def _concat(op: Op) -> Lowered:
    return Lowered(function=lambda inputs, text: call("torch.cat", Group("[", tuple(inputs), "]"), "1"))


def _flatten(op: Op) -> Lowered:
    if isinstance(op.inputs[0].shapes[0], Vector):
        return Lowered("nn.Identity", function=lambda inputs, text: inputs[0])
    return Lowered("nn.Flatten", function=lambda inputs, text: call("torch.flatten", inputs[0], "1"))


def _global_pool(op: Op) -> Lowered:
    kept = _flag(op, "keep_dims")
    reduce = "mean" if op.kind == "global_avg_pool" else "amax"
    rest = ", keepdim=True" if kept else ""
    module = f"nn.Adaptive{'Avg' if reduce == 'mean' else 'Max'}Pool2d" if kept else ""
    return Lowered(
        module,
        [("size", const(1), REQUIRED)],
        lambda inputs, text: f"{flat(operand(inputs[0]))}.{reduce}((2, 3){rest})",
    )


def _scale(op: Op) -> Lowered:
    factor = op.attrs["factor"]
    return Lowered(function=lambda inputs, text: Infix("*", (operand(inputs[0]), operand(text(factor)))))


def _zero_pad(op: Op) -> Lowered:
    return Lowered(function=lambda inputs, text: pad(inputs[0], op.attrs["pads"], text))


def _crop(op: Op) -> Lowered:
    pixels = op.attrs["edges"]
    if not isinstance(pixels, Const):
        raise Unprintable("a crop that differs between uses")
    cut = literal(torch_order(pixels.value, -1))
    return Lowered(function=lambda inputs, text: call("F.pad", inputs[0], cut))


def _upsample(op: Op) -> Lowered:
    mode = op.attrs["mode"]
    args: list[Arg] = [("scale_factor", op.attrs["factor"], None), ("mode", mode, "nearest")]
    return _both("nn.Upsample", "F.interpolate", args)


def _dropout(op: Op) -> Lowered:
    """For maps PyTorch's own takes a fifth of a small network's step on a CPU; vectors are short, and keep it."""
    args: list[Arg] = [("rate", op.attrs["rate"], REQUIRED)]
    if isinstance(op.inputs[0].shapes[0], Maps):
        return Lowered("FastDropout", args, helper="FastDropout")
    return Lowered("nn.Dropout", args)


def _gelu(op: Op) -> Lowered:
    approximate = const("tanh" if _flag(op, "approximate") else "none")
    return _both("nn.GELU", "F.gelu", [("approximate", approximate, "none")])


def _prelu(op: Op) -> Lowered:
    return Lowered("nn.PReLU", [("channels", op.channels, REQUIRED)])


TABLE: dict[str, Callable[[Op], Lowered]] = {
    "conv": _conv,
    "depthwise_conv": _conv,
    "transposed_conv": _transposed_conv,
    "dense": _dense,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": _global_pool,
    "global_max_pool": _global_pool,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "lrn": _lrn,
    "dropout": _dropout,
    "spatial_dropout": _module("nn.Dropout2d", rate=("rate", REQUIRED)),
    "relu": _function("nn.ReLU", "F.relu"),
    "relu6": _function("nn.ReLU6", "F.relu6"),
    "leaky_relu": _function("nn.LeakyReLU", "F.leaky_relu", slope=("slope", REQUIRED)),
    "prelu": _prelu,
    "elu": _function("nn.ELU", "F.elu", alpha=("alpha", 1.0)),
    "selu": _function("nn.SELU", "F.selu"),
    "gelu": _gelu,
    "silu": _function("nn.SiLU", "F.silu"),
    "mish": _function("nn.Mish", "F.mish"),
    "hard_sigmoid": _function("nn.Hardsigmoid", "F.hardsigmoid"),
    "hard_swish": _function("nn.Hardswish", "F.hardswish"),
    "hard_tanh": _function("nn.Hardtanh", "F.hardtanh"),
    "sigmoid": _function("nn.Sigmoid", "torch.sigmoid"),
    "tanh": _function("nn.Tanh", "torch.tanh"),
    "softmax": lambda op: _both("nn.Softmax", "F.softmax", [("dim", const(1), None)]),
    "add": _infix("+"),
    "multiply": _infix("*"),
    "concat": _concat,
    "flatten": _flatten,
    "zero_pad": _zero_pad,
    "crop": _crop,
    "upsample": _upsample,
    "channel_shuffle": _function("nn.ChannelShuffle", "F.channel_shuffle", groups=("groups", REQUIRED)),
    "scale": _scale,
}

_NULLED = """\
class {name}({base}):
    \"\"\"{base} without a learned {lacking}.\"\"\"

    def __init__(self, channels: int, {arguments}) -> None:
        super().__init__(channels, {passed})
        self.register_parameter("{parameter}", None)
"""


def _nulled(name: str, base: str, lacking: str, momentum: bool) -> str:
    return _NULLED.format(
        name=name,
        base=base,
        lacking=lacking,
        arguments="eps: float = 1e-5, momentum: float = 0.1" if momentum else "eps: float = 1e-5",
        passed="eps=eps, momentum=momentum" if momentum else "eps=eps",
        parameter={"scale": "weight", "shift": "bias"}[lacking],
    )


HELPERS: dict[str, str] = {
    "avg_pool": """\
def avg_pool(
    x: torch.Tensor,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: tuple[int, int, int, int],
    overhang: tuple[int, int, int, int] = (0, 0, 0, 0),
    counted: bool = False,
) -> torch.Tensor:
    \"\"\"The mean of each window's pixels, those of the padding among them if `counted`.\"\"\"
    ones = F.pad(torch.ones_like(x[:1, :1]), padding, value=float(counted))
    x, ones = F.pad(F.pad(x, padding), overhang), F.pad(ones, overhang)
    return F.avg_pool2d(x, kernel, stride) / F.avg_pool2d(ones, kernel, stride)
""",
    "ChannelNorm": """\
class ChannelNorm(nn.LayerNorm):
    \"\"\"Layer norm over the channels of every pixel.\"\"\"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
""",
    "FastDropout": """\
class FastDropout(nn.Dropout):
    \"\"\"Drops by 16 random bits a value, where PyTorch draws 64, on a CPU one by one.\"\"\"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        words = torch.empty(x.numel() // 4 + 1, dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None)  # all 64 bits
        bits = words.view(torch.int16)[: x.numel()]
        kept = bits >= int(2**16 * self.p) - 2**15  # they begin at -2**15
        kept = kept.as_strided(x.shape, torch.empty_like(x).stride())  # as x lies
        return x * (kept.type_as(x) / (1 - self.p))
""",
    "ShiftedBatchNorm2d": _nulled("ShiftedBatchNorm2d", "nn.BatchNorm2d", "scale", True),
    "ShiftedBatchNorm1d": _nulled("ShiftedBatchNorm1d", "nn.BatchNorm1d", "scale", True),
    "ScaledBatchNorm2d": _nulled("ScaledBatchNorm2d", "nn.BatchNorm2d", "shift", True),
    "ScaledBatchNorm1d": _nulled("ScaledBatchNorm1d", "nn.BatchNorm1d", "shift", True),
    "ShiftedLayerNorm": _nulled("ShiftedLayerNorm", "nn.LayerNorm", "scale", False),
    "ShiftedChannelNorm": _nulled("ShiftedChannelNorm", "ChannelNorm", "scale", False),
}
"""Functions and classes that a file needs for some lowerings; one may need another."""
