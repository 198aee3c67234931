"""Reads definitions of blocks, and their uses."""

from __future__ import annotations

from collections.abc import Iterable

from cnnspec.diagnostics import Report, Span, did_you_mean, nearest
from cnnspec.expr import Const
from cnnspec.ops import OPS
from cnnspec.source import Mapping, Node, Scalar, Sequence
from cnnspec.spec.layers import Arg, Block, BlockLayer, Body
from cnnspec.spec.op_reader import OpReader
from cnnspec.spec.values import MAX_VARIABLES, VARIABLE, Invalid, Scope, describe, is_null
from cnnspec.spec.words import BLOCK_KEYS, COMMON, STRUCTURES


class BlockReader(OpReader):
    """Reads blocks.

    `unreadable` are those with a mistake, whose uses are none; `incomplete` tells that a library with further blocks
    could not be read.
    """

    def __init__(self, report: Report, globals_: Iterable[str], blocks: dict[str, Block]) -> None:
        super().__init__(report, globals_)
        self.blocks = blocks
        self.unreadable: set[str] = set()
        self.incomplete = False

    def body(self, node: Node | None, scope: Scope, *, named: bool, inside: str, owner: Span) -> Body:
        """A list of layers. `inside` says of what, for the rules on nesting and for messages."""
        raise NotImplementedError

    def block_call(self, name: str, key: Scalar, value: Node | None, scope: Scope, node: Mapping) -> BlockLayer:
        block = self.blocks[name]
        beside = False
        for option in node.entries:
            if option != name and option not in COMMON:
                beside = beside or option in block.args
                help = did_you_mean(option, COMMON)
                if option in block.args:
                    help = f"arguments of a block go into its value: `{name}: {{{option}: …}}`"
                self.report.add(
                    "unknown-key", f"`{name}` has no option `{option[:60]}`", node.key(option).span, help=help
                )
        if beside:
            raise Invalid
        args = self.arguments(block, value, scope, key.span)
        return BlockLayer(kind=name, key=key.span, node=node, args=args)

    def arguments(
        self,
        block: Block,
        value: Node | None,
        scope: Scope,
        key: Span,
        *,
        partial: bool = False,
    ) -> dict[str, Arg]:
        """The arguments of one use of a block: a mapping, a list in the order of the definition, or the only one."""
        names = list(block.args)
        given: dict[str, Node] = {}
        unknown = False
        if isinstance(value, Mapping):
            for name, (key_node, node) in value.entries.items():
                if name in block.args:
                    given[name] = node
                else:
                    unknown = True
                    self.report.add(
                        "unknown-argument",
                        f"`{block.name}` has no argument `{name[:60]}`",
                        key_node.span,
                        help=did_you_mean(name, names) if names else "it takes none",
                    )
        elif isinstance(value, Sequence):
            if len(value.items) > len(names):
                surplus = value.items[len(names)].span
                self.report.add(
                    "unknown-argument",
                    f"`{block.name}` takes {len(names)} argument{'s' * (len(names) != 1)}, got {len(value.items)}",
                    Span(surplus.source, surplus.start, value.items[-1].span.end),
                    help="in order: " + ", ".join(names) if names else "",
                )
            given = dict(zip(names, value.items, strict=False))
        elif value is not None and not is_null(value):
            if not names:
                self.report.add("unknown-argument", f"`{block.name}` takes no arguments", value.span)
            else:
                given = {names[0]: value}
        if not partial:
            missing = [n for n, default in block.args.items() if default is None and n not in given]
            if missing and unknown:
                raise Invalid  # probably the same mistake
            if missing:
                listed = ", ".join(f"`{n}`" for n in missing)
                at = value.span if isinstance(value, Sequence) else key
                self.report.add(
                    "missing-argument",
                    f"`{block.name}` needs {listed}",
                    at,
                    help="in order: " + ", ".join(names)
                    if isinstance(value, Sequence)
                    else f"`{block.name}: {{{missing[0]}: …}}`",
                )
                raise Invalid
        args = {name: self.arg(node, scope) for name, node in given.items()}
        if any(arg.broken for arg in args.values()):
            raise Invalid
        return args

    def signature(self, name: str, key: Scalar, node: Node) -> Block | None:
        """A block's name and arguments, before any body is read, so that blocks may use each other in any order."""
        if not VARIABLE.match(name) or name in OPS or name in STRUCTURES or name in COMMON:
            taken = name in OPS or name in STRUCTURES or name in COMMON
            self.report.add(
                "bad-name",
                f"a block cannot be called `{name[:60]}`" + (": the language has that word" if taken else ""),
                key.span,
                help="a letter, then letters, digits and underscores",
            )
            self.unreadable.add(name)
            return None
        if not isinstance(node, Mapping):
            self.report.add(
                "bad-value",
                f"a block is a mapping, got {describe(node)}",
                node.span,
                help=f"`{name}: {{layers: [...]}}`",
            )
            self.unreadable.add(name)
            return None
        block = Block(name, key.span, {}, {}, Body([], node.span, True), self)
        args = node.get("args")
        if args is None and "layers" in node.entries:  # a misspelt one, reported with the rest of the keys
            args = next(
                (v for k, (_, v) in node.entries.items() if k not in BLOCK_KEYS and nearest(k, BLOCK_KEYS) == "args"),
                None,
            )
        entries: list[tuple[Scalar, Node | None]] = []
        if isinstance(args, Mapping):
            entries = list(args.entries.values())
        elif isinstance(args, Sequence):
            entries = [(item, None) for item in args.items if isinstance(item, Scalar)]
            for item in args.items:
                if not isinstance(item, Scalar):
                    self.report.add("bad-value", f"expected the name of an argument, got {describe(item)}", item.span)
        elif args is not None and not is_null(args):
            self.report.add("bad-value", f"`args` is a mapping or a list of names, got {describe(args)}", args.span)
        if len(entries) > MAX_VARIABLES:
            self.report.add("too-large", f"`{name[:60]}` has more than {MAX_VARIABLES} arguments", key.span)
            self.unreadable.add(name)
            return None
        for argument, default in entries:
            if not self.check_variable(argument.text, argument.span, block.args.keys()):
                block.args.setdefault(argument.text, Arg(Const(0, 0, None), argument, broken=True))
                continue
            required = default is None or (isinstance(default, Scalar) and default.text == "required")
            block.args[argument.text] = None if required or default is None else self.arg(default, self.globals)
        return block

    def fill(self, block: Block, node: Mapping) -> None:
        """A block's `let` and body."""
        scope = self.globals | set(block.args) | {"in_channels"}
        block.let = self.let(node.get("let"), scope)
        scope |= block.let.keys()
        description = node.get("description")
        if isinstance(description, Scalar):
            block.description = description.text
        elif description is not None:
            self.report.add("bad-value", f"`description`: expected text, got {describe(description)}", description.span)
        layers = node.get("layers")
        rest = {k: entry for k, entry in node.entries.items() if k not in BLOCK_KEYS}
        if layers is not None:
            self.check_keys(node, BLOCK_KEYS, f"the block `{block.name}`")
            block.body = self.body(layers, scope, named=True, inside="a block", owner=block.key)
        elif rest:
            only = Mapping(rest, node.span)
            block.body = self.body(Sequence([only], node.span), scope, named=True, inside="a block", owner=block.key)
        else:
            self.report.add(
                "missing-key",
                f"the block `{block.name}` has no layers",
                block.key,
                help="give it `layers:`, or one `residual:` or `concat:`",
            )
