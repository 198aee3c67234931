"""Python text: expressions of a program, names, and statements laid out as a formatter would."""

from __future__ import annotations

import builtins
import keyword
import textwrap
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from cnnspec.expr import (
    Binary,
    Call,
    Conditional,
    Const,
    Expr,
    Index,
    ListOf,
    Ref,
    Template,
    Unary,
    Value,
)

WIDTH = 88
"""Columns of a line: the default of Python's formatters."""

_LEVELS = ["or", "and", "not", "comparison", "+", "*", "unary", "**", "atom"]
_LEVEL_OF = {
    "or": "or",
    "and": "and",
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), "comparison"),
    **dict.fromkeys(("+", "-"), "+"),
    **dict.fromkeys(("*", "/", "//", "%"), "*"),
    "**": "**",
}
_MATH = {"floor", "ceil"}


def text(expr: Expr, names: dict[str, str] | None = None) -> str:
    """An expression as Python; `names` gives other names for variables."""
    return _text(expr, names or {})[0]


def literal(value: Value) -> str:
    """A value as Python."""
    if isinstance(value, str):
        fewer = value.count('"') > value.count("'")  # of what needs a backslash in single quotes
        return "'" + _escaped(value, "'") + "'" if fewer else quoted(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value).replace("e-0", "e-")  # 1e-5, as people write it


def quoted(word: str) -> str:
    """A string literal with double quotes, safe for any text."""
    return '"' + _escaped(word, '"') + '"'


def _escaped(word: str, mark: str) -> str:
    """What stands between quotes."""
    escaped = word.encode("unicode_escape").decode("ascii") if not word.isprintable() else word.replace("\\", "\\\\")
    return escaped.replace(mark, "\\" + mark)


def docstring(title: str) -> str:
    """A docstring that says `title`, safe for any text, over several lines where it is long."""
    safe = title.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    end = "" if title.endswith(".") else "."
    return "\n".join(textwrap.wrap(f'"""{safe}{end}"""', WIDTH, break_long_words=False, break_on_hyphens=False))


def needs_math(expr: Expr) -> bool:
    """Whether the expression's text uses the module `math`."""
    return any(f"math.{function}(" in text(expr) for function in _MATH)


def _text(expr: Expr, names: dict[str, str]) -> tuple[str, str]:
    """The text and the level of its outermost operator."""

    def part(inner: Expr, least: str, strictly: bool = False) -> str:
        shown, level = _text(inner, names)
        loose = _LEVELS.index(level) - _LEVELS.index(least)
        return f"({shown})" if loose < 0 or (strictly and loose == 0) else shown

    match expr:
        case Const(value=value):
            negative = isinstance(value, int | float) and not isinstance(value, bool) and value < 0
            return literal(value), "unary" if negative else "atom"
        case Ref(name=name):
            return names.get(name, name), "atom"
        case Unary(op="not", operand=operand):
            return f"not {part(operand, 'not')}", "not"
        case Unary(op=op, operand=operand):
            return f"{op}{part(operand, 'unary')}", "unary"
        case Binary(op=op, left=left, right=right):
            level = _LEVEL_OF[op]
            # comparisons do not chain here, and `**` binds from the right
            shown_left = part(left, level, strictly=level in ("comparison", "**"))
            shown_right = part(right, level, strictly=level not in ("**", "or", "and"))
            tight = op == "**" and isinstance(left, Ref | Const) and isinstance(right, Ref | Const)
            return (f"{shown_left}{op}{shown_right}" if tight else f"{shown_left} {op} {shown_right}"), level
        case Conditional(test=test, then=then, otherwise=otherwise):
            return f"{part(then, 'or')} if {part(test, 'or')} else {part(otherwise, 'or')}", "or"
        case Call(function=function, args=args):
            name = f"math.{function}" if function in _MATH else function
            return f"{name}({', '.join(_text(arg, names)[0] for arg in args)})", "atom"
        case Index(value=value, index=index):
            return f"{part(value, 'atom')}[{_text(index, names)[0]}]", "atom"
        case ListOf(items=items):
            listed = ", ".join(_text(item, names)[0] for item in items)
            return f"({listed}{',' if len(items) == 1 else ''})", "atom"
        case Template():
            return fstring([expr], names), "atom"
    raise TypeError(type(expr).__name__)


def fstring(parts: Iterable[Expr], names: dict[str, str] | None = None, separator: str = "") -> str:
    """A string from expressions: a plain literal where all are constant, an f-string otherwise."""
    pieces: list[str] = []
    formatted = False
    for expr in parts:
        flat = expr.parts if isinstance(expr, Template) else (expr,)
        piece = ""
        for inner in flat:
            if isinstance(inner, Const):
                piece += quoted(str(inner.value))[1:-1].replace("{", "{{").replace("}", "}}")
            else:
                formatted = True
                piece += "{" + text(inner, names) + "}"
        pieces.append(piece)
    joined = separator.join(pieces)
    return f'f"{joined}"' if formatted else '"' + joined.replace("{{", "{").replace("}}", "}") + '"'


def identifier(name: str, taken: Collection[str] = ()) -> str:
    """A legal Python name for `name` that is not in `taken`."""
    made = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name) or "_"
    if made[0].isdigit():
        made = f"_{made}"
    while keyword.iskeyword(made) or made in taken or hasattr(builtins, made):
        made += "_"
    return made


def camel(name: str) -> str:
    """`name_of_block` as `NameOfBlock`."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_")) or "Network"


def annotation(values: Iterable[Value]) -> str:
    """The type of a parameter that has these values."""
    kinds = {_kind(value) for value in values}
    if kinds >= {"float", "int"}:
        kinds.discard("int")
    return " | ".join(sorted(kinds, key=lambda kind: (kind.startswith("tuple"), kind)))


def _kind(value: Value) -> str:
    if isinstance(value, tuple):
        kinds = {_kind(item) for item in value}
        if len(kinds) == 1 and len(value) not in (2, 4):
            return f"tuple[{kinds.pop()}, ...]"
        return f"tuple[{', '.join(map(_kind, value))}]"
    return type(value).__name__


# --- layout ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """Something in brackets, `nn.Conv2d(3, 64, 7)`, which may be broken over several lines.

    Without `commas` blanks are between its items, as between the parts of a comprehension.
    """

    open: str
    items: tuple[Code, ...]
    close: str = ")"
    commas: bool = True


@dataclass(frozen=True, slots=True)
class Infix:
    """Operands with a sign between them, which may be broken in front of each sign; `start` is text ahead of them."""

    sign: str
    items: tuple[Code, ...]
    start: str = ""


Code = str | Group | Infix


def call(name: str, *args: Code) -> Group:
    """A call."""
    return Group(f"{name}(", args)


def flat(code: Code) -> str:
    """On one line."""
    if isinstance(code, str):
        return code
    if isinstance(code, Infix):
        return code.start + f" {code.sign} ".join(map(flat, code.items))
    return code.open + (", " if code.commas else " ").join(map(flat, code.items)) + code.close


def named(name: str, code: Code) -> Code:
    """A keyword argument."""
    return prefixed(f"{name}=", code)


def lines(code: Code, indent: int = 0, suffix: str = "") -> list[str]:
    """A statement or an item, broken where it is too long: all items on a line of their own, or each on its own."""
    pad = " " * indent
    whole = flat(code) + suffix
    if len(pad) + len(whole) <= WIDTH or isinstance(code, str):
        return [pad + whole]
    if isinstance(code, Infix):
        return _operands(code, indent, suffix)
    if not code.items:
        return [pad + whole]
    inner = " " * (indent + 4)
    together = (", " if code.commas else " ").join(map(flat, code.items))
    if len(inner) + len(together) <= WIDTH and "*[" not in together[:2]:
        return [pad + code.open, inner + together, pad + code.close + suffix]
    made = [pad + code.open]
    for item in code.items:
        made += lines(item, indent + 4, "," if len(code.items) > 1 and code.commas else "")
    return [*made, pad + code.close + suffix]


def _operands(code: Infix, indent: int, suffix: str) -> list[str]:
    """Operands that are too long for one line, in brackets of their own where none are around them."""
    if code.start:
        return lines(Group(f"{code.start}(", (replace(code, start=""),)), indent, suffix)
    first, *rest = code.items
    made = lines(first, indent)
    for item in rest:
        made += lines(prefixed(f"{code.sign} ", item), indent)
    return [*made[:-1], made[-1] + suffix]


def prefixed(prefix: str, value: Code) -> Code:
    """The same behind some text."""
    if isinstance(value, Group):
        return replace(value, open=prefix + value.open)
    return replace(value, start=prefix + value.start) if isinstance(value, Infix) else f"{prefix}{value}"


def assigned(target: str, value: Code) -> Code:
    """`target = value`, as one statement."""
    return prefixed(f"{target} = ", value)


def returned(value: Code) -> Code:
    """`return value`, as one statement."""
    return prefixed("return ", value)
