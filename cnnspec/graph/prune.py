"""What a graph does without: layers that lead to no output, and heads for training that train nothing else."""

from __future__ import annotations

from cnnspec.graph.model import Graph, Instance, Node


def prune(graph: Graph) -> None:
    """Drop what no output depends on."""
    alive = graph.ancestors([output.node for output in graph.outputs])
    graph.nodes = [node for node in graph.nodes if node.index in alive]

    def kept(instance: Instance) -> bool:
        instance.children = [
            child for child in instance.children if (child.index in alive if isinstance(child, Node) else kept(child))
        ]
        return bool(instance.children)

    kept(graph.root)


def drop_idle_heads(graph: Graph) -> frozenset[str]:
    """Drop heads for training if no layer that they share with inference ever trains, and what leads to them alone.

    Their losses would move nothing but themselves. Returns the names of these heads, and the paths of layers outside
    of them that are dropped with them.
    """
    first = graph.first_epochs()
    inference = graph.ancestors([output.node for output in graph.outputs if not output.training_only])
    useful: set[int] = set()  # layers of inference that train, and all behind them
    for node in graph.nodes:
        trains = node.learns and node.path in first and node.index in inference
        if trains or any(source.index in useful for source in node.inputs):
            useful.add(node.index)
    idle = {output.name for output in graph.outputs if output.training_only and output.node.index not in useful}
    if not idle:
        return frozenset()
    graph.outputs = [output for output in graph.outputs if output.name not in idle]
    before = graph.nodes
    prune(graph)
    left = set(graph.nodes)
    return frozenset(idle | {node.path for node in before if node not in left and node.path.split(".")[0] not in idle})
