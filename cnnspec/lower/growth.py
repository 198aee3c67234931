"""How channels grow in a loop."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

from cnnspec.expr import Binary, Expr
from cnnspec.lower import program as p
from cnnspec.lower.scope import CARRIED
from cnnspec.lower.symbols import binary, both, first, mentions, ref, simplify


class Growth(NamedTuple):
    """The channels behind one iteration: `fixed`, or more `by` so many than before it; else as many."""

    fixed: Expr | None = None
    by: Expr | None = None

    def behind(self, start: Expr, passes: Expr) -> Expr:
        """The channels behind so many iterations that begin with `start`; where they are `fixed`, of at least one."""
        if self.fixed is not None:
            return self.fixed
        return start if self.by is None else binary("+", start, binary("*", passes, self.by))


def growth_of(after: Expr, variable: str) -> Growth | None:
    """How channels grow that are `after` behind an iteration, by what is carried; None if not evenly."""
    if mentions(after, variable):
        return None
    if not mentions(after, CARRIED):
        return Growth(fixed=after)
    terms = _terms(after)
    rest = [term for term in terms if term != ref(CARRIED)]
    if len(rest) != len(terms) - 1 or any(mentions(term, CARRIED) for term in rest):
        return None
    return Growth(by=reduce(lambda a, b: binary("+", a, b), rest)) if rest else Growth()


def _terms(expr: Expr) -> list[Expr]:
    match expr:
        case Binary(op="+", left=left, right=right):
            return [*_terms(left), *_terms(right)]
    return [expr]


def settle_channels(step: p.Layer | p.Call, variable: str, start: Expr, growth: Growth) -> None:
    """Say what the carried channels are, in every expression of a loop's step."""

    def settled(expr: Expr) -> Expr:
        if not mentions(expr, CARRIED):
            return expr
        if growth.fixed is not None:
            begin, again = both(expr, variable) or (expr, expr)
            return first(variable, simplify(begin, {CARRIED: start}), simplify(again, {CARRIED: growth.fixed}))
        return simplify(expr, {CARRIED: growth.behind(start, ref(variable))})

    if isinstance(step, p.Call):
        step.args = {name: settled(expr) for name, expr in step.args.items()}
        return
    for op in step.ops:
        op.attrs = {name: settled(expr) for name, expr in op.attrs.items()}
        op.channels = settled(op.channels)
