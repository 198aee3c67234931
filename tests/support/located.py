"""What every diagnostic must be, whatever it says."""

import json
import re
from collections.abc import Callable, Sequence

from cnnspec.diagnostics import Diagnostic, Source
from cnnspec.diagnostics.render import to_github, to_json, to_text

_ANNOTATION = re.compile(
    r"::(?P<severity>error|warning) file=(?P<file>[^,]*),line=(?P<line>\d+),col=(?P<col>\d+)"
    r"(?:,endColumn=(?P<end_col>\d+))?,endLine=(?P<end_line>\d+),title=(?P<slug>[a-z0-9-]+)::(?P<text>.+)\Z"
)

WellFormed = Callable[[Sequence[Diagnostic]], None]


def check_form(diagnostics: Sequence[Diagnostic]) -> None:
    """Every span lies inside its source, and the three renderings can be read and agree on the places."""
    for d in diagnostics:
        for span in (d.span, *(label.span for label in d.related)):
            assert 0 <= span.start <= span.end <= len(span.source.text), f"{d.slug}: {span} outside of its source"
        assert d.message, d.slug
        assert d.message[0] != d.message[0].upper() or not d.message[0].isalpha() or d.message[:2].isupper()
        assert not d.message.endswith("."), d.message
        assert len(d.message) + len(d.help) < 1200, "a message that nobody would read"
    text = to_text(diagnostics)
    assert all(c.isprintable() or c in "\n\t" for c in text)
    assert all(line == line.rstrip() for line in text.splitlines())
    records = json.loads(to_json(diagnostics))
    annotations = to_github(diagnostics).splitlines()
    assert len(records) == len(annotations) == len(diagnostics)
    for d, record, line in zip(diagnostics, records, annotations, strict=True):
        begin, end = place(d.span.source, d.span.start), place(d.span.source, d.span.end)
        assert (record["slug"], record["file"]) == (d.slug, d.span.source.name)
        assert [record["line"], record["column"]] == begin
        assert [record["end_line"], record["end_column"]] == end
        annotation = _ANNOTATION.match(line)
        assert annotation, line
        assert annotation["slug"] == d.slug
        assert [int(annotation["line"]), int(annotation["col"])] == begin
        assert int(annotation["end_line"]) == end[0]
        if d.span.source.text:
            option = d.span.source.name.startswith("--")  # of the command line, which has no lines
            assert f"--> {record['file']}" + ("" if option else f":{begin[0]}:{begin[1]}") in text


def place(source: Source, offset: int) -> list[int]:
    """Line and column by the plainest of means: the text before, cut into lines."""
    before = re.split(r"\r\n|\r(?!\n)|\n", source.text[:offset])
    return [len(before), len(before[-1]) + 1]
