"""Expressions as generated code prints them: simplified, without places, in the names of one definition."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cnnspec.expr import (
    Binary,
    Call,
    Conditional,
    Const,
    Expr,
    ExprError,
    Index,
    ListOf,
    Ref,
    Template,
    Unary,
    Value,
    evaluate,
    variables,
)

ONE = Const(0, 0, 1)
ZERO = Const(0, 0, 0)


def const(value: Value) -> Const:
    """A literal."""
    return Const(0, 0, value)


def ref(name: str) -> Ref:
    """A variable."""
    return Ref(0, 0, name)


def binary(op: str, left: Expr, right: Expr) -> Expr:
    """`left op right`, simplified."""
    match op, left, right:
        case ("+", Const(value=0), other) | ("+" | "-", other, Const(value=0)):
            return other
        case ("*", Const(value=1), other) | ("*" | "//" | "/", other, Const(value=1)):
            return other
        case "-", a, b if a == b:
            return ZERO
        case (("+" | "-"), Binary(op="+" | "-" as inner, left=a, right=Const(value=int(m))), Const(value=int(n))):
            total = (m if inner == "+" else -m) + (n if op == "+" else -n)
            return binary("+" if total >= 0 else "-", a, const(abs(total)))
    return _folded(Binary(0, 0, op, left, right))


def simplify(expr: Expr, known: Mapping[str, Expr]) -> Expr:
    """`expr` with the variables in `known` replaced, constants folded, and places dropped."""
    match expr:
        case Const(value=value):
            return const(value)
        case Ref(name=name):
            return known.get(name, ref(name))
        case Unary(op=op, operand=operand):
            return _folded(Unary(0, 0, op, simplify(operand, known)))
        case Binary(op=op, left=left, right=right):
            return binary(op, simplify(left, known), simplify(right, known))
        case Conditional(test=test, then=then, otherwise=otherwise):
            condition = simplify(test, known)
            if isinstance(condition, Const):
                return simplify(then if condition.value else otherwise, known)
            return Conditional(0, 0, condition, simplify(then, known), simplify(otherwise, known))
        case Call(function=function, args=args):
            return _folded(Call(0, 0, function, tuple(simplify(arg, known) for arg in args)))
        case Index(value=value, index=index):
            return _folded(Index(0, 0, simplify(value, known), simplify(index, known)))
        case ListOf(items=items):
            return _folded(ListOf(0, 0, tuple(simplify(item, known) for item in items)))
        case Template(parts=parts):
            return _folded(Template(0, 0, tuple(simplify(part, known) for part in parts)))
    raise TypeError(type(expr).__name__)


def _folded(expr: Expr) -> Expr:
    """The value of an expression without variables, where it has one."""
    if any(True for _ in variables(expr)):
        return expr
    try:
        return const(evaluate(expr, {}))
    except ExprError:
        return expr


def mentions(expr: Expr, name: str) -> bool:
    """Whether a variable occurs in an expression."""
    return any(variable.name == name for variable in variables(expr))


def closed(expr: Expr, names: Collection[str]) -> bool:
    """Whether all variables of an expression are among `names`."""
    return all(variable.name in names for variable in variables(expr))


def first(test_variable: str, then: Expr, otherwise: Expr) -> Expr:
    """`then` in the first iteration, `otherwise` in the others."""
    if then == otherwise:
        return then
    return Conditional(0, 0, Binary(0, 0, "==", ref(test_variable), ZERO), then, otherwise)


def both(expr: Expr, variable: str) -> tuple[Expr, Expr] | None:
    """The two sides of `a if variable == 0 else b`."""
    match expr:
        case Conditional(test=Binary(op="==", left=Ref(name=name), right=Const(value=0)), then=a, otherwise=b):
            return (a, b) if name == variable else None
    return None
