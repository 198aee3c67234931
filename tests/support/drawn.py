"""Weights and images at random, such that no mistake hides: no value is what a framework starts from."""

from typing import Any

import numpy as np

from cnnspec.graph import Graph


def weights_of(graph: Graph, seed: int = 7) -> dict[str, np.ndarray]:
    """Weights by He's rule, slopes, scales and variances around 1, everything else around 0."""
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        for name, param in node.params.items():
            if name == "running_var" or (name == "weight" and len(param.shape) == 1):
                values: Any = random.uniform(0.5, 1.5, param.shape)
            elif name == "weight":
                inputs = np.prod(param.shape[1:]) if node.op.kind != "transposed_conv" else param.shape[0]
                values = random.normal(0, np.sqrt(2 / inputs), param.shape)
            else:
                values = random.normal(0, 0.2, param.shape)
            found[f"{node.path}.{name}"] = values
    return found


def images_for(graph: Graph, batch: int = 2, seed: int = 8) -> np.ndarray:
    """Images (batch, channels, height, width)."""
    return np.random.default_rng(seed).normal(size=(batch, *graph.input.shape))
