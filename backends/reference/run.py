"""Running a graph, layer after layer."""

import numpy as np
from numpy.typing import ArrayLike

from cnnspec.backends.reference.arrays import Array
from cnnspec.backends.reference.table import apply
from cnnspec.graph import Graph
from cnnspec.lower.backend import Precision, Weights


class Reference:
    """A network as its definition says it runs, outside of training."""

    def __init__(self, graph: Graph, weights: Weights, precision: Precision) -> None:
        self.graph = graph.inference()
        self.dtype = np.dtype(precision)
        self.params = {
            node.path: {name: np.asarray(weights[f"{node.path}.{name}"], self.dtype) for name in node.params}
            for node in self.graph.nodes
        }

    def outputs(self, images: ArrayLike) -> dict[str, Array]:
        """The output of every layer by its path, for images (batch, channels, height, width)."""
        values = {self.graph.input.index: np.asarray(images, self.dtype)}
        for node in self.graph.nodes:
            inputs = [values[source.index] for source in node.inputs]
            values[node.index] = apply(node.canonical(), inputs, self.params[node.path])
        return {node.path: values[node.index] for node in self.graph.nodes}
