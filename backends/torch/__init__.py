"""PyTorch: a printer of `nn.Module`s, and the models that its text makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cnnspec.backends.torch.table import TABLE
from cnnspec.graph import Graph
from cnnspec.lower.backend import Limit, Precision, Weights
from cnnspec.ops import Canonical

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from cnnspec.backends.torch.run import TorchRunner
    from cnnspec.lower.program import Program
    from cnnspec.spec.recipe.model import Recipe
    from cnnspec.train.backend import Step


class Torch:
    """The backend as the core sees it."""

    name = "torch"
    extra = "torch"
    packages = ("torch",)
    weights_suffix = ".pt"
    running_variance: Literal["biased", "unbiased"] = "unbiased"
    kinds = TABLE.keys()
    precisions: ClassVar[tuple[Precision, ...]] = ("float64", "float32")

    def limit(self, canonical: Canonical, precision: Precision) -> Limit:
        """PyTorch has the slope of a hard sigmoid, 1/6, in float32."""
        return "rounded gradient" if canonical.kind == "hard_sigmoid" and precision == "float64" else ""

    def source(self, program: Program) -> str:
        """The text of `model.py`."""
        from cnnspec.backends.torch.printer import source

        return source(program)

    def train_source(self, program: Program, recipe: Recipe) -> str:
        """The text of `train.py`."""
        from cnnspec.backends.torch.train import train_source

        return train_source(program, recipe)

    def build(self, program: Program, weights: Weights | None = None) -> torch.nn.Module:
        """The live model that the text makes, with `weights` loaded; with none, as PyTorch starts it."""
        from cnnspec.backends.torch.run import build

        return build(program, self.source(program), weights)

    def runner(self, graph: Graph, weights: Weights, precision: Precision) -> TorchRunner:
        """The network with `weights`, ready to run."""
        from cnnspec.backends.torch.run import TorchRunner

        return TorchRunner(graph, weights, precision)

    def write_weights(self, graph: Graph, weights: Weights, path: Path) -> None:
        """Write a state dict, heads that exist in training only included."""
        from cnnspec.backends.torch.training import write_weights

        write_weights(graph, weights, path)

    def read_weights(self, graph: Graph, path: Path) -> dict[str, Any]:
        """The arrays of a state dict that `train.py` wrote."""
        from cnnspec.backends.torch.training import read_weights

        return read_weights(graph, path)

    def trajectory(
        self,
        graph: Graph,
        weights: Weights,
        recipe: Recipe,
        batches: Sequence[tuple[Any, Any]],
        precision: Precision,
        steps_per_epoch: int,
    ) -> Iterator[Step]:
        """Train on `batches`, one step for each, by the functions of the generated `train.py`."""
        from cnnspec.backends.torch.training import trajectory

        return trajectory(graph, weights, recipe, batches, precision, steps_per_epoch)


BACKEND = Torch()
