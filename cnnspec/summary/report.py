"""The summary: one row a layer, with totals, as the command line and the JSON contract have it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from cnnspec.graph import Graph
from cnnspec.infer import Cost, cost
from cnnspec.ops import Maps, Shape
from cnnspec.summary.training import counted, training

Layout = Literal["chw", "hwc"]


def ordered(shape: Shape, layout: Layout) -> list[int]:
    """The extents of a shape in a layout's order."""
    if isinstance(shape, Maps) and layout == "hwc":
        return [shape.height, shape.width, shape.channels]
    return list(shape)


class Loaded(NamedTuple):
    """How many parameters of the network in inference, running statistics too, come from weights, and these from where.

    `origin` is what files say of it, as `{"from": "torchvision:IMAGENET1K_V1"}`.
    """

    number: int
    origin: dict[str, str]


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a network. As text it is the table that `cnnspec summary` prints."""

    graph: Graph
    cost: Cost
    case: str = ""
    weights: Loaded | None = None

    def to_dict(self, layout: Layout = "chw") -> dict[str, Any]:
        """The JSON contract of `cnnspec summary --format json`.

        Sizes are of a batch of one; `receptive_field` is [height, width] in input pixels; bytes are of float32. Under a
        transfer case there is more to say of each layer, and one object more; another where there are weights.
        """
        totals = self.cost.totals
        made: dict[str, Any] = {
            "name": self.graph.name,
            "input": ordered(self.graph.input.shape, layout),
            "layers": [
                {
                    "path": layer.node.path,
                    "op": layer.node.op.kind,
                    "output": ordered(layer.node.shape, layout),
                    "params": layer.params,
                    "macs": layer.macs,
                    "activation_bytes": layer.activation_bytes,
                    "receptive_field": list(layer.receptive_field),
                    "trainable": layer.trainable,
                    "training_only": layer.training_only,
                }
                for layer in self.cost.layers
            ],
            "params": {
                "total": totals.params,
                "trainable": totals.trainable,
                "non_trainable": totals.non_trainable,
                "training_only": totals.training_only,
            },
            "macs": totals.macs,
            "activation_bytes": totals.activation_bytes,
        }
        if self.graph.transfer:
            how = training(self.graph)
            for shown, layer in zip(made["layers"], self.cost.layers, strict=True):
                start, factor, new, _ = how[layer.node.path]
                shown |= {"trains_from": start, "rate_factor": factor, "new": new}
            case, _, _, left_out = self.graph.transfer
            made["transfer"] = {"case": case} | counted(how, self.cost.layers) | {"left_out": sorted(left_out)}
        if self.weights is not None:
            made["weights"] = {"loaded": self.weights.number} | self.weights.origin
        return made

    def to_json(self, layout: Layout = "chw") -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(layout), indent=2)

    def to_text(self, *, depth: int = 1, width: int | None = None, layout: Layout = "chw", colour: bool = False) -> str:
        """A table that fits `width` columns, blocks folded below `depth` components of their path."""
        from cnnspec.summary.table import to_text

        return to_text(self, depth, width, layout, colour)

    def to_markdown(self, *, depth: int = 1, layout: Layout = "chw") -> str:
        """The same table in Markdown."""
        from cnnspec.summary.table import to_markdown

        return to_markdown(self, depth, layout)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__


def summarise(graph: Graph, case: str = "", weights: Loaded | None = None) -> Summary:
    """The summary of a graph, expanded under the transfer `case`, and of the `weights` for it."""
    return Summary(graph, cost(graph), case, weights)
