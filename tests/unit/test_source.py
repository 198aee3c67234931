"""Reading: YAML 1.2's meaning, the span of every node, what is refused."""

import math

import pytest
import yaml

from cnnspec.diagnostics import Report, Source, Span
from cnnspec.source import Mapping, Node, Scalar, Sequence, locate, plain, read_text, read_value
from cnnspec.source.reader import MAX_DEPTH, MAX_NODES
from cnnspec.source.syntax import explain


def read(text: str) -> Node:
    report = Report()
    node = read_text(text, "spec.yaml", report)
    assert node is not None
    assert report.diagnostics == []
    return node


def problems(text: str) -> list[tuple[str, str]]:
    """Slug and covered text of what is wrong."""
    report = Report()
    read_text(text, "spec.yaml", report)
    return [(d.slug, d.span.text) for d in report.sorted()]


def scalar(text: str) -> object:
    node = read(f"x: {text}")
    assert isinstance(node, Mapping)
    value = node.get("x")
    assert isinstance(value, Scalar)
    return value.value


# ---- values, as YAML 1.2's core schema has them (chapter 10.3 of the specification)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nUll", "nUll"), ("none", "none"),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("tRue", "tRue"),
        # booleans in YAML 1.1, text since
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("N", "N"),
        ("0", 0), ("42", 42), ("-42", -42), ("+42", 42), ("007", 7), ("010", 10), ("0o17", 15), ("0x1F", 31),
        ("1_000", "1_000"), ("0b11", "0b11"), ("-0o17", "-0o17"), ("0o18", "0o18"), ("1:30", "1:30"), ("190:20:30", "190:20:30"),
        ("1e-5", 1e-5), ("1E3", 1000.0), ("1.", 1.0), (".5", 0.5), ("-.5", -0.5), ("+1.5e+3", 1500.0), ("1.e1", 10.0),
        ("1.2.3", "1.2.3"), ("e5", "e5"), ("1e", "1e"), (".", "."), ("+", "+"), ("--1", "--1"),
        (".inf", math.inf), ("-.INF", -math.inf), ("+.Inf", math.inf), ("inf", "inf"), ("1e999", math.inf),
        ("2001-12-14", "2001-12-14"), ("=", "="),
        ('"yes"', "yes"), ("'1e-5'", "1e-5"), ('"42"', "42"), ('""', ""), ("! 42", "42"),
        ('"a\\tb\\u00e9"', "a\tbé"), ("'it''s'", "it's"), ("it's", "it's"), ("a #b", "a"), ("a#b", "a#b"),
        ("$filters * 4", "$filters * 4"), ("1/255", "1/255"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    got = scalar(text)
    assert got == value
    assert type(got) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(scalar(".nan"))  # type: ignore[arg-type]
    assert scalar("nan") == "nan"


def test_text_over_lines() -> None:
    assert plain(read("a: |\n  one\n  two\nb: >\n  three\n  four\nc: five\n  six\n")) == {
        "a": "one\ntwo\n",
        "b": "three four\n",
        "c": "five six",
    }


def test_order_is_kept_and_keys_are_text() -> None:
    node = read("b: 1\na: 2\n3: 4\ntrue: 5\nnull: 6\n1.0: 7\n")
    assert isinstance(node, Mapping)
    assert list(node.entries) == ["b", "a", "3", "true", "null", "1.0"]


# ---- spans


BLOCK = """\
name: net   # a comment
layers:
  - {conv: 8, kernel: [3, 3]}
  - dense: 'ten'

labels:
  - a
  - "b c"
"""


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        (["name"], "net"),
        (["layers", 0], "{conv: 8, kernel: [3, 3]}"),
        (["layers", 0, "kernel"], "[3, 3]"),
        (["layers", 0, "kernel", 1], "3"),
        (["layers", 1], "dense: 'ten'"),
        (["layers", 1, "dense"], "'ten'"),
        (["layers"], "- {conv: 8, kernel: [3, 3]}\n  - dense: 'ten'"),
        (["labels"], '- a\n  - "b c"'),
        (["labels", 1], '"b c"'),
        ([], BLOCK.rstrip()),
        (["layers", 0, "nothing", 5], "{conv: 8, kernel: [3, 3]}"),
    ],
)
def test_spans(path: list[str | int], covered: str) -> None:
    assert locate(read(BLOCK), path).text == covered


def test_spans_of_text_over_lines_end_with_it() -> None:
    node = read("a: |\n  one\n  two\n\n\nb: five\n  six\n\n# end\n")
    assert locate(node, ["a"]).text == "|\n  one\n  two"
    assert locate(node, ["b"]).text == "five\n  six"


def test_spans_of_keys() -> None:
    node = read(BLOCK)
    assert locate(node, ["layers", 0, "kernel"], key=True).text == "kernel"
    assert locate(node, ["layers", 1], key=True).text == "dense: 'ten'"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_spans_with_every_line_ending(ending: str) -> None:
    node = read(BLOCK.replace("\n", ending))
    for path in (["name"], ["layers", 0, "kernel"], ["labels", 1]):
        found, reference = locate(node, path), locate(read(BLOCK), path)
        assert (found.text, found.line, found.column, found.last) == (
            reference.text, reference.line, reference.column, reference.last,
        )  # fmt: skip


def test_columns_count_characters() -> None:
    span = locate(read("ключ: {é: 🦊, b: x}\n"), ["ключ", "b"])
    assert (span.text, span.line, span.column) == ("x", 1, 17)


def test_what_is_not_there_is_seen_at_what_asks_for_it() -> None:
    node = read("a:\nb: {c: , d: ''}\ne:\n  -\n  - x\n")
    assert locate(node, ["a"]).text == "a"
    assert locate(node, ["b", "c"]).text == "c"
    assert locate(node, ["b", "d"]).text == "''"
    assert locate(node, ["e", 0]).text == "-"


def test_aliases_are_where_they_are_defined() -> None:
    node = read("a: &x [1, 2]\nb: *x\n")
    assert plain(node) == {"a": [1, 2], "b": [1, 2]}
    assert locate(node, ["b", 1]).line == 1


def test_positions_in_a_source() -> None:
    source = Source("s", "ab\ncd\r\ne\r\r\nf")
    at = {source.text[i]: source.position(i) for i in range(len(source.text)) if source.text[i].isalpha()}
    assert at == {"a": (1, 1), "b": (1, 2), "c": (2, 1), "d": (2, 2), "e": (3, 1), "f": (5, 1)}
    assert [source.line(n) for n in range(1, 6)] == ["ab", "cd", "e", "", "f"]
    assert source.position(len(source.text)) == (5, 2)
    assert Source("s", "").position(0) == (1, 1)


def test_part_of_a_span_stays_inside() -> None:
    span = Span(Source("s", "abcdef"), 1, 4)
    assert span.part(1, 2).text == "c"
    assert span.part(1, 99).text == "cd"


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\nb: 2\na: 3\n", [("duplicate-key", "a")]),
        ("{a: 1, a: 2, a: 3}", [("duplicate-key", "a"), ("duplicate-key", "a")]),
        ('{a: 1, "a": 2}', [("duplicate-key", '"a"')]),
        ("{1: a, 01: b, 1.0: c}", []),  # keys are text, and these three differ
        ("{<<: {a: 1}}", [("yaml-merge", "<<")]),
        ('{"<<": {a: 1}}', []),
        ("? [a, b]\n: c\n", [("yaml-key", "[a, b]")]),
        ("a: !!int 3\n", [("yaml-tag", "!!int")]),
        ("a: !<tag:yaml.org,2002:int> 3\n", [("yaml-tag", "!<tag:yaml.org,2002:int>")]),
        ("a: *x\n", [("unknown-alias", "*x")]),
        ("a: &x {b: *x}\n", [("unknown-alias", "*x")]),
        ("a: &x 1\nb: &x 2\nc: *x\n", []),
        ("a: 1\n---\nb: 2\n", [("several-documents", "---")]),
        ("---\na: 1\n", []),
        ("---\na: 1\n...\n", []),
        ("%YAML 1.2\n---\na: 1\n", [("yaml-directive", "%YAML 1.2")]),
        ("", [("empty-file", "")]),
        (" \n# nothing\n", [("empty-file", "")]),
        ("a: \x00\n", [("yaml-character", "\x00")]),
        ("a: \ufffe\n", [("yaml-character", "\ufffe")]),
        (f"a: {'9' * 401}\n", [("yaml-number", "9" * 401)]),
        (f"a: {'9' * 400}\n", []),
        ("{a:1, b:2}", [("yaml-syntax", "a:1"), ("yaml-syntax", "b:2")]),
        ('{"a:1", b}', []),
        ("{max(a, b): c}", []),
        ("[max(a, b), c]", [("yaml-syntax", "max(a, b)")]),
        ("[(a, b]", []),
    ],
)  # fmt: skip
def test_refused(text: str, found: list[tuple[str, str]]) -> None:
    assert problems(text) == found


def test_a_missing_space_is_mended() -> None:
    """So that what lies behind is checked all the same."""
    report = Report()
    node = read_text("{kernel:3, act:relu, flag:true}", "spec.yaml", report)
    assert node is not None
    assert plain(node) == {"kernel": 3, "act": "relu", "flag": True}
    assert locate(node, ["act"]).text == "relu"
    assert locate(node, ["act"], key=True).text == "act"
    assert len(report.diagnostics) == 3


def test_limits_are_where_they_are_said_to_be() -> None:
    assert problems("[" * MAX_DEPTH + "]" * MAX_DEPTH) == []
    assert problems("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) == [("too-deep", "[")]
    items = ",".join("a" * (MAX_NODES // 2))
    assert problems(f"[{items}]") == []
    assert problems(f"[&x [{items}], *x]") == [("too-large", "*x")]


def test_values_of_options() -> None:
    report = Report()
    assert plain(read_value("[1, 2]", "--set x", report)) == [1, 2]  # type: ignore[arg-type]
    assert plain(read_value("", "--set x", report)) == ""  # type: ignore[arg-type]
    assert not report.diagnostics
    assert read_value("[1", "--set x", report) is None
    assert report.diagnostics[0].span.source.name == "--set x"


def test_tree_knows_its_size() -> None:
    node = read("{a: [1, 2], b: {c: 3}}")
    assert isinstance(node, Mapping)
    assert (node.size, node.depth) == (9, 3)  # itself; a with 3; b with the 3 of c
    inner = node.get("a")
    assert isinstance(inner, Sequence)
    assert (inner.size, inner.depth) == (3, 2)


# ---- syntax errors in words


@pytest.mark.parametrize(
    ("text", "message", "covered"),
    [
        ("a: [1, 2}\n", "`[` cannot be closed by `}`", "}"),
        ("a: [1, 2\nb: 3\n", "this `[` is never closed", "[1, 2"),
        ("a: [1, 2\n", "this `[` is never closed", "[1, 2"),
        ("a: [1,\n", "this `[` is never closed", "[1,"),
        ("a: {b: [1], c: \n", "this `{` is never closed", "{b: [1], c:"),
        ("a: [1, , 2]\n", "nothing stands before this comma", ","),
        ("a: {b: }}\n", "this `}` closes nothing", "}"),
        ("a: ]\n", "this `]` closes nothing", "]"),
        ("a: - b\n", "a list cannot start behind its key on one line", "- b"),
        ("- conv: 8\n  - relu\n", "this line fits no indentation above it", "-"),
        ("l:\n  - conv: 8\n  kernel: 3\n", "this line fits no indentation above it", "kernel:"),
        ("a: 'x' y\n", "the value before this is complete", "y"),
        ("a: 'x\n", "this quote is never closed", "'x"),
        ('a: "\\q"\n', "a backslash in double quotes starts an escape, and this is none", "\\q"),
        ('a: "\\x4"\n', "a backslash in double quotes starts an escape, and this is none", "\\x4"),
        ("a: *\n", "`*` at the head of a value starts an alias, and needs a name", "*"),
        ("a: & b\n", "`&` at the head of a value starts an anchor, and needs a name", "&"),
        ("a: @b\n", "a value cannot start with `@`", "@"),
        ("a: b: c\n", "a second `:` on this line", ":"),
        ("a:\n  b: 1\n   c: 2\n", "`c` is indented below something that is no mapping", "c"),
        ("a\nb: c\n", "a key needs a `:`", "a"),
        ("a: 1\nb\nc: 2\n", "a key needs a `:`", "b"),
        ("a: 1\nb:2\nc: 3\n", "a colon needs a space behind it", "b:2"),
        ("a: {b:[1]}\n", "a colon needs a space behind it", "b:"),
        ("a: {b: 1 c: 2}\n", "no comma before `c`", "c"),
        ("a: [$b[0], 1]\n", "`[` cannot stand inside a value here", "$b[0]"),
        ("a: {b: 'x'y}\n", "expected `,` or the closing bracket here", "y"),
        ("a:\n\tb: 1\n", "a tab cannot indent", "\t"),
        ("a: 1\n%b: 2\n", "a value cannot start with `%`", "%b:"),
        ("a: !x!y b\n", "a value cannot start with `!`", "!x!y"),
        ("a: |x\n  b\n", "expected comment or line break", "x"),
    ],
)  # fmt: skip
def test_syntax_errors(text: str, message: str, covered: str) -> None:
    report = Report()
    assert read_text(text, "spec.yaml", report) is None
    (d,) = report.diagnostics
    assert (d.slug, d.message, d.span.text) == ("yaml-syntax", message, covered)


def test_an_unknown_syntax_error_keeps_its_words() -> None:
    mark = yaml.Mark("", 1, 0, 1, None, 0)
    problem = explain(yaml.MarkedYAMLError(None, None, "did not find expected wisdom", mark), "abc")
    assert problem == ("expected wisdom", 1, 2, "")
