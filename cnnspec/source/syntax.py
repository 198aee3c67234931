"""What is wrong with a text that is not YAML, in the words of someone who writes one.

libyaml names the token at which its grammar failed; the mistake is often before it: a quote or a bracket that was never
closed, a colon without a space, a value that YAML cuts short. Its positions and contexts tell these apart.
"""

import re
from typing import NamedTuple

import yaml

_MAX_EXPRESSION = 400
_FLOW = {"[": "]", "{": "}"}


class Problem(NamedTuple):
    """A message, the characters that it is about, and what to do."""

    message: str
    start: int
    end: int
    help: str = ""


def explain(error: yaml.MarkedYAMLError, text: str) -> Problem:
    """The mistake behind an error of libyaml's scanner or parser."""
    mark = error.problem_mark or error.context_mark
    at = min(mark.index if mark else 0, len(text))
    begin = error.context_mark.index if error.context_mark else at
    problem, context = error.problem or "", error.context or ""
    if at < len(text) and text[at] == "\t":
        return Problem(
            "a tab cannot indent", at, _run(text, at, r"\t+"), "indent with spaces; YAML does not allow tabs"
        )
    if "quoted scalar" in context:
        return _quoted(text, begin, at, problem)
    if "flow sequence" in context or "flow mapping" in context:
        return _flow(text, begin, at)
    if ("block" in context and "node" not in context and "scalar" not in context) or "<document start>" in problem:
        return _block(text, at)
    if "unexpected ':'" in problem:
        return Problem("a colon needs a space behind it", begin, at + 1, f"`{text[begin:at]}: …`")
    if "expected ':'" in problem:
        return _key(text, begin)
    if "alias" in context or "anchor" in context:
        sign = text[begin]
        kind = "an alias" if sign == "*" else "an anchor"
        return Problem(
            f"`{sign}` at the head of a value starts {kind}, and needs a name",
            begin,
            _word(text, begin),
            f"quote it if it is text: {_quote(text[begin : _word(text, begin)])}",
        )
    if "mapping values are not allowed" in problem:
        return _colon(text, at)
    if "tag" in context or "tag" in problem or "directive" in context:
        return Problem(
            f"a value cannot start with `{text[begin]}`", begin, _word(text, begin), "quote it if it is text"
        )
    if "sequence entries are not allowed" in problem:
        return Problem(
            "a list cannot start behind its key on one line",
            at,
            _line_end(text, at),
            "start a new line in front of the `-`, or write `[a, b]`",
        )
    if "cannot start any token" in problem:
        return Problem(f"a value cannot start with `{text[at]}`", at, at + 1, "put quotes around the value")
    if "node content" in problem:
        return _nothing(text, at)
    return Problem(problem.replace("did not find expected", "expected") or "not YAML", at, at + 1)


def cut_expression(text: str, start: int, end: int) -> Problem | None:
    """What is wrong where a plain value inside brackets, from `start` to `end`, is cut off by a comma of its own."""
    value = text[start:end]
    if value.count("(") <= value.count(")"):
        return None
    depth = 0
    line = text[start : start + _MAX_EXPRESSION].partition("\n")[0]
    if ")" not in line:
        return None
    for i in range(start, start + len(line)):
        depth += (text[i] == "(") - (text[i] == ")")
        if text[i] == ")" and depth == 0:
            inner = text[start + 1 : i]
            tuple_ = text[start] == "(" and re.fullmatch(r"[\d\s,]*", inner)
            help = f"a list has square brackets: `[{inner}]`" if tuple_ else f"quote it: {_quote(text[start : i + 1])}"
            return Problem("the comma ends this value in the middle", start, i + 1, help)
    return None


def _quoted(text: str, begin: int, at: int, problem: str) -> Problem:
    if "escape" in problem or "hexdecimal" in problem:
        start = text.rfind("\\", begin, at + 1)
        return Problem(
            "a backslash in double quotes starts an escape, and this is none",
            start,
            _run(text, start, r"\\[xuU][0-9a-fA-F]*|\\.?"),
            "use single quotes, which take a backslash as it is",
        )
    return Problem("this quote is never closed", begin, _line_end(text, begin), f"end the text with `{text[begin]}`")


def _flow(text: str, begin: int, at: int) -> Problem:
    """Something other than a comma or the closing bracket after an entry of `[…]` or `{…}`."""
    closing = _FLOW[text[begin]]
    if at < len(text) and text[at] in "]}":
        return Problem(
            f"`{text[begin]}` cannot be closed by `{text[at]}`",
            at,
            at + 1,
            f"a `{closing}` is missing before it, or this one is too much",
        )
    if at >= len(text) or _crossed(text, begin, at):
        return Problem(
            f"this `{text[begin]}` is never closed", begin, _line_end(text, begin), f"a `{closing}` is missing"
        )
    if text[at] in "[{":
        start, end = _back(text, at), _balanced(text, at)
        if name := re.fullmatch(r"\$\{\s*(\w+)\s*\}", text[start:end]):
            return Problem("`{` cannot stand inside a value here", start, end, f"write `${name.group(1)}`")
        if "$" in text[start:at]:
            return Problem(
                f"`{text[at]}` cannot stand inside a value here",
                start,
                end,
                f"quote the expression: {_quote(text[start:end])}",
            )
    if text[at] == ":":
        start = _back(text, at)
        return Problem(
            f"no comma before `{text[start:at]}`", start, at, "entries between brackets are separated by `,`"
        )
    return Problem(
        "expected `,` or the closing bracket here",
        at,
        max(_word(text, at), at + 1),
        f"entries are separated by `,`, the end is `{closing}`; quotes enclose a whole value",
    )


def _crossed(text: str, begin: int, at: int) -> bool:
    """Whether what starts at `at` looks like the next entry of a block, so that a bracket before it was left open."""
    line = text[text.rfind("\n", 0, at) + 1 : _line_end(text, at)]
    return "\n" in text[begin:at] and re.match(r"\s*(- |-$|[\w.]+:(\s|$))", line) is not None


def _block(text: str, at: int) -> Problem:
    """A token that continues neither a mapping nor a list of the block style."""
    head = text[text.rfind("\n", 0, at) + 1 : at]
    end = max(_word(text, at), min(at + 1, len(text)))
    if at < len(text) and text[at] in "]}":
        return Problem(f"this `{text[at]}` closes nothing", at, at + 1, "remove it, or open the bracket that it closes")
    if head.strip():
        return Problem(
            "the value before this is complete",
            at,
            end,
            "quotes enclose a whole value; inside `'…'` write `''` for one",
        )
    return Problem(
        "this line fits no indentation above it",
        at,
        end,
        "the options of one layer line up, and so do the `-` of one list",
    )


def _key(text: str, begin: int) -> Problem:
    end = _line_end(text, begin)
    return missing_space(text, begin, end) or Problem("a key needs a `:`", begin, end, "write `key: value`")


def missing_space(text: str, start: int, end: int) -> Problem | None:
    """What is wrong where `key:value` from `start` to `end` lacks its space."""
    match = re.match(r"([A-Za-z_][\w.]*):(?=\S)", text[start:end])
    if match is None:
        return None
    return Problem(
        "a colon needs a space behind it", start, end, f"`{match.group(1)}: {text[start + match.end() : end].strip()}`"
    )


def _colon(text: str, at: int) -> Problem:
    """A colon where a value is already complete: a second one on the line, or a line indented too deep."""
    line = text.rfind("\n", 0, at) + 1
    content = re.compile(r"[ -]*").match(text, line)
    start = content.end() if content else line
    if ": " in text[start:at]:
        return Problem("a second `:` on this line", at, at + 1, "quote the value if the colon belongs to it")
    above = text[:line].rstrip()
    head = re.compile(r"[^\S\n]*").match(above, above.rfind("\n") + 1)
    if head and re.match(r"[A-Za-z_][^:#]*\Z", above[head.end() :]):
        return Problem("a key needs a `:`", head.end(), len(above), "write `key: value`")
    return Problem(
        f"`{text[start:at]}` is indented below something that is no mapping",
        start,
        at,
        "line it up with its neighbours, or take the value off the line above",
    )


def _nothing(text: str, at: int) -> Problem:
    if at < len(text) and text[at] == ",":
        return Problem("nothing stands before this comma", at, at + 1, "remove it, or add the entry that is missing")
    if at < len(text) and text[at] in "]}":
        return Problem(f"this `{text[at]}` closes nothing", at, at + 1, "remove it, or open the bracket that it closes")
    if at < len(text):
        return Problem(f"a value cannot start with `{text[at]}`", at, at + 1, "put quotes around the value")
    depth = 0
    for opened in range(at - 1, -1, -1):
        depth += (text[opened] in "]}") - (text[opened] in "[{")
        if depth < 0:
            break
    return Problem(
        f"this `{text[opened]}` is never closed",
        opened,
        _line_end(text, opened),
        f"a `{_FLOW.get(text[opened], ']')}` is missing",
    )


def _quote(value: str) -> str:
    return f'`"{value}"`'


def _run(text: str, at: int, pattern: str) -> int:
    match = re.compile(pattern).match(text, at)
    return match.end() if match else at


def _word(text: str, at: int) -> int:
    """The end of the characters that belong together from `at` on."""
    return _run(text, at, r"[^\s,\]}]*")


def _back(text: str, at: int) -> int:
    """The start of the word that ends at `at`."""
    while at and text[at - 1] not in " \t\r\n,[{":
        at -= 1
    return at


def _balanced(text: str, at: int) -> int:
    """The end of the bracket that opens at `at`, if it closes on its line, and of what follows it directly."""
    depth = 0
    for i in range(at, _line_end(text, at)):
        depth += (text[i] in "[{") - (text[i] in "]}")
        if depth == 0:
            return i + 1
    return at + 1


def _line_end(text: str, at: int) -> int:
    """The end of the line's text."""
    end = text.find("\n", at)
    return at + len(text[at : end if end >= 0 else len(text)].rstrip())
