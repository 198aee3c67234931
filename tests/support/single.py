"""A network around one op, whose inputs have the shapes of a case."""

import json
from pathlib import Path
from typing import Any

from op_cases import FLAT, ODD, Case

import cnnspec
from cnnspec.graph import Graph
from cnnspec.ops import Maps, Shape, Vector

FLATTENED = Maps(5, 3, 2)  # as many numbers as FLAT


def graph_of(case: Case, folder: Path) -> Graph:
    """The graph in which the op of `case`, named `it`, comes last."""
    op: dict[str, Any] = {**case.options}
    layer: dict[str, Any] = {"name": "it"}
    main = type(case.op).main
    first = case.inputs[0]
    start = FLATTENED if isinstance(first, Vector) else first
    layers: list[dict[str, Any]] = []
    if len(case.inputs) == 1:
        if main:
            layer |= {case.kind: op.pop(main, getattr(case.op, main)), **op}
        else:
            layer |= {case.kind: op}
        if isinstance(first, Vector):
            layers.append({"flatten": {}})
    else:
        start = FLATTENED if isinstance(first, Vector) else ODD
        layers += [{"flatten": {}}] if isinstance(first, Vector) else []
        layer |= {case.kind: {f"b{n}": _reach(shape) for n, shape in enumerate(case.inputs)}}
    spec = {
        "cnnspec": 1,
        "name": "single",
        "input": {"channels": start.channels, "size": [start.height, start.width]},
        "layers": [*layers, layer],
    }
    file = folder / "single.yaml"
    file.write_text(json.dumps(spec))
    graph = cnnspec.load(file).graph
    assert graph.outputs[0].node.shape == case.op.shape(case.inputs)
    return graph


def _reach(shape: Shape) -> list[dict[str, Any]]:
    """Layers from the common input, ODD or FLAT, to a shape."""
    if isinstance(shape, Vector):
        return [{"dense": shape.channels}] if shape != FLAT else []
    size = [n if m == 1 else 1 for n, m in zip(ODD[1:], shape[1:], strict=True)]
    made: list[dict[str, Any]] = [{"max_pool": size}] if size != [1, 1] else []
    return [{"conv": shape.channels, "kernel": 1}, *made] if shape.channels != ODD.channels else made
