"""Training in Keras and PyTorch side by side, on a tiny network, with Keras's text changed on its way."""

import json
import re
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
  - {conv: 3, kernel: 3, bias: false, norm: batch_norm, activation: prelu, name: c1}
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


def tiny_net(folder: Path, heads: bool = False, **sections) -> cnnspec.Net:
    """The network; `sections` are those of its recipe, of 4 epochs unless they say otherwise."""
    recipe = {"optimizer": {"sgd": 0.1}, "epochs": 4, "batch_size": 6} | sections
    path = folder / "tiny.yaml"
    path.write_text(f"{SPEC}{HEADS if heads else ''}train: {json.dumps(recipe)}\n")
    return cnnspec.load(str(path))


def train_both(folder: Path, steps: int = 20, computed_in: str = "float64", heads: bool = False, **sections):
    """What Keras comes to against PyTorch, and the rates of the steps."""
    net = tiny_net(folder, heads, **sections)
    made = plan(net.recipe, True, net.graph, steps)
    weights = sample(net.graph, backends()["reference"].load().apply, 0, None).weights
    rates = _Rates(backend("torch"))
    (check,) = training_checks([backend("keras"), rates], made, net.graph, weights, 0, [computed_in])
    return check, rates.seen[0]


class _Rates:
    """A backend whose steps' rates are kept, for each time that it trains."""

    def __init__(self, found) -> None:
        self.found = found
        self.seen: list[list[float]] = []

    def __getattr__(self, name):
        return getattr(self.found, name)

    def trajectory(self, *given):
        rates: list[float] = []
        self.seen.append(rates)
        for step in self.found.trajectory(*given):
            rates.append(step.rate)
            yield step


def change_text(monkeypatch, old: str, new: str):
    """Have the regular expression `old` replaced in all text that Keras is to run; returns what counts that."""
    from cnnspec.backends.keras import trajectory

    run, counted = trajectory.run_text, []

    def changed(text, file, namespace):
        text, count = re.subn(old, new, text)
        counted.append(count)
        run(text, file, namespace)

    monkeypatch.setattr(trajectory, "run_text", changed)
    return counted
