"""Which layers of a network train, from when on and at which rates, said in as few words as it can be."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cnnspec.graph import Graph
from cnnspec.lower.python import WIDTH, Code, Group, flat, literal, quoted

_Value = TypeVar("_Value", bound=Hashable)
_NEVER = 0  # as the epoch in which a layer starts to train


@dataclass(frozen=True, slots=True)
class Phases:
    """Paths of layers, or of parts of the network with all layers in them.

    `frozen` ones never train, those of `unfreeze` from an epoch on, counted from 1, and `factors` has what rates are
    multiplied by. No path of one of them lies below another.
    """

    frozen: list[str]
    unfreeze: dict[int, list[str]]
    factors: dict[str, float]

    def constants(self, name: Callable[[str], str]) -> list[str]:
        """Statements that say so in generated code, in which `name` gives what is called by a path."""
        made = []
        if self.frozen:
            made += _spread(_names("FROZEN = ", self.frozen, name))
        if self.unfreeze:
            epochs = tuple(_names(f"{epoch}: ", paths, name) for epoch, paths in self.unfreeze.items())
            made += _spread(Group("UNFREEZE = {", epochs, "}"))
        if self.factors:
            factors = tuple(f"{quoted(name(path))}: {literal(factor)}" for path, factor in self.factors.items())
            made += _spread(Group("RATE_FACTORS = {", factors, "}"))
        return made


def _names(start: str, paths: list[str], name: Callable[[str], str]) -> Group:
    return Group(f"{start}[", tuple(quoted(name(path)) for path in paths), "]")


def _spread(code: Code, indent: int = 0, suffix: str = "") -> list[str]:
    """A list or a mapping, with each item on a line of its own where one line is too short for all."""
    pad, whole = " " * indent, flat(code) + suffix
    if not isinstance(code, Group) or len(pad + whole) <= WIDTH:
        return [pad + whole]
    items = [line for item in code.items for line in _spread(item, indent + 4, ",")]
    return [pad + code.open, *items, pad + code.close + suffix]


def needs_weights(graph: Graph) -> bool:
    """Whether a transfer case freezes layers that know nothing with drawn weights."""
    return any(node.params for node in graph.nodes if node.path in graph.frozen)


def unlearnt(graph: Graph) -> list[str]:
    """Statements of generated code that warn where training starts from weights that know nothing."""
    if not needs_weights(graph):
        return []
    said = 'print("warning: what is frozen has no weights but drawn ones", file=sys.stderr)'
    return ["if not args.weights and not args.resume:", f"    {said}"]


def phases(graph: Graph) -> Phases:
    """How a transfer case trains a network. Layers that drop values do so whatever is frozen around them.

    What no loss depends on stays as it is, which frameworks would see to each in its own way.
    """
    starts: dict[str, int] = {}
    factors: dict[str, float] = {}
    first = graph.first_epochs()
    for node in graph.nodes:
        if node.params:
            starts[node.path] = first.get(node.path, _NEVER)
            if starts[node.path] != _NEVER:
                factors[node.path] = graph.factors.get(node.path, 1.0)
        elif node.op.drops:
            starts[node.path] = 1
    unfreeze: dict[int, list[str]] = {}
    for path, epoch in _covers(starts).items():
        unfreeze.setdefault(epoch, []).append(path)
    return Phases(
        frozen=unfreeze.pop(_NEVER, []),
        unfreeze={epoch: unfreeze[epoch] for epoch in sorted(unfreeze) if epoch > 1},
        factors={path: factor for path, factor in _covers(factors).items() if factor != 1},
    )


def _covers(values: Mapping[str, _Value]) -> dict[str, _Value]:
    """The shortest paths below which all have one value, and that value."""
    ways = {path: _ways(path) for path in values}
    below: dict[str, set[_Value]] = {}
    for path, value in values.items():
        for way in ways[path]:
            below.setdefault(way, set()).add(value)
    return {next(way for way in ways[path] if len(below[way]) == 1): value for path, value in values.items()}


def _ways(path: str) -> list[str]:
    """A path and what it lies in, from the outermost."""
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
