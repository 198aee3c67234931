"""Uses of one text side by side: what a text is, and what stands in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from cnnspec.expr import Const, Expr, Index, ListOf, Template
from cnnspec.graph import Graph, Instance, Node
from cnnspec.lower.symbols import const, ref
from cnnspec.spec.layers import Layer, ResidualLayer, StageLayer

Rows = list[list[Instance]]
"""For each element, the instances of one entry: one, none where it is left out, several where it is repeated."""


class Container(NamedTuple):
    """A part of an instance's children, as a body looks at them."""

    path: str
    input: Node
    children: list[Instance]
    kind: str = "residual"


def descendants(instance: Instance) -> Iterator[Instance]:
    """All that is used within an instance, whatever is nested."""
    for child in instance.children:
        if isinstance(child, Instance):
            yield child
            yield from descendants(child)


def children(instance: Instance | Container) -> list[Instance]:
    """What stands in it itself; its nodes left out."""
    return [child for child in instance.children if isinstance(child, Instance)]


def arrives(instance: Instance | Container) -> Node:
    """Whose output it takes."""
    assert instance.input is not None
    return instance.input


def gives(instance: Instance) -> Node:
    """Whose output is its own."""
    assert instance.output is not None
    return instance.output


def main_of(instance: Instance) -> Node:
    """The first of its own nodes: of a layer, what its kind names."""
    return next(child for child in instance.children if isinstance(child, Node))


def shortcut_of(residual: Instance) -> Instance | None:
    """The instance that stands in a residual's shortcut, if one does."""
    assert isinstance(residual.layer, ResidualLayer)
    for child in children(residual):
        projected = child.layer is not None and child.layer.key is residual.layer.shortcut_span
        if child.kind == "shortcut" or (projected and child.layer is not residual.layer.add):
            return child
    return None


def spliced(instance: Instance, container: Instance | Container) -> bool:
    """Whether it is an iteration of an entry that stands in a list."""
    repeated = isinstance(instance.layer, Layer) and instance.layer.repeat is not None
    return repeated and instance.kind not in ("repeat", "stage") and container.kind != "repeat"


def entry_key(child: Instance, container: Instance | Container) -> tuple[Any, ...]:
    """What is the same for an entry of a body in all uses of it."""
    if child.layer is None:  # a branch, a shortcut, a head
        return child.kind, child.path[len(container.path) :]
    return child.kind, *_place(child.layer), child.layer.kind


def _place(layer: Layer) -> tuple[Any, ...]:
    """Where a layer is written: two with one place are one text, through an alias of YAML."""
    return id(layer.key.source), layer.key.start, layer.node.span.start


def entries(containers: Sequence[Instance | Container]) -> list[Rows]:
    """The entries of a body in its order, each with its instances in every element."""
    order: list[tuple[Any, ...]] = []
    found: list[dict[tuple[Any, ...], list[Instance]]] = []
    for container in containers:
        own: dict[tuple[Any, ...], list[Instance]] = {}
        for child in children(container):
            own.setdefault(entry_key(child, container), []).append(child)
        found.append(own)
        at = 0
        for key in own:  # what others do not have comes behind what it follows here
            if key in order:
                at = order.index(key) + 1
            else:
                order.insert(at, key)
                at += 1
    return [[own.get(key, []) for own in found] for key in order]


def group_key(instance: Instance) -> tuple[Any, ...] | None:
    """What all uses of one text share; None for what has no text of its own."""
    if instance.kind == "block":
        return "block", id(instance.block)
    if instance.kind in ("stage", "branches", "residual"):
        assert instance.layer
        return instance.kind, *_place(instance.layer)
    if instance.kind == "output":
        return "output", *(entry_key(child, instance) for child in children(instance))
    return None


def left_out_somewhere(child: Instance, parent: Instance) -> bool:
    """Whether other uses of the same text may do without this entry."""
    if parent.kind == "residual" and shortcut_of(parent) is child and child.kind == "layer":
        return True
    return child.layer is not None and child.layer.condition is not None


def text_name(uses: list[Instance]) -> str:
    """What a definition of these uses may be called."""
    some = uses[0]
    if some.block:
        return some.block.name
    if isinstance(some.layer, StageLayer) and some.layer.name:
        expr = some.layer.name.expr
        parts = expr.parts if isinstance(expr, Template) else (expr,)
        words = "".join(str(part.value) for part in parts if isinstance(part, Const))
        return words.strip("_0123456789") or "stage"
    if some.kind == "output":
        return "".join(takewhile(lambda c: c not in "_0123456789", some.path)) or "head"
    if some.layer and some.layer.name and some.layer.name.constant:
        return some.path.rpartition(".")[2]
    return "residual" if isinstance(some.layer, ResidualLayer) else "branches"


def variables_around(instance: Instance) -> list[str]:
    """The variables of the text around an instance, beside the parameters of the whole network."""
    top = instance
    while top.parent is not None:
        top = top.parent
    return [name for name in instance.values if name not in top.values and name != "in_channels"]


def given(instance: Instance, name: str) -> Expr | None:
    """What the text around a use gives for a parameter."""
    if instance.kind == "block":
        return instance.args[name].expr if name in instance.args else None
    if isinstance(instance.layer, StageLayer) and name in instance.layer.each:
        listed, at = instance.layer.each[name].expr, instance.iteration or 0
        return listed.items[at] if isinstance(listed, ListOf) else Index(0, 0, listed, const(at))
    return ref(name)


def read_from_outside(graph: Graph) -> set[int]:
    """Instances of which something but the output is read outside."""
    opened: set[int] = set()

    def reads(node: Node, around: set[int]) -> None:
        instance: Instance | None = node.parent if node.layer else None
        while instance is not None and id(instance) not in around:
            if instance.output is not node:
                opened.add(id(instance))
            instance = instance.parent

    for reader in graph.nodes:
        around = set()
        instance: Instance | None = reader.parent
        while instance is not None:
            around.add(id(instance))
            instance = instance.parent
        for node in reader.inputs:
            reads(node, around)
    for output in graph.outputs:
        reads(output.node, {id(graph.root)})
    return opened
