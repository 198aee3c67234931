"""Training in Keras and PyTorch is the same, and every difference of meaning between them is found."""

import numpy as np
import pytest
import yaml
from side_by_side import change_text, tiny_net, train_both

import cnnspec
from cnnspec.lower.backend import backends
from cnnspec.spec.recipe.optimizer import Optimizer
from cnnspec.spec.recipe.schedule import Schedule
from cnnspec.spec.tagged import choices
from cnnspec.train.backend import Step
from cnnspec.verify.plan import plan
from cnnspec.verify.sample import sample
from cnnspec.verify.training import training_checks

pytest.importorskip("torch")
pytest.importorskip("keras")

slow = pytest.mark.slow
UNDECAYED = ["bias", "norm", "prelu"]
OPTIMIZERS = {
    "sgd": {"sgd": 0.1},
    "momentum": {"sgd": 0.1, "momentum": 0.9},
    "nesterov": {"sgd": 0.1, "momentum": 0.9, "nesterov": True},
    "sgd l2": {"sgd": 0.1, "momentum": 0.9, "l2": 0.01, "exclude": UNDECAYED},
    "sgd decoupled": {"sgd": 0.1, "momentum": 0.9, "decoupled_weight_decay": 0.01, "exclude": ["norm"]},
    "adam": {"adam": 0.01},
    "adam l2": {"adam": 0.01, "l2": 0.01, "exclude": ["bias"]},
    "adam decoupled": {"adam": 0.01, "decoupled_weight_decay": 0.1},
    "amsgrad": {"adam": 0.01, "betas": [0.8, 0.9], "epsilon": 1e-3, "amsgrad": True},
    "adamw": {"adamw": 0.01, "weight_decay": 0.1, "exclude": UNDECAYED},
    "adamw amsgrad": {"adamw": 0.01, "amsgrad": True},
    "rmsprop": {"rmsprop": 0.001},
    "rmsprop momentum": {"rmsprop": 0.001, "rho": 0.9, "momentum": 0.9, "l2": 0.01},
    "rmsprop centered": {"rmsprop": 0.001, "rho": 0.9, "momentum": 0.8, "centered": True, "epsilon": 1e-3},
    "rmsprop decoupled": {"rmsprop": 0.001, "decoupled_weight_decay": 0.1, "exclude": ["prelu"]},
    "adagrad": {"adagrad": 0.01},
    "adagrad accumulator": {"adagrad": 0.1, "initial_accumulator": 0.1, "epsilon": 1e-3, "l2": 0.01},
    "adadelta": {"adadelta": 1.0},
    "adadelta options": {"adadelta": 1.0, "rho": 0.8, "epsilon": 1e-4, "decoupled_weight_decay": 0.01},
    "adamax": {"adamax": 0.01},
    "adamax options": {"adamax": 0.01, "betas": [0.8, 0.9], "epsilon": 1e-2, "l2": 0.01},
    "nadam": {"nadam": 0.01},
    "nadam options": {"nadam": 0.01, "betas": [0.8, 0.9], "momentum_decay": 0.1, "decoupled_weight_decay": 0.1},
}
SCHEDULES = {
    "constant": "constant",
    "constant warm-up": {"constant": {"warmup": 2}},
    "step": {"step": 1, "factor": 0.5},
    "multi_step": {"multi_step": [1, 3], "factor": 0.3},
    "multi_step of many epochs": {"multi_step": [30, 60], "factor": 0.3},
    "exponential": {"exponential": 0.7},
    "exponential by step": {"exponential": {"factor": 0.7, "per": "step"}},
    "polynomial": {"polynomial": {"power": 2, "until": 3}},
    "polynomial by epoch": {"polynomial": {"minimum": 0.01, "per": "epoch"}},
    "cosine": {"cosine": {"warmup": 1}},
    "cosine until": {"cosine": {"until": 2, "minimum": 0.01}},
    "cosine restarts": {"cosine": {"restarts": {"every": 1, "growth": 2, "decay": 0.8}}},
    "one_cycle": "one_cycle",
    "one_cycle linear": {"one_cycle": {"shape": "linear", "rise": 0.4, "initial_divisor": 10}},
    "reduce_on_plateau": {"reduce_on_plateau": {"monitor": "loss", "patience": 1, "factor": 0.3, "min_delta": 10}},
    "plateau cooldown": {"reduce_on_plateau": {"monitor": "loss", "patience": 1, "cooldown": 1, "min_delta": 10}},
}
SECTIONS = {
    "global norm": {"clip": {"global_norm": 0.3}, "optimizer": OPTIMIZERS["sgd l2"]},
    "parameter norm": {"clip": {"parameter_norm": 0.1}, "optimizer": OPTIMIZERS["adam l2"]},
    "clipped values": {"clip": {"value": 0.02}, "optimizer": OPTIMIZERS["sgd decoupled"]},
    "smoothing": {"loss": {"cross_entropy": {"label_smoothing": 0.1}}},
    "class weights": {"loss": {"cross_entropy": {"class_weights": [0.5, 1, 2, 3.3], "label_smoothing": 0.1}}},
    "balanced": {"loss": {"cross_entropy": {"class_weights": "balanced"}}},
    "accumulation": {"gradient_accumulation": 3, "clip": {"global_norm": 0.3}, "optimizer": OPTIMIZERS["momentum"]},
    "accumulated weights": {
        "gradient_accumulation": 2,
        "loss": {"cross_entropy": {"class_weights": "balanced", "label_smoothing": 0.1}},
        "optimizer": OPTIMIZERS["nadam"],
    },
    "ema": {"ema": 0.9, "optimizer": OPTIMIZERS["adam"]},
    "heads": {"heads": True, "optimizer": OPTIMIZERS["momentum"]},
    "heads accumulated": {"heads": True, "gradient_accumulation": 2, "ema": 0.8},
    "16 bits": {"precision": "mixed_bfloat16", "augment": ["flip", {"mixup": 0.2}]},  # neither is on here
}
QUICK = {"sgd l2", "adam", "amsgrad", "adamw", "rmsprop centered", "adagrad", "adadelta", "adamax", "nadam options"}
QUICK |= {"multi_step", "plateau cooldown", "cosine restarts"}
QUICK |= {"global norm", "accumulated weights", "heads accumulated"}


def cases(table):
    """The cases of a table, those that are not quick to be left out by default."""
    return [pytest.param(name, marks=[] if name in QUICK else slow, id=name.replace(" ", "_")) for name in table]


def assert_same(check, per_step):
    """All was compared, and nothing departs; float64 by 1e-8 of its size, whatever the base's own noise."""
    assert not check.error
    assert check.first is None
    assert len(check.comparisons) == check.total == per_step
    if check.precision == "float64":
        assert max(c.difference / c.scale for c in check.comparisons) <= 1e-8


PARAMETERS = 1 + 4 + 1 + 2 + 2  # of the tiny network: convolution, norm and its statistics, slopes, dense layers


def test_every_optimizer_and_schedule_is_among_the_cases():
    assert {next(iter(options)) for options in OPTIMIZERS.values()} == set(choices(Optimizer.__origin__))
    names = {options if isinstance(options, str) else next(iter(options)) for options in SCHEDULES.values()}
    assert names == set(choices(Schedule.__origin__))


@pytest.mark.parametrize("name", cases(OPTIMIZERS))
def test_every_optimizer_under_a_schedule(name, tmp_path):
    check, rates = train_both(tmp_path, optimizer=OPTIMIZERS[name], schedule=SCHEDULES["cosine"])
    assert_same(check, 20 * (1 + PARAMETERS))
    assert len(set(rates)) >= 15


@pytest.mark.parametrize("name", cases(SCHEDULES))
def test_every_schedule_with_momentum(name, tmp_path):
    epochs = 90 if "many" in name else 4
    check, rates = train_both(tmp_path, optimizer=OPTIMIZERS["nesterov"], schedule=SCHEDULES[name], epochs=epochs)
    assert_same(check, 20 * (1 + PARAMETERS))
    assert len(set(rates)) > 1 or name == "constant"


@pytest.mark.parametrize("name", cases(SECTIONS))
def test_all_else_that_a_recipe_says_of_a_step(name, tmp_path):
    sections = {"schedule": {"step": 1, "factor": 0.5}} | SECTIONS[name]
    check, _ = train_both(tmp_path, **sections)
    parameters = PARAMETERS + (2 if "heads" in sections else 0)
    assert_same(check, 20 * (1 + parameters * (2 if "ema" in sections else 1)))


@slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_in_float32_too(name, tmp_path):
    check, _ = train_both(tmp_path, computed_in="float32", optimizer=OPTIMIZERS[name], schedule=SCHEDULES["step"])
    assert_same(check, 20 * (1 + PARAMETERS))
    first = check.comparisons[0]
    assert (first.name, first.step) == ("loss", 1)
    assert first.difference <= 2e-5 * first.scale


@slow
@pytest.mark.parametrize("optimizer", [{"sgd": 0.01, "momentum": 0.9}, {"adam": 0.001}], ids=["sgd", "adam"])
def test_resnet18(optimizer, tmp_path):
    recipe = {"optimizer": optimizer, "schedule": {"cosine": {}}, "epochs": 5, "batch_size": 8}
    path = tmp_path / "net.yaml"
    path.write_text(yaml.safe_dump({"cnnspec": 1, "name": "net", "extends": "resnet18", "train": recipe}))
    result = cnnspec.load(str(path), params={"input.size": 32}).verify(backends=["keras", "torch"], train_steps=20)
    double, single = (check for check in result.checks if check.what == "training")
    assert [double.precision, single.precision] == ["float64", "float32"]
    assert_same(double, double.total)
    assert_same(single, single.total)


# ---- derivatives that jump


class Edges:
    """Each weight of a layer takes a step of `JUMP` once, where it has come below an edge.

    That is four roundings of float32 under where it starts: one of these does not get there, ten do. `moved` is how far
    the first weight goes in any case, as if other roundings had put it across, and `scaled` how far all others go.
    """

    KEY, JUMP = "fc1.weight", 0.1
    running_variance = "biased"

    def __init__(self, name, weights, moved=0.0, scaled=1.0):
        self.name, self.moved, self.scaled = name, moved, scaled
        self.edges = np.abs(weights[self.KEY]) * (1 - 4 * np.finfo("float32").eps)

    def trajectory(self, graph, weights, recipe, batches, precision, steps_per_epoch):
        arrays = {key: np.asarray(value, precision) for key, value in weights.items()}
        step = self.JUMP * (np.abs(arrays[self.KEY]) < self.edges)
        step.flat[0] += self.moved
        later = {key: value * self.scaled for key, value in arrays.items()}
        later[self.KEY] = (arrays[self.KEY] + step).astype(precision)
        for after in (arrays, *(later for _ in batches[1:])):
            yield Step(1.0, after, 0.1)


@pytest.mark.parametrize(
    ("moved", "scaled", "agrees"), [(0.0, 1.0, True), (0.9, 1.0, True), (1.1, 1.0, False), (0.0, 6.0, False)]
)
def test_a_derivative_that_jumps_is_measured_by_jumps(moved, scaled, agrees, tmp_path):
    """A right backend may be across an edge where the base, and the base a rounding aside, are not: ten jumps are
    allowed in that layer, and as such a part in others, but no more."""
    net = tiny_net(tmp_path)
    made = plan(net.recipe, True, net.graph, 4)
    weights = sample(net.graph, backends()["reference"].load().apply, 0, None).weights
    weights = {key: np.asarray(value, np.float32) for key, value in weights.items()}
    other, base = Edges("other", weights, moved, scaled), Edges("base", weights)
    (single,) = training_checks([other, base], made, net.graph, weights, 0, ["float32"])
    assert single.agrees is agrees
    assert agrees or (single.first.step, single.first.name == Edges.KEY) == (2, moved > 0)
    (double,) = training_checks([other, base], made, net.graph, weights, 0, ["float64"])
    assert double.agrees is (moved == 0 and scaled == 1)  # there nothing jumps, and nothing is allowed


# ---- every reconciliation, switched off in Keras's text

STEP = {"schedule": {"step": 1, "factor": 0.5}}
MUTATIONS = {
    # name: (recipe, text, what replaces it, why that is a difference)
    "momentum": (
        {"optimizer": OPTIMIZERS["momentum"]}, r"\bSgd\(LEARNING", "keras.optimizers.SGD(LEARNING",
        "Keras has the rate inside of the velocity, where an old one stays",
    ),
    "nesterov": (
        {"optimizer": OPTIMIZERS["nesterov"]}, r"\bSgd\(LEARNING", "keras.optimizers.SGD(LEARNING", "the same"),
    "nesterov off": (
        {"optimizer": OPTIMIZERS["nesterov"]}, r", nesterov=True|gradient \+ self.momentum \* velocity",
        lambda m: "" if "True" in m[0] else "velocity", "the gradient is not looked ahead",
    ),
    "momentum rounded": (
        {"optimizer": OPTIMIZERS["momentum"]}, r"self\.momentum \* velocity",
        "float(np.float32(self.momentum)) * velocity", "Keras passes momentum through float32",
    ),
    "adam": (
        {"optimizer": OPTIMIZERS["adam"]}, r"\bAdam\(LEARNING", "keras.optimizers.Adam(LEARNING",
        "Keras adds epsilon before the correction of the bias",
    ),
    "adam epsilon": (
        {"optimizer": OPTIMIZERS["adam"]}, r", epsilon=1e-0?8", "", "Keras's default is 1e-7"),
    "beta 1": ({"optimizer": OPTIMIZERS["amsgrad"]}, r", beta_1=0\.8|beta_1=0\.8, ", "", "Keras's default is another"),
    "beta 2": ({"optimizer": OPTIMIZERS["amsgrad"]}, r", beta_2=0\.9|beta_2=0\.9, ", "", "Keras's default is another"),
    "amsgrad off": (
        {"optimizer": OPTIMIZERS["amsgrad"]}, r"\n +v = largest", "", "the largest is not used"),
    "adam step": (
        {"optimizer": OPTIMIZERS["adam"]}, r"self\.iterations \+ 1", "self.iterations + 2", "steps count from 1"),
    "adamw decay": (
        {"optimizer": OPTIMIZERS["adamw"]}, r"weight_decay=0\.1", "weight_decay=0.004", "Keras's default is another"),
    "adamw scope": (
        {"optimizer": OPTIMIZERS["adamw"]}, r"exclude_from_weight_decay\(kept\)", "exclude_from_weight_decay([])",
        "Keras has all variables decay",
    ),
    "rmsprop": (
        {"optimizer": OPTIMIZERS["rmsprop"]}, r"\bRmsProp\(LEARNING", "keras.optimizers.RMSprop(LEARNING",
        "Keras has epsilon inside of the root",
    ),
    "rmsprop momentum": (
        {"optimizer": OPTIMIZERS["rmsprop momentum"]}, r", RmsProp\)", ", keras.optimizers.RMSprop)",
        "Keras has the rate inside of the momentum",
    ),
    "rmsprop rho": ({"optimizer": OPTIMIZERS["rmsprop"]}, r"rho=0\.99, |, rho=0\.99", "", "Keras's default is 0.9"),
    "centered off": (
        {"optimizer": OPTIMIZERS["rmsprop centered"]}, r"mean - ops\.square\(average\)", "mean", "no mean is taken off"),
    "adagrad": (
        {"optimizer": OPTIMIZERS["adagrad accumulator"]}, r", Adagrad\)", ", keras.optimizers.Adagrad)",
        "Keras has epsilon inside of the root",
    ),
    "adagrad accumulator": (
        {"optimizer": OPTIMIZERS["adagrad"]}, r"initial_accumulator_value=0\.0, |, initial_accumulator_value=0\.0", "",
        "Keras starts from 0.1",
    ),
    "adadelta rho": ({"optimizer": OPTIMIZERS["adadelta"]}, r"rho=0\.9, |, rho=0\.9", "", "Keras's default is 0.95"),
    "adadelta epsilon": ({"optimizer": OPTIMIZERS["adadelta"]}, r", epsilon=1e-0?6", "", "Keras's default is 1e-7"),
    "adamax": (
        {"optimizer": OPTIMIZERS["adamax"]}, r"\bAdamax\(LEARNING", "keras.optimizers.Adamax(LEARNING",
        "Keras adds epsilon to the largest, not to the gradients",
    ),
    "nadam": (
        {"optimizer": OPTIMIZERS["nadam"]}, r", ?Nadam\)|\(Nadam\)",
        lambda m: m[0].replace("Nadam", "keras.optimizers.Nadam"), "Keras has momentum grow by 0.96^t",
    ),
    "nadam decay": (
        {"optimizer": OPTIMIZERS["nadam"]}, r"momentum_decay = 0\.004", "momentum_decay = 1.0", "the same, alone"),
    "l2 factor": ({"optimizer": OPTIMIZERS["sgd l2"]}, r"\bl2 = 0\.01", "l2 = 0.02", "that of Keras's regulariser"),
    "l2 scope": (
        {"optimizer": OPTIMIZERS["sgd l2"]}, r"exclude_from_weight_decay\(kept\)", "exclude_from_weight_decay([])",
        "biases, norms and slopes are excluded",
    ),
    "l2 slopes": (
        {"optimizer": OPTIMIZERS["sgd l2"]}, r', "alpha"\)|"alpha", ', lambda m: ")" if m[0][-1] == ")" else "",
        "slopes alone decay",
    ),
    "l2 before the clip": (
        SECTIONS["parameter norm"], r"ClipParameterNorm, L2", "L2, ClipParameterNorm",
        "Keras's regulariser is in the gradient that is clipped",
    ),
    "decoupled for l2": (
        {"optimizer": OPTIMIZERS["adam l2"]}, r"(?s)L2, Adam(.*)\bOptimizer\(LEARNING_RATE",
        r"Adam\1Optimizer(LEARNING_RATE, weight_decay=0.01", "Keras's weight_decay goes beside the gradient",
    ),
    "clip each": (
        SECTIONS["global norm"], r"(?s)ClipGlobalNorm, (L2.*)\bOptimizer\(LEARNING_RATE",
        r"\1Optimizer(LEARNING_RATE, clipnorm=0.3", "Keras's clipnorm is that of each variable",
    ),
    "clip all": (
        SECTIONS["parameter norm"], r"(?s)ClipParameterNorm, (L2.*)\bOptimizer\(LEARNING_RATE",
        r"\1Optimizer(LEARNING_RATE, global_clipnorm=0.1", "all together are clipped",
    ),
    "clip without 1e-6": (
        SECTIONS["global norm"], r"\(norm \+ 1e-0?6\)", "norm", "PyTorch adds it to the norm; Keras does not"),
    "clip value off": (SECTIONS["clipped values"], r"ClipValue, ", "", "nothing is cut"),
    "table a step late": (
        {"optimizer": {"sgd": 0.1}}, r"    return rates\n", "    return rates[:1] + rates[:-1]\n",
        "a step has the rate of the one before",
    ),
    "milestones a step late": (
        {"schedule": {"multi_step": [1, 3]}}, r"time >= milestone", "time > milestone",
        "Keras's piecewise constant switches behind its boundary",
    ),
    "cosine climbs": (
        {"schedule": SCHEDULES["cosine until"]}, r"min\((\(time - start\) / \(end - start\)), 1\.0\)", r"\1",
        "PyTorch's climbs again; ours stays at the minimum",
    ),
    "warm-up off": ({"schedule": {"cosine": {"warmup": 2}}}, r" \* warm_up\(.*\)\)", ")", "the first rates are whole"),
    "patience": (
        {"schedule": SCHEDULES["reduce_on_plateau"]}, r"waited >= self\.patience", "waited > self.patience",
        "PyTorch counts one epoch more",
    ),
    "smoothing off": (
        SECTIONS["smoothing"], r", label_smoothing=0\.1", "", "sparse cross-entropy has none"),
    "weighted mean": (
        SECTIONS["class weights"], r"return losses \* (.*)\n", r"return losses * \1 / ops.mean(\1)\n",
        "PyTorch's weights divide by their sum",
    ),
    "ema momentum": (SECTIONS["ema"], r"ema_momentum=0\.9", "ema_momentum=0.99", "Keras's default"),
    "summed parts": (SECTIONS["accumulation"], r"share = len\(images\) / total", "share = 1.0", "a sum, no mean"),
    "head's weight": ({"heads": True}, r"weights = \[1\.0, 0\.3\]", "weights = [1.0, 1.0]", "Keras's default"),
    "norm's momentum": ({}, r"momentum=0\.9\b", "momentum=0.99", "Keras's default"),
    "norm's epsilon": ({}, r"epsilon=1e-0?5", "epsilon=1e-3", "Keras's default"),
}  # fmt: skip
QUICK_MUTATIONS = {"momentum", "adam", "rmsprop", "adagrad accumulator", "nadam", "l2 factor", "l2 before the clip",
                   "table a step late", "ema momentum", "summed parts", "norm's momentum", "clip each"}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK_MUTATIONS else slow, id=n.replace(" ", "_")) for n in MUTATIONS]
)
def test_a_reconciliation_that_is_switched_off_is_found(name, tmp_path, monkeypatch):
    recipe, old, new, why = MUTATIONS[name]
    counted = change_text(monkeypatch, old, new)
    check, _ = train_both(tmp_path, 8, **(STEP | recipe))
    assert sum(counted) >= 1, f"{old} is not in the text"
    assert not check.error
    assert not check.agrees, why
    assert check.first.difference > 1e-8 * check.first.scale


def test_the_running_variance_is_corrected_for(tmp_path, monkeypatch):
    monkeypatch.setattr("cnnspec.backends.torch.Torch.running_variance", "biased")
    check, _ = train_both(tmp_path, 2)
    assert {c.name for c in check.comparisons if not c.agrees} == {"c1.bn.running_var"}
    n = 6 * 6 * 6
    assert check.first.difference < 2 * check.first.scale / n
