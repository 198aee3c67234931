"""From definitions to the graph: blocks called, stages and repeats unrolled, shapes inferred on the way.

Shapes and expansion go together, because `$in_channels` and `shortcut: auto` need the channels that arrive. Where a layer
cannot be built the reason is reported and its output is unknown (None); what reads it is still checked as far as
possible, but causes no further messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from pydantic import ValidationError

from cnnspec.diagnostics import Label, Report, Span, did_you_mean
from cnnspec.expr import Const, ExprError, ListOf, Value, evaluate, show
from cnnspec.graph.model import Graph, Instance, InstanceKind, Node, Output
from cnnspec.ops import Maps, Op, OpError
from cnnspec.ops.conv import Conv
from cnnspec.ops.layout import Input
from cnnspec.source import Node as Text
from cnnspec.source import Sequence
from cnnspec.spec.document import Spec
from cnnspec.spec.layers import (
    Arg,
    Block,
    BlockLayer,
    Body,
    BranchesLayer,
    Layer,
    OpLayer,
    ResidualLayer,
    StageLayer,
    TableLayer,
)
from cnnspec.spec.naming import sharing
from cnnspec.spec.parser import Parser
from cnnspec.spec.transfer import Case

MAX_LAYERS = 100_000
MAX_NESTING = 40
_STAND_IN_CHANNELS = 720_720  # for `$in_channels` behind a mistake: divides by almost everything, so it adds no message


class TooLarge(Exception):
    """The network grows beyond `MAX_LAYERS` or nests beyond `MAX_NESTING`; the reason is in the report."""


class _Broken(Exception):
    """This layer cannot be built; the reason is in the report."""


@dataclass(slots=True, eq=False, repr=False)
class _Scope:
    """What the layers of one definition see: variables, the definition's input, and where its paths begin."""

    values: dict[str, Value]
    root: str
    parser: Parser
    input: Node | None
    instance: Instance

    def inner(self, instance: Instance, values: dict[str, Value] | None = None) -> _Scope:
        """The same definition, further in."""
        merged = self.values | values if values else self.values
        return _Scope(merged, self.root, self.parser, self.input, instance)


@dataclass(slots=True, eq=False, repr=False)
class _Place:
    """Where an entry of a body goes. `owned` tells that the path is its own, so that its parts lie below it; otherwise
    it is unnamed in a named body, and its parts stand beside it in `prefix` with its number.
    """

    path: str
    prefix: str
    owned: bool
    iteration: int | None = None
    suffix: str = ""


def expand(spec: Spec, report: Report, case: Case | None = None) -> Graph | None:
    """The graph of `spec`, changed as the transfer `case` says; None where `report` got an error."""
    expander = _Expander(spec, report, case)
    try:
        graph = expander.network()
    except TooLarge:
        return None
    return None if report.failed else graph


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


@dataclass(slots=True, eq=False, repr=False)
class _Expander:
    spec: Spec
    report: Report
    case: Case | None
    nodes: list[Node] = field(default_factory=list)
    claims: dict[str, Span] = field(default_factory=dict)
    tensors: dict[str, Node | None] = field(default_factory=dict)
    opaque: dict[str, str] = field(default_factory=dict)
    norms: dict[int, OpLayer | None] = field(default_factory=dict)
    built: dict[tuple[type[Op], str], Op] = field(default_factory=dict)
    steps: int = 0
    depth: int = 0

    # ---- the network

    def network(self) -> Graph | None:
        spec = self.spec
        root = Instance("", "network", None, values=dict(spec.values))
        start = Node(0, "input", Input(), (), spec.input, {}, None, {}, "", root)
        self.nodes.append(start)
        root.input = start
        values = spec.values | {"in_channels": spec.input.channels}
        scope = _Scope(values, "", spec.parser, start, root)
        end = self.body(spec.body, scope, start, "")
        if end is start and not self.report.failed:
            self.report.add("bad-value", "a network needs at least one layer", spec.body.span)
        outputs = [Output("main", end)] if end else []
        if self.case and self.case.features:
            outputs = self.features(scope)
        else:
            outputs += self.heads(scope)
        if self.report.failed or not outputs:
            return None
        root.output = outputs[0].node
        graph = Graph(spec, start, self.nodes[1:], root, outputs)
        if self.case and self.case.features:
            _prune(graph)
        else:
            self.unread(graph)
        return graph

    def heads(self, scope: _Scope) -> list[Output]:
        """The further outputs."""
        outputs = []
        for head in self.spec.outputs:
            source = self.source(head.source, scope, None, "")
            instance = self.instance(head.name, "output", scope.instance, source)
            try:
                self.claim(head.name, head.key)
            except _Broken:
                continue
            end = self.body(head.body, scope.inner(instance), source, head.name)
            instance.output = end
            if end:
                outputs.append(Output(head.name, end, head.training_only, head.loss_weight))
        return outputs

    def features(self, scope: _Scope) -> list[Output]:
        """The new classifier of a transfer case, on the features of the layer that it names."""
        assert self.case and self.case.features
        source, body = self.case.features
        start = self.source(source, scope, None, "")
        instance = self.instance("head", "output", scope.instance, start)
        end = self.body(body, scope.inner(instance), start, "head")
        instance.output = end
        return [Output("main", end)] if end else []

    def unread(self, graph: Graph) -> None:
        """Every layer must lead to an output: frameworks would drop it, or count it, each in its own way."""
        alive = graph.ancestors([output.node for output in graph.outputs])
        read = {node.index for reader in graph.nodes for node in reader.inputs}
        for node in graph.nodes:
            if node.index not in alive and node.index not in read and node.layer:
                self.report.add(
                    "unread-layer", f"nothing reads the output of `{node.path}`", node.layer.key, path=node.path,
                    help="name it in a later layer's `from`, make it an output, or remove it",
                )  # fmt: skip

    # ---- bodies and their entries

    def body(self, body: Body, scope: _Scope, x: Node | None, prefix: str) -> Node | None:
        """The output of `body` on `x`; its layers get paths below `prefix`."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            self.stop(f"blocks are nested deeper than {MAX_NESTING} levels", body.span)
        position = 0
        for layer in body.layers:
            self.count(layer.key)
            try:
                if type(layer) is Layer:  # it could not be read
                    raise _Broken
                if layer.condition and not self.boolean(layer.condition, scope, prefix):
                    position += 1
                    continue
                start = self.source(layer.source, scope, x, prefix) if layer.source else x
                if isinstance(layer, StageLayer):
                    x = self.stage(layer, scope, start, prefix)
                    position += 1
                elif isinstance(layer, TableLayer):
                    for row in layer.rows:
                        start = self.single(row, scope, start, self.place(row, scope, prefix, 0, body.named), {})
                    x = start
                    position += 1
                elif layer.repeat is None:
                    place = self.place(layer, scope, prefix, position, body.named)
                    # a merge may list the layer before as `previous`, whatever it starts from
                    x = self.single(layer, scope, start, place, {})
                    position += 1
                else:
                    x, position = self.repeat(layer, scope, start, prefix, position, body.named)
            except _Broken:
                x = None
                position += 1
                if layer.name and layer.name.constant:
                    self.tensors.setdefault(_join(prefix, str(evaluate(layer.name.expr, {}))), None)
        self.depth -= 1
        return x

    def place(self, layer: Layer, scope: _Scope, prefix: str, position: int, named: bool) -> _Place:
        """The path of an entry: its name; its number in a list; else its label."""
        if layer.name:
            return _Place(_join(prefix, self.name(layer.name, scope, prefix)), prefix, True)
        if not named:
            return _Place(_join(prefix, str(position)), prefix, True)
        return _Place(_join(prefix, layer.label + layer.suffix), prefix, False, suffix=layer.suffix)

    def repeat(
        self, layer: Layer, scope: _Scope, x: Node | None, prefix: str, position: int, named: bool
    ) -> tuple[Node | None, int]:
        """A layer several times over: entries of the list it stands in, or of a list under its own path."""
        assert layer.repeat
        times = self.value(layer.repeat, scope, prefix)
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            self.report.add(
                "bad-value", f"`repeat`: expected a whole number of at least 0, got {show(times)}", layer.repeat.span
            )
            raise _Broken
        if self.steps + times > MAX_LAYERS:
            self.stop(f"{times:,} repeats make the network larger than {MAX_LAYERS:,} layers", layer.repeat.span)
        spliced = layer.name is None and not named
        if spliced:
            base, parent = prefix, scope
        else:
            place = self.place(layer, scope, prefix, position, named)
            self.claim(place.path, layer.title)
            base = place.path
            parent = scope.inner(self.instance(base, "repeat", scope.instance, x, layer=layer))
            position = 0
        for k in range(times):
            self.count(layer.key)
            spot = _Place(_join(base, str(position + k)), base, True, iteration=k)
            x = self.single(layer, parent, x, spot, layer.first if k == 0 else {})
        if spliced:
            return x, position + times
        parent.instance.output = x
        self.tensors[base] = x
        return x, position + 1

    def single(
        self, layer: Layer, scope: _Scope, x: Node | None, place: _Place, first: dict[str, Arg]
    ) -> Node | None:
        """One entry at one place; `first` overrides its arguments."""
        replacement = self.case.replace.get(place.path) if self.case else None
        if replacement is not None:
            instance = self.instance(place.path, "replacement", scope.instance, x, layer=layer)
            self.claim(place.path, layer.title)
            values = self.spec.values | {"in_channels": _channels(x)}
            inner = _Scope(values, place.path, self.spec.parser, x, instance)
            out = self.body(replacement, inner, x, place.path)
            instance.output = out
        elif isinstance(layer, OpLayer):
            out = self.op(layer, scope, x, place, first)
        elif isinstance(layer, BlockLayer):
            out = self.block(layer, scope, x, place, first)
        elif isinstance(layer, BranchesLayer):
            out = self.branches(layer, scope, x, place)
        elif isinstance(layer, ResidualLayer):
            out = self.residual(layer, scope, x, place)
        else:
            raise TypeError(type(layer).__name__)
        self.tensors[place.path] = out
        return out

    # ---- structures

    def block(
        self, layer: BlockLayer, scope: _Scope, x: Node | None, place: _Place, first: dict[str, Arg]
    ) -> Node | None:
        block = scope.parser.blocks[layer.kind]
        self.claim(place.path, layer.title)
        self.opaque[place.path] = block.name
        given = layer.args | first
        globals_ = self.spec.values if block.parser is self.spec.parser else {}
        values: dict[str, Value] = globals_ | {"in_channels": _channels(x)}
        for name, default in block.args.items():
            if name in given:
                values[name] = self.value(given[name], scope, place.path)
            elif default is not None:
                values[name] = self.value(default, scope, place.path, globals_)
        for name, arg in block.let.items():
            values[name] = self.value(arg, scope, place.path, values)
        instance = self.instance(
            place.path, "block", scope.instance, x, layer=layer, block=block, args=given, values=values, iteration=place.iteration
        )  # fmt: skip
        inner = _Scope(values, place.path, block.parser, x, instance)
        instance.output = self.body(block.body, inner, x, place.path)
        return instance.output

    def branches(self, layer: BranchesLayer, scope: _Scope, x: Node | None, place: _Place) -> Node | None:
        base = place.path if place.owned else place.prefix
        if place.owned:
            self.claim(place.path, layer.title)
        group = self.instance(
            base, "branches", scope.instance, x, layer=layer, iteration=place.iteration
        )
        ends: list[Node | None] = []
        for name, body in layer.branches.items():
            path = _join(base, name)
            self.claim(path, body.owner or body.span)
            branch = self.instance(path, "branch", group, x)
            branch.output = self.body(body, scope.inner(branch), x, path)
            self.tensors[path] = branch.output
            ends.append(branch.output)
        merge_path = _join(base, layer.merge.op.label) if place.owned else place.path
        group.output = self.op(
            layer.merge, scope.inner(group), x, _Place(merge_path, base, True), {}, inputs=ends
        )
        return group.output

    def residual(self, layer: ResidualLayer, scope: _Scope, x: Node | None, place: _Place) -> Node | None:
        base = place.path if place.owned else place.prefix
        suffix = "" if place.owned else layer.suffix
        if place.owned:
            self.claim(place.path, layer.title)
        group = self.instance(
            base, "residual", scope.instance, x, layer=layer, iteration=place.iteration
        )
        inner = scope.inner(group)
        end = self.body(layer.body, inner, x, base)
        shortcut = self.shortcut(layer, inner, x, end, _join(base, "shortcut" + suffix))
        merge = _Place(_join(base, layer.add.op.label + suffix), base, True)
        group.output = self.op(layer.add, inner, x, merge, {}, inputs=[end, shortcut], residual=layer)
        return group.output

    def shortcut(
        self, layer: ResidualLayer, scope: _Scope, x: Node | None, end: Node | None, path: str
    ) -> Node | None:
        """What is added to the body's output."""
        if isinstance(layer.shortcut, Body):
            self.claim(path, layer.shortcut_span)
            instance = self.instance(path, "shortcut", scope.instance, x)
            instance.output = self.body(layer.shortcut, scope.inner(instance), x, path)
            return instance.output
        if layer.shortcut == "identity" or x is None or end is None:
            return x
        stride = _stride(x, end)
        changes = end.shape.channels != x.shape.channels or stride != (1, 1)
        if layer.shortcut == "auto" and not changes:
            return x
        if not isinstance(end.shape, Maps) or not isinstance(x.shape, Maps):
            problem = f"a projection works on feature maps, here {x.shape} becomes {end.shape}"
        elif stride is None or any(s < 1 or s != int(s) for s in stride):
            problem = "a projection can only keep or reduce the size, this body enlarges it"
        else:
            return self.projection(layer, scope, x, end, (int(stride[0]), int(stride[1])), path)
        self.report.add(
            "no-projection", problem, layer.shortcut_span, path=path,
            help="write the shortcut as a list of layers, or `identity`",
        )  # fmt: skip
        return None

    def projection(
        self, layer: ResidualLayer, scope: _Scope, x: Node, end: Node, stride: tuple[int, int], path: str
    ) -> Node | None:
        """A 1×1 convolution with the bias and the norm of the body's last convolution."""
        last = next((n for n in _way(x, end) or () if n.op.label == "conv" and n.part == ""), None)
        op = Conv(
            filters=end.shape.channels, kernel=(1, 1), stride=stride, padding=(0, 0, 0, 0), bias=getattr(last.op, "bias", True) if last else True
        )  # fmt: skip
        conv = OpLayer(
            kind="conv", key=layer.shortcut_span, node=layer.node, op=Conv, args={}, ready=op,
            norm=self.norms.get(last.index) if last else None,
        )  # fmt: skip
        return self.op(conv, scope, x, _Place(path, path.rpartition(".")[0], True), {})

    def stage(self, layer: StageLayer, scope: _Scope, x: Node | None, prefix: str) -> Node | None:
        assert layer.name
        lists: dict[str, tuple[Value, ...]] = {}
        for name, arg in layer.each.items():
            value = self.value(arg, scope, prefix)
            if not isinstance(value, tuple):
                self.report.add("bad-value", f"`{name}` needs a list, got {show(value)}", arg.span)
                raise _Broken
            lists[name] = value
        lengths = {len(values) for values in lists.values()}
        if len(lengths) > 1:
            listed = ", ".join(f"`{name}` has {len(values)}" for name, values in lists.items())
            last = list(layer.each.values())[-1]
            self.report.add("uneven-lists", f"the lists of `each` must be equally long: {listed}", last.span)
            raise _Broken
        for k in range(lengths.pop() if lengths else 1):
            variables: dict[str, Value] = {"i": k + 1} if lists else {}
            variables |= {name: values[k] for name, values in lists.items()}
            variables["in_channels"] = _channels(x)
            path = _join(prefix, self.name(layer.name, scope, prefix, scope.values | variables))
            self.claim(path, layer.title)
            instance = self.instance(
                path, "stage", scope.instance, x, layer=layer, values=variables, iteration=k if lists else None
            )
            x = self.body(layer.do, scope.inner(instance, variables), x, path)
            instance.output = x
            self.tensors[path] = x
        return x

    # ---- ops

    def op(
        self,
        layer: OpLayer,
        scope: _Scope,
        x: Node | None,
        place: _Place,
        first: dict[str, Arg],
        *,
        inputs: list[Node | None] | None = None,
        residual: ResidualLayer | None = None,
    ) -> Node | None:
        """An op with what is attached to it."""
        path = place.path
        if inputs is None:
            inputs = [x] if layer.inputs is None else [self.source(a, scope, x, place.prefix) for a in layer.inputs]
        args = layer.args | first if first else layer.args
        op = self.build(layer, args, scope, path)
        norm = self.attached("norm", layer, scope, path)
        activation = self.attached("activation", layer, scope, path)
        parts = [part for part in (norm, activation) if part]
        weighted = sum(part.op.parameterised for part in (layer, *parts))
        if parts or (op and op.parts()):
            scope = scope.inner(self.instance(path, "layer", scope.instance, x, layer=layer, iteration=place.iteration))
        beside = not place.owned and sharing(layer)
        below = weighted > 1 and not beside
        if op and op.parts():
            self.claim(path, layer.title)
            y = self.chain(op, path, inputs, layer, args, scope)
        else:
            if below:
                self.claim(path, layer.title)
            main = _join(path, layer.op.label) if below else path
            y = self.node(main, op, inputs, layer, args, "", scope, residual=residual)
        if y:
            self.norms[y.index] = norm
        for role, part in (("norm", norm), ("activation", activation)):
            if part:
                spot = _join(path, part.op.label)
                if beside:
                    spot = _join(place.prefix, part.op.label + place.suffix)
                part_op = self.build(part, part.args, scope, spot)
                y = self.node(spot, part_op, [y], part, part.args, role, scope)
        if parts or (op and op.parts()):
            scope.instance.output = y
        return y

    def chain(
        self, op: Op, path: str, inputs: list[Node | None], layer: OpLayer, args: dict[str, Arg], scope: _Scope
    ) -> Node | None:
        """An op that stands in the graph as several, one reading the other."""
        y = None
        for label, part in op.parts():
            y = self.node(_join(path, label), part, inputs, layer, args, "", scope)
            inputs = [y]
        return y

    def attached(self, role: str, layer: OpLayer, scope: _Scope, path: str) -> OpLayer | None:
        part = layer.norm if role == "norm" else layer.activation
        if not isinstance(part, Arg):
            return part
        value = self.value(part, scope, path)
        try:
            return scope.parser.attached_by_name(role, value, part)
        except ExprError as error:
            self.report.add(error.slug, error.message, part.span, help=error.help, path=path)
            return None

    def build(self, layer: OpLayer, args: dict[str, Arg], scope: _Scope, path: str) -> Op | None:
        """The op with its options' values; None where they are wrong."""
        if layer.broken:
            return None
        if layer.ready is not None and args is layer.args:
            return layer.ready
        if any(arg.broken for arg in args.values()):
            return None
        try:
            values = {name: self.value(arg, scope, path) for name, arg in args.items()}
        except _Broken:
            return None
        key = (layer.op, repr(values))  # not the values themselves: 1, 1.0 and True are equal
        if key not in self.built:
            try:
                self.built[key] = layer.op.model_validate(values)
                scope.parser.doubt(self.built[key], args, layer.key, path)
            except ValidationError as error:
                scope.parser.op_problems(layer.op, error, args, layer.key, path=path)
                return None
        return self.built[key]

    def node(
        self,
        path: str,
        op: Op | None,
        inputs: Iterable[Node | None],
        layer: OpLayer,
        args: dict[str, Arg],
        part: str,
        scope: _Scope,
        *,
        residual: ResidualLayer | None = None,
    ) -> Node | None:
        """Append a node, unless its op or an input is unknown or they do not fit."""
        self.claim(path, layer.title)
        self.count(layer.key)
        known = [node for node in inputs if node is not None]
        if op is None or len(known) < len(list(inputs)):
            return None
        shapes = [node.shape for node in known]
        try:
            shape = op.shape(shapes)
            params = op.params(shapes)
        except OpError as error:
            self.misfit(error, path, layer, args, known, residual)
            return None
        node = Node(len(self.nodes), path, op, tuple(known), shape, params, layer, args, part, scope.instance)
        self.nodes.append(node)
        scope.instance.children.append(node)
        return node

    @staticmethod
    def culprit(option: str, layer: OpLayer, args: dict[str, Arg]) -> tuple[Span, list[Label]]:
        """What to change about a layer: the option's value; the layer, if a default gave the value."""
        arg = args.get(option) or args.get(layer.op.main if option == "kernel" else "")  # a pool's kernel is its value
        if arg is None:
            return layer.key, []
        own = layer.node.span
        if arg.span.source is own.source and own.start <= arg.span.start < own.end:
            return arg.span, []
        return layer.key, [Label(arg.span, f"its `{option}` is set here")]

    def misfit(
        self,
        error: OpError,
        path: str,
        layer: OpLayer,
        args: dict[str, Arg],
        inputs: list[Node],
        residual: ResidualLayer | None,
    ) -> None:
        """Report an op that cannot take its inputs, with where they come from."""
        span, related = self.culprit(error.field, layer, args)
        label, help = "", error.help
        if residual is not None:
            body, shortcut = inputs
            span = residual.shortcut_span
            label = f"this one {shortcut.shape}"
            related = [Label(body.span, f"this path gives {body.shape}")] if body.span else []
            help = "use `shortcut: auto`, or let the body end with the channels and the size that enter it"
            if isinstance(residual.shortcut, Body):
                help = "let both paths end with the same channels and size"
            elif residual.shortcut != "identity":
                help = f"write the shortcut as a list of layers: `{residual.shortcut}` cannot reach this shape"
        elif len(inputs) > 1:
            related += [
                Label(_written(node), f"{node.path} gives {node.shape}") for node in inputs if node.layer
            ]
        elif inputs[0].layer and error.slug in ("wrong-rank", "empty-output"):
            related += [Label(_written(inputs[0]), f"{inputs[0].path} gives {inputs[0].shape}")]
        self.report.add(error.slug, error.message, span, label=label, related=related, help=help, path=path)

    # ---- values and names

    def value(
        self, arg: Arg, scope: _Scope, path: str, values: dict[str, Value] | None = None
    ) -> Value:
        """The value of an option. A mistake is reported and breaks the layer."""
        if arg.broken:
            raise _Broken
        if isinstance(arg.expr, Const):
            return arg.expr.value
        try:
            return evaluate(arg.expr, scope.values if values is None else values)
        except ExprError as error:
            node = arg.node
            if isinstance(arg.expr, ListOf) and isinstance(node, Sequence):
                node = _faulty_item(arg.expr, node, scope.values if values is None else values)
            scope.parser.expression_error(error, node, path)
            raise _Broken from None

    def boolean(self, arg: Arg, scope: _Scope, path: str) -> bool:
        value = self.value(arg, scope, path)
        if not isinstance(value, bool):
            self.report.add("bad-value", f"`if`: expected true or false, got {show(value)}", arg.span)
            raise _Broken
        return value

    def name(self, arg: Arg, scope: _Scope, prefix: str, values: dict[str, Value] | None = None) -> str:
        """The text of a name."""
        name = str(self.value(arg, scope, prefix, values))
        if not arg.constant and not scope.parser.check_name(name, arg.span):
            raise _Broken
        return name

    def source(self, arg: Arg, scope: _Scope, previous: Node | None, prefix: str) -> Node | None:
        """The layer that a `from` names: looked for beside the layer that reads it, then further out, up to the block's edge."""
        try:
            name = str(self.value(arg, scope, prefix))
        except _Broken:
            return None
        if name == "input":
            return scope.input
        if name == "previous":
            return previous
        container = prefix
        while True:
            path = _join(container, name)
            if path in self.tensors:
                if hidden := self._hiding(path, scope.root):
                    self.report.add(
                        "hidden-layer", f"`{name}` is inside the block `{hidden}`, of which only the output can be read here",
                        arg.span, help="end the block there, or give it a second output by splitting it in two",
                    )  # fmt: skip
                    return None
                return self.tensors[path]
            if len(container) <= len(scope.root):
                break
            container = container.rpartition(".")[0]
        start = len(scope.root) + 1 if scope.root else 0
        visible = [p[start:] for p in self.tensors if p.startswith(scope.root) and not self._hiding(p, scope.root)]
        self.report.add(
            "unknown-layer",
            f"no layer before this one is called `{name[:60]}`",
            arg.span,
            help=did_you_mean(name, [*visible, "input", "previous"]),
        )
        return None

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
        made = Instance(path, kind, parent, layer, block, args or {}, values or {}, iteration, [], x)
        parent.children.append(made)
        return made

    def claim(self, path: str, span: Span) -> None:
        """Take a path. A second claim is a mistake, at the place of the second, and breaks the layer there."""
        if path in self.claims:
            other = self.claims[path]
            self.report.add(
                "duplicate-path", f"two layers have the path `{path}`", span,
                related=[Label(other, "the other one")] if other != span else [],
                help="give one of them another `name:`",
            )  # fmt: skip
            raise _Broken
        self.claims[path] = span

    def count(self, span: Span) -> None:
        self.steps += 1
        if self.steps > 3 * MAX_LAYERS or len(self.nodes) > MAX_LAYERS:
            self.stop(f"the network grows beyond {MAX_LAYERS:,} layers", span)

    def stop(self, message: str, span: Span) -> None:
        self.report.add("too-large", message, span, help="fewer repeats, or blocks that do not multiply")
        raise TooLarge


def _channels(x: Node | None) -> int:
    return x.shape.channels if x else _STAND_IN_CHANNELS


def _written(node: Node) -> Span:
    assert node.span
    return node.span


def _faulty_item(expr: ListOf, node: Sequence, values: dict[str, Value]) -> Text:
    """The first item of a list that has no value."""
    for item, text in zip(expr.items, node.items, strict=True):
        try:
            evaluate(item, values)
        except ExprError:
            return text
    return node


def _way(start: Node, end: Node) -> list[Node] | None:
    """The nodes on the main way back from `end` to `start`; None where no way leads back."""
    way = []
    node = end
    while node is not start:
        if not node.inputs:
            return None
        way.append(node)
        # of a merge's inputs, follow one of full size: a gate of 1×1 stands beside the way
        node = next((n for n in node.inputs if n.shape[1:] == node.shape[1:]), node.inputs[0])
    return way


def _stride(start: Node, end: Node) -> tuple[float, float] | None:
    """The product of the strides on the way from `start` to `end`, per axis; None where no way leads back."""
    way = _way(start, end)
    if way is None:
        return None
    steps = [node.op.field(node.input_shapes).step for node in way]
    return round(prod(step[0] for step in steps), 9), round(prod(step[1] for step in steps), 9)


def _prune(graph: Graph) -> None:
    """Drop what no output depends on."""
    alive = graph.ancestors([output.node for output in graph.outputs])
    graph.nodes = [node for node in graph.nodes if node.index in alive]

    def prune(instance: Instance) -> bool:
        instance.children = [
            child for child in instance.children if (child.index in alive if isinstance(child, Node) else prune(child))
        ]
        return bool(instance.children)

    prune(graph.root)

