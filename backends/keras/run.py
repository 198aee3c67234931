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

        self.precision: Precision = precision
        program = fold(graph)
        self.layouts = Layouts(program)
        with computing(precision):
            model = build(program, weights)
            made = {layer.name: layer for layer in model.layers}
            self.nodes = [node for node in graph.inference().nodes if layer_name(node.path) in made]
            self.model = keras.Model(
                model.inputs[0], {node.path: made[layer_name(node.path)].output for node in self.nodes}
            )

    def outputs(self, images: Any) -> dict[str, Array]:
        """The output of every layer by its path, for images (batch, channels, height, width)."""
        import keras

        images = np.asarray(images, self.precision).transpose(0, 2, 3, 1)
        with computing(self.precision):
            values = self.model(np.ascontiguousarray(images), training=False)
            arrays = {
                path: np.asarray(keras.ops.convert_to_numpy(value), self.precision) for path, value in values.items()
            }
        return {node.path: self.layouts.canonical_output(node, arrays[node.path]) for node in self.nodes}


def gradients(
    graph: Graph, weights: Weights, images: Any, cotangents: Mapping[str, Any], precision: Precision
) -> dict[str, Array]:
    """The gradient of Σ output·cotangent by every trainable parameter, in training mode without dropout."""
    import keras

    program = fold(graph)
    layouts = Layouts(program)
    with computing(precision):
        model = build(program, weights, training=True)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):  # and what inherits from it
                layer.rate = 0.0
        ends = [np.asarray(cotangents[node.path], precision) for node in (output.node for output in graph.outputs)]
        ends = [end.transpose(0, 2, 3, 1) if end.ndim == 4 else end for end in ends]
        found = _differentiated(model, np.asarray(images, precision).transpose(0, 2, 3, 1), ends)
    return gradients_of(model, layouts, found)


def _differentiated(model: Any, images: Array, cotangents: list[Array]) -> dict[int, Array]:
    """Gradients by the `id` of the variable."""
    import keras

    def total() -> Any:
        outputs = model(np.ascontiguousarray(images), training=True)
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
