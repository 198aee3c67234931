"""Canonical weights in Keras's layouts, set by layer name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnspec.backends.keras.layouts import Layouts
from cnnspec.backends.keras.table import FULL, SEPARATOR, layer_name
from cnnspec.graph import Node
from cnnspec.lower.backend import Weights

Array = NDArray[Any]

_NAMES = {
    "batch_norm": {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"},
    "layer_norm": {"weight": "gamma", "bias": "beta"},
    "prelu": {"weight": "alpha"},
    "depthwise_conv": {"weight": "kernel", "bias": "bias"},
}
"""Keras's variables by the canonical names of parameters, by kind."""
_USUAL = {"weight": "kernel", "bias": "bias"}


def set_weights(model: Any, layouts: Layouts, weights: Weights) -> None:
    """Set every variable of a model. Raises `ValueError` where one has no value, or a value has another shape."""
    left = {id(variable): variable for variable in model.weights}
    for key, variable, value in _pairs(model, layouts, weights):
        if value.shape != tuple(variable.shape):
            raise ValueError(f"{key} is {value.shape} for Keras, {variable.path} is {tuple(variable.shape)}")
        del left[id(variable)]
        variable.assign(value)
    if left:
        raise ValueError(f"no weights for {', '.join(variable.path for variable in left.values())}")


def gradients_of(model: Any, layouts: Layouts, values: dict[int, Array]) -> dict[str, Array]:
    """Arrays of Keras's variables, by their `id`, as canonical ones by parameter; those of groups are brought together.

    Every layout is a permutation of numbers: the canonical array of their places tells where each one goes.
    """
    found: dict[str, Array] = {}
    places = {
        f"{node.path}.{name}": np.arange(param.size).reshape(param.shape)
        for node in layouts.nodes
        for name, param in node.params.items()
    }
    for key, variable, place in _pairs(model, layouts, places):
        if id(variable) in values:
            whole = found.setdefault(key, np.zeros(places[key].shape, values[id(variable)].dtype))
            whole.reshape(-1)[place.reshape(-1)] = values[id(variable)].reshape(-1)
    return found


def _pairs(model: Any, layouts: Layouts, weights: Weights) -> Iterator[tuple[str, Any, Array]]:
    """Every parameter that the model has: its key, its variable, and its value in Keras's layout."""
    layers = {layer.name: layer for layer in model.layers}
    for node in layouts.nodes:
        for layer, number, groups in _layers(layers, node):
            for name in node.params:
                key = f"{node.path}.{name}"
                if key not in weights:
                    raise ValueError(f"no weights for {key}")
                value = _layout(layer, node, name, np.asarray(weights[key]), layouts)
                if groups > 1:  # a kernel's last axis is what it reads
                    value = np.split(value, groups, axis=-1)[number]
                names = _NAMES.get(node.canonical().kind, _USUAL)
                yield key, getattr(layer, names[name]), value


def _layers(layers: dict[str, Any], node: Node) -> Iterator[tuple[Any, int, int]]:
    """The layers that hold a node's parameters, each with its number and how many there are."""
    if not node.params:
        return
    groups = node.canonical().attrs.get("groups", 1)
    name = layer_name(node.path)
    for base in (name, name + FULL):
        if f"{base}{SEPARATOR}0" in layers and groups > 1:
            yield from ((layers[f"{base}{SEPARATOR}{number}"], number, groups) for number in range(groups))
            return
        if base in layers and layers[base].weights:
            yield layers[base], 0, 1
            return


def _layout(layer: Any, node: Node, name: str, value: Array, layouts: Layouts) -> Array:
    """A parameter as Keras has it."""
    kind = node.canonical().kind
    if kind in ("batch_norm", "layer_norm", "prelu"):
        features = layouts.features(node, value)
        return features.reshape(tuple(getattr(layer, "alpha").shape)) if kind == "prelu" else features  # noqa: B009
    if name == "bias":
        return value
    if kind == "dense":
        return layouts.features(node.inputs[0], value).T
    if kind == "depthwise_conv" and type(layer).__name__ == "DepthwiseConv2D":
        multiplier = node.canonical().attrs["depth_multiplier"]
        return value.reshape(-1, multiplier, *value.shape[2:]).transpose(2, 3, 0, 1)
    return value.transpose(2, 3, 1, 0)
