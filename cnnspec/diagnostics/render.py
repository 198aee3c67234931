"""Diagnostics for three readers: a person at a terminal, a program, a GitHub pull request."""

import json
from collections.abc import Callable, Iterable, Sequence
from unicodedata import combining, east_asian_width

from cnnspec.diagnostics.model import Diagnostic, Span

_WIDTH = 150  # a longer source line is cut to a window around what is marked
_COLOURS = {"error": "\033[1;31m", "warning": "\033[1;33m", "mark": "\033[1;34m", "help": "\033[1;36m"}


_Mark = tuple[Span, str, str]  # what is marked, with which character, and the note beside it


def to_text(diagnostics: Iterable[Diagnostic], *, colour: bool = False) -> str:
    """Each diagnostic with the lines it is about, the faulty text underlined with `^`, what explains it with `-`."""
    return "\n\n".join(_one(d, colour) for d in diagnostics)


def to_json(diagnostics: Iterable[Diagnostic]) -> str:
    """A JSON array; lines and columns count from 1, the end column is one behind the last character."""
    return json.dumps([_as_dict(d) for d in diagnostics], indent=2, ensure_ascii=False)


def to_github(diagnostics: Iterable[Diagnostic]) -> str:
    """Workflow commands that GitHub shows as annotations on the changed lines."""
    return "\n".join(_annotation(d) for d in diagnostics)


def summary_line(diagnostics: Sequence[Diagnostic]) -> str:
    """How many there are, as `2 errors, 1 warning`."""
    counts = []
    for severity in ("error", "warning"):
        number = sum(d.severity == severity for d in diagnostics)
        if number:
            counts.append(f"{number} {severity}{'s' if number > 1 else ''}")
    return ", ".join(counts)


def _one(d: Diagnostic, colour: bool) -> str:
    def paint(text: str, kind: str) -> str:
        return f"{_COLOURS[kind]}{text}\033[0m" if colour else text

    marks: list[_Mark] = [(d.span, "^", d.label), *((label.span, "-", label.text) for label in d.related)]
    here = [m for m in marks if m[0].source is d.span.source]
    gutter = max(len(str(m[0].line)) for m in marks) + 1
    where = f"   ({d.path})" if d.path else ""
    out = [paint(f"{d.severity}[{d.slug}]", d.severity) + f": {_one_line(d.message)}"]
    if d.span.source.text:  # else there is no text to point at: a file that is not there, or empty
        out.append(paint(" " * gutter + "--> ", "mark") + _shown_place(d.span) + printable(where))
        out += _excerpt(here, gutter, paint)
    for span, mark, text in marks:
        if span.source is not d.span.source:
            out.append(paint(" " * gutter + "::: ", "mark") + _shown_place(span))
            out += _excerpt([(span, mark, text)], gutter, paint)
    if d.help:
        out.append(paint("help", "help") + f": {_one_line(d.help)}")
    return "\n".join(out)


def _excerpt(marks: list[_Mark], gutter: int, paint: Callable[[str, str], str]) -> list[str]:
    """The lines that the marks are on, each with its marks under it."""
    out: list[str] = []
    shown, start = 0, 0
    for span, mark, text in sorted(marks, key=lambda m: m[0].start):
        number, column = span.line, span.column - 1
        line = span.source.line(number)
        if number != shown or not start <= column < start + _WIDTH:
            if shown and number > shown + 1:
                out.append(paint(" " * gutter + "...", "mark"))
            shown, start = number, _start(line, column)
            out.append(paint(f"{number:>{gutter}} |", "mark") + _behind(_window(line, start)))
        end = min(column + max(span.end - span.start, 1), start + _WIDTH)
        padding = " " * (start > 0) + "".join("\t" if c == "\t" else " " * _columns(c) for c in line[start:column])
        marked = mark * max(sum(map(_columns, line[column:end])), 1)
        note = f" {_one_line(text)}" if text else ""
        under = padding + paint(marked, "error" if mark == "^" else "mark") + note
        out.append(paint(" " * gutter + " |", "mark") + _behind(under))
    return out


def _shown_place(span: Span) -> str:
    """File, line and column; of the command line the option."""
    option, name, text = span.source.name.startswith("--"), _one_line(span.source.name), _one_line(span.source.text)
    if not option:
        return f"{name}:{span.line}:{span.column}"
    shown = text if len(text) <= _WIDTH else text[:_WIDTH] + "…"
    return f"{name}{'=' if ' ' in name else ' '}{shown}".rstrip()


def _start(line: str, column: int) -> int:
    """Where to start showing a line, so that `column` can be seen."""
    return 0 if len(line) <= _WIDTH else max(0, column - _WIDTH // 2)


def _window(line: str, start: int) -> str:
    """What can be shown of a line from `start` on; dots stand for what cannot."""
    end = start + _WIDTH
    return ("…" if start else "") + printable(line[start:end]) + ("…" if end < len(line) else "")


def _behind(text: str) -> str:
    """`text` behind the gutter, without trailing blanks."""
    return f" {text}".rstrip()


def _columns(character: str) -> int:
    """How many columns of a terminal a character takes."""
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _one_line(text: str) -> str:
    return printable(text.replace("\n", " "))


def printable(text: str) -> str:
    """`text` with control characters made visible, so that a spec cannot drive the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _as_dict(d: Diagnostic) -> dict[str, object]:
    return {
        "slug": d.slug,
        "severity": d.severity,
        "message": d.message,
        **_place(d.span),
        "label": d.label,
        "help": d.help,
        "path": d.path,
        "related": [{**_place(label.span), "label": label.text} for label in d.related],
    }


def _place(span: Span) -> dict[str, object]:
    end_line, end_column = span.last
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
    }


def _annotation(d: Diagnostic) -> str:
    def data(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    def value(text: str) -> str:
        return data(text).replace(":", "%3A").replace(",", "%2C")

    end_line, end_column = d.span.last
    place = f"file={value(printable(d.span.source.name))},line={d.span.line},col={d.span.column}"
    if end_line == d.span.line:
        place += f",endColumn={end_column}"
    text = _one_line(d.message) + (f"\nhelp: {_one_line(d.help)}" if d.help else "")
    return f"::{d.severity} {place},endLine={end_line},title={value(d.slug)}::{data(text)}"
