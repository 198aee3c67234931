"""`cnnspec build --weights`: the code, and beside it what it starts to train from."""

import numpy as np
import pytest

import cnnspec
from cnnspec.cli import main
from cnnspec.diagnostics import Report
from cnnspec.lower.backend import backend as find_backend
from cnnspec.lower.backend import backends
from cnnspec.train.backend import TrainingBackend
from cnnspec.train.start import start_weights
from cnnspec.weights.mapping import Given

TRAINING = [name for name in backends() if isinstance(find_backend(name), TrainingBackend)]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `cnnspec build` in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["build", *arguments])
        return (end.value.code, *capsys.readouterr())

    return run


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
