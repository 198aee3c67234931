"""Reads values: expressions, names, variables; and reports what is wrong with them, where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from cnnspec.diagnostics import Report, Span, did_you_mean
from cnnspec.expr import (
    MAX_LENGTH,
    Const,
    Expr,
    ExprError,
    ListOf,
    UnknownValue,
    Value,
    parse,
    parse_template,
    show,
    variables,
)
from cnnspec.source import Mapping, Node, Scalar, Sequence
from cnnspec.spec.habits import suggest
from cnnspec.spec.layers import Arg
from cnnspec.spec.naming import MAX_NAME, NAME
from cnnspec.spec.problems import shown
from cnnspec.spec.words import RESERVED

VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}\Z")

MAX_VARIABLES = 256  # of one definition: each of its uses has them all

MAX_CHARACTERS = 500_000  # of all expressions together

Scope = frozenset[str]
"""The variables that an expression may mention."""


class Invalid(Exception):
    """This layer cannot be read; the reason is in the report."""


class ValueReader:
    """Reads values; `globals` are the variables that are known everywhere."""

    def __init__(self, report: Report, globals_: Iterable[str]) -> None:
        self.report = report
        self.globals = frozenset(globals_)
        self.given: dict[str, Value] = {}  # parameters that are set to other values than the file gives them

    def arg(self, node: Node, scope: Scope) -> Arg:
        """The expression that a value is. Mistakes are reported, and leave a broken constant in its place."""
        before = len(self.report.diagnostics)
        expr = self.expr(node, scope, parse)
        return Arg(expr, node, len(self.report.diagnostics) > before)

    def name_arg(self, node: Node, scope: Scope) -> Arg:
        """A name, with variables inside it."""
        if not isinstance(node, Scalar) or node.text == "":
            self.report.add("bad-value", f"expected a name, got {describe(node)}", node.span)
            raise Invalid
        expr = self.expr(Scalar(node.text, node.text, node.span, node.quoted), scope, parse_template)
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
                + (f", {MAX_NAME} characters at most" if len(name) > MAX_NAME else "")
                + ("; dots separate the parts of a path" if "." in name else ""),
            )
            return False
        if name in RESERVED:
            self.report.add(
                "bad-name", f"`{name}` is taken: it means {RESERVED[name]}", span, help="choose another name"
            )
            return False
        return True

    def check_variable(self, name: str, span: Span, taken: Iterable[str]) -> bool:
        """Whether a variable may be called `name`; reported if not."""
        if not VARIABLE.match(name):
            self.report.add(
                "bad-name",
                f"`{name[:60]}` cannot be a variable's name",
                span,
                help="a letter, then letters, digits and underscores",
            )
            return False
        if name in taken or name in ("in_channels",):
            self.report.add(
                "duplicate-variable", f"`${name}` has a meaning here already", span, help="choose another name"
            )
            return False
        return True

    def expr(self, node: Node, scope: Scope, read: Callable[[str], Expr] = parse) -> Expr:
        if isinstance(node, Mapping):
            self.report.add("bad-value", "expected a value or a list, got a mapping", node.span)
            return Const(0, 0, None)
        if isinstance(node, Sequence):
            items = tuple(self.expr(item, scope) for item in node.items)
            if all(isinstance(item, Const) for item in items):
                return Const(0, 0, tuple(item.value for item in items if isinstance(item, Const)))
            return ListOf(0, 0, items)
        if not isinstance(node.value, str) or "$" not in node.value:
            return Const(0, 0, node.value)
        count_characters(node, self.report)
        try:
            expr: Expr = read(node.value)
            for ref in variables(expr):
                if ref.name not in scope:
                    raise ExprError(
                        "unknown-variable",
                        f"`${ref.name}` is not known here",
                        ref.start,
                        ref.end,
                        did_you_mean(ref.name, scope),
                    )
        except ExprError as error:
            self.expression_error(error, node)
            return Const(0, 0, None)
        return expr

    def expression_error(self, error: ExprError, node: Node, path: str = "") -> None:
        """Report what is wrong with the expression in `node`, at its place in the text."""
        if isinstance(error, UnknownValue):
            return
        self.report.add(error.slug, error.message, expression_span(error, node), help=error.help, path=path)

    def settings(self, arg: Arg | None) -> str:
        """Which parameters of a value were set: its text alone would not explain a mistake."""
        names = {ref.name for ref in variables(arg.expr)} & self.given.keys() if arg else set()
        return ", ".join(f"`{name}` is set to {show(self.given[name])}" for name in sorted(names))

    def let(self, node: Node | None, scope: Scope) -> dict[str, Arg]:
        """Named intermediate values, each seeing the ones before it."""
        values: dict[str, Arg] = {}
        if node is None or is_null(node):
            return values
        if not isinstance(node, Mapping):
            self.report.add("bad-value", f"`let` is a mapping, got {describe(node)}", node.span)
            return values
        if len(node.entries) > MAX_VARIABLES:
            self.report.add("too-large", f"more than {MAX_VARIABLES} values in one `let`", node.span)
            return values
        for name, (key, value) in node.entries.items():
            if self.check_variable(name, key.span, scope | values.keys()):
                values[name] = self.arg(value, scope | values.keys())
        return values

    def source(self, node: Node, scope: Scope) -> Expr:
        """The name of an earlier layer, dots allowed."""
        if not isinstance(node, Scalar) or not node.text:
            self.report.add("bad-value", f"expected the name of a layer, got {describe(node)}", node.span)
            raise Invalid
        return self.expr(Scalar(node.text, node.text, node.span, node.quoted), scope, parse_template)

    def check_keys(
        self,
        node: Mapping,
        known: Iterable[str],
        what: str,
        kind: str = "",
        main: str = "",
        inside: Iterable[str] = (),
    ) -> set[str]:
        """Report unknown keys; returns what they were probably meant to be, which is then not missing.

        `kind` is the key that names the layer, and `main` the field that its value fills: neither is an option. Options
        that are `inside` its value do not stand beside it.
        """
        known = list(known)
        meant = set()
        for key in node.entries:
            if key not in known and key != kind:
                name, help = suggest(key, known)
                if main and suggest(key, [main])[0]:
                    name = main
                    help = f"the value of {what} is its `{main}`: `{kind}: …`"
                if key in inside:
                    help = f"it goes into the value: `{kind}: {{{key}: …}}`"
                meant.add(name)
                self.report.add("unknown-key", f"{what} has no option `{key[:60]}`", node.key(key).span, help=help)
        return meant - {""}


def count_characters(node: Scalar, report: Report) -> None:
    """End checking where there are more expressions than can be read in a moment."""
    report.characters += min(len(node.text), MAX_LENGTH)  # a longer one is not read
    if report.characters > MAX_CHARACTERS:
        report.add("too-large", f"more than {MAX_CHARACTERS:,} characters of expressions", node.span)
        report.raise_errors()


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
