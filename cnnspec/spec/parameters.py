"""Reads `params:`, with what `--set` changes."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from contextlib import suppress
from typing import Any

from cnnspec.diagnostics import Source, Span, did_you_mean
from cnnspec.expr import Value, show
from cnnspec.source import Mapping, Node, Scalar, Sequence, read_value
from cnnspec.spec.parser import Parser
from cnnspec.spec.section_reader import SectionReader
from cnnspec.spec.values import MAX_VARIABLES

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "a list"}


class Wrong(Exception):
    """This value cannot be used; the reason is in the report."""


class ParameterReader(SectionReader):
    """Reads parameters."""

    def params(self, overrides: Dict[str, Any]) -> dict[str, Value]:
        parser = Parser(self.report, (), {})
        values: dict[str, Value] = {}
        required: dict[str, Scalar] = {}
        entries = self.mapping("params")
        if len(entries) > MAX_VARIABLES:
            self.report.add("too-large", f"more than {MAX_VARIABLES} parameters", self.root.key("params").span)
            self.report.raise_errors()  # nothing that uses them could be judged
        for name, (key, node) in entries:
            if not parser.check_variable(name, key.span, ()):
                continue
            self.known.add(name)
            if isinstance(node, Scalar) and node.text == "required" and not node.quoted:
                required[name] = key
                continue
            with suppress(Wrong):
                values[name] = self.constant(node, f"the parameter `{name}`")
        for name, given in overrides.items():
            if name in ("input.size", "input.channels"):
                continue
            if name not in self.known:
                self.report.add(
                    "unknown-param",
                    f"`{self.text('name')}` has no parameter `{name[:60]}`",
                    Span(Source("--set", f"{name}={given}"), 0, len(name)),
                    help=did_you_mean(name, [*self.known, "input.size", "input.channels"]),
                )
                continue
            required_key = required.pop(name, None)
            try:
                value = self.override(name, given)
            except Wrong:
                continue
            if required_key is None and name in values and not _alike(values[name], value):
                expected = f"{_KINDS[type(values[name])]} like the spec's {show(values[name])}"
                self.report.add(
                    "bad-value",
                    f"`{name}`: expected {expected}, got {show(value)}",
                    set_span(name, given),
                    help="quotes make text of it" if isinstance(values[name], str) else "",
                )
                continue
            values[name] = value
        for name, key in required.items():
            self.report.add(
                "missing-param",
                f"the parameter `{name}` has no default",
                key.span,
                help=f"give it one, or set it: `--set {name}=…`",
            )
        return values

    def override(self, name: str, given: Any) -> Value:
        """The value of one `--set`. Raises `Wrong` where it has none."""
        if not isinstance(given, str):
            return _frozen(given)
        before = len(self.report.diagnostics)
        node = read_value(given, f"--set {name}", self.report)
        if node is None or len(self.report.diagnostics) > before:
            raise Wrong
        return self.constant(node, f"`--set {name}`")

    def constant(self, node: Node, what: str) -> Value:
        """A plain value: nothing that depends on a variable. Raises `Wrong` where it is something else."""
        if isinstance(node, Mapping):
            self.report.add("bad-value", f"{what} is a value or a list, got a mapping", node.span)
            raise Wrong
        if isinstance(node, Sequence):
            return tuple(self.constant(item, what) for item in node.items)
        if isinstance(node.value, str) and "$" in node.value:
            self.report.add(
                "bad-value",
                f"{what} cannot depend on other values",
                node.span,
                help="put what follows from parameters into `let:`",
            )
            raise Wrong
        return node.value


def set_span(name: str, given: Any) -> Span:
    """The value of `--set NAME=VALUE`."""
    text = str(given)
    return Span(Source(f"--set {name}", text), 0, len(text))


def _alike(default: Value, value: Value) -> bool:
    """Whether a parameter may be changed from one to the other."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return type(default) is type(value)


def _frozen(value: Any) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a parameter is a number, text, true, false or a list of them, not {type(value).__name__}")
