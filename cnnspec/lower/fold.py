"""The graph folded back into the text that it was expanded from.

Definition first: all uses of a block are walked side by side, and what they have in common becomes the definition.
Where uses differ by more than values can say (another activation, a missing norm), they get a definition each.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from cnnspec.expr import Binary, Const, Expr, Value, variables
from cnnspec.graph import Graph, Instance, Node
from cnnspec.lower import program as p
from cnnspec.lower.globals import kept_parameters
from cnnspec.lower.growth import growth_of, settle_channels
from cnnspec.lower.instances import (
    Container,
    Rows,
    arrives,
    children,
    descendants,
    entries,
    entry_key,
    given,
    gives,
    group_key,
    left_out_somewhere,
    main_of,
    read_from_outside,
    shortcut_of,
    spliced,
    text_name,
    variables_around,
)
from cnnspec.lower.ops import fold_op
from cnnspec.lower.program import Definition, Head, Parameter, Program, Step, Tensor
from cnnspec.lower.scope import CARRIED, Scope, Unfoldable, alike
from cnnspec.lower.symbols import ONE, ZERO, binary, const, ref, simplify
from cnnspec.spec.layers import Arg, StageLayer


def fold(graph: Graph, *, shared: bool = True) -> Program:
    """The program of a network, training-only heads included.

    Without `shared`, every use of a block has a text of its own and nothing is a loop, so that all values are known:
    for what a language cannot say of several uses at once.
    """
    return _Folder(graph, shared).program()


class _Folder:
    def __init__(self, graph: Graph, shared: bool) -> None:
        self.graph = graph
        self.shared = shared
        self.groups: dict[tuple[Any, ...], list[Instance]] = {}
        self.folded: dict[int, tuple[Definition, int]] = {}  # of an instance: its definition, and which use it is
        self.readers: dict[int, list[list[Node]]] = {}  # of a definition: for each input, the node that each use reads
        self.definitions: list[Definition] = []
        self.kept = kept_parameters(graph)
        self.names: set[str] = set()
        self.signatures: dict[tuple[int, bool], Any] = {}
        self.outputs = {output.node for output in graph.outputs}
        self.opened = read_from_outside(graph)
        for instance in descendants(graph.root):
            if (key := group_key(instance)) is not None:
                self.groups.setdefault(key, []).append(instance)

    def program(self) -> Program:
        spec, root = self.graph.spec, self.graph.root
        kept = self.kept
        network = Definition(spec.name, "network")
        network.parameters = [Parameter(name, (value,), value) for name, value in kept.items()]
        scope = Scope(network, set(kept), {}, [dict(root.values)], [0], 1)
        x = Tensor("x", (self.graph.input.shape,), const(self.graph.input.shape.channels))
        network.inputs = [x]
        scope.bind([self.graph.input], x)
        network.steps = self.body([root], scope, x, numbered=False)
        network.output = scope.tensor([self.graph.outputs[0].node])
        calls = {s.output: s for s in network.steps if isinstance(s, p.Call) and s.definition.kind == "head"}
        ends = [(output, scope.tensor([output.node])) for output in self.graph.outputs[1:]]
        heads = [Head(output.name, end, output.training_only, calls.get(end)) for output, end in ends]
        title = ": ".join(text for text in (spec.name, spec.description) if text)
        if spec.cite:
            title = f"{title} ({spec.cite})"
        return Program(spec.name, title, self.graph, [*self.definitions, network], heads)

    # ---- definitions

    def definition_of(self, instance: Instance) -> tuple[Definition, int]:
        """The definition that an instance is a use of, and which use."""
        if id(instance) not in self.folded:
            key = group_key(instance)
            assert key is not None
            self.define(self.groups[key], (False, True, None) if self.shared else (None,))
        return self.folded[id(instance)]

    def define(self, uses: list[Instance], ways: tuple[bool | None, ...]) -> None:
        """One definition for uses that are alike; `ways` are the notions of that which are still to be tried."""
        way, *others = ways
        alike: dict[Any, list[Instance]] = {}
        for use in uses:
            alike.setdefault(id(use) if way is None else self.signature(use, way), []).append(use)
        for group in alike.values():
            known = len(self.definitions), dict(self.folded), set(self.names)
            try:
                self.fold_uses(group)
            except Unfoldable:
                del self.definitions[known[0] :]
                self.folded, self.names = known[1], known[2]
                if not others:
                    raise
                self.define(group, tuple(others))

    def fold_uses(self, uses: list[Instance]) -> None:
        some = uses[0]
        kind: Literal["block", "stage", "list", "head"] = "list"
        names: dict[str, Value] = {}
        lets: dict[str, Expr] = {}
        if some.kind == "block":
            kind = "block"
            assert some.block
            for name, default in some.block.args.items():
                names[name] = default.expr.value if default and default.constant else None  # type: ignore[union-attr]
            lets = {name: arg.expr for name, arg in some.block.let.items()}
        elif isinstance(some.layer, StageLayer):
            kind = "stage"
            names = dict.fromkeys(some.layer.each)
        elif some.kind == "output":
            kind = "head"
            names = dict.fromkeys(self.kept)
        if kind in ("stage", "list"):
            names |= dict.fromkeys(variables_around(some))
        definition = Definition("", kind, some.block.description if some.block else "")
        values = [{**use.values, "in_channels": arrives(use).shape.channels} for use in uses]
        definition.parameters = [Parameter("in_channels", tuple(v["in_channels"] for v in values))]
        definition.parameters += [
            Parameter(name, tuple(v[name] for v in values), default)
            for name, default in names.items()
            if all(name in v for v in values)
        ]
        scope = Scope(
            definition,
            {parameter.name for parameter in definition.parameters} | set(lets),
            lets,
            [dict(v) for v in values],
            list(range(len(uses))),
            len(uses),
        )
        x = Tensor("x", tuple(arrives(use).shape for use in uses), ref("in_channels"))
        definition.inputs = [x]
        scope.bind([arrives(use) for use in uses], x)
        if kind == "list":  # the structure itself, alone in its text
            definition.steps = [self.structure(uses, [use.path for use in uses], scope, const(""))]
        else:
            definition.steps = self.body(uses, scope, x, numbered=kind == "stage")
        definition.output = scope.tensor([gives(use) for use in uses])
        used = {v.name for expr in p.expressions(definition) for v in variables(expr)} | {"in_channels"}
        definition.parameters = [parameter for parameter in definition.parameters if parameter.name in used]
        definition.name = self.unique(text_name(uses))
        self.readers[id(definition)] = scope.readers
        self.definitions.append(definition)
        for number, use in enumerate(uses):
            self.folded[id(use)] = definition, number

    def unique(self, name: str) -> str:
        candidates = [name, *(f"{name}_{letter}" for letter in "bcdefghijklmnopqrstuvwxyz")]
        candidates += [f"{name}_{number}" for number in range(2, len(self.names) + 3)]
        chosen = next(c for c in candidates if c not in self.names)
        self.names.add(chosen)
        return chosen

    def signature(self, instance: Instance, strict: bool) -> Any:
        """What must be equal for two instances to be uses of one text; with `strict`, what is left out as well."""
        known = id(instance), strict
        if known not in self.signatures:
            self.signatures[known] = self._signature(instance, strict)
        return self.signatures[known]

    def _signature(self, instance: Instance, strict: bool) -> Any:
        parts: dict[Any, list[Any]] = {}
        for child in instance.children:
            if isinstance(child, Node):
                kind, attrs = child.canonical()
                parts.setdefault(len(parts), []).append((kind, *attrs, *child.params))
            elif strict or not left_out_somewhere(child, instance):
                parts.setdefault(entry_key(child, instance), []).append(self.signature(child, strict))
        steps = []
        for key, signatures in parts.items():
            many = isinstance(key, tuple) and key[0] == "stage"  # each iteration of a stage is a step of its own
            steps.append((key, tuple(signatures) if many else tuple(dict.fromkeys(signatures))))
        return instance.kind, tuple(steps)

    # ---- bodies

    def body(self, containers: list[Instance], scope: Scope, x: Tensor, *, numbered: bool) -> list[Step]:
        """The steps of a body; `containers` are the instances that hold its entries, one for each element."""
        steps: list[Step] = []
        flow = [arrives(container) for container in containers]
        position: Expr = ZERO
        for rows in entries(containers):
            if all(row and row[0].kind == "output" and self.nothing(row[0]) for row in rows):
                continue
            if all(i.kind == "repeat" and not i.children for row in rows for i in row):  # none at all
                continue
            made = self.entry(rows, containers, scope, position if numbered else const(""), flow)
            steps += made.steps
            flow = [gives(row[-1]) if row else before for row, before in zip(rows, flow, strict=True)]
            position = binary("+", position, made.length)
        return steps

    def nothing(self, head: Instance) -> bool:
        """Whether a further output has no layers of its own, or this graph does without it."""
        return gives(head) not in self.outputs or next(head.nodes(), None) is None

    def entry(
        self,
        rows: Rows,
        containers: list[Instance],
        scope: Scope,
        position: Expr,
        flow: list[Node] | None = None,
    ) -> _Made:
        """The steps of one entry of a body."""
        bases = [container.path for container in containers]
        some = next(row[0] for row in rows if row)
        if any(not row for row in rows) and not spliced(some, containers[0]):
            assert flow is not None
            return self.optional(rows, containers, scope, position, flow)
        if some.kind == "stage":
            return self.stage(rows, bases, scope)
        if spliced(some, containers[0]):
            return self.repeated(rows, bases, scope, position, (), flow or [arrives(c) for c in containers])
        instances = [row[0] for row in rows]
        return _Made([self.single(instances, bases, scope, position)], ONE)

    def single(self, instances: list[Instance], bases: list[str], scope: Scope, position: Expr) -> Step:
        """An entry that is there once."""
        some = instances[0]
        if some.kind == "layer":
            return self.layer(instances, bases, scope, position)
        if some.kind in ("block", "output"):
            return self.call(instances, bases, scope, position)
        if some.kind == "repeat":
            path = scope.path([i.path for i in instances], bases, position)
            rows, inner = [children(i) for i in instances], [i.path for i in instances]
            made = self.repeated(rows, inner, scope, ZERO, path, [arrives(i) for i in instances])
            if len(made.steps) == 1 and isinstance(made.steps[0], p.Repeat):
                return made.steps[0]
            return self.sequence(instances, path, made.steps, scope)
        if some.kind in ("replacement", "stage"):
            path = scope.path([i.path for i in instances], bases, position)
            x = scope.tensor([arrives(i) for i in instances])
            return self.sequence(instances, path, self.body(instances, scope, x, numbered=True), scope)
        if some.kind in ("branches", "residual"):
            own = instances[0].path != bases[0] or bool(scope.iterations)  # a path of its own, a text of its own
            if own and not any(id(i) in self.opened for i in instances):
                return self.call(instances, bases, scope, position)
            return self.structure(instances, bases, scope, position)
        raise Unfoldable(f"{some.kind} at {some.path}")

    def sequence(self, instances: list[Instance], path: p.Path, steps: list[Step], scope: Scope) -> p.Sequence:
        output = scope.tensor([gives(i) for i in instances])
        inputs = _outer_inputs(steps) or [output]
        return p.Sequence(path, steps, inputs, output)

    def optional(self, rows: Rows, containers: list[Instance], scope: Scope, position: Expr, flow: list[Node]) -> _Made:
        """An entry that some elements leave out."""
        there = [bool(row) for row in rows]
        present = [e for e, is_there in enumerate(there) if is_there]
        layer = rows[present[0]][0].layer
        if layer is None or layer.condition is None:
            raise Unfoldable(f"left out without a condition: {rows[present[0]][0].path}")
        condition = scope.express(there, [layer.condition.expr] * len(rows), "condition")
        part = scope.part(present)
        made = self.entry([rows[e] for e in present], [containers[e] for e in present], part, position)
        if len(made.steps) != 1:
            raise Unfoldable("several steps under one condition")
        (step,) = made.steps
        source = scope.tensor([rows[e][0].input or flow[e] if there[e] else flow[e] for e in range(len(rows))])
        results = [gives(row[-1]) if row else before for row, before in zip(rows, flow, strict=True)]
        output = Tensor("x", tuple(node.shape for node in results), None)
        if source.channels is not None and scope.holds(source.channels, [node.shape.channels for node in results]):
            output.channels = source.channels
        scope.bind(results, output)
        return _Made([p.Optional(condition, step, [source], output)], made.length)

    # ---- entries

    def layer(self, instances: list[Instance], bases: list[str], scope: Scope, position: Expr) -> p.Layer:
        """A layer with what it carries."""
        columns = [[child for child in instance.children if isinstance(child, Node)] for instance in instances]
        if len({len(column) for column in columns}) > 1:
            raise Unfoldable(f"{instances[0].path} has another number of parts elsewhere")
        path = scope.path([i.path for i in instances], bases, position)
        ops = []
        for nodes in zip(*columns, strict=True):
            ops.append(fold_op(list(nodes), bases, scope, position))
        return p.Layer(path, ops)

    def call(self, instances: list[Instance], bases: list[str], scope: Scope, position: Expr) -> p.Call:
        """A use of a definition."""
        found = [self.definition_of(instance) for instance in instances]
        definition = found[0][0]
        if any(other is not definition for other, _ in found):
            raise Unfoldable(f"{instances[0].path} has another definition elsewhere")
        path = scope.path([i.path for i in instances], bases, position)
        inputs = [scope.tensor([arrives(i) for i in instances])]
        for reader in self.readers[id(definition)]:
            inputs.append(scope.tensor([reader[use] for _, use in found]))
        args: dict[str, Expr] = {}
        for parameter in definition.parameters:
            values = [parameter.values[use] for _, use in found]
            exprs = [given(instance, parameter.name) for instance in instances]
            if parameter.name == "in_channels":
                exprs = [inputs[0].channels] * len(instances)
            elif (
                parameter.default is not None and exprs[0] is None and all(alike(v, parameter.default) for v in values)
            ):
                continue
            expr = scope.express(values, exprs, parameter.name)
            if parameter.default is None or expr != const(parameter.default):
                args[parameter.name] = expr
        assert definition.output
        outputs = [gives(i) for i in instances]
        known = {q.name: args.get(q.name, const(q.default)) for q in definition.parameters}
        known |= {name: simplify(expr, known) for name, expr in definition.lets}
        channels = simplify(definition.output.channels, known) if definition.output.channels else None
        output = Tensor("x", tuple(node.shape for node in outputs), channels)
        scope.bind(outputs, output)
        return p.Call(path, definition, args, inputs, output)

    def stage(self, rows: Rows, bases: list[str], scope: Scope) -> _Made:
        """The iterations of a stage, each a use of its text."""
        if len({len(row) for row in rows}) > 1:
            raise Unfoldable("stages of different length")
        steps: list[Step] = []
        for instances in map(list, zip(*rows, strict=True)):
            key = group_key(instances[0])
            alone = key is None or len(self.groups[key]) == 1 or any(id(i) in self.opened for i in instances)
            make = self.single if alone else self.call
            steps.append(make(instances, bases, scope, const("")))
        return _Made(steps, ONE)

    def structure(self, instances: list[Instance], bases: list[str], scope: Scope, position: Expr) -> Step:
        """Branches or a residual, in the text that holds them."""
        path = scope.path([i.path for i in instances], bases, position)
        inner = [i.path for i in instances]
        make = self.branches if instances[0].kind == "branches" else self.residual
        return make(instances, path, inner, scope)

    def branches(self, instances: list[Instance], path: p.Path, bases: list[str], scope: Scope) -> p.Branches:
        made = []
        merges: list[Instance] = []
        for column in zip(*[children(i) for i in instances], strict=True):
            parts = list(column)
            if parts[0].kind == "layer":
                merges = parts
                continue
            x = scope.tensor([arrives(i) for i in parts])
            steps = self.body(parts, scope, x, numbered=True)
            made.append(self.sequence(parts, scope.path([i.path for i in parts], bases, const("")), steps, scope))
        return p.Branches(path, made, self.layer(merges, bases, scope, const("")))

    def residual(self, instances: list[Instance], path: p.Path, bases: list[str], scope: Scope) -> p.Residual:
        inside = [children(i) for i in instances]
        adds = [found[-1] for found in inside]
        shortcuts = [shortcut_of(i) for i in instances]
        x = scope.tensor([arrives(i) for i in instances])
        rest = [
            Container(i.path, arrives(i), [c for c in found[:-1] if c is not shortcut])
            for i, found, shortcut in zip(instances, inside, shortcuts, strict=True)
        ]
        body = self.body(rest, scope, x, numbered=False)  # type: ignore[arg-type]  # instances as far as a body looks
        end = scope.tensor([main_of(add).inputs[0] for add in adds])
        step: p.Layer | p.Sequence | None = None
        condition: Expr | None = None
        ends = [main_of(add).inputs[1] for add in adds]
        output = x
        if any(shortcuts):
            there = [e for e, shortcut in enumerate(shortcuts) if shortcut]
            part = scope.part(there)
            step = self.shortcut([s for s in shortcuts if s], [bases[e] for e in there], part)
            output = step.output
            if len(there) < len(instances):
                condition = _projected([bool(s) for s in shortcuts], step, x, end, scope)
                output = Tensor("shortcut", tuple(node.shape for node in ends), end.channels)
                scope.bind(ends, output)
        inputs = _outer_inputs([*body, step] if step else body)
        if x not in inputs:  # the identity reads it
            inputs.append(x)
        return p.Residual(path, body, step, condition, output, self.layer(adds, bases, scope, const("")), inputs)

    def shortcut(self, instances: list[Instance], bases: list[str], scope: Scope) -> p.Layer | p.Sequence:
        if instances[0].kind == "layer":
            return self.layer(instances, bases, scope, const(""))
        path = scope.path([i.path for i in instances], bases, const(""))
        x = scope.tensor([arrives(i) for i in instances])
        return self.sequence(instances, path, self.body(instances, scope, x, numbered=True), scope)

    # ---- repeats

    def repeated(
        self, rows: Rows, bases: list[str], scope: Scope, position: Expr, path: p.Path, flow: list[Node]
    ) -> _Made:
        """Iterations of one entry: a loop, or one after the other where no loop has their values."""
        counts = [len(row) for row in rows]
        layer = next(row[0] for row in rows if row).layer
        assert layer
        opened = any(id(i) in self.opened for row in rows for i in row[:-1])
        if set(counts) != {1} and not opened and self.shared:
            marks = len(scope.definition.parameters), len(scope.definition.lets), set(scope.names)
            before = [dict(extra) for extra in scope.extra]
            try:
                return self.loop(rows, counts, layer.repeat, bases, scope, position, path, flow)
            except Unfoldable:
                del scope.definition.parameters[marks[0] :]
                del scope.definition.lets[marks[1] :]
                scope.names &= marks[2]
                scope.extra[:] = before
        if len(set(counts)) > 1:
            raise Unfoldable("repeats of different length, and no loop for them")
        steps = [
            self.single([row[k] for row in rows], bases, scope, binary("+", position, const(k)))
            for k in range(counts[0])
        ]
        return _Made(steps, const(counts[0]))

    def loop(
        self,
        rows: Rows,
        counts: list[int],
        repeat: Arg | None,
        bases: list[str],
        scope: Scope,
        position: Expr,
        path: p.Path,
        flow: list[Node],
    ) -> _Made:
        if scope.iterations:
            raise Unfoldable("a loop in a loop")
        count = scope.express(counts, [repeat.expr if repeat else None] * len(rows), "repeats")
        variable = next(v for v in ("i", "j", "k", "iteration") if v not in scope.names)
        inner = scope.loop(counts, variable)
        instances = [instance for row in rows for instance in row]
        inner_bases = [base for base, row in zip(bases, rows, strict=True) for _ in row]
        begin = [arrives(row[0]) if row else before for row, before in zip(rows, flow, strict=True)]
        source = scope.tensor(begin)
        start = scope.channels(source, [node.shape for node in begin])
        carried = Tensor("x", tuple(arrives(i).shape for i in instances), ref(CARRIED))
        for env, instance in zip(inner.envs, instances, strict=True):
            env[CARRIED] = arrives(instance).shape.channels
        inner.bind([arrives(i) for i in instances], carried)
        place = binary("+", ref(variable), position)
        step = self.single(instances, inner_bases, inner, place)
        if not isinstance(step, p.Layer | p.Call) or step.inputs[0] is not carried:
            raise Unfoldable("only layers and calls are repeated")
        after = step.output.channels
        if after is None:
            raise Unfoldable("the channels that come out have no expression")
        growth = growth_of(after, variable)
        if growth is None:
            raise Unfoldable("the channels do not grow evenly")
        settle_channels(step, variable, start, growth)
        outputs = [gives(row[-1]) if row else before for row, before in zip(rows, flow, strict=True)]
        final = Tensor("x", tuple(node.shape for node in outputs), None)
        if min(counts) > 0 or growth.fixed is None:
            final.channels = growth.behind(start, count)
        scope.bind(outputs, final)
        return _Made([p.Repeat(path, step, variable, count, min(counts), carried, source, final)], count)


class _Made(NamedTuple):
    """Steps, and how many entries of a list they are."""

    steps: list[Step]
    length: Expr


def _projected(there: list[bool], step: Step, x: Tensor, end: Tensor, scope: Scope) -> Expr:
    """When a shortcut is a projection: where the stride is not 1, or the channels change."""
    tests: list[Expr] = []
    if isinstance(step, p.Layer):
        stride = step.ops[0].attrs.get("stride", ONE)
        if not isinstance(stride, Const):
            tests.append(Binary(0, 0, "!=", stride, ONE))
    if x.channels is not None and end.channels is not None:
        tests.append(Binary(0, 0, "!=", x.channels, end.channels))
    if len(tests) == 2:
        tests.insert(0, Binary(0, 0, "or", *tests))
    for test in tests:
        if scope.holds(test, there):
            return test
    return scope.express(there, [None] * len(there), "projection")


def _outer_inputs(steps: list[Step]) -> list[Tensor]:
    """What steps read that none of them makes."""
    read: dict[Tensor, None] = {}
    made: set[Tensor] = set()
    for step in p.walk(steps):
        if isinstance(step, p.Repeat):
            made.add(step.carried)
        if isinstance(step, p.Residual):
            made.add(step.shortcut_output) if step.shortcut else None
        if isinstance(step, p.Layer):
            made |= {op.output for op in step.ops}
            for op in step.ops:
                read |= dict.fromkeys(op.inputs)
        else:
            if isinstance(step, p.Call | p.Repeat | p.Optional):
                read |= dict.fromkeys(step.inputs)
                made.add(step.output)
            if isinstance(step, p.Sequence) and not step.steps:
                read |= dict.fromkeys(step.inputs)
    return [tensor for tensor in read if tensor not in made]
