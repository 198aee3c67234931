"""What is said of training that departs, by backends that train as they are told to: no framework is needed."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import cnnspec
from cnnspec import SpecError
from cnnspec.backends.reference import BACKEND as REFERENCE
from cnnspec.cli import main
from cnnspec.lower.backend import MissingDependency
from cnnspec.train.backend import Step, TrainingBackend
from cnnspec.verify.plan import plan

SPEC = """\
cnnspec: 1
name: small
input: {channels: 1, size: 6}
layers:
  - {conv: 3, kernel: 3, bias: false, norm: batch_norm, name: stem}
  - flatten
  - {dense: 4, name: fc}
"""
TRAIN = "train: {optimizer: {sgd: 0.1}, epochs: 90, batch_size: 6, schedule: {multi_step: [30, 60]}, ema: 0.9}\n"
KEYS = 5 + 2
LINES = {"stem.conv.weight": 5, "stem.bn.running_mean": 5, "fc.bias": 7, "loss": 7}


class Trainer:
    """Each step takes a hundredth off every weight; `change` has what it makes on its way: of a step, by its name."""

    extra, packages, kinds, precisions = "fake", ("numpy",), REFERENCE.kinds, ("float64", "float32")
    weights_suffix, running_variance = ".fake", "biased"

    def __init__(self, name, change=lambda step, name, value: value):
        self.name, self.change, self.asked = name, change, []

    def load(self):
        return self

    def runner(self, graph, weights, precision):
        nodes = [(n.path, name, p) for n in graph.nodes for name, p in n.params.items() if p.trainable]
        ones = {f"{path}.{name}": np.ones(param.shape) for path, name, param in nodes}
        return SimpleNamespace(
            outputs=REFERENCE.runner(graph, weights, precision).outputs, gradients=lambda images, cotangents: ones
        )

    def source(self, program): ...
    def build(self, program, weights=None): ...
    def train_source(self, program, recipe): ...
    def write_weights(self, graph, weights, path): ...
    def read_weights(self, graph, path): ...

    def trajectory(self, graph, weights, recipe, batches, precision, steps_per_epoch):
        self.asked.append(SimpleNamespace(recipe=recipe, batches=batches, steps_per_epoch=steps_per_epoch))
        arrays = {key: np.asarray(value, precision) for key, value in weights.items()}
        for step in range(1, len(batches) + 1):
            arrays = {key: value * np.asarray(0.99, precision) for key, value in arrays.items()}
            changed = {key: self.change(step, key, value.copy()) for key, value in arrays.items()}
            averages = {key: self.change(step, f"average of {key}", value.copy()) for key, value in arrays.items()}
            yield Step(self.change(step, "loss", 2.0), changed, 0.1, averages if recipe.ema else None)


def at(step, name, change):
    return lambda now, what, value: change(value) if (now, what) == (step, name) else value


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SPEC + TRAIN)
    return "small.yaml"


def training(result):
    return [check for check in result.checks if check.what == "training"]


def test_the_same_training_agrees(spec, install):
    assert isinstance(Trainer("one"), TrainingBackend)
    install(Trainer("one"), Trainer("two"))
    result = cnnspec.load(spec).verify(train_steps=20)
    assert result.agrees
    total = 20 * (1 + 2 * KEYS)
    assert [(c.backend, c.against, c.precision, len(c.comparisons), c.total) for c in training(result)] == [
        ("one", "two", "float64", total, total), ("one", "two", "float32", total, total),
    ]  # fmt: skip
    assert cnnspec.load(spec).verify().training is None


@pytest.mark.parametrize("step", [1, 7, 20])
@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_first_step_and_parameter_that_departs_are_named(name, step, precision, spec, install):
    def change(now, what, value):
        return value * 1.01 if now >= step and what == name else value

    trainer = Trainer("bad", change)
    trainer.precisions = (precision,)
    install(trainer, Trainer("good"))
    result = cnnspec.load(spec).verify(train_steps=20)
    check = next(check for check in training(result) if check.precision == precision)
    assert (check.first.step, check.first.name) == (step, name)
    message = next(d for d in result.diagnostics() if precision in d.message)
    where = f"the loss of step {step}" if name == "loss" else f"`{name}` after step {step}"
    assert message.message.startswith(f"bad in {precision} departs from good at {where}: the largest difference is ")
    assert (message.span.source.name, message.span.line) == ("small.yaml", LINES[name])


def test_averages_are_compared(spec, install):
    install(Trainer("bad", at(2, "average of fc.weight", lambda value: value + 0.1)), Trainer("good"))
    result = cnnspec.load(spec).verify(train_steps=3)
    assert "at the average of `fc.weight` after step 2: " in result.diagnostics()[0].message


@pytest.mark.parametrize("part", [2e-9, 5e-8])
def test_float64_must_agree_to_1e_8(part, spec, install):
    install(Trainer("one", at(2, "fc.weight", lambda value: value * (1 + part))), Trainer("two"))
    checks = training(cnnspec.load(spec).verify(train_steps=3))
    assert [check.agrees for check in checks] == [part < 1e-8, True]


@pytest.mark.parametrize(
    ("step", "part", "agrees"), [(1, 1e-5, True), (1, 1e-4, False), (2, 5e-4, True), (2, 2e-3, False)]
)
def test_float32_has_more_room_after_the_first_step(step, part, agrees, spec, install):
    change = at(step, "loss", lambda loss: loss * (1 + part))
    install(Trainer("one", change), Trainer("two"))
    assert training(cnnspec.load(spec).verify(train_steps=3))[1].agrees is agrees


def test_training_that_departs_from_itself_is_the_measure(spec, install):
    """From weights that are a rounding off, this one comes to others by 1e-5."""

    class Chaotic(Trainer):
        def trajectory(self, *given):
            aside = len(self.asked) % 2
            for step in super().trajectory(*given):
                yield step._replace(loss=step.loss * (1 + 1e-5 * aside))

    for part, agrees in ((5e-5, True), (5e-4, False)):
        install(Trainer("one", at(2, "loss", lambda loss, part=part: loss * (1 + part))), Chaotic("two"))
        assert training(cnnspec.load(spec).verify(train_steps=3))[0].agrees is agrees


def test_what_is_not_finite_agrees_with_nothing(spec, install):
    lost = at(2, "loss", lambda loss: np.nan)
    install(Trainer("one", lost), Trainer("two"))
    assert training(cnnspec.load(spec).verify(train_steps=3))[0].first.step == 2
    install(Trainer("one", lost), Trainer("two", lost))
    check = training(cnnspec.load(spec).verify(train_steps=3))[0]
    assert "a lower rate may help" in check.first.problem
    assert len(check.comparisons) == 2 * (1 + 2 * KEYS)


def test_a_backend_that_fails_is_named(spec, install):
    def fall(step, name, value):
        raise ZeroDivisionError("by nought")

    for pair in ((Trainer("bad", fall), Trainer("good")), (Trainer("a"), Trainer("bad", fall))):
        install(*pair)
        assert training(cnnspec.load(spec).verify(train_steps=3))[0].error == "fails with ZeroDivisionError: by nought"
        assert training(cnnspec.load(spec).verify(train_steps=3))[0].backend == "bad"


@pytest.mark.parametrize("biased", ["one", "two", "neither"])
def test_running_variances_are_corrected_for(biased, spec, install):
    """An unbiased one moves n/(n − 1) times as far, in steps that keep 0.9."""
    n = 6 * 6 * 6

    class Norms(Trainer):
        def trajectory(self, graph, weights, *given):
            value = first = np.asarray(weights["stem.bn.running_var"], np.float64)
            factor = n / (n - 1) if self.running_variance == "unbiased" else 1
            for step in super().trajectory(graph, weights, *given):
                value = 0.9 * value + 0.1 * factor * np.arange(1, 4)
                yield step._replace(weights=step.weights | {"stem.bn.running_var": value}, averages=None)
            assert not np.allclose(value, first)

    one, two = Norms("one"), Norms("two")
    one.running_variance = "biased" if biased == "one" else "unbiased"
    two.running_variance = "biased" if biased == "two" else "unbiased"
    install(one, two)
    check = training(cnnspec.load(spec).verify(train_steps=5))[0]
    assert check.error == ""
    assert all(c.difference <= 1e-13 for c in check.comparisons)


def test_what_is_trained(spec, install):
    install(Trainer("one"), two := Trainer("two"))
    result = cnnspec.load(spec).verify(train_steps=20)
    asked = two.asked[0]
    assert (len(asked.batches), asked.steps_per_epoch, asked.recipe.epochs) == (20, 2, 10)
    assert asked.recipe.schedule.milestones == [3, 7]
    images, classes = asked.batches[0]
    assert (images.shape, classes.dtype, asked.recipe.batch_size) == ((6, 1, 6, 6), np.int64, 6)
    assert {int(c) for _, labels in asked.batches for c in labels} == {0, 1, 2, 3}
    assert not np.array_equal(images, asked.batches[1][0])
    text = result.to_text()
    assert "training: 20 steps of 6 images, 2 an epoch, by the spec's recipe" in text
    assert "times of its schedule are those of 10 epochs in place of 90" in text
    assert "no dropout, no augmentation; running variances corrected for n/(n − 1)" in text


def test_a_spec_without_a_recipe_has_the_default_one(tmp_path, install):
    install(Trainer("one"), Trainer("two"))
    (tmp_path / "bare.yaml").write_text(SPEC)
    result = cnnspec.load(tmp_path / "bare.yaml").verify(train_steps=4)
    assert "by the recipe standard, as the spec has none" in result.to_text()
    assert result.to_dict()["training"]["default"] is True
    named = cnnspec.load(tmp_path / "bare.yaml").verify(train_steps=4, recipe="mnist_mlp")
    assert (named.training.recipe.name, named.to_dict()["training"]["default"]) == ("mnist_mlp", False)


def test_what_has_no_classes_is_not_trained(tmp_path, install):
    install(Trainer("one"), Trainer("two"))
    (tmp_path / "maps.yaml").write_text(SPEC.partition("  - flatten")[0] + TRAIN)
    with pytest.raises(SpecError, match="one output for each class"):
        cnnspec.load(tmp_path / "maps.yaml").verify(train_steps=4)


@pytest.mark.parametrize(
    ("schedule", "shrunk"),
    [
        ({"step": 30}, {"every": 3}),
        ({"cosine": {"warmup": 5, "until": 80}}, {"until": 9}),
        ({"cosine": {"restarts": 10}}, {}),
        ({"polynomial": {"until": 4, "warmup": 3}}, {"until": 1}),
        ({"reduce_on_plateau": {"patience": 10, "cooldown": 20, "monitor": "loss"}}, {"patience": 1, "cooldown": 2}),
    ],
)
def test_times_of_a_schedule_shrink_with_the_epochs(schedule, shrunk, tmp_path):
    text = (
        SPEC + "train: " + json.dumps({"optimizer": {"sgd": 0.1}, "epochs": 90, "batch_size": 6, "schedule": schedule})
    )
    (tmp_path / "net.yaml").write_text(text)
    net = cnnspec.load(tmp_path / "net.yaml")
    made = plan(net.recipe, True, net.graph, 20).recipe.schedule
    for name, value in shrunk.items():
        assert getattr(made, name) == value
    if warmup := net.recipe.schedule.warmup:
        assert made.warmup.epochs == pytest.approx(warmup.epochs / 9)
    if getattr(made, "restarts", None):
        assert made.restarts.every == 1
    assert plan(net.recipe, True, net.graph, 180).recipe.schedule == net.recipe.schedule


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 200])
def test_there_are_as_many_steps_as_asked(steps, spec):
    net = cnnspec.load(spec)
    made = plan(net.recipe, True, net.graph, steps)
    assert made.steps == len(made.batches(net.graph, 0)) == steps
    assert made.recipe.epochs * made.steps_per_epoch >= steps > (made.recipe.epochs - 1) * made.steps_per_epoch


# ---- the command


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        main(["verify", *arguments])
    return done.value.code, *capsys.readouterr()


def test_the_command_ends_with_1_where_training_departs(spec, install, capsys):
    install(Trainer("one"), Trainer("two"))
    code, out, err = run(capsys, spec, "--train-steps", "5")
    assert (code, err) == (0, "")
    assert "training against two" in out
    install(Trainer("one", at(3, "fc.bias", lambda value: value + 1)), Trainer("two"))
    code, _, err = run(capsys, spec, "--train-steps", "5")
    assert code == 1
    assert "one in float64 departs from two at `fc.bias` after step 3" in err
    assert "--> small.yaml:7:" in err
    code, out, _ = run(capsys, spec, "--train-steps", "5", "--format", "json")
    data = json.loads(out)
    check = next(check for check in data["checks"] if check["what"] == "training")
    first = check["first_departing"]
    assert (code, check["against"], first["step"], first["name"], first["path"], first["line"]) == (
        1, "two", 3, "fc.bias", "fc", 7,
    )  # fmt: skip
    assert data["training"] == {
        "recipe": "", "default": False, "steps": 5, "steps_per_epoch": 3, "epochs": 2, "epochs_of_recipe": 90,
        "images": 6, "gradient_accumulation": 1,
    }  # fmt: skip


def test_two_backends_that_train_are_needed(spec, install, capsys):
    absent = Trainer("two")
    absent.packages, absent.extra = ("no_such_package",), "two"
    install(Trainer("one"), absent)
    code, _, err = run(capsys, spec, "--train-steps", "5")
    assert code == 3
    assert "pip install 'cnnspec[two]'" in err
    with pytest.raises(MissingDependency):
        cnnspec.load(spec).verify(train_steps=5)
    code, _, err = run(capsys, spec, "--train-steps", "5", "--backends", "one")
    assert code == 2
    assert "training is compared between two of one, two" in err
    with pytest.raises(ValueError, match="two backends"):
        cnnspec.load(spec).verify(train_steps=5, backends=["one"])
