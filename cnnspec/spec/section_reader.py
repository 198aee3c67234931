"""Reads the sections of a file that pydantic validates, and what all sections have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection
from collections.abc import Mapping as Dict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cnnspec.diagnostics import Report, Span, did_you_mean
from cnnspec.expr import Exhausted, ExprError, Meter, UnknownValue, Value, evaluate, parse, variables
from cnnspec.source import Mapping, Node, Scalar, Sequence, locate
from cnnspec.spec.naming import MAX_NAME
from cnnspec.spec.values import count_characters, describe, expression_span, is_null
from cnnspec.spec.words import TOP_LEVEL

_M = TypeVar("_M", bound=BaseModel)


class SectionReader:
    """Reads sections of the tree of one spec, merged over what it extends."""

    def __init__(self, root: Mapping, report: Report, files: list[Path]) -> None:
        # null takes a section away, one that is not inherited too
        kept = {k: entry for k, entry in root.entries.items() if k not in TOP_LEVEL or not is_null(entry[1])}
        self.root = Mapping(kept, root.span)
        self.emptied = {k: key.span for k, (key, value) in root.entries.items() if k in TOP_LEVEL and is_null(value)}
        self.known: set[str] = set()  # variables of the whole spec, those without a value too
        self.report = report
        self.files = files
        self.meter = Meter()  # of the whole file, but for its layers

    def top(self) -> Span:
        """Where to say that something is missing: the first key of the file."""
        key = self.root.entries.get("cnnspec") or next(iter(self.root.entries.values()), None)
        return key[0].span if key else self.root.span

    def text(self, key: str) -> str:
        node = self.root.get(key)
        if node is None or is_null(node):
            return ""
        if not isinstance(node, Scalar) or (key == "name" and not node.text.strip()):
            self.report.add("bad-value", f"`{key}`: expected text, got {describe(node)}", node.span)
            return ""
        if not all(c.isprintable() or c in "\n\t" for c in node.text):
            self.report.add("bad-value", f"`{key}` has control characters", node.span, help="remove them")
            return ""
        if key == "name" and not all(c.isalnum() or c in "-_." for c in node.text):
            self.report.add(
                "bad-name",
                f"`{node.text[:60]}` cannot be a network's name",
                node.span,
                help="letters, digits, `-`, `_` and `.`: files are called after it",
            )
        elif key == "name" and len(node.text.encode()) > MAX_NAME:
            message = f"a network's name takes {MAX_NAME} bytes at most, this is {len(node.text.encode())} long"
            self.report.add("bad-name", message, node.span, help="a shorter one: files are called after it")
        return " ".join(node.text.split())  # on one line, as it is shown

    def mapping(self, key: str) -> Collection[tuple[str, tuple[Scalar, Node]]]:
        node = self.root.get(key)
        if node is None or is_null(node):
            return ()
        if not isinstance(node, Mapping):
            self.report.add("bad-value", f"`{key}` is a mapping, got {describe(node)}", node.span)
            return ()
        return node.entries.items()

    def section(
        self,
        name: str,
        model: type[_M],
        values: Dict[str, Value],
        keep: Callable[[tuple[str | int, ...]], bool] = lambda path: False,
        hints: Dict[str, str] = {},
    ) -> _M | None:
        """A section of the file validated by `model`, with expressions replaced by their values."""
        node = self.root.get(name)
        if node is None or is_null(node):
            return None
        return self.validate(node, self.root.key(name).span, name, model, values, keep, hints)

    def validate(
        self,
        node: Node,
        key: Span,
        name: str,
        model: type[_M],
        values: Dict[str, Value],
        keep: Callable[[tuple[str | int, ...]], bool] = lambda path: False,
        hints: Dict[str, str] = {},
    ) -> _M | None:
        """`node` as `model`; mistakes are reported, where they stand, with `hints` about names from elsewhere."""
        from cnnspec.spec.problems import report_invalid

        before = len(self.report.diagnostics)
        try:
            data = self._resolved(node, values, keep, ())
        except UnknownValue:
            return None
        if len(self.report.diagnostics) > before:
            return None
        try:
            return model.model_validate(data)
        except ValidationError as error:

            def place(loc: tuple[str | int, ...], of_key: bool) -> Span:
                if not loc and of_key:
                    return key
                return locate(node, loc, key=of_key)

            report_invalid(
                error, self.report, place, what=f"`{name}`", known=lambda loc: _known_keys(model, loc), hints=hints
            )
            return None

    def _resolved(
        self,
        node: Node,
        values: Dict[str, Value],
        keep: Callable[[tuple[str | int, ...]], bool],
        path: tuple[str | int, ...],
    ) -> Any:
        """Plain data, expressions evaluated; where `keep` says so, the tree itself."""
        if keep(path):
            return None if is_null(node) else node
        if isinstance(node, Sequence):
            return [self._resolved(item, values, keep, (*path, i)) for i, item in enumerate(node.items)]
        if isinstance(node, Mapping):
            return {k: self._resolved(v, values, keep, (*path, k)) for k, (_, v) in node.entries.items()}
        if not isinstance(node.value, str) or "$" not in node.value:
            return node.value
        count_characters(node, self.report)
        try:
            expr = parse(node.value)
            for ref in variables(expr):
                if ref.name not in self.known:
                    raise ExprError(
                        "unknown-variable",
                        f"`${ref.name}` is not known here",
                        ref.start,
                        ref.end,
                        did_you_mean(ref.name, self.known),
                    )
            return _thawed(evaluate(expr, values, self.meter))
        except UnknownValue:
            raise
        except ExprError as error:
            self.report.add(error.slug, error.message, expression_span(error, node), help=error.help)
            if isinstance(error, Exhausted):
                self.report.raise_errors()
            return None


def _known_keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The names that the section's model allows at a location: what an unknown one may have been meant to be."""
    found: set[str] = set()

    def visit(schema: Any, rest: tuple[str | int, ...], definitions: Any) -> None:
        if "$ref" in schema:
            visit(definitions[schema["$ref"].rpartition("/")[2]], rest, definitions)
        for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            visit(option, rest, definitions)
        if not rest:
            found.update(schema.get("properties", ()))
            return
        step, *after = rest
        if isinstance(step, str) and step in schema.get("properties", ()):
            visit(schema["properties"][step], tuple(after), definitions)
        elif isinstance(step, str) and isinstance(schema.get("additionalProperties"), dict):
            visit(schema["additionalProperties"], tuple(after), definitions)
        elif isinstance(step, int) and "items" in schema:
            visit(schema["items"], tuple(after), definitions)

    schema = model.model_json_schema(by_alias=True)
    visit(schema, loc, schema.get("$defs", {}))
    return sorted(found)


def _thawed(value: Value) -> Any:
    return [_thawed(item) for item in value] if isinstance(value, tuple) else value
