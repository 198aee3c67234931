"""Random specs: what is made of them is what they say, and all backends compute the same. Once found, faults stay tested."""

import itertools
from pathlib import Path

import pytest
import yaml
from random_specs import faults, loaded, random_spec, shrunk, text

from cnnspec.backends.onnx.table import TABLE
from cnnspec.lower.fold import fold
from cnnspec.lower.replay import differences
from cnnspec.ops import OPS

GRAPHS = 152
BATCH = 8
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.yaml"))


@pytest.fixture(autouse=True)
def released():
    """Keras keeps every model until it is told."""
    yield
    import keras

    keras.utils.clear_session(free_memory=False)


@pytest.mark.parametrize("first", range(0, GRAPHS, BATCH))
def test_backends_agree_on_random_specs(first):
    found = {seed: faults(random_spec(seed), single=False) for seed in range(first, first + BATCH)}
    assert {seed: f for seed, f in found.items() if f} == {}


@pytest.mark.parametrize("first", range(GRAPHS, GRAPHS + 96, 4 * BATCH))
def test_programs_are_the_graph(first):
    for seed in range(first, first + 4 * BATCH):
        graph = loaded(random_spec(seed)).graph
        assert differences(fold(graph), graph) == [], seed


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_found_once(path):
    assert faults(yaml.safe_load(path.read_text())) == []


# ---- the specs themselves


def test_the_same_seed_is_the_same_spec():
    assert text(random_spec(3)) == text(random_spec(3))
    assert text(random_spec(3)) != text(random_spec(4))


def test_everything_is_drawn():
    """Every kind of layer, every structure, and what makes them hard."""
    specs = [random_spec(seed) for seed in range(GRAPHS)]
    graphs = [loaded(spec).graph for spec in specs]
    drawn = {node.op.kind for graph in graphs for node in graph.nodes}
    assert drawn >= OPS.keys() - {"separable_conv"}, "not every op is drawn"
    written = "\n".join(text(spec) for spec in specs)
    words = ["residual:", "shortcut: auto", "shortcut: identity", "shortcut: projection", "concat:", "add:", "multiply:", "stage:",
             "table:", "repeat:", "first:", "if:", "let:", "from:", "outputs:", "training_only: true", "groups:", "dilation:",
             "ceil_mode: true", "divisor: padded", "padding: same", "padding: valid", "padding: half", "output_padding:",
             "separable_conv:", "depth_multiplier:"]  # fmt: skip
    assert [word for word in words if word not in written] == []
    assert any(graph.input.shape.height != graph.input.shape.width for graph in graphs)
    assert any(graph.input.shape.height % 2 for graph in graphs)


def test_a_fault_is_found_and_made_small(monkeypatch):
    """A backend that takes a leaky slope of 0.05 for 0.06: of a network with one, hardly more is left."""
    right = TABLE["leaky_relu"]

    def wrong(layer):
        layer.attrs = {"slope": layer.attrs["slope"] + 0.01}
        return right(layer)

    monkeypatch.setitem(TABLE, "leaky_relu", wrong)

    def faulty(spec):
        return any("onnx in float32" in complaint and "leaky" in complaint for complaint in faults(spec, ["onnx"]))

    spec = next(spec for spec in map(random_spec, itertools.count()) if "leaky_relu" in text(spec) and faulty(spec))
    small = shrunk(spec, faulty)
    assert len(loaded(small).graph.nodes) <= 3
    assert "leaky_relu" in text(small)
