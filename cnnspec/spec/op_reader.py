"""Reads layers that are ops: options, what is attached to them, and `defaults:`."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from cnnspec.diagnostics import Report, Span
from cnnspec.expr import Const, ExprError
from cnnspec.ops import OPS, Op
from cnnspec.source import Mapping, Node, Scalar, Sequence, locate
from cnnspec.spec.habits import suggest
from cnnspec.spec.layers import Arg, OpLayer
from cnnspec.spec.problems import report_invalid
from cnnspec.spec.values import Invalid, Scope, ValueReader, describe, is_null


class OpReader(ValueReader):
    """Reads ops; `defaults` holds, by kind, the options of layers that do not say otherwise."""

    def __init__(self, report: Report, globals_: Iterable[str]) -> None:
        super().__init__(report, globals_)
        self.defaults: dict[str, OpLayer] = {}

    def op(
        self, op: type[Op], key: Scalar, value: Node | None, node: Mapping, scope: Scope, common: Iterable[str]
    ) -> OpLayer:
        """An op's layer; `common` are the further keys that may stand beside its options."""
        entries = {k: v for k, (_, v) in node.entries.items() if k != op.kind}
        meant = self.check_keys(node, [*options(op), *common], f"`{op.kind}`", op.kind, op.main)
        fields = {k: v for k, v in entries.items() if k in op.model_fields}
        if value is not None and not is_null(value):
            if op.main and (isinstance(value, Mapping) or (isinstance(value, Sequence) and _takes_number(op))):
                self.report.add(
                    "bad-value",
                    f"the value of `{op.kind}` is its `{op.main}` alone; options have names and stand beside it",
                    value.span,
                    help=f"write `{_rewritten(op, value)}`",
                )
                raise Invalid
            if op.main:
                fields = {op.main: value, **fields}
            elif isinstance(value, Mapping):
                meant |= self.check_keys(value, options(op), f"`{op.kind}`")
                for twice in value.entries.keys() & entries.keys():
                    second = max(value.key(twice).span, node.key(twice).span, key=lambda span: span.start)
                    self.report.add("duplicate-key", f"`{twice}` is given twice", second, help="keep one of them")
                entries |= {k: v for k, (_, v) in value.entries.items()}
                fields |= {k: v for k, v in entries.items() if k in op.model_fields}
            else:
                self.report.add(
                    "bad-value",
                    f"`{op.kind}` takes no value of its own, got {describe(value)}",
                    value.span,
                    help=f"options go into a mapping: `{op.kind}: {{{next(iter(options(op)), 'option')}: …}}`"
                    if options(op)
                    else "",
                )
        default = self.defaults.get(op.kind)
        args = dict(default.args) if default else {}
        args |= {k: self.arg(v, scope) for k, v in fields.items()}
        attached = {"norm": default.norm, "activation": default.activation} if default else {}
        for role in op.attaches:
            if role in entries:
                attached[role] = self.attached(role, entries[role], scope)
        layer = OpLayer(
            kind=op.kind,
            key=key.span,
            node=node,
            op=op,
            args=args,
            norm=attached.get("norm"),
            activation=attached.get("activation"),
        )
        layer.ready, layer.broken = self.check_constants(op, args, key.span, meant)
        return layer

    def attached(self, role: str, node: Node, scope: Scope) -> OpLayer | Arg | None:
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
            self.report.add("bad-value", f"`{role}` is a name or a mapping with one, got {describe(node)}", node.span)
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
                        "unknown-key",
                        f"a `{kind}` that is attached has no `{carried}` of its own",
                        written.key(carried).span,
                        help=f"write `{carried}` beside `{role}`",
                    )
        layer = self.op(OPS[kind], key, value, mapping, scope, common=())
        layer.activation = None
        return layer

    def attached_by_name(self, role: str, name: object, arg: Arg) -> OpLayer | None:
        """The norm or activation that an expression named. Raises `ExprError` for a name that is none."""
        if name is None or name == "none":
            return None
        known = [kind for kind, op in OPS.items() if op.role == role]
        if name not in known:
            raise ExprError(
                "unknown-name",
                f"`{name}` is not {'an activation' if role == 'activation' else 'a norm'}",
                help=suggest(str(name), [*known, "none"])[1],
            )
        node = arg.node
        assert isinstance(node, Scalar)
        layer = self.op(OPS[str(name)], node, None, Mapping({}, node.span), frozenset(), common=())
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
            error,
            self.report,
            place,
            what=f"`{op.kind}`",
            known=lambda _: options(op),
            skip_missing=skip_missing,
            path=path,
            label=lambda loc: self.settings(args.get(str(loc[0])) if loc else None),
        )

    def read_defaults(self, node: Node | None) -> None:
        """`defaults:`, options for every layer of a kind."""
        if node is None or is_null(node):
            return
        if not isinstance(node, Mapping):
            self.report.add(
                "bad-value", f"`defaults` is a mapping from ops to options, got {describe(node)}", node.span
            )
            return
        # norms and activations first: what carries them takes their defaults, wherever those are written
        for kind, (key, value) in sorted(node.entries.items(), key=lambda e: not (e[0] in OPS and OPS[e[0]].role)):
            if kind not in OPS:
                self.report.add(
                    "unknown-op",
                    f"`{kind[:60]}` is not an op; only ops have defaults",
                    key.span,
                    help=suggest(kind, OPS)[1],
                )
            elif not isinstance(value, Mapping):
                self.report.add(
                    "bad-value", f"the defaults of `{kind}` are a mapping, got {describe(value)}", value.span
                )
            else:
                self.defaults[kind] = self._default(OPS[kind], key, value)

    def _default(self, op: type[Op], key: Scalar, node: Mapping) -> OpLayer:
        known = [*op.model_fields, *op.attaches]
        self.check_keys(node, known, f"`{op.kind}`")
        args = {k: self.arg(v, self.globals) for k, (_, v) in node.entries.items() if k in op.model_fields}
        layer = OpLayer(kind=op.kind, key=key.span, node=node, op=op, args=args)
        constants = {k: a.expr.value for k, a in args.items() if isinstance(a.expr, Const) and not a.broken}
        try:
            op.model_validate(constants)
        except ValidationError as error:
            self.op_problems(op, error, args, key.span, skip_missing=op.model_fields)
        for role in op.attaches:
            if value := node.get(role):
                setattr(layer, role, self.attached(role, value, self.globals))
        return layer


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
