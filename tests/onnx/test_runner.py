"""Networks run as ONNX, layer by layer, against the definitions of all ops."""

import numpy as np
import pytest
from agreement import agree
from onnx_models import drawn_weights

import cnnspec
from cnnspec.backends.onnx import BACKEND
from cnnspec.lower.backend import Backend, backend

REFERENCE = backend("reference")

NETWORKS = {
    "resnet18": 33,
    "googlenet_torchvision": 80,
    "se_resnet50": 32,
    "squeezenet1_1": 47,
    "xception": 71,
    "mnist_mlp": 28,
}


def test_it_is_a_backend():
    found: Backend = backend("onnx")
    assert found is BACKEND


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_agrees_with_its_definition(name):
    net = cnnspec.load(name, params={"input.size": NETWORKS[name]})
    weights = drawn_weights(net.graph)
    random = np.random.default_rng(0)
    images = random.normal(size=(2, *net.graph.input.shape)).astype(np.float32)
    expected = REFERENCE.runner(net.graph, weights, "float64").outputs(images)
    # gates behind 50 drawn layers make 1.4e-3 of float32's roundings on some processors; float64 proves the meaning
    for precision, tolerance in (("float32", 5e-3), ("float64", 1e-11)):
        found = BACKEND.runner(net.graph, weights, precision).outputs(images)
        assert found.keys() == expected.keys()
        for path, array in expected.items():
            assert found[path].dtype == np.dtype(precision)
            agree(found[path], array, tolerance * max(1.0, float(np.abs(array).max())))
