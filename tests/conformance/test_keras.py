"""Keras's text and outputs: every op and every network of the zoo against the reference, in float64, on TensorFlow.

The same tests on Keras's own torch backend: run this file with `KERAS_BACKEND=torch`; one test here does.
"""

import itertools
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from agreement import agree
from drawn import images_for, weights_of
from op_cases import CASES, Case
from single import graph_of

import cnnspec
from cnnspec.backends.keras import BACKEND
from cnnspec.backends.reference import BACKEND as REFERENCE
from cnnspec.graph import Graph
from cnnspec.lower.fold import fold
from cnnspec.ops import Maps

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
TOLERANCE = 1e-11 if ON_TENSORFLOW else 1e-4
"""Keras on torch has sums and products in float32 whatever is asked for."""


ROUNDED = ("leaky_relu", "elu", "gelu")
"""Whose constants TensorFlow has as float32."""


def tolerance(case: Case) -> float:
    """TensorFlow interpolates in float32, and has no dilated transposed convolution in float64 on a CPU."""
    if ON_TENSORFLOW and case.options.get("mode") == "bilinear":
        return 1e-6
    if ON_TENSORFLOW and case.kind in ROUNDED:
        return 1e-7
    return 1e-11 if case.kind == "transposed_conv" else TOLERANCE


def lacking(case: Case) -> bool:
    return ON_TENSORFLOW and case.kind == "transposed_conv" and "dilation" in case.options


def compare(graph: Graph, tolerance: float = TOLERANCE, batch: int = 2) -> None:
    """Every layer's output is the reference's, relative to its largest number where that is above 1."""
    weights, images = weights_of(graph), images_for(graph, batch)
    expected = REFERENCE.runner(graph, weights, "float64").outputs(images)
    outputs = BACKEND.runner(graph, weights, "float64").outputs(images)
    assert outputs.keys() == expected.keys()
    for path, y in outputs.items():
        assert y.dtype == np.float64
        agree(y, expected[path], tolerance * max(1.0, float(np.abs(expected[path]).max())))


@pytest.mark.slow  # test_backends.py has each op, on TensorFlow
@pytest.mark.parametrize("case", [case for case in CASES if not lacking(case)], ids=str)
def test_ops_are_the_reference_s(case, tmp_path):
    compare(graph_of(case, tmp_path), tolerance(case))


ZOO = cnnspec.zoo()

SIZES = {
    "alexnet": 67,
    "alexnet_torchvision": 63,
    "googlenet": 96,
    "googlenet_torchvision": 96,
    "inception_resnet_v2": 75,
    "inception_v2": 64,
    "inception_v3": 299,  # its auxiliary head needs it
    "inception_v3_keras": 75,
    "inception_v4": 75,
    "squeezenet1_1": 64,
    "xception": 71,
}
FEW = {
    "alexnet",
    "cifar_cnn",
    "googlenet_torchvision",
    "lenet5",
    "mlp",
    "mnist_cnn",
    "mnist_mlp",
    "nin",
    "squeezenet1_1",
    "xception",
}
"""One or two of each family; the others are slow."""


def small(name: str) -> Graph:
    """A network of the zoo at a small input size."""
    size = SIZES.get(name, 32)
    fixed = name in ("mlp", "mnist_mlp", "mnist_cnn", "lenet5")
    return cnnspec.load(name, params={} if fixed else {"input.size": str(size)}).graph


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FEW else pytest.mark.slow) for n in ZOO])
def test_the_zoo_is_the_reference_s(name):
    compare(small(name), TOLERANCE if ON_TENSORFLOW else 1e-3, batch=1)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="this is what runs the others on torch")
@pytest.mark.parametrize(
    "which",
    [
        "ops_are and (pool or transposed_conv) or zoo and squeezenet1_1",
        pytest.param("ops_are or googlenet_torchvision or zoo and se_resnet50 or xception", marks=pytest.mark.slow),
    ],
)
def test_keras_on_torch_gives_the_same(which):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "", "-k", which, __file__],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def spec(folder: Path, layers: str, rest: str = "") -> Graph:
    file = folder / "small.yaml"
    file.write_text(f"cnnspec: 1\nname: small\ninput: {{channels: 3, size: [6, 5]}}\nlayers:\n{layers}\n{rest}")
    return cnnspec.load(file).graph


def test_a_flattened_map_keeps_its_order_where_it_shows(tmp_path):
    """As an output, or added to a vector in another order; where a dense layer follows, its weights take the order."""
    hidden = spec(tmp_path, "  - flatten\n  - batch_norm\n  - prelu\n  - {dense: 4}")
    assert "Permute" not in BACKEND.source(fold(hidden))
    compare(hidden)
    shown = spec(tmp_path, "  - flatten\n  - relu")
    assert "Permute((3, 1, 2)" in BACKEND.source(fold(shown))
    compare(shown)
    added = spec(tmp_path, "  - {flatten: , name: flat}\n  - {dense: 90}\n  - {add: [previous, flat]}\n  - {dense: 4}")
    assert "Permute((3, 1, 2)" in BACKEND.source(fold(added))
    compare(added)
    joined = spec(
        tmp_path, "  - {flatten: , name: flat}\n  - {dense: 9}\n  - {concat: [previous, flat]}\n  - {dense: 4}"
    )
    assert "Permute" not in BACKEND.source(fold(joined))
    compare(joined)


def test_layers_alike_are_one_function(tmp_path):
    """Whatever they stand in, and however they are padded; where it makes the text shorter, and their parts lie below."""
    graph = spec(
        tmp_path,
        "  - {conv: 4, kernel: 3, padding: valid, name: a}\n"
        "  - {conv: 4, kernel: 3, stride: 2, padding: 1, name: b}\n"
        "  - {conv: 4, kernel: [1, 3], repeat: 3}\n"
        "  - {part: {pads: 1, big: true}, name: p}\n"
        "  - {part: {pads: [0, 1, 1, 0], big: false}, name: q}\n"
        "  - residual:\n      body: [{conv: 6, kernel: 3, activation: none}]\n"
        "      shortcut: [{conv: 6, kernel: 3, stride: 1, padding: [0, 1, 2, 1]}]\n"
        "  - {conv: 6, kernel: 1, groups: 2, bias: true, name: z}",
        "defaults:\n  conv: {norm: batch_norm, activation: relu}\n"
        "blocks:\n  part:\n    args: {pads: required, big: required}\n    layers:\n"
        "      - {conv: 4, kernel: 3, padding: $pads, name: c}\n      - {conv: 4, kernel: 3, if: $big, name: d}",
    )
    text = BACKEND.source(fold(graph))
    assert text.count("BatchNormalization") == 2
    assert text.count("conv_batch") == 0
    assert text.count("conv_norm_relu(") >= 7
    compare(graph)


def test_edges_that_differ_between_uses(tmp_path):
    """Padding of all edges and of some, pixels that overhang, as zeros and as what a maximum never is."""
    for before, kind in itertools.product(("relu", "tanh"), ("max_pool", "avg_pool")):
        graph = spec(
            tmp_path,
            f"  - {{conv: 4, kernel: 1, activation: {before}}}\n"
            "  - {part: {pads: 1, n: 3}, name: p}\n  - {part: {pads: [0, 1, 1, 0], n: 2}, name: q}",
            "blocks:\n  part:\n    args: {pads: required, n: required}\n    layers:\n"
            f"      - {{{kind}: 3, stride: 2, ceil_mode: true, padding: $pads}}\n"
            "      - {upsample: $n}\n      - {zero_pad: [$n, 0, 1, 0]}",
        )
        compare(graph)


def test_uses_that_no_one_text_has_get_one_each(tmp_path):
    """Keras has no groups in a transposed convolution: with one, it is a layer, with several, a function."""
    graph = spec(
        tmp_path,
        "  - {part: {n: 1}, name: p}\n  - {part: {n: 2}, name: q}",
        "blocks:\n  part:\n    args: {n: required}\n    layers: [{transposed_conv: 4, kernel: 3, groups: $n, name: c}]",
    )
    assert BACKEND.source(fold(graph)).count("def part") == 2
    compare(graph)


def test_training_has_the_heads_that_inference_does_not(tmp_path):
    graph = cnnspec.load("googlenet", params={"input.size": "96"}).graph
    program = fold(graph)
    weights = weights_of(graph)
    assert len(BACKEND.build(program).outputs) == 1
    model = BACKEND.build(program, weights, training=True)
    assert [tensor.shape[1:] for tensor in model.outputs] == [(1000,)] * 3
    assert model.count_params() == sum(array.size for array in weights.values())


def test_a_traceback_shows_the_text():
    program = fold(cnnspec.load("lenet5").graph)
    assert isinstance(BACKEND.build(program), keras.Model)
    program.graph.input.shape = Maps(1, 2, 2)
    with pytest.raises(ValueError, match="Computed output size would be zero or negative") as caught:
        BACKEND.build(program)
    frames = [frame for frame in traceback.extract_tb(caught.tb) if frame.filename == "<cnnspec lenet5 keras>"]
    assert "layers.Conv2D(16, 5" in str(frames[-1].line)


def test_weights_that_do_not_fit_are_named(tmp_path):
    graph = spec(tmp_path, "  - {conv: 4, kernel: 3, name: c}")
    program, weights = fold(graph), weights_of(graph)
    with pytest.raises(ValueError, match=r"c\.weight is \(3, 3, 3, 5\) for Keras, c/kernel is \(3, 3, 3, 4\)"):
        BACKEND.build(program, {**weights, "c.weight": np.zeros((5, 3, 3, 3))})
    with pytest.raises(ValueError, match=r"no weights for c\.bias"):
        BACKEND.build(program, {"c.weight": weights["c.weight"]})


def test_precision_is_restored():
    graph = cnnspec.load("lenet5").graph
    before: Any = keras.config.floatx(), keras.config.dtype_policy().name
    outputs = BACKEND.runner(graph, weights_of(graph), "float32").outputs(images_for(graph))
    assert {y.dtype for y in outputs.values()} == {np.dtype(np.float32)}
    BACKEND.runner(graph, weights_of(graph), "float64").outputs(images_for(graph))
    assert (keras.config.floatx(), keras.config.dtype_policy().name) == before


def test_gradients_are_differences_of_the_reference_s_outputs(tmp_path):
    """In canonical layout: through a transposed convolution in groups, a flattened map, and a head; without dropout."""
    graph = spec(
        tmp_path,
        "  - {conv: 4, kernel: 3, activation: prelu, name: c}\n"
        "  - {transposed_conv: 6, kernel: 3, stride: 2, padding: 1, groups: 2, activation: tanh, name: up}\n"
        "  - {depthwise_conv: 3, depth_multiplier: 2, name: spread}\n"
        "  - flatten\n  - {dropout: 0.5}\n  - {layer_norm: , name: ln}\n  - {dense: 3, name: fc}",
        "outputs:\n  aux: {from: c, layers: [global_avg_pool, {dense: 2, name: fc}]}",
    )
    weights, images = weights_of(graph), images_for(graph)
    random = np.random.default_rng(5)
    cotangents = {o.node.path: random.normal(size=(2, *o.node.shape)) for o in graph.outputs}

    def total(changed: dict[str, np.ndarray]) -> float:
        outputs = REFERENCE.runner(graph, changed, "float64").outputs(images)
        return float(sum((outputs[path] * c).sum() for path, c in cotangents.items()))

    found = BACKEND.runner(graph, weights, "float64").gradients(images, cotangents)
    assert found.keys() == weights.keys()
    for key, gradient in found.items():
        assert gradient.shape == weights[key].shape
        for place in random.integers(gradient.size, size=3):
            sides = []
            for step in (1e-5, -1e-5):
                changed = weights[key].copy()
                changed.reshape(-1)[place] += step
                sides.append(total({**weights, key: changed}))
            agree(gradient.reshape(-1)[place], (sides[0] - sides[1]) / 2e-5, 1e-6)
