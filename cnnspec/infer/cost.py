"""Figures of every layer, from each op's own rules, and their totals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnnspec.graph import Graph, Node
from cnnspec.ops import Maps, Shape, elements

BYTES = 4  # of a float32
_FAR = 2.0**62  # pixels; a stride beyond it would only overflow
_Seen = tuple[tuple[float, float], tuple[float, float]]  # the receptive field and the jump of a layer


class LayerCost(NamedTuple):
    """Figures of one layer, for a batch of one.

    `trainable` says whether a training step changes it: false for what a transfer freezes. `receptive_field` is
    (height, width) in pixels of the input, not clipped to its size; `training_only` marks layers of heads that
    inference leaves out.
    """

    node: Node
    params: int
    trainable_params: int
    macs: int
    activation_bytes: int
    receptive_field: tuple[int, int]
    trainable: bool
    training_only: bool


class Totals(NamedTuple):
    """Sums over the inference graph; `training_only` is the parameters of the heads beside it.

    `trainable` + `non_trainable` = `params`; non-trainable are running statistics and what is frozen.
    """

    params: int
    trainable: int
    non_trainable: int
    training_only: int
    macs: int
    activation_bytes: int


class Cost(NamedTuple):
    """Figures of a network, layer by layer in execution order."""

    layers: list[LayerCost]
    totals: Totals


def cost(graph: Graph) -> Cost:
    """The figures of every layer of `graph`.

    Receptive field r and jump j (input pixels between neighbouring outputs) of a layer with window k and stride s on an
    input with r', j' are r = r' + (k−1)·j' and j = s·j'; where inputs meet, the larger of each counts, but for the jump
    of an input that is stretched: one pixel, a gate's, has no neighbour.
    """
    inference = graph.ancestors([output.node for output in graph.outputs if not output.training_only])
    fields = {graph.input.index: ((1.0, 1.0), (1.0, 1.0))}
    layers = []
    for node in graph.nodes:
        (rh, rw), (jh, jw) = _seen([fields[source.index] for source in node.inputs], node.input_shapes)
        shapes = node.input_shapes
        window = node.op.field(shapes)
        reach = (rh + (window.extent[0] - 1) * jh, rw + (window.extent[1] - 1) * jw)
        fields[node.index] = reach, (min(jh * window.step[0], _FAR), min(jw * window.step[1], _FAR))
        frozen = node.path in graph.frozen
        layers.append(
            LayerCost(
                node=node,
                params=sum(p.size for p in node.params.values()),
                trainable_params=0 if frozen else sum(p.size for p in node.params.values() if p.trainable),
                macs=node.op.macs(shapes, node.shape),
                activation_bytes=BYTES * elements(node.shape),
                receptive_field=(round(reach[0]), round(reach[1])),
                trainable=not frozen,
                training_only=node.index not in inference,
            )
        )
    return Cost(layers, _totals(layers))


def _seen(fields: list[_Seen], shapes: Sequence[Shape]) -> _Seen:
    """What the inputs of one layer see together."""
    if len(fields) == 1:
        return fields[0]
    jumps = []
    for axis in (0, 1):
        pixels = [shape[axis + 1] if isinstance(shape, Maps) else 1 for shape in shapes]
        jumps.append(max(f[1][axis] for f, n in zip(fields, pixels, strict=True) if n == max(pixels)))
    return (max(f[0][0] for f in fields), max(f[0][1] for f in fields)), (jumps[0], jumps[1])


def _totals(layers: list[LayerCost]) -> Totals:
    used = [layer for layer in layers if not layer.training_only]
    params, trainable = sum(c.params for c in used), sum(c.trainable_params for c in used)
    return Totals(
        params=params,
        trainable=trainable,
        non_trainable=params - trainable,
        training_only=sum(c.params for c in layers if c.training_only),
        macs=sum(c.macs for c in used),
        activation_bytes=sum(c.activation_bytes for c in used),
    )
