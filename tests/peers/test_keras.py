"""keras.applications' networks: their weights, saved by Keras, give their logits in cnnspec's networks of all frameworks."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
from zoo_peers import KERAS

import cnnspec

from .parity import check, images, keras_logits, precision, samples

SMALL = {"resnet50_keras": 33}  # others take longer, and are with all at their own size


def application(name: str, size: int, classes: int) -> Any:
    make = getattr(keras.applications, KERAS[name])
    return make(weights=None, input_shape=(size, size, 3), classes=classes, classifier_activation=None)


def randomised(model: Any, x: Any) -> Any:
    """He's weights, and statistics of the images, moved at random; every value is one of float32."""
    rng = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0  # takes the images' own statistics
    for variable in model.weights:
        shape, what = tuple(variable.shape), variable.path.rpartition("/")[2]
        if what == "gamma":
            variable.assign(rng.uniform(0.5, 1.5, shape).astype(np.float32))
        elif what in ("beta", "bias"):
            variable.assign(0.2 * rng.standard_normal(shape, np.float32))
        elif what == "depthwise_kernel":  # no activation follows
            variable.assign(rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[:2]))))
        elif "kernel" in what:
            variable.assign(rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1]))))
    if norms:
        model(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), training=True)
    for layer in norms:
        mean, variance = (keras.ops.convert_to_numpy(v) for v in (layer.moving_mean, layer.moving_variance))
        moved = mean + 0.3 * np.sqrt(variance) * rng.standard_normal(mean.shape)
        layer.moving_mean.assign(moved.astype(np.float32))
        layer.moving_variance.assign((variance * rng.uniform(0.5, 1.5, mean.shape)).astype(np.float32))
    return model


def assert_same(name: str, net: cnnspec.Net, classes: int, folder: Path, *, single: bool) -> None:
    size = net.graph.input.shape[-1]
    x, file, logits = images(size), folder / "peer.weights.h5", {}
    with precision("float64"):
        model = randomised(application(name, size, classes), samples(size))
        model.save_weights(file)
        logits["float64"] = keras_logits(model, x)
        del model
    if single:
        with precision("float32"):
            model = application(name, size, classes)
            model.load_weights(file)
            logits["float32"] = keras_logits(model, x)
            del model
    check(net, f"keras:{file}", x, logits, folder, logits.keys())


@pytest.mark.slow
@pytest.mark.parametrize("name", KERAS)
def test_at_its_own_size(name: str, tmp_path: Path) -> None:
    assert_same(name, cnnspec.load(name), 1000, tmp_path, single=True)


@pytest.mark.parametrize("name", SMALL)
def test_small(name: str, tmp_path: Path) -> None:
    net = cnnspec.load(name, params={"input.size": SMALL[name]}, classes=10)
    assert_same(name, net, 10, tmp_path, single=False)
