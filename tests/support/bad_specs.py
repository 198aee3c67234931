"""The files of `tests/diagnostics/bad`: specs with mistakes, and what their headers expect.

A header line is `#! slug: text`, where `text` is exactly what the message must underline (with `␊` for a line break, `␉`
for a tab and so on). Text that stands in the file more than once needs a line, `#! slug@12: text`, and if need be a
column, `#! slug@12:7: text`; a place without any text is `#! slug@12:7:`. A place in another file is
`slug@other.yaml: text`, with `:12` behind the name as above. Several mistakes are in the order of their places.
`#$ --set width=3` runs the spec as `cnnspec summary` with these options; `--set width` stands for the file then.
"""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import cnnspec
from cnnspec.diagnostics import Diagnostic, SpecError
from cnnspec.diagnostics.render import to_text

BAD = Path(__file__).parents[1] / "diagnostics" / "bad"
CASES = sorted(path.stem for path in BAD.glob("*.yaml"))

_EXPECTED = re.compile(r"#! (?P<slug>[a-z0-9-]+)(?:@(?P<place>.+?))?:(?: (?P<text>.*))?\Z")
_CONTROLS = {0x2400 + code: code for code in range(0x20)}  # control characters by their pictures


@dataclass(frozen=True)
class Expected:
    """One header line, with its place found in the file: what must be underlined."""

    slug: str
    file: str
    start: int
    end: int


def expectations(header: list[str], name: str, texts: dict[str, str]) -> list[Expected]:
    """What the header lines of the file `name` say; `texts` are the files that they may speak of."""
    return [_expected(line, name, texts) for line in header if line.startswith("#!")]


def _expected(line: str, name: str, texts: dict[str, str]) -> Expected:
    match = _EXPECTED.match(line)
    assert match, f"{name}: `{line}` is not `#! slug[@place]: text`"
    file, numbers = name, []
    for part in (match["place"] or "").split(":"):
        if part.isdecimal():
            numbers.append(int(part))
        elif part:
            file = part
    if file not in texts:
        texts[file] = (BAD / file).read_bytes().decode()
    text = texts[file]
    covered = (match["text"] or "").translate(_CONTROLS)
    return Expected(match["slug"], file, *_find(text, covered, numbers, f"{name}: {line}"))


def _find(text: str, covered: str, numbers: list[int], what: str) -> tuple[int, int]:
    lines = text.splitlines(keepends=True)
    if numbers:
        low = sum(map(len, lines[: numbers[0] - 1]))
        high = low + len(lines[numbers[0] - 1])
    else:  # the header itself does not count
        low, high = sum(len(line) for line in lines if line.startswith(("#!", "#$"))), len(text)
    if len(numbers) == 2:
        start = low + numbers[1] - 1
        assert text.startswith(covered, start), f"{what}: that text is not there"
        return start, start + len(covered)
    found = [m.start() for m in re.finditer(re.escape(covered), text) if low <= m.start() < high]
    assert covered, f"{what}: a place without text needs a line and a column"
    assert len(found) == 1, f"{what}: that text is there {len(found)} times"
    return found[0], found[0] + len(covered)


def compare(diagnostics: list[Diagnostic], expected: list[Expected]) -> None:
    """Exactly the expected diagnostics, in their order, each underlining exactly the expected text."""

    got = [(d.slug, d.span.source.name, d.span.start, d.span.end) for d in diagnostics]
    want = [(e.slug, e.file, e.start, e.end) for e in expected]
    assert got == want, f"expected {want}, got {got}\n{to_text(diagnostics)}"


@dataclass(frozen=True)
class Case:
    """One file of `bad/`, read."""

    file: str
    options: list[str]
    expected: list[Expected]

    @classmethod
    def read(cls, name: str) -> Case:
        file = f"{name}.yaml"
        text = (BAD / file).read_bytes().decode()
        header = [line for line in text.splitlines() if line.startswith(("#!", "#$"))]
        options = [word for line in header if line.startswith("#$") for word in shlex.split(line[2:])]
        texts = {file: text}
        for option, value in itertools.pairwise(options):
            if option == "--set":
                texts["--set"] = value
                texts["--set " + value.partition("=")[0]] = value.partition("=")[2]
            elif option == "--transfer":
                texts["--transfer"] = value
        return cls(file, options, expectations(header, file, texts))

    @property
    def command(self) -> list[str]:
        """The command that must refuse it."""
        return ["summary", self.file, *self.options] if self.options else ["validate", self.file]

    def diagnostics(self) -> list[Diagnostic]:
        """What Python callers get; the current folder must be `bad/`."""
        if not self.options:
            return cnnspec.check(self.file)
        given = list(zip(self.options[::2], self.options[1::2], strict=True))
        params = dict(value.split("=", 1) for option, value in given if option == "--set")
        transfer = next((value for option, value in given if option == "--transfer"), "")
        try:
            return list(cnnspec.load(self.file, transfer=transfer, params=params).warnings)
        except SpecError as error:
            return error.diagnostics
