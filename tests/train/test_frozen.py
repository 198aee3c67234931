"""What a transfer case freezes is not trained, in either framework, and what no loss depends on is not either."""

import numpy as np
import pytest

import cnnspec
from cnnspec.lower.backend import backend as find_backend

SPEC = """\
cnnspec: 1
name: frozen
input: {channels: 2, size: 8}
params: {classes: 3}
layers:
  - {conv: 4, kernel: 3, norm: batch_norm, activation: prelu, name: block1}
  - {conv: 4, kernel: 3, groups: 2, norm: batch_norm, activation: relu, name: block2}
  - global_avg_pool
  - {dense: $classes, name: fc}
transfer:
  head: [fc]
  boundaries: [block1, block2]
  cases:
    small_similar: {freeze: ["*"], replace: [fc]}
    small_different:
      features: {from: block1, layers: [global_avg_pool, {dense: $classes, name: fc}]}
      freeze: ["*"]
    large_similar: {freeze_through: block1, replace: [fc]}
    large_different: {replace: [fc]}
train: {optimizer: {sgd: 0.1, momentum: 0.9, l2: 0.01}, epochs: 1, batch_size: 8}
"""


@pytest.mark.parametrize(("case", "kept"), [("small_similar", ("block1.", "block2.")), ("large_similar", ("block1.",))])
@pytest.mark.parametrize("backend", ["torch", "keras"])
def test_frozen_layers_stay_as_they_are(backend, case, kept, tmp_path):
    pytest.importorskip("torch" if backend == "torch" else "tensorflow")
    path = tmp_path / "frozen.yaml"
    path.write_text(SPEC)
    net = cnnspec.load(str(path), transfer=case)
    before = {key: np.asarray(array, np.float64) for key, array in net.weights(1).items()}
    draw = np.random.default_rng(0)
    batches = [(draw.normal(size=(8, 2, 8, 8)), draw.integers(0, 3, 8)) for _ in range(3)]
    found = find_backend(backend)
    *_, last = found.trajectory(net.graph, before, net.recipe, batches, "float64", 3)
    same = {key for key in before if np.array_equal(last.weights[key], before[key])}
    assert same == {key for key in before if key.startswith(kept)}


OUTPUTS = """\
outputs:
  side:
    from: block1
    training_only: true
    loss_weight: 0.3
    layers: [global_avg_pool, {dense: 3, name: fc}]
"""
FURTHER = """\
  maps: {from: block2}
  embedding:
    from: block2
    layers: [{conv: 7, kernel: 3, norm: batch_norm}, global_avg_pool, {dense: 5, name: fc}]
"""
WITHOUT = SPEC[: SPEC.index("transfer:")] + SPEC[SPEC.index("train:") :]


@pytest.mark.parametrize("accumulation", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["torch", "keras"])
def test_outputs_of_inference_change_nothing_and_stay_as_they_are(backend, accumulation, tmp_path):
    pytest.importorskip("torch" if backend == "torch" else "tensorflow")
    size = f"batch_size: {8 // accumulation}, gradient_accumulation: {accumulation}"
    spec = WITHOUT.replace("batch_size: 8", f"{size}, clip: {{global_norm: 0.5}}, ema: 0.9")
    nets = []
    for name, outputs in (("one", OUTPUTS), ("more", OUTPUTS + FURTHER)):
        (path := tmp_path / f"{name}.yaml").write_text(spec + outputs)
        nets.append(cnnspec.load(str(path)))
    one, more = nets
    first = {key: np.asarray(array, np.float64) for key, array in more.weights(1).items()}
    draw = np.random.default_rng(0)
    batches = [(draw.normal(size=(8, 2, 8, 8)), draw.integers(0, 3, 8)) for _ in range(3)]

    def trained(net):
        weights = {key: first[key] for key in net.weights(1)}
        return list(find_backend(backend).trajectory(net.graph, weights, net.recipe, batches, "float64", 3))

    expected, seen = trained(one), trained(more)
    assert [step.loss for step in seen] == pytest.approx([step.loss for step in expected], rel=1e-12)
    further = first.keys() - expected[-1].weights.keys()
    assert {key.partition(".")[0] for key in further} == {"embedding"}
    for key, array in seen[-1].weights.items():
        assert np.array_equal(array, first[key]) == (key in further), key
    for key, array in expected[-1].weights.items():
        np.testing.assert_allclose(seen[-1].weights[key], array, rtol=1e-9, atol=1e-12)
