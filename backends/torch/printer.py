"""A program as PyTorch source: blocks as modules, the layers' paths as the keys of the state dict."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from cnnspec.backends.torch.modules import (
    RESERVED,
    Modules,
    attribute,
    compact,
    compute,
    flat_layer,
    makes,
    printed,
)
from cnnspec.backends.torch.table import HELPERS, lower
from cnnspec.expr import Const, Expr, Ref, variables
from cnnspec.lower import program as p
from cnnspec.lower.cut import METHODS, find_cut
from cnnspec.lower.files import model_file
from cnnspec.lower.fold import fold
from cnnspec.lower.program import Definition, Layer, Path, Program, Tensor, Unprintable
from cnnspec.lower.python import (
    WIDTH,
    Code,
    Group,
    assigned,
    call,
    flat,
    fstring,
    identifier,
    lines,
    prefixed,
    quoted,
    returned,
    text,
)
from cnnspec.lower.symbols import const
from cnnspec.lower.used import used

_NAMES = ("x", "y", "z", "u", "v", "w")


def source(program: Program) -> str:
    """The text of `model.py`."""
    try:
        return _source(program)
    except Unprintable:
        return _source(fold(program.graph, shared=False))


def _source(program: Program) -> str:
    uses = used(program, printed, paths=True)
    modules = Modules(program, uses)
    cut = find_cut(program)
    end = None if isinstance(cut, str) else cut.tensor
    counts: dict[Tensor, int] = {}
    for definition in program.definitions:  # once to see what is used how often
        _Class(definition, program, modules, counts, None, end).lines()
    modules.settled = True
    bodies = [_Class(definition, program, modules, {}, counts, end).lines() for definition in program.definitions]
    layer_classes = [made for made in modules.layer_classes.values() if len(made.layers) > 1]
    main = ["\n".join(modules.class_text(made)) for made in layer_classes]
    main += ["\n".join(body) for body in bodies]
    called = _names_in("\n".join(main))
    parts = [HELPERS[name].rstrip() for name in _with_what_they_need(modules.helpers)]
    parts += [f"class {name}{body}" for body, name in modules.fused.items() if name in called]
    parts += main
    return model_file(program.title, _imports("\n".join(parts)), parts)


def _with_what_they_need(helpers: Iterable[str]) -> list[str]:
    """Helpers, each once and behind those that its own text names."""
    found: dict[str, None] = {}
    for name in helpers:
        found |= dict.fromkeys([*sorted(_names_in(HELPERS[name]) & HELPERS.keys()), name])
    return list(found)


def _imports(code: str) -> list[str]:
    """The imports that the code needs, sorted as tools sort them; what texts and attributes say needs none."""
    named = _names_in(code)
    standard = ["import math"] if "math" in named else []
    standard += ["from collections import OrderedDict"] if "OrderedDict" in named else []
    functional = ["import torch.nn.functional as F"] if "F" in named else []
    return [*standard, *([""] if standard else []), "import torch", *functional, "from torch import nn"]


def _names_in(code: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


class _Class:
    """The text of one definition.

    What leads to `end`, if that is one of the network's values, is a method of its own. `counts` notes how often each
    tensor is read; `totals` are these counts, once known: a tensor's name is free again behind its last use.
    """

    def __init__(
        self,
        definition: Definition,
        program: Program,
        modules: Modules,
        counts: dict[Tensor, int],
        totals: dict[Tensor, int] | None,
        end: Tensor | None,
    ) -> None:
        self.definition = definition
        self.end = end
        self.program = program
        self.modules = modules
        self.counts = counts
        self.totals = totals
        self.names = modules.names(definition)
        self.taken = set(RESERVED) | set(self.names.values())
        self.stored: dict[str, str] = {}  # what the forward pass needs of the parameters: attribute by expression
        self.set_up: list[tuple[int, Code]] = []  # statements of the constructor, with how far they are indented
        self.body: list[tuple[int, Code]] = []  # and of the forward pass
        self.result: tuple[int, str, Code] | None = None  # the last of these, if it gives a tensor its value
        self.vars: dict[Tensor, str] = {}
        self.nested: dict[Tensor, Code] = {}
        self.held: dict[str, int] = {}  # names in use, by how many tensors and nested expressions have them
        self.recent: list[str] = []  # names read since the last statement
        self.waiting: dict[Tensor, list[str]] = {}  # names in a nested expression
        self.containers: set[str] = set()
        self.indent = 0
        self.made: set[Tensor] = set()  # what may be written over by the one who reads it

    # ---- the class

    def lines(self) -> list[str]:
        """The whole class."""
        definition = self.definition
        network = definition is self.program.network
        if not network and definition.kind == "stage":
            items = self.modules.items(definition.steps, definition.inputs[0], self.text)
            if items is not None:
                return self.sequential(items)
        for tensor, name in zip(definition.inputs, _NAMES, strict=False):
            self.bind(tensor, name)
        heads = [head.call for head in self.program.heads] if network else []
        features: list[str] = []
        for step in definition.steps:
            if step not in heads:
                self.step(step, ())
                if network and step.output is self.end:
                    features = self.features(step.output)
        result = self.results() if network else self.returned()
        made = [f"class {self.modules.classes[definition]}(nn.Module):"]
        if definition.description:
            made += [f'    """{_plain(definition.description)}"""', ""]
        signature = self.modules.signature(definition)
        set_up = [
            f"        {self.names[name]} = {self.text(expr)}" for name, expr in self.modules.uses[definition].lets
        ]
        set_up += [f"        self.{name} = {shown}" for shown, name in self.stored.items()]
        set_up += _laid_out(self.set_up)
        if set_up or len(signature.items) > 1:
            made += [*lines(signature, 4), "        super().__init__()", *set_up, ""]
        inputs = ", ".join(f"{self.vars_at_start(t)}: torch.Tensor" for t in definition.inputs)
        if not features:
            made.append(f"    def forward(self, {inputs}) -> {result}:")
            return made + _laid_out(self.body)
        first, last = METHODS
        made += [f"    def {first}(self, x: torch.Tensor) -> torch.Tensor:", *features, ""]
        made += [f"    def {last}(self, x: torch.Tensor) -> {result}:", *_laid_out(self.body), ""]
        return [*made, f"    def forward(self, {inputs}) -> {result}:", f"        return self.{last}(self.{first}(x))"]

    def features(self, tensor: Tensor) -> list[str]:
        """The statements so far, which give one value; those that follow begin with it."""
        name = self.vars[tensor]
        self.last(name)
        made = _laid_out(self.body)
        self.body, self.result, self.recent = [], None, []
        self.held[name] -= 1
        self.bind(tensor, _NAMES[0])
        return made

    def vars_at_start(self, tensor: Tensor) -> str:
        return _NAMES[self.definition.inputs.index(tensor)]

    def sequential(self, items: list[Code]) -> list[str]:
        made = [f"class {self.modules.classes[self.definition]}(nn.Sequential):"]
        made += lines(self.modules.signature(self.definition), 4)
        for name, expr in self.modules.uses[self.definition].lets:
            made.append(f"        {self.names[name]} = {self.text(expr)}")
        return made + lines(call("super().__init__", *items), 8)

    def returned(self) -> str:
        output = self.definition.output
        assert output
        self.last(self.read(output))
        return "torch.Tensor"

    def results(self) -> str:
        """What the network gives: one tensor, or several where it has further outputs, some in training only."""
        output = self.definition.output
        assert output
        if not self.program.heads:
            return self.returned()
        always = [head for head in self.program.heads if not head.training_only]
        training = [head for head in self.program.heads if head.training_only]
        ends: dict[Tensor, Code] = {}
        for head in self.program.heads:
            step = head.call
            if step is None:
                ends[head.output] = self.read(head.output)
                continue
            path = ".".join(str(part.value) for part in step.path if isinstance(part, Const))
            self.attach(step.path, self.modules.call(step, self.text))
            ends[head.output] = call(self.access(step.path), *[self.read(t) for t in step.inputs])
            assert path
        main = self.read(output)
        if training:
            everything = ", ".join(flat(code) for code in [main, *ends.values()])
            self.write("if self.training:")
            self.write(f"return {everything}", 1)
        self.last(", ".join(flat(code) for code in [main, *(ends[head.output] for head in always)]) if always else main)
        several = "tuple[torch.Tensor, ...]"
        return several if always else f"torch.Tensor | {several}"

    def last(self, code: Code) -> None:
        """Return a value; where the statement before made it, that one does."""
        if self.result and self.result[0] == len(self.body) and self.result[1] == code:
            self.body[-1] = (0, returned(self.result[2]))
        else:
            self.write(returned(code))

    # ---- text, names, tensors

    def text(self, expr: Expr) -> str:
        """An expression in the constructor."""
        return text(expr, self.names)

    def later(self, expr: Expr, wish: str = "value") -> str:
        """An expression in the forward pass, where parameters are attributes; `wish` is a name for one."""
        if isinstance(expr, Const):
            return text(expr)
        if not all(variable.name in self.names for variable in variables(expr)):
            return text(expr, self.kept([expr]))  # with a loop's variable
        shown = self.text(expr)
        if shown not in self.stored:
            wish = self.names[expr.name] if isinstance(expr, Ref) else wish
            labels = {_label(step) for step in self.definition.steps}
            self.stored[shown] = identifier(attribute(wish), labels | set(self.stored.values()))
        return f"self.{self.stored[shown]}"

    def kept(self, exprs: Iterable[Expr]) -> dict[str, str]:
        """What the parameters in some expressions are called in the forward pass."""
        found = {variable.name for expr in exprs for variable in variables(expr)}
        return {name: self.later(Ref(0, 0, name)) for name in self.names if name in found}

    def write(self, statement: Code, further: int = 0) -> None:
        self.recent = []
        self.body.append((self.indent + further, statement))

    def bind(self, tensor: Tensor, name: str) -> None:
        self.vars[tensor] = name
        self.held[name] = self.held.get(name, 0) + 1

    def read(self, tensor: Tensor) -> Code:
        """A tensor, as part of an expression; behind its last use its name is free."""
        self.counts[tensor] = self.counts.get(tensor, 0) + 1
        if tensor in self.nested:
            for name in self.waiting.pop(tensor, ()):
                self.held[name] -= 1
                self.recent.append(name)
            return self.nested[tensor]
        name = self.vars[tensor]
        self.recent.append(name)
        if self.totals is not None and self.counts[tensor] == self.totals.get(tensor, 0):
            self.held[name] -= 1
        return name

    def give(self, tensor: Tensor, code: Code) -> None:
        """Assign a value to a tensor's name."""
        free = [name for name in _NAMES if not self.held.get(name)]
        name = free[0] if free else next(f"x{n}" for n in range(1, 10_000) if not self.held.get(f"x{n}"))
        self.bind(tensor, name)
        if code != name:
            self.write(assigned(name, code))
            self.result = (len(self.body), name, code) if not self.indent else None

    def nest(self, tensor: Tensor, code: Code, room: int = WIDTH) -> None:
        """Leave a value to the one expression that reads it, if that is readable and there is room."""
        once = self.totals is None or self.totals.get(tensor, 0) == 1
        if once and len(flat(code)) < min(60, room):
            self.nested[tensor] = code
            self.waiting[tensor] = self.recent
            for name in self.recent:  # nobody may write over them before the expression is printed
                self.held[name] = self.held.get(name, 0) + 1
            self.recent = []
        else:
            self.give(tensor, code)

    # ---- modules as attributes

    def attach(self, path: Path, module: Code) -> None:
        """Construct a module at a path."""
        *outer, last = path
        target = self.container(tuple(outer))
        if _named(last) and not outer:
            self.set_up.append((0, assigned(f"self.{_string((last,), self.names)[1:-1]}", module)))
        elif len(outer) == 1 and _named(outer[0]):
            key = _string((last,), self.names)
            entered = _entered(self.set_up[-1], target, key, module) if self.set_up else None
            if entered is not None:
                self.set_up[-1] = (0, entered)
            else:
                self.set_up.append((0, assigned(f"{target}[{key}]", module)))
        else:
            self.set_up.append((0, call(f"{target}.add_module", _string((last,), self.names), module)))

    def container(self, path: Path) -> str:
        """The module at a path, which holds others; made where it is not there yet."""
        if not path:
            return "self"
        place = _string(path, self.names)
        if place not in self.containers:
            self.containers.add(place)
            self.attach(path, call("nn.ModuleDict"))
        return self.access(path, self.names)

    def access(self, path: Path, names: dict[str, str] | None = None) -> str:
        """The module at a path, in the forward pass unless `names` are the constructor's."""
        if names is None:
            names = self.kept(path)
        if _named(path[0]) and len(path) <= 2:
            first = f"self.{_string(path[:1], names)[1:-1]}"
            return first if len(path) == 1 else f"{first}[{_string(path[1:], names)}]"
        return f"self.get_submodule({_string(path, names)})"

    # ---- steps

    def step(self, step: p.Step, base: Path) -> None:
        """The lines of one step; `base` is the path of what holds it within the definition."""
        path = base + step.path
        match step:
            case Layer() | p.Call():
                self.give(step.output, self.value(step, base))
                if makes(step):
                    self.made.add(step.output)
            case p.Repeat():
                with self.apart():
                    self.repeat(step, path)
            case p.Sequence():
                code = self.sequence(step, path)
                if code is not None:
                    self.give(step.output, code)
            case p.Branches():
                room = WIDTH - 4 * self.indent - len("        return ")
                for branch in step.branches:
                    code = self.sequence(branch, path + branch.path)
                    if code is not None and branch.steps:
                        self.nest(branch.output, code, room if len(step.branches) == 2 else WIDTH)
                    room -= len(flat(self.nested.get(branch.output, "x"))) + len(" + ")
                self.give(step.output, self.layer(step.merge, path))
            case p.Residual():
                self.residual(step, path)
            case p.Optional():
                with self.apart():
                    self.optional(step, base)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Write steps that run more than once, or not always: what is made ahead of them is not theirs alone."""
        made, self.made = self.made, set()
        yield
        self.made = made

    def value(self, step: Layer | p.Call, base: Path) -> Code:
        """The value of a step, as an expression; its modules become attributes."""
        if isinstance(step, Layer):
            return self.layer(step, base)
        self.attach(base + step.path, self.modules.call(step, self.text))
        return call(self.access(base + step.path), *[self.read(tensor) for tensor in step.inputs])

    def layer(self, layer: Layer, base: Path) -> Code:
        """The value of a layer; its modules become attributes."""
        lowered = [lower(op) for op in layer.ops]
        for low in lowered:
            if low.helper:
                self.modules.helpers[low.helper] = None
        inputs = [self.read(tensor) for tensor in layer.inputs]
        alone = self.totals is not None and self.made.issuperset(layer.inputs) and self.totals[layer.inputs[0]] == 1
        if len(layer.ops) > 1 and not flat_layer(layer) and compact(layer):
            path = base + layer.path
            self.attach(path, self.modules.sequence_of(layer, self.text))
            before = lowered[0].before
            return call(self.access(path), before(inputs[0], self.later) if before else inputs[0])
        for at, (op, low) in enumerate(zip(layer.ops, lowered, strict=True)):
            module = ""
            if _is_module(op):
                self.attach(base + op.path, low.construct(self.text))
                module = self.access(base + op.path)
            writes_over = alone and at == 0 and op.kind == "relu"
            inputs = [compute(layer, at, low, inputs, self.later, module, writes_over)]
        return inputs[0]

    def sequence(self, step: p.Sequence, path: Path) -> Code | None:
        """A list of steps: its value, or None where statements have given it."""
        if not step.steps:
            return None
        modules = any(
            isinstance(s, p.Call) or any(_is_module(op) for op in s.ops)
            for s in p.walk(step.steps)
            if isinstance(s, p.Call | Layer)
        )
        items = self.modules.items(step.steps, step.inputs[0], self.text)
        if modules and items is not None:
            self.attach(path, call("nn.Sequential", *items))
            return call(self.access(path), self.read(step.inputs[0]))
        if len(step.steps) == 1 and isinstance(step.steps[0], Layer):
            return self.layer(step.steps[0], path)
        for inner in step.steps:
            self.step(inner, path)
        return None

    def residual(self, step: p.Residual, path: Path) -> None:
        for inner in step.body:
            self.step(inner, path)
        shortcut = step.shortcut
        if shortcut is not None:
            x = shortcut.inputs[0]
            place = path + shortcut.path
            module = self.modules.single(shortcut, self.text)
            if step.condition is not None and module is not None:
                name = self.access(place)
                self.set_up.append((0, f"{name}: nn.Module = nn.Identity()"))
                self.set_up.append((0, f"if {self.text(step.condition)}:"))
                self.set_up.append((1, assigned(name, module)))
                self.nest(step.shortcut_output, call(name, self.read(x)))
            elif step.condition is not None:
                raise Unprintable("a shortcut of several statements that some uses do without")
            elif isinstance(shortcut, Layer):
                self.nest(shortcut.output, self.layer(shortcut, path))
            elif (code := self.sequence(shortcut, place)) is not None:
                self.nest(shortcut.output, code)
        self.give(step.output, self.sum(step, path))

    def sum(self, step: p.Residual, path: Path) -> Code:
        """The body's output and the shortcut's, added in place where the body has just made what nobody else reads."""
        last = step.body[-1] if step.body else None
        end, other = step.add.inputs
        fresh = last is not None and makes(last) and last.output is end
        plain = all(lower(op).function for op in step.add.ops[1:])
        if not (fresh and plain) or (self.totals is not None and self.totals.get(end, 0) > 1):
            return self.layer(step.add, path)
        total: Code = call(f"{flat(self.read(end))}.add_", self.read(other))
        for at, op in enumerate(step.add.ops[1:], 1):
            total = compute(step.add, at, lower(op), [total], self.later, "")
        return total

    def optional(self, step: p.Optional, base: Path) -> None:
        """A step under a condition, which leaves its input where it does not hold."""
        (x,) = step.inputs
        target = self.read(x)
        assert isinstance(target, str)
        outer, self.set_up = self.set_up, []
        condition = self.later(step.condition, f"has_{_kind(step.step)}")
        left = self.totals.get(x, 0) - self.counts[x] if self.totals is not None else 1
        kept = left > 1 or self.held[target] > 1  # read again behind the step
        if kept and isinstance(step.step, Layer | p.Call):
            self.give(step.output, f"{flat(self.value(step.step, base))} if {condition} else {target}")
        else:
            if kept:
                self.give(step.output, target)
                target = self.vars[step.output]
            self.write(f"if {condition}:")
            self.indent += 1
            self.into(target, step.step, base)
            self.indent -= 1
            if not kept:
                self.bind(step.output, target)
        inner, self.set_up = self.set_up, outer
        if inner:
            self.set_up += [(0, f"if {self.text(step.condition)}:"), *_deeper(inner)]

    def into(self, target: str, step: p.Step, base: Path) -> None:
        """Give a name the value of a step."""
        if isinstance(step, Layer | p.Call):
            self.write(assigned(target, self.value(step, base)))
            return
        self.step(step, base)
        if (made := flat(self.read(step.output))) != target:
            self.write(f"{target} = {made}")

    def repeat(self, step: p.Repeat, path: Path) -> None:
        items = self.modules.repeat(step, self.text)
        if items is not None and path and len(step.inputs) == 1:
            weighted = isinstance(step.step, p.Call) or any(op.weighted for op in step.step.ops)
            if weighted or not isinstance(step.count, Const):
                self.attach(path, call("nn.Sequential", *items))
                self.give(step.output, call(self.access(path), self.read(step.input)))
                return
        (x,) = step.inputs
        target = self.read(x)
        assert isinstance(target, str)
        if self.held.get(target):  # read again behind the loop
            self.give(step.output, target)
            target = self.vars[step.output]
        else:
            self.bind(step.output, target)
        self.vars[step.carried] = target
        self.held[target] += 1
        count = self.later(step.count)
        if path and (isinstance(step.step, p.Call) or any(_is_module(op) for op in step.step.ops)):
            self.container(path)  # once, ahead of the loop
        outer, self.set_up = self.set_up, []
        self.write(f"for {step.variable} in range({count}):")
        self.indent += 1
        self.into(target, step.step, path)
        self.indent -= 1
        inner, self.set_up = self.set_up, outer
        if inner:
            self.set_up += [(0, f"for {step.variable} in range({self.text(step.count)}):"), *_deeper(inner)]


def _is_module(op: p.Op) -> bool:
    """Whether an op by itself is printed as a module, not as a function."""
    lowered = lower(op)
    return bool(lowered.module) and (lowered.function is None or op.weighted)


def _entered(statement: tuple[int, Code], target: str, key: str, module: Code) -> Code | None:
    """The statement that makes a dictionary of modules, with one more in it; None if that is another statement."""
    indent, made = statement
    if indent or not isinstance(made, Group) or made.open != f"{target} = nn.ModuleDict(":
        return None
    before = made.items[0].items if made.items and isinstance(made.items[0], Group) else ()
    items = (*before, prefixed(f"{key}: ", module))
    entered = replace(made, items=(Group("{", items, "}"),))
    return entered if len(items) > 1 or len(flat(items[0])) < WIDTH - 16 else None


def _deeper(statements: list[tuple[int, Code]]) -> list[tuple[int, Code]]:
    return [(indent + 1, statement) for indent, statement in statements]


def _laid_out(statements: list[tuple[int, Code]]) -> list[str]:
    return [line for indent, statement in statements for line in lines(statement, 8 + 4 * indent)]


def _string(path: Path, names: dict[str, str]) -> str:
    """A path within a module as Python text."""
    legal: list[Expr] = [
        const(attribute(part.value)) if isinstance(part, Const) and isinstance(part.value, str) else part
        for part in path
    ]
    return fstring(legal, names, ".")


def _named(part: Expr) -> bool:
    return isinstance(part, Const) and isinstance(part.value, str)


def _kind(step: p.Step) -> str:
    """What a step is called."""
    match step:
        case Layer(ops=[op, *_]):
            return op.kind
        case p.Call(definition=definition):
            return definition.name
        case p.Repeat(step=inner):
            return _kind(inner)
    return type(step).__name__.lower()


def _label(step: p.Step) -> str:
    first = step.path[0] if step.path else None
    return attribute(str(first.value)) if isinstance(first, Const) else ""


def _plain(description: str) -> str:
    return quoted(" ".join(description.split()))[1:-1].replace('\\"', "'")
