"""What networks are compared on: images, weights that leave nothing unseen, and the reference's own outputs.

Initial weights would compare little: norms that start as the identity, biases of zero and activations that fade or
explode hide what is wrong with them. So weights are drawn here, where none are given, as the network runs: each layer
for what it really gets. Outputs of convolutions and dense layers then have a size of about 1 at any depth, which
leaves sigmoids and tanh where they bend; every scale, shift and statistic is another one for every channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import frexp, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnspec.graph import Graph
from cnnspec.graph.model import Node
from cnnspec.lower.backend import Precision
from cnnspec.ops import Canonical
from cnnspec.verify.compare import largest
from cnnspec.weights.distributions import draw, normal, uniform
from cnnspec.weights.initial import fans

Array = NDArray[Any]
Apply = Callable[..., Array]
"""The definition of one layer: of its canonical meaning, its inputs and its parameters."""

_VALUES = 4_000_000  # of all layers together, about which the images are as many as fit


@dataclass(frozen=True, slots=True)
class Sample:
    """Images and weights in float32, and the outputs of all layers on them in float64.

    `self_errors` say how far the reference in float32 comes to be from that.
    """

    images: Array
    weights: Mapping[str, Any]
    outputs: dict[str, Array]
    self_errors: dict[str, float]


def sample(graph: Graph, apply: Apply, seed: int, weights: Mapping[str, Any] | None) -> Sample:
    """The images of `seed`, with what the network makes of them; weights are drawn where `weights` has none."""
    images = random(seed, "images", (batch(graph), *graph.input.shape))
    settled = _Drawn(seed, weights or {})
    with np.errstate(all="ignore"):  # an infinity is reported where it is compared
        outputs = {node.path: y for node, y in _run(graph, apply, images, settled, "float64")}
        self_errors = _self_errors(graph.inference(), apply, images, settled, outputs)
    return Sample(images, settled.weights(graph), outputs, self_errors)


def batch(graph: Graph) -> int:
    """How many images: the more, the less is left to chance, but the memory stays in bounds."""
    values = sum(prod(node.shape) for node in graph.nodes)
    return max(2, min(8, _VALUES // max(values, 1)))


def random(seed: int, key: str, shape: tuple[int, ...], mean: float = 0.0, spread: float = 1.0) -> Array:
    """Normal values that depend on `seed` and `key` alone."""
    return np.asarray(draw(seed, f"verify {key}", prod(shape), normal, mean, spread)).reshape(shape)


class _Drawn:
    """Weights that are drawn when a layer first asks for them, unless they are given."""

    def __init__(self, seed: int, given: Mapping[str, Any]) -> None:
        self._seed = seed
        self._given = given
        self._drawn: dict[str, Array] = {}

    def __call__(self, node: Node, x: Array) -> Iterator[tuple[str, Array]]:
        """The parameters of a layer by name; `x` is the first of its inputs."""
        for name in node.params:
            key = f"{node.path}.{name}"
            if key in self._given:
                yield name, np.asarray(self._given[key])
                continue
            if key not in self._drawn:
                self._drawn[key] = self._draw(node, name, _size(x))
            yield name, self._drawn[key]

    def weights(self, graph: Graph) -> dict[str, Any]:
        keys = [f"{node.path}.{name}" for node in graph.nodes for name in node.params]
        return {key: self._drawn[key] if key in self._drawn else self._given[key] for key in keys}

    def _draw(self, node: Node, name: str, size: float) -> Array:
        """A parameter of a layer whose input has this size."""
        shape, key = node.params[name].shape, f"{node.path}.{name}"
        if name == "running_mean":
            return random(self._seed, key, shape, 0.0, 0.5 * size)
        if name == "running_var":
            return self._between(key, shape, 0.5 * size**2, 1.5 * size**2)
        if name == "bias":
            return random(self._seed, key, shape, 0.0, 0.3)
        if len(shape) == 1:  # the scale of a norm, or the slope of an activation
            return self._between(key, shape, *((0.1, 0.4) if node.op.role == "activation" else (0.5, 1.5)))
        return random(self._seed, key, shape, 0.0, 1 / (size * sqrt(fans(node)[0])))

    def _between(self, key: str, shape: tuple[int, ...], low: float, high: float) -> Array:
        values = draw(self._seed, f"verify {key}", prod(shape), uniform, (low + high) / 2, (high - low) / 2)
        return np.asarray(values).reshape(shape)


def _size(x: Array) -> float:
    """The root mean square as a power of two, which is the same on every machine, whatever the last bit of a sum."""
    size = float(np.sqrt(np.square(x, dtype=np.float64).mean()))
    return 2.0 ** frexp(size)[1] if np.isfinite(size) and size else 1.0


def _self_errors(
    graph: Graph, apply: Apply, images: Array, weights: _Drawn, outputs: Mapping[str, Array]
) -> dict[str, float]:
    """How far the reference in float32 comes to be from `outputs`, the larger of two ways to round.

    That is at least the same part of a layer's largest value as for what it reads: a few values may be near by chance.
    """
    errors = dict.fromkeys(outputs, 0.0)
    for run in (apply, _disturbing(apply)):
        for node, y in _run(graph, run, images, weights, "float32"):
            errors[node.path] = max(errors[node.path], largest(y, outputs[node.path]))
    parts: dict[int, float] = {}
    for node in graph.nodes:
        scale = largest(outputs[node.path])
        own = errors[node.path] / scale if scale else 0.0
        parts[node.index] = max([own, *(parts.get(source.index, 0.0) for source in node.inputs)])
        errors[node.path] = parts[node.index] * scale
    return errors


def _disturbing(apply: Apply) -> Apply:
    """Layers whose outputs are off by up to a rounding: what other orders of summing come to, in other frameworks.

    Where a whole map is averaged it is more: NumPy sums in pairs, others one by one.
    """
    generator = np.random.default_rng(0)

    def disturbed(canonical: Canonical, inputs: Sequence[Array], params: Mapping[str, Array]) -> Array:
        y = apply(canonical, inputs, params)
        if _averages_maps(canonical, inputs[0]):
            values = inputs[0].reshape(*inputs[0].shape[:2], -1)
            y = (np.cumsum(values, axis=2)[..., -1] / values.dtype.type(values.shape[2])).reshape(y.shape)
        return np.asarray(y * (1 + generator.integers(-1, 2, y.shape).astype(y.dtype) * np.finfo(y.dtype).eps))

    return disturbed


def _averages_maps(canonical: Canonical, x: Array) -> bool:
    """Whether one window takes a whole map of `x`."""
    if canonical.kind == "global_avg_pool":
        return True
    attrs = canonical.attrs
    whole = canonical.kind == "avg_pool" and tuple(attrs["kernel"]) == x.shape[2:]
    return whole and not any(attrs["pads"]) and not any(attrs["overhang"])


def _run(
    graph: Graph, apply: Apply, images: Array, weights: _Drawn, precision: Precision
) -> Iterator[tuple[Node, Array]]:
    """Every layer with its output; an output goes when no later layer reads it."""
    last = {source.index: node.index for node in graph.nodes for source in node.inputs}
    values = {graph.input.index: images.astype(precision)}
    for node in graph.nodes:
        inputs = [values[source.index] for source in node.inputs]
        params = {name: array.astype(precision) for name, array in weights(node, inputs[0])}
        values[node.index] = apply(node.canonical(), inputs, params)
        yield node, values[node.index]
        for index in {node.index, *(source.index for source in node.inputs)}:
            if last.get(index, node.index) == node.index:
                del values[index]
