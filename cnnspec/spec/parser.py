"""From the tree of a file to definitions: every layer, block and option checked as far as can be without expanding.

What depends on no variable is validated here, once, wherever it stands, so that a mistake in a block that nothing uses
is reported too. The rest is validated when the block is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import ValidationError

from cnnspec.diagnostics import Report, Span, did_you_mean, nearest
from cnnspec.expr import Const, Expr, ExprError, ListOf, UnknownValue, parse, parse_template, variables
from cnnspec.ops import OPS, Op
from cnnspec.source import Mapping, Node, Scalar, Sequence, locate
from cnnspec.spec.habits import suggest
from cnnspec.spec.layers import (
    Arg,
    Block,
    BlockLayer,
    Body,
    BranchesLayer,
    Layer,
    OpLayer,
    OutputDef,
    ResidualLayer,
    StageLayer,
    TableLayer,
)
from cnnspec.spec.naming import NAME, assign_labels
from cnnspec.spec.problems import report_invalid, shown

COMMON = ("name", "from", "if", "repeat", "first")
STRUCTURES = ("residual", "stage", "table")
SHORTCUTS = ("auto", "identity", "projection")
RESERVED = {"input": "the network's or the block's input", "previous": "the layer before"}
BLOCK_KEYS = ("args", "let", "description", "layers")
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")

Scope = frozenset[str]
"""The variables that an expression may mention."""


class _Invalid(Exception):
    """This layer cannot be read; the reason is in the report."""


class Parser:
    """Reads layers, blocks and outputs of one file (with what it extends), whose `defaults` apply to all of them."""

    def __init__(self, report: Report, globals_: Iterable[str], blocks: dict[str, Block]) -> None:
        self.report = report
        self.globals = frozenset(globals_)
        self.blocks = blocks
        self.defaults: dict[str, OpLayer] = {}
        self.unreadable: set[str] = set()  # blocks with a mistake, whose uses are none
        self.incomplete = False  # whether a library with further blocks could not be read

    # ---- values

    def arg(self, node: Node, scope: Scope) -> Arg:
        """The expression that a value is. Mistakes are reported, and leave a broken constant in its place."""
        before = len(self.report.diagnostics)
        expr = self._expr(node, scope, parse)
        return Arg(expr, node, len(self.report.diagnostics) > before)

    def name_arg(self, node: Node, scope: Scope) -> Arg:
        """A name, with variables inside it."""
        if not isinstance(node, Scalar) or node.text == "":
            self.report.add("bad-value", f"expected a name, got {describe(node)}", node.span)
            raise _Invalid
        expr = self._expr(Scalar(node.text, node.text, node.span, node.quoted), scope, parse_template)
        if isinstance(expr, Const):
            self.check_name(str(expr.value), node.span)
        return Arg(expr, node)

    def check_name(self, name: str, span: Span) -> bool:
        """Whether `name` may be a path component; reported if not."""
        if not NAME.match(name):
            self.report.add(
                "bad-name",
                f"`{name[:60]}` cannot be a name",
                span,
                help="a letter, then letters, digits and underscores"
                + ("; dots separate the parts of a path" if "." in name else ""),
            )
            return False
        if name in RESERVED:
            self.report.add(
                "bad-name", f"`{name}` is taken: it means {RESERVED[name]}", span, help="choose another name"
            )
            return False
        return True

    def _expr(self, node: Node, scope: Scope, read=parse) -> Expr:  # type: ignore[no-untyped-def]
        if isinstance(node, Mapping):
            self.report.add("bad-value", "expected a value or a list, got a mapping", node.span)
            return Const(0, 0, None)
        if isinstance(node, Sequence):
            items = tuple(self._expr(item, scope) for item in node.items)
            if all(isinstance(item, Const) for item in items):
                return Const(0, 0, tuple(item.value for item in items if isinstance(item, Const)))
            return ListOf(0, 0, items)
        if not isinstance(node.value, str) or "$" not in node.value:
            return Const(0, 0, node.value)
        try:
            expr: Expr = read(node.value)
            for ref in variables(expr):
                if ref.name not in scope:
                    raise ExprError(
                        "unknown-variable", f"`${ref.name}` is not known here", ref.start, ref.end,
                        did_you_mean(ref.name, scope),
                    )  # fmt: skip
        except ExprError as error:
            self.expression_error(error, node)
            return Const(0, 0, None)
        return expr

    def expression_error(self, error: ExprError, node: Node, path: str = "") -> None:
        """Report what is wrong with the expression in `node`, at its place in the text."""
        if isinstance(error, UnknownValue):
            return
        self.report.add(error.slug, error.message, expression_span(error, node), help=error.help, path=path)

    # ---- bodies

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
            except _Invalid:
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
                help="options have names; a list of layers is a block or a branch" if isinstance(node, Sequence) else "",
            )
            raise _Invalid
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
            raise _Invalid
        for key in node.entries:
            if key not in COMMON:
                self._unknown_kind(key, node.key(key).span)
        key = next(iter(node.entries))
        self.report.add(
            "bad-layer", "nothing says what this layer is", node.key(key).span, help="add an op or a block, such as `conv: 64`"
        )
        raise _Invalid

    def _unknown_kind(self, kind: str, span: Span) -> None:
        if kind in self.unreadable or (self.incomplete and not nearest(kind, [*OPS, *self.blocks])):
            raise _Invalid
        self.report.add(
            "unknown-op",
            f"`{kind[:60]}` is not an op, a block or a structure",
            span,
            help=suggest(kind, [*OPS, *self.blocks, *STRUCTURES])[1],
        )
        raise _Invalid

    def _make(
        self, kind: str, key: Scalar, value: Node | None, node: Mapping, scope: Scope, inside: str
    ) -> Layer:
        if kind in self.blocks:
            layer: Layer = self._block_call(kind, key, value, scope, node)
        elif kind in OPS and OPS[kind].merges:
            layer = self._merge(OPS[kind], key, value, node, scope, inside)
        elif kind in OPS:
            layer = self._op(OPS[kind], key, value, node, scope, common=COMMON)
        elif kind == "residual":
            layer = self._residual(key, value, scope, inside, node)
        elif kind == "stage":
            return self._stage(key, value, node, scope, inside)
        elif kind == "table":
            return self._table(key, value, node, scope, inside)
        else:
            self._unknown_kind(kind, key.span)
        self._common(layer, node, scope)
        return layer

    def _common(self, layer: Layer, node: Mapping, scope: Scope) -> None:
        """The options that every layer takes."""
        if name := node.get("name"):
            layer.name = self.name_arg(name, scope)
        if (source := node.get("from")) and not (isinstance(layer, OpLayer) and layer.op.merges):
            layer.source = Arg(self._source(source, scope), source)
        if condition := node.get("if"):
            layer.condition = self.arg(condition, scope)
        if repeat := node.get("repeat"):
            layer.repeat = self.arg(repeat, scope)
        if first := node.get("first"):
            self._first(layer, first, node, scope)

    def _first(self, layer: Layer, first: Node, node: Mapping, scope: Scope) -> None:
        """Other values for iteration 0 of a repeat."""
        if not isinstance(first, Mapping):
            self.report.add(
                "bad-value", f"`first` is a mapping of options, got {describe(first)}", first.span
            )
        elif layer.repeat is None:
            self.report.add("bad-value", "`first` has no meaning without `repeat`", node.key("first").span)
        elif isinstance(layer, BlockLayer):
            layer.first = self._arguments(self.blocks[layer.kind], first, scope, layer.key, partial=True)
        elif isinstance(layer, OpLayer):
            op = layer.op
            self._check_keys(first, op.model_fields, f"`{op.kind}`")
            layer.first = {
                k: self.arg(v, scope) for k, (_, v) in first.entries.items() if k in op.model_fields
            }
            self.check_constants(op, layer.args | layer.first, layer.key)
        else:
            self.report.add(
                "bad-value", f"a `{layer.kind}` has no arguments that `first` could change", node.key("first").span,
                help="make it a block with arguments",
            )  # fmt: skip

    def _source(self, node: Node, scope: Scope) -> Expr:
        """The name of an earlier layer, dots allowed."""
        if not isinstance(node, Scalar) or not node.text:
            self.report.add("bad-value", f"expected the name of a layer, got {describe(node)}", node.span)
            raise _Invalid
        return self._expr(Scalar(node.text, node.text, node.span, node.quoted), scope, parse_template)

    def _check_keys(self, node: Mapping, known: Iterable[str], what: str, kind: str = "", main: str = "") -> set[str]:
        """Report unknown keys; returns what they were probably meant to be, which is then not missing.

        `kind` is the key that names the layer, and `main` the field that its value fills: neither is an option.
        """
        known = list(known)
        meant = set()
        for key in node.entries:
            if key not in known and key != kind:
                name, help = suggest(key, known)
                if main and suggest(key, [main])[0]:
                    name = main
                    help = f"the value of {what} is its `{main}`: `{kind}: …`"
                meant.add(name)
                self.report.add("unknown-key", f"{what} has no option `{key[:60]}`", node.key(key).span, help=help)
        return meant - {""}

    # ---- ops

    def _op(
        self, op: type[Op], key: Scalar, value: Node | None, node: Mapping, scope: Scope, common: Iterable[str]
    ) -> OpLayer:
        """An op's layer; `common` are the further keys that may stand beside its options."""
        entries = {k: v for k, (_, v) in node.entries.items() if k != op.kind}
        meant = self._check_keys(node, [*options(op), *common], f"`{op.kind}`", op.kind, op.main)
        fields = {k: v for k, v in entries.items() if k in op.model_fields}
        if value is not None and not is_null(value):
            if op.main and (isinstance(value, Mapping) or (isinstance(value, Sequence) and _takes_number(op))):
                self.report.add(
                    "bad-value", f"the value of `{op.kind}` is its `{op.main}` alone; options have names and stand beside it",
                    value.span, help=f"write `{_rewritten(op, value)}`",
                )  # fmt: skip
                raise _Invalid
            if op.main:
                fields = {op.main: value, **fields}
            elif isinstance(value, Mapping):
                meant |= self._check_keys(value, options(op), f"`{op.kind}`")
                for twice in value.entries.keys() & entries.keys():
                    self.report.add(
                        "duplicate-key", f"`{twice}` is given twice", value.key(twice).span, help="keep one of them"
                    )
                entries |= {k: v for k, (_, v) in value.entries.items()}
                fields |= {k: v for k, v in entries.items() if k in op.model_fields}
            else:
                self.report.add(
                    "bad-value", f"`{op.kind}` takes no value of its own, got {describe(value)}", value.span,
                    help=f"options go into a mapping: `{op.kind}: {{{next(iter(options(op)), 'option')}: …}}`"
                    if options(op) else "",
                )  # fmt: skip
        default = self.defaults.get(op.kind)
        args = dict(default.args) if default else {}
        args |= {k: self.arg(v, scope) for k, v in fields.items()}
        attached = {"norm": default.norm, "activation": default.activation} if default else {}
        for role in op.attaches:
            if role in entries:
                attached[role] = self._attached(role, entries[role], scope)
        layer = OpLayer(kind=op.kind, key=key.span, node=node, op=op, args=args, **attached)
        layer.ready, layer.broken = self.check_constants(op, args, key.span, meant)
        return layer

    def _attached(self, role: str, node: Node, scope: Scope) -> OpLayer | Arg | None:
        """The norm or the activation of a layer: a name, a mapping with options, an expression, or `none`."""
        if is_null(node) or (isinstance(node, Scalar) and node.value == "none"):
            return None
        if isinstance(node, Scalar) and isinstance(node.value, str) and "$" in node.value:
            return self.arg(node, scope)
        known = [kind for kind, op in OPS.items() if op.role == role]
        if isinstance(node, Scalar) and isinstance(node.value, str):
            kind, key, value, mapping = node.value, node, None, Mapping({}, node.span)
        elif isinstance(node, Mapping) and node.entries:
            kind = next((k for k in node.entries if k in known), next(iter(node.entries)))
            key, value, mapping = node.key(kind), node.get(kind), node
        else:
            self.report.add(
                "bad-value", f"`{role}` is a name or a mapping with one, got {describe(node)}", node.span
            )
            return None
        if kind not in known:
            self.report.add(
                "unknown-name",
                f"`{kind[:60]}` is not {'an activation' if role == 'activation' else 'a norm'}",
                key.span,
                help="`none` leaves it out" if kind in ("linear", "identity") else suggest(kind, [*known, "none"])[1],
            )
            return None
        for written in (mapping, value):
            for carried in OPS[kind].attaches:
                if isinstance(written, Mapping) and carried in written.entries:
                    self.report.add(
                        "unknown-key", f"a `{kind}` that is attached has no `{carried}` of its own",
                        written.key(carried).span, help=f"write `{carried}` beside `{role}`",
                    )  # fmt: skip
        layer = self._op(OPS[kind], key, value, mapping, scope, common=())
        layer.activation = None
        return layer

    def attached_by_name(self, role: str, name: object, arg: Arg) -> OpLayer | None:
        """The norm or activation that an expression named. Raises `ExprError` for a name that is none."""
        if name is None or name == "none":
            return None
        known = [kind for kind, op in OPS.items() if op.role == role]
        if name not in known:
            raise ExprError(
                "unknown-name", f"`{name}` is not {'an activation' if role == 'activation' else 'a norm'}",
                help=suggest(str(name), [*known, "none"])[1],
            )  # fmt: skip
        node = arg.node
        assert isinstance(node, Scalar)
        layer = self._op(OPS[str(name)], node, None, Mapping({}, node.span), frozenset(), common=())
        layer.activation = None
        return layer

    def check_constants(
        self, op: type[Op], args: dict[str, Arg], key: Span, meant: Iterable[str] = ()
    ) -> tuple[Op | None, bool]:
        """Validate the options that depend on no variable.

        Returns the op, if that is all of them, and whether something was wrong.
        """
        values = {k: a.expr.value for k, a in args.items() if isinstance(a.expr, Const) and not a.broken}
        broken = bool(meant) or any(arg.broken for arg in args.values())
        try:
            built = op.model_validate(values)
        except ValidationError as error:
            before = len(self.report.diagnostics)
            self.op_problems(op, error, args, key, skip_missing={*meant, *(args.keys() - values.keys())})
            return None, broken or len(self.report.diagnostics) > before
        if len(values) < len(args):
            return None, broken
        self.doubt(built, args, key)
        return built, broken

    def doubt(self, op: Op, args: dict[str, Arg], key: Span, path: str = "") -> None:
        """Warn of options that are hardly meant."""
        if problem := op.doubt():
            span = args[problem.field].span if problem.field in args else key
            self.report.add(problem.slug, problem.message, span, help=problem.help, path=path)

    def op_problems(
        self,
        op: type[Op],
        error: ValidationError,
        args: dict[str, Arg],
        key: Span,
        skip_missing: Iterable[str] = (),
        path: str = "",
    ) -> None:
        """Report what is wrong with an op's options."""

        def place(loc: tuple[str | int, ...], of_key: bool) -> Span:
            arg = args.get(str(loc[0])) if loc else None
            return key if arg is None else locate(arg.node, loc[1:])

        report_invalid(
            error, self.report, place, what=f"`{op.kind}`", known=lambda _: options(op), skip_missing=skip_missing, path=path
        )  # fmt: skip

    # ---- blocks

    def _block_call(
        self, name: str, key: Scalar, value: Node | None, scope: Scope, node: Mapping
    ) -> BlockLayer:
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
            raise _Invalid
        args = self._arguments(block, value, scope, key.span)
        return BlockLayer(kind=name, key=key.span, node=node, args=args)

    def _arguments(
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
                        "unknown-argument", f"`{block.name}` has no argument `{name[:60]}`", key_node.span,
                        help=did_you_mean(name, names) if names else "it takes none",
                    )  # fmt: skip
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
                raise _Invalid  # probably the same mistake
            if missing:
                listed = ", ".join(f"`{n}`" for n in missing)
                at = value.span if isinstance(value, Sequence) else key
                self.report.add(
                    "missing-argument", f"`{block.name}` needs {listed}", at,
                    help="in order: " + ", ".join(names) if isinstance(value, Sequence) else f"`{block.name}: {{{missing[0]}: …}}`",
                )  # fmt: skip
                raise _Invalid
        args = {name: self.arg(node, scope) for name, node in given.items()}
        if any(arg.broken for arg in args.values()):
            raise _Invalid
        return args

    def signature(self, name: str, key: Scalar, node: Node) -> Block | None:
        """A block's name and arguments, before any body is read, so that blocks may use each other in any order."""
        if not _PARAMETER.match(name) or name in OPS or name in STRUCTURES or name in COMMON:
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
                "bad-value", f"a block is a mapping, got {describe(node)}", node.span,
                help=f"`{name}: {{layers: [...]}}`",
            )  # fmt: skip
            self.unreadable.add(name)
            return None
        block = Block(name, key.span, {}, {}, Body([], node.span, True), self)
        args = node.get("args")
        if args is None and "layers" in node.entries:  # a misspelt one, reported with the rest of the keys
            args = next((v for k, (_, v) in node.entries.items() if k not in BLOCK_KEYS and nearest(k, BLOCK_KEYS) == "args"), None)
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
        for argument, default in entries:
            if not self.check_variable(argument.text, argument.span, self.globals | block.args.keys()):
                block.args.setdefault(argument.text, Arg(Const(0, 0, None), argument, broken=True))
                continue
            required = default is None or (isinstance(default, Scalar) and default.text == "required")
            block.args[argument.text] = None if required or default is None else self.arg(default, self.globals)
        return block

    def check_variable(self, name: str, span: Span, taken: Iterable[str]) -> bool:
        """Whether a variable may be called `name`; reported if not."""
        if not _PARAMETER.match(name):
            self.report.add(
                "bad-name", f"`{name[:60]}` cannot be a variable's name", span,
                help="a letter, then letters, digits and underscores",
            )  # fmt: skip
            return False
        if name in taken or name in ("in_channels",):
            self.report.add(
                "duplicate-variable", f"`${name}` has a meaning here already", span, help="choose another name"
            )
            return False
        return True

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
            self._check_keys(node, BLOCK_KEYS, f"the block `{block.name}`")
            block.body = self.body(layers, scope, named=True, inside="a block", owner=block.key)
        elif rest:
            only = Mapping(rest, node.span)
            block.body = self.body(
                Sequence([only], node.span), scope, named=True, inside="a block", owner=block.key
            )
        else:
            self.report.add(
                "missing-key", f"the block `{block.name}` has no layers", block.key,
                help="give it `layers:`, or one `residual:` or `concat:`",
            )  # fmt: skip

    def let(self, node: Node | None, scope: Scope) -> dict[str, Arg]:
        """Named intermediate values, each seeing the ones before it."""
        values: dict[str, Arg] = {}
        if node is None or is_null(node):
            return values
        if not isinstance(node, Mapping):
            self.report.add("bad-value", f"`let` is a mapping, got {describe(node)}", node.span)
            return values
        for name, (key, value) in node.entries.items():
            if self.check_variable(name, key.span, scope | values.keys()):
                values[name] = self.arg(value, scope | values.keys())
        return values

    # ---- structures

    def _refuse_nesting(self, kind: str, key: Scalar, inside: str, where: Iterable[str]) -> None:
        if inside in where:
            self.report.add(
                "nested-structure",
                f"a `{kind}` inside {inside} must be a block of its own",
                key.span,
                help=f"move it to `blocks:` and use the block's name here",
            )
            raise _Invalid

    def _merge(
        self, op: type[Op], key: Scalar, value: Node | None, node: Mapping, scope: Scope, inside: str
    ) -> Layer:
        """`concat`, `add`, `multiply`: of named branches, or of a list of named layers."""
        layer = self._op(op, key, None, node, scope, common=COMMON)
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
                raise _Invalid
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
            raise _Invalid
        if isinstance(value, Sequence) and node.get("from"):
            self.report.add(
                "bad-value", "`from` has no meaning beside a list of layers", node.key("from").span,
                help="what is merged is the list; name all of it there",
            )  # fmt: skip
        layer.inputs = [Arg(self._source(item, scope), item) for item in sources.items]
        return layer

    def _residual(
        self, key: Scalar, value: Node | None, scope: Scope, inside: str, node: Mapping
    ) -> ResidualLayer:
        self._refuse_nesting("residual", key, inside, ("a branch", "a residual's body"))
        if not isinstance(value, Mapping):
            self.report.add("bad-value", "a residual is a mapping with `body`", value.span if value and value.span.text else key.span)
            raise _Invalid
        self._check_keys(node, COMMON, "`residual`", "residual")
        meant = self._check_keys(value, ("body", "shortcut", "activation"), "`residual`")
        content = value.get("body")
        if content is None:
            if "body" not in meant:
                self.report.add("missing-key", "`residual` needs `body`", key.span)
            raise _Invalid
        body = self.body(content, scope, named=True, inside="a residual's body", owner=key.span)
        if isinstance(content, Sequence) and not content.items:
            self.report.add("bad-value", "a residual's body needs at least one layer", content.span)
        add = self._op(OPS["add"], key, None, Mapping({}, key.span), scope, common=())
        if activation := value.get("activation"):
            add.activation = self._attached("activation", activation, scope)
        layer = ResidualLayer(
            kind="residual", key=key.span, node=node, body=body, add=add, shortcut_span=key.span
        )
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

    def _stage(self, key: Scalar, value: Node | None, node: Mapping, scope: Scope, inside: str) -> StageLayer:
        self._refuse_nesting("stage", key, inside, ("a branch", "a residual's body"))
        self._check_keys(node, ("each", "do", "if", "from"), "`stage`", "stage")
        if value is None or is_null(value):
            self.report.add("missing-key", "a stage needs a name", key.span, help="`stage: layer$i`, or a plain name")
            raise _Invalid
        each_node = node.get("each")
        each: dict[str, Arg] = {}
        broken = False
        if isinstance(each_node, Mapping):
            for name, (variable, values) in each_node.entries.items():
                broken |= not self.check_variable(name, variable.span, scope | each.keys() | {"i"})
                each[name] = self.arg(values, scope)
        elif each_node is not None:
            self.report.add("bad-value", f"`each` maps variables to lists, got {describe(each_node)}", each_node.span)
        inner = scope | each.keys() | {"in_channels"} | ({"i"} if each else set())
        name_arg = self.name_arg(value, inner)
        if node.get("do") is None:
            self.report.add("missing-key", "`stage` needs `do`, a list of layers", key.span)
            raise _Invalid
        layer = StageLayer(
            kind="stage", key=key.span, node=node, name=name_arg, each=each,
            do=self.body(node.get("do"), inner, named=False, inside="a stage", owner=key.span),
        )  # fmt: skip
        if condition := node.get("if"):
            layer.condition = self.arg(condition, scope)
        if source := node.get("from"):
            layer.source = Arg(self._source(source, scope), source)
        if broken:
            raise _Invalid
        return layer

    def _table(self, key: Scalar, value: Node | None, node: Mapping, scope: Scope, inside: str) -> TableLayer:
        self._refuse_nesting("table", key, inside, ("a branch", "a residual's body"))
        self._check_keys(node, ("rows", "prefix", "if"), "`table`", "table")
        if not isinstance(value, Scalar) or value.text not in self.blocks:
            if isinstance(value, Scalar) and (value.text in self.unreadable or self.incomplete):
                raise _Invalid
            self.report.add(
                "unknown-op",
                f"there is no block `{value.text[:60]}`"
                if isinstance(value, Scalar) and value.text
                else f"a table names the block that its rows use, got {describe(value)}",
                value.span if value and value.span.text else key.span,
                help=did_you_mean(value.text, self.blocks) if isinstance(value, Scalar) else "",
            )  # fmt: skip
            raise _Invalid
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
                "missing-key" if rows is None else "bad-value", "`table` needs `rows`, a mapping from names to arguments",
                rows.span if rows else key.span,
            )  # fmt: skip
            raise _Invalid
        layer = TableLayer(
            kind="table", key=key.span, node=node, block=block.name, prefix=prefix, rows=[]
        )
        for row, (row_key, row_value) in rows.entries.items():
            if not self.check_name(prefix + row, row_key.span):
                continue
            try:
                args = self._arguments(block, row_value, scope, row_key.span)
            except _Invalid:
                continue
            name = Arg(Const(0, 0, prefix + row), row_key)
            layer.rows.append(
                BlockLayer(kind=block.name, key=row_key.span, node=row_value, name=name, args=args)
            )
        if condition := node.get("if"):
            layer.condition = self.arg(condition, scope)
        return layer

    # ---- top level

    def read_defaults(self, node: Node | None) -> None:
        """`defaults:`, options for every layer of a kind."""
        if node is None or is_null(node):
            return
        if not isinstance(node, Mapping):
            self.report.add("bad-value", f"`defaults` is a mapping from ops to options, got {describe(node)}", node.span)
            return
        # norms and activations first: what carries them takes their defaults, wherever those are written
        for kind, (key, value) in sorted(node.entries.items(), key=lambda e: not (e[0] in OPS and OPS[e[0]].role)):
            if kind not in OPS:
                self.report.add(
                    "unknown-op", f"`{kind[:60]}` is not an op; only ops have defaults", key.span, help=did_you_mean(kind, OPS)
                )
            elif not isinstance(value, Mapping):
                self.report.add("bad-value", f"the defaults of `{kind}` are a mapping, got {describe(value)}", value.span)
            else:
                self.defaults[kind] = self._default(OPS[kind], key, value)

    def _default(self, op: type[Op], key: Scalar, node: Mapping) -> OpLayer:
        known = [*op.model_fields, *op.attaches]
        self._check_keys(node, known, f"`{op.kind}`")
        args = {
            k: self.arg(v, self.globals) for k, (_, v) in node.entries.items() if k in op.model_fields
        }
        layer = OpLayer(kind=op.kind, key=key.span, node=node, op=op, args=args)
        constants = {k: a.expr.value for k, a in args.items() if isinstance(a.expr, Const)}
        try:
            op.model_validate(constants)
        except ValidationError as error:
            self.op_problems(op, error, args, key.span, skip_missing=op.model_fields)
        for role in op.attaches:
            if value := node.get(role):
                setattr(layer, role, self._attached(role, value, self.globals))
        return layer

    def read_output(self, name: str, key: Scalar, node: Node, scope: Scope) -> OutputDef | None:
        """One entry of `outputs:`."""
        if name == "main":
            self.report.add("bad-name", "`main` is what the network's own output is called", key.span, help="choose another name")
            return None
        if not self.check_name(name, key.span):
            return None
        if not isinstance(node, Mapping):
            self.report.add("bad-value", f"an output is a mapping with `from`, got {describe(node)}", node.span)
            return None
        self._check_keys(node, ("from", "layers", "training_only", "loss_weight"), "an output")
        source = node.get("from")
        if source is None:
            self.report.add("missing-key", f"the output `{name}` needs `from`, the layer that it starts at", key.span)
            return None
        training_only, weight = node.get("training_only"), node.get("loss_weight")
        if training_only is not None and not (
            isinstance(training_only, Scalar) and isinstance(training_only.value, bool)
        ):
            self.report.add("bad-value", f"`training_only`: expected true or false, got {describe(training_only)}", training_only.span)  # fmt: skip
        loss_weight = 1.0
        if weight is not None:
            value = weight.value if isinstance(weight, Scalar) else None
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                self.report.add("bad-value", f"`loss_weight`: expected a number of at least 0, got {describe(weight)}", weight.span)  # fmt: skip
            else:
                loss_weight = float(value)
        try:
            source_arg = Arg(self._source(source, scope), source)
        except _Invalid:
            return None
        layers = node.get("layers")
        body = (
            Body([], key.span, True)
            if layers is None
            else self.body(layers, scope, named=True, inside="an output", owner=key.span)
        )
        only = isinstance(training_only, Scalar) and training_only.value is True
        return OutputDef(name, key.span, source_arg, body, only, loss_weight)


def options(op: type[Op]) -> list[str]:
    """The keys that may stand beside an op's own: its fields but the main one, and what it carries."""
    return [f for f in op.model_fields if f != op.main] + list(op.attaches)


def _takes_number(op: type[Op]) -> bool:
    """Whether an op's value is one number, never a list."""
    return op.model_fields[op.main].annotation in (int, float)


def _rewritten(op: type[Op], value: Node) -> str:
    """An op's layer with the options that stand in its value moved beside it."""
    written = {op.main: "…"}
    if isinstance(value, Mapping):
        names = ((suggest(name, [op.main, *options(op)])[0], node) for name, (_, node) in value.entries.items())
        written |= {name: node.span.text for name, node in names if name and len(node.span.text) < 20}
    elif isinstance(value, Sequence) and value.items:
        needed = [name for name, field in op.model_fields.items() if field.is_required() and name != op.main]
        written |= {name: item.span.text for name, item in zip((op.main, *needed), value.items, strict=False)}
    main = written.pop(op.main)
    return "{" + ", ".join([f"{op.kind}: {main}", *(f"{name}: {text}" for name, text in written.items())]) + "}"


def is_null(node: Node) -> bool:
    """Whether nothing is written there, or `null`."""
    return isinstance(node, Scalar) and node.value is None


def describe(node: Node | None) -> str:
    """What a node is, for a message."""
    if isinstance(node, Mapping):
        return "a mapping" if node.entries else "an empty mapping"
    if isinstance(node, Sequence):
        return "a list" if node.items else "an empty list"
    return shown(node.value) if node else "nothing"


def shown_node(node: Node) -> str:
    """A scalar between backquotes, anything else by its kind."""
    return f"`{node.text[:60]}`" if isinstance(node, Scalar) else describe(node)


def expression_span(error: ExprError, node: Node) -> Span:
    """Where in the text the faulty part of an expression stands."""
    if not isinstance(node, Scalar):
        return node.span
    for offset in (0, 1):  # plain, or behind a quote
        if node.span.text[offset : offset + len(node.text)] == node.text:
            return Span(
                node.span.source,
                node.span.start + offset + min(error.start, max(len(node.text) - 1, 0)),
                node.span.start + offset + min(error.end, len(node.text)),
            )
    return node.span

