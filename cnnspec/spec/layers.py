"""The validated form of what a spec says about layers: definitions, not yet expanded.

A `Body` is a list of `Layer`s; a `Block` is a body with arguments. Every option is an `Arg`, an expression together
with the place where it is written, so that expansion, messages and generated code all start from the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cnnspec.diagnostics import Span
from cnnspec.expr import Const, Expr
from cnnspec.ops import Op
from cnnspec.source import Node

if TYPE_CHECKING:
    from cnnspec.spec.block_reader import BlockReader


@dataclass(slots=True, eq=False, repr=False)
class Arg:
    """A value in the spec: its expression, and the node that it was read from. `broken` where it could not be read."""

    expr: Expr
    node: Node
    broken: bool = False

    @property
    def span(self) -> Span:
        """The text of the value."""
        return self.node.span

    @property
    def constant(self) -> bool:
        """Whether the value is the same in every instance."""
        return isinstance(self.expr, Const)


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Layer:
    """What every entry of a body has; one that could not be read is nothing more than this.

    `key` is the text that names the kind; `label` the path component that the entry gets in a named body, with `suffix`
    the number in it (`""` where the layer is the only one of its kind).
    """

    kind: str
    key: Span
    node: Node
    name: Arg | None = None
    source: Arg | None = None
    condition: Arg | None = None
    repeat: Arg | None = None
    first: dict[str, Arg] = field(default_factory=dict)
    label: str = ""
    suffix: str = ""

    @property
    def title(self) -> Span:
        """The text that a path of it comes from: its name, or its kind."""
        return self.name.span if self.name else self.key


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class OpLayer(Layer):
    """An op with its options.

    `norm` and `activation` are layers of their own behind it; an `Arg` there is an expression whose value names the
    kind. `ready` is the validated op where no option depends on a variable.
    """

    op: type[Op]
    args: dict[str, Arg]
    norm: OpLayer | Arg | None = None
    activation: OpLayer | Arg | None = None
    inputs: list[Arg] | None = None
    ready: Op | None = None
    broken: bool = False


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class BlockLayer(Layer):
    """A use of a block."""

    args: dict[str, Arg]


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class BranchesLayer(Layer):
    """Named branches over one input, merged by an op (`concat`, `add`, `multiply`)."""

    merge: OpLayer
    branches: dict[str, Body]


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class ResidualLayer(Layer):
    """A body and a shortcut around it, added. `shortcut` is `auto`, `identity`, `projection` or a body of its own."""

    body: Body
    add: OpLayer
    shortcut: str | Body = "auto"
    shortcut_span: Span


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class StageLayer(Layer):
    """A list of layers, built once for every tuple of values in `each`; `name` may contain `$i`, counted from 1."""

    each: dict[str, Arg]
    do: Body


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class TableLayer(Layer):
    """A block used once a row; a row's path is `prefix` + its name."""

    block: str
    prefix: str
    rows: list[BlockLayer]


@dataclass(slots=True, eq=False, repr=False)
class Body:
    """Layers in order. In a `named` body a layer's path component is its label; in a list, its number.

    `owner` is the text that the body belongs to: a branch's name, a stage's key.
    """

    layers: list[Layer]
    span: Span
    named: bool
    owner: Span | None = None


@dataclass(slots=True, eq=False, repr=False)
class Block:
    """A definition with arguments: `args` maps each to its default, or to None where it is required.

    `parser` is the reader of its file, whose defaults apply inside it.
    """

    name: str
    key: Span
    args: dict[str, Arg | None]
    let: dict[str, Arg]
    body: Body
    parser: BlockReader
    description: str = ""


@dataclass(slots=True, eq=False, repr=False)
class OutputDef:
    """A further output: a body on top of the layer `source`. What it does not say is None."""

    name: str
    key: Span
    source: Arg
    body: Body
    training_only: Arg | None = None
    loss_weight: Arg | None = None
