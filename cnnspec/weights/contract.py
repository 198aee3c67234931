"""What a weight file of a network holds."""

from __future__ import annotations

from collections.abc import Iterator

from cnnspec.graph import Graph
from cnnspec.graph.model import Node
from cnnspec.ops import Param


def contract(graph: Graph, *, training: bool = True) -> dict[str, Param]:
    """Every parameter by its key, `layer1.0.conv1.weight`, in the order of the graph.

    Without `training`, those of heads that exist in training only are left out.
    """
    return {key: node.params[name] for key, node, name in parameters(graph if training else graph.inference())}


def parameters(graph: Graph) -> Iterator[tuple[str, Node, str]]:
    """Every parameter: its key, the layer that has it, and its name there."""
    for node in graph.nodes:
        for name in node.params:
            yield f"{node.path}.{name}", node, name
