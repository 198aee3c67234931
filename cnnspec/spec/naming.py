"""The path components that unnamed layers of a named body get.

An unnamed layer is called after its kind, numbered from 1 per kind where the definition has several. A convolution's
norm and activation take the convolution's number (`conv2`, `bn2`, `relu2`); what is attached to another layer lies
below it (`dense1.relu`, `add.relu`). The numbering is a property of the definition: a layer whose
`if` is false in some instance keeps its number there, so that it never renames another.
"""

import re
from collections import Counter
from collections.abc import Iterator

from cnnspec.ops import OPS
from cnnspec.spec.layers import Body, BranchesLayer, Layer, OpLayer, ResidualLayer, StageLayer, TableLayer

MAX_NAME = 100
NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}\Z")


def sharing(op_layer: OpLayer) -> bool:
    """Whether what is attached to the layer stands beside it under its number, as a convolution's norm does."""
    return op_layer.op.label == "conv"


def assign_labels(body: Body) -> None:
    """Set `label` and `suffix` of every unnamed layer of a named body, and of unnamed residuals in it."""
    layers = [(layer, _series(layer)) for layer in _unnamed(body)]
    counts = Counter(series for _, series in layers)
    taken: set[str] = set()
    stems: set[str] = set()  # of what is taken: with fewer and fewer of the digits at its end
    numbers: Counter[str] = Counter()
    # norms and activations that stand by themselves come second: they number around those that belong to a convolution
    for standalone in (False, True):
        for layer, series in layers:
            if _is_role(layer) != standalone:
                continue
            layer.label = series
            layer.suffix = ""
            if counts[series] > 1 or series in stems:
                layer.suffix = _number(series, numbers, taken)
            names = [series + layer.suffix]
            if isinstance(layer, OpLayer) and sharing(layer):
                names += [p.op.label + layer.suffix for p in (layer.norm, layer.activation) if isinstance(p, OpLayer)]
            for name in names:
                taken.add(name)
                stems.update(_stems(name))


def _stems(name: str) -> Iterator[str]:
    """The name, and what is left of it as the digits at its end are taken away."""
    yield name
    while name[-1:].isdigit():
        name = name[:-1]
        yield name


def _number(series: str, numbers: Counter[str], taken: set[str]) -> str:
    while True:
        numbers[series] += 1
        if f"{series}{numbers[series]}" not in taken:
            return str(numbers[series])


def _unnamed(body: Body) -> Iterator[Layer]:
    for layer in body.layers:
        if layer.name is None and not isinstance(layer, TableLayer | StageLayer):
            yield layer
            if isinstance(layer, ResidualLayer) and layer.repeat is None:
                yield from _unnamed(layer.body)


def _series(layer: Layer) -> str:
    if isinstance(layer, OpLayer):
        return layer.op.label
    if isinstance(layer, BranchesLayer):
        return layer.merge.op.label
    if isinstance(layer, ResidualLayer):
        return "residual" if layer.repeat else OPS["add"].label
    return layer.kind


def _is_role(layer: Layer) -> bool:
    return isinstance(layer, OpLayer) and bool(layer.op.role)
