"""The program that generated code prints: definitions, with parameters, and the network that uses them.

It is the graph folded back: one `Definition` for all uses of a block (or of a stage, or of an equal head), loops for
repeats, and for every value the expression that a person would write. Backends print it; `cnnspec.lower.replay` runs
it, so that it can be compared with the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from cnnspec.expr import Expr, Value
from cnnspec.graph import Graph, Node
from cnnspec.ops import Maps, Shape

Path = tuple[Expr, ...]
"""Components of a path below that of the definition; a number, or a name."""


class Tensor:
    """A value that flows: an input of a definition, or what a step gives.

    `channels` is its number of channels in the terms of the definition; None where only the numbers are known.
    `shapes` has its shape in every use, or iteration, of the text that it stands in.
    """

    __slots__ = ("channels", "name", "shapes")

    def __init__(self, name: str, shapes: tuple[Shape, ...], channels: Expr | None) -> None:
        self.name = name
        self.shapes = shapes
        self.channels = channels

    def __repr__(self) -> str:
        return f"<Tensor {self.name}>"


@dataclass(slots=True, eq=False)
class Op:
    """One primitive op: a canonical kind whose attributes are expressions.

    `channels` is the number of channels (or features) that come in, `path` where the op lies, `weighted` whether it
    owns parameters. `values` are the attributes in every use, `nodes` what it is in each. Pairs with equal numbers are
    one number.
    """

    kind: str
    path: Path
    attrs: dict[str, Expr]
    channels: Expr
    inputs: list[Tensor]
    output: Tensor
    weighted: bool
    values: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()


@dataclass(slots=True, eq=False)
class Layer:
    """One layer: its op or ops, one reading the other, with a norm and an activation where it carries them.

    `path` is what it is called; its parts lie beside it (a convolution's norm in a named body), below it, or have its
    own path.
    """

    path: Path
    ops: list[Op]

    @property
    def inputs(self) -> list[Tensor]:
        """What it reads."""
        return self.ops[0].inputs

    @property
    def output(self) -> Tensor:
        """What it gives."""
        return self.ops[-1].output


@dataclass(slots=True, eq=False)
class Call:
    """One use of a definition; `args` has an expression for every parameter that is not left at its default."""

    path: Path
    definition: Definition
    args: dict[str, Expr]
    inputs: list[Tensor]
    output: Tensor


@dataclass(slots=True, eq=False)
class Repeat:
    """A layer or a call, `count` times over, each reading the one before it.

    `variable` counts from 0 and may be used in the step's expressions; what differs in the first iteration says
    `a if i == 0 else b`. `step` reads `carried`, which is `input` at first. `least` is the smallest count among all
    uses. `path` is that of the list; the step's own ends in the iteration's number.
    """

    path: Path
    step: Layer | Call
    variable: str
    count: Expr
    least: int
    carried: Tensor
    input: Tensor
    output: Tensor

    @property
    def inputs(self) -> list[Tensor]:
        """What it reads."""
        return [self.input]


@dataclass(slots=True, eq=False)
class Sequence:
    """A list of steps under a path of its own: a branch, a stage that is used once, a shortcut."""

    path: Path
    steps: list[Step]
    inputs: list[Tensor]
    output: Tensor


@dataclass(slots=True, eq=False)
class Branches:
    """Sequences over the same input, and the layer that merges them; `merge.inputs` are the branches' outputs."""

    path: Path
    branches: list[Sequence]
    merge: Layer

    @property
    def inputs(self) -> list[Tensor]:
        """What it reads."""
        return list(dict.fromkeys(tensor for branch in self.branches for tensor in branch.inputs))

    @property
    def output(self) -> Tensor:
        """What it gives."""
        return self.merge.output


@dataclass(slots=True, eq=False)
class Residual:
    """A body and a shortcut around it, added.

    `shortcut` is empty where the input itself is added; with a `condition`, that holds where it is false, and
    `shortcut_output` is what either gives.
    """

    path: Path
    body: list[Step]
    shortcut: Layer | Sequence | None
    condition: Expr | None
    shortcut_output: Tensor
    add: Layer
    inputs: list[Tensor]

    @property
    def output(self) -> Tensor:
        """What it gives."""
        return self.add.output


@dataclass(slots=True, eq=False)
class Optional:
    """A step that is there where `condition` holds; elsewhere `output` is its input."""

    condition: Expr
    step: Step
    inputs: list[Tensor]
    output: Tensor

    @property
    def path(self) -> Path:
        """The path of the step."""
        return self.step.path


class Unprintable(Exception):
    """Something that a language cannot say of several uses at once; it can of each alone: `fold(..., shared=False)`."""


Step = Layer | Call | Repeat | Sequence | Branches | Residual | Optional


@dataclass(slots=True, eq=False)
class Parameter:
    """A parameter of a definition; `values` are those of all uses, `default` is None where it must be given."""

    name: str
    values: tuple[Value, ...]
    default: Value = None


@dataclass(slots=True, eq=False)
class Head:
    """A further output of the network, and the step that makes it, if it has layers of its own."""

    name: str
    output: Tensor
    training_only: bool
    call: Call | None


@dataclass(slots=True, eq=False)
class Definition:
    """A text with parameters, used once or more.

    `in_channels` says whether an expression mentions the channels that come in. `steps` compute `output` from `inputs`;
    `lets` are named intermediate values, in order.
    """

    name: str
    kind: Literal["block", "stage", "list", "head", "network"]
    description: str = ""
    inputs: list[Tensor] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    lets: list[tuple[str, Expr]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    output: Tensor | None = None

    def parameter(self, name: str) -> Parameter | None:
        """The parameter called `name`."""
        return next((p for p in self.parameters if p.name == name), None)


@dataclass(slots=True, eq=False)
class Program:
    """A network as definitions, each after those that it uses, and the network itself, which comes last."""

    name: str
    title: str
    graph: Graph
    definitions: list[Definition]
    heads: list[Head]

    @property
    def network(self) -> Definition:
        """The network."""
        return self.definitions[-1]

    @property
    def maps(self) -> Maps:
        """The shape of the input."""
        shape = self.graph.input.shape
        assert isinstance(shape, Maps)
        return shape


def walk(steps: list[Step]) -> Iterator[Step]:
    """Every step, those inside others behind them; not those of other definitions."""
    for step in steps:
        yield step
        match step:
            case Sequence(steps=inner):
                yield from walk(inner)
            case Branches(branches=branches, merge=merge):
                yield from walk([*branches, merge])
            case Residual(body=body, shortcut=shortcut, add=add):
                yield from walk([*body, *([shortcut] if shortcut else []), add])
            case Optional(step=inner_step) | Repeat(step=inner_step):
                yield from walk([inner_step])
            case _:
                pass


def expressions(definition: Definition) -> Iterator[Expr]:
    """Every expression in a definition, the paths' included."""
    yield from (value for _, value in definition.lets)
    for step in walk(definition.steps):
        yield from step.path
        match step:
            case Layer(ops=ops):
                for op in ops:
                    yield from (*op.path, *op.attrs.values(), op.channels)
            case Call(args=args):
                yield from args.values()
            case Repeat(count=count):
                yield count
            case Optional(condition=condition):
                yield condition
            case Residual(condition=condition) if condition is not None:
                yield condition
            case _:
                pass
