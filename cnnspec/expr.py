"""Expressions: `$name`, arithmetic on it, and names with `$i` inside them.

An expression is parsed into a small tree of its own, which is kept in the compiled graph, so that generated code can
print it again. Python's parser reads the text (a `$` in front of every variable, nothing else differs); a whitelist of
its node types is translated and everything else refused. Nothing is ever passed to `eval`.

    $filters * 4        max($width // 8, 16)        $depths[0]        512 if $deep else 256        $i > 1 and $norm
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn

Value = None | bool | int | float | str | tuple["Value", ...]

MAX_LENGTH = 300
MAX_ITEMS = 10_000
MAX_STEPS = 2_000_000
_LIMIT = 2**63
_SIMPLE = re.compile(r"\$([A-Za-z][A-Za-z0-9_]*)\Z")
_VARIABLE = re.compile(r"\$([A-Za-z][A-Za-z0-9_]*)")


class ExprError(Exception):
    """An expression that cannot be read or has no value; `start` and `end` are offsets in its text."""

    def __init__(self, slug: str, message: str, start: int = 0, end: int = 10**9, help: str = "") -> None:
        super().__init__(message)
        self.slug = slug
        self.message = message
        self.start = start
        self.end = end
        self.help = help


class UnknownValue(ExprError):
    """A variable without a value: the mistake in its definition has been reported, this is only its echo."""


class Exhausted(ExprError):
    """The budget of `MAX_STEPS` is spent: nothing more can be evaluated."""


class Meter:
    """Counts what evaluating costs a spec: a step for each part of an expression and each item of a list."""

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def spend(self, steps: int, start: int = 0, end: int = 10**9) -> None:
        """Raises `Exhausted` where no steps are left."""
        self.left -= steps
        if self.left < 0:
            raise Exhausted(
                "too-large",
                f"the values of this spec take more than {MAX_STEPS:,} steps to work out",
                start,
                end,
                "shorter lists, fewer variables or fewer repeats",
            )


# Each node's `start` and `end` are offsets in the text that it was read from.


class Const(NamedTuple):
    """A literal value."""

    start: int
    end: int
    value: Value


class Ref(NamedTuple):
    """A variable, `$name`."""

    start: int
    end: int
    name: str


class Unary(NamedTuple):
    """`-x`, `+x` or `not x`."""

    start: int
    end: int
    op: str
    operand: Expr


class Binary(NamedTuple):
    """Arithmetic, a comparison, `and` or `or`."""

    start: int
    end: int
    op: str
    left: Expr
    right: Expr


class Conditional(NamedTuple):
    """`then if test else otherwise`."""

    start: int
    end: int
    test: Expr
    then: Expr
    otherwise: Expr


class Call(NamedTuple):
    """One of the functions in `FUNCTIONS`."""

    start: int
    end: int
    function: str
    args: tuple[Expr, ...]


class Index(NamedTuple):
    """`list[index]`."""

    start: int
    end: int
    value: Expr
    index: Expr  # type: ignore[assignment]  # hides tuple.index, which nobody asks a node for


class ListOf(NamedTuple):
    """A list."""

    start: int
    end: int
    items: tuple[Expr, ...]


class Template(NamedTuple):
    """A name with variables inside it, such as `layer$i`: its pieces in order, each a constant or a variable."""

    start: int
    end: int
    parts: tuple[Expr, ...]


Expr = Const | Ref | Unary | Binary | Conditional | Call | Index | ListOf | Template


def parse(text: str) -> Expr:
    """Read an expression. Raises `ExprError` with the place in `text`."""
    if match := _SIMPLE.match(text):
        return Ref(0, len(text), match.group(1))
    if len(text) > MAX_LENGTH:
        raise ExprError("bad-expression", f"an expression of more than {MAX_LENGTH} characters")
    if match := re.search(r"[^\t\n\r -~]", text):
        raise ExprError(
            "bad-expression", f"`{match.group()}` is not allowed in an expression", match.start(), match.end()
        )
    if match := re.search(r"\$\{+ *(\w*)[^}]*\}*", text):
        raise ExprError(
            "bad-expression",
            "a variable has no braces",
            match.start(),
            match.end(),
            f"write `${match.group(1) or 'name'}`",
        )
    for match in re.finditer(r"\$(?![A-Za-z])|\\", text):
        problem = "`$` must be followed by a name" if match.group() == "$" else "a backslash is not allowed here"
        raise ExprError("bad-expression", problem, match.start(), match.end())
    # `_` in place of `$` keeps the columns, marks variables, and cannot clash: no other name may start with `_`
    for match in re.finditer(r"(?<![\w$])_\w*", text):
        raise ExprError("bad-expression", f"`{match.group()}` is not a name here", match.start(), match.end())
    line = re.sub(r"[\t\n\r]", " ", text)  # one line, in which columns are offsets
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about code that we refuse anyway, such as `1 is 1`
            tree = ast.parse("(" + line.replace("$", "_") + ")", mode="eval").body
        return _Translator(text, line).translate(tree)
    except SyntaxError as error:
        raise _unreadable(text, (error.offset or 1) - 2) from None
    except (RecursionError, MemoryError, ValueError):
        raise ExprError("bad-expression", "this expression is nested too deeply") from None


def _unreadable(text: str, at: int) -> ExprError:
    """The error for a text at whose offset `at` Python's parser gave up."""
    for opening, closing in ("()", "[]"):
        surplus = text.count(opening) - text.count(closing)
        if surplus:
            return ExprError("bad-expression", f"a `{closing if surplus > 0 else opening}` is missing")
    if not 0 <= at < len(text) - 1:
        return ExprError("bad-expression", "this is not a whole expression")
    return ExprError("bad-expression", "the expression cannot go on like this", at)


def parse_template(text: str) -> Expr:
    """Read a name that may contain variables: `layer$i`."""
    parts: list[Expr] = []
    at = 0
    for match in _VARIABLE.finditer(text):
        if match.start() > at:
            parts.append(Const(at, match.start(), text[at : match.start()]))
        parts.append(Ref(match.start(), match.end(), match.group(1)))
        at = match.end()
    if at < len(text):
        parts.append(Const(at, len(text), text[at:]))
    if len(parts) == 1 and isinstance(parts[0], Const):
        return parts[0]
    return Template(0, len(text), tuple(parts))


def variables(expr: Expr) -> Iterator[Ref]:
    """Every mention of a variable in `expr`, from left to right."""
    match expr:
        case Ref():
            yield expr
        case Unary(operand=operand):
            yield from variables(operand)
        case Binary(left=left, right=right):
            yield from variables(left)
            yield from variables(right)
        case Conditional(test=test, then=then, otherwise=otherwise):
            for part in (then, test, otherwise):
                yield from variables(part)
        case Index(value=value, index=index):
            yield from variables(value)
            yield from variables(index)
        case Call(args=items) | ListOf(items=items) | Template(parts=items):
            for item in items:
                yield from variables(item)


def evaluate(expr: Expr, env: Mapping[str, Value], meter: Meter | None = None) -> Value:
    """The value of `expr` where `env` gives the variables' values, at the cost of `meter`.

    Raises `ExprError` with the place.
    """
    meter = meter or Meter()
    match expr:
        case Const(value=value):
            meter.spend(_weight(value), expr.start, expr.end)
            return value
        case Ref(name=name):
            if name not in env:
                raise UnknownValue("unknown-variable", f"`${name}` has no value", expr.start, expr.end)
            meter.spend(_weight(env[name]), expr.start, expr.end)
            return env[name]
        case ListOf(items=items):
            return _listed(expr, tuple(evaluate(item, env, meter) for item in items))
        case Template(parts=parts):
            return "".join(_text(evaluate(part, env, meter), part) for part in parts)
        case Unary():
            return _unary(expr, evaluate(expr.operand, env, meter))
        case Binary(op="and" | "or"):
            left = _boolean(evaluate(expr.left, env, meter), expr.left)
            if left == (expr.op == "or"):
                return left
            return _boolean(evaluate(expr.right, env, meter), expr.right)
        case Binary():
            return _binary(expr, evaluate(expr.left, env, meter), evaluate(expr.right, env, meter))
        case Conditional():
            test = _boolean(evaluate(expr.test, env, meter), expr.test)
            return evaluate(expr.then if test else expr.otherwise, env, meter)
        case Call():
            return _call(expr, [evaluate(arg, env, meter) for arg in expr.args])
        case Index():
            return _index(expr, evaluate(expr.value, env, meter), evaluate(expr.index, env, meter))
    raise TypeError(f"no value for {type(expr).__name__}")  # a node type without a case is a bug of ours


def _weight(value: Value) -> int:
    """What a value costs whoever reads it, in steps."""
    if isinstance(value, tuple):
        return 1 + len(value) + sum(_weight(item) for item in value if isinstance(item, tuple | str))
    return 1 + len(value) // 64 if isinstance(value, str) else 1


def _divide(a: Any, b: Any) -> Any:
    """True division; two whole numbers that divide evenly give a whole number, so that `$filters / 4` is a size."""
    return a // b if isinstance(a, int) and isinstance(b, int) and a % b == 0 else a / b


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and abs(a) > 1 and b > 64:
        raise OverflowError
    return a**b


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": _power,
}
_EQUALITY: dict[str, Callable[[Any, Any], bool]] = {"==": lambda a, b: a == b, "!=": lambda a, b: a != b}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "len": len,
}


class _Translator:
    """From the whitelisted nodes of Python's syntax tree to ours."""

    operators: ClassVar[dict[type[ast.AST], str]] = {
        ast.Add: "+",
        ast.Sub: "-",
        ast.Mult: "*",
        ast.Div: "/",
        ast.FloorDiv: "//",
        ast.Mod: "%",
        ast.Pow: "**",
        ast.Eq: "==",
        ast.NotEq: "!=",
        ast.Lt: "<",
        ast.LtE: "<=",
        ast.Gt: ">",
        ast.GtE: ">=",
        ast.And: "and",
        ast.Or: "or",
        ast.USub: "-",
        ast.UAdd: "+",
        ast.Not: "not",
    }

    def __init__(self, text: str, line: str) -> None:
        self.text = text
        self.line = line.replace("$", "_")

    def translate(self, node: ast.expr) -> Expr:
        start, end = node.col_offset - 1, (node.end_col_offset or 0) - 1
        match node:
            case ast.Constant(value=str(word)):
                if word != self.line[start + 1 : end - 1]:  # r'…', '''…''' or 'a' 'b'
                    raise ExprError("bad-expression", "a word stands between one pair of quotes", start, end)
                return Const(start, end, self.text[start + 1 : end - 1])
            case ast.Constant(value=bool() | int() | float() as value):
                return Const(start, end, value)
            case ast.Name(id=name) if name.startswith("_"):
                return Ref(start, end, name[1:])
            case ast.Name(id="true" | "false" as name):
                return Const(start, end, name == "true")
            case ast.Name(id=name):
                raise ExprError(
                    "bad-expression",
                    f"`{name}` is not known here",
                    start,
                    end,
                    f"write `${name}` for a variable, `'{name}'` for a word",
                )
            case ast.UnaryOp(op=op, operand=operand) if type(op) in self.operators:
                return Unary(start, end, self.operators[type(op)], self.translate(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in self.operators:
                return Binary(start, end, self.operators[type(op)], self.translate(left), self.translate(right))
            case ast.BoolOp(op=op, values=[first, *rest]):
                joined = self.translate(first)
                for value in rest:
                    next_ = self.translate(value)
                    joined = Binary(start, next_.end, self.operators[type(op)], joined, next_)
                return joined
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in self.operators:
                return Binary(start, end, self.operators[type(op)], self.translate(left), self.translate(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return Conditional(start, end, self.translate(test), self.translate(body), self.translate(orelse))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                return Call(start, end, name, tuple(self.translate(arg) for arg in args))
            case ast.Call(func=ast.Name(id=name), keywords=[keyword, *_]) if name in FUNCTIONS:
                start, end = keyword.col_offset - 1, (keyword.end_col_offset or 0) - 1
                raise ExprError("bad-expression", "a function's arguments have no names", start, end)
            case ast.Call(func=func):
                raise ExprError(
                    "bad-expression",
                    f"there is no function `{self.text[func.col_offset - 1 : (func.end_col_offset or 0) - 1]}`",
                    func.col_offset - 1,
                    (func.end_col_offset or 0) - 1,
                    "known functions: " + ", ".join(FUNCTIONS),
                )
            case ast.Subscript(value=value, slice=index) if not isinstance(index, ast.Slice):
                return Index(start, end, self.translate(value), self.translate(index))
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return ListOf(start, end, tuple(self.translate(item) for item in items))
        raise ExprError(
            "bad-expression",
            "this is not allowed in an expression",
            start,
            end,
            "arithmetic, comparisons, `and`, `or`, `not`, `a if test else b`, lists and " + ", ".join(FUNCTIONS),
        )


def _fail(expr: Expr, message: str, help: str = "") -> NoReturn:
    raise ExprError("bad-expression", message, expr.start, expr.end, help)


def show(value: Value) -> str:
    """A value as a person would write it in YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        shown = ", ".join(show(item) for item in value[:8])
        return f"[{shown}, …]" if len(value) > 8 else f"[{shown}]"
    if isinstance(value, str):
        return f"`{value}`" if len(value) <= 60 else f"`{value[:57]}…`"
    return f"{value:,}".replace(",", "_") if isinstance(value, int) and abs(value) >= 10**15 else str(value)


def _number(value: Value, expr: Expr) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _fail(expr, f"a number is needed here, this is {show(value)}")
    return value


def _boolean(value: Value, expr: Expr) -> bool:
    if not isinstance(value, bool):
        _fail(expr, f"true or false is needed here, this is {show(value)}")
    return value


def _text(value: Value, expr: Expr) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        _fail(expr, f"a name is made of words and whole numbers, this is {show(value)}")
    return str(value)


def _bounded(value: Any, expr: Expr) -> int | float:
    if isinstance(value, complex) or not abs(value) < _LIMIT:
        _fail(expr, "the result is too large or not a number")
    return value  # type: ignore[no-any-return]


def _listed(expr: ListOf, values: tuple[Value, ...]) -> Value:
    """A list, if it is not too large: lists of lists of lists grow fast."""
    todo = [values]
    count = 0
    while todo:
        items = todo.pop()
        count += len(items)
        if count > MAX_ITEMS:
            _fail(expr, f"a list of more than {MAX_ITEMS:,} values")
        todo.extend(item for item in items if isinstance(item, tuple))
    return values


def _unary(expr: Unary, value: Value) -> Value:
    if expr.op == "not":
        return not _boolean(value, expr.operand)
    number = _number(value, expr.operand)
    return -number if expr.op == "-" else number


def _binary(expr: Binary, left: Value, right: Value) -> Value:
    if expr.op in _EQUALITY:
        return _EQUALITY[expr.op](left, right)
    a, b = _number(left, expr.left), _number(right, expr.right)
    if expr.op in _ORDER:
        return _ORDER[expr.op](a, b)
    try:
        return _bounded(_ARITHMETIC[expr.op](a, b), expr)
    except ZeroDivisionError:
        _fail(expr, "division by zero")
    except OverflowError:
        _fail(expr, "the result is too large")


def _call(expr: Call, args: list[Value]) -> Value:
    if expr.function == "len":
        if len(args) != 1 or not isinstance(args[0], tuple):
            _fail(expr, "`len` takes one list")
        return len(args[0])
    if len(args) == 1 and isinstance(args[0], tuple) and expr.function in ("min", "max"):
        args = list(args[0])
    numbers = [_number(arg, expr) for arg in args]
    if not numbers or (expr.function not in ("min", "max") and len(numbers) != 1):
        _fail(expr, f"`{expr.function}` takes {'numbers' if expr.function in ('min', 'max') else 'one number'}")
    if not all(abs(number) < _LIMIT for number in numbers):
        _fail(expr, "a number here is too large")
    function = FUNCTIONS[expr.function]
    return _bounded(function(numbers) if expr.function in ("min", "max") else function(*numbers), expr)


def _index(expr: Index, value: Value, index: Value) -> Value:
    if not isinstance(value, tuple):
        _fail(expr.value, f"only a list has items, this is {show(value)}")
    if isinstance(index, bool) or not isinstance(index, int):
        _fail(expr.index, f"an item's number is needed here, this is {show(index)}")
    if not -len(value) <= index < len(value):
        _fail(expr.index, f"the list has {len(value)} items, counted from 0; there is no item {index}")
    return value[index]
