"""Operators that ONNX's reference evaluator computes wrongly, or for minutes; imported with `onnx` only.

Its error function rounds to float32. Its transposed convolution goes wrong with groups, with an output padding and with
pads that differ; its maximum pool with pads that differ. Its average pool is right, but goes from pixel to pixel.
"""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun


class Erf(OpRun):  # type: ignore[misc]  # of a package without types
    """The error function of doubles."""

    def _run(self, x: Any) -> tuple[Any]:
        return (np.vectorize(erf, otypes=[x.dtype])(x),)


class ConvTranspose(OpRun):  # type: ignore[misc]
    """Every pixel adds a kernel to the output, `strides` apart."""

    def _run(self, x: Any, weight: Any, bias: Any = None, **attributes: Any) -> tuple[Any]:
        (top, left, bottom, right), group = attributes["pads"], attributes["group"]
        (kh, kw), (sh, sw), (dh, dw) = (attributes[name] for name in ("kernel_shape", "strides", "dilations"))
        beyond = attributes["output_padding"]
        n, channels, h, w = x.shape
        rows, columns = (h - 1) * sh + 1, (w - 1) * sw + 1
        height, width = rows + (kh - 1) * dh + beyond[0], columns + (kw - 1) * dw + beyond[1]
        x = x.reshape(n, group, channels // group, h, w)
        weight = weight.reshape(group, channels // group, -1, kh, kw)
        full = np.zeros((n, group, weight.shape[2], height, width), x.dtype)
        for i in range(kh):
            for j in range(kw):
                part = full[..., i * dh : i * dh + rows : sh, j * dw : j * dw + columns : sw]
                part += np.einsum("ngchw,gcm->ngmhw", x, weight[..., i, j])
        y = full.reshape(n, -1, height, width)[:, :, top : height - bottom, left : width - right]
        return (y if bias is None else y + bias.reshape(-1, 1, 1),)


class MaxPool(OpRun):  # type: ignore[misc]
    """The largest value of each window; what is padded is below every value."""

    def _run(self, x: Any, **attributes: Any) -> tuple[Any]:
        return (_windows(x, -np.inf, attributes).max(axis=(-2, -1)),)


class AveragePool(OpRun):  # type: ignore[misc]
    """The mean of each window, over what is padded too where `count_include_pad` says so."""

    def _run(self, x: Any, **attributes: Any) -> tuple[Any]:
        ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
        counted = _windows(ones, 1 if attributes["count_include_pad"] else 0, attributes)
        return (_windows(x, 0, attributes).sum(axis=(-2, -1)) / counted.sum(axis=(-2, -1)),)


def _windows(x: Any, padding: float, attributes: dict[str, Any]) -> Any:
    """The windows of a pool, as two further axes; `padding` is the value around the map."""
    top, left, bottom, right = attributes["pads"]
    (kh, kw), (sh, sw) = attributes["kernel_shape"], attributes["strides"]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=padding)
    return np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw]


OPERATORS = [AveragePool, ConvTranspose, Erf, MaxPool]
