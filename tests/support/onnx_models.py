"""ONNX models of single ops, and what ONNX itself says of a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from op_cases import Case

from cnnspec.backends.onnx.emit import Layer
from cnnspec.backends.onnx.exact import EXACT
from cnnspec.backends.onnx.files import write_model
from cnnspec.backends.onnx.model import DType, Model, Value
from cnnspec.backends.onnx.table import TABLE
from cnnspec.graph import Graph
from cnnspec.graph.model import Node
from cnnspec.ops import Op, Shape
from cnnspec.weights.contract import contract
from cnnspec.weights.mapping import Weights


def case_nodes(case: Case) -> tuple[list[Node], list[Node]]:
    """The inputs of a case, and the nodes that stand in a graph for its op."""
    inputs = [_node(i, f"x{i}", Op(), (), shape) for i, shape in enumerate(case.inputs)]
    parts = [(f"op.{part.label}", part.op) for part in case.op.parts()] or [("op", case.op)]
    nodes: list[Node] = []
    for path, op in parts:
        sources = tuple(nodes[-1:] or inputs)
        nodes.append(_node(len(inputs) + len(nodes), path, op, sources, op.shape([s.shape for s in sources])))
    return inputs, nodes


def _node(index: int, path: str, op: Op, inputs: tuple[Node, ...], shape: Shape) -> Node:
    params = op.params([i.shape for i in inputs])
    return Node(index, path, op, inputs, shape, params, None, {}, "", None)  # type: ignore[arg-type]


def case_model(case: Case, params: Mapping[str, Any], dtype: DType) -> Model:
    """A network of one op, each value under its node's path; `params` as the op names them."""
    inputs, nodes = case_nodes(case)
    model = Model("case")
    model.inputs = [Value(node.path, dtype, ("N", *node.shape)) for node in inputs]
    weights = {f"op.{name}": array for name, array in params.items()}
    names = {*weights, *(value.name for value in model.inputs)}
    model.values = {node.path: node.path for node in inputs}
    for node in nodes:
        layer = Layer(model, names, dtype, node, tuple(model.values[i.path] for i in node.inputs), weights)
        model.values[node.path] = (EXACT if dtype == "float64" else TABLE)[layer.kind](layer)
    last = model.values[nodes[-1].path]
    if last in {value.name for value in model.inputs}:  # a layer that does nothing
        last = layer.emit("Identity", last)
    model.outputs = [Value(last, dtype, ("N", *nodes[-1].shape))]
    return model


def written(model: Model, folder: Path, **options: Any) -> onnx.ModelProto:
    """The model as a file, read back and checked by ONNX."""
    path = folder / "model.onnx"
    write_model(model, path, **options)
    onnx.checker.check_model(str(path), full_check=True)
    return onnx.load(path)


def inferred(proto: onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    """The shape of every value, as ONNX infers it from the inputs and weights alone.

    Of an axis of any size ONNX may have lost the name, which is the batch's: no other axis here is of any size.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    for output in bare.graph.output:
        output.type.tensor_type.ClearField("shape")
    full = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True).graph
    return {
        value.name: tuple("N" if axis.dim_param else axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*full.input, *full.value_info, *full.output)
    }


def disagreements(graph: Graph, model: Model, proto: onnx.ModelProto) -> list[str]:
    """The nodes whose shape ONNX infers otherwise than we do."""
    shapes = inferred(proto)
    wanted = {node.path: ("N", *node.shape) for node in graph.inference().nodes}
    found = {path: shapes.get(model.values[path]) for path in wanted}
    return [f"{path}: ONNX {found[path]}, here {wanted[path]}" for path in wanted if found[path] != wanted[path]]


def drawn_weights(graph: Graph, seed: int = 0) -> dict[str, Any]:
    """Weights that keep maps at one scale through any depth, and tell every parameter from its default."""
    random = np.random.default_rng(seed)
    arrays = {}
    for node in graph.nodes:
        for name, param in node.params.items():
            if name == "running_var" or (name == "weight" and len(param.shape) == 1):
                array = random.uniform(0.5, 1.5, param.shape)
            elif name == "weight":
                array = random.normal(size=param.shape) * np.sqrt(2 / np.prod(param.shape[1:]))
            else:
                array = random.normal(size=param.shape) / 10
            arrays[f"{node.path}.{name}"] = array.astype(np.float32)
    return arrays


class Zeros(Weights):
    """Weights of a network without the numbers."""

    def __init__(self, graph: Graph) -> None:
        super().__init__({key: param.shape for key, param in contract(graph).items()}, {})

    def __getitem__(self, key: str) -> Any:
        return np.zeros(self.shapes[key], np.float32)
