"""`train.py` for Keras: what it looks like, and that tools for Python have nothing against it."""

from functools import cache
from pathlib import Path

import pytest
from tools import ruff_says
from train_nets import small_net

import cnnspec
from cnnspec.backends.keras.train import train_source
from cnnspec.lower.fold import fold
from cnnspec.train.specialise import specialise

GOLDEN = Path(__file__).parent.parent / "golden"
RECIPES = {
    "plain": {},
    "momentum": {"optimizer": {"sgd": 0.1, "momentum": 0.9, "nesterov": True, "l2": 1e-4}, "schedule": {"step": 2}},
    "adam": {
        "optimizer": {"adam": 1e-3, "amsgrad": True, "l2": 1e-4, "exclude": ["bias", "norm", "prelu"]},
        "clip": {"global_norm": 1.0},
    },
    "adamw": {
        "optimizer": {"adamw": 1e-3, "exclude": ["norm"]},
        "schedule": {"cosine": {"warmup": 1}},
        "clip": {"value": 1.0},
        "ema": 0.99,
    },
    "rmsprop": {
        "optimizer": {"rmsprop": 1e-3, "centered": True, "momentum": 0.9},
        "gradient_accumulation": 3,
        "clip": {"parameter_norm": 1.0},
    },
    "checkpoints": {
        "optimizer": {"rmsprop": 1e-3},
        "checkpoints": {"every": 2, "steps": 50, "keep": "all", "best": "validation_accuracy"},
        "split": 0.2,
        "early_stop": 3,
    },
    "metrics": {
        "optimizer": {"adagrad": 1e-3},
        "loss": {"cross_entropy": {"label_smoothing": 0.1}},
        "metrics": ["accuracy", {"top_k": 2}, "per_class", "confusion_matrix"],
        "split": 0.2,
        "early_stop": {"patience": 2, "monitor": "loss"},
        "checkpoints": {"best": "validation_loss"},
    },
    "weights": {
        "optimizer": {"adadelta": 1.0},
        "loss": {"cross_entropy": {"class_weights": [1, 2, 3, 4, 5]}},
        "metrics": [],
    },
    "balanced": {
        "optimizer": {"adamax": 1e-3},
        "loss": {"cross_entropy": {"class_weights": "balanced", "label_smoothing": 0.1}},
        "augment": [{"mixup": 0.2}],
        "precision": "mixed_float16",
    },
    "half": {
        "optimizer": {"nadam": 1e-3, "l2": 1e-3},
        "precision": "mixed_float16",
        "gradient_accumulation": 4,
        "ema": 0.9,
        "early_stop": {"patience": 2, "restore_best": False, "monitor": "loss"},
    },
    "plateau": {
        "optimizer": {"sgd": 0.1, "momentum": 0.9},
        "schedule": {"reduce_on_plateau": {"monitor": "validation_loss", "minimum": 1e-3}},
        "precision": "mixed_bfloat16",
        "split": 0.2,
        "early_stop": 4,
        "gradient_accumulation": 2,
    },
    "one_cycle": {"optimizer": {"adam": 0.1, "decoupled_weight_decay": 0.1}, "schedule": {"one_cycle": {}}},
    "initial": {
        "initializers": {"conv": "he_normal", "dense": {"truncated_normal": 0.1}, "layers": {"c*": {"bias": "ones"}}}
    },
    "initial_bias": {"initializers": {"conv": "orthogonal", "dense": "fan_in_uniform", "bias": "fan_in_uniform"}},
}


@cache
def source(name: str) -> str:
    net = cnnspec.load(name)
    return train_source(fold(net.graph), net.recipe)


@pytest.mark.parametrize("name", ["mnist_cnn", "resnet18", "googlenet"])
def test_text(name, snapshot):
    snapshot(GOLDEN / f"{name}_keras_train.txt", source(name))


def test_a_small_recipe_is_read_in_one_sitting():
    assert source("mnist_cnn").count("\n") <= 250


def test_linter_and_formatter_pass(tmp_path):
    for heads in (False, True):
        for name, sections in RECIPES.items():
            folder = tmp_path / f"{name}_{heads}"
            folder.mkdir()
            net = small_net(tmp_path, "full", heads, **sections)
            (folder / "train.py").write_text(train_source(fold(net.graph), net.recipe))
            (folder / "model.py").write_text("")
            (folder / "data.py").write_text("")
    assert len(list(tmp_path.glob("*/train.py"))) == 2 * len(RECIPES)
    for folder in sorted(tmp_path.iterdir()):
        if folder.is_dir():
            assert ruff_says(folder, "I") == "", folder.name


def test_switches_are_settled():
    text = "def f():\n    if A:\n        a = 1\n        if not B:\n            b = 2\n    if B:\n        c = 3\n    if d:\n        e = 4"
    assert specialise(text, {"A": True, "B": False}) == "def f():\n    a = 1\n    b = 2\n    if d:\n        e = 4"


def test_a_switch_has_no_else():
    with pytest.raises(ValueError, match="has an `else`"):
        specialise("if A:\n    a = 1\nelse:\n    a = 2", {"A": False})
