"""The order in which a Keras model has its layers, which is how its weight files are read back."""

from __future__ import annotations

from cnnspec.graph import Graph
from cnnspec.graph.model import Node


def keras_order(graph: Graph, *, sums_reversed: bool = False) -> list[Node]:
    """The nodes, those farthest from the outputs first; equally far ones as a walk back from the outputs meets them.

    With `sums_reversed`, the model's sums have their terms the other way round.
    """
    distance: dict[int, int] = {}
    for node in reversed(graph.nodes):
        here = distance.setdefault(node.index, 0)
        for source in node.inputs:
            distance[source.index] = max(distance.get(source.index, 0), here + 1)
    met: dict[int, int] = {}
    todo = [output.node for output in reversed(graph.outputs)]
    while todo:
        node = todo.pop()
        if node.index not in met:
            met[node.index] = len(met)
            last_first = node.op.kind == "add" and sums_reversed
            todo.extend(node.inputs if last_first else reversed(node.inputs))
    return sorted(graph.nodes, key=lambda node: (-distance[node.index], met[node.index]))
