"""`cnnspec build --weights`: the code, and beside it what it starts to train from."""

import errno
import resource
from functools import partial

import numpy as np
import pytest

import cnnspec
from cnnspec.diagnostics import Report
from cnnspec.lower.backend import backend as find_backend
from cnnspec.lower.backend import backends
from cnnspec.train.backend import TrainingBackend
from cnnspec.train.start import start_weights
from cnnspec.weights.mapping import Given

HEADED = """\
cnnspec: 1
name: headed
input: {channels: 1, size: 4}
layers:
  - {conv: 2, kernel: 3, norm: batch_norm, name: a}
  - flatten
  - {dense: 3, name: fc}
outputs: {side: {from: a, training_only: true, layers: [flatten, {dense: 3, name: out}]}}
"""
TRAINING = [name for name in backends() if isinstance(find_backend(name), TrainingBackend)]


@pytest.fixture
def run(tmp_path, monkeypatch, cli):
    """Runs `cnnspec build` in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    return partial(cli, "build")


@pytest.mark.parametrize("backend", TRAINING)
def test_they_are_what_a_run_would_start_from(run, backend, tmp_path):
    before = cnnspec.load("lenet5", classes=7)
    before.save_weights("seven.safetensors", before.weights(3))
    case = ["--transfer", "small_similar", "--set", "classes=4", "--weights", "seven.safetensors"]
    code, out, err = run("lenet5", "--backend", backend, *case, "-o", "made")
    assert (code, err) == (0, "")
    initial = f"initial{find_backend(backend).weights_suffix}"
    names = [line.removeprefix("wrote made/") for line in out.splitlines() if line.startswith("wrote ")]
    assert {"model.py", "data.py", "train.py", initial} <= set(names)
    made = tmp_path / "made"
    assert {str(file.relative_to(made)) for file in made.rglob("*") if file.is_file()} == set(names)
    assert f"python made/train.py --weights made/{initial}" in out

    net, report = cnnspec.load("lenet5", transfer="small_similar", classes=4), Report()
    expected = start_weights(net.graph, net.recipe, "seven.safetensors", report)
    found = find_backend(backend).read_weights(net.graph, tmp_path / "made" / initial)
    assert not report.failed
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_what_the_recipe_draws_is_by_the_one_that_is_named(tmp_path):
    """The case's new head starts as `--recipe` says, not as the spec's own recipe does."""
    (tmp_path / "other.yaml").write_text("cnnspec: 1\noptimizer: {sgd: 0.1}\nepochs: 1\nbatch_size: 8\nseed: 11\n")
    net = cnnspec.load("lenet5", transfer="small_similar", classes=4)
    before = cnnspec.load("lenet5")
    before.save_weights(tmp_path / "w.safetensors", before.weights(3))
    other = str(tmp_path / "other.yaml")
    net.write_source("torch", tmp_path / "made", recipe=other, weights=tmp_path / "w.safetensors")
    found = find_backend("torch").read_weights(net.graph, tmp_path / "made" / "initial.pt")
    np.testing.assert_array_equal(found["output.weight"], net.weights(11)["output.weight"])
    assert not np.array_equal(found["output.weight"], net.weights()["output.weight"])


def test_published_ones_bring_their_preprocessing(run, tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "torchvision.yaml").write_text(
        "address: https://example.org\n"
        "networks: {mine: {V1: {file: mine.pth, sha256: 0123abcd, preprocess: {mean: 0.25, std: 0.5}}}}\n"
    )
    (tmp_path / "mine.yaml").write_text("cnnspec: 1\nname: mine\nextends: lenet5\n")
    net = cnnspec.load("mine.yaml")
    net.save_weights("w.safetensors", Given(dict(net.weights(3)), {"from": "torchvision:V1"}))
    assert run("mine.yaml", "-o", "without")[0] == 0
    code, _, err = run("mine.yaml", "--weights", "w.safetensors", "-o", "with")
    assert code == 0
    assert "brings its own preprocessing (" in err
    assert "0.25" in (tmp_path / "with" / "data.py").read_text()
    assert "0.25" not in (tmp_path / "without" / "data.py").read_text()


def test_weights_of_another_network_leave_nothing(run, tmp_path):
    before = cnnspec.load("lenet5", classes=7)
    before.save_weights("seven.safetensors", before.weights(3))
    code, out, err = run("lenet5", "--weights", "seven.safetensors", "-o", "made")
    assert (code, out) == (1, "")
    assert "weight-shape" in err
    assert [file.name for file in tmp_path.iterdir()] == ["seven.safetensors"]


def test_heads_of_training_are_drawn_where_the_file_lacks_them(run, tmp_path):
    """And without a recipe there is the network alone."""
    (tmp_path / "headed.yaml").write_text(HEADED)
    net = cnnspec.load("headed.yaml")
    whole = net.weights(3)
    inference = {key: whole[key] for key in whole if not key.startswith("side.")}
    assert len(whole) - len(inference) == 2
    for name, given in [("whole", dict(whole)), ("inference", inference)]:
        net.save_weights(f"{name}.safetensors", given)
        code, out, _ = run("headed.yaml", "--weights", f"{name}.safetensors", "-o", name)
        assert (code, out) == (0, f"wrote {name}/model.py\nwrote {name}/initial.pt\n")
        found = find_backend("torch").read_weights(net.graph, tmp_path / name / "initial.pt")
        for key in whole:
            expected = given if key in given else net.weights(0)
            np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
        counted = sum(array.size for array in inference.values())
        assert net.summary(f"{name}.safetensors").weights.number == counted, (
            "heads of training are no part of inference"
        )


def test_a_run_s_weights_are_those_of_its_case(tmp_path):
    net = cnnspec.load("lenet5", transfer="small_similar", classes=4)
    net.save_weights(tmp_path / "final.safetensors", net.weights(5))
    net.write_source("torch", tmp_path / "made", weights=tmp_path / "final.safetensors")
    found = find_backend("torch").read_weights(net.graph, tmp_path / "made" / "initial.pt")
    np.testing.assert_array_equal(found["output.weight"], net.weights(5)["output.weight"])
    assert net.summary(tmp_path / "final.safetensors").weights.number == sum(
        array.size for array in net.weights().values()
    )


def test_arrays_from_python(tmp_path):
    net, weights = cnnspec.load("lenet5"), cnnspec.load("lenet5").weights(3)
    for name, given in [("weights", weights), ("arrays", dict(weights))]:
        net.write_source("torch", tmp_path / name, weights=given)
        found = find_backend("torch").read_weights(net.graph, tmp_path / name / "initial.pt")
        assert all(np.array_equal(found[key], weights[key]) for key in weights)
        assert net.summary(given).weights.number == 61_706
    for other in (cnnspec.load("mnist_cnn").weights(3), cnnspec.load("lenet5", classes=7).weights(3), {}):
        with pytest.raises(cnnspec.SpecError, match=r"missing-weights|weight-shape"):
            net.write_source("torch", tmp_path / "other", weights=other)
        with pytest.raises(cnnspec.SpecError, match=r"missing-weights|weight-shape"):
            net.summary(other)
    assert not (tmp_path / "other").exists()


def test_what_is_not_finite_is_said(run):
    arrays = dict(cnnspec.load("lenet5").weights(3))
    arrays["c3.bias"] = np.full_like(arrays["c3.bias"], np.nan)
    cnnspec.load("lenet5").save_weights("odd.safetensors", arrays)
    code, out, err = run("lenet5", "--weights", "odd.safetensors", "-o", "made")
    assert code == 0
    assert "initial.pt" in out
    assert "warning[not-finite]" in err
    assert "`c3.bias`" in err


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "made").write_text("mine")
    with pytest.raises(NotADirectoryError) as error:
        cnnspec.load("lenet5").write_source("torch", tmp_path / "made")
    assert error.value.filename == str(tmp_path / "made" / "model.py")
    assert (tmp_path / "made").read_text() == "mine"


def test_a_file_that_is_not_there(run, tmp_path):
    code, out, err = run("lenet5", "--weights", "nowhere.safetensors", "-o", "made")
    assert (code, out) == (1, "")
    assert "nowhere.safetensors" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", TRAINING)
def test_a_full_disk_leaves_nothing(backend, tmp_path):
    wide = "cnnspec: 1\nname: wide\ninput: {channels: 1, size: 28}\nlayers: [flatten, {dense: 100}]\n"
    (tmp_path / "wide.yaml").write_text(wide)
    net = cnnspec.load(tmp_path / "wide.yaml")
    weights = net.weights(3)
    net.write_source(backend, tmp_path / "before", weights=weights)  # by when all is imported
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # the code fits, the weights do not
    try:
        with pytest.raises(OSError, match="File too large") as error:
            net.write_source(backend, tmp_path / "x", weights=weights)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == str(tmp_path / "x" / f"initial{find_backend(backend).weights_suffix}")
    assert not (tmp_path / "x").exists()
