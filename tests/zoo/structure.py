"""Networks as lists of lines that can be compared, whatever framework they come from.

A line states what a layer computes (kind, output, window with resolved padding, parameters, a batch norm's
options) and which lines it reads, so that equal lists are equal graphs. Each framework's reader gives steps;
`listing` puts them in an order that follows from the graph alone.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import cnnspec
from cnnspec.graph.model import Node
from cnnspec.ops import Maps, Vector
from cnnspec.ops.conv import Conv, Dense, DepthwiseConv
from cnnspec.ops.layout import Scale
from cnnspec.ops.norm import BatchNorm, Dropout
from cnnspec.ops.pool import AvgPool, MaxPool

Pads = tuple[int, int, int, int]


class Step(NamedTuple):
    """One layer: what it computes, and the keys of the layers that it reads."""

    text: str
    inputs: Sequence[Hashable]


def listing(steps: Mapping[Hashable, Step], ends: Sequence[Hashable]) -> list[str]:
    """The layers that `ends` depend on, each behind what it reads, with the numbers of those.

    A sum's terms come longest way first, as their order means nothing; all else stands in its own order.
    """
    depth: dict[Hashable, int] = {}
    for key, step in steps.items():  # every reader gives a layer behind its inputs
        depth[key] = 1 + max((depth[source] for source in step.inputs), default=0)
    numbers: dict[Hashable, int] = {}
    lines: list[str] = []
    todo = list(reversed(ends))
    while todo:
        key = todo[-1]
        text, inputs = steps[key]
        if text.startswith("add"):
            inputs = sorted(inputs, key=depth.__getitem__, reverse=True)
        waiting = [source for source in inputs if source not in numbers]
        if waiting and key not in numbers:
            todo.extend(reversed(waiting))
            continue
        todo.pop()
        if key not in numbers:
            numbers[key] = len(lines)
            lines.append(f"{len(lines)}: {text} <- {[numbers[source] for source in inputs]}")
    return lines


def size(shape: Sequence[int]) -> str:
    """A shape as text, C×H×W or C."""
    return "×".join(map(str, shape))


def weighted(kind: str, out: Sequence[int], weight: Sequence[int], bias: bool, window: str = "") -> str:
    """A convolution or a dense layer."""
    return f"{kind} {size(out)}{window} weight {size(weight)}{' + bias' if bias else ''}"


def window(kernel: Sequence[int], stride: Sequence[int], pads: Pads) -> str:
    """A window that slides; `pads` are [top, left, bottom, right]."""
    return f" window {size(kernel)} stride {size(stride)} pads {list(pads)}"


def max_pool(out: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pads: Pads) -> str:
    """A max pool. Whether its output was rounded up shows in `out`."""
    return f"max_pool {size(out)}{window(kernel, stride, pads)}"


def avg_pool(out: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pads: Pads, divisor: str) -> str:
    """An average pool. Its divisor matters only where there is padding."""
    return f"avg_pool {size(out)}{window(kernel, stride, pads)}{f' divisor {divisor}' if any(pads) else ''}"


def batch_norm(out: Sequence[int], epsilon: float, momentum: float, scale: bool, shift: bool) -> str:
    """A batch norm; `momentum` is the fraction of the running statistics that is kept."""
    return f"batch_norm {size(out)} epsilon {epsilon:g} momentum {momentum:g} scale {scale} shift {shift}"


def dropout(rate: float) -> str:
    """A dropout."""
    return f"dropout {rate:g}"


def scale(factor: float) -> str:
    """A product with a constant."""
    return f"scale {factor:g}"


def same(extents: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> Pads:
    """TensorFlow's `same`: as many zeros as make ceil(n / stride) windows, the odd one at the end."""
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(extents, kernel, stride, strict=True)]
    return total[0] // 2, total[1] // 2, -(-total[0] // 2), -(-total[1] // 2)


def spec_listing(name: str, *, skip: Sequence[str] = (), heads: bool = False) -> list[str]:
    """A network of the zoo; without the kinds in `skip`, with its auxiliary heads if `heads`."""
    graph = cnnspec.load(name).graph
    hidden = {"flatten", *skip}
    steps: dict[Hashable, Step] = {0: Step(f"input {size(graph.input.shape)}", ())}
    alias = {0: 0}
    for node in graph.nodes:
        inputs = [alias[source.index] for source in node.inputs]
        alias[node.index] = inputs[0] if node.op.kind in hidden else node.index
        if node.op.kind not in hidden:
            steps[node.index] = Step(_text(node), inputs)
    return listing(steps, [alias[out.node.index] for out in graph.outputs if heads or not out.training_only])


def _text(node: Node) -> str:
    op, out = node.op, node.shape
    shapes = {name: param.shape for name, param in node.params.items()}
    match op:
        case Conv() | DepthwiseConv():
            where = window(op.kernel, op.stride, op.window(node.input_shapes).pads)
            return weighted(op.kind, out, shapes["weight"], "bias" in shapes, where)
        case Dense():
            return weighted(op.kind, out, shapes["weight"], "bias" in shapes)
        case BatchNorm():
            assert isinstance(out, Maps)
            return batch_norm(out, op.epsilon, op.momentum, "weight" in shapes, "bias" in shapes)
        case MaxPool():
            place = op.window(node.input_shapes)
            return max_pool(out, place.kernel, place.stride, place.pads)
        case AvgPool():
            place = op.window(node.input_shapes)
            return avg_pool(out, place.kernel, place.stride, place.pads, op.divisor)
        case Dropout():
            return dropout(op.rate)
        case Scale():
            return scale(op.factor)
    assert op.kind in ("relu", "add", "concat", "global_avg_pool"), f"no text for {op.kind}"
    assert op.kind != "global_avg_pool" or isinstance(out, Vector)
    return f"{op.kind} {size(out)}"
