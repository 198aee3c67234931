"""Names in Keras's models: all are ours, whatever a spec calls its layers, and a saved model needs no code of ours."""

import ast
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from op_cases import CASES, Case
from single import graph_of

import cnnspec
from cnnspec.backends.keras import BACKEND
from cnnspec.backends.keras.layouts import Layouts
from cnnspec.backends.keras.printer import print_program
from cnnspec.backends.keras.run import build
from cnnspec.lower.fold import fold

SPEC = """cnnspec: 1
name: names
input: {{channels: 4, size: [7, 6]}}
blocks:
  input: {{layers: [relu]}}
layers:
  - input
{before}
  - {{scale: 0.17, name: {scale}}}
  - {{gelu: {{approximate: true}}, name: {gelu}}}
  - {{leaky_relu: -0.1, name: {leaky_relu}}}
  - {{lrn: 5, name: {lrn}}}
  - {{max_pool: 3, stride: 2, padding: 1, name: {max_pool}}}
  - {{avg_pool: 2, ceil_mode: true, name: {avg_pool}}}
  - {{transposed_conv: 4, kernel: 3, stride: 2, groups: 2, name: {transposed_conv}}}
  - {{channel_shuffle: 2, name: {channel_shuffle}}}
{behind}
"""
HELPED = {
    "scale": "scaled",
    "gelu": "gelu",
    "leaky_relu": "leaky_relu",
    "lrn": "local_response_norm",
    "max_pool": "pad_with_infinity",
    "avg_pool": "average_pool",
    "transposed_conv": "grouped_conv_transpose",
    "channel_shuffle": "channel_shuffle",
}
"""Layers that are made of several operations, and the functions that make them."""


@pytest.fixture
def fresh() -> Iterator[None]:
    """Keras counts its names from the start, so that they are those of the first model in a process."""
    keras.utils.clear_session(free_memory=False)
    yield
    keras.utils.clear_session(free_memory=False)


def network(folder: Path, names: dict[str, str], before: list[str] = [], behind: list[str] = []) -> cnnspec.Net:  # noqa: B006
    def row(given: list[str]) -> str:
        return "\n".join(f"  - {{relu: , name: {name}}}" for name in given)

    file = folder / "names.yaml"
    file.write_text(SPEC.format(**names, before=row(before), behind=row(behind)))
    return cnnspec.load(file)


def inside(model: keras.Model) -> set[str]:
    """What the operations in the models inside a model are called."""
    models = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return {operation.name for inner in models for operation in inner.operations} | set().union(*map(inside, models))


def chosen(model: keras.Model, net: cnnspec.Net) -> set[str]:
    """Names of a model's operations that are no layer's, nor begin as one."""
    paths = {node.path.replace(".", "-") for node in net.graph.nodes}
    return {
        operation.name
        for operation in model.operations
        if operation.name != "input"
        and not any(operation.name in (p,) or operation.name.startswith(f"{p}-") for p in paths)
    }


def test_a_helper_makes_each_of_these(tmp_path):
    text = network(tmp_path, {kind: kind for kind in HELPED}).source("keras")
    assert [helper for helper in HELPED.values() if f"def {helper}(" not in text] == []


@pytest.fixture
def automatic(fresh, tmp_path) -> list[str]:
    """The names that Keras gives operations of these layers in a fresh session, the first of each kind and more."""
    names = inside(network(tmp_path, {kind: f"my_{kind}" for kind in HELPED}).build("keras"))
    keras.utils.clear_session(free_memory=False)
    assert names >= {
        "multiply",
        "gelu",
        "leaky_relu",
        "pad",
        "square",
        "power",
        "add",
        "true_divide",
        "ones_like",
        "split",
    }
    return sorted(names | {"functional", "input_layer", "identity", "keras_tensor", "inputs"})


@pytest.mark.parametrize("behind", [True, False])
def test_layers_have_any_name_that_keras_gives(behind, automatic, tmp_path):
    own = {kind: f"my_{kind}" for kind in HELPED}
    net = network(tmp_path, own, **{"behind" if behind else "before": automatic})
    model = net.build("keras", net.weights(1))
    assert {*automatic, *own.values()} <= {layer.name for layer in model.layers}
    assert chosen(model, net) == set()


def test_the_layers_themselves_have_these_names(automatic, tmp_path):
    for shift in range(0, len(automatic), len(HELPED)):
        keras.utils.clear_session(free_memory=False)
        turned = automatic[shift:] + automatic[:shift]
        net = network(tmp_path, dict(zip(HELPED, turned, strict=False)))
        made = {layer.name: layer for layer in net.build("keras").layers}
        for node in net.graph.nodes:
            _, *own = made[node.path.replace(".", "-")].output.shape
            assert own == [node.shape.height, node.shape.width, node.shape.channels]


def test_no_layer_is_called_as_the_input(fresh, tmp_path):
    """A block may be, whose layers are below it."""
    model = network(tmp_path, {kind: kind for kind in HELPED}).build("keras")
    assert [layer.name for layer in model.layers[:2]] == ["input", "input-relu"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_stands_for_an_op_is_given_a_name(case: Case, tmp_path):
    code = ast.parse(BACKEND.source(fold(graph_of(case, tmp_path))))
    network = code.body[-1]
    values = [part.value for part in ast.walk(network) if isinstance(part, ast.Assign | ast.Return)]
    for value in values:
        assert isinstance(value, ast.Call), ast.unparse(value)
        made = value.func if isinstance(value.func, ast.Call) else value  # a layer, applied
        assert isinstance(made, ast.Call)
        assert "name" in [keyword.arg for keyword in made.keywords], ast.unparse(value)


def test_a_saved_model_needs_no_code(fresh, tmp_path):
    net = network(tmp_path, {kind: kind for kind in HELPED})
    model = net.build("keras", net.weights(1))
    images = np.random.default_rng(0).normal(size=(2, 7, 6, 4)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(again.predict(images, verbose=0), model.predict(images, verbose=0))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_helpers_compute_in_the_policy_s_type(policy, fresh, tmp_path):
    program = fold(network(tmp_path, {kind: kind for kind in HELPED}).graph)
    printed = print_program(program, Layouts(program))
    assert all(f"def {helper}(" in printed.text for helper in HELPED.values())
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build(program)
        images = np.random.default_rng(0).normal(size=(2, 7, 6, 4))
        found = keras.backend.standardize_dtype(model(images.astype(np.float32)).dtype)
    finally:
        keras.config.set_dtype_policy(before)
    assert found == policy.removeprefix("mixed_")
