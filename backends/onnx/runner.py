"""Runs networks as ONNX to compare them: in ONNX Runtime, and in double precision in ONNX's own reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cnnspec.backends.onnx.files import write_model
from cnnspec.backends.onnx.lowering import BATCH, INPUT, lower
from cnnspec.backends.onnx.model import Value
from cnnspec.graph import Graph
from cnnspec.lower.backend import Precision


class OnnxRunner:
    """A network as ONNX, with every layer's output."""

    def __init__(self, graph: Graph, weights: Mapping[str, Any], precision: Precision) -> None:
        graph = graph.inference()
        self.precision = precision
        model = lower(graph, weights, precision)
        self.values = model.values
        shapes = {model.values[node.path]: node.shape for node in graph.nodes}
        model.outputs = [Value(name, precision, (BATCH, *shape)) for name, shape in shapes.items() if name != INPUT]
        self.names = [value.name for value in model.outputs]
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            write_model(model, path)
            self.run = _session(path) if precision == "float32" else _evaluator(path)

    def outputs(self, images: Any) -> dict[str, Any]:
        """The output of every layer by its path, for images (batch, channels, height, width)."""
        import numpy as np

        feed = {INPUT: np.ascontiguousarray(images, self.precision)}
        found = feed | dict(zip(self.names, self.run(self.names, feed), strict=True))
        return {path: found[name] for path, name in self.values.items()}


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run


def _evaluator(path: Path) -> Any:
    import onnx
    from onnx.reference import ReferenceEvaluator

    from cnnspec.backends.onnx.corrected import OPERATORS

    return ReferenceEvaluator(onnx.load(path), new_ops=OPERATORS).run
