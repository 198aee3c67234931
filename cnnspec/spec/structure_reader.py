"""Reads the layers that contain layers: merges of branches, residuals, stages, tables."""

from __future__ import annotations

from collections.abc import Iterable

from cnnspec.diagnostics import did_you_mean
from cnnspec.expr import Const
from cnnspec.ops import OPS, Op
from cnnspec.source import Mapping, Node, Scalar, Sequence
from cnnspec.spec.block_reader import BlockReader
from cnnspec.spec.layers import (
    Arg,
    BlockLayer,
    BranchesLayer,
    Layer,
    ResidualLayer,
    StageLayer,
    TableLayer,
)
from cnnspec.spec.values import Invalid, Scope, describe, is_null
from cnnspec.spec.words import COMMON, SHORTCUTS

_RESIDUAL = ("body", "shortcut", "activation")


class StructureReader(BlockReader):
    """Reads structures."""

    def _refuse_nesting(self, kind: str, key: Scalar, inside: str, where: Iterable[str]) -> None:
        if inside in where:
            self.report.add(
                "nested-structure",
                f"a `{kind}` inside {inside} must be a block of its own",
                key.span,
                help="move it to `blocks:` and use the block's name here",
            )
            raise Invalid

    def merge(self, op: type[Op], key: Scalar, value: Node | None, node: Mapping, scope: Scope, inside: str) -> Layer:
        """`concat`, `add`, `multiply`: of named branches, or of a list of named layers."""
        layer = self.op(op, key, None, node, scope, common=COMMON)
        if isinstance(value, Mapping):
            self._refuse_nesting(op.kind, key, inside, ("a branch",))
            branches = {}
            for name, (branch_key, branch) in value.entries.items():
                body = self.body(branch, scope, named=False, inside="a branch", owner=branch_key.span)
                if self.check_name(name, branch_key.span):
                    branches[name] = body
            if len(value.entries) < 2:
                self.report.add(
                    "bad-value", f"`{op.kind}` needs at least two branches", key.span if value.entries else value.span
                )
            if len(branches) < max(len(value.entries), 2):
                raise Invalid
            return BranchesLayer(kind=op.kind, key=key.span, node=node, merge=layer, branches=branches)
        sources = value if isinstance(value, Sequence) else node.get("from")
        if not isinstance(sources, Sequence) or len(sources.items) < 2:
            self.report.add(
                "bad-value",
                f"`{op.kind}` takes named branches or a list of at least two layers"
                + (f", got {describe(value)}" if value is not None and not is_null(value) else "")
                + (" of one" if isinstance(value, Sequence) and value.items else ""),
                value.span if value is not None and not is_null(value) else key.span,
                help=f"`{op.kind}: {{left: [...], right: [...]}}` or `{op.kind}: [previous, stem]`",
            )
            raise Invalid
        if isinstance(value, Sequence) and node.get("from"):
            self.report.add(
                "bad-value",
                "`from` has no meaning beside a list of layers",
                node.key("from").span,
                help="what is merged is the list; name all of it there",
            )
        layer.inputs = [Arg(self.source(item, scope), item) for item in sources.items]
        return layer

    def residual(self, key: Scalar, value: Node | None, scope: Scope, inside: str, node: Mapping) -> ResidualLayer:
        self._refuse_nesting("residual", key, inside, ("a branch", "a residual's body"))
        if not isinstance(value, Mapping):
            self.report.add(
                "bad-value",
                "a residual is a mapping with `body`",
                value.span if value and value.span.text else key.span,
            )
            raise Invalid
        self.check_keys(node, COMMON, "`residual`", "residual", inside=_RESIDUAL)
        meant = self.check_keys(value, _RESIDUAL, "`residual`")
        content = value.get("body")
        if content is None:
            if "body" not in meant:
                self.report.add("missing-key", "`residual` needs `body`", key.span)
            raise Invalid
        body = self.body(content, scope, named=True, inside="a residual's body", owner=key.span)
        if isinstance(content, Sequence) and not content.items:
            self.report.add("bad-value", "a residual's body needs at least one layer", content.span)
        add = self.op(OPS["add"], key, None, Mapping({}, key.span), scope, common=())
        if activation := value.get("activation"):
            add.activation = self.attached("activation", activation, scope)
        layer = ResidualLayer(kind="residual", key=key.span, node=node, body=body, add=add, shortcut_span=key.span)
        shortcut = value.get("shortcut")
        if isinstance(shortcut, Sequence):
            layer.shortcut = self.body(
                shortcut, scope, named=False, inside="a branch", owner=value.key("shortcut").span
            )
        elif isinstance(shortcut, Scalar) and shortcut.value in SHORTCUTS:
            layer.shortcut = str(shortcut.value)
        elif shortcut is not None:
            self.report.add(
                "bad-value",
                f"`shortcut` is `auto`, `identity`, `projection` or a list of layers, got {describe(shortcut)}",
                shortcut.span,
                help=did_you_mean(shortcut.text, SHORTCUTS) if isinstance(shortcut, Scalar) else "",
            )
        if shortcut is not None:
            layer.shortcut_span = shortcut.span
        return layer

    def stage(self, key: Scalar, value: Node | None, node: Mapping, scope: Scope, inside: str) -> StageLayer:
        self._refuse_nesting("stage", key, inside, ("a branch", "a residual's body"))
        self.check_keys(node, ("each", "do", "if", "from"), "`stage`", "stage")
        if value is None or is_null(value):
            self.report.add("missing-key", "a stage needs a name", key.span, help="`stage: layer$i`, or a plain name")
            raise Invalid
        each_node = node.get("each")
        each: dict[str, Arg] = {}
        broken = False
        if isinstance(each_node, Mapping):
            for name, (variable, values) in each_node.entries.items():
                broken |= not self.check_variable(name, variable.span, each.keys() | {"i"})
                each[name] = self.arg(values, scope)
        elif each_node is not None:
            self.report.add("bad-value", f"`each` maps variables to lists, got {describe(each_node)}", each_node.span)
        inner = scope | each.keys() | {"in_channels"} | ({"i"} if each else set())
        name_arg = self.name_arg(value, inner)
        if node.get("do") is None:
            self.report.add("missing-key", "`stage` needs `do`, a list of layers", key.span)
            raise Invalid
        layer = StageLayer(
            kind="stage",
            key=key.span,
            node=node,
            name=name_arg,
            each=each,
            do=self.body(node.get("do"), inner, named=False, inside="a stage", owner=key.span),
        )
        if condition := node.get("if"):
            layer.condition = self.arg(condition, scope)
        if source := node.get("from"):
            layer.source = Arg(self.source(source, scope), source)
        if broken:
            raise Invalid
        return layer

    def table(self, key: Scalar, value: Node | None, node: Mapping, scope: Scope, inside: str) -> TableLayer:
        self._refuse_nesting("table", key, inside, ("a branch", "a residual's body"))
        self.check_keys(node, ("rows", "prefix", "if"), "`table`", "table")
        if not isinstance(value, Scalar) or value.text not in self.blocks:
            if isinstance(value, Scalar) and (value.text in self.unreadable or self.incomplete):
                raise Invalid
            self.report.add(
                "unknown-op",
                f"there is no block `{value.text[:60]}`"
                if isinstance(value, Scalar) and value.text
                else f"a table names the block that its rows use, got {describe(value)}",
                value.span if value and value.span.text else key.span,
                help=did_you_mean(value.text, self.blocks) if isinstance(value, Scalar) else "",
            )
            raise Invalid
        block = self.blocks[value.text]
        prefix_node = node.get("prefix")
        prefix = block.name
        if isinstance(prefix_node, Scalar) and prefix_node.text:
            if self.check_name(prefix_node.text, prefix_node.span):
                prefix = prefix_node.text
        elif prefix_node is not None:
            self.report.add("bad-value", f"`prefix`: expected a name, got {describe(prefix_node)}", prefix_node.span)
        rows = node.get("rows")
        if not isinstance(rows, Mapping) or not rows.entries:
            self.report.add(
                "missing-key" if rows is None else "bad-value",
                "`table` needs `rows`, a mapping from names to arguments",
                rows.span if rows else key.span,
            )
            raise Invalid
        layer = TableLayer(kind="table", key=key.span, node=node, block=block.name, prefix=prefix, rows=[])
        for row, (row_key, row_value) in rows.entries.items():
            if not self.check_name(prefix + row, row_key.span):
                continue
            try:
                args = self.arguments(block, row_value, scope, row_key.span)
            except Invalid:
                continue
            name = Arg(Const(0, 0, prefix + row), row_key)
            layer.rows.append(BlockLayer(kind=block.name, key=row_key.span, node=row_value, name=name, args=args))
        if condition := node.get("if"):
            layer.condition = self.arg(condition, scope)
        return layer
