"""The ONNX backend: files straight from the graph and the weights, and ONNX Runtime to run them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cnnspec.backends.onnx.exporter import export
from cnnspec.backends.onnx.predict import Classifier, Provider
from cnnspec.backends.onnx.runner import OnnxRunner
from cnnspec.backends.onnx.scorer import Scorer
from cnnspec.backends.onnx.table import TABLE
from cnnspec.graph import Graph
from cnnspec.lower.backend import Precision, Weights


class _Backend:
    name = "onnx"
    extra = "onnx"
    packages: tuple[str, ...] = ("onnx", "onnxruntime")
    kinds: Collection[str] = TABLE.keys()
    precisions: tuple[Precision, ...] = ("float32", "float64")

    export = staticmethod(export)
    """Writing a file needs none of the packages."""

    def runner(self, graph: Graph, weights: Weights, precision: Precision) -> OnnxRunner:
        """The inference graph with `weights`, ready to run."""
        return OnnxRunner(graph, weights, precision)

    def classifier(self, model: Path, provider: Provider) -> Classifier:
        """An exported file, ready to classify images."""
        return Classifier(model, provider)

    def scorer(self, model: Path) -> Scorer:
        """Any file that classifies images, exported here or not."""
        return Scorer(model)


BACKEND = _Backend()
