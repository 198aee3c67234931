"""One definition as a Keras function.

A step's values go to a variable: `x` for what flows on, `y` beside it in a residual, a branch's own name. A value that
is needed again later keeps the name of its layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from cnnspec.backends.keras.flow import Atom, Flow, atoms, label_of
from cnnspec.backends.keras.layouts import Layouts
from cnnspec.backends.keras.stages import Loop, consecutive
from cnnspec.backends.keras.table import MERGES, SEPARATOR, TABLE, Piece, shown
from cnnspec.backends.keras.windows import EdgeKind, Edges, edge_parameters, nested, nested_expr, padding_expr
from cnnspec.expr import Expr
from cnnspec.lower import program as p
from cnnspec.lower.program import Definition, Op, Program, Tensor
from cnnspec.lower.python import (
    WIDTH,
    Code,
    Group,
    annotation,
    assigned,
    call,
    flat,
    fstring,
    identifier,
    lines,
    literal,
    named,
    needs_math,
    returned,
    text,
)
from cnnspec.lower.symbols import const, ref
from cnnspec.lower.used import Used, used

_INFERRED = "in_channels"
_INPUT = "input"  # which the language lets no layer be called
_NAME = "the name of the layer"  # no variable of a spec has a space
_STAGE = "the number of a stage"
_RESERVED = frozenset(("keras", "layers", "ops", "math", "name", "inputs", "x"))


class File:
    """What the functions of one file share: names, and what they call."""

    def __init__(self, program: Program, layouts: Layouts, helpers: Collection[str]) -> None:
        self.program = program
        self.layouts = layouts
        self.called: dict[str, None] = {}  # functions of `helpers.py`, in the order of their use
        self.edges: Edges = edge_parameters(program)
        self.uses = used(program, shown, paths=True, inferred=(_INFERRED,))
        self.functions: dict[Definition, str] = {}
        self.parameters: dict[Definition, dict[str, str]] = {}  # what a function calls its parameters
        taken = set(_RESERVED) | set(helpers)
        for definition in reversed(program.definitions):  # the network's name comes first
            name = f"{definition.name}_head" if definition.kind == "head" else definition.name
            self.functions[definition] = identifier(name, taken)
            taken.add(self.functions[definition])
        self.taken = frozenset(taken)


class Function:
    """The text of one definition."""

    def __init__(self, file: File, definition: Definition) -> None:
        self.file = file
        self.definition = definition
        self.use: Used = file.uses[definition]
        self.network = definition.kind == "network"
        self.math = False
        self.names: dict[str, str] = {_NAME: "name"}
        mine = [q for q in self.use.parameters if q.name != _INFERRED]
        self.parameters = sorted(mine, key=lambda q: q.default is not None)  # those without a default first
        loops = [s.variable for s in p.walk(definition.steps) if isinstance(s, p.Repeat)]
        for variable in [*(q.name for q in self.use.parameters), *(name for name, _ in self.use.lets)]:
            self.add(variable)
        for variable in dict.fromkeys(loops):
            self.add(variable, "i" if len(set(loops)) == 1 else variable)
        file.parameters[definition] = {q.name: self.names[q.name] for q in self.use.parameters}
        self.loops = self.add(_STAGE, "i") if self.network else "i"
        self.training = self.add("the flag for training", "training") if self.network else ""
        assert definition.output
        self.output = definition.output
        self.flow, self.steps_now, self.steps_in_training = self.order()
        found = list(atoms(self.steps_now, ()))
        last = found[-1][0] if found and not self.network else None
        made_last = last and last.output is self.output and not isinstance(last, p.Repeat | p.Optional)
        self.final = self.output if made_last else None

    def order(self) -> tuple[Flow, list[p.Step], list[p.Step]]:
        """The steps that are always there, those for training only, and how values flow through both."""
        steps = self.definition.steps
        heads = self.file.program.heads if self.network else []
        ends = {self.output: ""} | {head.output: head.name for head in heads}
        first = "inputs" if self.network else "x"
        flow = Flow(self.definition, steps, ends, first, self.variable)
        if not any(head.training_only for head in heads):
            return flow, steps, []
        needed = flow.needed([self.output, *(head.output for head in heads if not head.training_only)])
        now, later = [s for s in steps if id(s) in needed], [s for s in steps if id(s) not in needed]
        return Flow(self.definition, [*now, *later], ends, first, self.variable), now, later

    def add(self, variable: str, wanted: str = "") -> str:
        """Choose a name for a variable of the program."""
        self.names[variable] = identifier(wanted or variable, self.file.taken | set(self.names.values()))
        return self.names[variable]

    def variable(self, wanted: str) -> str:
        """A name for a value that flows."""
        return identifier(wanted, (self.file.taken | set(self.names.values())) - {"x", "inputs"})

    # ---- expressions (`Text` of the table)

    def __call__(self, expr: Expr) -> str:
        self.math |= needs_math(expr)
        return text(expr, self.names)

    def edges(self, expr: Expr, kind: EdgeKind = "pads") -> str:
        return self(padding_expr(expr) if kind == "pads" else self.nested(expr, kind))

    def pairs(self, expr: Expr, kind: EdgeKind = "pads") -> str:
        return self(self.nested(expr, kind))

    def nested(self, expr: Expr, kind: EdgeKind) -> Expr:
        known = {name for definition, name in self.file.edges if definition is self.definition}
        return nested_expr(expr, kind, known)

    def permuted(self, op: Op) -> bool:
        return self.file.layouts.permute(op)

    def path(self, path: p.Path, suffix: str = "") -> str:
        """The name of a layer."""
        parts = [*path] if self.network else [ref(_NAME), *path]
        if suffix:
            parts.append(const(suffix))
        return "name" if parts == [ref(_NAME)] else fstring(parts, self.names, SEPARATOR)

    # ---- the function

    def lines(self) -> list[str]:
        """The function as lines."""
        body: list[str] = []
        if any(q.name == _INFERRED for q in self.use.parameters):
            body.append(f"    {self.names[_INFERRED]} = {self.flow.name(self.definition.inputs[0])}.shape[-1]")
        for name, expr in self.use.lets:
            body += lines(assigned(self.names[name], self(expr)), 4)
        return self.model(body) if self.network else self.plain(body)

    def signature(self, items: list[Code], result: str) -> list[str]:
        """Its first line."""
        return lines(Group(f"def {self.file.functions[self.definition]}(", tuple(items), f"){result}:"))

    def arguments(self) -> list[Code]:
        """Parameters with their types and defaults."""
        made: list[Code] = []
        for q in self.parameters:
            kind = self.file.edges.get((self.definition, q.name))
            values = tuple(nested(value, kind) for value in q.values) if kind else q.values
            default = "" if q.default is None else f" = {literal(nested(q.default, kind) if kind else q.default)}"
            made.append(f"{self.names[q.name]}: {annotation(values)}{default}")
        return made

    def plain(self, body: list[str]) -> list[str]:
        """A block or a stage."""
        body += self.steps(self.steps_now, (), "x", 4)
        if not self.final:
            body.append(f"    return {self.flow.name(self.output)}")
        return [*self.signature(["x", *self.arguments(), "*", "name: str"], ""), *body]

    def model(self, body: list[str]) -> list[str]:
        """The network."""
        heads = self.file.program.heads
        channels, *sizes = self.file.program.maps
        steps = self.steps(self.steps_now, (), "x", 4)
        flows = steps[:1] == ["    x = inputs"]
        given = call("keras.Input", literal((*sizes, channels)), named("name", literal(_INPUT)))
        body += lines(assigned("x = inputs" if flows else "inputs", given), 4)
        body += steps[1:] if flows else steps
        arguments = self.arguments()
        if any(head.training_only for head in heads):
            arguments.append(f"{self.training}: bool = False")
            body.append(f"    if {self.training}:")
            body += self.steps(self.steps_in_training, (), "x", 8)
            body += self.result([self.output, *(head.output for head in heads)], 8)
        body += self.result([self.output, *(head.output for head in heads if not head.training_only)], 4)
        return [*self.signature(arguments, " -> keras.Model"), *body]

    def result(self, ends: list[Tensor], indent: int) -> list[str]:
        """The model is returned."""
        shown_ends = tuple(map(self.flow.name, ends))
        outputs: Code = shown_ends[0] if len(ends) == 1 else Group("[", shown_ends, "]")
        return lines(
            returned(call("keras.Model", "inputs", outputs, named("name", literal(self.file.program.name)))), indent
        )

    # ---- steps

    def steps(self, steps: Iterable[p.Step], base: p.Path, hint: str, indent: int) -> list[str]:
        """The lines of steps below the path `base`; what flows on is called `hint`."""
        made: list[str] = []
        found = list(atoms(steps, base))
        at = 0
        while at < len(found):
            step, path, _ = found[at]
            loop = consecutive([atom for atom, _, _ in found[at:]], self.flow.kept) if self.network else None
            if loop:
                made += self.loop(loop, path, hint, indent)
                at += len(loop.calls)
            else:
                made += self.step(step, path, hint, indent)
                at += 1
        return made

    def step(self, step: Atom, base: p.Path, hint: str, indent: int) -> list[str]:
        """The lines of one step."""
        match step:
            case Op():
                return self.op(step, base, hint, indent)
            case p.Call():
                source = self.flow.name(step.inputs[0])
                target = self.flow.assign(step.output, hint)
                return self.statement(step.output, target, self.call(step, base, source), indent)
            case p.Repeat():
                return self.repeat(step, base, hint, indent)
            case p.Branches():
                made = []
                for branch in step.branches:
                    own = self.variable(label_of(branch.path) or "branch")
                    made += self.steps([branch], (*base, *step.path), own, indent)
                return made + self.steps([step.merge], (*base, *step.path), hint, indent)
            case p.Residual():
                return self.residual(step, (*base, *step.path), hint, indent)
            case p.Optional():
                return self.conditional(step.condition, step.step, base, step.inputs[0], step.output, hint, indent)

    def statement(self, tensor: Tensor, target: str, value: Code, indent: int) -> list[str]:
        """A value goes to its variable, or is the function's result."""
        return lines(returned(value) if tensor is self.final else assigned(target, value), indent)

    def op(self, op: Op, base: p.Path, hint: str, indent: int) -> list[str]:
        """The calls that stand for an op."""
        path = (*base, *op.path)
        names = tuple(map(self.flow.name, op.inputs))
        target = self.flow.assign(op.output, hint)
        source: Code = Group("[", names, "]") if op.kind in MERGES else names[0]
        *before, last = TABLE[op.kind](op, self)
        made: list[str] = []
        for piece in before:
            made += lines(assigned(target, self.piece(piece, path, source, len(target) + 3 + indent)), indent)
            source = target
        room = indent + (7 if op.output is self.final else len(target) + 3)
        return made + self.statement(op.output, target, self.piece(last, path, source, room), indent)

    def piece(self, piece: Piece, path: p.Path, source: Code, column: int) -> Code:
        """One call, which begins in a column: the formatter breaks what a layer is applied to, if that is enough."""
        name = named("name", self.path(path, piece.suffix))
        if piece.helper:
            self.file.called[piece.function] = None
            return call(piece.function, source, *piece.args, name)
        made = call(piece.function, *piece.args, name)
        applied = flat(made) + "("
        if column + len(applied) <= WIDTH < column + len(applied) + len(flat(source)) + 1:
            return Group(applied, (source,), ")")
        return Group(made.open, made.items, f")({flat(source)})")

    def call(self, step: p.Call, base: p.Path, source: str, columns: dict[str, str] | None = None) -> Code:
        """A use of a definition; `columns` are variables that stand in place of its arguments."""
        items: list[Code] = []
        skipped = False
        for q in self.callee(step):
            if columns and q in columns:
                shown_arg = columns[q]
            elif q in step.args:
                shown_arg = self.argument(step, q)
            else:
                skipped = True
                continue
            items.append(named(self.file.parameters[step.definition][q], shown_arg) if skipped else shown_arg)
        name = named("name", self.path((*base, *step.path)))
        return call(self.file.functions[step.definition], source, *items, name)

    def callee(self, step: p.Call) -> list[str]:
        """What a call may pass, in the order of the function's parameters."""
        found = [q for q in self.file.uses[step.definition].parameters if q.name != _INFERRED]
        return [q.name for q in sorted(found, key=lambda q: q.default is not None)]

    def argument(self, step: p.Call, parameter: str) -> str:
        expr = step.args[parameter]
        kind = self.file.edges.get((step.definition, parameter))
        return self(self.nested(expr, kind) if kind else expr)

    def repeat(self, step: p.Repeat, base: p.Path, hint: str, indent: int) -> list[str]:
        """A loop."""
        target, other = self.flow.continued([step], step.input, step.output, hint)
        made = [" " * indent + f"{target} = {self.flow.name(step.input)}"] if other else []
        made.append(" " * indent + f"for {self.names[step.variable]} in range({self(step.count)}):")
        self.flow.bind(step.carried, target)
        at = (*base, *step.path)
        if isinstance(step.step, p.Call):
            return made + lines(assigned(target, self.call(step.step, at, target)), indent + 4)
        for op in step.step.ops:
            self.flow.bind(op.output, target)
            made += self.op(op, at, target, indent + 4)
        return made

    def conditional(
        self, condition: Expr, step: p.Step, base: p.Path, source: Tensor, output: Tensor, hint: str, indent: int
    ) -> list[str]:
        """A step under a condition, without which `output` is `source`."""
        target, other = self.flow.continued([step], source, output, hint)
        made = [" " * indent + f"{target} = {self.flow.name(source)}"] if other else []
        made.append(" " * indent + f"if {self(condition)}:")
        made += self.steps([step], base, target, indent + 4)
        if (end := self.flow.name(_output(step))) != target:
            made.append(" " * (indent + 4) + f"{target} = {end}")
        return made

    def residual(self, step: p.Residual, base: p.Path, hint: str, indent: int) -> list[str]:
        """A body, a shortcut in the variable of the input if that is not needed again, and their sum."""
        made = self.steps(step.body, base, hint, indent)
        if step.shortcut:
            source = step.shortcut.inputs[0]
            aside = self.variable("shortcut")
            if step.condition is None:
                own = self.flow.name(source) if self.flow.ends_in(source, step.shortcut) else aside
                made += self.steps([step.shortcut], base, own, indent)
            else:
                output = step.shortcut_output
                made += self.conditional(step.condition, step.shortcut, base, source, output, aside, indent)
        return made + self.steps([step.add], base, hint, indent)

    def loop(self, loop: Loop, base: p.Path, hint: str, indent: int) -> list[str]:
        """One loop for consecutive uses of a stage."""
        some, *_, last = loop.calls
        target, other = self.flow.continued(loop.calls, some.inputs[0], last.output, hint)
        made = [" " * indent + f"{target} = {self.flow.name(some.inputs[0])}"] if other else []
        kinds = {q: self.file.edges.get((some.definition, q)) for q in self.callee(some)}
        columns = loop.columns(kinds)
        taken = self.file.taken | {*self.names.values(), target}
        variables = {q: identifier(q, taken) for q in columns}
        if not columns:
            bounds = f"{loop.start}, {loop.start + len(loop.calls)}" if loop.start else str(len(loop.calls))
            made.append(" " * indent + f"for {self.loops} in range({bounds}):")
        else:
            bound = ", ".join(variables.values())
            rows: list[Code] = ["[" + ", ".join(map(literal, column)) + "]" for column in columns.values()]
            head = f"for {self.loops}, {bound if len(columns) == 1 else f'({bound})'} in enumerate("
            start = [named("start", str(loop.start))] if loop.start else []
            made += lines(Group(head, (rows[0] if len(columns) == 1 else call("zip", *rows), *start), "):"), indent)
        step = replace(some, path=loop.path(_STAGE))
        return made + lines(assigned(target, self.call(step, base, target, variables)), indent + 4)


def _output(step: p.Step) -> Tensor:
    return step.output
