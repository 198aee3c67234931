"""Keras: prints a network as a person would write it, and runs that text."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from cnnspec.backends.keras.table import TABLE
from cnnspec.graph import Graph
from cnnspec.lower.backend import Limit, Precision, Runner, Weights
from cnnspec.lower.program import Program
from cnnspec.ops import Canonical


class _Backend:
    name = "keras"
    extra = "keras"
    kinds: Collection[str] = TABLE.keys()
    precisions: tuple[Precision, ...] = ("float32", "float64")

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

    def runner(self, graph: Graph, weights: Weights, precision: Precision) -> Runner:
        """The inference graph with `weights`, ready to run."""
        from cnnspec.backends.keras.run import KerasRunner

        return KerasRunner(graph, weights, precision)

    def gradients(
        self, graph: Graph, weights: Weights, images: Any, cotangents: Mapping[str, Any], precision: Precision
    ) -> dict[str, Any]:
        """The gradient of Σ output·cotangent by every trainable parameter, in canonical layout, by its key."""
        from cnnspec.backends.keras.run import gradients

        return gradients(graph, weights, images, cotangents, precision)


BACKEND = _Backend()
