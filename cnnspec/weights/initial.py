"""What parameters start from, the same in every framework: drawn from the seed and the parameter's key alone."""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnspec.graph import Graph
from cnnspec.graph.model import Node
from cnnspec.graph.patterns import Paths
from cnnspec.ops.conv import TransposedConv
from cnnspec.spec.recipe.initializer import (
    ConstantValue,
    Initializer,
    Initializers,
    Normal,
    Ones,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    Zeros,
)
from cnnspec.weights.contract import parameters
from cnnspec.weights.distributions import TRUNCATED_DEVIATION, Floats, draw, normal, truncated_normal, uniform
from cnnspec.weights.mapping import Array, Weights

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe


def initial_weights(graph: Graph, seed: int, initializers: Initializers | None = None) -> Weights:
    """What every parameter of `graph` starts from; each is computed when it is asked for.

    Without `initializers`, the defaults of that section of a recipe.
    """
    return _Initial(graph, seed, initializers or Initializers())


def recipe_weights(graph: Graph, recipe: Recipe | None, seed: int | None = None) -> Weights:
    """The same by a recipe, or by what recipes have for default; by its seed, 0 without one, unless one is given."""
    if seed is None:
        seed = recipe.seed if recipe else 0
    return initial_weights(graph, seed, recipe.initializers if recipe else None)


class _Initial(Weights):
    """Weights that are drawn."""

    def __init__(self, graph: Graph, seed: int, section: Initializers) -> None:
        paths = Paths(graph.nodes)
        own = [(paths.matching(pattern), layer) for pattern, layer in section.layers.items()]
        self._seed = seed
        self._plan: dict[str, tuple[Any, Node]] = {}
        for key, node, name in parameters(graph):
            given = [getattr(layer, name, None) for layers, layer in own if node.path in layers]
            chosen = [initializer for initializer in given if initializer is not None]
            self._plan[key] = chosen[-1] if chosen else default(node, name, section), node
        shapes = {key: node.params[name].shape for key, node, name in parameters(graph)}
        super().__init__(shapes, {"seed": str(seed)})

    def __getitem__(self, key: str) -> Array:
        initializer, node = self._plan[key]
        return initial_values(initializer, self._seed, key, self.shapes[key], node)


def default(node: Node, name: str, section: Initializers) -> Initializer:
    """What a parameter starts from, unless its layer says otherwise."""
    if name.startswith("running_"):
        return Ones() if name == "running_var" else Zeros()
    if node.op.role == "norm":
        return Ones() if name == "weight" else Zeros()
    if node.op.role == "activation":
        return ConstantValue(value=0.25)
    if name == "bias":
        return section.bias
    return section.dense if node.op.kind == "dense" else section.conv


def initial_values(initializer: Any, seed: int, key: str, shape: tuple[int, ...], node: Node) -> Array:
    """The values of one parameter in float32."""
    if isinstance(initializer, Zeros | Ones | ConstantValue):
        value = initializer.value if isinstance(initializer, ConstantValue) else float(isinstance(initializer, Ones))
        with np.errstate(over="ignore"):
            return np.full(shape, value, np.float32)
    if isinstance(initializer, Orthogonal):
        return _orthogonal(initializer.gain, seed, key, shape, node)
    standard, mean, spread = _distribution(initializer, node)
    return draw(seed, key, prod(shape), standard, mean, spread).reshape(shape)


def _distribution(initializer: Any, node: Node) -> tuple[Any, float, float]:
    """A standard distribution, and the mean and the factor that make it this initialiser's."""
    if isinstance(initializer, Uniform):
        low, high = initializer.limits
        return uniform, (low + high) / 2, (high - low) / 2
    if isinstance(initializer, Normal):
        return normal, initializer.mean, initializer.std
    if isinstance(initializer, TruncatedNormal):
        return truncated_normal, initializer.mean, initializer.std
    fan_in, fan_out = fans(node)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_average": (fan_in + fan_out) / 2}[initializer.mode]
    deviation = sqrt(initializer.scale / fan)
    if initializer.distribution == "uniform":
        return uniform, 0.0, sqrt(3 * initializer.scale / fan)
    if initializer.distribution == "truncated_normal":
        return truncated_normal, 0.0, deviation / TRUNCATED_DEVIATION
    return normal, 0.0, deviation


def fans(node: Node) -> tuple[int, int]:
    """fan_in and fan_out of a layer, as the initialisers define them."""
    weight = node.params["weight" if "weight" in node.params else "bias"].shape
    if len(weight) == 1:  # a norm: every output value has one weight
        return 1, weight[0]
    area = prod(weight[2:])
    if isinstance(node.op, TransposedConv):
        return weight[0] // node.op.groups * area, node.op.filters * area
    return weight[1] * area, weight[0] * area


def _orthogonal(gain: float, seed: int, key: str, shape: tuple[int, ...], node: Node) -> Array:
    """Of the QR decomposition of normal values, whose signs are chosen so that no direction is favoured."""
    if isinstance(node.op, TransposedConv):  # (input channels, outputs of the group, …): the outputs come first here
        groups = node.op.groups
        split = (groups, shape[1], shape[0] // groups, *shape[2:])
        matrix = _orthonormal(seed, key, groups * shape[1], prod(split[2:]))
        return (gain * matrix.reshape(split).swapaxes(1, 2).reshape(shape)).astype(np.float32)
    return (gain * _orthonormal(seed, key, shape[0], prod(shape[1:])).reshape(shape)).astype(np.float32)


def _orthonormal(seed: int, key: str, rows: int, columns: int) -> Floats:
    values = draw(seed, key, rows * columns, normal, 0.0, 1.0).astype(np.float64)
    q, r = np.linalg.qr(values.reshape(max(rows, columns), min(rows, columns)))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if rows >= columns else q.T
