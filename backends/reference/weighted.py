"""Convolutions and the dense layer."""

import numpy as np

from cnnspec.backends.reference.arrays import Array, Four, Params, Two, pad, per_channel, windows


def conv(
    x: Array,
    params: Params,
    *,
    filters: int,
    kernel: Two,
    stride: Two,
    dilation: Two,
    pads: Four,
    groups: int,
    bias: bool,
) -> Array:
    """Each output channel sums, over the channels of its group and the window, input times weight."""
    seen = windows(pad(x, pads), kernel, stride, dilation)
    seen = seen.reshape(len(x), groups, -1, *seen.shape[2:])
    weight = params["weight"].reshape(groups, filters // groups, -1, *kernel)
    y: Array = np.einsum("ngchwij,gocij->ngohw", seen, weight, optimize=True)
    y = y.reshape(len(x), filters, *y.shape[3:])
    return y + per_channel(params["bias"], y) if bias else y


def depthwise_conv(
    x: Array,
    params: Params,
    *,
    kernel: Two,
    stride: Two,
    dilation: Two,
    pads: Four,
    depth_multiplier: int,
    bias: bool,
) -> Array:
    """A convolution in as many groups as there are input channels."""
    channels = x.shape[1]
    return conv(
        x,
        params,
        filters=channels * depth_multiplier,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        pads=pads,
        groups=channels,
        bias=bias,
    )


def transposed_conv(
    x: Array,
    params: Params,
    *,
    filters: int,
    kernel: Two,
    stride: Two,
    dilation: Two,
    crop: Four,
    output_padding: Two,
    groups: int,
    bias: bool,
) -> Array:
    """Each input pixel adds its kernel to the output, `stride` apart; then the output is cropped.

    `output_padding` lengthens the output at the bottom and right before the crop.
    """
    n, channels, height, width = x.shape
    reach = (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1  # where one tap of the kernel may land
    extent = [r + (k - 1) * d for r, k, d in zip(reach, kernel, dilation, strict=True)]
    y = np.zeros((n, groups, filters // groups, extent[0] + output_padding[0], extent[1] + output_padding[1]), x.dtype)
    x = x.reshape(n, groups, channels // groups, height, width)
    weight = params["weight"].reshape(groups, channels // groups, filters // groups, *kernel)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            landing = y[..., top : top + reach[0] : stride[0], left : left + reach[1] : stride[1]]
            landing += np.einsum("ngchw,gco->ngohw", x, weight[..., i, j], optimize=True)
    y = y.reshape(n, filters, *y.shape[3:])
    y = y[:, :, crop[0] : y.shape[2] - crop[2], crop[1] : y.shape[3] - crop[3]]
    return y + per_channel(params["bias"], y) if bias else y


def dense(x: Array, params: Params, *, units: int, bias: bool) -> Array:
    """The weight, (units, features), times the vector."""
    y = x @ params["weight"].T
    return y + params["bias"] if bias else y
