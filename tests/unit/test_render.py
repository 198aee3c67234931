"""Diagnostics as text, JSON and annotations: what is underlined stands under what it is about."""

import json
import re

import pytest

from cnnspec.diagnostics import Diagnostic, Label, Source, Span
from cnnspec.diagnostics.catalog import CATALOG
from cnnspec.diagnostics.render import summary_line, to_github, to_json, to_text


def span(source: Source, text: str) -> Span:
    start = source.text.index(text)
    return Span(source, start, start + len(text))


def error(source: Source, text: str, **more: object) -> Diagnostic:
    return Diagnostic("bad-value", "wrong", span(source, text), **more)  # type: ignore[arg-type]


def test_everything_that_a_diagnostic_has() -> None:
    source = Source("net.yaml", "a: 1\nb: two\nc: 3\nd: 4\n")
    d = Diagnostic(
        "bad-value",
        "expected a number",
        span(source, "two"),
        label="this one",
        related=(Label(span(source, "1"), "like this"), Label(span(source, "4"), "or this")),
        help="write 2",
        path="layer1.conv",
    )
    assert to_text([d]) == (
        "error[bad-value]: expected a number\n"
        "  --> net.yaml:2:4   (layer1.conv)\n"
        " 1 | a: 1\n"
        "   |    - like this\n"
        " 2 | b: two\n"
        "   |    ^^^ this one\n"
        "  ...\n"
        " 4 | d: 4\n"
        "   |    - or this\n"
        "help: write 2"
    )


def test_diagnostics_are_apart() -> None:
    source = Source("net.yaml", "a: 1\n")
    one = "error[bad-value]: wrong\n  --> net.yaml:1:1\n 1 | a: 1\n   | ^"
    assert to_text([error(source, "a"), error(source, "a")]) == f"{one}\n\n{one}"
    assert to_text([]) == ""


def test_a_warning_says_so() -> None:
    slug = next(slug for slug, entry in CATALOG.items() if entry.severity == "warning")
    source = Source("net.yaml", "a: 1\n")
    assert to_text([Diagnostic(slug, "odd", span(source, "1"))]).startswith(f"warning[{slug}]: odd\n")


def test_marks_on_one_line() -> None:
    source = Source("net.yaml", "add: [left, right]\n")
    d = error(source, "right", related=(Label(span(source, "left"), "64"),))
    assert to_text([d]).splitlines()[2:] == [
        " 1 | add: [left, right]",
        "   |       ---- 64",
        "   |             ^^^^^",
    ]


def test_line_numbers_of_different_width_share_a_gutter() -> None:
    source = Source("net.yaml", "\n" * 8 + "nine\n" + "ten\n")
    d = error(source, "ten", related=(Label(span(source, "nine"), ""),))
    assert to_text([d]).splitlines()[1:] == [
        "   --> net.yaml:10:1",
        "  9 | nine",
        "    | ----",
        " 10 | ten",
        "    | ^^^",
    ]


def test_a_label_in_another_file() -> None:
    here, there = Source("net.yaml", "use: base\n"), Source("base.yaml", "\nconv: 8\n")
    d = error(here, "base", related=(Label(span(there, "conv"), "defined here"),))
    assert to_text([d]).splitlines()[1:] == [
        "  --> net.yaml:1:6",
        " 1 | use: base",
        "   |      ^^^^",
        "  ::: base.yaml:2:1",
        " 2 | conv: 8",
        "   | ---- defined here",
    ]


def test_no_text_no_excerpt() -> None:
    assert to_text([Diagnostic("unknown-spec", "there is no file", Span(Source("x", ""), 0, 0), help="look")]) == (
        "error[unknown-spec]: there is no file\nhelp: look"
    )


@pytest.mark.parametrize(
    ("text", "marked", "shown", "marks"),
    [
        ("a: b", "", "a: b", "^"),  # a place without text
        ("a: b\nc: d", "b\nc: d", "a: b", "   ^"),  # the first of several lines
        ("a:\tb", "b", "a:\tb", "  \t^"),  # a tab stays one, so that it is as wide as the one above
        ("a: 図形 x", "x", "a: 図形 x", "        ^"),  # two columns each
        ("a: 図形 x", "図形", "a: 図形 x", "   ^^^^"),
        ("a: e\u0301e x", "x", "a: e\u0301e x", "      ^"),  # an accent takes no column
        ("a: \x07b", "b", "a: \ufffdb", "    ^"),  # shown as one replacement character
        ("a: \x1b[31mred", "red", "a: \ufffd[31mred", "        ^^^"),
    ],
)
def test_marks_stand_under_their_text(text: str, marked: str, shown: str, marks: str) -> None:
    start = text.index(marked)
    d = Diagnostic("bad-value", "wrong", Span(Source("net.yaml", text), start, start + len(marked)))
    assert to_text([d]).splitlines()[2:] == [f" 1 | {shown}", f"   | {marks}"]


def test_control_characters_cannot_drive_the_terminal() -> None:
    source = Source("\x1b[2Jnet.yaml", "a: \x1b[2J\u202e\n")
    d = Diagnostic(
        "bad-value", "got `\x1b]0;x\x07\nnext`", span(source, "a"), label="\r", help="\x1b\u2028", path="\x00"
    )
    assert all(c.isprintable() or c == "\n" for c in to_text([d]))
    assert to_text([d]).startswith("error[bad-value]: got `�]0;x� next`\n")


def test_a_long_line_is_cut_around_the_mark() -> None:
    source = Source("net.yaml", "x, " * 1000 + "here, " + "y, " * 1000)
    _, place, line, marks = to_text([error(source, "here")]).splitlines()
    assert place == "  --> net.yaml:1:3001"
    assert len(line) < 170
    assert line.startswith(" 1 | …")
    assert line.endswith("…")
    assert line[marks.index("^") : marks.rindex("^") + 1] == "here"


def test_a_long_mark_ends_with_what_is_shown() -> None:
    source = Source("net.yaml", "labels: [" + "cat, " * 1000 + "]")
    d = Diagnostic("bad-value", "wrong", Span(source, 8, len(source.text)))
    _, _, line, marks = to_text([d]).splitlines()
    assert marks.index("^") == line.index("[")
    assert len(marks) <= len(line)


def test_marks_far_apart_on_one_long_line() -> None:
    source = Source("net.yaml", "first, " + "x, " * 1000 + "second")
    d = error(source, "second", related=(Label(span(source, "first"), ""),))
    _, _, line1, marks1, line2, marks2 = to_text([d]).splitlines()
    assert line1[marks1.index("-") : marks1.rindex("-") + 1] == "first"
    assert line2[marks2.index("^") : marks2.rindex("^") + 1] == "second"


def test_colour_adds_nothing_but_colour() -> None:
    source = Source("net.yaml", "a: 1\nb: 2\n")
    d = error(source, "2", related=(Label(span(source, "1"), "so"),), help="write 3")
    coloured = to_text([d], colour=True)
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == to_text([d])
    assert coloured.startswith("\033[1;31merror[bad-value]\033[0m: wrong")
    assert "\033[1;31m^\033[0m" in coloured
    assert "\033[1;34m-\033[0m so" in coloured
    assert coloured.endswith("\033[1;36mhelp\033[0m: write 3")
    assert coloured.count("\033[0m") * 2 == coloured.count("\033[")
    assert "\033" not in to_text([d])


def test_json_counts_from_one() -> None:
    source = Source("net.yaml", "a:\n  - bé\n  - c\n")
    d = Diagnostic(
        "bad-value",
        "wrong",
        Span(source, 7, 13),
        label="l",
        related=(Label(span(source, "a"), "r"),),
        help="h",
        path="p",
    )
    assert d.span.text == "bé\n  -"
    assert json.loads(to_json([d])) == [
        {
            "slug": "bad-value",
            "severity": "error",
            "message": "wrong",
            "file": "net.yaml",
            "line": 2,
            "column": 5,
            "end_line": 3,
            "end_column": 4,
            "label": "l",
            "help": "h",
            "path": "p",
            "related": [{"file": "net.yaml", "line": 1, "column": 1, "end_line": 1, "end_column": 2, "label": "r"}],
        }
    ]
    assert json.loads(to_json([])) == []


def test_annotations_escape_what_github_reads() -> None:
    source = Source("a,b:c%.yaml", "one\ntwo: 100%\n")
    d = Diagnostic("bad-value", "100%\nwrong, twice", span(source, "two"), help="none: at all")
    assert to_github([d]) == (
        "::error file=a%2Cb%3Ac%25.yaml,line=2,col=1,endColumn=4,endLine=2,title=bad-value::"
        "100%25 wrong, twice%0Ahelp: none: at all"
    )


def test_annotations_over_several_lines_have_no_end_column() -> None:
    """GitHub takes columns on one line only."""
    source = Source("net.yaml", "one\ntwo\n")
    assert to_github([Diagnostic("bad-value", "wrong", Span(source, 0, 7))]) == (
        "::error file=net.yaml,line=1,col=1,endLine=2,title=bad-value::wrong"
    )


def test_summary_line() -> None:
    warning = next(slug for slug, entry in CATALOG.items() if entry.severity == "warning")
    place = Span(Source("x", ""), 0, 0)
    errors = [Diagnostic("bad-value", "m", place)] * 2
    assert summary_line(errors) == "2 errors"
    assert summary_line(errors[:1]) == "1 error"
    assert summary_line([*errors, Diagnostic(warning, "m", place)]) == "2 errors, 1 warning"
    assert summary_line([]) == ""
