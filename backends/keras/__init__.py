"""Keras: prints a network as a person would write it, and runs that text."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cnnspec.backends.keras.table import TABLE
from cnnspec.graph import Graph
from cnnspec.lower.backend import Limit, Precision, Weights
from cnnspec.lower.program import Program
from cnnspec.ops import Canonical

if TYPE_CHECKING:
    from cnnspec.backends.keras.run import KerasRunner
    from cnnspec.spec.recipe.model import Recipe
    from cnnspec.train.backend import Step


class _Backend:
    name = "keras"
    extra = "keras"
    kinds: Collection[str] = TABLE.keys()
    precisions: tuple[Precision, ...] = ("float32", "float64")
    weights_suffix = ".weights.h5"
    running_variance: Literal["biased", "unbiased"] = "biased"

    @property
    def packages(self) -> tuple[str, ...]:
        """Keras, and what it computes with."""
        return os.environ.get("KERAS_BACKEND", "tensorflow"), "keras"

    def limit(self, canonical: Canonical, precision: Precision) -> Limit:
        """TensorFlow has some constants in float32 alone, and no dilated transposed convolution on a CPU."""
        kind, attrs = canonical
        if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
            return ""
        if kind == "transposed_conv" and attrs["dilation"] != (1, 1):
            return "lacking"
        inexact = kind in ("elu", "gelu", "leaky_relu") or attrs.get("mode") == "bilinear"
        return "rounded" if inexact and precision == "float64" else ""

    def source(self, program: Program) -> str:
        """The text of `model.py`."""
        from cnnspec.backends.keras.layouts import Layouts
        from cnnspec.backends.keras.printer import print_program

        return print_program(program, Layouts(program)).text

    def build(self, program: Program, weights: Weights | None = None, *, training: bool = False) -> Any:
        """The live `keras.Model` that the text makes, with `weights` loaded; `training` includes all heads."""
        from cnnspec.backends.keras.run import build

        return build(program, weights, training=training)

    def runner(self, graph: Graph, weights: Weights, precision: Precision) -> KerasRunner:
        """The network with `weights`, ready to run."""
        from cnnspec.backends.keras.run import KerasRunner

        return KerasRunner(graph, weights, precision)

    # ---- training

    def train_source(self, program: Program, recipe: Recipe) -> str:
        """The text of `train.py`, which imports what `model.py` and `data.py` define."""
        from cnnspec.backends.keras.train import train_source

        return train_source(program, recipe)

    def write_weights(self, graph: Graph, weights: Weights, path: Path) -> None:
        """Write a native weight file, heads that exist in training only included, as `train.py --weights` takes it."""
        from cnnspec.backends.keras.trajectory import write_weights

        write_weights(graph, weights, path)

    def read_weights(self, graph: Graph, path: Path) -> dict[str, Any]:
        """The arrays of a native weight file that `train.py` wrote, in canonical layout by their keys."""
        from cnnspec.backends.keras.trajectory import read_weights

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
        """Train on `batches`, one step for each, with dropout off: the functions of the generated `train.py` do it."""
        from cnnspec.backends.keras.trajectory import trajectory

        return trajectory(graph, weights, recipe, batches, precision, steps_per_epoch)


BACKEND = _Backend()
