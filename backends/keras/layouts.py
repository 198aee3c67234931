"""Canonical arrays as Keras has them: channels last, and vectors in the order that a flattened map leaves them in.

Flattening gives height, width, channels in Keras and channels, height, width in the canonical order. What follows can
take its parameters in the other order; a vector whose order shows is put in the canonical one where it is flattened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cnnspec.graph import Node
from cnnspec.lower import program as p
from cnnspec.lower.program import Op, Program
from cnnspec.ops import Maps, Vector

if TYPE_CHECKING:  # printing needs no arrays
    from cnnspec.backends.keras.weights import Array

Positions = tuple[int, ...]


class _Order(NamedTuple):
    """Feature i of the vector in Keras is feature `positions[i]` of the canonical one, because of these flattenings."""

    positions: Positions
    sources: frozenset[int]


class Layouts:
    """The order of every vector of a network, and the flattened maps that must be permuted."""

    def __init__(self, program: Program) -> None:
        layers = [s for d in program.definitions for s in p.walk(d.steps) if isinstance(s, p.Layer)]
        ops = [op for layer in layers for op in layer.ops]
        self.nodes = sorted({node for op in ops for node in op.nodes}, key=lambda node: node.index)
        together = {node.index: op for op in ops for node in op.nodes}  # all uses of an op are one text
        ends = {output.node.index for output in program.graph.outputs}
        self.permuted: set[int] = set()
        while found := self._settle(ends):
            self.permuted |= {node.index for index in found for node in together[index].nodes}

    def _settle(self, ends: Iterable[int]) -> frozenset[int]:
        """Work out all orders; returns flattened maps whose order matters where it cannot be hidden."""
        self._orders: dict[int, _Order | None] = {}
        for node in self.nodes:
            if not isinstance(node.shape, Vector):
                continue
            sources = [self._orders.get(source.index) for source in node.inputs]
            order, conflict = self._order(node, sources)
            if conflict or (node.index in ends and order is not None):
                known = [o.sources for o in (*sources, order) if o is not None]
                return frozenset[int]().union(*known)
            self._orders[node.index] = order
        return frozenset()

    def _order(self, node: Node, sources: Sequence[_Order | None]) -> tuple[_Order | None, bool]:
        """The order of a node, and whether it cannot have one."""
        match node.canonical().kind:
            case "dense" | "global_avg_pool" | "global_max_pool":
                return None, False
            case "flatten" if isinstance(node.inputs[0].shape, Maps):
                channels, height, width = node.inputs[0].shape
                if node.index in self.permuted or channels == 1 or height * width == 1:
                    return None, False
                area = height * width
                positions = tuple(c * area + pixel for pixel in range(area) for c in range(channels))
                return _Order(positions, frozenset([node.index])), False
            case "concat":
                return self._joined(node, sources), False
        wide = [o for o, source in zip(sources, node.inputs, strict=True) if source.shape.channels > 1]
        known = [o for o in wide if o is not None]
        if not known:
            return None, False
        alike = len(known) == len(wide) and all(o.positions == known[0].positions for o in known)
        return _Order(known[0].positions, frozenset[int]().union(*(o.sources for o in known))), not alike

    @staticmethod
    def _joined(node: Node, sources: Sequence[_Order | None]) -> _Order | None:
        known = [o for o in sources if o is not None]
        if not known:
            return None
        positions: list[int] = []
        for order, source in zip(sources, node.inputs, strict=True):
            start, count = len(positions), source.shape.channels
            positions += (start + place for place in (range(count) if order is None else order.positions))
        return _Order(tuple(positions), frozenset[int]().union(*(o.sources for o in known)))

    def permute(self, op: Op) -> bool:
        """Whether a flattened map is put in canonical order."""
        return any(node.index in self.permuted for node in op.nodes)

    def positions(self, node: Node) -> Positions | None:
        """Where Keras's features are in the canonical vector; None where they are in its order."""
        order = self._orders.get(node.index)
        return None if order is None else order.positions

    def features(self, node: Node, values: Array) -> Array:
        """Values for the features of a node, or along the last axis, from the canonical order into Keras's."""
        positions = self.positions(node)
        return values if positions is None else values[..., list(positions)]

    def canonical_output(self, node: Node, values: Array) -> Array:
        """What Keras gives for a node, in canonical layout."""
        import numpy as np

        if isinstance(node.shape, Maps):
            return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        positions = self.positions(node)
        return values if positions is None else values[:, np.argsort(positions)]
