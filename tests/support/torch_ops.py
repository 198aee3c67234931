"""What PyTorch's functions give for an op, from its options as a spec states them.

Nothing here knows the canonical meaning: paddings are resolved a second time. Where PyTorch has no such pool, the
windows are gone through one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnspec.ops import Op

Params = Mapping[str, Tensor]


def expected(op: Op, inputs: Sequence[Tensor], params: Params) -> Tensor:
    """The op's output outside of training."""
    return FUNCTIONS[op.kind](op, inputs, params)


def _edges(op: Any, x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Padding as left, right, top, bottom, which is PyTorch's order."""
    if op.padding == "valid":
        return [0, 0, 0, 0]
    if not isinstance(op.padding, str):
        top, left, bottom, right = op.padding
        return [left, right, top, bottom]
    edges = []
    for n, k, s, d in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), reversed(dilation), strict=True):
        if op.padding == "half":
            edges += [d * (k - 1) // 2] * 2
        else:
            total = max((ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
            edges += [total // 2, total - total // 2]
    return edges


def _conv(op: Any, inputs: Sequence[Tensor], params: Params, groups: int | None = None) -> Tensor:
    x = F.pad(inputs[0], _edges(op, inputs[0], op.kernel, op.stride, op.dilation))
    return F.conv2d(x, params["weight"], params.get("bias"), op.stride, 0, op.dilation, groups or op.groups)


def _depthwise_conv(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return _conv(op, inputs, params, groups=inputs[0].shape[1])


def _separable_conv(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    between = _depthwise_conv(op, inputs, {"weight": params["depthwise.weight"]})
    return F.conv2d(between, params["pointwise.weight"], params.get("pointwise.bias"))


def _transposed_conv(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    (x,) = inputs
    beyond, edges = list(op.output_padding), _edges(op, x, op.kernel, op.stride, op.dilation)
    if op.padding == "same":  # n·stride pixels, whatever the kernel
        edges = []
        for axis in (1, 0):
            surplus = op.dilation[axis] * (op.kernel[axis] - 1) + 1 - op.stride[axis]
            edges += [max(surplus, 0) // 2, max(surplus, 0) - max(surplus, 0) // 2]
            beyond[axis] += max(-surplus, 0)
    left, right, top, bottom = edges
    even = (top, left) if (top, left) == (bottom, right) else (0, 0)
    weight, bias = params["weight"], params.get("bias")
    y = F.conv_transpose2d(x, weight, bias, op.stride, even, beyond, op.groups, op.dilation)
    return y if even != (0, 0) else F.pad(y, [-edge for edge in edges])


def _pool(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    (x,) = inputs
    stride = op.stride or op.size
    left, right, top, bottom = edges = _edges(op, x, op.size, stride, (1, 1))
    counted = op.kind == "avg_pool" and op.divisor == "padded"
    if (top, left) != (bottom, right) or 2 * top > op.size[0] or 2 * left > op.size[1]:
        return pool_by_windows(x, op.kind, op.size, stride, edges, ceil_mode=op.ceil_mode, counted=counted)
    if op.kind == "max_pool":
        return F.max_pool2d(x, op.size, stride, (top, left), ceil_mode=op.ceil_mode)
    return F.avg_pool2d(x, op.size, stride, (top, left), ceil_mode=op.ceil_mode, count_include_pad=counted)


def pool_by_windows(
    x: Tensor,
    kind: str,
    size: Sequence[int],
    stride: Sequence[int],
    edges: Sequence[int],
    *,
    ceil_mode: bool,
    counted: bool,
) -> Tensor:
    """A pool, window by window; `counted` says whether an average divides by the padding too."""
    rows, columns = (
        _spans(x.shape[axis + 2], size[axis], stride[axis], *edges[2 - 2 * axis : 4 - 2 * axis], ceil_mode=ceil_mode)
        for axis in (0, 1)
    )
    y = torch.empty(*x.shape[:2], len(rows), len(columns), dtype=x.dtype)
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        seen = x[:, :, row[0] : row[1], column[0] : column[1]]
        divisor = row[2] * column[2] if counted else seen[0, 0].numel()
        y[:, :, i, j] = seen.amax((2, 3)) if kind == "max_pool" else seen.sum((2, 3)) / divisor
    return y


def _spans(n: int, size: int, stride: int, begin: int, end: int, *, ceil_mode: bool) -> list[tuple[int, int, int]]:
    """First pixel, the one behind the last, and how many of map and padding there are, of every window of an axis."""
    spans = []
    start = -begin
    while start + size <= n + end or (ceil_mode and start < n and start - stride + size < n + end):
        spans.append((max(start, 0), min(start + size, n), min(start + size, n + end) - start))
        start += stride
    return spans


def _adaptive(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    pool = F.adaptive_avg_pool2d if op.kind == "adaptive_avg_pool" else F.adaptive_max_pool2d
    return pool(inputs[0], op.output)


def _batch_norm(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    statistics = params["running_mean"], params["running_var"]
    return F.batch_norm(inputs[0], *statistics, params.get("weight"), params.get("bias"), eps=op.epsilon)


def _layer_norm(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    x = inputs[0].movedim(1, -1)
    return F.layer_norm(x, x.shape[-1:], params.get("weight"), params.get("bias"), op.epsilon).movedim(-1, 1)


def _crop(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    top, left, bottom, right = op.edges
    return F.pad(inputs[0], (-left, -right, -top, -bottom))


def _upsample(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    factor = [float(f) for f in op.factor]
    if op.mode == "bilinear":
        return F.interpolate(inputs[0], scale_factor=factor, mode="bilinear", align_corners=False)
    return F.interpolate(inputs[0], scale_factor=factor, mode="nearest")


def _multiply(op: Any, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*inputs)).prod(dim=0)


def _one(function: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Sequence[Tensor], Params], Tensor]:
    """An op of one input and no parameters."""
    return lambda op, inputs, params: function(op, inputs[0])


FUNCTIONS: dict[str, Callable[[Any, Sequence[Tensor], Params], Tensor]] = {
    "conv": _conv,
    "depthwise_conv": _depthwise_conv,
    "separable_conv": _separable_conv,
    "transposed_conv": _transposed_conv,
    "dense": lambda op, inputs, params: F.linear(inputs[0], params["weight"], params.get("bias")),
    "max_pool": _pool,
    "avg_pool": _pool,
    "adaptive_avg_pool": _adaptive,
    "adaptive_max_pool": _adaptive,
    "global_avg_pool": _one(lambda op, x: x.mean((2, 3), keepdim=op.keep_dims)),
    "global_max_pool": _one(lambda op, x: x.amax((2, 3), keepdim=op.keep_dims)),
    "flatten": _one(lambda op, x: x.flatten(1)),
    "zero_pad": _one(lambda op, x: F.pad(x, _edges(op, x, (), (), ()))),
    "crop": _crop,
    "upsample": _upsample,
    "channel_shuffle": _one(lambda op, x: torch.channel_shuffle(x, op.groups)),
    "scale": _one(lambda op, x: torch.mul(x, op.factor)),
    "add": lambda op, inputs, params: torch.stack(list(inputs)).sum(dim=0),
    "multiply": _multiply,
    "concat": lambda op, inputs, params: torch.cat(list(inputs), dim=1),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "lrn": _one(lambda op, x: F.local_response_norm(x, op.size, op.alpha * op.size, op.beta, op.k)),
    "dropout": _one(lambda op, x: F.dropout(x, op.rate, training=False)),
    "spatial_dropout": _one(lambda op, x: F.dropout2d(x, op.rate, training=False)),
    "relu": _one(lambda op, x: F.relu(x)),
    "relu6": _one(lambda op, x: F.relu6(x)),
    "leaky_relu": _one(lambda op, x: F.leaky_relu(x, op.slope)),
    "prelu": lambda op, inputs, params: F.prelu(inputs[0], params["weight"]),
    "elu": _one(lambda op, x: F.elu(x, op.alpha)),
    "selu": _one(lambda op, x: F.selu(x)),
    "gelu": _one(lambda op, x: F.gelu(x, approximate="tanh" if op.approximate else "none")),
    "silu": _one(lambda op, x: F.silu(x)),
    "mish": _one(lambda op, x: F.mish(x)),
    "hard_sigmoid": _one(lambda op, x: F.hardsigmoid(x)),
    "hard_swish": _one(lambda op, x: F.hardswish(x)),
    "hard_tanh": _one(lambda op, x: F.hardtanh(x)),
    "sigmoid": _one(lambda op, x: torch.sigmoid(x)),
    "tanh": _one(lambda op, x: torch.tanh(x)),
    "softmax": _one(lambda op, x: F.softmax(x, dim=1)),
}
"""By the op's name in the language."""
