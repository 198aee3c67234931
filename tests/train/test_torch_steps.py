"""Steps of generated PyTorch training code, against formulas written by hand in NumPy, in float64."""

from pathlib import Path

import numpy as np
import pytest

import cnnspec
from cnnspec.lower.fold import fold

torch = pytest.importorskip("torch")

from cnnspec.backends.torch import BACKEND  # noqa: E402
from cnnspec.backends.torch.training import default_dtype, load  # noqa: E402

NET = """\
cnnspec: 1
name: tiny
input: {channels: 1, size: 4}
layers:
  - {conv: 2, kernel: 3, name: c, norm: batch_norm, activation: prelu}
  - flatten
  - {dense: 3, name: fc}
"""
RATE = 0.05
BETAS = 0.9, 0.999


def net(tmp_path: Path, train: str, text: str = NET) -> cnnspec.Net:
    path = tmp_path / "tiny.yaml"
    path.write_text(f"{text}train: {{{train}}}\n")
    return cnnspec.load(str(path))


def batches(steps: int, size: int = 8) -> list:
    draw = np.random.default_rng(3)
    return [(draw.normal(size=(size, 1, 4, 4)), draw.integers(0, 3, size)) for _ in range(steps)]


def run(tmp_path, train, steps=6, per_epoch=2, text=NET, given=None):
    made = net(tmp_path, train, text)
    start = {k: np.asarray(v, np.float64) for k, v in made.weights(1).items()}
    given = given or batches(steps)
    found = list(BACKEND.trajectory(made.graph, start, made.recipe, given, "float64", per_epoch))
    return start, found


# ---- optimisers: the gradient is a known function of the weights (their cosine), so that formulas can be run beside


class Toy(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))


def sgd(w, g, s, t, mu=0.0, nesterov=False):
    s["v"] = mu * s.get("v", 0) + g
    return w - RATE * (g + mu * s["v"] if nesterov else s["v"])


def adam(w, g, s, t, eps=1e-8, amsgrad=False):
    b1, b2 = BETAS
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
    s["most"] = np.maximum(s.get("most", 0), s["v"])
    v = s["most"] if amsgrad else s["v"]
    return w - RATE * s["m"] / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)


def rmsprop(w, g, s, t, rho=0.99, eps=1e-8, mu=0.0, centered=False):
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g * g
    s["g"] = rho * s.get("g", 0) + (1 - rho) * g
    v = s["v"] - s["g"] ** 2 if centered else s["v"]
    s["b"] = mu * s.get("b", 0) + g / (np.sqrt(v) + eps)
    return w - RATE * s["b"]


def adagrad(w, g, s, t, start=0.0, eps=1e-10):
    s["s"] = s.get("s", start) + g * g
    return w - RATE * g / (np.sqrt(s["s"]) + eps)


def adadelta(w, g, s, t, rho=0.9, eps=1e-6):
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g * g
    d = np.sqrt(s.get("u", 0) + eps) / np.sqrt(s["v"] + eps) * g
    s["u"] = rho * s.get("u", 0) + (1 - rho) * d * d
    return w - RATE * d


def adamax(w, g, s, t, eps=1e-8):
    b1, b2 = BETAS
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["u"] = np.maximum(b2 * s.get("u", 0), np.abs(g) + eps)
    return w - RATE / (1 - b1**t) * s["m"] / s["u"]


def nadam(w, g, s, t, eps=1e-8, growth=0.004):
    b1, b2 = BETAS
    mu = [b1 * (1 - 0.5 * 0.96 ** (i * growth)) for i in (t, t + 1)]
    s["product"] = s.get("product", 1.0) * mu[0]
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
    step = mu[1] * s["m"] / (1 - s["product"] * mu[1]) + (1 - mu[0]) * g / (1 - s["product"])
    return w - RATE * step / (np.sqrt(s["v"] / (1 - b2**t)) + eps)


OPTIMIZERS = [
    ("sgd: 0.05", sgd, {}),
    ("sgd: 0.05, momentum: 0.9", sgd, {"mu": 0.9}),
    ("sgd: 0.05, momentum: 0.9, nesterov: true", sgd, {"mu": 0.9, "nesterov": True}),
    ("adam: 0.05", adam, {}),
    ("adam: 0.05, epsilon: 0.01, amsgrad: true", adam, {"eps": 0.01, "amsgrad": True}),
    ("adamw: 0.05, weight_decay: 0", adam, {}),
    ("rmsprop: 0.05", rmsprop, {}),
    ("rmsprop: 0.05, momentum: 0.5, centered: true, rho: 0.8, epsilon: 0.1", rmsprop,
     {"mu": 0.5, "centered": True, "rho": 0.8, "eps": 0.1}),
    ("adagrad: 0.05", adagrad, {}),
    ("adagrad: 0.05, initial_accumulator: 0.1, epsilon: 0.001", adagrad, {"start": 0.1, "eps": 0.001}),
    ("adadelta: 0.05", adadelta, {}),
    ("adamax: 0.05", adamax, {}),
    ("nadam: 0.05", nadam, {}),
    ("nadam: 0.05, momentum_decay: 0.1", nadam, {"growth": 0.1}),
]  # fmt: skip


def updates(tmp_path, optimizer: str, steps: int = 12) -> list[np.ndarray]:
    made = net(tmp_path, f"optimizer: {{{optimizer}}}, epochs: 1, batch_size: 8")
    code = load(fold(made.graph), made.recipe)
    model = Toy()
    found = code.make_optimizer(model)
    result = []
    for _ in range(steps):
        model.weight.grad = torch.cos(model.weight.detach())
        with default_dtype(torch.float64):
            found.step()
        result.append(model.weight.detach().numpy().copy())
    return result


@pytest.mark.parametrize("decay", ["", "l2: 0.1", "decoupled_weight_decay: 0.1"])
@pytest.mark.parametrize(("text", "formula", "options"), OPTIMIZERS, ids=[o[0] for o in OPTIMIZERS])
def test_an_optimizer_is_its_formula(text, formula, options, decay, tmp_path):
    if text.startswith("adamw") and decay:
        text, decay = "adamw: 0.05, weight_decay: 0.1", "decoupled_weight_decay: 0.1"
        found = updates(tmp_path, text)
    else:
        found = updates(tmp_path, f"{text}, {decay}" if decay else text)
    w, state = np.array([0.5, -1.0, 2.0]), {}
    for t, after in enumerate(found, 1):
        g = np.cos(w)
        if decay.startswith("l2"):
            g = g + 0.1 * w
        elif decay:
            w = w * (1 - RATE * 0.1)
        w = formula(w, g, state, t, **options)
        np.testing.assert_allclose(after, w, rtol=1e-12, atol=1e-12)


EXCLUDED = {
    "": set(),
    "exclude: [bias]": {"c.conv.bias", "fc.bias"},
    "exclude: [norm]": {"c.bn.weight", "c.bn.bias"},
    "exclude: [prelu]": {"c.prelu.weight"},
    "exclude: [bias, prelu]": {"c.conv.bias", "fc.bias", "c.prelu.weight"},
    "exclude: [bias, norm, prelu]": {"c.conv.bias", "fc.bias", "c.bn.weight", "c.bn.bias", "c.prelu.weight"},
}


@pytest.mark.parametrize("optimizer", ["sgd: 0.05, l2: 0.1", "sgd: 0.05, decoupled_weight_decay: 0.1", "adamw: 0.05"])
@pytest.mark.parametrize("excluded", EXCLUDED)
def test_what_no_decay_touches(excluded, optimizer, tmp_path):
    made = net(tmp_path, f"optimizer: {{{', '.join(filter(None, [optimizer, excluded]))}}}, epochs: 1, batch_size: 8")
    code = load(fold(made.graph), made.recipe)
    model = BACKEND.build(fold(made.graph))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    code.make_optimizer(model).step()
    kept = {name for name, parameter in model.named_parameters() if (parameter == 1).all()}
    assert kept == EXCLUDED[excluded]


# ---- losses, clipping, accumulation


def logits_of(weights, images):
    return images.reshape(len(images), -1) @ weights["fc.weight"].T + weights["fc.bias"]


LINEAR = """\
cnnspec: 1
name: tiny
input: {channels: 1, size: 4}
layers:
  - flatten
  - {dense: 3, name: fc}
"""


def by_hand(weights, images, labels, *, smoothing=0.0, class_weights=None):
    """Loss and gradients of one dense layer."""
    logits = logits_of(weights, images)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    target = (labels if labels.ndim == 2 else np.eye(3)[labels]) * (1 - smoothing) + smoothing / 3
    hot = labels if labels.ndim == 2 else np.eye(3)[labels]
    factor = hot @ (np.ones(3) if class_weights is None else np.asarray(class_weights))
    loss = (factor * -(target * np.log(p)).sum(1)).mean()
    d = factor[:, None] * (p - target) / len(images)
    return loss, d.T @ images.reshape(len(images), -1), d.sum(0)


LOSSES = {
    "": {},
    "loss: {cross_entropy: {label_smoothing: 0.1}}": {"smoothing": 0.1},
    "loss: {cross_entropy: {class_weights: [1, 2, 0.5]}}": {"class_weights": [1, 2, 0.5]},
    "loss: {cross_entropy: {class_weights: [1, 2, 0.5], label_smoothing: 0.2}}": {
        "class_weights": [1, 2, 0.5],
        "smoothing": 0.2,
    },
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mixed", [False, True])
def test_a_loss_is_its_formula(loss, mixed, tmp_path):
    given = batches(3)
    if mixed:
        given = [(x, 0.7 * np.eye(3)[y] + 0.3 * np.eye(3)[y[::-1]]) for x, y in given]
    extra = "augment: [{mixup: 0.2}], " if mixed else ""
    recipe = f"{loss + ', ' if loss else ''}{extra}optimizer: {{sgd: 0.1}}, epochs: 1, batch_size: 8"
    weights, found = run(tmp_path, recipe, text=LINEAR, given=given)
    for (images, labels), step in zip(given, found, strict=True):
        value, dw, db = by_hand(weights, images, labels, **LOSSES[loss])
        assert step.loss == pytest.approx(value, rel=1e-12)
        weights = {"fc.weight": weights["fc.weight"] - 0.1 * dw, "fc.bias": weights["fc.bias"] - 0.1 * db}
        for name, array in weights.items():
            np.testing.assert_allclose(step.weights[name], array, rtol=1e-11, atol=1e-13)


def test_balanced_weights_are_n_over_classes_times_count(tmp_path):
    made = net(
        tmp_path, "loss: {cross_entropy: {class_weights: balanced}}, optimizer: {sgd: 0.1}, epochs: 1, batch_size: 8"
    )
    code = load(fold(made.graph), made.recipe)
    labels = np.array([0] * 6 + [1] * 3 + [2])
    assert code.balanced(labels, 3).tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])


@pytest.mark.parametrize("kind", ["global_norm", "parameter_norm", "value"])
def test_gradients_are_clipped_before_the_decay(kind, tmp_path):
    given, most = batches(2), 0.05
    recipe = f"clip: {{{kind}: {most}}}, optimizer: {{sgd: 0.1, l2: 0.3}}, epochs: 1, batch_size: 8"
    weights, found = run(tmp_path, recipe, text=LINEAR, given=given)
    for (images, labels), step in zip(given, found, strict=True):
        _, *gradients = by_hand(weights, images, labels)
        norm = np.sqrt(sum((g * g).sum() for g in gradients))
        for name, g in zip(("fc.weight", "fc.bias"), gradients, strict=True):
            own = norm if kind == "global_norm" else np.sqrt((g * g).sum())
            g = np.clip(g, -most, most) if kind == "value" else g * min(1, most / (own + 1e-6))
            weights[name] = weights[name] - 0.1 * (g + 0.3 * weights[name])
            np.testing.assert_allclose(step.weights[name], weights[name], rtol=1e-11, atol=1e-13)


def test_accumulation_is_one_large_batch(tmp_path):
    given = batches(4, 10)  # in parts of 4, 4 and 2
    recipe = "optimizer: {adam: 0.01}, epochs: 1, batch_size: 4"
    _, whole = run(tmp_path, recipe, text=LINEAR, given=given)
    _, parts = run(tmp_path, f"{recipe}, gradient_accumulation: 3", text=LINEAR, given=given)
    for one, other in zip(whole, parts, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-12)
        for name in one.weights:
            np.testing.assert_allclose(one.weights[name], other.weights[name], rtol=1e-11, atol=1e-13)


def test_heads_in_training_add_their_loss(tmp_path):
    heads = (
        LINEAR
        + "outputs:\n  aux: {from: flatten, training_only: true, loss_weight: 0.3, layers: [{dense: 3, name: a}]}\n"
    )
    recipe = "optimizer: {sgd: 0.1}, epochs: 1, batch_size: 8"
    given = batches(1)
    weights, found = run(tmp_path, recipe, text=heads, given=given)
    head = next(name for name in weights if name.endswith("a.weight")).removesuffix("weight")
    main, dw, _ = by_hand(weights, *given[0])
    aux, da, _ = by_hand({"fc.weight": weights[head + "weight"], "fc.bias": weights[head + "bias"]}, *given[0])
    assert found[0].loss == pytest.approx(main + 0.3 * aux, rel=1e-12)
    np.testing.assert_allclose(found[0].weights["fc.weight"], weights["fc.weight"] - 0.1 * dw, rtol=1e-11)
    np.testing.assert_allclose(found[0].weights[head + "weight"], weights[head + "weight"] - 0.03 * da, rtol=1e-11)


def test_a_plateau_of_the_loss_lowers_the_rate(tmp_path):
    recipe = "schedule: {reduce_on_plateau: {monitor: loss, patience: 1, factor: 0.5, min_delta: 100}}, "
    given = batches(1) * 5
    weights, found = run(
        tmp_path, recipe + "optimizer: {sgd: 0.1}, epochs: 5, batch_size: 8", text=LINEAR, given=given, per_epoch=1
    )
    for rate, step in zip([0.1, 0.1, 0.05, 0.025, 0.0125], found, strict=True):
        _, dw, db = by_hand(weights, *given[0])
        weights = {"fc.weight": weights["fc.weight"] - rate * dw, "fc.bias": weights["fc.bias"] - rate * db}
        np.testing.assert_allclose(step.weights["fc.weight"], weights["fc.weight"], rtol=1e-11, atol=1e-13)


def test_weights_come_back_from_a_native_file(tmp_path):
    made = net(tmp_path, "optimizer: {sgd: 0.1}, epochs: 1, batch_size: 8")
    weights = dict(made.weights(5).items())
    BACKEND.write_weights(made.graph, weights, tmp_path / "w.pt")
    found = BACKEND.read_weights(made.graph, tmp_path / "w.pt")
    assert found.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)
