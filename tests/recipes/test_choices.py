"""Every choice of every section is accepted, bare where it may be, and with every option that it has."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

import cnnspec
from cnnspec.spec.recipe.augment import Augmentation
from cnnspec.spec.recipe.data import Data
from cnnspec.spec.recipe.initializer import Initializer
from cnnspec.spec.recipe.model import Clip, Loss, Metric, Recipe
from cnnspec.spec.recipe.optimizer import Adam, Optimizer, Sgd
from cnnspec.spec.recipe.schedule import Cosine, MultiStep, Schedule
from cnnspec.spec.tagged import Tagged, choices

DECAY = {"l2": 5e-4, "exclude": ["bias", "norm", "prelu"]}
APART = {"learning_rate": 0.1, "decoupled_weight_decay": 0.01}
BETAS = {"betas": [0.8, 0.99], "epsilon": 1e-7}
WARMUP = {"warmup": {"epochs": 2, "start": 0.1, "shape": "constant"}}
WARP = {"fill": "reflect", "interpolation": "nearest", "probability": 0.5}
FIT = {"fit": "crop", "channels": "exact"}
PARTS = {"train": "a", "validation": "b", "test": "c", **FIT}

# Section → choice → options that, taken together, are all that it has.
OPTIONS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "optimizer": {
        "sgd": [{"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, **DECAY}, APART],
        "adam": [{"learning_rate": 0.001, "amsgrad": True, **BETAS, **DECAY}, APART],
        "adamw": [{"learning_rate": 1, "weight_decay": 0.05, "amsgrad": True, "exclude": ["norm"], **BETAS}],
        "rmsprop": [
            {"learning_rate": 0.1, "rho": 0.9, "epsilon": 1, "momentum": 0.9, "centered": True, **DECAY},
            APART,
        ],
        "adagrad": [{"learning_rate": 0.1, "initial_accumulator": 0.1, "epsilon": 1e-7, **DECAY}, APART],
        "adadelta": [{"learning_rate": 1, "rho": 0.95, "epsilon": 1e-7, **DECAY}, APART],
        "adamax": [{"learning_rate": 0.002, **BETAS, **DECAY}, APART],
        "nadam": [{"learning_rate": 0.002, "momentum_decay": 0, **BETAS, **DECAY}, APART],
    },
    "schedule": {
        "constant": [WARMUP],
        "step": [{"every": 3, "factor": 0.5, **WARMUP}],
        "multi_step": [{"milestones": [3, 6], "factor": 0.5, **WARMUP}],
        "exponential": [{"factor": 0.9, "per": "step", **WARMUP}],
        "polynomial": [{"power": 2, "minimum": 0.01, "until": 8, "per": "epoch", **WARMUP}],
        "cosine": [
            {"minimum": 0.01, "until": 8, "per": "epoch", **WARMUP},
            {"restarts": {"every": 2, "growth": 2, "decay": 0.5}},
        ],
        "one_cycle": [{"rise": 0.4, "initial_divisor": 10, "final_divisor": 100, "shape": "linear"}],
        "reduce_on_plateau": [
            {
                "monitor": "loss",
                "factor": 0.5,
                "patience": 3,
                "min_delta": 0,
                "cooldown": 1,
                "minimum": 0.01,
                **WARMUP,
            }
        ],
    },
    "augment": {
        "random_crop": [{"shorter_side": [36, 48], "square": True}],
        "random_resized_crop": [{"area": [0.1, 1], "ratio": [0.5, 2]}],
        "pad_and_crop": [{"padding": 4, "fill": 127.5, "probability": 0.5}],
        "flip": [{"direction": "vertical", "probability": 1}],
        "shift": [{"by": [0.1, 0], **WARP}],
        "rotate": [{"degrees": 10, **WARP}],
        "zoom": [{"factor": [0.9, 1.5], **WARP}],
        "shear": [{"degrees": 10, **WARP}],
        "brightness": [{"factor": 0.2, "probability": 0.5}],
        "contrast": [{"factor": 0.2, "probability": 0.5}],
        "saturation": [{"factor": [0, 2], "probability": 0.5}],
        "hue": [{"degrees": 10, "probability": 0.5}],
        "lighting": [{"std": 0.2, "probability": 0.5}],
        "cutout": [{"size": 8, "probability": 0.5}],
        "mixup": [{"alpha": 0.2}],
    },
    "loss": {"cross_entropy": [{"label_smoothing": 0.1, "class_weights": [1, 2, 1, 1, 1, 1, 1, 1, 1, 0.5]}]},
    "metrics": {"accuracy": [{}], "top_k": [{"k": 5}], "per_class": [{}], "confusion_matrix": [{}]},
    "clip": {kind: [{"maximum": 1}] for kind in ("global_norm", "parameter_norm", "value")},
    "data": {
        "sample": [FIT],
        **{kind: [{"folder": "x", **FIT}] for kind in ("mnist", "fashion-mnist", "cifar10", "idx")},
        "cifar100": [{"folder": "x", **FIT}],
        "image_folder": [PARTS],
        "csv": [{"image": "file", "label": "class", **PARTS}],
        "npz": [{"file": "x.npz", "validation": True, **FIT}],
    },
    "initializers": {
        "zeros": [{}],
        "ones": [{}],
        "constant": [{"value": 0.1}],
        "normal": [{"std": 0.01, "mean": 1}],
        "truncated_normal": [{"std": 0.01, "mean": 1}],
        "uniform": [{"limits": [-0.1, 0.2]}],
        "variance_scaling": [{"scale": 2, "mode": "fan_out", "distribution": "uniform"}],
        "orthogonal": [{"gain": 1.4}],
        **{f"{who}_{form}": [{}] for who in ("he", "glorot", "lecun") for form in ("normal", "uniform")},
        "fan_in_uniform": [{}],
    },
}
UNIONS = {
    "optimizer": Optimizer, "schedule": Schedule, "augment": Augmentation, "loss": Loss, "metrics": Metric,
    "clip": Clip, "data": Data, "initializers": Initializer,
}  # fmt: skip


def kinds(section: str) -> dict[str, type[Tagged]]:
    return choices(UNIONS[section].__origin__)


def section_text(section: str, choice: object) -> str:
    """The section with one choice in it; JSON is YAML."""
    text = json.dumps(choice)
    if section in ("augment", "metrics"):
        return f"{section}: [{text}]"
    if section == "initializers":
        return f"initializers: {{conv: {text}, dense: {text}, layers: {{fc: {{weight: {text}}}}}}}"
    extra = "\nsplit: 0.1" if section == "schedule" else ""
    return f"{section}: {text}{extra}"


def made(section: str, recipe: Recipe) -> Tagged:
    found = getattr(recipe, section)
    if section == "initializers":
        return found.conv  # type: ignore[no-any-return]
    return found[0] if isinstance(found, list) else found  # type: ignore[no-any-return]


def bare() -> Iterator[tuple[str, str]]:
    for section in UNIONS:
        for kind, choice in kinds(section).items():
            if not any(field.is_required() for field in choice.model_fields.values()):
                yield section, kind


@pytest.mark.parametrize("section", UNIONS)
def test_the_table_covers_every_choice_and_option(section: str) -> None:
    assert set(OPTIONS[section]) == set(kinds(section))
    for kind, choice in kinds(section).items():
        assert set().union(*OPTIONS[section][kind]) == set(choice.model_fields), kind


@pytest.mark.parametrize(("section", "kind"), list(bare()))
def test_a_choice_is_its_name_alone(section, kind, write) -> None:
    recipe = cnnspec.load(write(section_text(section, kind))).spec.recipe
    assert recipe is not None
    assert type(made(section, recipe)) is kinds(section)[kind]
    assert made(section, recipe) == kinds(section)[kind]()


@pytest.mark.parametrize(
    ("section", "kind", "options"),
    [(section, kind, given) for section in UNIONS for kind, e in OPTIONS[section].items() for given in e],
)
def test_every_option_is_taken(section, kind, options, write) -> None:
    """In a mapping, and, where there is a main option, beside it: both mean the same."""
    recipe = cnnspec.load(write(section_text(section, {kind: options}))).spec.recipe
    assert recipe is not None
    choice = made(section, recipe)
    assert type(choice) is kinds(section)[kind]
    assert choice.model_fields_set == set(options)
    for name, given in options.items():
        got = getattr(choice, name)
        if isinstance(given, dict):
            got = got.model_dump()
        if not (name == "factor" and not isinstance(given, list) and section == "augment"):  # 0.2 is [0.8, 1.2]
            assert (list(got) if isinstance(got, tuple) else got) == given, name
    if choice.main in options:
        beside = {kind: options[choice.main]} | {k: v for k, v in options.items() if k != choice.main}
        other = cnnspec.load(write(section_text(section, beside))).spec.recipe
        assert other is not None
        assert made(section, other) == choice


def test_defaults_of_optimizers_are_those_of_pytorch(load) -> None:
    """The figures of PyTorch's documentation."""
    expected = {
        "sgd": {"momentum": 0, "nesterov": False},
        "adam": {"betas": (0.9, 0.999), "epsilon": 1e-8, "amsgrad": False, "l2": 0},
        "adamw": {"betas": (0.9, 0.999), "epsilon": 1e-8, "weight_decay": 0.01, "amsgrad": False},
        "rmsprop": {"rho": 0.99, "epsilon": 1e-8, "momentum": 0, "centered": False},
        "adagrad": {"initial_accumulator": 0, "epsilon": 1e-10},
        "adadelta": {"rho": 0.9, "epsilon": 1e-6},
        "adamax": {"betas": (0.9, 0.999), "epsilon": 1e-8},
        "nadam": {"betas": (0.9, 0.999), "epsilon": 1e-8, "momentum_decay": 0.004},
    }
    assert set(expected) == set(kinds("optimizer"))
    for kind, defaults in expected.items():
        optimizer = load(f"optimizer: {{{kind}: 0.01}}").optimizer
        assert optimizer.learning_rate == 0.01
        assert {name: getattr(optimizer, name) for name in defaults} == defaults
        assert optimizer.exclude == []


def test_decays_have_one_name_for_every_optimizer(load) -> None:
    adamw = load("optimizer: {adamw: 0.001, weight_decay: 0.05}").optimizer
    assert (adamw.l2, adamw.decoupled_weight_decay) == (0, 0.05)
    sgd = load("optimizer: {sgd: 0.001, l2: 5e-4}").optimizer
    assert (sgd.l2, sgd.decoupled_weight_decay) == (5e-4, 0)


def test_plain_values_stand_for_sections(load) -> None:
    recipe = load("split: 0.2\nema: 0.99\nearly_stop: 3\ncheckpoints: 5\nschedule: {cosine: {warmup: 2, restarts: 3}}")
    assert recipe.split is not None
    assert (recipe.split.validation, recipe.split.stratified, recipe.split.seed) == (0.2, True, 0)
    assert recipe.ema is not None
    assert recipe.ema.decay == 0.99
    assert recipe.early_stop is not None
    assert (recipe.early_stop.patience, recipe.early_stop.monitor) == (3, "validation_loss")
    assert (recipe.checkpoints.every, recipe.checkpoints.keep, recipe.checkpoints.best) == (5, 2, None)
    assert isinstance(recipe.schedule, Cosine)
    assert recipe.schedule.warmup is not None
    assert (recipe.schedule.warmup.epochs, recipe.schedule.warmup.shape) == (2, "linear")
    assert recipe.schedule.restarts is not None
    assert (recipe.schedule.restarts.every, recipe.schedule.restarts.growth) == (3, 1)


def test_one_place_says_which_weights_are_kept_and_which_come_back(load) -> None:
    stop = "split: 0.2\nearly_stop: {monitor: validation_accuracy, min_delta: 0.1"
    for text, files, restored in [
        ("split: 0.2", {}, ""),
        ("split: 0.2\ncheckpoints: {best: loss}", {"best": "loss"}, ""),
        (stop + "}", {"best": "validation_accuracy"}, "best"),
        (stop + ", restore_best: false}", {}, ""),
        (stop + "}\ncheckpoints: {best: validation_accuracy}", {"best": "validation_accuracy"}, "best"),
        (
            stop + "}\ncheckpoints: {best: loss}",
            {"best": "loss", "early_stop": "validation_accuracy"},
            "early_stop",
        ),
        (stop + ", restore_best: false}\ncheckpoints: {best: loss}", {"best": "loss"}, ""),
    ]:
        recipe = load(text)
        assert (recipe.best_files, recipe.restored_file) == (files, restored), text


def test_every_section_is_taken(load) -> None:
    recipe = load(
        """\
name: mine
cite: nowhere
description: a recipe with everything
data: cifar10
split: {validation: 5000, stratified: false, seed: 7}
augment: [{rotate: 10}, flip]
initializers:
  conv: he_uniform
  dense: {normal: 0.01}
  bias: fan_in_uniform
  layers: {fc: {weight: zeros, bias: {constant: -4}}, "stem.*": {weight: ones}}
optimizer: {adam: 0.001}
schedule: {multi_step: [4, 8]}
loss: {cross_entropy: {class_weights: balanced}}
metrics: [accuracy, {top_k: 3}, per_class, confusion_matrix]
epochs: 12
batch_size: 64
gradient_accumulation: 4
clip: {global_norm: 1}
precision: mixed_bfloat16
ema: {decay: 0.999}
early_stop: {monitor: validation_top_3, patience: 4, min_delta: 0.001, restore_best: false}
checkpoints: {every: 2, keep: all, best: validation_accuracy}
seed: 42
"""
    )
    assert recipe.model_fields_set == set(Recipe.model_fields)
    assert isinstance(recipe.optimizer, Adam)
    assert isinstance(recipe.schedule, MultiStep)
    assert recipe.schedule.milestones == [4, 8]
    assert [metric.name for metric in recipe.metrics] == [
        "accuracy",
        "top_3",
        "per_class",
        "confusion_matrix",
    ]
    assert recipe.early_stop is not None
    assert recipe.early_stop.monitor == "validation_top_3"
    assert recipe.initializers.layers["fc"].bias == kinds("initializers")["constant"](value=-4)
    assert recipe.seed == 42


def test_little_needs_to_be_said(load) -> None:
    recipe = load("optimizer: {sgd: 0.1}\nepochs: 3\nbatch_size: 8")
    assert recipe.model_fields_set == {"optimizer", "epochs", "batch_size"}
    assert recipe.optimizer == Sgd(learning_rate=0.1)
    written = {name: getattr(recipe, name).kind for name in ("data", "schedule", "loss")}
    assert written == {"data": "sample", "schedule": "constant", "loss": "cross_entropy"}
    assert [metric.kind for metric in recipe.metrics] == ["accuracy"]
    assert (recipe.split, recipe.augment, recipe.clip, recipe.ema, recipe.early_stop) == (
        None,
        [],
        None,
        None,
        None,
    )
    assert (recipe.precision, recipe.gradient_accumulation, recipe.seed) == ("float32", 1, 0)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{zoom: 0.25}", (0.75, 1.25)),
        ("{zoom: [0.5, 2]}", (0.5, 2)),
        ("{shift: 0.1}", (0.1, 0.1)),
        ("{shift: [0, 0.2]}", (0, 0.2)),
        ("{random_crop: 40}", (40, 40)),
        ("{random_crop: [40, 48]}", (40, 48)),
        ("{random_resized_crop: [0.25, 1]}", (0.25, 1)),
    ],
)
def test_ranges_have_one_form(written, expected, load) -> None:
    step = load(f"augment: [{written}]").augment[0]
    assert getattr(step, step.main) == expected


def test_values_may_be_expressions(load) -> None:
    recipe = load(
        "optimizer: {sgd: $rate / 2}\nmetrics: [{top_k: $classes - 5}]\nepochs: $classes * 3\n"
        "augment: [{zoom: [0.5, $rate + 1]}]"
    )
    assert (recipe.optimizer.learning_rate, recipe.metrics[0].name, recipe.epochs) == (0.05, "top_5", 30)
    assert recipe.augment[0].factor == (0.5, 1.1)
