"""The inference graph in ONNX's terms: every layer by its table, and what stands before and behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnspec.backends.onnx.emit import Emitter, Layer
from cnnspec.backends.onnx.model import DType, Model, Value, code
from cnnspec.backends.onnx.table import FLOAT32, TABLE
from cnnspec.graph import Graph, Node
from cnnspec.ops import Vector

BATCH = "N"
INPUT, IMAGE = "input", "image"
LOGITS, MAPS, PROBABILITIES = "logits", "output", "probabilities"


def lower(
    graph: Graph,
    weights: Mapping[str, Any],
    dtype: DType = "float32",
    *,
    preprocess: bool = False,
    probabilities: bool = False,
) -> Model:
    """The network without heads for training, computed in `dtype`; a half-precision one still takes and gives float32.

    Every kind must be in the table. `preprocess` puts the spec's preprocessing in front, `probabilities` a softmax
    behind the main output, unless it ends in one or in a sigmoid. `weights` are read when the model is written.
    """
    return _Lowering(graph.inference(), weights, dtype).run(preprocess, probabilities)


class _Lowering:
    def __init__(self, graph: Graph, weights: Mapping[str, Any], dtype: DType) -> None:
        self.graph = graph
        self.weights = weights
        self.dtype = dtype
        self.table = TABLE
        if dtype == "float64":
            from cnnspec.backends.onnx.exact import EXACT  # for comparisons only, never for files

            self.table = EXACT
        self.outside: DType = "float32" if dtype == "float16" else dtype
        self.model = Model(graph.name)
        self.names = {f"{node.path}.{name}" for node in graph.nodes for name in node.params}
        self.values: dict[int, str] = {}

    def run(self, preprocess: bool, probabilities: bool) -> Model:
        results = self.results(probabilities)
        self.names |= {INPUT, IMAGE, *results}
        main = self.graph.outputs[0]
        behind = main if probabilities and not main.node.probabilities else None  # what a softmax is put behind
        wanted: dict[int, str] = {}  # the outputs that a layer computes under their own names
        if self.outside == self.dtype:
            for output, name in zip(self.graph.outputs, results, strict=True):
                if output is not behind:
                    wanted.setdefault(output.node.index, name)
        self.values[self.graph.input.index] = self.input(preprocess)
        for node in self.graph.nodes:
            value = self.layer(node, wanted.get(node.index))
            self.values[node.index] = self.model.values[node.path] = value
        for output, name in zip(self.graph.outputs, results, strict=True):
            self.output(output.node, name, softmax=output is behind)
        return self.model

    def results(self, probabilities: bool) -> list[str]:
        """The outputs' names: the heads have their own, with a number behind it where it means something else."""
        main, *heads = self.graph.outputs
        logits = LOGITS if isinstance(main.node.shape, Vector) else MAPS
        names = [PROBABILITIES if probabilities or main.node.probabilities else logits]
        emitter = Emitter(self.model, {INPUT, IMAGE, *names, *(head.name for head in heads)}, self.dtype, "")
        for head in heads:
            taken = head.name in (INPUT, IMAGE, *names)
            names.append(emitter.free(head.name) if taken else head.name)
        return names

    def input(self, preprocess: bool) -> str:
        """Add the network's input, and return the value that the layers read."""
        shape = self.graph.input.shape
        if preprocess:
            from cnnspec.backends.onnx.preprocess import emit_preprocessing

            section = self.graph.spec.preprocess
            assert section is not None, "checked before"
            emitter = Emitter(self.model, self.names, "float32", "preprocess")
            value, axes = emit_preprocessing(emitter, section, shape, IMAGE)
            self.model.inputs.append(Value(IMAGE, "uint8", (BATCH, *axes)))
        else:
            self.model.inputs.append(Value(INPUT, self.outside, (BATCH, *shape)))
            value = INPUT
        return value if self.outside == self.dtype else self.cast(value, self.dtype, INPUT)

    def layer(self, node: Node, wanted: str | None) -> str:
        """Add the nodes of a layer; the last bears its path, and so does its value, unless another is `wanted`."""
        kind = node.canonical().kind
        inputs = tuple(self.values[i.index] for i in node.inputs)
        inside = self.dtype
        if guarded := self.dtype == "float16" and kind in FLOAT32:
            inside = "float32"
            inputs = tuple(self.cast(value, inside, node.path) for value in inputs)
        layer = Layer(self.model, self.names, inside, node, inputs, self.weights)
        value = self.table[kind](layer)
        if guarded:
            value = self.cast(value, self.dtype, node.path)
        if value in inputs:
            return value if wanted is None else self.named(layer.emit("Identity", value), wanted, node.path)
        return self.named(value, wanted or layer.free(node.path), node.path)

    def named(self, value: str, name: str, path: str = "") -> str:
        """Give the last node's output, now `value`, the name `name`, and the node itself that of its layer."""
        last = self.model.nodes[-1]
        assert last.output == value, "a lowering returns the value of the node that it adds last"
        self.model.nodes[-1] = last._replace(name=path or last.name, output=name)
        return name

    def output(self, node: Node, name: str, *, softmax: bool) -> None:
        """Add an output, and before it what stands between the layer and its result."""
        value = self.values[node.index]
        if value != name:
            emitter = Emitter(self.model, self.names, self.outside, name)
            if self.outside != self.dtype:
                value = self.cast(value, self.outside, name)
            if softmax:
                value = emitter.emit("Softmax", value, axis=1)
            elif self.outside == self.dtype:  # a second output of one layer
                value = emitter.emit("Identity", value)
            self.named(value, name)
        self.model.outputs.append(Value(name, self.outside, (BATCH, *node.shape)))

    def cast(self, value: str, dtype: DType, scope: str) -> str:
        return Emitter(self.model, self.names, dtype, scope).emit("Cast", value, to=code(dtype))
