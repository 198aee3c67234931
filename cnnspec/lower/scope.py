"""One text under construction, with all its uses side by side.

Every quantity is a list with a value for each use (inside a loop: for each iteration of each use). `express` finds
the one expression that has all these values, or makes them a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

from cnnspec.expr import Binary, Const, Expr, ExprError, Value, evaluate, variables
from cnnspec.graph import Node
from cnnspec.lower.program import Definition, Parameter, Path, Tensor
from cnnspec.lower.symbols import binary, closed, const, first, ref, simplify
from cnnspec.ops import Shape

CARRIED = "carried channels"  # what a loop's step reads has these, until the loop knows better; no name has a space


class Unfoldable(Exception):
    """These uses cannot be one text."""


class Scope:
    """The uses of one text: the variables that each sees, and the tensors that its nodes are.

    `names` are the variables that an expression may use, `uses` tells for each element which use of the definition it
    belongs to, `iterations` its number within a loop whose variable is `variable`.
    """

    def __init__(
        self,
        definition: Definition,
        names: set[str],
        lets: dict[str, Expr],
        envs: list[dict[str, Value]],
        uses: list[int],
        count: int,
    ) -> None:
        self.definition = definition
        self.names = names
        self.lets = lets
        self.envs = envs
        self.uses = uses
        self.count = count  # of uses of the definition, of which a conditional part may hold only some
        self.local: set[str] = set()  # variables of the loops around
        self.extra: list[dict[str, Value]] = [{} for _ in range(count)]  # parameters made on the way, for each use
        self.tensors: list[dict[int, list[Tensor]]] = [{} for _ in envs]
        self.variable = ""
        self.iterations: list[int] = []
        self.readers: list[list[Node]] = []  # for every input of the definition, the node that each use reads

    def part(self, elements: Many[int]) -> Scope:
        """The same text for some of its elements only."""
        made = Scope(
            self.definition,
            self.names,
            self.lets,
            [self.envs[e] for e in elements],
            [self.uses[e] for e in elements],
            self.count,
        )
        made.tensors = [self.tensors[e] for e in elements]
        made.variable = self.variable
        made.iterations = [self.iterations[e] for e in elements] if self.iterations else []
        self._share(made)
        return made

    def loop(self, lengths: list[int], variable: str) -> Scope:
        """The inside of a loop with so many iterations in each element."""
        elements = [(e, k) for e, n in enumerate(lengths) for k in range(n)]
        made = Scope(
            self.definition,
            self.names,
            self.lets,
            [self.envs[e] | {variable: k} for e, k in elements],
            [self.uses[e] for e, _ in elements],
            self.count,
        )
        made.tensors = [dict(self.tensors[e]) for e, _ in elements]
        made.variable = variable
        made.iterations = [k for _, k in elements]
        self._share(made)
        made.local = self.local | {variable, CARRIED}
        return made

    def _share(self, other: Scope) -> None:
        other.local = self.local
        other.extra = self.extra
        other.readers = self.readers

    # ---- tensors

    def bind(self, nodes: Many[Node], tensor: Tensor) -> None:
        """Say that `tensor` is what these nodes give, one for each element."""
        for known, node in zip(self.tensors, nodes, strict=True):
            known[node.index] = [*known.get(node.index, ()), tensor]

    def tensor(self, nodes: Many[Node]) -> Tensor:
        """The tensor that these nodes give, one for each element."""
        common = list(self.tensors[0].get(nodes[0].index, ()))
        for known, node in zip(self.tensors[1:], nodes[1:], strict=True):
            here = known.get(node.index, ())
            common = [tensor for tensor in common if tensor in here]
        if not common:
            raise Unfoldable(f"no one tensor is {nodes[0].path} in every use")
        return common[-1]

    # ---- expressions

    def express(self, values: Many[Value], exprs: Many[Expr | None], hint: str) -> Expr:
        """An expression with these values. `exprs` are what the spec says, `hint` is a parameter's name."""
        if not self.iterations:
            return self._express(values, exprs, hint)
        rest = [e for e, k in enumerate(self.iterations) if k > 0]
        start = [e for e, k in enumerate(self.iterations) if k == 0]
        if not rest:
            return self._express(values, exprs, hint)
        again = self.part(rest)._express([values[e] for e in rest], [exprs[e] for e in rest], hint)
        if self.holds(again, values):
            return again
        begin = self.part(start)._express([values[e] for e in start], [exprs[e] for e in start], hint)
        return first(self.variable, begin, again)

    def _express(self, values: Many[Value], exprs: Many[Expr | None], hint: str) -> Expr:
        for expr in dict.fromkeys(exprs):
            if expr is None:
                continue
            said = simplify(expr, self._known(expr))
            for candidate in (_whole(said), said):
                if self.holds(candidate, values):
                    self._use_lets(candidate)
                    return candidate
        if all(alike(value, values[0]) for value in values):
            return const(values[0])
        return self.parameter(hint, values)

    def _known(self, expr: Expr) -> dict[str, Expr]:
        """The values of variables that the text does not have, where all uses agree on them."""
        known: dict[str, Expr] = {}
        for variable in variables(expr):
            name = variable.name
            if name not in self.names and name not in self.local and all(name in env for env in self.envs):
                values = [env[name] for env in self.envs]
                if all(alike(value, values[0]) for value in values):
                    known[name] = const(values[0])
        return known

    def holds(self, expr: Expr, values: Many[Value]) -> bool:
        """Whether an expression that the text may use has these values."""
        if not closed(expr, self.names | self.local):
            return False
        try:
            return all(
                alike(evaluate(expr, env | self.extra[use]), value)
                for env, use, value in zip(self.envs, self.uses, values, strict=True)
            )
        except ExprError:
            return False

    def _use_lets(self, expr: Expr) -> None:
        """Define the named values that an expression mentions, those first that they mention."""
        for variable in variables(expr):
            name = variable.name
            if name in self.lets and all(name != known for known, _ in self.definition.lets):
                value = simplify(self.lets[name], self._known(self.lets[name]))
                self._use_lets(value)
                self.definition.lets.append((name, value))

    def parameter(self, hint: str, values: Many[Value]) -> Expr:
        """A parameter of the definition with these values, one that it has already or a new one."""
        if self.definition.kind == "network":
            raise Unfoldable("the network has no uses that could differ")
        whole: list[Value] = [_UNSET] * self.count
        for use, value in zip(self.uses, values, strict=True):
            if whole[use] is not _UNSET and not alike(whole[use], value):
                raise Unfoldable(f"{hint} differs between iterations")
            whole[use] = value
        filler = next(value for value in whole if value is not _UNSET)
        settled = tuple(filler if value is _UNSET else value for value in whole)
        number = 1
        while True:
            name = f"{hint}{number}" if number > 1 else hint
            known = self.definition.parameter(name)
            if known and all(alike(a, b) for a, b in zip(known.values, settled, strict=True)):
                return ref(name)
            if not known and name not in self.names | self.local | set(self.lets):
                break
            number += 1
        self.definition.parameters.append(Parameter(name, settled))
        self.names.add(name)
        for extra, value in zip(self.extra, settled, strict=True):
            extra[name] = value
        return ref(name)

    def path(self, paths: Many[str], bases: Many[str], position: Expr) -> Path:
        """Paths below `bases`, as components; a first one that differs is expected to be `position`."""
        rows = [path[len(base) + 1 if base else 0 :].split(".") for path, base in zip(paths, bases, strict=True)]
        if len({len(row) for row in rows}) > 1:
            raise Unfoldable("paths of different depth")
        components: list[Expr] = []
        for at, column in enumerate(zip(*rows, strict=True)):
            values: list[Value] = [int(c) if c.isdigit() else c for c in column]
            components.append(self.express(values, [position if at == 0 else None] * len(values), "position"))
        return tuple(c for c in components if c != const(""))

    def channels(self, tensor: Tensor, shapes: Many[Shape], hint: str = "in_channels") -> Expr:
        """The channels of a tensor that has these shapes."""
        return self.express([s.channels for s in shapes], [tensor.channels] * len(shapes), hint)


class _Unset:
    pass


_UNSET: Value = _Unset()  # type: ignore[assignment]  # a marker that no value equals


def alike(a: Value, b: Value) -> bool:
    """Equal, and of one type: 1, 1.0 and True are not the same text."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def _whole(expr: Expr) -> Expr:
    """`expr` with `//` for `/`: a size divides evenly."""
    match expr:
        case Binary(op="/", left=left, right=right):
            return binary("//", _whole(left), _whole(right))
        case Binary(op=op, left=left, right=right):
            return binary(op, _whole(left), _whole(right))
        case Const():
            return expr
    return expr
