"""What `verify` finds in backends that are wrong, and that it names where; right ones agree."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import cnnspec
from cnnspec import SpecError
from cnnspec.backends.reference import BACKEND as REFERENCE
from cnnspec.cli import main
from cnnspec.lower.backend import MissingDependency
from cnnspec.verify.run import PRECISIONS
from cnnspec.weights.mapping import Given

SPEC = """\
cnnspec: 1
name: small
input: {channels: 3, size: [9, 8]}
layers:
  - {conv: 4, kernel: 3, norm: batch_norm, activation: relu, name: stem}
  - residual:
      body:
        - {conv: 6, kernel: 3, stride: 2, activation: tanh}
      activation: relu
  - {max_pool: 2, name: pool}
  - flatten
  - {dense: 5, name: fc}
outputs:
  aux: {from: stem, training_only: true, loss_weight: 0.3, layers: [global_avg_pool, {dense: 5}]}
  pooled: {from: pool, layers: [global_max_pool]}
"""
LINES = {"stem.conv": 5, "stem.bn": 5, "stem.relu": 5, "conv": 8, "pool": 10, "fc": 12}


class Fake:
    """A backend that runs the reference layer by layer, and lets `change` have every output on its way."""

    extra, packages, kinds, precisions = "fake", ("numpy",), REFERENCE.kinds, PRECISIONS

    def __init__(self, name="fake", change=lambda path, y: y, show=lambda path: True):
        self.name, self.change, self.show = name, change, show

    def load(self):
        return self

    def runner(self, graph, weights, precision):
        return SimpleNamespace(
            outputs=lambda images: self.outputs(graph.inference(), weights, images, precision),
            gradients=lambda images, cotangents: self.gradients(graph, precision, images, cotangents),
        )

    def outputs(self, graph, weights, images, precision):
        values, shown = {graph.input.index: images.astype(precision)}, {}
        for node in graph.nodes:
            params = {name: weights[f"{node.path}.{name}"].astype(precision) for name in node.params}
            y = REFERENCE.apply(node.canonical(), [values[source.index] for source in node.inputs], params)
            shown[node.path] = self.change(node.path, y)
            values[node.index] = shown[node.path] if shown[node.path].shape == y.shape else y
        return {path: y for path, y in shown.items() if self.show(path)}


class FakeCode(Fake):
    """One that has gradients too: whatever numbers, as the key says them."""

    def __init__(self, name, change=lambda key, y: y):
        super().__init__(name)
        self.change_gradient = change

    def source(self, program): ...

    def build(self, program, weights=None): ...

    def gradients(self, graph, precision, images, cotangents):
        assert precision == "float64"
        assert {path: y.shape for path, y in cotangents.items()} == {
            output.node.path: (len(images), *output.node.shape) for output in graph.outputs
        }
        found = {}
        for node in graph.nodes:
            for name, param in node.params.items():
                if param.trainable:
                    y = np.random.default_rng(len(node.path + name)).normal(size=param.shape)
                    found[f"{node.path}.{name}"] = self.change_gradient(f"{node.path}.{name}", y)
        return found


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SPEC)
    return "small.yaml"


def at(path, change):
    return lambda here, y: change(y.copy()) if here == path else y


def plus(difference):
    def change(y):
        y.flat[-1] += difference
        return y

    return change


def put(value):
    def change(y):
        y.flat[1] = value
        return y

    return change


def test_a_right_backend_agrees(spec, install):
    install(Fake())
    result = cnnspec.load(spec).verify()
    assert result.agrees
    assert [(c.precision, len(c.comparisons), c.total) for c in result.checks] == [
        ("float64", 12, 12),
        ("float32", 12, 12),
    ]
    assert result.diagnostics() == []


@pytest.mark.parametrize("path", LINES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (plus(1e-3), "the largest difference is 0.001, "),
        (put(np.nan), "1 of its "),
        (put(-np.inf), "values are not finite"),
        (lambda y: y[:1], "its shape is 1×"),
        (lambda y: y[..., None], "×1 instead of "),
        (lambda y: 2 * y, "the largest difference is "),
        (lambda y: y[::-1], "the largest difference is "),
    ],
    ids=["added", "nan", "infinite", "shorter", "one more axis", "doubled", "of another image"],
)
def test_the_first_layer_that_departs_is_named_with_its_line(path, precision, change, says, spec, install):
    fake = Fake(change=at(path, change))
    fake.precisions = (precision,)
    install(fake)
    result = cnnspec.load(spec).verify()
    (diagnostic,) = result.diagnostics()
    assert (diagnostic.slug, diagnostic.path) == ("disagreement", path)
    assert (diagnostic.span.source.name, diagnostic.span.line) == ("small.yaml", LINES[path])
    assert diagnostic.message.startswith(f"fake in {precision} departs from reference at `{path}`: ")
    assert says in diagnostic.message


def test_a_small_slip_is_seen_in_float64_alone(spec, install):
    install(Fake(change=at("stem.bn", lambda y: y * (1 + 1e-7))))
    result = cnnspec.load(spec).verify()
    assert [check.agrees for check in result.checks] == [False, True]


@pytest.mark.parametrize("name", ["stem.conv.weight", "stem.conv.bias", "stem.bn.running_mean", "stem.bn.running_var",
                                  "stem.bn.weight", "stem.bn.bias", "shortcut.bias", "fc.weight", "fc.bias"])  # fmt: skip
@pytest.mark.parametrize("wrong", [np.zeros_like, np.ones_like, np.flip], ids=["zeros", "ones", "flipped"])
def test_every_parameter_matters(name, wrong, spec, install):
    """What a backend does with a parameter that it leaves at its start, or turns round, shows in that very layer."""

    class Forgetful(Fake):
        def outputs(self, graph, weights, images, precision):
            return super().outputs(graph, {**weights, name: wrong(weights[name])}, images, precision)

    install(Forgetful())
    first = cnnspec.load(spec).verify().checks[0].first
    assert first.name == name.rpartition(".")[0]


def test_layers_that_are_not_shown_are_not_counted(spec, install):
    install(Fake(show=lambda path: path != "stem.conv", change=at("stem.conv", plus(1))))
    check, _ = cnnspec.load(spec).verify().checks
    assert (len(check.comparisons), check.total) == (11, 12)
    assert check.first.name == "stem.bn"


@pytest.mark.parametrize(
    ("show", "says"),
    [
        (lambda path: path != "fc", "fake in float64 shows no output `fc`"),
        (lambda path: path != "pooled.global_max_pool", "fake in float64 shows no output `pooled.global_max_pool`"),
        (lambda path: False, "shows no output"),
    ],
    ids=["main", "other", "none"],
)
def test_outputs_must_be_shown(show, says, spec, install):
    install(Fake(show=show))
    result = cnnspec.load(spec).verify()
    assert not result.agrees
    assert says in result.diagnostics()[0].message


def test_a_layer_that_there_is_not_is_no_layer(spec, install):
    fake = Fake()
    fake.outputs = lambda *arguments: Fake.outputs(fake, *arguments) | {"stem.gelu": np.zeros(1)}
    install(fake)
    assert "`stem.gelu`, which is no layer" in cnnspec.load(spec).verify().diagnostics()[0].message


def test_a_backend_that_fails_does_not_stop_the_others(spec, install):
    def fall(path, y):
        raise ZeroDivisionError("by nought\nand more")

    install(Fake("bad", change=fall), Fake("good"))
    result = cnnspec.load(spec).verify()
    assert [(check.backend, check.agrees) for check in result.checks] == [
        ("bad", False), ("bad", False), ("good", True), ("good", True),
    ]  # fmt: skip
    assert result.diagnostics()[0].message == "bad in float64 fails with ZeroDivisionError: by nought"


@pytest.mark.filterwarnings("error")
def test_weights_that_are_not_finite_are_one_error(spec, install):
    install(Fake("one"), Fake("two"))
    net = cnnspec.load(spec)
    weights = dict(net.weights(0))
    weights["shortcut.bias"] = np.full_like(weights["shortcut.bias"], np.nan)
    given = Given(weights, {})
    result = net.verify(given)
    (found,) = result.diagnostics()
    assert found.message == "the network itself gives values that are not finite, first at `shortcut`"
    assert (found.slug, found.span.line) == ("disagreement", 6)
    assert (result.agrees, list(result.checks), result.to_dict()["not_finite"]) == (False, [], "shortcut")
    assert result.to_text().splitlines()[2:] == [
        "nothing was compared: `shortcut` itself gives values that are not finite"
    ]
    (warning,) = given.warnings
    assert warning.message == "what was given holds infinities or NaN in 1 parameter: `shortcut.bias`"


def test_weights_must_be_the_networks(spec, install):
    install(Fake())
    net = cnnspec.load(spec)
    weights = dict(net.weights(0))
    del weights["fc.bias"]
    with pytest.raises(SpecError) as caught:
        net.verify(weights)
    assert [d.slug for d in caught.value.diagnostics] == ["missing-weights"]
    without_heads = {key: array for key, array in net.weights(0).items() if not key.startswith("aux.")}
    assert net.verify(without_heads).agrees


def test_what_a_framework_cannot_run_is_no_disagreement(spec, install, capsys):
    poor = Fake("poor", change=lambda path, y: pytest.fail("it ran"))
    poor.limit = lambda canonical, precision: "lacking" if canonical.kind == "tanh" else ""
    install(poor, Fake("good"))
    result = cnnspec.load(spec).verify()
    assert result.agrees
    assert [(check.backend, bool(check.skipped), len(check.comparisons)) for check in result.checks] == [
        ("good", False, 12), ("good", False, 12), ("poor", True, 0), ("poor", True, 0),
    ]  # fmt: skip
    assert "cannot run: the framework of poor has no kernel here for `tanh`" in result.to_text()
    install(poor)
    assert run(capsys, spec)[0] == 1


def test_what_a_framework_rounds_may_differ_as_in_float32_from_there_on(spec, install):
    rounding = Fake("rounding", change=at("tanh", lambda y: y + 1e-7))
    rounding.precisions = ("float64",)
    install(rounding)
    net = cnnspec.load(spec)
    assert net.verify().checks[0].first.name == "tanh"
    rounding.limit = lambda canonical, precision: "rounded" if canonical.kind == "tanh" else ""
    assert net.verify().agrees
    rounding.change = at("stem.relu", lambda y: y + 1e-7)
    assert net.verify().checks[0].first.name == "stem.relu"
    rounding.change = at("tanh", lambda y: y + 1e-4)
    assert net.verify().checks[0].first.name == "tanh"


# ---- gradients


def test_gradients_that_are_the_same_agree(spec, install):
    install(FakeCode("one"), FakeCode("two"))
    *_, check = cnnspec.load(spec).verify().checks
    trainable = 2 + 2 + 2 + 2 + 2 + 2  # weights and biases of stem, its norm, body, shortcut, both heads
    assert (check.backend, check.what, check.against, check.agrees) == ("one", "gradients", "two", True)
    assert (len(check.comparisons), check.total) == (trainable, trainable)


@pytest.mark.parametrize(
    "change", [plus(1e-3), put(np.nan), lambda y: y[None], np.zeros_like], ids=["added", "nan", "axis", "zeros"]
)
def test_the_gradient_nearest_to_the_output_is_named(change, spec, install):
    """Gradients go backwards, so a mistake shows first in the last layer."""
    wrong = {"stem.conv.weight", "stem.bn.bias", "conv.weight"}
    install(FakeCode("one"), FakeCode("two", lambda key, y: change(y.copy()) if key in wrong else y))
    (diagnostic,) = cnnspec.load(spec).verify().diagnostics()
    assert (diagnostic.path, diagnostic.span.line) == ("conv", LINES["conv"])
    assert "one in float64 departs from two at the gradient of `conv.weight`" in diagnostic.message


def test_gradients_must_be_of_the_same_parameters(spec, install):
    class Short(FakeCode):
        def gradients(self, *arguments):
            found = super().gradients(*arguments)
            del found["fc.bias"]
            return found

    for lacks, pair in (("one", (Short, FakeCode)), ("two", (FakeCode, Short)), ("one", (Short, Short))):
        install(pair[0]("one"), pair[1]("two"))
        (diagnostic,) = cnnspec.load(spec).verify().diagnostics()
        assert diagnostic.message == f"one in float64 cannot be compared: {lacks} has no gradient of `fc.bias`"


# ---- the command


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        main(["verify", *arguments])
    return done.value.code, *capsys.readouterr()


def test_the_command_ends_with_1_where_they_disagree(spec, install, capsys):
    install(Fake("good"), Fake("bad", change=at("conv", plus(1e-3))))
    code, out, err = run(capsys, spec, "--backends", "good")
    assert (code, err) == (0, "")
    assert out.count("agrees") == 2
    code, out, err = run(capsys, spec)
    assert code == 1
    assert "error[disagreement]: bad in float64 departs from reference at `conv`" in err
    assert "--> small.yaml:8:12" in err
    assert "reads 4×9×8, gives 6×5×4" in err
    assert [line.split()[:: len(line.split()) - 1] for line in out.splitlines()[3:7]] == [
        ["bad", "departs"], ["bad", "departs"], ["good", "agrees"], ["good", "agrees"],
    ]  # fmt: skip
    code, out, _ = run(capsys, spec, "--format", "json")
    data = json.loads(out)
    assert (code, data["agrees"]) == (1, False)
    assert [check["agrees"] for check in data["checks"]] == [False, False, True, True]
    first = data["checks"][0]["first_departing"]
    assert (first["path"], first["file"], first["line"], first["column"]) == ("conv", "small.yaml", 8, 12)
    assert first["difference"] == pytest.approx(1e-3)


def test_json_has_no_number_that_json_has_not(spec, install, capsys):
    install(Fake(change=at("conv", put(np.nan))))
    code, out, _ = run(capsys, spec, "--format", "json")
    data = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert code == 1
    assert data["checks"][0]["first_departing"]["difference"] is None
    assert data["checks"][0]["first_departing"]["problem"].startswith("1 of its ")


def test_a_framework_that_is_missing(spec, install, capsys):
    absent = Fake("absent")
    absent.packages, absent.extra = ("no_such_package",), "absent"
    install(absent, Fake("good"))
    code, out, err = run(capsys, spec, "--backends", "good,absent")
    assert (code, out) == (3, "")
    assert "pip install 'cnnspec[absent]'" in err
    code, out, err = run(capsys, spec)
    assert (code, err) == (0, "")
    assert "left out: absent is not installed (pip install 'cnnspec[absent]')" in out
    install(absent)
    with pytest.raises(MissingDependency):
        cnnspec.load(spec).verify()


@pytest.mark.parametrize("names", ["nothing", "good,nothing", "reference", "", "good,"])
def test_a_backend_that_there_is_not(names, spec, install, capsys):
    install(Fake("good"))
    code, out, err = run(capsys, spec, "--backends", names)
    assert (code, out) == (2, "")
    assert "is none of good" in err


def test_an_op_that_a_backend_lacks_is_reported_before_anything_runs(spec, install):
    poor = Fake("poor", change=lambda path, y: pytest.fail("it ran"))
    poor.kinds = REFERENCE.kinds - {"tanh"}
    install(poor)
    with pytest.raises(SpecError) as caught:
        cnnspec.load(spec).verify()
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.slug, diagnostic.path, diagnostic.span.line) == ("unsupported-op", "tanh", 8)


def test_the_seed_decides(spec, install):
    install(Fake())
    net = cnnspec.load(spec)
    first, same, other = (net.verify(seed=seed).checks[0].comparisons for seed in (0, 0, 1))
    assert [c.scale for c in first] == [c.scale for c in same]
    assert all(a.scale != b.scale for a, b in zip(first, other, strict=True))


def test_the_json_is_as_the_documentation_shows(install, capsys):
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text().partition("\n## verify\n")[2]
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0])
    absent = Fake("keras")
    absent.packages, absent.extra = ("no_such_package",), "keras"
    install(Fake("onnx"), absent)
    _, out, _ = run(capsys, "lenet5", "--format", "json")
    real = json.loads(out)
    assert {**real, "checks": []} == {**shown, "checks": []}
    for check in real["checks"]:
        assert types(check) == types(shown["checks"][0])


def types(value):
    if isinstance(value, dict):
        return {key: types(inner) for key, inner in value.items()}
    return type(value).__name__
