"""Consecutive uses of one stage, which a loop can stand for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from cnnspec.backends.keras.windows import EdgeKind, nested
from cnnspec.expr import Const, Template, Value
from cnnspec.lower import program as p
from cnnspec.lower.program import Tensor
from cnnspec.lower.symbols import const, ref

_LEAST = 3


class Loop(NamedTuple):
    """Uses of a stage whose paths are a word and a number that counts from `start`."""

    calls: list[p.Call]
    word: str
    start: int

    def path(self, variable: str) -> p.Path:
        """The path of an iteration."""
        return (Template(0, 0, (const(self.word), ref(variable))),)

    def columns(self, kinds: Mapping[str, EdgeKind | None]) -> dict[str, list[Value]]:
        """The values of the parameters in `kinds` that differ; a kind tells that they are pixels at edges."""
        found = {name: [_value(step, name, kind) for step in self.calls] for name, kind in kinds.items()}
        return {name: values for name, values in found.items() if any(value != values[0] for value in values)}


def consecutive(steps: Iterable[object], kept: Collection[Tensor]) -> Loop | None:
    """The loop for the steps at the head of these, if they are enough for one: only constants tell them apart."""
    calls: list[p.Call] = []
    for step in steps:
        if not isinstance(step, p.Call) or step.definition.kind != "stage" or not _numbered(step)[0]:
            break
        if not all(isinstance(expr, Const) for expr in step.args.values()):
            break
        if calls:
            before = calls[-1]
            (word, number), (last_word, last) = _numbered(step), _numbered(before)
            flows = step.inputs[0] is before.output and before.output not in kept
            if not flows or before.definition is not step.definition or (word, number) != (last_word, last + 1):
                break
        calls.append(step)
    return Loop(calls, *_numbered(calls[0])) if len(calls) >= _LEAST else None


def _numbered(step: p.Call) -> tuple[str, int]:
    """The path of a call as a word and the number behind it; the word is empty where it is no such path."""
    match step.path:
        case (Const(value=str() as path),) if found := re.fullmatch(r"(.*[^0-9])(0|[1-9][0-9]*)", path):
            return found[1], int(found[2])
    return "", 0


def _value(step: p.Call, name: str, kind: EdgeKind | None) -> Value:
    """The value that a use gives a parameter, or leaves at its default."""
    expr = step.args.get(name)
    known = step.definition.parameter(name)
    assert known
    value = expr.value if isinstance(expr, Const) else known.default
    return nested(value, kind) if kind else value
