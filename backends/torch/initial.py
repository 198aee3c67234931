"""`init_weights` of a generated `train.py`: what parameters start from where no file says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnnspec.backends.torch.run import key
from cnnspec.graph import Graph
from cnnspec.graph.model import Node
from cnnspec.graph.patterns import Paths
from cnnspec.lower.python import Group, call, lines, literal, quoted
from cnnspec.ops.conv import TransposedConv
from cnnspec.spec.recipe.initializer import (
    ConstantValue,
    Initializers,
    Normal,
    Ones,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    Zeros,
)
from cnnspec.train.rates import Function
from cnnspec.weights.initial import fans

_SCALED = "cnnspec.backends.torch.snippets.initial:scaled_"
_BIAS = "cnnspec.backends.torch.snippets.initial:scaled_bias_"


def init_weights(graph: Graph, section: Initializers) -> Function:
    """The text of `init_weights(model)`."""
    made = _Statements()
    nodes = [node for node in graph.nodes if node.params and node.op.role not in ("norm", "activation")]
    body: list[str] = []
    for classes, initializer, of_kind in _kinds(nodes, section):
        body += [
            f"        {'elif' if body else 'if'} isinstance(module, {classes}):",
            *made.weight(initializer, "module", 12),
            *_biases(made, section.bias, of_kind),
        ]
    text = ["def init_weights(model: nn.Module) -> None:", '    """Give a model its first weights."""']
    text += ["    for module in model.modules():", *body] if body else []
    for node in nodes:
        if isinstance(node.op, TransposedConv):  # PyTorch takes its inputs for its outputs
            text += made.single(node, section.conv, section.bias)
    text += _own(made, graph, section)
    if len(text) == 2:
        text.append("    del model  # it has none")
    return Function("\n".join(text), tuple(dict.fromkeys(made.wanted)))


def _kinds(nodes: list[Node], section: Initializers) -> Iterator[tuple[str, Any, list[Node]]]:
    """Classes of modules, their initialiser, and the layers that are such modules."""
    convs = [node for node in nodes if node.op.kind != "dense"]
    dense = [node for node in nodes if node.op.kind == "dense"]
    if convs and dense and section.conv == section.dense:
        yield "nn.Conv2d | nn.Linear", section.conv, nodes
        return
    if convs:
        yield "nn.Conv2d", section.conv, convs
    if dense:
        yield "nn.Linear", section.dense, dense


def _biases(made: _Statements, initializer: Any, nodes: list[Node]) -> list[str]:
    """The biases of layers of one kind, of which some may have none."""
    if not any("bias" in node.params for node in nodes):
        return []
    return ["            if module.bias is not None:", *made.bias(initializer, "module", 16)]


def _own(made: _Statements, graph: Graph, section: Initializers) -> Iterator[str]:
    """What is said of single layers, in order: the last that matches counts."""
    paths = Paths(graph.nodes)
    for pattern, layer in section.layers.items():
        matching = paths.matching(pattern)
        for name, initializer in (("weight", layer.weight), ("bias", layer.bias)):
            found = [node for node in graph.nodes if node.path in matching and name in node.params]
            if initializer is None or not found:
                continue
            shown = _plain(initializer, f'model.get_parameter(f"{{name}}.{name}")')
            if shown is None or len(found) == 1:
                for node in found:
                    yield from made.single(node, **{name: initializer})
                continue
            yield from lines(Group("for name in [", tuple(quoted(key(node.path)) for node in found), "]"), 4, ":")
            yield from lines(shown, 8)


class _Statements:
    """Statements that fill parameters, and the snippets that they use."""

    def __init__(self) -> None:
        self.wanted: list[str] = []

    def weight(self, initializer: Any, module: str, indent: int) -> list[str]:
        """Of a layer's weight, by the fans that PyTorch sees in it."""
        tensor = f"{module}.weight"
        if plain := _plain(initializer, tensor):
            return lines(plain, indent)
        self.wanted.append(_SCALED)
        scale, mode = literal(initializer.scale), quoted(initializer.mode)
        return lines(call("scaled_", tensor, scale, mode, quoted(initializer.distribution)), indent)

    def bias(self, initializer: Any, module: str, indent: int) -> list[str]:
        """Of its bias, which has the weight's fans."""
        if plain := _plain(initializer, f"{module}.bias"):
            return lines(plain, indent)
        self.wanted.append(_BIAS)
        scale, mode = literal(initializer.scale), quoted(initializer.mode)
        return lines(call("scaled_bias_", module, scale, mode, quoted(initializer.distribution)), indent)

    def single(self, node: Node, weight: Any = None, bias: Any = None) -> Iterator[str]:
        """Of one layer, with its deviation as a number."""
        for name, initializer in (("weight", weight), ("bias", bias)):
            if initializer is None or name not in node.params:
                continue
            tensor = f"model.get_parameter({quoted(key(f'{node.path}.{name}'))})"
            if plain := _plain(initializer, tensor):
                yield from lines(plain, 4)
                continue
            fan_in, fan_out = fans(node)
            fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_average": (fan_in + fan_out) / 2}[initializer.mode]
            self.wanted.append("cnnspec.backends.torch.snippets.initial:fill_")
            made = call("fill_", tensor, literal(initializer.scale / fan), quoted(initializer.distribution))
            yield from lines(made, 4)


def _plain(initializer: Any, tensor: str) -> Any:
    """A call of PyTorch's own, for what depends on no fan."""
    match initializer:
        case Zeros():
            return call("nn.init.zeros_", tensor)
        case Ones():
            return call("nn.init.ones_", tensor)
        case ConstantValue(value=value):
            return call("nn.init.constant_", tensor, literal(value))
        case Normal(std=std, mean=mean):
            return call("nn.init.normal_", tensor, literal(mean), literal(std))
        case TruncatedNormal(std=std, mean=mean):
            low, high = literal(mean - 2 * std), literal(mean + 2 * std)
            return call("nn.init.trunc_normal_", tensor, literal(mean), literal(std), low, high)
        case Uniform(limits=(low, high)):
            return call("nn.init.uniform_", tensor, literal(low), literal(high))
        case Orthogonal(gain=gain):
            return call("nn.init.orthogonal_", tensor, literal(gain))
    names = {
        "he_normal": ("kaiming_normal_", ()),
        "he_uniform": ("kaiming_uniform_", ()),
        "glorot_normal": ("xavier_normal_", ()),
        "glorot_uniform": ("xavier_uniform_", ()),
        "lecun_normal": ("kaiming_normal_", ('nonlinearity="linear"',)),
        "lecun_uniform": ("kaiming_uniform_", ('nonlinearity="linear"',)),
    }
    if tensor.endswith("module.weight") and initializer.kind in names:
        name, options = names[initializer.kind]
        return call(f"nn.init.{name}", tensor, *options)
    return None
