"""Training in Keras and PyTorch side by side, on a tiny network, with the generated text changed on its way."""

from functools import cache
from pathlib import Path

import cnnspec
from cnnspec.lower.backend import backend, backends
from cnnspec.verify.plan import plan
from cnnspec.verify.sample import sample
from cnnspec.verify.training import training_checks

SPEC = """\
cnnspec: 1
name: tiny
input: {channels: 1, size: 6}
layers:
  - {conv: 3, kernel: 3, norm: batch_norm, activation: prelu, name: c1}
  - {max_pool: 2}
  - flatten
  - {dense: 5, activation: tanh, name: fc1}
  - {dropout: 0.5}
  - {dense: 4, name: fc2}
"""
HEADS = """\
outputs:
  side: {from: c1, training_only: true, loss_weight: 0.3, layers: [flatten, {dense: 4, name: out}]}
"""


def tiny_net(folder: Path, heads: bool = False, **recipe) -> cnnspec.Net:
    """The network; `recipe` has the sections of its recipe."""
    import json

    sections = {"optimizer": {"sgd": 0.1}, "epochs": 4, "batch_size": 6} | recipe
    path = folder / "tiny.yaml"
    path.write_text(f"{SPEC}{HEADS if heads else ''}train: {json.dumps(sections)}\n")
    return cnnspec.load(str(path))


@cache
def _weights(heads: bool, folder: str):
    net = tiny_net(Path(folder), heads)
    return sample(net.graph, backends()["reference"].load().apply, 0, None).weights


def train_both(folder: Path, steps: int = 20, precision: str = "float64", heads: bool = False, **recipe):
    """What Keras comes to against PyTorch."""
    net = tiny_net(folder, heads, **recipe)
    made = plan(net.recipe, True, net.graph, steps)
    weights = sample(net.graph, backends()["reference"].load().apply, 0, None).weights
    (check,) = training_checks([backend("keras"), backend("torch")], made, net.graph, weights, 0, [precision])
    return check
