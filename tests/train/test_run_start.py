"""What training starts from."""

import numpy as np
import pytest

import cnnspec
from cnnspec.diagnostics import Report
from cnnspec.train.start import start_weights


def started(net, given=None):
    report = Report()
    weights = start_weights(net.graph, net.recipe, given and str(given), report)
    report.raise_errors()
    return weights


@pytest.fixture
def file(tmp_path):
    """LeNet-5 for 7 classes, from another seed."""
    net = cnnspec.load("lenet5", classes=7)
    net.save_weights(tmp_path / "w.safetensors", net.weights(3))
    return tmp_path / "w.safetensors"


def test_drawn_by_the_recipe():
    net = cnnspec.load("lenet5")
    assert np.array_equal(started(net)["c1.weight"], net.weights()["c1.weight"])


def test_all_of_a_file(file):
    net = cnnspec.load("lenet5", classes=7)
    found, expected = started(net, file), net.weights(3)
    assert all(np.array_equal(found[key], expected[key]) for key in expected)
    with pytest.raises(cnnspec.SpecError, match="output"):
        started(cnnspec.load("lenet5", classes=10), file)


@pytest.mark.parametrize(
    ("case", "anew"),
    [
        ("small_similar", {"output.weight", "output.bias"}),
        ("small_different", {"head.output.weight", "head.output.bias"}),
    ],
)
def test_a_case_takes_all_but_what_it_replaces(file, case, anew):
    net = cnnspec.load("lenet5", transfer=case, classes=4)  # the file is for 7
    found, old, new = started(net, file), cnnspec.load("lenet5", classes=7).weights(3), net.weights()
    assert anew <= found.keys()
    for key in found:
        assert np.array_equal(found[key], new[key] if key in anew else old[key]), key


def test_what_a_case_replaces_is_drawn_by_the_recipe(file, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("cnnspec: 1\nname: own\nextends: lenet5\ntrain: {seed: 9}\n")
    net = cnnspec.load(path, transfer="small_similar", classes=4)
    found, drawn = started(net, file)["output.weight"], net.weights()["output.weight"]
    assert np.array_equal(found, drawn)
    assert not np.array_equal(found, cnnspec.load("lenet5", classes=4).weights(0)["output.weight"])


def test_a_case_needs_everything_else(file, tmp_path):
    from safetensors.numpy import load_file, save_file

    arrays = load_file(file)
    missing = {key: array for key, array in arrays.items() if key != "c3.bias"}
    save_file(missing, tmp_path / "missing.safetensors")
    save_file(arrays | {"c9.bias": np.zeros(1, np.float32)}, tmp_path / "more.safetensors")
    net = cnnspec.load("lenet5", transfer="small_similar", classes=4)
    with pytest.raises(cnnspec.SpecError, match=r"c3\.bias"):
        started(net, tmp_path / "missing.safetensors")
    with pytest.raises(cnnspec.SpecError, match=r"c9\.bias"):
        started(net, tmp_path / "more.safetensors")


def test_a_case_and_a_file_of_another_project(tmp_path):
    pytest.importorskip("h5py")
    source = cnnspec.load("lenet5")
    target = tmp_path / "lenet5.weights.h5"
    source.save_weights(f"keras:{target}", source.weights(3))
    net = cnnspec.load("lenet5", transfer="small_similar", classes=4)
    found = started(net, f"keras:{target}")  # for the 10 classes that the spec says
    assert np.array_equal(found["c5.weight"], source.weights(3)["c5.weight"])
    assert found["output.weight"].shape == (4, 84)


def test_heads_for_training_are_drawn_where_a_file_lacks_them(tmp_path):
    net = cnnspec.load("googlenet", classes=6)
    inference = {key: net.weights(4)[key] for key in net.weights(4) if not key.startswith("aux")}
    net.save_weights(tmp_path / "w.safetensors", inference)
    found = started(net, tmp_path / "w.safetensors")
    heads = [key for key in found if key.startswith("aux")]
    assert heads
    assert np.array_equal(found[heads[0]], net.weights()[heads[0]])
    first = next(iter(inference))
    assert np.array_equal(found[first], inference[first])
