"""Which padding Keras has for a window, and pixels at edges as its layers take them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, TypeVar

from cnnspec.expr import Conditional, Const, Expr, Index, ListOf, Ref, Value
from cnnspec.graph import Node
from cnnspec.lower import program as p
from cnnspec.lower.program import Definition, Op, Program, Unprintable
from cnnspec.lower.symbols import const
from cnnspec.ops import Maps

T = TypeVar("T")
Two = tuple[int, int]
Four = tuple[int, int, int, int]
EdgeKind = Literal["pads", "overhang"]
Edges = dict[tuple[Definition, str], EdgeKind]
"""Parameters that say how many pixels there are at edges."""

_ATTRIBUTES: dict[str, EdgeKind] = {"pads": "pads", "crop": "pads", "edges": "pads", "overhang": "overhang"}


def added(node: Node, *, padded: bool = True) -> Four:
    """Pixels around the map, (top, left, bottom, right), what overhangs among them; `padded` counts the padding."""
    attrs = node.canonical().attrs
    top, left, bottom, right = attrs["pads"] if padded else (0, 0, 0, 0)
    down, across = attrs.get("overhang", (0, 0))
    return top, left, bottom + down, right + across


def collapsed(edges: Four) -> Value:
    """Edges in their shortest form."""
    top, left, bottom, right = edges
    if (top, left) != (bottom, right):
        return edges
    return top if top == left else (top, left)


def same(op: Op, *, padded: bool = True) -> bool:
    """Whether `padding="same"` means what the op does, in every use.

    Without `padded`, the op's padding has been added to the map before.
    """
    return all(_same(node, padded) for node in op.nodes)


def _same(node: Node, padded: bool) -> bool:
    attrs = node.canonical().attrs
    (x,) = node.input_shapes
    assert isinstance(x, Maps)
    pads = added(node, padded=padded)
    for axis, size in enumerate((x.height, x.width)):
        if not padded:
            size += attrs["pads"][axis] + attrs["pads"][axis + 2]
        stride = attrs["stride"][axis]
        extent = (attrs["kernel"][axis] - 1) * attrs.get("dilation", (1, 1))[axis] + 1
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        if (pads[axis], pads[axis + 2]) != (total // 2, total - total // 2):
            return False
    return True


def agreed(op: Op, value: Callable[[Node], T]) -> T | None:
    """What is the same in every use; None where nothing is."""
    first, *others = [value(node) for node in op.nodes]
    return first if all(other == first for other in others) else None


def not_negative(node: Node, depth: int = 4) -> bool:
    """Whether a node gives nothing below zero, as far as one sees from the ops next to it."""
    if node.op.kind in ("relu", "relu6", "sigmoid", "hard_sigmoid", "softmax"):
        return True
    if (node.op.drops or node.op.kind in ("max_pool", "avg_pool", "concat")) and depth:
        return all(not_negative(source, depth - 1) for source in node.inputs)
    return False


def nested(value: Value, kind: EdgeKind = "pads") -> Value:
    """Edges in one of their short forms as ((top, bottom), (left, right))."""
    match value:
        case int() as n:
            height, width = n, n
        case (int() as h, int() as w):
            height, width = h, w
        case (top, left, bottom, right):
            return (top, bottom), (left, right)
        case _:
            raise TypeError(value)
    return ((0, height), (0, width)) if kind == "overhang" else ((height, height), (width, width))


def padding_expr(expr: Expr) -> Expr:
    """Padding in one of its short forms as Keras's layers take it; parameters that hold four edges are `nested`."""
    return _mapped(expr, lambda part: _nested_part(part, "pads") if _four(part) else part)


def nested_expr(expr: Expr, kind: EdgeKind, parameters: Collection[str]) -> Expr:
    """Edges in one of their short forms, `nested`; `parameters` are so already."""
    return _mapped(
        expr, lambda part: part if isinstance(part, Ref) and part.name in parameters else _nested_part(part, kind)
    )


def _four(expr: Expr) -> bool:
    match expr:
        case Const(value=tuple() as items) | ListOf(items=items):
            return len(items) == 4
    return False


def _nested_part(expr: Expr, kind: EdgeKind) -> Expr:
    match expr:
        case Const(value=value):
            return const(nested(value, kind))
        case ListOf(items=(top, left, bottom, right)):
            rows = (top, bottom), (left, right)
        case ListOf(items=(height, width)):
            rows = _around(height, kind), _around(width, kind)
        case ListOf() | Index():
            raise Unprintable("edges of which nothing is known before")
        case pixels:  # a calculation, or a parameter that is a whole number in every use
            rows = _around(pixels, kind), _around(pixels, kind)
    return ListOf(0, 0, tuple(ListOf(0, 0, row) for row in rows))


def _around(pixels: Expr, kind: EdgeKind) -> tuple[Expr, Expr]:
    return (const(0) if kind == "overhang" else pixels), pixels


def _mapped(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """`expr` with every expression changed that may give its value."""
    match expr:
        case Conditional(test=test, then=then, otherwise=otherwise):
            return Conditional(0, 0, test, _mapped(then, change), _mapped(otherwise, change))
        case Index(value=Const(value=tuple() as items), index=index):
            return _mapped(Index(0, 0, ListOf(0, 0, tuple(map(const, items))), index), change)
        case Index(value=ListOf(items=items), index=index):
            return Index(0, 0, ListOf(0, 0, tuple(_mapped(item, change) for item in items)), index)
    return change(expr)


def _direct(expr: Expr) -> list[str]:
    """Variables whose value an expression may have."""
    match expr:
        case Ref(name=name):
            return [name]
        case Conditional(then=then, otherwise=otherwise):
            return [*_direct(then), *_direct(otherwise)]
    return []


def edge_parameters(program: Program) -> Edges:
    """Parameters that stand for pixels at edges and are not whole numbers alone: they are passed `nested`."""
    found: Edges = {}

    def note(definition: Definition, expr: Expr, kind: EdgeKind) -> None:
        for name in _direct(expr):
            parameter = definition.parameter(name)
            whole = kind == "pads" and parameter and all(isinstance(value, int) for value in parameter.values)
            if parameter and not whole:
                found[definition, name] = kind

    for definition in program.definitions:  # each comes after those that it uses
        for step in p.walk(definition.steps):
            if isinstance(step, p.Layer):
                for op in step.ops:
                    for name, kind in _ATTRIBUTES.items():
                        if name in op.attrs:
                            note(definition, op.attrs[name], kind)
            elif isinstance(step, p.Call):
                for name, expr in step.args.items():
                    if (step.definition, name) in found:
                        note(definition, expr, found[step.definition, name])
    return found
