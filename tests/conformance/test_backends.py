"""Every backend against the reference: every op's cases, and every network of the zoo at a small size.

Backends come from the registry and ops from theirs, so that neither can be forgotten. `verify` compares, layer by layer,
in both precisions, and the gradients too; that it can fail is shown in tests/verify.
"""

from typing import Any

import numpy as np
import pytest
import yaml
from drawn import images_for, weights_of
from op_cases import CASES, Case

import cnnspec
from cnnspec import Net, SpecError
from cnnspec.lower.backend import CodeBackend, backends
from cnnspec.ops import OPS, Maps, Shape
from cnnspec.verify import Verification
from cnnspec.verify.run import PRECISIONS, TRUTH

BACKENDS = [name for name in backends() if name != TRUTH]
GROUPS: dict[str, list[Case]] = {}
for case in CASES:  # a dilation, which not every framework has with every op, apart from the others
    kind = f"{case.kind}, dilated," if "dilation" in case.options else case.kind
    GROUPS.setdefault(f"{kind} on {case.inputs[0]}", []).append(case)


def layers(case: Case) -> list[Any]:
    """A case as layers on its first input; the others are made from that."""
    op, base = OPS[case.kind], case.inputs[0]
    if op.merges:
        return [{case.kind: {f"b{n}": made(base, shape) for n, shape in enumerate(case.inputs)}}]
    options = dict(case.options)
    return [{case.kind: options.pop(op.main, None) if op.main else None, **options}]


def made(base: Shape, shape: Shape) -> list[Any]:
    """Layers that make a shape from another one."""
    if not isinstance(shape, Maps):
        return [{"dense": shape.channels}]
    window = [max(base.height // shape.height, 1), max(base.width // shape.width, 1)]
    factor = [max(shape.height // base.height, 1), max(shape.width // base.width, 1)]
    smaller = [] if window == [1, 1] else [{"avg_pool": window}]
    larger = [] if factor == [1, 1] else [{"upsample": factor}]
    return [{"conv": shape.channels, "kernel": 1}, *smaller, *larger]


def spec_of(cases: list[Case]) -> dict[str, Any]:
    """Cases with the same first input as the heads of one network, on maps that are not the input itself."""
    shape = cases[0].inputs[0]
    first = {"conv": shape.channels, "kernel": 1, "name": "first"}
    size = [shape.height, shape.width] if isinstance(shape, Maps) else 1
    flat = [] if isinstance(shape, Maps) else ["flatten"]
    return {
        "cnnspec": 1,
        "name": "cases",
        "input": {"channels": 3, "size": size},
        "layers": [first, *flat, {"scale": 1.5, "name": "main"}],
        "outputs": {f"case{n}": {"from": "main", "layers": layers(case)} for n, case in enumerate(cases)},
    }


def load(spec: dict[str, Any], folder: Any) -> Net:
    path = folder / "cases.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False, width=1000))
    return cnnspec.load(path)


def holds(result: Verification, lacking: frozenset[str] = frozenset()) -> None:
    """All backends were asked, in both precisions, and agree; those in `lacking` need not be able to run it."""
    assert result.left_out == {}
    asked = {(check.backend, check.precision) for check in result.checks if check.what == "outputs"}
    assert asked == {(name, precision) for name in BACKENDS for precision in PRECISIONS}
    skipped = {check.backend for check in result.checks if check.skipped}
    assert skipped <= lacking
    assert skipped or any(check.what == "gradients" for check in result.checks)
    assert [d.message for d in result.diagnostics()] == []


@pytest.mark.parametrize("group", GROUPS)
def test_ops(group, tmp_path):
    net = load(spec_of(GROUPS[group]), tmp_path)
    assert len(net.graph.outputs) == 1 + len(GROUPS[group])
    holds(net.verify(), frozenset({"keras"}) if group.startswith("transposed_conv, dilated") else frozenset())


def smallest(name: str) -> Net:
    """A network of the zoo at the smallest of some sizes that it takes."""
    for size in (32, 64, 75, 96, 128, 160, 224, 299):
        try:
            return cnnspec.load(name, params={"input.size": size})
        except SpecError:
            continue
    return cnnspec.load(name)


def zoo() -> list[Any]:
    large = {name for name in cnnspec.zoo() if len(cnnspec.load(name).graph.nodes) > 80}
    heavy = {name for name in cnnspec.zoo() if cnnspec.load(name).summary().cost.totals.params > 8_000_000}
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in large | heavy)) for name in cnnspec.zoo()]


@pytest.mark.parametrize("name", zoo())
def test_zoo(name):
    holds(smallest(name).verify())


BLOCKS = {"twice": {"args": {"n": 2}, "layers": [{"conv": 4, "kernel": 3, "repeat": "$n"}, "relu"]}}
ENDS = {
    "layer": {"conv": 4, "kernel": 3, "name": "end"},
    "residual": {"residual": {"body": [{"conv": 4, "kernel": 3}]}, "name": "end"},
    "block": {"twice": None, "name": "end"},
}


@pytest.mark.parametrize("end", ENDS)
def test_a_further_output_may_have_no_layers_of_its_own(end, tmp_path):
    """It is what some step of the network gives, which goes on from there."""
    layers = [{"conv": 4, "kernel": 3}, ENDS[end], "global_avg_pool", {"dense": 3}]
    given = {"channels": 2, "size": 6}
    spec = {
        "cnnspec": 1,
        "name": "n",
        "input": given,
        "blocks": BLOCKS,
        "layers": layers,
        "outputs": {"further": {"from": "end"}},
    }
    net = load(spec, tmp_path)
    assert len(net.graph.outputs) == 2
    holds(net.verify())


def test_what_is_repeated_no_times_is_not_there(tmp_path):
    """In the network, and in some uses of a block."""
    none = {"conv": 4, "kernel": 3, "repeat": 0}
    layers = [
        {"conv": 4, "kernel": 3},
        none,
        {"twice": 0},
        {"twice": 2},
        none | {"name": "z"},
        "global_avg_pool",
        {"dense": 3},
    ]
    spec = {"cnnspec": 1, "name": "n", "input": {"channels": 2, "size": 6}, "blocks": BLOCKS, "layers": layers}
    net = load(spec, tmp_path)
    assert sum(node.op.kind == "conv" for node in net.graph.nodes) == 3
    holds(net.verify())


AUX = {"from": "c", "layers": ["global_avg_pool", {"dense": 2, "name": "fc"}], "training_only": True}


@pytest.mark.parametrize("heads", [{}, {"aux": AUX}], ids=["one head", "two heads"])
@pytest.mark.parametrize("name", [name for name in BACKENDS if isinstance(backends()[name].load(), CodeBackend)])
def test_gradients_leave_the_network_as_it_is(name, heads, tmp_path):
    """Statistics, and what dropout does; and the second time they are the same."""
    layers = [{"conv": 4, "kernel": 3, "norm": "batch_norm", "name": "c"}, "flatten", {"dropout": 0.5}, {"dense": 3}]
    spec = {"cnnspec": 1, "name": "n", "input": {"channels": 2, "size": 6}, "layers": layers, "outputs": heads}
    graph = load(spec, tmp_path).graph
    images = images_for(graph)
    runner = backends()[name].load().runner(graph, weights_of(graph), "float64")
    cotangents = {output.node.path: np.ones((len(images), *output.node.shape)) for output in graph.outputs}
    before, first = runner.outputs(images), runner.gradients(images, cotangents)
    after, second = runner.outputs(images), runner.gradients(images, cotangents)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[path], after[path]) for path in before)
    assert first.keys() == second.keys() > {"c.conv.weight", *(f"{head}.fc.weight" for head in heads)}
    assert all(np.array_equal(first[key], second[key]) for key in first)
