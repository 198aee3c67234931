"""A layer that is an op: its nodes, with the norm and the activation that it carries."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from cnnspec.diagnostics import Label, Span
from cnnspec.expr import ExprError
from cnnspec.graph.model import Node
from cnnspec.graph.scope import Broken, Place, Scope, Workspace, join
from cnnspec.ops import Op, OpError
from cnnspec.ops.fields import MAX
from cnnspec.spec.layers import Arg, Body, OpLayer, ResidualLayer
from cnnspec.spec.naming import sharing


class OpBuilder(Workspace):
    """Builds nodes."""

    def op(
        self,
        layer: OpLayer,
        scope: Scope,
        x: Node | None,
        place: Place,
        first: dict[str, Arg],
        *,
        inputs: list[Node | None] | None = None,
        residual: ResidualLayer | None = None,
        built: Op | None = None,
    ) -> Node | None:
        """An op with what is attached to it; `built` where its values are known already."""
        path = place.path
        if inputs is None:
            self.count(layer.key, len(layer.inputs or ()))
            inputs = [x] if layer.inputs is None else [self.source(a, scope, x, place.prefix) for a in layer.inputs]
        args = layer.args | first if first else layer.args
        op = built or self.build(layer, args, scope, path)
        norm = self.attached("norm", layer, scope, path)
        activation = self.attached("activation", layer, scope, path)
        parts = [part for part in (norm, activation) if part]
        weighted = sum(part.op.parameterised for part in (layer, *parts))
        scope = scope.inner(self.instance(path, "layer", scope.instance, x, layer=layer, iteration=place.iteration))
        beside = not place.owned and sharing(layer)
        below = weighted > 1 and not beside
        if op and op.parts():
            self.claim(path, layer.title)
            y = self.chain(op, path, inputs, layer, args, scope)
        else:
            if below:
                self.claim(path, layer.title)
            main = join(path, layer.op.label) if below else path
            y = self.node(main, op, inputs, layer, args, "", scope, residual=residual)
        if y:
            self.norms[y.index] = norm
        for role, part in (("norm", norm), ("activation", activation)):
            if part:
                spot = join(path, part.op.label)
                if beside:
                    spot = join(place.prefix, part.op.label + place.suffix)
                part_op = self.build(part, part.args, scope, spot)
                y = self.node(spot, part_op, [y], part, part.args, role, scope)
        scope.instance.output = y
        return y

    def chain(
        self, op: Op, path: str, inputs: list[Node | None], layer: OpLayer, args: dict[str, Arg], scope: Scope
    ) -> Node | None:
        """An op that stands in the graph as several, one reading the other."""
        y = None
        for part in op.parts():
            own = {name: arg for name, arg in args.items() if name in part.options}
            y = self.node(join(path, part.label), part.op, inputs, layer, own, part.label, scope)
            inputs = [y]
        return y

    def attached(self, role: str, layer: OpLayer, scope: Scope, path: str) -> OpLayer | None:
        part = layer.norm if role == "norm" else layer.activation
        if not isinstance(part, Arg):
            return part
        value = self.value(part, scope, path)
        try:
            return scope.parser.attached_by_name(role, value, part)
        except ExprError as error:
            self.report.add(error.slug, error.message, part.span, help=error.help, path=path)
            return None

    def build(self, layer: OpLayer, args: dict[str, Arg], scope: Scope, path: str) -> Op | None:
        """The op with its options' values; None where they are wrong."""
        if layer.broken:
            return None
        if layer.ready is not None and args is layer.args:
            return layer.ready
        if any(arg.broken for arg in args.values()):
            return None
        try:
            values = {name: self.value(arg, scope, path) for name, arg in args.items()}
        except Broken:
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
        scope: Scope,
        *,
        residual: ResidualLayer | None = None,
    ) -> Node | None:
        """Append a node, unless its op or an input is unknown or they do not fit."""
        self.claim(path, layer.title)
        self.count(layer.key)
        known = [node for node in inputs if node is not None]
        if op is None:
            return None
        shapes = [node.shape for node in known]
        try:
            if len(known) < len(list(inputs)):
                op.check()
                return None
            shape = op.shape(shapes)
            params = op.params(shapes)
        except OpError as error:
            self.misfit(error, path, layer, args, known, residual)
            return None
        if max(shape) > MAX:
            message = f"an extent of {max(shape):,}: no framework's index reaches beyond {MAX:,}"
            self.report.add("too-large", message, layer.key, path=path)
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
            related += [Label(written_at(node), f"{node.path} gives {node.shape}") for node in inputs if node.layer]
        elif inputs and inputs[0].layer and error.slug in ("wrong-rank", "empty-output"):
            related += [Label(written_at(inputs[0]), f"{inputs[0].path} gives {inputs[0].shape}")]
        self.report.add(error.slug, error.message, span, label=label, related=related, help=help, path=path)


def written_at(node: Node) -> Span:
    """Where a node that is not the input is written."""
    assert node.span
    return node.span
