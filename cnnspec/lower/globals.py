"""Which parameters of a spec the generated network takes as arguments.

A parameter may stay one where nothing else has to change with it: the units of a layer whose output is the network's,
a dropout's rate. One that channels are inferred from is baked in.
"""

from __future__ import annotations

from collections.abc import Iterator

from cnnspec.expr import Value, variables
from cnnspec.graph import Graph, Instance, Node
from cnnspec.spec.layers import Arg, BlockLayer, Layer, OpLayer, StageLayer

_LAST = {"units", "filters"}
_FREE = {"rate", "epsilon", "momentum", "slope", "alpha", "beta", "k", "factor"}


def kept_parameters(graph: Graph) -> dict[str, Value]:
    """The parameters that stay, with their values."""
    spec = graph.spec
    last = _last(graph)
    baked = {name for arg in _elsewhere(graph) for name in _names(arg)}
    baked |= {name for arg in spec.let.values() for name in _names(arg)}
    used: set[str] = set()
    for node in graph.nodes:
        top = _top(node.parent)
        for option, arg in node.args.items():
            names = set(_names(arg))
            used |= names
            free = option in _FREE and node.op.kind not in ("upsample",)
            if not top or not (free or (option in _LAST and node.index in last)):
                baked |= names
    return {name: value for name, value in spec.params.items() if name in used and name not in baked}


def _names(arg: Arg) -> Iterator[str]:
    yield from (variable.name for variable in variables(arg.expr))


def _top(instance: Instance) -> bool:
    """Whether an instance is in the text of the network or of a head, not in that of a block."""
    around: Instance | None = instance
    while around is not None:
        if around.kind in ("block", "stage"):
            return False
        around = around.parent
    return True


def _last(graph: Graph) -> set[int]:
    """Nodes whose channels nothing has to fit: from there to an output, all is elementwise and without weights."""
    last = {output.node.index for output in graph.outputs}
    readers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for source in node.inputs:
            readers.setdefault(source.index, []).append(node)
    for node in reversed(graph.nodes):
        mine = readers.get(node.index, [])
        if node.index in last:
            if mine:  # an output that is read on
                last.discard(node.index)
            continue
        if mine and all(r.index in last and not r.params and len(r.inputs) == 1 for r in mine):
            last.add(node.index)
    return last


def _elsewhere(graph: Graph) -> Iterator[Arg]:
    """Every argument that is not an option of an op: counts, conditions, what blocks are given."""
    todo = [graph.root]
    while todo:
        instance = todo.pop()
        todo += [child for child in instance.children if isinstance(child, Instance)]
        layer = instance.layer
        if isinstance(layer, Layer):
            yield from (arg for arg in (layer.name, layer.source, layer.condition, layer.repeat) if arg)
            yield from layer.first.values()
        if isinstance(layer, BlockLayer):
            yield from layer.args.values()
        if isinstance(layer, StageLayer):
            yield from layer.each.values()
        if isinstance(layer, OpLayer):
            yield from (part for part in (layer.norm, layer.activation) if isinstance(part, Arg))
        if instance.block:
            yield from (arg for arg in instance.block.args.values() if arg)
            yield from instance.block.let.values()
