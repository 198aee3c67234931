"""Positions, diagnostics, and the report that collects them."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from cnnspec.diagnostics.catalog import CATALOG

Severity = Literal["error", "warning"]


class Source:
    """A text that spans point into: that of the file at `path`, or the value of a `--set` option."""

    __slots__ = ("_starts", "name", "path", "text")

    def __init__(self, name: str, text: str, path: Path | None = None) -> None:
        self.name = name
        self.text = text
        self.path = path
        self._starts: list[int] | None = None

    @property
    def starts(self) -> list[int]:
        r"""Offsets at which lines begin; a line ends at \n, \r\n or a lone \r."""
        if self._starts is None:
            self._starts = [0]
            offset = 0
            for line in self.text.replace("\r\n", "\n\n").replace("\r", "\n").split("\n")[:-1]:
                offset += len(line) + 1
                self._starts.append(offset)
            if "\r\n" in self.text:  # the pass above saw an empty line inside each \r\n
                self._starts = [s for s in self._starts if self.text[s - 1 : s + 1] != "\r\n"]
        return self._starts

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of `offset`, both counted from 1, the column in characters."""
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line (counted from 1) without its ending."""
        end = self.starts[number] if number < len(self.starts) else len(self.text)
        return self.text[self.starts[number - 1] : end].rstrip("\r\n")


class Span(NamedTuple):
    """A stretch of a source: characters `start` up to, not including, `end`."""

    source: Source
    start: int
    end: int

    @property
    def text(self) -> str:
        """The characters covered."""
        return self.source.text[self.start : self.end]

    @property
    def line(self) -> int:
        """Line of the first character, from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """Column of the first character, from 1."""
        return self.source.position(self.start)[1]

    @property
    def last(self) -> tuple[int, int]:
        """Line and column just behind the last character."""
        return self.source.position(self.end)

    def part(self, start: int, end: int) -> "Span":
        """The stretch from `start` to `end`, both relative to this span."""
        return Span(self.source, self.start + start, min(self.start + end, self.end))


class Label(NamedTuple):
    """A second place that explains an error."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake.

    `slug` is stable and documented (`cnnspec.diagnostics.catalog`); `span` covers the text that a person
    would change; `label` is printed under it; `path` is the first layer of the expanded network it hits.
    """

    slug: str
    message: str
    span: Span
    label: str = ""
    related: tuple[Label, ...] = ()
    help: str = ""
    path: str = ""

    @property
    def severity(self) -> Severity:
        """Whether this stops compilation; the catalogue decides, by slug."""
        return CATALOG[self.slug].severity


class SpecError(Exception):
    """A spec that cannot be compiled; `diagnostics` says why, all at once."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = list(diagnostics)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        from cnnspec.diagnostics.render import to_text  # rendering is needed by almost no run

        return "\n" + to_text(self.diagnostics)


MAX_DIAGNOSTICS = 100
_MAX_TEXT = 500  # of a message: a name may be as long as its file


def _key(slug: str, span: Span) -> tuple[str, str, str, int, int]:
    return slug, span.source.name, span.source.text, span.start, span.end  # `--set` gives several texts one name


class Report:
    """Collects diagnostics; the same mistake, met again in another instance of its block, counts once."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.nodes = 0  # of YAML, in all files that are read for it
        self.characters = 0  # of expressions
        self._seen: set[tuple[str, str, str, int, int]] = set()

    def add(
        self,
        slug: str,
        message: str,
        span: Span,
        *,
        label: str = "",
        related: Iterable[Label] = (),
        help: str = "",
        path: str = "",
    ) -> None:
        """Record a mistake, unless this slug has been reported for this span.

        Raises `SpecError` where there are more mistakes than anyone would read.
        """
        if self.has(slug, span):
            return
        self._seen.add(_key(slug, span))
        if len(self._seen) > MAX_DIAGNOSTICS:
            message = f"this is mistake {MAX_DIAGNOSTICS + 1}, and checking ends here"
            self.diagnostics.append(Diagnostic("too-many-mistakes", message, span))
            raise SpecError(self.sorted())
        texts = (t if len(t) <= _MAX_TEXT else f"{t[:_MAX_TEXT]}…" for t in (message, label, help))
        message, label, help = texts
        self.diagnostics.append(Diagnostic(slug, message, span, label, tuple(related), help, path))

    def has(self, slug: str, span: Span) -> bool:
        """Whether this slug has been reported for this span."""
        return _key(slug, span) in self._seen

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Record what another report has collected."""
        for d in diagnostics:
            self.add(d.slug, d.message, d.span, label=d.label, related=d.related, help=d.help, path=d.path)

    @property
    def failed(self) -> bool:
        """Whether any of them is an error."""
        return any(d.severity == "error" for d in self.diagnostics)

    def sorted(self) -> list[Diagnostic]:
        """All of them, in the order of the text."""
        return sorted(self.diagnostics, key=lambda d: (d.span.source.name, d.span.start, d.span.end))

    def raise_errors(self) -> None:
        """Raise `SpecError` with everything collected, if there is an error."""
        if self.failed:
            raise SpecError(self.sorted())
