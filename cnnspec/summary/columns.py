"""Tables of text that fit a width: columns are shortened, then left out, and a line below says which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column, named by its head.

    `right` aligns it; `tail` says that the end of its texts tells the rows apart, so that they are shortened at their
    start; `meaning` is what it is called where it is hidden, its head unless given.
    """

    head: str
    right: bool = False
    tail: bool = False
    meaning: str = ""


def fitted(
    columns: Sequence[Column], steps: Sequence[tuple[str, int]], rows: Sequence[Mapping[str, str]], width: int | None
) -> tuple[list[str], list[str]]:
    """The lines of a table, its heads first, and the lines that say below it what is hidden.

    A row holds its cells by the columns' heads. As long as the table is wider than `width`, the next of `steps` is
    taken: a column and the number of characters to which it may shrink, 0 to leave it out; one for a column that the
    table does not have is none.
    """
    shown = {c.head: c for c in columns}
    whole = _widths(columns, rows)
    widths = dict(whole)

    def excess() -> int:
        return sum(widths[head] + len(_GAP) for head in shown) - len(_GAP) - width if width else 0

    for head, least in steps:
        if head not in shown:
            continue
        if excess() > 0 and least:
            widths[head] = max(widths[head] - excess(), min(widths[head], least))
        elif excess() > 0:
            del shown[head]
    for head in shown:  # a column that went may have left more room than it had to
        widths[head] = min(whole[head], widths[head] - min(excess(), 0))
    lines = (ellipsis(_GAP.join(cells).rstrip(), width) for cells in _padded(list(shown.values()), rows, widths))
    hidden = ", ".join(c.meaning or c.head for c in columns if c.head not in shown)
    note = f"hidden for width: {hidden} (use --format json or a wider terminal)" if hidden else ""
    return list(lines), wrap(note, width or len(note) or 1)


def markdown(columns: Sequence[Column], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of a table in Markdown, aligned in the text too."""
    escaped = [{head: text.replace("\\", "\\\\").replace("|", "\\|") for head, text in row.items()} for row in rows]
    widths = {head: max(width, 3) for head, width in _widths(columns, escaped).items()}  # a rule has a hyphen
    rule = ["-" * (widths[c.head] - 1) + (":" if c.right else "-") for c in columns]
    head, *body = _padded(columns, escaped, widths)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]


def _widths(columns: Sequence[Column], rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    return {c.head: max(map(len, (c.head, *(row[c.head] for row in rows)))) for c in columns}


def _padded(
    columns: Sequence[Column], rows: Sequence[Mapping[str, str]], widths: Mapping[str, int]
) -> Iterator[list[str]]:
    """The cells of all rows, the heads first, each as wide as its column."""
    for row in ({c.head: c.head for c in columns}, *rows):
        texts = ((c, ellipsis(row[c.head], widths[c.head], tail=c.tail)) for c in columns)
        yield [text.rjust(widths[c.head]) if c.right else text.ljust(widths[c.head]) for c, text in texts]


def listed(rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table without heads; paths and addresses are copied from it, so that nothing is shortened."""
    whole = list(rows)
    widths = [max(map(len, cells)) for cells in zip(*whole, strict=True)]
    return [_GAP.join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in whole]


def ellipsis(text: str, width: int | None, *, tail: bool = False) -> str:
    """`text` cut to `width` characters, if that is given, with … for what is left out."""
    if not width or len(text) <= width:
        return text
    return "…" + text[len(text) - width + 1 :] if tail else text[: width - 1] + "…"


def side_by_side(parts: Sequence[str], width: int | None, gap: str = "   ") -> list[list[str]]:
    """`parts` on as many lines as it takes to set them beside each other; one longer than a line is cut."""
    lines: list[list[str]] = []
    for part in (ellipsis(part, width) for part in parts):
        if lines and (not width or len(gap.join([*lines[-1], part])) <= width):
            lines[-1].append(part)
        else:
            lines.append([part])
    return lines
