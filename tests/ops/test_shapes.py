"""Shapes and parameters of every op against PyTorch's layers, and Keras's where the formula is Keras's."""

from math import prod
from typing import Any

import pytest
from op_cases import ADAPTIVE, CASES, CONVOLUTIONS, EVEN, POOLS, SEPARABLE, TRANSPOSED, Case

from cnnspec.ops import OPS, Maps, OpError, Shape, Vector
from cnnspec.ops.pool import uniform_window


def of(shape: Shape) -> tuple[int, ...]:
    return tuple(shape)


def count(case: Case, *, trainable: bool | None = None) -> int:
    params = case.op.params(case.inputs).values()
    return sum(p.size for p in params if trainable is None or p.trainable == trainable)


def two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def test_every_op_has_cases():
    assert {case.kind for case in CASES} == set(OPS)


@pytest.mark.parametrize("case", [c for c in CASES if not OPS[c.kind].parameterised], ids=str)
def test_ops_without_weights_have_none(case):
    assert case.op.params(case.inputs) == {}


def torch_window(case: Case) -> Any:
    """PyTorch's layer for a convolution or pool with symmetric padding, None where PyTorch has no such padding."""
    import torch

    o = case.options
    kernel = two(o.get("kernel") or o["size"])
    dilation = two(o.get("dilation", 1))
    padding = o.get("padding", "half" if "conv" in case.kind and case.kind != "transposed_conv" else 0)
    if padding == "half":
        padding = [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    elif padding == "valid":
        padding = 0
    if padding == "same" or (isinstance(padding, list) and len(padding) == 4):
        return None
    channels = case.inputs[0].channels
    stride = two(o["stride"]) if "stride" in o else None
    if case.kind.endswith("pool"):
        layer = {"max_pool": torch.nn.MaxPool2d, "avg_pool": torch.nn.AvgPool2d}[case.kind]
        return layer(kernel, stride, two(padding), ceil_mode=o.get("ceil_mode", False))
    common = {"stride": stride or 1, "padding": two(padding), "dilation": dilation, "bias": o.get("bias", True)}
    if case.kind == "depthwise_conv":
        out = channels * o.get("depth_multiplier", 1)
        return torch.nn.Conv2d(channels, out, kernel, groups=channels, **common)
    if case.kind == "transposed_conv":
        extra = two(o.get("output_padding", 0))
        groups = o.get("groups", 1)
        return torch.nn.ConvTranspose2d(channels, o["filters"], kernel, output_padding=extra, groups=groups, **common)
    return torch.nn.Conv2d(channels, o["filters"], kernel, groups=o.get("groups", 1), **common)


def keras_window(case: Case) -> Any:
    """Keras's layer for a convolution or pool, None where Keras has no such padding."""
    from keras import layers

    o = dict(case.options)
    padding = o.pop("padding", None)
    if padding not in ("same", "valid") or o.get("ceil_mode"):
        return None
    common = {"padding": padding, "strides": two(o.get("stride", o.get("size", 1)))}
    if case.kind.endswith("pool"):
        layer = {"max_pool": layers.MaxPooling2D, "avg_pool": layers.AveragePooling2D}[case.kind]
        return layer(two(o["size"]), **common)
    common |= {"dilation_rate": two(o.get("dilation", 1)), "use_bias": o.get("bias", True)}
    if case.kind == "depthwise_conv":
        return layers.DepthwiseConv2D(two(o["kernel"]), depth_multiplier=o.get("depth_multiplier", 1), **common)
    layer = layers.Conv2DTranspose if case.kind == "transposed_conv" else layers.Conv2D
    return layer(o["filters"], two(o["kernel"]), **common)


WINDOWED = [*CONVOLUTIONS, *TRANSPOSED, *POOLS]


@pytest.mark.parametrize("case", WINDOWED, ids=str)
def test_windows_give_the_peers_shape(case):
    import torch

    shape = case.inputs[0]
    expected = []
    layer = torch_window(case)
    if layer is not None:
        with torch.device("meta"):
            out = layer.to("meta")(torch.empty(1, *shape))
        expected.append(Maps(*out.shape[1:]))
        assert count(case) == sum(p.numel() for p in layer.parameters())
        ours = case.op.params(case.inputs)
        assert {n: p.shape for n, p in ours.items()} == {n: tuple(p.shape) for n, p in layer.named_parameters()}
    layer = keras_window(case)
    if layer is not None:
        _, height, width, channels = layer.compute_output_shape((1, shape.height, shape.width, shape.channels))
        expected.append(Maps(channels, height, width))
    if not expected:  # four edges: the formula by hand, pixel by pixel
        expected.append(by_sliding(case))
    assert [case.op.shape(case.inputs)] * len(expected) == expected


def by_sliding(case: Case) -> Maps:
    """The output's size by placing windows one after the other on the padded map."""
    o, shape = case.options, case.inputs[0]
    edges = o["padding"] if len(o["padding"]) == 4 else [*o["padding"], *o["padding"]]
    kernel = two(o.get("kernel") or o["size"])
    stride = two(o.get("stride", o.get("size", 1)))
    sizes = []
    for axis, n in enumerate((shape.height, shape.width)):
        if case.kind == "transposed_conv":
            sizes.append((n - 1) * stride[axis] + kernel[axis] - edges[axis] - edges[axis + 2])
        else:
            room = range(0, n + edges[axis] + edges[axis + 2] - kernel[axis] + 1, stride[axis])
            sizes.append(len(room))
    return Maps(o.get("filters", shape.channels), *sizes)


@pytest.mark.parametrize(
    "case", [c for c in TRANSPOSED if c.options.get("padding") == "same" and c.inputs[0] == EVEN], ids=str
)
def test_same_transposed_convolutions_lie_where_keras_s_do(case):
    """The full output, cropped and with `extra` pixels behind it, holds Keras's values."""
    import numpy as np
    import torch

    layer = keras_window(case)
    shape = case.inputs[0]
    random = np.random.default_rng(0)
    x = random.random((1, *shape), dtype=np.float32)
    layer.build((1, shape.height, shape.width, shape.channels))
    weight, bias = (random.random(w.shape, dtype=np.float32) for w in layer.weights)
    layer.set_weights([weight, bias])
    expected = np.asarray(layer(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
    full = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x),
        torch.from_numpy(weight.transpose(3, 2, 0, 1).copy()),
        torch.from_numpy(bias),
        stride=case.op.stride,
        output_padding=case.op.extra(case.inputs),
    ).numpy()
    top, left, bottom, right = case.op.crop(case.inputs)
    ours = full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
    assert ours.shape[1:] == tuple(case.op.shape(case.inputs))
    assert np.abs(ours - expected).max() < 1e-5


@pytest.mark.parametrize("case", SEPARABLE, ids=str)
def test_separable_convolutions_are_keras_s(case):
    from keras import layers

    o, shape = case.options, case.inputs[0]
    layer = layers.SeparableConv2D(
        o["filters"],
        o["kernel"],
        strides=o.get("stride", 1),
        padding="same",
        depth_multiplier=o.get("depth_multiplier", 1),
        use_bias=o.get("bias", True),
    )
    layer.build((1, shape.height, shape.width, shape.channels))
    _, height, width, channels = layer.compute_output_shape((1, shape.height, shape.width, shape.channels))
    assert case.op.shape(case.inputs) == Maps(channels, height, width)
    assert count(case) == layer.count_params()
    depthwise, pointwise = (part.op for part in case.op.parts())
    middle = depthwise.shape(case.inputs)
    expected = depthwise.macs(case.inputs, middle) + pointwise.macs([middle], pointwise.shape([middle]))
    assert case.op.macs(case.inputs, case.op.shape(case.inputs)) == expected


@pytest.mark.parametrize("case", ADAPTIVE, ids=str)
def test_adaptive_pools_are_plain_pools(case):
    """The equal windows that inference finds give PyTorch's adaptive pool, value by value."""
    import torch
    from torch.nn import functional as F

    x = torch.rand(2, *case.inputs[0], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    window = case.op.window(case.inputs)
    adaptive, plain = (
        (F.adaptive_avg_pool2d, F.avg_pool2d) if "avg" in case.kind else (F.adaptive_max_pool2d, F.max_pool2d)
    )
    expected = adaptive(x, two(case.options["output"]))
    assert torch.allclose(plain(x, window.kernel, window.stride), expected, rtol=0, atol=1e-15)
    assert case.op.shape(case.inputs) == Maps(*expected.shape[1:])


@pytest.mark.parametrize(("size", "out", "window"), [(7, 6, (2, 1)), (13, 6, (3, 2)), (9, 6, None), (8, 4, (2, 2))])
def test_uniform_windows(size, out, window):
    """7→6 and 13→6 have windows of one size, 9→6 has not."""
    assert uniform_window(size, out) == window


LAYERS: dict[str, Any] = {
    "dense": lambda nn, o, x: nn.Linear(prod(x), o["units"], bias=o.get("bias", True)),
    "batch_norm": lambda nn, o, x: nn.BatchNorm2d(x[0]),
    "prelu": lambda nn, o, x: nn.PReLU(x[0]),
}


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.kind in LAYERS and c.options.get("scale", True) and c.options.get("shift", True)],
    ids=str,
)
def test_weights_are_the_peers(case):
    from torch import nn

    layer = LAYERS[case.kind](nn, case.options, of(case.inputs[0]))
    assert count(case, trainable=True) == sum(p.numel() for p in layer.parameters())
    statistics = [b.numel() for name, b in layer.named_buffers() if name != "num_batches_tracked"]
    assert count(case, trainable=False) == sum(statistics)


@pytest.mark.parametrize(
    ("kind", "options", "inputs", "expected"),
    [
        ("dense", {"units": 7}, (Vector(30),), Vector(7)),
        ("global_avg_pool", {}, (Maps(12, 13, 11),), Vector(12)),
        ("global_max_pool", {"keep_dims": True}, (Maps(12, 13, 11),), Maps(12, 1, 1)),
        ("flatten", {}, (Maps(12, 13, 11),), Vector(1716)),
        ("zero_pad", {"padding": [0, 1, 2, 3]}, (Maps(12, 13, 11),), Maps(12, 15, 15)),
        ("crop", {"edges": [0, 1, 2, 3]}, (Maps(12, 13, 11),), Maps(12, 11, 7)),
        ("upsample", {"factor": [1, 3]}, (Maps(12, 13, 11),), Maps(12, 13, 33)),
        ("multiply", {}, (Maps(12, 13, 11), Maps(12, 1, 1)), Maps(12, 13, 11)),
        ("concat", {}, (Maps(12, 13, 11), Maps(5, 13, 11)), Maps(17, 13, 11)),
        ("concat", {}, (Vector(3), Vector(4)), Vector(7)),
    ],
)
def test_shapes_by_hand(kind, options, inputs, expected):
    assert OPS[kind].model_validate(options).shape(inputs) == expected


@pytest.mark.parametrize(
    ("kind", "options", "shape", "macs"),
    [
        ("conv", {"filters": 64, "kernel": 3}, Maps(3, 224, 224), 64 * 224 * 224 * 27),
        ("conv", {"filters": 64, "kernel": 3, "groups": 2}, Maps(32, 8, 8), 64 * 64 * 16 * 9),
        ("depthwise_conv", {"kernel": 3, "depth_multiplier": 2}, Maps(32, 8, 8), 64 * 64 * 9),
        ("transposed_conv", {"filters": 16, "kernel": 2, "stride": 2}, Maps(32, 8, 8), 32 * 64 * 16 * 4),
        ("dense", {"units": 10}, Vector(500), 5000),
        ("batch_norm", {}, Maps(3, 8, 8), 0),
        ("max_pool", {"size": 2}, Maps(3, 8, 8), 0),
    ],
)
def test_multiply_adds_by_hand(kind, options, shape, macs):
    op = OPS[kind].model_validate(options)
    assert op.macs([shape], op.shape([shape])) == macs


@pytest.mark.parametrize(
    ("kind", "options", "shape", "slug"),
    [
        ("conv", {"filters": 4, "kernel": 2}, Maps(3, 8, 8), "even-kernel"),
        ("conv", {"filters": 4, "kernel": 3, "stride": 2, "dilation": 2}, Maps(3, 8, 8), "strided-dilation"),
        ("transposed_conv", {"filters": 4, "kernel": 3, "stride": 2, "dilation": 2}, Maps(3, 8, 8), "strided-dilation"),
        ("conv", {"filters": 4, "kernel": 9, "padding": 0}, Maps(3, 8, 8), "empty-output"),
        ("conv", {"filters": 4, "kernel": 3, "groups": 2}, Maps(3, 8, 8), "bad-groups"),
        ("conv", {"filters": 4, "kernel": 3}, Vector(8), "wrong-rank"),
        ("dense", {"units": 4}, Maps(3, 8, 8), "wrong-rank"),
        ("max_pool", {"size": 2, "padding": 2}, Maps(3, 8, 8), "bad-padding"),
        ("adaptive_avg_pool", {"output": 6}, Maps(3, 9, 9), "uneven-windows"),
        ("crop", {"edges": 4}, Maps(3, 8, 8), "empty-output"),
        ("lrn", {"size": 4}, Maps(3, 8, 8), "even-kernel"),
        ("channel_shuffle", {"groups": 2}, Maps(3, 8, 8), "bad-groups"),
        (
            "transposed_conv",
            {"filters": 4, "kernel": 2, "stride": 3, "padding": "same", "output_padding": 2},
            Maps(3, 8, 8),
            "bad-padding",
        ),
    ],
)
def test_ops_refuse_what_does_not_fit(kind, options, shape, slug):
    with pytest.raises(OpError) as error:
        OPS[kind].model_validate(options).shape([shape])
    assert error.value.slug == slug
