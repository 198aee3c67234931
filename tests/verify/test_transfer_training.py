"""Layers that start to train later, and at rates of their own, do so alike in Keras and PyTorch."""

import pytest
from side_by_side import change_text
from transfer_nets import BOTH, tiny_net, train_both
from transfer_runs import extended

from cnnspec.verify.plan import plan

pytest.importorskip("torch")
pytest.importorskip("keras")

slow = pytest.mark.slow
UNDECAYED = ["bias", "norm", "prelu"]
ALL = {"gradient_accumulation": 2, "clip": {"global_norm": 0.3}, "ema": 0.9}
RECIPES = {
    "sgd": {"optimizer": {"sgd": 0.1}},
    "momentum": {"optimizer": {"sgd": 0.1, "momentum": 0.9, "nesterov": True, "l2": 0.01, "exclude": UNDECAYED}},
    "sgd decoupled": {"optimizer": {"sgd": 0.1, "momentum": 0.9, "decoupled_weight_decay": 0.1}},
    "adam": {"optimizer": {"adam": 0.01, "l2": 0.01, "exclude": ["bias"]}, "clip": {"parameter_norm": 0.1}},
    "amsgrad": {"optimizer": {"adam": 0.01, "amsgrad": True}, "clip": {"value": 0.02}},
    "adamw": {"optimizer": {"adamw": 0.01, "weight_decay": 0.1, "exclude": UNDECAYED}},
    "rmsprop": {"optimizer": {"rmsprop": 0.001, "centered": True, "decoupled_weight_decay": 0.1, "exclude": ["prelu"]}},
    "adagrad": {"optimizer": {"adagrad": 0.01}},
    "adadelta": {"optimizer": {"adadelta": 1.0}},
    "adamax": {"optimizer": {"adamax": 0.01}},
    "nadam": {"optimizer": {"nadam": 0.01, "momentum_decay": 0.1, "decoupled_weight_decay": 0.1}},
    "momentum and all": {"optimizer": {"sgd": 0.1, "momentum": 0.9}} | ALL,
    "adamw and all": {"optimizer": {"adamw": 0.01, "weight_decay": 0.1, "exclude": UNDECAYED}} | ALL,
    "nadam and all": {"optimizer": {"nadam": 0.01}} | ALL,
    "ema": {"optimizer": {"adam": 0.01}, "ema": 0.9},
}
QUICK = {"sgd decoupled", "adamw and all"}
CASES = {
    "factors": {"learning_rate": {"*": 0.1, "fc": 2.0, "block2": 0.0}},
    "all frozen at first": {"freeze": ["*"], "replace": ["fc"], "unfreeze": {2: ["*"]}},
    "frozen throughout": {"freeze_through": "block1", "unfreeze": {3: ["stem", "block1.b"]}},
}


def cases(table, quick=frozenset()):
    return [pytest.param(name, marks=[] if name in quick else slow, id=name.replace(" ", "_")) for name in table]


def worst(check):
    assert not check.error
    assert len(check.comparisons) == check.total
    return max(c.difference / c.scale for c in check.comparisons if c.scale)


@pytest.mark.parametrize("name", cases(RECIPES, QUICK))
def test_every_optimizer_with_factors_and_unfreezing(name, tmp_path):
    net = tiny_net(tmp_path, BOTH, schedule={"cosine": {}}, **RECIPES[name])
    check = train_both(net)
    assert check.comparisons[-1].step == 20
    assert worst(check) <= 1e-8


@pytest.mark.parametrize("name", cases(CASES))
def test_either_alone(name, tmp_path):
    net = tiny_net(tmp_path, CASES[name], optimizer={"adam": 0.01}, schedule={"step": 1, "factor": 0.5})
    assert worst(train_both(net)) <= 1e-8


@slow
@pytest.mark.parametrize(("network", "size"), [("resnet18", 32), ("googlenet", 80), ("vgg16_bn", 32)])
def test_cases_of_the_zoo(network, size, tmp_path):
    """Frozen norms, factors, layers unfrozen in epochs 5 and 10 of 20: 3 and 6 of 10 here. Large rates make chaos."""
    recipe = {"optimizer": {"sgd": 3e-4, "momentum": 0.9}, "schedule": {"cosine": {}}, "epochs": 20}
    net = extended(tmp_path, network, "large_similar", size, 4, **recipe)
    check = train_both(net, 20)
    assert check.comparisons[-1].step == 20
    assert check.agrees
    assert worst(check) <= 1e-8


# ---- mutations of Keras's text

ADAM = {"optimizer": {"adam": 0.01}}
MUTATIONS = {
    # name: (recipe, text, what replaces it, why that is a difference)
    "factor": (ADAM, r'"block1": 0\.5', '"block1": 0.6', "another rate"),
    "factor of a part": (ADAM, r'"block2-b": 0\.3', '"block2-b": 0.1', "that of the whole"),
    "factors off": (ADAM, r"Counted, Multiplied", "Counted", "all have one rate"),
    "decay without the factor": (
        RECIPES["sgd decoupled"], r"Multiplied, Decayed, |Multiplied, Decayed\b", "Multiplied, ",
        "Keras has all decay at the optimiser's rate",
    ),
    "an epoch late": (ADAM, r"UNFREEZE = \{2:", "UNFREEZE = {3.0:", "a part starts to train later"),
    "an epoch early": (ADAM, r", 3: \[", ", 2.0: [", "a part starts to train earlier"),
    "not unfrozen": (ADAM, r"make_train_function\(force=True\)", "make_train_function()", "old steps are compiled"),
    "steps from the start": (
        ADAM, r"ops\.convert_to_tensor\(self\.counts\[index\]\)", "ops.cast(self.iterations + 1, variable.dtype)",
        "Keras counts steps of the optimiser, not of a weight",
    ),
    "steps of Nadam": (
        RECIPES["nadam"], r"ops\.convert_to_tensor\(self\.counts\[index\]\)",
        "ops.cast(self.iterations + 1, variable.dtype)", "so do its momenta",
    ),
    "steps of Adamax": (
        {"optimizer": {"adamax": 0.01}}, r"ops\.convert_to_tensor\(self\.counts\[index\]\)",
        "ops.cast(self.iterations + 1, variable.dtype)", "and its correction",
    ),
    "statistics of a norm": (
        ADAM, r"layer\.trainable = epoch >= start", "layer.trainable = True",
        "a norm moves its running statistics",
    ),
    "gathered for others": (
        ADAM | {"gradient_accumulation": 2}, r"sums\[self\._get_variable_index\(v\)\] for v in trainable_variables",
        "sums[i] for i in range(len(grads))", "those that train are not the first ones",
    ),
}  # fmt: skip
QUICK_MUTATIONS = {"factor"}


@pytest.mark.parametrize("name", cases(MUTATIONS, QUICK_MUTATIONS))
def test_a_mutation_is_found(name, tmp_path, monkeypatch):
    recipe, old, new, why = MUTATIONS[name]
    counted = change_text(monkeypatch, old, new)
    check = train_both(tiny_net(tmp_path, BOTH, **recipe), 12)
    assert sum(counted) >= 1, f"{old} is not in the text"
    assert not check.agrees, why
    if not check.error:
        assert check.first.difference > 1e-8 * check.first.scale


# ---- times


@pytest.mark.parametrize(
    ("epochs", "steps", "starts"),
    [
        (4, 20, {2: 2, 3: 3, 9: 9}),  # as they are
        (90, 20, {1: 2, 2: 2, 10: 2, 31: 4, 61: 8, 90: 10, 91: 91}),  # 10 epochs: milestones at 30, 60 are at 3, 7
        (90, 1, {5: 2}),  # of one step nothing is left to shrink into
    ],
)
def test_times_shrink_as_those_of_a_schedule(epochs, steps, starts, tmp_path):
    unfreeze = {str(start): ["block1"] for start in starts}
    net = tiny_net(tmp_path, {"freeze": ["block1"], "unfreeze": unfreeze}, epochs=epochs)
    made = plan(net.recipe, True, net.graph, steps)
    found = {start: made.shrunk(_at(net.graph, start)).starts["block1.a.conv"] for start in starts}
    assert found == starts


def test_the_plan_says_when_layers_start(tmp_path):
    net = tiny_net(tmp_path, {"freeze": ["block1"], "unfreeze": {"31": ["block1"]}}, epochs=90)
    said = plan(net.recipe, True, net.graph, 20).describe()
    assert "layers that start to train in epoch 31 do so in epoch 4 here" in said


def _at(graph, epoch):
    from dataclasses import replace

    return replace(graph, starts=dict.fromkeys(graph.starts or ["block1.a.conv"], epoch))
