"""The text of train.py under a transfer case: what it looks like, and that tools for Python have nothing against it."""

from pathlib import Path

import pytest
from tools import mypy_says, ruff_says
from transfer_nets import BOTH, tiny_net

import cnnspec
from cnnspec.train.generate import build_files
from cnnspec.train.phases import phases

GOLDEN = Path(__file__).parent.parent / "golden"
UNDECAYED = ["bias", "norm", "prelu"]
RECIPES = {
    "sgd": {},
    "momentum": {"optimizer": {"sgd": 0.1, "momentum": 0.9, "l2": 0.01, "exclude": UNDECAYED}},
    "decoupled": {"optimizer": {"rmsprop": 0.1, "decoupled_weight_decay": 0.01}, "ema": 0.9},
    "adamw": {"optimizer": {"adamw": 0.1, "exclude": ["norm"]}, "clip": {"global_norm": 1}, "gradient_accumulation": 2},
    "adam": {"optimizer": {"adam": 0.1, "amsgrad": True}, "precision": "mixed_float16", "gradient_accumulation": 2},
    "nadam": {"optimizer": {"nadam": 0.1, "decoupled_weight_decay": 0.1, "exclude": ["bias"]}, "ema": 0.9},
    "adamax": {"optimizer": {"adamax": 0.1}, "schedule": {"reduce_on_plateau": {"monitor": "loss"}}},
}
CASES = {
    "both": BOTH,
    "all": {
        "freeze_through": "block2",
        "replace": ["fc"],
        "learning_rate": {"block2.b": 0.1},
        "unfreeze": {3: ["block2.b"]},
    },
    "factors": {"learning_rate": {"stem": 0.1, "block2.b": 1e-3}},
    "frozen": {"freeze": ["*"], "replace": ["fc"]},
}
WORDS = ("FROZEN", "UNFREEZE", "RATE_FACTORS", "freeze", "rate_factor", "factors", "counts", "LATE")


@pytest.mark.parametrize("backend", ["torch", "keras"])
def test_text(backend, snapshot):
    net = cnnspec.load("resnet18", transfer="large_similar", classes=10)
    snapshot(GOLDEN / f"resnet18_large_similar_{backend}_train.txt", _text(net, backend))


def _text(net, backend):
    return build_files(net.graph, backend, net.recipe)["train.py"].decode()


@pytest.mark.parametrize("backend", ["torch", "keras"])
@pytest.mark.parametrize("name", ["resnet18", "mnist_cnn"])
def test_nothing_of_it_is_printed_without_a_case(name, backend):
    text = _text(cnnspec.load(name), backend)
    assert not [word for word in WORDS if word in text]


@pytest.mark.parametrize("backend", ["torch", "keras"])
def test_ruff_has_nothing_to_say(backend, tmp_path):
    for folder in _folders(tmp_path, backend):
        assert ruff_says(folder, "I") == "", folder.name


@pytest.mark.slow
def test_mypy_has_nothing_to_say(tmp_path):
    pytest.importorskip("torch")
    assert mypy_says(_folders(tmp_path, "torch"), tmp_path / "all") == ""


def _folders(place, backend):
    """One with the code of each case and recipe."""
    made = [("both", name) for name in RECIPES] + [(case, "momentum") for case in CASES if case != "both"]
    for case, name in made:
        net = tiny_net(place, CASES[case], data={"npz": "d.npz"}, **RECIPES[name])
        folder = place / f"{case}_{name}"
        folder.mkdir()
        for file, content in build_files(net.graph, backend, net.recipe).items():
            (folder / file).write_bytes(content)
    (place / "tiny.yaml").unlink()
    folders = sorted(place.iterdir())
    assert len(folders) == len(CASES) + len(RECIPES) - 1
    return folders


def test_as_few_words_as_can_be(tmp_path):
    """Whole parts of a network where all in them is treated alike; and layers that drop values go on to."""
    made = phases(tiny_net(tmp_path, BOTH).graph)
    assert made.frozen == ["stem"]
    assert made.unfreeze == {2: ["block2.a"], 3: ["block1"]}
    assert made.factors == {"block1": 0.5, "block2.a": 0.1, "block2.b": 0.3}
    vgg = cnnspec.load("vgg16", transfer="small_similar")
    drops = {node.path for node in vgg.graph.nodes if node.op.kind == "dropout"}
    frozen = phases(vgg.graph).frozen
    assert drops
    assert "block1" in frozen
    assert not [path for path in drops for part in frozen if path == part or path.startswith(f"{part}.")]
    nothing = phases(cnnspec.load("resnet18").graph)
    assert (nothing.frozen, nothing.unfreeze, nothing.factors) == ([], {}, {})


def test_what_starts_in_the_first_epoch_is_not_frozen(tmp_path):
    net = tiny_net(tmp_path, {"freeze": ["stem"], "unfreeze": {1: ["stem"]}})
    assert not net.graph.frozen
    assert not net.graph.starts
