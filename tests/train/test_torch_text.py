"""The text of train.py for PyTorch: what it looks like, and that tools for Python have nothing against it."""

from functools import cache
from pathlib import Path

import pytest
from tools import mypy_says, ruff_says

import cnnspec
from cnnspec.train.generate import build_files

GOLDEN = Path(__file__).parent.parent / "golden"
NET = """\
cnnspec: 1
name: tiny
input: {channels: 3, size: 8}
layers:
  - {conv: 4, kernel: 3, name: c, norm: batch_norm, activation: prelu}
  - {transposed_conv: 4, kernel: 2, stride: 2, name: t}
  - {dropout: 0.5}
  - flatten
  - {dense: 12, name: f1}
  - {dense: 12, name: f2}
  - {dense: 10, name: fc}
"""
HEAD = "outputs:\n  aux: {from: f1, training_only: true, loss_weight: 0.3, layers: [{dense: 10, name: a}]}\n"
DATA = "data: {npz: d.npz}"
BASE = "epochs: 4, batch_size: 8"
RECIPES = [
    "optimizer: {sgd: 0.1, momentum: 0.9, nesterov: true, l2: 0.001, exclude: [bias, norm, prelu]}",
    "optimizer: {sgd: 0.1, decoupled_weight_decay: 0.001}, schedule: {cosine: {warmup: 1}}",
    "optimizer: {rmsprop: 0.1, decoupled_weight_decay: 0.001, exclude: [bias, prelu], momentum: 0.9, centered: true}",
    "optimizer: {adam: 0.1, l2: 0.1, exclude: [norm], amsgrad: true}, schedule: {step: 2, warmup: 1}",
    "optimizer: {adamw: 0.1, exclude: [bias]}, schedule: {cosine: {restarts: {every: 1, decay: 0.5}, warmup: 1}}",
    "optimizer: {adagrad: 0.1, initial_accumulator: 0.1}, schedule: {one_cycle: {}}, clip: {global_norm: 1}",
    "optimizer: {adadelta: 1}, schedule: {multi_step: [1, 2]}, clip: {parameter_norm: 1}",
    "optimizer: {adamax: 0.1}, schedule: {exponential: 0.9, warmup: {epochs: 1, start: 0.1, shape: constant}}",
    "optimizer: {nadam: 0.1, decoupled_weight_decay: 0.1}, schedule: {polynomial: {warmup: 1}}, clip: {value: 1}",
    "optimizer: {sgd: 0.1}, schedule: {reduce_on_plateau: {monitor: loss}}, gradient_accumulation: 4",
    "optimizer: {sgd: 0.1}, precision: mixed_bfloat16, ema: 0.99, split: 0.1, early_stop: 3",
    "optimizer: {sgd: 0.1, decoupled_weight_decay: 0.1}, precision: mixed_float16, clip: {global_norm: 1}, "
    "gradient_accumulation: 2, split: 0.1, schedule: {reduce_on_plateau: {warmup: 1}}, ema: 0.9",
    "optimizer: {sgd: 0.1}, loss: {cross_entropy: {label_smoothing: 0.1, class_weights: balanced}}, "
    "augment: [{mixup: 0.2}], metrics: [accuracy, {top_k: 3}, per_class, confusion_matrix]",
    "optimizer: {sgd: 0.1}, loss: {cross_entropy: {class_weights: [1, 1, 1, 1, 1, 1, 1, 1, 1, 2]}}, "
    "split: 10, early_stop: {monitor: loss}, checkpoints: {every: 2, steps: 7, keep: all, best: validation_accuracy}",
    "optimizer: {sgd: 0.1}, metrics: [], initializers: {conv: lecun_uniform, dense: {variance_scaling: {mode: fan_out}}, "
    "bias: fan_in_uniform, layers: {'f?': {bias: {constant: 1}, weight: {uniform: 0.1}}, fc: {weight: {orthogonal: 2}}}}",
    "optimizer: {sgd: 0.1}, initializers: {conv: {truncated_normal: 0.1}, dense: glorot_normal, layers: "
    "{'f*': {weight: {variance_scaling: {scale: 2}}, bias: he_uniform}, t: {weight: he_normal}}}, checkpoints: {keep: 1}",
]


@cache
def files(name: str) -> dict[str, bytes]:
    net = cnnspec.load(name)
    return build_files(net.graph, "torch", net.recipe)


@pytest.mark.parametrize("name", ["mnist_cnn", "resnet18", "inception_v3"])
def test_text(name, snapshot):
    snapshot(GOLDEN / f"{name}_torch_train.txt", files(name)["train.py"].decode())


def test_length():
    assert len(files("mnist_cnn")["train.py"].splitlines()) <= 250


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of folders, one for each recipe."""
    folder = tmp_path_factory.mktemp("texts")
    for i, recipe in enumerate(RECIPES):
        made = folder / f"recipe{i}"
        made.mkdir()
        heads = HEAD if i % 2 else ""
        (made / "tiny.yaml").write_text(f"{NET}{heads}train: {{{DATA}, {BASE}, {recipe}}}\n")
        net = cnnspec.load(str(made / "tiny.yaml"))
        for name, content in build_files(net.graph, "torch", net.recipe).items():
            (made / name).write_bytes(content)
        again = build_files(net.graph, "torch", net.recipe)
        assert again["train.py"] == (made / "train.py").read_bytes()
    for name in ("mnist_cnn", "resnet18", "inception_v3", "googlenet", "lenet5"):
        (folder / name).mkdir()
        for file in ("model.py", "data.py", "train.py"):
            (folder / name / file).write_bytes(files(name)[file])
    return folder


def test_ruff_has_nothing_to_say(folder):
    for made in folder.iterdir():
        assert ruff_says(made, "I") == "", made.name


@pytest.mark.parametrize("imports", ["skip", pytest.param("silent", marks=pytest.mark.slow)])
def test_mypy_has_nothing_to_say(folder, imports, tmp_path):
    pytest.importorskip("torch")
    assert mypy_says(folder.iterdir(), tmp_path / "all", ("model", "train"), imports=imports) == ""


def test_it_never_imports_cnnspec(folder):
    for text in folder.glob("*/train.py"):
        assert "cnnspec" not in text.read_text()
