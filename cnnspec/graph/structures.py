"""Layers that contain layers: blocks, branches, residuals, stages."""

from __future__ import annotations

from collections import Counter
from math import prod

from cnnspec.expr import Value, show
from cnnspec.graph.model import Instance, Node
from cnnspec.graph.nodes import OpBuilder
from cnnspec.graph.scope import Broken, Place, Scope, channels, join
from cnnspec.ops import Maps
from cnnspec.ops.conv import Conv
from cnnspec.ops.fields import MAX
from cnnspec.spec.layers import Arg, BlockLayer, Body, BranchesLayer, OpLayer, ResidualLayer, StageLayer


class StructureBuilder(OpBuilder):
    """Builds what the structures of the language stand for."""

    def body(self, body: Body, scope: Scope, x: Node | None, prefix: str) -> Node | None:
        """The output of `body` on `x`; its layers get paths below `prefix`."""
        raise NotImplementedError

    def block(
        self, layer: BlockLayer, scope: Scope, x: Node | None, place: Place, first: dict[str, Arg]
    ) -> Node | None:
        block = scope.parser.blocks[layer.kind]
        self.claim(place.path, layer.title)
        self.opaque[place.path] = block.name
        self.count(layer.key)
        given = layer.args | first
        globals_ = self.spec.values if block.parser is self.spec.parser else {}
        values: dict[str, Value] = globals_ | {"in_channels": channels(x)}
        for name, default in block.args.items():
            if name in given:
                values[name] = self.value(given[name], scope, place.path)
            elif default is not None:
                values[name] = self.value(default, scope, place.path, globals_)
        for name, arg in block.let.items():
            values[name] = self.value(arg, scope, place.path, values)
        self.keep(values, layer.key)
        instance = self.instance(
            place.path,
            "block",
            scope.instance,
            x,
            layer=layer,
            block=block,
            args=given,
            values=values,
            iteration=place.iteration,
        )
        inner = Scope(values, place.path, block.parser, x, instance)
        instance.output = self.body(block.body, inner, x, place.path)
        return instance.output

    def branches(self, layer: BranchesLayer, scope: Scope, x: Node | None, place: Place) -> Node | None:
        base = place.path if place.owned else place.prefix
        if place.owned:
            self.claim(place.path, layer.title)
        group = self.instance(base, "branches", scope.instance, x, layer=layer, iteration=place.iteration)
        ends: list[Node | None] = []
        for name, body in layer.branches.items():
            path = join(base, name)
            self.claim(path, body.owner or body.span)
            branch = self.instance(path, "branch", group, x)
            branch.output = self.body(body, scope.inner(branch), x, path)
            self.tensors[path] = branch.output
            ends.append(branch.output)
        merge_path = join(base, layer.merge.op.label) if place.owned else place.path
        group.output = self.op(layer.merge, scope.inner(group), x, Place(merge_path, base, True), {}, inputs=ends)
        return group.output

    def residual(self, layer: ResidualLayer, scope: Scope, x: Node | None, place: Place) -> Node | None:
        base = place.path if place.owned else place.prefix
        suffix = "" if place.owned else layer.suffix
        if place.owned:
            self.claim(place.path, layer.title)
        group = self.instance(base, "residual", scope.instance, x, layer=layer, iteration=place.iteration)
        inner = scope.inner(group)
        end = self.body(layer.body, inner, x, base)
        shortcut = self.shortcut(layer, inner, x, end, join(base, "shortcut" + suffix))
        merge = Place(join(base, layer.add.op.label + suffix), base, True)
        group.output = self.op(layer.add, inner, x, merge, {}, inputs=[end, shortcut], residual=layer)
        return group.output

    def shortcut(self, layer: ResidualLayer, scope: Scope, x: Node | None, end: Node | None, path: str) -> Node | None:
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
        elif stride is None or any(s < 1 or s > MAX or s != int(s) for s in stride):
            problem = "a projection reduces the size by a whole factor, which this body does not"
        else:
            return self.projection(layer, scope, x, end, (int(stride[0]), int(stride[1])), path)
        self.report.add(
            "no-projection",
            problem,
            layer.shortcut_span,
            path=path,
            help="write the shortcut as a list of layers, or `identity`",
        )
        return None

    def projection(
        self, layer: ResidualLayer, scope: Scope, x: Node, end: Node, stride: tuple[int, int], path: str
    ) -> Node | None:
        """A 1×1 convolution with the bias and the norm of the body's last convolution.

        Its options have the expressions of the body's, where those are written in the same definition.
        """
        way = _way(x, end) or []
        convs = [n for n in way if n.op.label == "conv" and n.part not in ("norm", "activation")]
        last = convs[0] if convs else None
        op = Conv(
            filters=end.shape.channels,
            kernel=(1, 1),
            stride=stride,
            padding=(0, 0, 0, 0),
            bias=getattr(last.op, "bias", True) if last else True,
        )
        norm = self.norms.get(last.index) if last else None
        key = id(layer), id(norm)
        if key not in self.projections:
            strided = [n for n in way if _step(n) != (1, 1) or ("stride" in n.args and not n.args["stride"].constant)]
            sources = {"filters": convs[:1], "bias": convs[:1], "stride": strided}
            args = {
                name: nodes[0].args[name]
                for name, nodes in sources.items()
                if len(nodes) == 1 and name in nodes[0].args and _definition(nodes[0]) is _definition_of(scope.instance)
            }
            if "filters" in args and last and last.shape.channels != end.shape.channels:
                del args["filters"]  # something behind the convolution changes the channels
            self.projections[key] = OpLayer(
                kind="conv", key=layer.shortcut_span, node=layer.node, op=Conv, args=args, norm=norm
            )
        place = Place(path, path.rpartition(".")[0], True)
        return self.op(self.projections[key], scope, x, place, {}, built=op)

    def stage(self, layer: StageLayer, scope: Scope, x: Node | None, prefix: str) -> Node | None:
        assert layer.name
        lists: dict[str, tuple[Value, ...]] = {}
        for name, arg in layer.each.items():
            value = self.value(arg, scope, prefix)
            if not isinstance(value, tuple):
                self.report.add("bad-value", f"`{name}` needs a list, got {show(value)}", arg.span)
                raise Broken
            lists[name] = value
        lengths = {len(values) for values in lists.values()}
        if len(lengths) > 1:
            listed = ", ".join(f"`{name}` has {len(values)}" for name, values in lists.items())
            count = Counter(len(values) for values in lists.values())
            odd = min(reversed(lists), key=lambda name: count[len(lists[name])])  # the one that differs; else the last
            arg = layer.each[odd]
            self.report.add(
                "uneven-lists",
                f"the lists of `each` must be equally long: {listed}",
                arg.span,
                label=scope.parser.settings(arg),
            )
            raise Broken
        for k in range(lengths.pop() if lengths else 1):
            self.count(layer.key)
            variables: dict[str, Value] = {"i": k + 1} if lists else {}
            variables |= {name: values[k] for name, values in lists.items()}
            variables["in_channels"] = channels(x)
            self.keep(scope.values | variables, layer.key)
            path = join(prefix, self.name(layer.name, scope, prefix, scope.values | variables))
            help = f"each round needs a path of its own: `stage: {layer.name.node.span.text}$i`"
            self.claim(path, layer.title, help if k and layer.name.constant else "")
            instance = self.instance(
                path,
                "stage",
                scope.instance,
                x,
                layer=layer,
                values=scope.values | variables,
                iteration=k if lists else None,
            )
            x = self.body(layer.do, scope.inner(instance, variables), x, path)
            instance.output = x
            self.tensors[path] = x
        return x


def _definition(node: Node) -> Instance:
    """The use of a block, or the network, whose text the node stands in."""
    return _definition_of(node.parent)


def _definition_of(instance: Instance) -> Instance:
    while instance.kind != "block" and instance.parent is not None:
        instance = instance.parent
    return instance


def _way(start: Node, end: Node) -> list[Node] | None:
    """The nodes on the main way back from `end` to `start`; None where no way leads back.

    Gates stand beside the main way: it passes a global pool only where no other way leads back.
    """
    for gates in (False, True):
        reached = {start.index}
        stack = [end]
        between: dict[int, Node] = {}
        while stack:  # what lies between: the ancestors of the end that come after the start
            node = stack.pop()
            if node.index > start.index and node.index not in between:
                between[node.index] = node
                stack.extend(node.inputs)
        for index in sorted(between):
            node = between[index]
            if any(n.index in reached for n in node.inputs) and (gates or not node.op.kind.startswith("global_")):
                reached.add(index)
        if end.index in reached:
            way = []
            node = end
            while node is not start:
                way.append(node)
                node = next(n for n in node.inputs if n.index in reached)
            return way
    return None


def _step(node: Node) -> tuple[float, float]:
    return node.op.field(node.input_shapes).step


def _stride(start: Node, end: Node) -> tuple[float, float] | None:
    """The product of the strides on the way from `start` to `end`, per axis; None where no way leads back."""
    way = _way(start, end)
    if way is None:
        return None
    steps = [_step(node) for node in way]
    return round(prod(step[0] for step in steps), 9), round(prod(step[1] for step in steps), 9)
