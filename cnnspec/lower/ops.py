"""One op with all its uses side by side: its canonical attributes as expressions."""

from __future__ import annotations

from functools import reduce
from typing import Any

from cnnspec.expr import Const, Expr, Value
from cnnspec.graph import Node
from cnnspec.lower.program import Op, Tensor
from cnnspec.lower.scope import Scope, Unfoldable
from cnnspec.lower.symbols import binary, const, simplify
from cnnspec.ops import Maps

_WRITTEN = {"kernel": "size"}  # what an attribute is called in the language, where that is another word


def fold_op(nodes: list[Node], bases: list[str], scope: Scope, position: Expr) -> Op:
    """The op that these nodes are, one for each element."""
    canonical = [node.canonical() for node in nodes]
    kind, attrs = canonical[0]
    if any(other.kind != kind or other.attrs.keys() != attrs.keys() for other in canonical):
        raise Unfoldable(f"{nodes[0].path} is another op elsewhere")
    texts = {
        (type(node.input_shapes[0]), form.attrs.get("divisor")) for node, form in zip(nodes, canonical, strict=True)
    }
    if len(texts) > 1:
        raise Unfoldable(f"{nodes[0].path} is written otherwise elsewhere")
    path = scope.path([node.path for node in nodes], bases, position)
    inputs = [scope.tensor([node.inputs[at] for node in nodes]) for at in range(len(nodes[0].inputs))]
    if any(len(node.inputs) != len(inputs) for node in nodes):
        raise Unfoldable(f"{nodes[0].path} has another number of inputs elsewhere")
    op = Op(kind, path, {}, const(0), inputs, Tensor("x", tuple(n.shape for n in nodes), None), bool(nodes[0].params))
    op.nodes = tuple(nodes)
    for name in attrs:
        values = [collapsed(form.attrs[name]) for form in canonical]
        op.values[name] = tuple(values)
        op.attrs[name] = scope.express(values, [_written(node, name) for node in nodes], _hint(nodes[0], name))
    if sized(nodes[0]):
        op.channels = scope.channels(inputs[0], [node.input_shapes[0] for node in nodes])
    op.output.channels = _channels(op, nodes, scope)
    scope.bind(nodes, op.output)
    return op


def sized(node: Node) -> bool:
    """Whether frameworks construct the op with its number of channels: it has parameters, or normalises channels."""
    return bool(node.params) or node.op.kind == "layer_norm"


def collapsed(value: Any) -> Value:
    """A canonical attribute as a person writes it: one number where all edges or both axes have the same."""
    match value:
        case (top, left, bottom, right):
            return collapsed((top, left)) if (top, left) == (bottom, right) else (top, left, bottom, right)
        case (height, width):
            return height if height == width else (height, width)
    return value  # type: ignore[no-any-return]


def _written(node: Node, name: str) -> Expr | None:
    """What the spec says about an attribute."""
    args = node.args
    if name in ("pads", "crop"):
        padding = args.get("padding")
        if padding is None or (isinstance(padding.expr, Const) and padding.expr.value == "half"):
            kernel = _written(node, "kernel")
            return binary("//", simplify(kernel, {}), const(2)) if kernel and not isinstance(kernel, Const) else None
        return padding.expr
    if name == "stride" and name not in args and "size" in args:
        name = "size"  # a pool's stride is its size
    for key in (name, _WRITTEN.get(name, name)):
        if key in args:
            return args[key].expr
    return None


def _hint(node: Node, name: str) -> str:
    """A name for a parameter: the layer's and the attribute's."""
    label = "".join(part for part in node.path.rsplit(".", 1)[-1] if not part.isdigit()) or node.op.label
    return f"{label}_{'padding' if name == 'pads' else name}"


def _channels(op: Op, nodes: list[Node], scope: Scope) -> Expr | None:
    """The channels that come out, in the terms of the definition."""
    incoming = op.inputs[0].channels
    expr: Expr | None = incoming
    match op.kind:
        case "conv" | "transposed_conv":
            expr = op.attrs["filters"]
        case "dense":
            expr = op.attrs["units"]
        case "depthwise_conv":
            expr = binary("*", incoming, op.attrs["depth_multiplier"]) if incoming is not None else None
        case "concat":
            known = [tensor.channels for tensor in op.inputs if tensor.channels is not None]
            expr = reduce(lambda a, b: binary("+", a, b), known) if len(known) == len(op.inputs) else None
        case "multiply":
            same = [
                t.channels
                for t in op.inputs
                if all(s.channels == n.shape.channels for s, n in zip(t.shapes, nodes, strict=False))
            ]
            expr = same[0] if same else None
        case "flatten":
            areas = {
                n.shape.height * n.shape.width for n in (node.inputs[0] for node in nodes) if isinstance(n.shape, Maps)
            }
            expr = binary("*", incoming, const(areas.pop())) if incoming is not None and len(areas) == 1 else incoming
    values = [node.shape.channels for node in nodes]
    if expr is not None and scope.holds(expr, values):
        return expr
    return const(values[0]) if len(set(values)) == 1 else None
