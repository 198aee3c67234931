"""The typed graph: every layer with its op, shape and parameters, and the definitions that it came from.

Nodes stand in execution order. Beside them, a tree of `Instance`s keeps how the network is written (which block, with
which arguments, which stage, which iteration), so that generated code can have the same classes and loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, NamedTuple

from cnnspec.diagnostics import Span
from cnnspec.expr import Value
from cnnspec.ops import Canonical, Op, Param, Shape
from cnnspec.spec.layers import Arg, Block, Layer, OpLayer

if TYPE_CHECKING:
    from cnnspec.spec.document import Spec

InstanceKind = Literal[
    "network",
    "block",
    "stage",
    "repeat",
    "residual",
    "shortcut",
    "branches",
    "branch",
    "layer",
    "output",
    "replacement",
]


class Node:
    """One op in the network.

    `layer` is the definition that made it and `part` which part of that definition it is: the op itself (`""`), its
    `norm` or its `activation`. `args` are the options as written, with their expressions.
    """

    __slots__ = ("args", "index", "inputs", "layer", "op", "params", "parent", "part", "path", "shape")

    def __init__(
        self,
        index: int,
        path: str,
        op: Op,
        inputs: tuple[Node, ...],
        shape: Shape,
        params: dict[str, Param],
        layer: OpLayer | None,
        args: dict[str, Arg],
        part: str,
        parent: Instance,
    ) -> None:
        self.index = index
        self.path = path
        self.op = op
        self.inputs = inputs
        self.shape = shape
        self.params = params
        self.layer = layer
        self.args = args
        self.part = part
        self.parent = parent

    def __repr__(self) -> str:
        return f"<{self.path} {self.op.kind} {self.shape}>"

    @property
    def span(self) -> Span | None:
        """The text of the layer that it came from, for an attached norm or activation of the layer that carries it.

        The input has none.
        """
        carrier = self.parent.layer if self.part else self.layer
        return carrier.key if carrier else None

    @property
    def input_shapes(self) -> list[Shape]:
        """The shapes of what it reads."""
        return [node.shape for node in self.inputs]

    def canonical(self) -> Canonical:
        """The op's settled meaning on these inputs."""
        return self.op.canonical(self.input_shapes)

    @property
    def learns(self) -> bool:
        """Whether it has parameters that training changes where it is not frozen; running statistics are none."""
        return any(param.trainable for param in self.params.values())

    @property
    def probabilities(self) -> str:
        """`softmax` or `sigmoid` if its values are the probabilities that one of these gives, else empty."""
        node = self
        while node.inputs and (node.op.drops or node.op.kind == "flatten"):
            (node,) = node.inputs  # whose values these are
        if node.op.kind == "sigmoid" or (node.op.kind == "softmax" and node.shape.channels == self.shape.channels):
            return node.op.kind
        return ""


@dataclass(slots=True, eq=False, repr=False)
class Instance:
    """One use of a definition.

    `values` are the variables that its expressions see, `args` what a block was given, as written by the caller;
    `iteration` counts from 0 within a repeat or a stage.
    """

    path: str
    kind: InstanceKind
    parent: Instance | None
    layer: Layer | None = None
    block: Block | None = None
    args: dict[str, Arg] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    iteration: int | None = None
    children: list[Instance | Node] = field(default_factory=list)
    input: Node | None = None
    output: Node | None = None

    def nodes(self) -> Iterator[Node]:
        """Every node inside, in order."""
        for child in self.children:
            if isinstance(child, Node):
                yield child
            else:
                yield from child.nodes()


class Output(NamedTuple):
    """A result of the network. `span` is where it is defined; the main output has none."""

    name: str
    node: Node
    training_only: bool = False
    loss_weight: float = 1.0


class Transferred(NamedTuple):
    """The transfer case that a graph is under, and the network as it was.

    `anew` and `left_out` are paths that mean all below them too: what starts anew, and heads for training that the case
    makes idle, with what leads to them alone.
    """

    case: str
    original: Graph
    anew: tuple[str, ...]
    left_out: frozenset[str]

    def starts_anew(self, path: str) -> bool:
        """Whether a layer, or a parameter by its key, does."""
        return any(path == root or path.startswith(f"{root}.") for root in self.anew)

    def leaves_out(self, path: str) -> bool:
        """Whether a layer, or a parameter by its key, is left out."""
        return not self.left_out.isdisjoint(accumulate(path.split("."), "{}.{}".format))


@dataclass(slots=True, eq=False, repr=False)
class Graph:
    """A network with all shapes known.

    `outputs` begins with the main one. `transfer` is there under a case. `frozen` holds the paths that do not train in
    the first epoch; of some, `starts` says in which they begin to. `factors` has what rates are multiplied by, by path.
    """

    spec: Spec
    input: Node
    nodes: list[Node]
    root: Instance
    outputs: list[Output]
    frozen: frozenset[str] = frozenset()
    transfer: Transferred | None = None
    starts: dict[str, int] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The network's name."""
        return self.spec.name

    def inference(self) -> Graph:
        """The graph without the heads that exist in training only, and without what leads to them alone."""
        outputs = [output for output in self.outputs if not output.training_only]
        if len(outputs) == len(self.outputs):
            return self
        alive = self.ancestors([output.node for output in outputs])
        nodes = [node for node in self.nodes if node.index in alive]
        return replace(self, nodes=nodes, outputs=outputs)

    def first_epochs(self) -> dict[str, int]:
        """The epoch, counted from 1, in which each layer that ever trains begins to, by its path.

        What is frozen for good never does, nor does what no loss depends on: further outputs of inference have none.
        """
        further = [output.node for output in self.outputs[1:] if output.training_only]
        measured = self.ancestors([self.outputs[0].node, *further])
        return {
            node.path: self.starts.get(node.path, 1)
            for node in self.nodes
            if node.index in measured and (node.path not in self.frozen or node.path in self.starts)
        }

    def ancestors(self, ends: list[Node]) -> set[int]:
        """Indices of the nodes that `ends` depend on, their own included."""
        seen: set[int] = set()
        todo = list(ends)
        while todo:
            node = todo.pop()
            if node.index not in seen:
                seen.add(node.index)
                todo.extend(node.inputs)
        return seen
