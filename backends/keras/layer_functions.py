"""One function for layers of the same ops, such as a convolution with its norm and activation.

The program is rewritten: such layers become uses of one more definition, whose parameters are what differs between
them. How a convolution is padded is one of these, `"same"` or `"valid"`; other zeros are added before the use.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cnnspec.backends.keras.table import shown
from cnnspec.backends.keras.windows import added, agreed, collapsed, same
from cnnspec.expr import Const, Expr, Value, variables
from cnnspec.lower import program as p
from cnnspec.lower.program import Definition, Layer, Op, Parameter, Program, Tensor
from cnnspec.lower.symbols import ZERO, const, ref

Padding = Literal["same", "valid", "either", "zeros"]
"""What pads a convolution: one of Keras's words, either of them, or zeros that are added before."""

_LEAST = 3
_WINDOWS = ("conv", "depthwise_conv")
_WORDS = {"batch_norm": "norm", "layer_norm": "norm", "depthwise_conv": "depthwise"}
_USUAL: dict[str, Value] = {"stride": 1, "dilation": 1, "groups": 1, "depth_multiplier": 1, "bias": True}
"""What a parameter is where nothing is said, if it is that in any use."""


@dataclass(slots=True, eq=False)
class Alike:
    """Layers of the same ops, and for each the way that its convolution is padded."""

    layers: list[Layer] = field(default_factory=list)
    paddings: list[Padding] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What it is called: its ops."""
        name = "_".join(_WORDS.get(op.kind, op.kind) for op in self.layers[0].ops)
        return name.replace("depthwise_conv", "separable_conv")  # what the two are together


def groups(program: Program) -> list[Alike]:
    """Layers of several ops that have the same ones and names for them, at least three times, most ops first."""
    found: dict[tuple[object, ...], Alike] = {}
    for definition in program.definitions:
        looped = {id(s.step) for s in p.walk(definition.steps) if isinstance(s, p.Repeat)}
        for step in p.walk(definition.steps):
            if not isinstance(step, Layer) or (key := _key(step)) is None:
                continue
            padding = _padding(step.ops[0])
            if padding == "zeros" and id(step) in looped:  # they would be one more step
                continue
            group = found.setdefault(key, Alike())
            group.layers.append(step)
            group.paddings.append(padding)
    return sorted((g for g in found.values() if len(g.layers) >= _LEAST), key=lambda g: -len(g.layers[0].ops))


def _key(layer: Layer) -> tuple[object, ...] | None:
    """What layers of one function have in common; None for a layer that can have none."""
    main, *rest = layer.ops
    if not rest or main.kind not in (*_WINDOWS, "dense") or any(len(op.inputs) > 1 for op in layer.ops):
        return None
    if any(op.path[: len(layer.path)] != layer.path for op in layer.ops):
        return None  # its parts lie beside it
    if any("pads" in op.attrs and _padding(op) != "either" for op in rest):
        return None
    if any(isinstance(stride, tuple) for op in layer.ops for stride in op.values.get("stride", ())):
        return None  # what this is printed as depends on the stride
    return tuple((op.kind, op.path[len(layer.path) :], *op.attrs) for op in layer.ops)


def _padding(op: Op) -> Padding:
    if "pads" not in op.attrs:
        return "either"
    if not any(op.values["pads"]):
        return "either" if same(op) else "valid"
    return "same" if same(op) else "zeros"


def with_functions(program: Program, chosen: Sequence[Alike]) -> Program:
    """The program with a definition for each of these groups."""
    taken = {definition.name for definition in program.definitions}
    uses: dict[int, list[p.Step]] = {}
    made = []
    for group in chosen:
        definition, steps = _function(group, taken)
        taken.add(definition.name)
        made.append(definition)
        uses |= {id(layer): found for layer, found in zip(group.layers, steps, strict=True)}
    rewriter = _Rewriter(uses)
    return replace(program, definitions=[*made, *map(rewriter.definition, program.definitions)])


def _function(group: Alike, taken: Collection[str]) -> tuple[Definition, list[list[p.Step]]]:
    """The definition for a group, and the steps that stand for each of its layers."""
    layers = group.layers
    names = [group.name, *(f"{group.name}_{number}" for number in range(2, len(taken) + 3))]
    definition = Definition(next(name for name in names if name not in taken), "block")
    paddings = _words(group.paddings)
    args: list[dict[str, Expr]] = [{} for _ in layers]
    x = Tensor("x", tuple(shape for layer in layers for shape in layer.inputs[0].shapes), None)
    definition.inputs = [x]
    ops = []
    for at, some in enumerate(layers[0].ops):
        column = [layer.ops[at] for layer in layers]
        attrs: dict[str, Expr] = {}
        values = {name: tuple(value for op in column for value in op.values[name]) for name in some.attrs}
        for name in some.attrs:
            attrs[name] = _attribute(definition, name, [op.attrs[name] for op in column], values[name], args)
            if name == "pads" and at == 0:
                words: list[Expr] = [const(word) for word in paddings]
                attrs["padding"] = _attribute(definition, "padding", words, paddings, args)
        output = Tensor("x", tuple(shape for op in column for shape in op.output.shapes), None)
        path = some.path[len(layers[0].path) :]
        nodes = tuple(node for op in column for node in op.nodes)
        ops.append(Op(some.kind, path, attrs, ZERO, [x], output, some.weighted, values, nodes))
        x = output
    definition.steps = [Layer((), ops)]
    definition.output = x
    order = [variable.name for op in ops for expr in shown(op) for variable in variables(expr)]
    definition.parameters = sorted(
        (parameter for parameter in definition.parameters if parameter.name in order), key=lambda q: order.index(q.name)
    )
    steps = [_use(definition, *parts) for parts in zip(layers, group.paddings, args, strict=True)]
    return definition, steps


def _words(paddings: Sequence[Padding]) -> tuple[str, ...]:
    """Keras's word for each; what may be either is what most others are."""
    valid = sum(padding in ("valid", "zeros") for padding in paddings)
    usual = "same" if paddings.count("same") >= max(valid, 1) else "valid"
    return tuple({"either": usual, "zeros": "valid"}.get(padding, padding) for padding in paddings)


def _attribute(
    definition: Definition, name: str, exprs: list[Expr], values: tuple[Value, ...], args: list[dict[str, Expr]]
) -> Expr:
    """An attribute in the function: what it is everywhere, or else a parameter, whose `args` are noted."""
    if isinstance(exprs[0], Const) and all(repr(expr) == repr(exprs[0]) for expr in exprs):
        return exprs[0]
    taken = {parameter.name for parameter in definition.parameters}
    unique = next(n for n in (name, *(f"{name}{k}" for k in range(2, len(taken) + 3))) if n not in taken)
    usual = max(values, key=values.count) if name == "padding" else _USUAL.get(name)
    default = usual if any(repr(expr) == repr(const(usual)) for expr in exprs) else None
    definition.parameters.append(Parameter(unique, values, default))
    for given, expr in zip(args, exprs, strict=True):
        if default is None or repr(expr) != repr(const(default)):
            given[unique] = expr
    return ref(unique)


def _use(definition: Definition, layer: Layer, padding: Padding, args: dict[str, Expr]) -> list[p.Step]:
    """What stands for a layer."""
    source, before = layer.inputs[0], list[p.Step]()
    if padding == "zeros":
        op = layer.ops[0]
        known = agreed(op, added)
        pads = op.attrs["pads"] if known is None else const(collapsed(known))
        path = (*op.path, const("pad"))
        padded = Tensor("x", source.shapes, source.channels)
        zeros = Op("zero_pad", path, {"pads": pads}, ZERO, [source], padded, False, {"pads": op.values["pads"]})
        source = padded
        before = [Layer(path, [zeros])]
    return [*before, p.Call(layer.path, definition, args, [source], layer.output)]


class _Rewriter:
    """Puts other steps in the place of layers; `uses` are these by the layer's `id`."""

    def __init__(self, uses: dict[int, list[p.Step]]) -> None:
        self.uses = uses
        self.definitions: dict[Definition, Definition] = {}

    def definition(self, definition: Definition) -> Definition:
        """A definition with steps of its own."""
        made = replace(definition, steps=self.steps(definition.steps))
        self.definitions[definition] = made
        return made

    def steps(self, steps: Sequence[p.Step]) -> list[p.Step]:
        return [made for step in steps for made in self.step(step)]

    def step(self, step: p.Step) -> list[p.Step]:
        match step:
            case Layer():
                return self.uses.get(id(step), [step])
            case p.Call():
                return [replace(step, definition=self.definitions[step.definition])]
            case p.Repeat():
                (inner,) = self.step(step.step)
                assert isinstance(inner, Layer | p.Call)
                return [replace(step, step=inner)]
            case p.Sequence():
                return [self.sequence(step)]
            case p.Branches():
                return [replace(step, branches=[self.sequence(branch) for branch in step.branches])]
            case p.Residual(shortcut=shortcut):
                other = self.one(shortcut) if shortcut else None
                if isinstance(other, p.Call):
                    other = p.Sequence((), [other], other.inputs, other.output)
                assert other is None or isinstance(other, Layer | p.Sequence)
                return [replace(step, body=self.steps(step.body), shortcut=other)]
            case p.Optional():
                return [replace(step, step=self.one(step.step))]

    def sequence(self, step: p.Sequence) -> p.Sequence:
        return replace(step, steps=self.steps(step.steps))

    def one(self, step: p.Step) -> p.Step:
        """One step that stands for another: a list of them where there are several."""
        made = self.step(step)
        return made[0] if len(made) == 1 else p.Sequence((), made, step.inputs, step.output)
