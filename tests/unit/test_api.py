"""What `cnnspec.Net` takes, and what it says of what it does not."""

import numpy as np
import pytest

import cnnspec


@pytest.fixture(scope="module")
def net():
    return cnnspec.load("lenet5")


@pytest.mark.parametrize("backend", ["onnx", "reference", "jax"])
def test_a_backend_without_code_is_named_with_those_that_have_it(backend, net, tmp_path):
    calls = [
        lambda: net.build(backend),
        lambda: net.source(backend),
        lambda: net.write_source(backend, tmp_path),
        lambda: net.train(tmp_path / "run", backend=backend, recipe="standard"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=rf"^`{backend}` is no backend that prints code: keras, torch are$"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_backend_that_there_is_not_is_named_with_all(net):
    with pytest.raises(ValueError, match=r"^there is no backend `jax`, only keras, onnx, reference, torch$"):
        net.verify(backends=["jax"])


def test_weights_may_be_a_file(net, tmp_path):
    weights = net.weights(3)
    file = tmp_path / "w.safetensors"
    net.save_weights(file, weights)
    net.save_weights(f"torchvision:{tmp_path}/copy.safetensors", file)
    exported = {}
    for name, given in [("file", file), ("text", str(file)), ("arrays", weights)]:
        net.export(tmp_path / f"{name}.onnx", given)
        exported[name] = (tmp_path / f"{name}.onnx").read_bytes()
    assert exported["file"] == exported["text"] == exported["arrays"]
    net.export(tmp_path / "foreign.onnx", f"torchvision:{tmp_path}/copy.safetensors")
    assert np.array_equal(net.load_weights(file)["c1.weight"], weights["c1.weight"])
    assert net.suited(file) is net


def test_a_file_of_weights_that_is_not_there(net, tmp_path):
    for call in (
        lambda: net.export(tmp_path / "m.onnx", "nofile.safetensors"),
        lambda: net.verify("nofile.safetensors"),
        lambda: net.save_weights(tmp_path / "w.safetensors", "nofile.safetensors"),
    ):
        with pytest.raises(cnnspec.SpecError, match=r"`nofile\.safetensors` does not exist"):
            call()
    assert not list(tmp_path.iterdir())
