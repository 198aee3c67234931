"""A small network with a recipe of given sections."""

from pathlib import Path

import yaml

import cnnspec

LAYERS = {
    "plain": [
        {"conv": 4, "kernel": 3, "activation": "tanh", "name": "c1"},
        {"max_pool": 2},
        "flatten",
        {"dense": 5, "name": "fc"},
    ],
    "full": [
        {"conv": 4, "kernel": 3, "norm": "batch_norm", "activation": "prelu", "name": "c1"},
        {"dropout": 0.5},
        {"max_pool": 2},
        "flatten",
        {"dense": 6, "activation": "relu", "name": "fc1"},
        {"dropout": 0.5},
        {"dense": 5, "name": "fc"},
    ],
    "drops": [
        {"conv": 3, "kernel": 3, "activation": "relu", "name": "c1"},
        {"dropout": 0.5},
        "flatten",
        {"dense": 5, "name": "fc"},
    ],
}
HEADS = {
    "side": {"from": "c1", "training_only": True, "loss_weight": 0.3, "layers": ["flatten", {"dense": 5, "name": "fc"}]}
}


def small_net(folder: Path, layers: str = "plain", heads: bool = False, **sections) -> cnnspec.Net:
    """The network; `sections` are those of its recipe."""
    recipe = {"optimizer": {"sgd": 0.1}, "epochs": 4, "batch_size": 12} | sections
    spec = {
        "cnnspec": 1,
        "name": "small",
        "input": {"channels": 2, "size": 8},
        "layers": LAYERS[layers],
        "train": recipe,
    }
    if heads:
        spec["outputs"] = HEADS
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return cnnspec.load(str(path))
