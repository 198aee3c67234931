"""What a transfer case does with each layer: whether it trains, from when on, at which rate, whether it is new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cnnspec.graph import Graph
from cnnspec.infer import LayerCost


class Training(NamedTuple):
    """How a layer trains. `start` is the epoch, counted from 1, in which it begins to, None for one that never does.

    `factor` is what the rate is multiplied by; one that is `new` does not take its weights from a file. One that
    never trains and is not `frozen` leads to a further output of inference, which has no loss.
    """

    start: int | None
    factor: float
    new: bool
    frozen: bool

    def __str__(self) -> str:
        if self.start is None:
            return "frozen" if self.frozen else "no loss"
        rate = f"rate × {self.factor:g}" if self.factor != 1 else ""
        epoch = f"from epoch {self.start}" if self.start > 1 else ""
        return ", ".join(filter(None, ("new" if self.new else "", epoch, rate))) or "trains"


def training(graph: Graph) -> dict[str, Training]:
    """How each layer trains, by its path."""
    first = graph.first_epochs()
    return {
        node.path: Training(
            start=first.get(node.path),
            factor=graph.factors.get(node.path, 1.0),
            new=graph.transfer is not None and graph.transfer.starts_anew(node.path),
            frozen=node.path in graph.frozen and node.path not in graph.starts,
        )
        for node in graph.nodes
    }


def in_words(how: Mapping[str, Training], layers: Iterable[LayerCost]) -> str:
    """How several layers train, of those that have parameters."""
    return "; ".join(dict.fromkeys(str(how[layer.node.path]) for layer in layers if layer.params))


def counted(how: Mapping[str, Training], layers: Iterable[LayerCost]) -> dict[str, Any]:
    """How many weights of the network in inference train, never do, and are new; running statistics are none.

    `from_epoch` has those that train later, by the epoch.
    """
    trains = frozen = new = 0
    late: dict[int, int] = {}
    for layer in layers:
        if layer.training_only:
            continue
        weights = sum(param.size for param in layer.node.params.values() if param.trainable)
        start = how[layer.node.path].start
        if start is None:
            frozen += weights
            continue
        trains += weights
        new += weights if how[layer.node.path].new else 0
        if start > 1:
            late[start] = late.get(start, 0) + weights
    return {
        "trains": trains,
        "frozen": frozen,
        "new": new,
        "from_epoch": {str(epoch): late[epoch] for epoch in sorted(late)},
    }
