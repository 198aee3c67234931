"""What a printer needs of a program: parameters and named values that no printed expression mentions are left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from cnnspec.expr import Expr, variables
from cnnspec.lower import program as p
from cnnspec.lower.program import Definition, Op, Parameter, Program


class Used(NamedTuple):
    """What of a definition is printed, in its order."""

    parameters: list[Parameter]
    lets: list[tuple[str, Expr]]


def used(
    program: Program, printed: Callable[[Op], Iterable[Expr]], *, paths: bool, inferred: Collection[str] = ()
) -> dict[Definition, Used]:
    """What is used of every definition, where `printed` are an op's expressions in this language.

    `paths` tells whether the paths of layers are printed, too; `inferred` are parameters that calls do not pass.
    """
    found: dict[Definition, Used] = {}
    for definition in program.definitions:  # each comes after those that it uses
        names = {v.name for expr in _expressions(definition, printed, paths, inferred, found) for v in variables(expr)}
        lets = []
        for name, expr in reversed(definition.lets):
            if name in names:
                names |= {v.name for v in variables(expr)}
                lets.append((name, expr))
        found[definition] = Used([q for q in definition.parameters if q.name in names], lets[::-1])
    return found


def _expressions(
    definition: Definition,
    printed: Callable[[Op], Iterable[Expr]],
    paths: bool,
    inferred: Collection[str],
    found: dict[Definition, Used],
) -> Iterator[Expr]:
    for step in p.walk(definition.steps):
        if paths:
            yield from step.path
        match step:
            case p.Layer(ops=ops):
                for op in ops:
                    yield from printed(op)
                    if paths:
                        yield from op.path
            case p.Call(args=args, definition=callee):
                passed = [q.name for q in found[callee].parameters if q.name in args and q.name not in inferred]
                yield from (args[name] for name in passed)
            case p.Repeat(count=count):
                yield count
            case p.Optional(condition=condition):
                yield condition
            case p.Residual(condition=condition) if condition is not None:
                yield condition
            case _:
                pass
