"""Which variable a value is in: decided when it is made, from how long it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from math import inf

from cnnspec.expr import Const, Template
from cnnspec.lower import program as p
from cnnspec.lower.program import Definition, Op, Tensor

Atom = Op | p.Call | p.Repeat | p.Branches | p.Residual | p.Optional


def atoms(steps: Iterable[p.Step], base: p.Path) -> Iterator[tuple[Atom, p.Path, str]]:
    """Steps one behind the other, sequences and layers opened; each with the path around it and a word for it."""
    for step in steps:
        if isinstance(step, p.Sequence):
            yield from atoms(step.steps, (*base, *step.path))
        elif isinstance(step, p.Layer):
            word = label_of((*base, *step.path))
            yield from ((op, base, word) for op in step.ops)
        else:
            yield step, base, label_of((*base, *step.path))


def label_of(path: p.Path) -> str:
    """The last word of a path, in lower case; empty where it is not known before."""
    for part in reversed(path):
        if isinstance(part, Const) and isinstance(part.value, str) and part.value:
            return part.value.lower()
        if isinstance(part, Template):
            return ""
    return ""


class Flow:
    """The variables of one function.

    Time counts the statements. `born` and `last` tell when a value is made and when it is read last, `kept` holds a
    word for values that are needed beyond the step behind them. `ends` are what the function gives, with a word for
    those that get a name of their own.
    """

    def __init__(
        self,
        definition: Definition,
        steps: list[p.Step],
        ends: dict[Tensor, str],
        first: str,
        legal: Callable[[str], str],
    ) -> None:
        self.legal = legal
        self.names: dict[Tensor, str] = dict.fromkeys(definition.inputs, first)
        self.born: dict[Tensor, float] = dict.fromkeys(definition.inputs, 0)
        self.last: dict[Tensor, float] = {}
        self.kept: dict[Tensor, str] = {}
        self.begin: dict[int, float] = {}
        self.end: dict[int, float] = {}
        self.makers: list[tuple[p.Step, set[Tensor], set[Tensor]]] = []
        self.time = 0
        for step in steps:
            known = set(self.last), set(self.born)
            reads: set[Tensor] = set()
            self._reads = reads
            self._chain([step])
            self.makers.append((step, set(self.born) - known[1], reads))
        self.last |= dict.fromkeys(ends, inf)
        if first == "inputs":
            self.last |= dict.fromkeys(definition.inputs, inf)
        self.result = next(iter(ends))
        self._keep(steps)
        self.kept |= {tensor: legal(word) for tensor, word in ends.items() if word}

    # ---- when

    def _read(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self.last[tensor] = self.time
            self._reads.add(tensor)

    def _chain(self, steps: Iterable[p.Step]) -> None:
        for atom, _, _ in atoms(steps, ()):
            self.begin[id(atom)] = self.time + 1
            self._atom(atom)
            behind = 0.5 if isinstance(atom, p.Optional) else 0  # its variable is the step's until then
            self.born[atom.output] = self.time + behind
            self.end[id(atom)] = self.time

    def _atom(self, atom: Atom) -> None:
        match atom:
            case Op() | p.Call() | p.Repeat():
                self.time += 1
                self._read(atom.inputs)
            case p.Branches():
                self._chain([*atom.branches, atom.merge])
            case p.Residual():
                self._chain(atom.body)
                if atom.shortcut:
                    self._chain([atom.shortcut])
                    if atom.condition is not None:
                        self.born[atom.shortcut_output] = self.time + 0.5
                self._chain([atom.add])
            case p.Optional():
                self._chain([atom.step])

    def _keep(self, steps: Iterable[p.Step]) -> None:
        """Find what is needed beyond the step behind it."""
        found = list(atoms(steps, ()))
        for (atom, _, word), (after, _, _) in pairwise(found):
            if self.last.get(atom.output, 0) > self.end[id(after)] and atom.output is not self.result:
                self.kept[atom.output] = self.legal(word or "skip")
        for atom, _, _ in found:
            match atom:
                case p.Branches():
                    for branch in atom.branches:
                        self._keep([branch])
                case p.Residual():
                    self._keep(atom.body)
                    self._keep([atom.shortcut] if atom.shortcut else [])
                case p.Optional():
                    self._keep([atom.step])

    def needed(self, ends: Iterable[Tensor]) -> set[int]:
        """The `id`s of the steps that lead to `ends`."""
        wanted = set(ends)
        found = set()
        for step, made, reads in reversed(self.makers):
            if made & wanted:
                found.add(id(step))
                wanted |= reads
        return found

    # ---- where

    def name(self, tensor: Tensor) -> str:
        """The variable that a value is in."""
        return self.names[tensor]

    def bind(self, tensor: Tensor, name: str) -> None:
        """Say where a value is."""
        self.names[tensor] = name

    def assign(self, tensor: Tensor, hint: str) -> str:
        """The variable for a value that is made now: `hint`, if nothing is in there that is needed still."""
        if tensor not in self.names:
            self.names[tensor] = self._free(self.kept.get(tensor, hint), self.born[tensor])
        return self.names[tensor]

    def _free(self, wanted: str, time: float) -> str:
        live = {
            name for other, name in self.names.items() if self.born.get(other, inf) <= time < self.last.get(other, 0)
        }
        candidates = [wanted, self.legal("y"), self.legal("z"), *(f"{wanted}{n}" for n in range(2, len(live) + 3))]
        return next(name for name in candidates if name not in live)

    def continued(self, steps: Iterable[p.Step], source: Tensor, output: Tensor, hint: str) -> tuple[str, bool]:
        """The variable that holds `source` and that `steps` overwrite with `output`; and whether it is another one."""
        found = [atom for atom, _, _ in atoms(steps, ())]
        name = self.names[source]
        over = self.last.get(source, 0) <= self.end[id(found[-1])] and source not in self.kept
        if output in self.kept or not over:
            name = self._free(self.kept.get(output, hint), self.begin[id(found[0])] - 1)
        self.names[output] = name
        return name, name != self.names[source]

    def ends_in(self, source: Tensor, step: p.Step) -> bool:
        """Whether a value is not needed beyond a step."""
        *_, (last, _, _) = atoms([step], ())
        return self.last.get(source, 0) <= self.end[id(last)] and source not in self.kept
