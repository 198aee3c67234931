"""Where a network can be cut: behind the layers that stay as they are to the end of training.

What these layers make of an image never changes, so that it can be computed once: features, from which the rest of the
network trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cnnspec.graph import Graph, Node
from cnnspec.lower.program import Program, Tensor
from cnnspec.lower.replay import stretches

METHODS = ("forward_features", "forward_head")
"""The two parts of a network in PyTorch, as timm calls them."""


class Cut(NamedTuple):
    """The last point of a network's own steps where one value flows and nothing before it changes in training.

    `name` is what the step before it is called, `tensor` and `node` are what it gives; `before` has the layers with
    parameters that lie before.
    """

    name: str
    tensor: Tensor
    node: Node
    before: tuple[Node, ...]


def find_cut(program: Program) -> Cut | str:
    """Where to cut a network, or why it cannot be."""
    graph = program.graph
    if not any(node.path in graph.frozen for node in graph.nodes if node.params):
        return "nothing is frozen"
    made = stretches(program)
    if taken := [stretch.name for stretch in made if stretch.name in METHODS]:
        return f"a layer is called `{taken[0]}`, as a part of the network would be"
    nodes = {node.path: node for node in graph.nodes}
    first = graph.first_epochs()
    readers = _readers(graph)
    before = {graph.input.path}
    found: Cut | None = None
    why = ""
    for stretch in made[:-1]:
        moving = next(filter(None, (_moving(nodes[path], stretch.name, first) for path in stretch.paths)), "")
        if moving:
            return found or why or moving
        before.update(stretch.paths)
        live = [path for path in sorted(before) if not readers[path] <= before]
        weighted = tuple(node for node in graph.nodes if node.path in before and node.params)
        if not weighted:
            continue
        if live == [stretch.given]:
            found = Cut(stretch.name, stretch.output, nodes[stretch.given], weighted)
        else:
            several = " and ".join(f"`{path}`" for path in live[:2]) + (" and more" if len(live) > 2 else "")
            why = f"behind `{stretch.name}` more than one value is used: {several}"
    return found or why or "no layers with weights come before what trains"


def _readers(graph: Graph) -> dict[str, set[str]]:
    """What reads each value; an output of the network is read by something that is no layer."""
    readers: dict[str, set[str]] = {node.path: set() for node in (graph.input, *graph.nodes)}
    for node in graph.nodes:
        for source in node.inputs:
            readers[source.path].add(node.path)
    for output in graph.outputs:
        readers[output.node.path].add("")
    return readers


def _moving(node: Node, name: str, first: Mapping[str, int]) -> str:
    """Why what a layer makes is not always the same; empty if it is. `name` is what it is a part of.

    `first` has the epochs in which layers begin to train.
    """
    if node.params and (start := first.get(node.path)):
        return f"`{name}` trains" if start == 1 else f"`unfreeze` trains `{name}` from epoch {start}"
    if node.op.drops and node.canonical().attrs["rate"]:
        return f"`{name}` drops at random"
    return ""
