"""How Keras lays out the parameters of a layer, and in which order it stores them.

Images in Keras are height × width × channels, so what flattens them gives features in another order, and whatever has
a parameter for each feature after that has it permuted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnspec.graph.model import Node
from cnnspec.ops import Maps

CLASSES = {
    "conv": "conv2d",
    "depthwise_conv": "depthwise_conv2d",
    "transposed_conv": "conv2d_transpose",
    "dense": "dense",
    "batch_norm": "batch_normalization",
    "layer_norm": "layer_normalization",
    "prelu": "p_re_lu",
}
"""What Keras calls the layers that have parameters, as it writes that in files."""
SEPARABLE = "separable_conv2d"

_NAMES = {"weight": "kernel", "bias": "bias"}
_NORM_NAMES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def variable_name(node: Node, name: str) -> str:
    """What Keras calls a parameter."""
    if node.op.kind == "prelu":
        return "alpha"
    return (_NORM_NAMES if node.op.kind.endswith("_norm") else _NAMES)[name]


def from_keras(node: Node, name: str, array: Any) -> Any:
    """A parameter as Keras lays it out, in canonical layout."""
    order = _order(node, name)
    if order is not None:
        array = array[np.argsort(order)]
    match node.op.kind, name:
        case "depthwise_conv", "weight":
            return array.transpose(2, 3, 0, 1).reshape(node.params[name].shape)
        case (("conv" | "transposed_conv"), "weight"):
            return array.transpose(3, 2, 0, 1)
        case "dense", "weight":
            return array.T
    return array.reshape(node.params[name].shape)


def to_keras(node: Node, name: str, array: Any) -> Any:
    """A parameter in canonical layout, as Keras lays it out."""
    order = _order(node, name)
    match node.op.kind, name:
        case "depthwise_conv", "weight":
            channels = node.inputs[0].shape.channels
            return array.reshape(channels, -1, *array.shape[2:]).transpose(2, 3, 0, 1)
        case (("conv" | "transposed_conv"), "weight"):
            return array.transpose(2, 3, 1, 0)
        case "dense", "weight":
            return (array if order is None else array[:, order]).T
    return (array if order is None else array[order]).reshape(keras_shape(node, name))


def keras_shape(node: Node, name: str) -> tuple[int, ...]:
    """The shape that Keras gives a parameter."""
    shape = node.params[name].shape
    match node.op.kind, name:
        case "prelu", _:
            return _prelu_shape(node)
        case "depthwise_conv", "weight":
            channels = node.inputs[0].shape.channels
            return (*shape[2:], channels, shape[0] // channels)
        case (("conv" | "transposed_conv"), "weight"):
            return (*shape[2:], shape[1], shape[0])
        case "dense", "weight":
            return shape[::-1]
    return shape


def _prelu_shape(node: Node) -> tuple[int, ...]:
    """One slope a channel: `shared_axes=[1, 2]` where there are images."""
    channels = node.params["weight"].shape
    return (1, 1, *channels) if isinstance(node.shape, Maps) else channels


def _order(node: Node, name: str) -> Any:
    """For each entry along a parameter's first axis in Keras, its number in canonical order; None for no change."""
    if node.op.kind == "dense":
        return _features(node.inputs[0]) if name == "weight" else None
    return None if node.op.kind in ("conv", "depthwise_conv", "transposed_conv") else _features(node)


def _features(node: Node) -> Any:
    """For each feature of a vector in Keras, its number in canonical order; None where they are the same."""
    if isinstance(node.shape, Maps) or not node.inputs:
        return None
    if node.op.kind == "flatten" and isinstance(maps := node.inputs[0].shape, Maps):
        if maps.height * maps.width == 1 or maps.channels == 1:
            return None
        return np.arange(maps.channels * maps.height * maps.width).reshape(maps).transpose(1, 2, 0).ravel()
    if node.op.kind == "concat":
        orders = [(_features(source), source.shape.channels) for source in node.inputs]
        if all(order is None for order, _ in orders):
            return None
        parts, start = [], 0
        for order, length in orders:
            parts.append(start + (np.arange(length) if order is None else order))
            start += length
        return np.concatenate(parts)
    if node.op.kind == "dense" or node.inputs[0].shape != node.shape:
        return None
    return _features(node.inputs[0])
