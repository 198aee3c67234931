"""What expansion keeps while it builds a graph: paths, tensors, the variables that a definition sees."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from math import inf

from cnnspec.diagnostics import Label, Report, Span, did_you_mean
from cnnspec.expr import Exhausted, ExprError, ListOf, Meter, Value, evaluate, show
from cnnspec.graph.model import Instance, InstanceKind, Node
from cnnspec.ops import Op
from cnnspec.source import Node as Text
from cnnspec.source import Sequence
from cnnspec.spec.block_reader import BlockReader
from cnnspec.spec.document import Spec
from cnnspec.spec.layers import Arg, Block, Layer, OpLayer

MAX_LAYERS = 30_000
MAX_NESTING = 40
MAX_PATH = 250
_SUGGESTIONS = 500  # how many of the layers before are looked at for a name like the unknown one
_STAND_IN_CHANNELS = 720_720  # for `$in_channels` behind a mistake: divides by almost everything, so it adds no message


class TooLarge(Exception):
    """The network is too large, too deep, or takes too long to work out; the reason is in the report."""


class Broken(Exception):
    """This layer cannot be built; the reason is in the report."""


@dataclass(slots=True, eq=False, repr=False)
class Scope:
    """What the layers of one definition see: variables, the definition's input, and where its paths begin."""

    values: dict[str, Value]
    root: str
    parser: BlockReader
    input: Node | None
    instance: Instance

    def inner(self, instance: Instance, values: dict[str, Value] | None = None) -> Scope:
        """The same definition, further in."""
        merged = self.values | values if values else self.values
        return Scope(merged, self.root, self.parser, self.input, instance)


@dataclass(slots=True, eq=False, repr=False)
class Place:
    """Where an entry of a body goes.

    `owned` tells that the path is its own, so that its parts lie below it; otherwise it is unnamed in a named body, and
    its parts stand beside it in `prefix` with its number.
    """

    path: str
    prefix: str
    owned: bool
    iteration: int | None = None
    suffix: str = ""


class Workspace:
    """The graph under construction, and where its names and values are looked up.

    `claims` says who has each path, `tensors` what each path gives (None where it is unknown), `opaque` which paths are
    blocks, so that nothing inside can be read from outside, `norms` which norm the layer of a node carries.
    """

    def __init__(self, spec: Spec, report: Report) -> None:
        self.spec = spec
        self.report = report
        self.nodes: list[Node] = []
        self.claims: dict[str, Span] = {}
        self.tensors: dict[str, Node | None] = {}
        self.opaque: dict[str, str] = {}
        self.norms: dict[int, OpLayer | None] = {}
        self.built: dict[tuple[type[Op], str], Op] = {}
        self.projections: dict[tuple[int, int], OpLayer] = {}  # of a residual, one definition for all its uses
        for parser in {spec.parser, *(block.parser for block in spec.blocks.values())}:
            parser.report = report  # what is found while the graph is built belongs to this report
        self.meter = Meter()
        self.steps = 0
        self.depth = 0

    # ---- values and names

    def value(self, arg: Arg, scope: Scope, path: str, values: dict[str, Value] | None = None) -> Value:
        """The value of an option. A mistake is reported and breaks the layer."""
        if arg.broken:
            raise Broken
        try:
            return evaluate(arg.expr, scope.values if values is None else values, self.meter)
        except Exhausted as error:
            scope.parser.expression_error(error, arg.node, path)
            raise TooLarge from None
        except ExprError as error:
            node = arg.node
            if isinstance(arg.expr, ListOf) and isinstance(node, Sequence):
                node = _faulty_item(arg.expr, node, scope.values if values is None else values)
            scope.parser.expression_error(error, node, path)
            raise Broken from None

    def boolean(self, option: str, arg: Arg, scope: Scope, path: str) -> bool:
        value = self.value(arg, scope, path)
        if not isinstance(value, bool):
            self.report.add("bad-value", f"`{option}`: expected true or false, got {show(value)}", arg.span)
            raise Broken
        return value

    def weight(self, option: str, arg: Arg, scope: Scope, path: str) -> float:
        """A number that something is multiplied by."""
        value = self.value(arg, scope, path)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
            self.report.add("bad-value", f"`{option}`: expected a number of at least 0, got {show(value)}", arg.span)
            raise Broken
        return float(value)

    def name(self, arg: Arg, scope: Scope, prefix: str, values: dict[str, Value] | None = None) -> str:
        """The text of a name."""
        name = str(self.value(arg, scope, prefix, values))
        if not arg.constant and not scope.parser.check_name(name, arg.span):
            raise Broken
        return name

    def source(self, arg: Arg, scope: Scope, previous: Node | None, prefix: str) -> Node | None:
        """The layer that a `from` names, looked for beside the one that reads it, then outwards to the block's edge."""
        try:
            name = str(self.value(arg, scope, prefix))
        except Broken:
            return None
        if name == "input":
            return scope.input
        if name == "previous":
            return previous
        container = prefix
        while True:
            path = join(container, name)
            if path in self.tensors:
                if hidden := self._hiding(path, scope.root):
                    self.report.add(
                        "hidden-layer",
                        f"`{name}` is inside the block `{hidden}`, of which only the output can be read here",
                        arg.span,
                        help="end the block there, or give it a second output by splitting it in two",
                    )
                    return None
                return self.tensors[path]
            if len(container) <= len(scope.root):
                break
            container = container.rpartition(".")[0]
        if self._outside(name, scope, arg.span):
            return None
        start = len(scope.root) + 1 if scope.root else 0
        if self.report.has("unknown-layer", arg.span):  # in another instance of its block
            return None
        near = islice(reversed(self.tensors), _SUGGESTIONS)
        visible = [p[start:] for p in near if p.startswith(scope.root) and not self._hiding(p, scope.root)]
        self.report.add(
            "unknown-layer",
            f"no layer before this one is called `{name[:60]}`",
            arg.span,
            help=did_you_mean(name, [*visible, "input", "previous"]),
        )
        return None

    def _outside(self, name: str, scope: Scope, span: Span) -> bool:
        """Whether there is such a layer before, but not for this definition; reported if so."""
        container, found = scope.root, False
        while container and not found:
            container = container.rpartition(".")[0]
            found = join(container, name) in self.tensors
        if found:
            block = self.opaque.get(scope.root)
            what = f"the block `{block}`" if block else f"what replaces `{scope.root}`"
            self.report.add(
                "hidden-layer",
                f"`{name[:60]}` is outside of {what}, which reads its own layers and its input alone",
                span,
                help="`from: input` is what arrives there",
            )
        return found

    def _hiding(self, path: str, root: str) -> str:
        """The block between `root` and what lies at `path`, if there is one."""
        parts = path.split(".")
        for end in range(len(parts) - 1, 0, -1):
            outer = ".".join(parts[:end])
            if len(outer) <= len(root):
                return ""
            if outer in self.opaque:
                return self.opaque[outer]
        return ""

    # ---- bookkeeping

    def instance(
        self,
        path: str,
        kind: InstanceKind,
        parent: Instance,
        x: Node | None,
        *,
        layer: Layer | None = None,
        block: Block | None = None,
        args: dict[str, Arg] | None = None,
        values: dict[str, Value] | None = None,
        iteration: int | None = None,
    ) -> Instance:
        made = Instance(
            path, kind, parent, layer, block, args or {}, parent.values if values is None else values, iteration, [], x
        )
        parent.children.append(made)
        return made

    def claim(self, path: str, span: Span, help: str = "") -> None:
        """Take a path. A second claim is a mistake, at the place of the second, and breaks the layer there."""
        if len(path) > MAX_PATH:
            self.report.add("too-deep", f"the path `{path[:40]}…` is longer than {MAX_PATH} characters", span)
            raise Broken
        if path in self.claims:
            other = self.claims[path]
            self.report.add(
                "duplicate-path",
                f"two layers have the path `{path}`",
                span,
                related=[Label(other, "the other one")] if other != span else [],
                help=help or "give one of them another `name:`",
            )
            raise Broken
        self.claims[path] = span

    def keep(self, values: dict[str, Value], span: Span) -> None:
        """Count variables that one use of a definition keeps for itself."""
        try:
            self.meter.spend(len(values))
        except Exhausted as error:
            self.stop(error.message, span)

    def count(self, span: Span, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > 3 * MAX_LAYERS or len(self.nodes) > MAX_LAYERS:
            self.stop(f"the network grows beyond {MAX_LAYERS:,} layers", span)

    def stop(self, message: str, span: Span) -> None:
        self.report.add("too-large", message, span, help="fewer repeats, or blocks that do not multiply")
        raise TooLarge


def join(prefix: str, name: str) -> str:
    """The path of `name` below `prefix`."""
    return f"{prefix}.{name}" if prefix else name


def channels(x: Node | None) -> int:
    """How many channels arrive; a stand-in where that is unknown."""
    return x.shape.channels if x else _STAND_IN_CHANNELS


def _faulty_item(expr: ListOf, node: Sequence, values: dict[str, Value]) -> Text:
    """The first item of a list that has no value."""
    for item, text in zip(expr.items, node.items, strict=True):
        try:
            evaluate(item, values)
        except ExprError:
            return text
    return node
