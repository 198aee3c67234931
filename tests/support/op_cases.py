"""Cases of every op: options and an input, for tests that walk the registry."""

from typing import Any, NamedTuple

from cnnspec.ops import OPS, Maps, Op, Shape, Vector

ODD = Maps(12, 13, 11)
EVEN = Maps(12, 14, 16)
FLAT = Vector(30)


class Case(NamedTuple):
    """An op, built from options as a spec would give them, and the shapes that it gets."""

    kind: str
    options: dict[str, Any]
    inputs: tuple[Shape, ...]

    @property
    def op(self) -> Op:
        return OPS[self.kind].model_validate(self.options)

    def __str__(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.kind}({options}) on {' and '.join(map(str, self.inputs))}".replace(" ", "_")


def _cases(kind: str, options: list[dict[str, Any]], *shapes: Shape) -> list[Case]:
    return [Case(kind, o, (shape,)) for o in options for shape in shapes]


CONVOLUTIONS = [
    *_cases(
        "conv",
        [
            {"filters": 8, "kernel": 3},
            {"filters": 8, "kernel": [1, 7], "bias": False},
            {"filters": 8, "kernel": 5, "stride": 2},
            {"filters": 8, "kernel": 3, "stride": [2, 3], "padding": 1},
            {"filters": 8, "kernel": 2, "padding": "same"},
            {"filters": 8, "kernel": 4, "stride": 2, "padding": "same"},
            {"filters": 8, "kernel": 3, "stride": 2, "padding": "same"},
            {"filters": 8, "kernel": 1, "stride": 3, "padding": "same"},
            {"filters": 8, "kernel": 3, "dilation": 2},
            {"filters": 8, "kernel": 3, "dilation": [2, 3], "padding": "same"},
            {"filters": 8, "kernel": 3, "padding": "valid"},
            {"filters": 8, "kernel": 3, "padding": [2, 1]},
            {"filters": 8, "kernel": 3, "padding": [0, 1, 2, 3]},
            {"filters": 8, "kernel": 3, "groups": 4},
        ],
        ODD,
        EVEN,
    ),
    *_cases(
        "depthwise_conv",
        [
            {"kernel": 3},
            {"kernel": 3, "depth_multiplier": 2, "stride": 2, "padding": "same"},
            {"kernel": [3, 5], "bias": False, "padding": "valid"},
        ],
        ODD,
        EVEN,
    ),
]
SEPARABLE = _cases(
    "separable_conv",
    [
        {"filters": 8, "kernel": 3},
        {"filters": 8, "kernel": 3, "depth_multiplier": 2, "stride": 2, "padding": "same", "bias": False},
    ],
    ODD,
    EVEN,
)
TRANSPOSED = _cases(
    "transposed_conv",
    [
        {"filters": 8, "kernel": 3},
        {"filters": 8, "kernel": 2, "stride": 2},
        {"filters": 8, "kernel": 3, "stride": 2, "padding": 1, "output_padding": 1},
        {"filters": 8, "kernel": 4, "stride": 2, "padding": [1, 0], "groups": 2},
        {"filters": 8, "kernel": 3, "padding": "half", "stride": 3, "bias": False},
        {"filters": 8, "kernel": 4, "stride": 2, "padding": "same"},
        {"filters": 8, "kernel": 3, "stride": 2, "padding": "same"},
        {"filters": 8, "kernel": 3, "dilation": 2},
        {"filters": 8, "kernel": 3, "padding": [0, 1, 1, 0]},
    ],
    ODD,
    EVEN,
)
POOLS = (
    [
        case
        for kind in ("max_pool", "avg_pool")
        for case in _cases(
            kind,
            [
                {"size": 2},
                {"size": 3, "stride": 2},
                {"size": 3, "stride": 2, "padding": 1},
                {"size": 3, "stride": 2, "ceil_mode": True},
                {"size": 2, "stride": 3, "ceil_mode": True},
                {"size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
                {"size": [2, 3], "stride": [1, 2], "padding": [1, 0]},
                {"size": 3, "stride": 1, "padding": "same"},
                {"size": 2, "stride": 2, "padding": "same"},
                {"size": 3, "stride": 2, "padding": "same"},
                {"size": 3, "stride": 2, "padding": [0, 1, 1, 0]},
            ],
            ODD,
            EVEN,
        )
    ]
    + _cases("max_pool", [{"size": 2, "ceil_mode": True}, {"size": 3, "stride": 2, "ceil_mode": True}], Maps(4, 2, 2))
    + _cases("avg_pool", [{"size": 3, "stride": 2, "padding": 1, "divisor": "padded"}], ODD)
)
ADAPTIVE = [
    case
    for kind in ("adaptive_avg_pool", "adaptive_max_pool")
    for case in (
        *_cases(kind, [{"output": 6}], Maps(4, 7, 13), Maps(4, 6, 12)),
        *_cases(kind, [{"output": [1, 1]}, {"output": [7, 1]}], Maps(4, 7, 14)),
    )
]
OTHERS = [
    *_cases("dense", [{"units": 7}, {"units": 7, "bias": False}], FLAT),
    *_cases("global_avg_pool", [{}, {"keep_dims": True}], ODD),
    *_cases("global_max_pool", [{}, {"keep_dims": True}], ODD),
    *_cases("flatten", [{}], ODD, FLAT),
    *_cases("batch_norm", [{}, {"scale": False}, {"shift": False, "epsilon": 0.001, "momentum": 0.99}], ODD, FLAT),
    *_cases("layer_norm", [{}, {"scale": False, "shift": False}], ODD, FLAT),
    *_cases("lrn", [{}, {"size": 3, "alpha": 2e-5, "k": 1.0}], ODD),
    *_cases("dropout", [{"rate": 0.5}], ODD, FLAT),
    *_cases("spatial_dropout", [{"rate": 0.2}], ODD),
    *_cases("zero_pad", [{"padding": 1}, {"padding": [1, 2]}, {"padding": [0, 1, 2, 3]}], ODD),
    *_cases("crop", [{"edges": 1}, {"edges": [1, 2]}, {"edges": [0, 1, 2, 3]}], ODD),
    *_cases("upsample", [{"factor": 2}, {"factor": [1, 3]}, {"factor": 2, "mode": "bilinear"}], ODD),
    *_cases("channel_shuffle", [{"groups": 3}], ODD),
    *_cases("scale", [{"factor": 0.17}], ODD, FLAT),
    Case("add", {}, (ODD, ODD)),
    Case("add", {}, (FLAT, FLAT, FLAT)),
    Case("multiply", {}, (ODD, Maps(12, 1, 1))),
    Case("multiply", {}, (Maps(1, 13, 11), ODD)),
    Case("concat", {}, (ODD, Maps(5, 13, 11))),
    Case("concat", {}, (FLAT, Vector(4))),
    *[
        Case(
            kind, {"slope": 0.2} if kind == "leaky_relu" else {"approximate": True} if kind == "gelu" else {}, (shape,)
        )
        for kind, op in OPS.items()
        if op.role == "activation"
        for shape in (ODD, FLAT)
    ],
]
CASES = [*CONVOLUTIONS, *SEPARABLE, *TRANSPOSED, *POOLS, *ADAPTIVE, *OTHERS]
