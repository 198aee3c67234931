"""A tiny network with layers of every kind that training changes, under a transfer case."""

import json
from pathlib import Path

import numpy as np

import cnnspec
from cnnspec.lower.backend import backend, backends
from cnnspec.verify.plan import plan
from cnnspec.verify.sample import sample
from cnnspec.verify.training import training_checks

LAYERS = """\
cnnspec: 1
name: tiny
input: {channels: 2, size: 8}
params: {classes: 3}
layers:
  - {conv: 4, kernel: 3, bias: false, norm: batch_norm, activation: prelu, name: stem}
  - stage: block$i
    each: {filters: [4, 6]}
    do:
      - {conv: $filters, kernel: 3, bias: false, norm: batch_norm, activation: tanh, name: a}
      - {conv: $filters, kernel: 3, bias: false, norm: batch_norm, activation: tanh, groups: 2, name: b}
  - {dropout: 0.5}
  - global_avg_pool
  - {dense: $classes, name: fc}
"""
BOTH = {
    "freeze_through": "block2.a",
    "replace": ["fc"],
    "learning_rate": {"block1": 0.5, "block2": 0.1, "block2.b": 0.3},
    "unfreeze": {2: ["block2"], 3: ["block1"]},
}


def tiny_net(folder: Path, case: dict, **sections) -> cnnspec.Net:
    """The network under a case; `sections` are those of its recipe, of 4 epochs unless they say otherwise."""
    recipe = {"optimizer": {"sgd": 0.1}, "epochs": 4, "batch_size": 6} | sections
    transfer = {"head": ["fc"], "cases": {"large_similar": case}}
    path = folder / "tiny.yaml"
    path.write_text(f"{LAYERS}transfer: {json.dumps(transfer)}\ntrain: {json.dumps(recipe)}\n")
    return cnnspec.load(str(path), transfer="large_similar")


def train_both(net: cnnspec.Net, steps: int = 20, computed_in: str = "float64"):
    """What Keras comes to against PyTorch."""
    made = plan(net.recipe, True, net.graph, steps)
    weights = sample(net.graph, backends()["reference"].load().apply, 0, None).weights
    trainers = [backend("keras"), backend("torch")]
    (check,) = training_checks(trainers, made, net.graph, weights, 0, [computed_in])
    return check


def trajectory(net: cnnspec.Net, name: str, steps: int, steps_per_epoch: int = 1):
    """The weights before training, and those after each step with images that are drawn."""
    before = {key: np.asarray(array, np.float64) for key, array in net.weights(1).items()}
    draw = np.random.default_rng(0)
    classes = net.graph.outputs[0].node.shape.channels
    batches = [(draw.normal(size=(8, *net.graph.input.shape)), draw.integers(0, classes, 8)) for _ in range(steps)]
    found = backend(name).trajectory(net.graph, before, net.recipe, batches, "float64", steps_per_epoch)
    return [before, *(step.weights for step in found)]
