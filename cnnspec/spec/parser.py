"""From the tree of a file to definitions: every layer, block and option checked as far as can be without expanding.

What depends on no variable is validated here, once, wherever it stands, so that a mistake in a block that nothing uses
is reported too. The rest is validated when the block is expanded.
"""

from __future__ import annotations

from typing import NoReturn

from cnnspec.diagnostics import Span, nearest
from cnnspec.expr import Const
from cnnspec.ops import OPS
from cnnspec.source import Mapping, Node, Scalar, Sequence
from cnnspec.spec.habits import suggest
from cnnspec.spec.layers import Arg, BlockLayer, Body, Layer, OpLayer, OutputDef
from cnnspec.spec.naming import NAME, assign_labels
from cnnspec.spec.op_reader import options
from cnnspec.spec.structure_reader import StructureReader
from cnnspec.spec.values import Invalid, Scope, describe
from cnnspec.spec.words import COMMON, STRUCTURES


class Parser(StructureReader):
    """Reads layers, blocks and outputs of one file (with what it extends), whose `defaults` apply to all of them."""

    def body(self, node: Node | None, scope: Scope, *, named: bool, inside: str, owner: Span) -> Body:
        """A list of layers. `inside` says of what, for the rules on nesting and for messages."""
        body = Body([], node.span if node else owner, named, owner)
        if not isinstance(node, Sequence):
            self.report.add(
                "bad-value",
                f"{inside} is a list of layers, got {describe(node)}",
                node.span if node and node.span.text else owner,
                help="start every layer with `- `",
            )
            return body
        for item in node.items:
            try:
                body.layers.append(self.layer(item, scope, inside))
            except Invalid:
                body.layers.append(self._unreadable(item))
        if named:
            assign_labels(body)
        return body

    @staticmethod
    def _unreadable(node: Node) -> Layer:
        """What stands for a layer with a mistake: it has a name, if it had one, and an unknown output."""
        layer = Layer(kind="", key=node.span, node=node)
        name = node.get("name") if isinstance(node, Mapping) else None
        if isinstance(name, Scalar) and NAME.match(name.text):
            layer.name = Arg(Const(0, 0, name.text), name)
        return layer

    def layer(self, node: Node, scope: Scope, inside: str) -> Layer:
        """One entry of a body."""
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
            return self._make(node.value, node, None, Mapping({}, node.span), scope, inside)
        if not isinstance(node, Mapping) or not node.entries:
            self.report.add(
                "bad-layer",
                f"a layer is a name or a mapping such as {{conv: 64, kernel: 3}}, got {describe(node)}",
                node.span,
                help="options have names; a list of layers is a block or a branch"
                if isinstance(node, Sequence)
                else "",
            )
            raise Invalid
        kind = self._kind(node)
        return self._make(kind, node.key(kind), node.get(kind), node, scope, inside)

    def _kind(self, node: Mapping) -> str:
        """The one key that names what the layer is."""
        kinds = [k for k in node.entries if k in OPS or k in self.blocks or k in STRUCTURES]
        kinds = [k for k in kinds if not any(other in OPS and k in options(OPS[other]) for other in kinds)]
        if len(kinds) == 1:
            return kinds[0]
        if kinds:
            first, second = OPS.get(kinds[0]), OPS.get(kinds[1])
            attached = first and second and second.role in first.attaches
            self.report.add(
                "two-kinds",
                f"`{kinds[0]}` and `{kinds[1]}` both say what this layer is",
                node.key(kinds[1]).span,
                help=f"attach it, `{second.role}: {second.kind}`, or write two layers, each with its own `- `"
                if attached and second
                else "write two layers, each with its own `- `",
            )
            raise Invalid
        for key in node.entries:
            if key not in COMMON:
                self.unknown_kind(key, node.key(key).span)
        key = next(iter(node.entries))
        self.report.add(
            "bad-layer",
            "nothing says what this layer is",
            node.key(key).span,
            help="add an op or a block, such as `conv: 64`",
        )
        raise Invalid

    def unknown_kind(self, kind: str, span: Span) -> NoReturn:
        if kind in self.unreadable or (self.incomplete and not nearest(kind, [*OPS, *self.blocks])):
            raise Invalid
        help = suggest(kind, [*OPS, *self.blocks, *STRUCTURES])[1]
        if any(kind in options(op) for op in OPS.values()):
            help = f"`{kind}` is an option: it stands in one mapping with its layer, without a `- ` of its own"
        self.report.add("unknown-op", f"`{kind[:60]}` is not an op, a block or a structure", span, help=help)
        raise Invalid

    def _make(self, kind: str, key: Scalar, value: Node | None, node: Mapping, scope: Scope, inside: str) -> Layer:
        if kind in self.blocks:
            layer: Layer = self.block_call(kind, key, value, scope, node)
        elif kind in OPS and OPS[kind].merges:
            layer = self.merge(OPS[kind], key, value, node, scope, inside)
        elif kind in OPS:
            layer = self.op(OPS[kind], key, value, node, scope, common=COMMON)
        elif kind == "residual":
            layer = self.residual(key, value, scope, inside, node)
        elif kind == "stage":
            return self.stage(key, value, node, scope, inside)
        elif kind == "table":
            return self.table(key, value, node, scope, inside)
        else:
            self.unknown_kind(kind, key.span)
        self._common(layer, node, scope)
        return layer

    def _common(self, layer: Layer, node: Mapping, scope: Scope) -> None:
        """The options that every layer takes."""
        if name := node.get("name"):
            layer.name = self.name_arg(name, scope)
        if (source := node.get("from")) and not (isinstance(layer, OpLayer) and layer.op.merges):
            layer.source = Arg(self.source(source, scope), source)
        if condition := node.get("if"):
            layer.condition = self.arg(condition, scope)
        if repeat := node.get("repeat"):
            layer.repeat = self.arg(repeat, scope)
        if first := node.get("first"):
            self._first(layer, first, node, scope)

    def _first(self, layer: Layer, first: Node, node: Mapping, scope: Scope) -> None:
        """Other values for iteration 0 of a repeat."""
        if not isinstance(first, Mapping):
            self.report.add("bad-value", f"`first` is a mapping of options, got {describe(first)}", first.span)
        elif layer.repeat is None:
            self.report.add("bad-value", "`first` has no meaning without `repeat`", node.key("first").span)
        elif isinstance(layer, BlockLayer):
            layer.first = self.arguments(self.blocks[layer.kind], first, scope, layer.key, partial=True)
        elif isinstance(layer, OpLayer):
            op = layer.op
            self.check_keys(first, op.model_fields, f"`{op.kind}`")
            layer.first = {k: self.arg(v, scope) for k, (_, v) in first.entries.items() if k in op.model_fields}
            self.check_constants(op, layer.args | layer.first, layer.key)
        else:
            self.report.add(
                "bad-value",
                f"a `{layer.kind}` has no arguments that `first` could change",
                node.key("first").span,
                help="make it a block with arguments",
            )

    def read_output(self, name: str, key: Scalar, node: Node, scope: Scope) -> OutputDef | None:
        """One entry of `outputs:`."""
        if name == "main":
            self.report.add(
                "bad-name", "`main` is what the network's own output is called", key.span, help="choose another name"
            )
            return None
        if not self.check_name(name, key.span):
            return None
        if not isinstance(node, Mapping):
            self.report.add("bad-value", f"an output is a mapping with `from`, got {describe(node)}", node.span)
            return None
        self.check_keys(node, ("from", "layers", "training_only", "loss_weight"), "an output")
        source = node.get("from")
        if source is None:
            self.report.add("missing-key", f"the output `{name}` needs `from`, the layer that it starts at", key.span)
            return None
        options = {
            name: self.arg(node.entries[name][1], scope)
            for name in ("training_only", "loss_weight")
            if name in node.entries
        }
        try:
            source_arg = Arg(self.source(source, scope), source)
        except Invalid:
            return None
        layers = node.get("layers")
        body = (
            Body([], key.span, True)
            if layers is None
            else self.body(layers, scope, named=True, inside="an output", owner=key.span)
        )
        return OutputDef(name, key.span, source_arg, body, **options)
