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
            {"filters": 6, "kernel": [3, 2], "stride": [1, 2], "padding": [1, 0], "groups": 3, "bias": False},
            {"filters": 24, "kernel": 3, "dilation": 2, "groups": 12},
            {"filters": 8, "kernel": [3, 5], "dilation": [2, 1], "padding": "half"},
            {"filters": 8, "kernel": [2, 3], "dilation": 3, "padding": "valid"},
            {"filters": 8, "kernel": [2, 5], "stride": [3, 2], "padding": "same", "groups": 2},
            {"filters": 8, "kernel": 1, "stride": 2, "padding": 2},
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
            {"kernel": 3, "dilation": 2},
            {"kernel": [2, 3], "dilation": [3, 2], "depth_multiplier": 3, "padding": "same"},
            {"kernel": 3, "stride": [2, 1], "padding": [0, 1, 2, 1]},
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
        {"filters": 5, "kernel": [3, 5], "depth_multiplier": 3, "stride": 2, "padding": "same"},
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
        {"filters": 8, "kernel": 2, "stride": 3, "padding": "same"},
        {"filters": 8, "kernel": [1, 4], "stride": 2, "padding": "same"},
        {"filters": 8, "kernel": 3, "dilation": 2},
        {"filters": 8, "kernel": 3, "padding": [0, 1, 1, 0]},
        {"filters": 8, "kernel": [5, 3], "stride": [3, 2], "padding": [2, 1], "output_padding": [2, 1], "groups": 4},
        {"filters": 8, "kernel": [3, 2], "stride": [2, 3], "output_padding": [1, 2], "bias": False},
        {"filters": 6, "kernel": [3, 2], "dilation": [2, 3], "padding": 1, "output_padding": 1, "groups": 2},
        {"filters": 8, "kernel": [3, 5], "dilation": [2, 1], "padding": "half"},
        {"filters": 8, "kernel": [2, 5], "stride": [3, 2], "padding": "same"},
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
                {"size": [3, 5], "stride": [3, 1], "padding": "half"},
                {"size": [2, 5], "stride": [3, 2], "padding": [1, 2], "ceil_mode": True},
            ],
            ODD,
            EVEN,
        )
    ]
    + _cases("max_pool", [{"size": 2, "ceil_mode": True}, {"size": 3, "stride": 2, "ceil_mode": True}], Maps(4, 2, 2))
    + _cases("avg_pool", [{"size": 2, "ceil_mode": True}], Maps(4, 1, 3))
    + _cases(
        "avg_pool",
        [
            {"size": 3, "stride": 2, "padding": 1, "divisor": "padded"},
            {"size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "divisor": "padded"},
            {"size": [3, 2], "stride": [2, 3], "padding": 1, "ceil_mode": True, "divisor": "padded"},
            {"size": 3, "stride": 1, "padding": "same", "divisor": "padded"},
            {"size": [2, 3], "stride": 2, "padding": [0, 1, 1, 2], "divisor": "padded"},
        ],
        ODD,
        EVEN,
    )
)
UNEVEN = [  # four edges with what no framework's layer takes along with them
    *_cases(
        "transposed_conv",
        [
            {"filters": 8, "kernel": 3, "stride": 2, "padding": [1, 0, 0, 2], "output_padding": 1},
            {"filters": 8, "kernel": [2, 3], "dilation": [3, 2], "padding": [0, 3, 1, 0], "output_padding": [2, 1]},
        ],
        ODD,
    ),
    *[
        case
        for kind, options in (("max_pool", {}), ("avg_pool", {}), ("avg_pool", {"divisor": "padded"}))
        for case in _cases(
            kind,
            [
                {"size": [3, 2], "stride": [2, 3], "padding": [1, 0, 0, 1], "ceil_mode": True, **options},
                {"size": 4, "stride": 3, "padding": [0, 2, 3, 1], "ceil_mode": True, **options},
            ],
            ODD,
            EVEN,
        )
    ],
]
ADAPTIVE = [
    case
    for kind in ("adaptive_avg_pool", "adaptive_max_pool")
    for case in (
        *_cases(kind, [{"output": 6}], Maps(4, 7, 13), Maps(4, 6, 12)),
        *_cases(kind, [{"output": [1, 1]}, {"output": [7, 1]}], Maps(4, 7, 14)),
    )
]
ACTIVATIONS: dict[str, list[dict[str, Any]]] = {
    "leaky_relu": [{}, {"slope": 0.2}, {"slope": -1}],
    "elu": [{}, {"alpha": 0.4}],
    "gelu": [{}, {"approximate": True}],
}
"""Options of activations that have any."""
OTHERS = [
    *_cases("dense", [{"units": 7}, {"units": 7, "bias": False}], FLAT),
    *_cases("global_avg_pool", [{}, {"keep_dims": True}], ODD),
    *_cases("global_max_pool", [{}, {"keep_dims": True}], ODD),
    *_cases("flatten", [{}], ODD, FLAT),
    *_cases("batch_norm", [{}, {"scale": False}, {"shift": False, "epsilon": 0.001, "momentum": 0.99}], ODD, FLAT),
    *_cases("layer_norm", [{}, {"scale": False, "shift": False}], ODD, FLAT),
    *_cases("lrn", [{}, {"size": 3, "alpha": 2e-5, "k": 1.0}, {"alpha": 0.3, "beta": 0.5}, {"size": 1}], ODD),
    *_cases("lrn", [{"size": 9, "alpha": 0.1}], Maps(3, 5, 4)),
    *_cases("dropout", [{"rate": 0.5}], ODD, FLAT),
    *_cases("spatial_dropout", [{"rate": 0.2}], ODD),
    *_cases("zero_pad", [{"padding": 1}, {"padding": [1, 2]}, {"padding": [0, 1, 2, 3]}], ODD),
    *_cases("crop", [{"edges": 1}, {"edges": [1, 2]}, {"edges": [0, 1, 2, 3]}], ODD),
    *_cases("upsample", [{"factor": 2}, {"factor": [1, 3]}, {"factor": 2, "mode": "bilinear"}], ODD),
    *_cases("upsample", [{"factor": [3, 4], "mode": "bilinear"}], ODD, Maps(4, 1, 2)),
    *_cases("channel_shuffle", [{"groups": 3}, {"groups": 4}, {"groups": 1}], ODD),
    *_cases("scale", [{"factor": 0.17}, {"factor": -2}], ODD, FLAT),
    Case("add", {}, (ODD, ODD)),
    Case("add", {}, (FLAT, FLAT, FLAT)),
    Case("multiply", {}, (ODD, Maps(12, 1, 1))),
    Case("multiply", {}, (Maps(1, 13, 11), ODD)),
    Case("multiply", {}, (Maps(12, 1, 11), ODD, Maps(1, 13, 1))),
    Case("multiply", {}, (Vector(1), FLAT)),
    Case("concat", {}, (ODD, Maps(5, 13, 11))),
    Case("concat", {}, (FLAT, Vector(4))),
    Case("concat", {}, (Maps(1, 13, 11), ODD, Maps(2, 13, 11))),
    *[
        case
        for kind, op in OPS.items()
        if op.role == "activation"
        for case in _cases(kind, ACTIVATIONS.get(kind, [{}]), ODD, FLAT)
    ],
]
CASES = [*CONVOLUTIONS, *SEPARABLE, *TRANSPOSED, *POOLS, *UNEVEN, *ADAPTIVE, *OTHERS]
