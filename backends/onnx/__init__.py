"""The ONNX backend: files straight from the graph and the weights, and ONNX Runtime to run them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnspec.backends.onnx.exporter import export
from cnnspec.backends.onnx.table import TABLE
from cnnspec.graph import Graph
from cnnspec.lower.backend import Precision, Weights

if TYPE_CHECKING:  # what runs files is imported by what runs them
    from cnnspec.backends.onnx.files import Written
    from cnnspec.backends.onnx.predict import Classifier, Provider
    from cnnspec.backends.onnx.runner import OnnxRunner
    from cnnspec.backends.onnx.scorer import Scorer


class _Backend:
    name = "onnx"
    extra = "onnx"
    packages: tuple[str, ...] = ("onnx", "onnxruntime")
    kinds: Collection[str] = TABLE.keys()
    precisions: tuple[Precision, ...] = ("float32", "float64")

    export = staticmethod(export)
    """Writing a file needs none of the packages."""

    def ensemble(self, members: Sequence[Path], path: Path) -> Written:
        """Exported files as one, which gives the mean of their probabilities; it needs none of the packages either."""
        from cnnspec.backends.onnx.ensemble import ensemble

        return ensemble(members, path)

    def runner(self, graph: Graph, weights: Weights, precision: Precision) -> OnnxRunner:
        """The network with `weights`, ready to run."""
        from cnnspec.backends.onnx.runner import OnnxRunner

        return OnnxRunner(graph, weights, precision)

    def classifier(self, model: Path, provider: Provider) -> Classifier:
        """An exported file, ready to classify images."""
        from cnnspec.backends.onnx.predict import Classifier

        return Classifier(model, provider)

    def scorer(self, model: Path) -> Scorer:
        """Any file that classifies images, exported here or not."""
        from cnnspec.backends.onnx.scorer import Scorer

        return Scorer(model)


BACKEND = _Backend()
