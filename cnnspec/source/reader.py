"""Reads YAML with YAML 1.2's meaning, within limits on size and nesting.

libyaml's composer is recursive and crashes on deep nesting, and PyYAML resolves scalars as YAML 1.1 (`no` is false,
`1e-5` a string), so both are left out: only the event stream is used, and the limits apply while it is read.
Nothing is constructed but plain data.
"""

import re
import stat
from pathlib import Path
from typing import Any, NoReturn

import yaml

from cnnspec.diagnostics import Report, Source, Span
from cnnspec.source.syntax import Problem, cut_expression, explain, missing_space
from cnnspec.source.tree import Mapping, Node, Scalar, Sequence

MAX_BYTES = 4_000_000
MAX_NODES = 250_000
MAX_DEPTH = 64
MAX_DIGITS = 400

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SPECIAL = {
    sign + text: value
    for value, texts in ((float("inf"), (".inf", ".Inf", ".INF")), (float("nan"), (".nan", ".NaN", ".NAN")))
    for text in texts
    for sign in ("", "+")
} | {text: float("-inf") for text in ("-.inf", "-.Inf", "-.INF")}

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Stop(Exception):
    """Reading cannot go on; the reason is in the report."""


def read_file(path: Path, name: str, report: Report) -> Node | None:
    """Read the YAML file at `path`, called `name` in messages.

    Returns None, with the reason in `report`, where the file cannot be read or is not YAML.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end, nor even open
            report.add("unreadable-file", f"`{name}` is not a regular file", Span(Source(name, ""), 0, 0))
            return None
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        report.add("unreadable-file", f"cannot read `{name}`: {reason}", Span(Source(name, ""), 0, 0))
        return None
    if len(data) > MAX_BYTES:
        report.add(
            "too-large",
            f"`{name}` is larger than {MAX_BYTES // 1_000_000} MB",
            Span(Source(name, ""), 0, 0),
            help="a network is described by blocks, stages and repeats, not layer by layer",
        )
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8-sig")
        source = Source(name, data.decode("utf-8-sig", "replace"))
        report.add(
            "not-utf8",
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            Span(source, len(good), len(good) + 1),
            help="save the file as UTF-8",
        )
        return None
    return read_text(text, name, report, path)


def read_text(text: str, name: str, report: Report, path: Path | None = None) -> Node | None:
    """Read YAML from a string, called `name` in messages, or from the file at `path`, whose text it is.

    Returns None where `report` got an error.
    """
    source = Source(name, text, path)
    try:
        return _Reader(source, report).read()
    except _Stop:
        return None


def read_value(text: str, name: str, report: Report) -> Node | None:
    """Read the value of a `--set` option: YAML, of which an empty text is the empty string."""
    source = Source(name, text)
    if text == "":
        return Scalar("", "", Span(source, 0, 0))
    return read_text(text, name, report)


class _Reader:
    """One pass over the events of a document."""

    def __init__(self, source: Source, report: Report) -> None:
        self.source = source
        self.report = report
        self.anchors: dict[str, Node] = {}

    def read(self) -> Node:
        if self.source.text.startswith("%") or "\n%" in self.source.text:
            self._refuse_directives()
        try:
            events = _Loader(self.source.text)
            try:
                return self._document(events)
            finally:
                events.dispose()
        except yaml.MarkedYAMLError as error:
            self._syntax(explain(error, self.source.text))
        except yaml.reader.ReaderError as error:
            self._bad_character(error)
        raise _Stop

    def _document(self, events: Any) -> Node:
        events.get_event()  # stream start
        event = events.get_event()
        if isinstance(event, yaml.StreamEndEvent):
            self._stop(
                "empty-file", "the file is empty", Span(self.source, 0, 0), help="a spec starts with `cnnspec: 1`"
            )
        node = self._node(events, events.get_event(), 1)
        events.get_event()  # document end
        event = events.get_event()
        if not isinstance(event, yaml.StreamEndEvent):
            span = Span(self.source, event.start_mark.index, event.start_mark.index + 3)
            self._stop("several-documents", "a second YAML document starts here; a file holds one spec", span)
        return node

    def _node(self, events: Any, event: Any, depth: int) -> Node:
        self.report.nodes += 1
        start = event.start_mark.index
        if self.report.nodes > MAX_NODES:
            self._stop(
                "too-large",
                f"more than {MAX_NODES:,} YAML nodes, all files together",
                Span(self.source, start, start + 1),
            )
        if depth > MAX_DEPTH:
            self._stop("too-deep", f"nested deeper than {MAX_DEPTH} levels", Span(self.source, start, start + 1))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.tag is not None and event.tag != "!":
            end = start
            while end < len(self.source.text) and not self.source.text[end].isspace():
                end += 1
            self._stop(
                "yaml-tag",
                "YAML tags have no meaning in a spec",
                Span(self.source, start, end),
                help="remove it; a value's type follows from its text, and quotes make a string",
            )
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(events, start, depth, bool(event.flow_style))
        else:
            node = self._mapping(events, start, depth, bool(event.flow_style))
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        span = Span(self.source, event.start_mark.index, event.end_mark.index)
        node = self.anchors.get(event.anchor)
        if node is None:
            self._stop(
                "unknown-alias",
                f"no anchor `&{event.anchor}` is complete before this alias",
                span,
                help="an anchor comes first, and does not contain itself; text that starts with `*` is quoted",
            )
        self.report.nodes += node.size
        if self.report.nodes > MAX_NODES:
            self._stop("too-large", f"aliases expand to more than {MAX_NODES:,} nodes", span)
        if depth + node.depth > MAX_DEPTH:
            self._stop("too-deep", f"aliases nest deeper than {MAX_DEPTH} levels", span)
        return node

    def _scalar(self, event: Any) -> Scalar:
        text: str = event.value
        span = Span(self.source, event.start_mark.index, event.end_mark.index)
        if event.style in ("|", ">"):  # libyaml ends it where the next token starts
            span = Span(self.source, span.start, span.start + len(span.text.rstrip()))
        if event.style or event.tag == "!":
            return Scalar(text, text, span, quoted=True)
        return self._plain(text, span)

    def _plain(self, text: str, span: Span) -> Scalar:
        """A scalar without quotes, as YAML 1.2's core schema reads it."""
        if text in _NULL:
            return Scalar(None, text, span)
        if text in _BOOL:
            return Scalar(_BOOL[text], text, span)
        if text[0] in "0123456789+-.":
            return self._number(text, span)
        return Scalar(text, text, span)

    def _number(self, text: str, span: Span) -> Scalar:
        if _INT.match(text):
            if len(text) > MAX_DIGITS:
                self._stop("yaml-number", f"a number of {len(text):,} digits", span)
            # base 10 even with leading zeros, as YAML 1.2 has it
            return Scalar(int(text, 0) if text[:2] in ("0o", "0x") else int(text), text, span)
        if _FLOAT.match(text):
            return Scalar(float(text), text, span)
        return Scalar(_SPECIAL.get(text, text), text, span)

    def _sequence(self, events: Any, start: int, depth: int, flow: bool) -> Sequence:
        items: list[Node] = []
        event = events.get_event()
        while not isinstance(event, yaml.SequenceEndEvent):
            items.append(self._node(events, event, depth + 1))
            self._place_nothing(items[-1], max(items[-1].span.start - 1, 0), items[-1].span.start)
            if flow:
                self._refuse_cut(items[-1])
            event = events.get_event()
        return Sequence(items, self._extent(start, event, items[-1] if items else None))

    def _mapping(self, events: Any, start: int, depth: int, flow: bool) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}
        last: Node | None = None
        event = events.get_event()
        while not isinstance(event, yaml.MappingEndEvent):
            key = self._node(events, event, depth + 1)
            value = self._node(events, events.get_event(), depth + 1)
            self._place_nothing(value, key.span.start, key.span.end)
            last = value if value.span.end > key.span.end else key
            if not isinstance(key, Scalar):
                self._stop(
                    "yaml-key",
                    "a key must be a plain word, not a list or a mapping",
                    key.span,
                    help="a variable is written `$name`, without braces" if isinstance(key, Mapping) else "",
                )
            if flow:
                self._refuse_cut(value)
                key, value = self._split(key, value)
            if key.text == "<<" and not key.quoted:
                self._stop(
                    "yaml-merge",
                    "`<<` is YAML 1.1's merge key, which YAML 1.2 does not have",
                    key.span,
                    help="use `defaults:`, a block with arguments, or `extends:`",
                )
            if key.text in entries:
                first = entries[key.text][0].span
                self.report.add(
                    "duplicate-key",
                    f"`{key.text}` is given twice in one mapping",
                    key.span,
                    help=f"the first one is on line {first.line}; keep one of them",
                )
            else:
                entries[key.text] = (key, value)
            event = events.get_event()
        return Mapping(entries, self._extent(start, event, last))

    def _place_nothing(self, node: Node, start: int, end: int) -> None:
        """Let a value that is not there be seen at what asks for it: its key, or the dash before it."""
        if node.span.start == node.span.end and self.source.text[start:end].strip():
            node.span = Span(self.source, start, end)

    def _refuse_cut(self, node: Node) -> None:
        """Stop where a comma inside an unquoted expression has cut it in two, which nothing behind would explain."""
        if not isinstance(node, Scalar) or node.quoted or "(" not in node.text:
            return
        if problem := cut_expression(self.source.text, node.span.start, node.span.end):
            self._syntax(problem)
            raise _Stop

    def _split(self, key: Scalar, value: Node) -> tuple[Scalar, Node]:
        """Key and value as they were meant where `{key:value}` lacks its space; reported."""
        if key.quoted or ":" not in key.text or not isinstance(value, Scalar) or value.text or value.quoted:
            return key, value
        start, end = key.span.start, key.span.end
        problem = missing_space(self.source.text, start, end)
        if problem is None:
            return key, value
        self._syntax(problem)
        name, _, text = key.text.partition(":")
        colon = start + len(name)
        meant = self._plain(text, Span(self.source, colon + 1, end))
        return Scalar(name, name, Span(self.source, start, colon)), meant

    def _extent(self, start: int, end: Any, last: Node | None) -> Span:
        """From `start` to the closing bracket, or, in block style, to the end of the last entry.

        libyaml ends a block collection where the next token starts, which is lines too late.
        """
        if end.start_mark.index < end.end_mark.index or last is None or last.span.end < start:
            return Span(self.source, start, end.end_mark.index)
        return Span(self.source, start, last.span.end)

    def _refuse_directives(self) -> None:
        for match in re.finditer(r"^%\w+[^\n]*", self.source.text, re.MULTILINE):
            if match.group().startswith(("%YAML", "%TAG")):
                span = Span(self.source, match.start(), match.end())
                self._stop("yaml-directive", "YAML directives have no meaning in a spec", span, help="remove this line")

    def _syntax(self, problem: Problem) -> None:
        message, start, end, help = problem
        self.report.add("yaml-syntax", message, Span(self.source, start, end), help=help)

    def _bad_character(self, error: yaml.reader.ReaderError) -> None:
        match = re.search(
            r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]", self.source.text
        )
        at = match.start() if match else 0
        code = ord(self.source.text[at]) if self.source.text else 0
        self.report.add(
            "yaml-character",
            f"the character U+{code:04X} is not allowed in YAML",
            Span(self.source, at, at + 1),
            help="remove it",
        )

    def _stop(self, slug: str, message: str, span: Span, help: str = "") -> NoReturn:
        self.report.add(slug, message, span, help=help)
        raise _Stop
