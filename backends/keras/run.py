"""The text executed: a live model, with weights, and its outputs layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from cnnspec.backends.keras.layouts import Layouts
from cnnspec.backends.keras.printer import Printed, print_program
from cnnspec.backends.keras.table import layer_name
from cnnspec.backends.keras.weights import Array, gradients_of, set_weights
from cnnspec.graph import Graph
from cnnspec.lower.backend import Precision, Weights
from cnnspec.lower.execute import run_text
from cnnspec.lower.fold import fold
from cnnspec.lower.program import Program


@contextmanager
def computing(precision: Precision) -> Iterator[None]:
    """Layers made meanwhile compute in this precision."""
    import keras

    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def execute(program: Program, printed: Printed, **arguments: Any) -> Any:
    """The model that a program's text makes; tracebacks show its lines."""
    file = f"<cnnspec {program.name} keras>"
    namespace: dict[str, Any] = {"__name__": file}
    run_text(printed.text, file, namespace)
    return namespace[printed.function](**arguments)


def build(program: Program, weights: Weights | None = None, *, training: bool = False) -> Any:
    """The live model, with the heads that exist in training only if it is for `training`."""
    layouts = Layouts(program)
    printed = print_program(program, layouts)
    wanted = training and any(head.training_only for head in program.heads)
    model = execute(program, printed, **({printed.training: True} if wanted else {}))
    if weights is not None:
        set_weights(model, layouts, weights)
    return model


class KerasRunner:
    """A network in Keras, ready to run."""

    def __init__(self, graph: Graph, weights: Weights, precision: Precision) -> None:
        import keras

        self.graph, self.weights, self.precision = graph, weights, precision
        self.program = fold(graph)
        self.layouts = Layouts(self.program)
        with computing(precision):
            self.model = build(self.program, weights)
            made = {layer.name: layer for layer in self.model.layers}
            self.nodes = [node for node in graph.inference().nodes if layer_name(node.path) in made]
            self.seen = keras.Model(
                self.model.inputs[0], {node.path: made[layer_name(node.path)].output for node in self.nodes}
            )

    def outputs(self, images: Any) -> dict[str, Array]:
        """The output of every layer by its path, for images (batch, channels, height, width)."""
        import keras

        with computing(self.precision):
            values = self.seen(self._channels_last(images), training=False)
            arrays = {
                path: np.asarray(keras.ops.convert_to_numpy(value), self.precision) for path, value in values.items()
            }
        return {node.path: self.layouts.canonical_output(node, arrays[node.path]) for node in self.nodes}

    def gradients(self, images: Any, cotangents: Mapping[str, Any]) -> dict[str, Array]:
        """The gradient of Σ output·cotangent by every trainable parameter, in training mode without dropout."""
        import keras

        with computing(self.precision):
            model = self.model
            if any(head.training_only for head in self.program.heads):
                model = build(self.program, self.weights, training=True)
            for layer in model.layers:
                if isinstance(layer, keras.layers.Dropout):  # and what inherits from it
                    layer.rate = 0.0
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.momentum = 1.0
            ends = [self._channels_last(cotangents[output.node.path]) for output in self.graph.outputs]
            found = _differentiated(model, self._channels_last(images), ends)
        return gradients_of(model, self.layouts, found)

    def _channels_last(self, values: Any) -> Array:
        """Maps or features in this precision, as Keras has them."""
        values = np.asarray(values, self.precision)
        return np.ascontiguousarray(values.transpose(0, 2, 3, 1)) if values.ndim == 4 else values


def _differentiated(model: Any, images: Array, cotangents: list[Array]) -> dict[int, Array]:
    """Gradients by the `id` of the variable."""
    import keras

    def total() -> Any:
        outputs = model(images, training=True)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return sum(
            keras.ops.sum(y * keras.ops.convert_to_tensor(c, y.dtype)) for y, c in zip(outputs, cotangents, strict=True)
        )

    variables = model.trainable_weights
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = total()
        found = tape.gradient(value, [variable.value for variable in variables])
    elif keras.backend.backend() == "torch":
        total().backward()
        found = [variable.value.grad for variable in variables]
    else:
        raise NotImplementedError(f"gradients with Keras on {keras.backend.backend()}")
    return {
        id(variable): keras.ops.convert_to_numpy(gradient)
        for variable, gradient in zip(variables, found, strict=True)
        if gradient is not None
    }
