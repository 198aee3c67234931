"""Modules as expressions: `nn.Conv2d(...)`, a block's class, a list of them; and the classes that they need."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from cnnspec.backends.torch.table import (
    HELPERS,
    REQUIRED,
    Lowered,
    by_hand,
    construct,
    ends,
    in_torch_order,
    lower,
    operand,
    torch_order,
)
from cnnspec.expr import Conditional, Const, Expr, Ref, Value, variables
from cnnspec.lower import program as p
from cnnspec.lower.program import Definition, Layer, Op, Program
from cnnspec.lower.python import (
    Code,
    Group,
    annotation,
    assigned,
    call,
    camel,
    flat,
    identifier,
    lines,
    literal,
    named,
    returned,
    text,
)
from cnnspec.lower.symbols import ONE, ZERO, binary, const, mentions, ref, simplify
from cnnspec.lower.used import Used

Text = Callable[[Expr], str]

RESERVED = frozenset(("self", "nn", "torch", "F", "super", "math", "x", "y", "z", "u", "v", "w", "OrderedDict", "_"))

_TAKEN = frozenset(
    [
        "T_destination",
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "call_super_init",
        "children",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "ipu",
        "load_state_dict",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "to_empty",
        "train",
        "training",
        "type",
        "xpu",
        "zero_grad",
        "append",
        "extend",
        "insert",
        "pop",
        "clear",
        "items",
        "keys",
        "update",
        "values",
    ]
)
"""What every module, or list of modules, has already; a test compares it with PyTorch."""


_UNDERSCORES = {name.rstrip("_"): len(name) - len(name.rstrip("_")) + 1 for name in _TAKEN}


def attribute(name: str) -> str:
    """The attribute for a component of a path: the same name, with an underscore where Python or PyTorch has it.

    Two names never become one: all that differ from a taken one by underscores get as many more.
    """
    bare = name.rstrip("_")
    return name + "_" * _UNDERSCORES.get(bare, 1 if keyword.iskeyword(bare) or bare == "self" else 0)


def flat_layer(layer: Layer) -> bool:
    """Whether a layer's parts lie beside it or under its own path, not as modules below it."""
    return layer.ops[0].path == layer.path


def compact(layer: Layer) -> bool:
    """Whether a layer with modules below it is a sequence of them, but for what is done to its input."""
    if any(op.path[:-1] != layer.path for op in layer.ops):  # the parts of one, with a norm or an activation beside it
        return False
    lowered = [lower(op) for op in layer.ops]
    return all(low.module and low.after is None and (low.before is None or at == 0) for at, low in enumerate(lowered))


def in_place(layer: Layer, at: int) -> bool:
    """Whether the op may write over its input: the ReLU of what the same layer has just made."""
    return at > 0 and layer.ops[at].kind == "relu"


def makes(step: p.Step) -> bool:
    """Whether a step's output is an array of its own that its gradient does not need, so that it may be written over.

    So it is for all that has weights. Elsewhere the output may be the input, as a dropout's in inference, or be what
    the gradient is computed from, as a sigmoid's.
    """
    return isinstance(step, Layer) and step.ops[-1].weighted


def printed(op: Op) -> Iterator[Expr]:
    """The expressions of an op that its text has."""
    lowered = lower(op)
    if lowered.module:
        yield from (expr for _, expr, _ in lowered.args)
    seen: list[Expr] = []

    def note(expr: Expr) -> str:
        seen.append(expr)
        return "0"

    if lowered.function:
        lowered.function(["x"] * len(op.inputs), note)
    for around in (lowered.before, lowered.after):
        if around:
            around("x", note)
    yield from seen


@dataclass(slots=True, eq=False)
class LayerClass:
    """A class for all layers with such ops: a sequence of named modules. `layers` are its uses."""

    name: str
    layers: list[Layer] = field(default_factory=list)


class Modules:
    """Prints modules, and collects the classes that a file needs for them."""

    def __init__(self, program: Program, uses: dict[Definition, Used]) -> None:
        self.uses = uses
        self.taken: set[str] = {*RESERVED, *HELPERS}
        self.classes: dict[Definition, str] = {}
        self.layer_classes: dict[tuple[object, ...], LayerClass] = {}
        self.settled = False  # whether all uses of the layer classes are known
        self.fused: dict[str, str] = {}  # the class that adds a function to a module, by its text without the name
        self.helpers: dict[str, None] = {}
        self.edges = _edges(program)
        for definition in reversed(program.definitions):  # the network's name comes first
            name = identifier(camel(definition.name), self.taken)
            self.taken.add(name)
            self.classes[definition] = name

    # ---- expressions of modules

    def layer(self, layer: Layer, text: Text) -> Code | None:
        """A layer as one module; None where it is none."""
        lowered = [lower(op) for op in layer.ops]
        for low in lowered:
            if low.helper:
                self.helpers[low.helper] = None
        if len(lowered) == 1:
            return lowered[0].construct(text) if lowered[0].plain else None
        if flat_layer(layer):
            return self.fuse(layer, lowered, text)
        if compact(layer) and lowered[0].before is None:
            return self.sequence_of(layer, text)
        return None

    def sequence_of(self, layer: Layer, text: Text) -> Code:
        """A layer whose parts are modules below it, without what is done to its input."""
        lowered = [lower(op) for op in layer.ops]
        key = tuple(
            (low.module, op.path[len(layer.path) :], tuple(name for name, _, _ in low.args), in_place(layer, at))
            for at, (op, low) in enumerate(zip(layer.ops, lowered, strict=True))
        )
        if key not in self.layer_classes:
            name = identifier("".join(_word(op) for op in layer.ops), self.taken)
            self.taken.add(name)
            self.layer_classes[key] = LayerClass(name)
        made = self.layer_classes[key]
        if not self.settled:
            made.layers.append(layer)
        elif len(made.layers) > 1:
            return self._use(made, layer, text)
        parts = []
        for at, (op, low) in enumerate(zip(layer.ops, lowered, strict=True)):
            (label,) = op.path[len(layer.path) :]
            assert isinstance(label, Const)
            module = _construct(low, text, in_place(layer, at))
            parts.append(named(attribute(str(label.value)), module))
        return call("nn.Sequential", call("OrderedDict", *parts))

    def fuse(self, layer: Layer, lowered: list[Lowered], text: Text) -> Code | None:
        """A module with functions behind it, as a subclass of its class."""
        main, *rest = lowered
        if not main.plain or not all(low.function for low in rest):
            return None
        if any(list(variables(expr)) for op in layer.ops[1:] for expr in printed(op)):
            return None
        signature: tuple[Code, ...] = ("self", "x: torch.Tensor")
        y: Code = "super().forward(x)"
        if main.module == "nn.ConvTranspose2d":
            signature += ("output_size: list[int] | None = None",)
            y = call("super().forward", "x", "output_size")
        for at, low in enumerate(rest, 1):
            y = compute(layer, at, low, [y], text, "")
        head = Group("def forward(", signature, ") -> torch.Tensor:")
        body = "\n".join([f"({main.module}):", *lines(head, 4), *lines(returned(y), 8)])
        if body not in self.fused:
            self.fused[body] = identifier("".join(_word(op) for op in layer.ops), self.taken)
            self.taken.add(self.fused[body])
        return construct(self.fused[body], main.args, text)

    def call(self, step: p.Call, text: Text) -> Code:
        """A use of a definition."""
        args: list[Code] = []
        by_name = step.definition.kind != "block"
        for parameter in order(self.uses[step.definition].parameters):
            name = parameter.name
            if name not in step.args:
                continue
            expr = step.args[name]
            if parameter.default is not None and repr(expr) == repr(const(parameter.default)):
                continue
            shown = text(expr)
            if (step.definition, name) in self.edges:
                shown = text(in_torch_order(expr))
            keyword = (by_name and name != "in_channels") or parameter.default is not None
            args.append(named(self.names(step.definition)[name], shown) if keyword else shown)
        return call(self.classes[step.definition], *args)

    def repeat(self, step: p.Repeat, text: Text) -> list[Code] | None:
        """The items of a loop, for a list of modules."""

        def item(pick: Callable[[Expr], Expr]) -> Code | None:
            return self.single(_rewritten(step.step, pick), text)

        looped = item(lambda expr: expr)
        if looped is None:
            return None
        expressions = list(_expressions(step.step, self))
        if step.least == 0 or all(_again(expr, step.variable) is expr for expr in expressions):
            return [_comprehension(looped, step.variable, "", text(step.count))]
        begin = item(lambda expr: simplify(expr, {step.variable: ZERO}))
        rest = item(lambda expr: _again(expr, step.variable))
        assert begin is not None
        assert rest is not None
        again = binary("-", step.count, ONE)
        if any(mentions(_again(expr, step.variable), step.variable) for expr in expressions):
            return [begin, _comprehension(rest, step.variable, "1, ", text(step.count))]
        return [begin, rest] if again == ONE else [begin, _comprehension(rest, "_", "", text(again))]

    def single(self, step: p.Step, text: Text) -> Code | None:
        """A step as one module; None where it is none."""
        match step:
            case Layer():
                return self.layer(step, text)
            case p.Call():
                return self.call(step, text) if len(step.inputs) == 1 else None
            case p.Repeat():
                items = self.repeat(step, text)
                return call("nn.Sequential", *items) if items else None
            case p.Sequence():
                items = self.items(step.steps, step.inputs[0], text)
                return call("nn.Sequential", *items) if items else None
        return None

    def items(self, steps: list[p.Step], flow: p.Tensor, text: Text) -> list[Code] | None:
        """Steps as the items of a list of modules, each reading the one before it; None where they are not that."""
        items: list[Code] = []
        position: Expr = ZERO
        made = False  # by the item before, and nothing else reads it
        for step in steps:
            if isinstance(step, p.Repeat) and not step.path:
                more, length = self.repeat(step, text), step.count
            else:
                one = self.single(step, text) if step.path == (position,) else None
                if one and made and isinstance(step, Layer) and [op.kind for op in step.ops] == ["relu"]:
                    one = _construct(lower(step.ops[0]), text, True)
                more, length = [one] if one else None, ONE
            reads = _outer(step)
            if more is None or reads != [flow]:
                return None
            items += more
            made = makes(step)
            flow = step.output
            position = binary("+", position, length)
        return items or None

    # ---- names and classes

    def names(self, definition: Definition) -> dict[str, str]:
        """The names of a definition's variables in Python."""
        taken = set(RESERVED)
        names: dict[str, str] = {}
        used = self.uses[definition]
        for name in [q.name for q in used.parameters] + [name for name, _ in used.lets]:
            names[name] = identifier(name, taken)
            taken.add(names[name])
        return names

    def signature(self, definition: Definition) -> Group:
        """`def __init__(self, ...)` without its colon."""
        names = self.names(definition)
        items: list[Code] = ["self"]
        for parameter in order(self.uses[definition].parameters):
            kind, default = annotation(parameter.values), parameter.default
            if (definition, parameter.name) in self.edges:
                kind, default = "tuple[int, int, int, int]", default if default is None else torch_order(default)
            item = f"{names[parameter.name]}: {kind}"
            items.append(item if default is None else f"{item} = {literal(default)}")
        return Group("def __init__(", tuple(items), ") -> None:")

    def _use(self, made: LayerClass, layer: Layer, text: Text) -> Code:
        args: list[Code] = []
        for parameter in _parameters(made.layers):
            expr = _argument(layer, parameter.places[0])
            default = parameter.default
            if default is REQUIRED:
                args.append(text(expr))
            elif not (isinstance(expr, Const) and repr(expr.value) == repr(default)):
                args.append(named(parameter.name, text(expr)))
        return call(made.name, *args)

    def class_text(self, made: LayerClass) -> list[str]:
        """The text of a layer class."""
        parameters = _parameters(made.layers)
        layer = made.layers[0]
        items: list[Code] = ["self"]
        for parameter in parameters:
            shown = f"{parameter.name}: {parameter.kind}"
            items.append(shown if parameter.default is REQUIRED else f"{shown} = {literal(parameter.default)}")
        known = {place: parameter.name for parameter in parameters for place in parameter.places}
        text_lines = [f"class {made.name}(nn.Sequential):"]
        text_lines += lines(Group("def __init__(", tuple(items), ") -> None:"), 4)
        text_lines.append("        super().__init__()")
        for at, op in enumerate(layer.ops):
            low = lower(op)
            low.args = [
                (name, ref(known[at, number]) if (at, number) in known else expr, default)
                for number, (name, expr, default) in enumerate(low.args)
            ]
            (label,) = op.path[len(layer.path) :]
            assert isinstance(label, Const)
            module = _construct(low, text, in_place(layer, at))
            text_lines += lines(assigned(f"self.{attribute(str(label.value))}", module), 8)
        return text_lines


def compute(
    layer: Layer, at: int, low: Lowered, inputs: list[Code], text: Text, module: str, writes_over: bool = False
) -> Code:
    """The result of one of a layer's ops; of a ReLU that `writes_over` its input in any case."""
    if writes_over or in_place(layer, at):
        x = operand(inputs[0])
        return replace(x, close=f"{x.close}.relu_()") if isinstance(x, Group) else f"{flat(x)}.relu_()"
    return low.compute(inputs, text, module)


def order(parameters: list[p.Parameter]) -> list[p.Parameter]:
    """Parameters as a signature has them: those with defaults last."""
    return [q for q in parameters if q.default is None] + [q for q in parameters if q.default is not None]


def _construct(low: Lowered, text: Text, writes_over: bool) -> Group:
    made = construct(low.module, low.args, text)
    return Group(made.open, (*made.items, "inplace=True"), made.close) if writes_over else made


def _word(op: Op) -> str:
    words = {"batch_norm": "Norm", "layer_norm": "Norm", "depthwise_conv": "Depthwise", "prelu": "PRelu"}
    return words.get(op.kind, camel(op.kind))


def _again(expr: Expr, variable: str) -> Expr:
    """An expression of a loop's step as it is behind the first iteration."""
    match expr:
        case Conditional(otherwise=otherwise, test=test) if mentions(test, variable):
            return otherwise
    return expr


def _rewritten(step: Layer | p.Call, change: Callable[[Expr], Expr]) -> Layer | p.Call:
    """A loop's step with other expressions."""
    if isinstance(step, p.Call):
        return replace(step, args={name: change(expr) for name, expr in step.args.items()})
    return Layer(
        step.path,
        [
            replace(op, attrs={name: change(expr) for name, expr in op.attrs.items()}, channels=change(op.channels))
            for op in step.ops
        ],
    )


def _expressions(step: Layer | p.Call, modules: Modules) -> Iterator[Expr]:
    if isinstance(step, Layer):
        for op in step.ops:
            yield from printed(op)
    else:
        shown = {q.name for q in modules.uses[step.definition].parameters}
        yield from (expr for name, expr in step.args.items() if name in shown)


def _comprehension(item: Code, variable: str, start: str, stop: str) -> Code:
    name = variable if re.search(rf"\b{variable}\b", flat(item)) else "_"
    return Group("*[", (item, f"for {name} in range({start}{stop})"), "]", commas=False)


def _outer(step: p.Step) -> list[p.Tensor]:
    return list(dict.fromkeys(step.inputs))


@dataclass(slots=True)
class _Parameter:
    """A constructor's parameter, and which arguments of which ops it fills."""

    name: str
    kind: str
    default: Any
    places: list[tuple[int, int]]


def _argument(layer: Layer, place: tuple[int, int]) -> Expr:
    return lower(layer.ops[place[0]]).args[place[1]][1]


def _parameters(layers: list[Layer]) -> list[_Parameter]:
    """What differs between the uses of a class; arguments that are equal in each of them are one parameter."""
    found: dict[object, _Parameter] = {}
    names: set[str] = set()
    for at, op in enumerate(layers[0].ops):
        for number, (name, _, default) in enumerate(lower(op).args):
            exprs = tuple(_argument(layer, (at, number)) for layer in layers)
            if isinstance(exprs[0], Const) and all(repr(e) == repr(exprs[0]) for e in exprs):
                continue
            key = exprs if name in _CHANNELS else (at, number)  # equal by chance is not the same
            if key in found:
                found[key].places.append((at, number))
                continue
            unique = name if name not in names else f"{str(lower(op).module).rpartition('.')[2].lower()}_{name}"
            names.add(unique)
            usual = any(isinstance(e, Const) and repr(e.value) == repr(default) for e in exprs)
            values = (_values(e, layer.ops[at], name) for e, layer in zip(exprs, layers, strict=True))
            kind = annotation(chain.from_iterable(values))
            found[key] = _Parameter(unique, kind, default if usual else REQUIRED, [(at, number)])
    return sorted(found.values(), key=lambda parameter: parameter.default is not REQUIRED)


_CHANNELS = ("in_channels", "channels", "filters", "units", "groups")


def _values(expr: Expr, op: Op, name: str) -> tuple[Value, ...]:
    """What an argument of an op comes to; padding that is done by hand is none."""
    if isinstance(expr, Const):
        return (expr.value,)
    others = {"padding": "pads" if "pads" in op.values else "crop", "eps": "epsilon", "scale_factor": "factor"}
    return op.values.get(others.get(name, name), (0,))


def _edges(program: Program) -> set[tuple[Definition, str]]:
    """Parameters that hold pixels on four edges, which `F.pad` wants in another order."""
    found: set[tuple[Definition, str]] = set()
    for definition in program.definitions:  # what a definition passes on comes before it
        for step in p.walk(definition.steps):
            if isinstance(step, Layer):
                for op in step.ops:
                    pads = op.attrs.get("pads")
                    if pads is not None and by_hand(op):
                        found |= {(definition, end.name) for end in ends(pads) if isinstance(end, Ref)}
            elif isinstance(step, p.Call):
                for name, expr in step.args.items():
                    if (step.definition, name) in found:
                        found |= {(definition, end.name) for end in ends(expr) if isinstance(end, Ref)}
    return found
