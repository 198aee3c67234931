"""From definitions to the graph: blocks called, stages and repeats unrolled, shapes inferred on the way.

Shapes and expansion go together, because `$in_channels` and `shortcut: auto` need the channels that arrive. Where a
layer cannot be built the reason is reported and its output is unknown (None); what reads it is still checked as far
as possible, but causes no further messages.
"""

from __future__ import annotations

from cnnspec.diagnostics import Report
from cnnspec.expr import evaluate, show
from cnnspec.graph.model import Graph, Instance, Node, Output
from cnnspec.graph.prune import prune
from cnnspec.graph.scope import MAX_LAYERS, MAX_NESTING, Broken, Place, Scope, TooLarge, channels, join
from cnnspec.graph.structures import StructureBuilder
from cnnspec.ops.layout import Input
from cnnspec.spec.document import Spec
from cnnspec.spec.layers import (
    Arg,
    BlockLayer,
    Body,
    BranchesLayer,
    Layer,
    OpLayer,
    OutputDef,
    ResidualLayer,
    StageLayer,
    TableLayer,
)
from cnnspec.spec.transfer import Case, written


def expand(spec: Spec, report: Report, case: Case | None = None) -> Graph | None:
    """The graph of `spec`, changed as the transfer `case` says; None where `report` got an error."""
    expander = _Expander(spec, report, case)
    try:
        graph = expander.network()
    except TooLarge:
        return None
    return None if report.failed else graph


class _Expander(StructureBuilder):
    """Builds the network, body by body."""

    def __init__(self, spec: Spec, report: Report, case: Case | None) -> None:
        super().__init__(spec, report)
        self.case = case
        self.pending = dict(case.replace) if case else {}  # replacements that are still to be met

    def network(self) -> Graph | None:
        spec = self.spec
        root = Instance("", "network", None, values=spec.values | {"in_channels": spec.input.channels})
        start = Node(0, "input", Input(), (), spec.input, {}, None, {}, "", root)
        self.nodes.append(start)
        root.input = start
        scope = Scope(root.values, "", spec.parser, start, root)
        end = self.body(spec.body, scope, start, "")
        if end is start and not self.report.failed:
            self.report.add("bad-value", "a network needs at least one layer", spec.body.span)
        outputs = [Output("main", end)] if end else []
        if self.case and self.case.features:
            outputs = self.features(scope)
        else:
            outputs += self.heads(scope)
        for path in self.pending if self.case else ():
            self.report.add(
                "unmatched-path",
                f"`{path[:60]}` cannot be replaced: it is a part of a layer, or holds several",
                written(self.case.node.get("replace"), path) if self.case else self.spec.body.span,
                help="name a layer or a block, with all its parts",
            )
        if self.report.failed or not outputs:
            return None
        root.output = outputs[0].node
        graph = Graph(spec, start, self.nodes[1:], root, outputs)
        if self.case and self.case.features:
            prune(graph)
        else:
            self.unread(graph)
        return graph

    def heads(self, scope: Scope) -> list[Output]:
        """The further outputs."""
        outputs = []
        for head in self.spec.outputs:
            source = self.source(head.source, scope, None, "")
            instance = self.instance(head.name, "output", scope.instance, source)
            try:
                self.claim(head.name, head.key)
            except Broken:
                continue
            end = self.body(head.body, scope.inner(instance), source, head.name)
            instance.output = end
            try:
                only, weight = self.options(head, scope)
            except Broken:
                continue
            if end:
                outputs.append(Output(head.name, end, only, weight))
        return outputs

    def options(self, head: OutputDef, scope: Scope) -> tuple[bool, float]:
        """Whether an output is for training only, and the weight of its loss."""
        only = self.boolean("training_only", head.training_only, scope, head.name) if head.training_only else False
        weight = self.weight("loss_weight", head.loss_weight, scope, head.name) if head.loss_weight else 1.0
        return only, weight

    def features(self, scope: Scope) -> list[Output]:
        """The new classifier of a transfer case, on the features of the layer that it names."""
        assert self.case is not None
        assert self.case.features is not None
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
                    "unread-layer",
                    f"nothing reads the output of `{node.path}`",
                    node.layer.key,
                    path=node.path,
                    help="name it in a later layer's `from`, make it an output, or remove it",
                )

    # ---- bodies and their entries

    def body(self, body: Body, scope: Scope, x: Node | None, prefix: str) -> Node | None:
        """The output of `body` on `x`; its layers get paths below `prefix`."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            self.stop(f"blocks are nested deeper than {MAX_NESTING} levels", body.span)
        position = 0
        for layer in body.layers:
            self.count(layer.key)
            try:
                if type(layer) is Layer:  # it could not be read
                    raise Broken
                if layer.condition and not self.boolean("if", layer.condition, scope, prefix):
                    position += 1
                    continue
                start = self.source(layer.source, scope, x, prefix) if layer.source else x
                if isinstance(layer, StageLayer):
                    x = self.stage(layer, scope, start, prefix)
                    position += 1
                elif isinstance(layer, TableLayer):
                    for row in layer.rows:
                        self.count(row.key)
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
            except Broken:
                x = None
                position += 1
                if layer.name and layer.name.constant:
                    self.tensors.setdefault(join(prefix, str(evaluate(layer.name.expr, {}))), None)
        self.depth -= 1
        return x

    def place(self, layer: Layer, scope: Scope, prefix: str, position: int, named: bool) -> Place:
        """The path of an entry: its name; its number in a list; else its label."""
        if layer.name:
            return Place(join(prefix, self.name(layer.name, scope, prefix)), prefix, True)
        if not named:
            return Place(join(prefix, str(position)), prefix, True)
        return Place(join(prefix, layer.label + layer.suffix), prefix, False, suffix=layer.suffix)

    def repeat(
        self, layer: Layer, scope: Scope, x: Node | None, prefix: str, position: int, named: bool
    ) -> tuple[Node | None, int]:
        """A layer several times over: entries of the list it stands in, or of a list under its own path."""
        assert layer.repeat
        times = self.value(layer.repeat, scope, prefix)
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            self.report.add(
                "bad-value", f"`repeat`: expected a whole number of at least 0, got {show(times)}", layer.repeat.span
            )
            raise Broken
        if len(self.nodes) + times > MAX_LAYERS:
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
            spot = Place(join(base, str(position + k)), base, True, iteration=k)
            x = self.single(layer, parent, x, spot, layer.first if k == 0 else {})
        if spliced:
            return x, position + times
        parent.instance.output = x
        self.tensors[base] = x
        return x, position + 1

    def single(self, layer: Layer, scope: Scope, x: Node | None, place: Place, first: dict[str, Arg]) -> Node | None:
        """One entry at one place; `first` overrides its arguments."""
        replacement = self.pending.pop(place.path, None)
        if replacement is not None:
            values = self.spec.values | {"in_channels": channels(x)}
            instance = self.instance(place.path, "replacement", scope.instance, x, layer=layer, values=values)
            self.claim(place.path, layer.title)
            inner = Scope(values, place.path, self.spec.parser, x, instance)
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
