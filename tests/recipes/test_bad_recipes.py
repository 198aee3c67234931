"""Every mistake in a recipe is reported once, by its slug, at the text that a person would change."""

import pytest

import cnnspec
from cnnspec.diagnostics import render
from cnnspec.diagnostics.catalog import CATALOG

# Sections of a recipe, and what must be reported: (slug, the text under the mark), in the order of the text.
BAD: dict[str, tuple[str, list[tuple[str, str]]]] = {
    # keys and choices
    "section": ("optimiser: adam", [("unknown-key", "optimiser")]),
    "choice alone": ("optimizer: adamm", [("unknown-name", "adamm")]),
    "choice with options": ("optimizer: {sgdd: 0.1, momentum: 0.9}", [("unknown-name", "sgdd")]),
    "choice in a list": ("augment: [flip, {rotat: 10}]", [("unknown-name", "rotat")]),
    "metric": ("metrics: [accuracy, f1]", [("unknown-name", "f1")]),
    "only choice": ("loss: {focal: 2}", [("unknown-name", "focal")]),
    "initializer": ("initializers: {conv: kaiming_normal}", [("unknown-name", "kaiming_normal")]),
    "initializer of a layer": (
        "initializers: {layers: {fc: {weight: he_norm}}}",
        [("unknown-name", "he_norm")],
    ),
    "kind of weights": ("initializers: {convolution: zeros}", [("unknown-key", "convolution")]),
    "no choice": ("optimizer: {}", [("bad-value", "{}")]),
    "number for a choice": ("optimizer: 0.1", [("bad-value", "0.1")]),
    "list for a choice": ("schedule: [30, 60]", [("bad-value", "[30, 60]")]),
    "choice for a list": ("metrics: accuracy", [("bad-value", "accuracy")]),
    "mapping for a list": (
        "augment: {flip: horizontal, rotate: 10}",
        [("bad-value", "{flip: horizontal, rotate: 10}")],
    ),
    "two choices": ("augment: [{flip: vertical, rotate: 10}]", [("two-kinds", "rotate")]),
    # options
    "option inside": ("optimizer: {sgd: {learning_rate: 0.1, lr: 0.2}}", [("unknown-key", "lr")]),
    "option beside": ("optimizer: {sgd: 0.1, momentun: 0.9}", [("unknown-key", "momentun")]),
    "option of another choice": ("optimizer: {sgd: 0.1, betas: [0.9, 0.99]}", [("unknown-key", "betas")]),
    "option inside of an option": ("schedule: {step: 3, warmup: {epoch: 2}}", [("unknown-key", "epoch")]),
    "option of a section": ("early_stop: {patience: 3, mode: min}", [("unknown-key", "mode")]),
    "option twice": (
        "optimizer: {sgd: {momentum: 0.9, learning_rate: 1}, momentum: 0.8}",
        [("duplicate-key", "momentum")],
    ),
    "main option twice": ("optimizer: {sgd: 0.1, learning_rate: 0.2}", [("duplicate-key", "learning_rate")]),
    "value of its own": ("schedule: {cosine: 10}", [("bad-value", "10")]),
    "missing, by name": ("optimizer: adam", [("missing-key", "adam")]),
    "missing, in a mapping": ("optimizer: {sgd: {momentum: 0.9}}", [("missing-key", "sgd")]),
    "missing, in a list": ("augment: [flip, rotate]", [("missing-key", "rotate")]),
    "missing, beside": ("optimizer: {sgd: , momentum: 0.9}", [("missing-key", "sgd")]),
    # types and ranges
    "text for a rate": ("optimizer: {sgd: fast}", [("bad-value", "fast")]),
    "rate 0": ("optimizer: {sgd: {learning_rate: 0}}", [("bad-value", "0")]),
    "infinite rate": ("optimizer: {sgd: .inf}", [("bad-value", ".inf")]),
    "momentum 1": ("optimizer: {sgd: 0.1, momentum: 1}", [("bad-value", "1")]),
    "beta 1": ("optimizer: {adam: 0.1, betas: [0.9, 1]}", [("bad-value", "[0.9, 1]")]),
    "one beta": ("optimizer: {adam: 0.1, betas: 0.9}", [("bad-value", "0.9")]),
    "negative decay": ("optimizer: {adamw: 0.1, weight_decay: -1}", [("bad-value", "-1")]),
    "what is excluded": ("optimizer: {sgd: 0.1, l2: 1e-4, exclude: [biases]}", [("bad-value", "biases")]),
    "yes": ("optimizer: {sgd: 0.1, momentum: 0.9, nesterov: yes}", [("bad-value", "yes")]),
    "epochs 0": ("epochs: 0", [("bad-value", "0")]),
    "epochs 2.5": ("epochs: 2.5", [("bad-value", "2.5")]),
    "quoted number": ("batch_size: '32'", [("bad-value", "'32'")]),
    "true for a number": ("gradient_accumulation: true", [("bad-value", "true")]),
    "split 0": ("split: 0", [("bad-value", "0")]),
    "split 1.0": ("split: {validation: 1.0}", [("bad-value", "1.0")]),
    "fold beyond the last": ("split: {folds: 5, fold: 6}", [("recipe-conflict", "6")]),
    "fold 0": ("split: {folds: 5, fold: 0}", [("bad-value", "0")]),
    "one fold": ("split: {folds: 1, fold: 1}", [("bad-value", "1")]),
    "no fold": ("split: {folds: 5}", [("missing-key", "split")]),
    "no folds": ("split: {fold: 5}", [("missing-key", "split")]),
    "share of a fold": ("split: {folds: 5, fold: 1, validation: 0.1}", [("unknown-key", "validation")]),
    "split 1.5": ("split: 1.5", [("bad-value", "1.5")]),
    "precision": ("precision: float16", [("bad-value", "float16")]),
    "direction": ("augment: [{flip: both}]", [("bad-value", "both")]),
    "zoom 0": ("augment: [{zoom: [0, 1]}]", [("bad-value", "[0, 1]")]),
    "degrees": ("augment: [{rotate: 270}]", [("bad-value", "270")]),
    "shift in pixels": ("augment: [{shift: 4}]", [("bad-value", "4")]),
    "area": ("augment: [{random_resized_crop: [0.5, 2]}]", [("bad-value", "[0.5, 2]")]),
    "fill": ("augment: [{rotate: 10, fill: 300}]", [("bad-value", "300")]),
    "probability": ("augment: [{hue: 10, probability: 1.5}]", [("bad-value", "1.5")]),
    "smoothing": ("loss: {cross_entropy: {label_smoothing: 1}}", [("bad-value", "1")]),
    "class weights": ("loss: {cross_entropy: {class_weights: equal}}", [("bad-value", "equal")]),
    "ema": ("ema: 1", [("bad-value", "1")]),
    "keep": ("checkpoints: {keep: none}", [("bad-value", "none")]),
    "keep nothing": ("checkpoints: {keep: 0}", [("bad-value", "0")]),
    "no milestones": ("schedule: {multi_step: []}", [("bad-value", "[]")]),
    "milestone": ("schedule: {multi_step: [3, six]}", [("bad-value", "six")]),
    "per": ("schedule: {exponential: 0.9, per: batch}", [("bad-value", "batch")]),
    "empty path": ("data: {npz: ''}", [("bad-value", "''")]),
    "variable": ("optimizer: {sgd: $lr}", [("unknown-variable", "$lr")]),
    "value of an expression": ("epochs: $rate", [("bad-value", "$rate")]),
    # what does not fit together
    "nesterov": ("optimizer: {sgd: 0.1, nesterov: true}", [("recipe-conflict", "nesterov")]),
    "nesterov inside": (
        "optimizer: {sgd: {learning_rate: 0.1, nesterov: true}}",
        [("recipe-conflict", "nesterov")],
    ),
    "two decays": (
        "optimizer: {sgd: 0.1, l2: 1e-4, decoupled_weight_decay: 0.1}",
        [("recipe-conflict", "l2")],
    ),
    "exclude": ("optimizer: {sgd: 0.1, exclude: [bias]}", [("recipe-conflict", "exclude")]),
    "milestones fall": ("schedule: {multi_step: [6, 3]}", [("recipe-conflict", "3")]),
    "milestones repeat": ("schedule: {multi_step: {milestones: [3, 3]}}", [("recipe-conflict", "3")]),
    "milestone at the end": ("schedule: {multi_step: [3, 10]}\nepochs: 10", [("recipe-conflict", "10")]),
    "step": ("schedule: {step: {every: 30}}\nepochs: 20", [("recipe-conflict", "30")]),
    "warm-up": ("schedule: {constant: {warmup: 12}}\nepochs: 12", [("recipe-conflict", "12")]),
    "warm-up beside": ("schedule: {step: 3, warmup: {epochs: 20}}", [("recipe-conflict", "20")]),
    "warm-up at 0": (
        "schedule: {constant: {warmup: {epochs: 2, shape: constant}}}",
        [("recipe-conflict", "constant")],
    ),
    "until": ("schedule: {cosine: {until: 50}}", [("recipe-conflict", "50")]),
    "until in warm-up": ("schedule: {polynomial: 2, until: 3, warmup: 4}", [("recipe-conflict", "3")]),
    "until and restarts": (
        "schedule: {cosine: {until: 8, restarts: 2}}",
        [("recipe-conflict", "until")],
    ),
    "restarts behind a warm-up": (
        "schedule: {cosine: {warmup: 2, restarts: {every: 28}}}",
        [("recipe-conflict", "28")],
    ),
    "restarts": ("schedule: {cosine: {restarts: {every: 40}}}", [("recipe-conflict", "40")]),
    "late crop": ("augment: [flip, {random_crop: 40}]", [("recipe-conflict", "random_crop")]),
    "two crops": (
        "augment: [{random_crop: 40}, random_resized_crop]",
        [("recipe-conflict", "random_resized_crop")],
    ),
    "early mixup": ("augment: [{mixup: 0.2}, flip]", [("recipe-conflict", "mixup")]),
    "small crop": ("augment: [{random_crop: [24, 40]}]", [("recipe-conflict", "[24, 40]")]),
    "large cutout": ("augment: [{cutout: {size: 32}}]", [("recipe-conflict", "32")]),
    "metric twice": (
        "metrics: [{top_k: 5}, accuracy, {top_k: {k: 5}}]",
        [("recipe-conflict", "{top_k: {k: 5}}")],
    ),
    "monitor of Keras": ("split: 0.1\nearly_stop: {monitor: val_loss}", [("unknown-name", "val_loss")]),
    "monitor without metric": (
        "split: 0.1\ncheckpoints: {best: validation_top_5}",
        [("unknown-name", "validation_top_5")],
    ),
    "monitor of a table": (
        "metrics: [accuracy, per_class]\nearly_stop: {monitor: per_class}",
        [("unknown-name", "per_class")],
    ),
    "monitor of a schedule": (
        "schedule: {reduce_on_plateau: {monitor: error}}",
        [("unknown-name", "error")],
    ),
    "nothing to validate on": (
        "early_stop: {monitor: validation_loss}",
        [("recipe-conflict", "validation_loss")],
    ),
    "nothing to validate on, by default": (
        "schedule: reduce_on_plateau",
        [("recipe-conflict", "reduce_on_plateau")],
    ),
    "matrix for a bias": ("initializers: {bias: orthogonal}", [("recipe-conflict", "orthogonal")]),
    "matrix for a layer's bias": (
        "initializers: {layers: {fc: {bias: {orthogonal: 2}}}}",
        [("recipe-conflict", "{orthogonal: 2}")],
    ),
    # what does not fit the network
    "too few classes": ("metrics: [{top_k: 11}]", [("recipe-conflict", "11")]),
    "too few classes, inside": (
        "metrics: [{top_k: {k: $classes + 1}}]",
        [("recipe-conflict", "$classes + 1")],
    ),
    "class weights for others": (
        "loss: {cross_entropy: {class_weights: [1, 2, 3]}}",
        [("recipe-conflict", "[1, 2, 3]")],
    ),
    "images of other classes": ("data: cifar100", [("recipe-conflict", "cifar100")]),
    "images of other classes, with options": (
        "data: {cifar100: x, fit: pad}",
        [("recipe-conflict", "cifar100")],
    ),
    "batch of 1": ("batch_size: 1", [("recipe-conflict", "1")]),
    "no such layer": ("initializers: {layers: {stam.*: {weight: zeros}}}", [("unmatched-path", "stam.*")]),
    # several at once
    "several": (
        "optimizer: {sgd: 0.1, nesterof: true}\nepochs: many\naugment: [{rotate: 200}, blur]\nclip: 5",
        [
            ("unknown-key", "nesterof"),
            ("bad-value", "many"),
            ("bad-value", "200"),
            ("unknown-name", "blur"),
            ("bad-value", "5"),
        ],
    ),
    "several contradictions": (
        "optimizer: {sgd: 0.1, nesterov: true}\nschedule: {step: 30}\nearly_stop: 3",
        [("recipe-conflict", "nesterov"), ("recipe-conflict", "30"), ("recipe-conflict", "3")],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_located(name, check) -> None:
    sections, expected = BAD[name]
    found = check(sections)
    assert [(d.slug, d.span.text) for d in found] == expected, render.to_text(found)
    for diagnostic in found:
        assert diagnostic.slug in CATALOG
        assert not diagnostic.message.endswith(".")


@pytest.mark.parametrize("step", ["{saturation: 0.2}", "{hue: 10}", "lighting"])
def test_colours_need_colours(step, check) -> None:
    kind = step.strip("{}").partition(":")[0]
    assert check(f"augment: [{step}]", channels=3) == []
    assert [(d.slug, d.span.text) for d in check(f"augment: [{step}]", channels=1)] == [("recipe-conflict", kind)]


# What a person is told to do: (sections, part of the help).
HELP = {
    "typing mistake": ("optimizer: adamm", "did you mean `adam`?"),
    "option": ("optimizer: {sgd: 0.1, momentun: 0.9}", "did you mean `momentum`?"),
    "option of Keras": ("optimizer: {adam: 0.1, beta_1: 0.9}", "`betas` is [beta_1, beta_2]"),
    "option of PyTorch": ("optimizer: {sgd: {learning_rate: 1, lr: 0.1}}", "it is called `learning_rate`"),
    "decay": ("optimizer: {sgd: 0.1, weight_decay: 5e-4}", "`l2` is added to the gradient"),
    "initializer of PyTorch": ("initializers: {dense: xavier_uniform}", "it is called `glorot_uniform`"),
    "option in a section": ("schedule: {cosine: {eta_min: 0.1}}", "it is called `minimum`"),
    "option in an option": (
        "schedule: {cosine: {warmup: {epochs: 1, begin: 0.1}}}",
        "known here: `epochs`, `shape`, `start`",
    ),
    "monitor": ("split: 0.1\nearly_stop: {monitor: val_accuracy}", "did you mean `validation_accuracy`?"),
    "validation": ("early_stop: 3", "`split: 0.1`"),
    "variable": ("epochs: $clases", "did you mean `classes`?"),
    "value of its own": ("schedule: {cosine: 10}", "`cosine: {warmup: …}`"),
    "layer": ("initializers: {layers: {hiden: {bias: ones}}}", "did you mean `hidden`?"),
}


@pytest.mark.parametrize("name", HELP)
def test_help_says_what_to_do(name, check) -> None:
    sections, expected = HELP[name]
    (diagnostic,) = check(sections)
    assert expected in diagnostic.help


def test_the_other_place_of_a_contradiction_is_shown(check) -> None:
    (late,) = check("schedule: {multi_step: [3, 40]}\nepochs: 20")
    assert [label.span.text for label in late.related] == ["20"]
    (decays,) = check("optimizer: {adam: 0.1, decoupled_weight_decay: 0.1, l2: 0.2}")
    assert [label.span.text for label in decays.related] == ["0.1"]


@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
def test_a_network_that_ends_in_probabilities_has_no_loss_for_them(kind, write) -> None:
    path = write("loss: {cross_entropy: {label_smoothing: 0.1}}")
    path.write_text(path.read_text().replace("$classes, name: fc}", f"$classes, name: fc, activation: {kind}}}"))
    (found,) = cnnspec.check(path)
    assert (found.slug, found.path) == ("recipe-conflict", f"fc.{kind}")
    assert f"ends in a {kind} already" in found.message
    assert found.span.text == "{cross_entropy: {label_smoothing: 0.1}}"


def test_a_batch_of_one_is_enough_without_batch_norm_over_one_value(tmp_path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        "cnnspec: 1\nname: net\ninput: {channels: 1, size: 8}\nlayers:\n"
        "  - {conv: 8, kernel: 3, norm: batch_norm}\n  - global_avg_pool\n  - {dense: 10}\n"
        "train: {optimizer: {sgd: 0.1}, epochs: 1, batch_size: 1}\n"
    )
    assert cnnspec.check(path) == []


@pytest.mark.parametrize(
    ("train", "slug", "text"),
    [
        ("[resnet]", "bad-value", "[resnet]"),
        ("resnett", "unknown-recipe", "resnett"),
        ("./missing.yaml", "unknown-recipe", "./missing.yaml"),
        ("{recipe: [vgg]}", "bad-value", "[vgg]"),
        ("{recipe: wgg, epochs: 3}", "unknown-recipe", "wgg"),
        ("{epochs: 3}", "missing-key", "train"),
    ],
)
def test_the_section_itself(train, slug, text, write_train) -> None:
    (found,) = cnnspec.check(write_train(train))
    assert (found.slug, found.span.text) == (slug, text)
