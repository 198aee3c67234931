"""Steps of generated Keras code: accumulation, losses of heads, averages."""

import numpy as np
import pytest
from train_nets import small_net

keras = pytest.importorskip("keras")


@pytest.fixture
def batches():
    draw = np.random.default_rng(0)
    return [(draw.normal(size=(12, 2, 8, 8)), draw.integers(0, 5, 12)) for _ in range(4)]


def steps(folder, batches, **sections):
    from cnnspec.backends.keras.trajectory import trajectory

    net = small_net(folder, **sections)
    return list(trajectory(net.graph, net.weights(), net.recipe, batches, "float64", 2))


def assert_alike(one, other, tolerance=1e-12):
    for a, b in zip(one, other, strict=True):
        assert a.loss == pytest.approx(b.loss, abs=tolerance)
        for key in a.weights:
            np.testing.assert_allclose(a.weights[key], b.weights[key], rtol=0, atol=tolerance)


@pytest.mark.parametrize("heads", [False, True])
def test_several_batches_are_one_large_one(heads, tmp_path, batches):
    common = {"optimizer": {"adam": 0.01, "l2": 0.1}, "clip": {"global_norm": 0.5}, "heads": heads}
    whole = steps(tmp_path, batches, batch_size=12, **common)
    parts = steps(tmp_path, batches, batch_size=5, gradient_accumulation=3, **common)  # 5, 5 and 2
    assert_alike(parts, whole)


def cross_entropy(logits, labels, smoothing, weights):
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = np.eye(5)[labels] * (1 - smoothing) + smoothing / 5
    return (-(targets * logs).sum(1) * weights[labels]).mean()


@pytest.mark.parametrize("weights", [[1, 2, 3, 4, 5], "balanced"])
def test_the_loss_is_that_of_the_formula(weights, tmp_path, batches):
    from cnnspec.backends.reference import BACKEND

    loss = {"cross_entropy": {"label_smoothing": 0.1, "class_weights": weights}}
    (first, *_) = steps(tmp_path, batches, loss=loss)
    net = small_net(tmp_path)
    images, labels = batches[0]
    logits = BACKEND.runner(net.graph, net.weights(), "float64").outputs(images)["fc"]
    if weights == "balanced":
        everything = np.concatenate([labels for _, labels in batches])
        weights = len(everything) / (5 * np.bincount(everything, minlength=5))
    # weights of classes that are not exact in float32 are rounded to it
    assert first.loss == pytest.approx(cross_entropy(logits, labels, 0.1, np.asarray(weights)), rel=1e-6)
