"""Keras's optimisers in generated code are PyTorch's, number for number."""

import numpy as np
import pytest
from train_nets import small_net

from cnnspec.lower.fold import fold

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")

STEPS, TOLERANCE = 20, 1e-10  # with 0.25 where Keras rounds a number to float32
SHAPES = [(4, 3), (3,), (2, 2, 3)]
OPTIM = torch.optim
CASES = {
    "sgd": ({"sgd": 0.1}, lambda p: OPTIM.SGD(p, 0.1)),
    "momentum": ({"sgd": 0.1, "momentum": 0.9}, lambda p: OPTIM.SGD(p, 0.1, 0.9)),
    "nesterov": (
        {"sgd": 0.1, "momentum": 0.9, "nesterov": True},
        lambda p: OPTIM.SGD(p, 0.1, 0.9, nesterov=True),
    ),
    "adam": ({"adam": 0.01}, lambda p: OPTIM.Adam(p, 0.01)),
    "adam_options": (
        {"adam": 0.01, "betas": [0.8, 0.95], "epsilon": 1e-3, "amsgrad": True},
        lambda p: OPTIM.Adam(p, 0.01, (0.8, 0.95), 1e-3, amsgrad=True),
    ),
    "adam_l2": ({"adam": 0.01, "l2": 0.1}, lambda p: OPTIM.Adam(p, 0.01, weight_decay=0.1)),
    "adamw": ({"adamw": 0.01, "weight_decay": 0.25}, lambda p: OPTIM.AdamW(p, 0.01, weight_decay=0.25)),
    "rmsprop": ({"rmsprop": 0.01}, lambda p: OPTIM.RMSprop(p, 0.01)),
    "rmsprop_options": (
        {"rmsprop": 0.01, "rho": 0.9, "epsilon": 0.1, "momentum": 0.8, "centered": True},
        lambda p: OPTIM.RMSprop(p, 0.01, 0.9, 0.1, momentum=0.8, centered=True),
    ),
    "adagrad": (
        {"adagrad": 0.1, "initial_accumulator": 0.25},
        lambda p: OPTIM.Adagrad(p, 0.1, initial_accumulator_value=0.25),
    ),
    "adagrad_from_0": ({"adagrad": 0.1}, lambda p: OPTIM.Adagrad(p, 0.1)),
    "adadelta": ({"adadelta": 1.0}, lambda p: OPTIM.Adadelta(p, 1.0)),
    "adamax": ({"adamax": 0.01}, lambda p: OPTIM.Adamax(p, 0.01)),
    "nadam": ({"nadam": 0.01, "momentum_decay": 0.05}, lambda p: OPTIM.NAdam(p, 0.01, momentum_decay=0.05)),
}
CLIPS = {
    "global_norm": lambda parameters: torch.nn.utils.clip_grad_norm_(parameters, 0.5),
    "parameter_norm": lambda parameters: [torch.nn.utils.clip_grad_norm_([p], 0.5) for p in parameters],
    "value": lambda parameters: torch.nn.utils.clip_grad_value_(parameters, 0.5),
}


def numbers():
    """First weights, and gradients of every step."""
    draw = np.random.default_rng(0)
    first = [draw.normal(size=shape) for shape in SHAPES]
    return first, [[draw.normal(size=shape) for shape in SHAPES] for _ in range(STEPS)]


def rates(base):
    """Rates that change."""
    return [base * (0.5 if step % 7 > 3 else 1 - step / 40) for step in range(STEPS)]


def with_keras(folder, recipe_rates, **sections):
    """What the optimiser of the generated text makes of the weights."""
    from cnnspec.backends.keras.run import computing
    from cnnspec.backends.keras.trajectory import generated_optimizer

    first, gradients = numbers()
    net = small_net(folder, **sections)
    with computing("float64"):
        variables = [
            keras.Variable(value, name=name) for value, name in zip(first, ("kernel", "bias", "kernel"), strict=True)
        ]
        optimizer = generated_optimizer(fold(net.graph), net.recipe, variables)
        for rate, given in zip(recipe_rates, gradients, strict=True):
            optimizer.learning_rate = rate
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in given])
        return [keras.ops.convert_to_numpy(variable) for variable in variables], optimizer


def with_torch(make, recipe_rates, clip=None, decay=0.0):
    """What PyTorch makes of them."""
    first, gradients = numbers()
    parameters = [torch.nn.Parameter(torch.from_numpy(value.copy())) for value in first]
    torch.set_default_dtype(torch.float64)  # of NAdam's product of momenta
    try:
        return _stepped(make(parameters), parameters, gradients, recipe_rates, clip, decay)
    finally:
        torch.set_default_dtype(torch.float32)


def _stepped(optimizer, parameters, gradients, recipe_rates, clip, decay):
    for rate, given in zip(recipe_rates, gradients, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(parameters, given, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
            parameter.data *= 1 - rate * decay
        if clip:
            clip(parameters)
        optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


def assert_same(found, expected, tolerance=TOLERANCE):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_optimizer_under_a_schedule(name, tmp_path):
    options, make = CASES[name]
    base = next(iter(options.values()))
    found, _ = with_keras(tmp_path, rates(base), optimizer=options, schedule={"cosine": {}})
    assert_same(found, with_torch(make, rates(base)))


def test_keras_own_optimizer_serves_without_momentum(tmp_path):
    _, optimizer = with_keras(tmp_path, [0.1] * STEPS, optimizer={"sgd": 0.1})
    assert type(optimizer) is keras.optimizers.SGD


@pytest.mark.parametrize("clip", CLIPS)
def test_gradients_are_clipped_before_l2(clip, tmp_path):
    options = {"sgd": 0.1, "momentum": 0.9, "l2": 0.2}
    found, _ = with_keras(tmp_path, [0.1] * STEPS, optimizer=options, clip={clip: 0.5})
    assert_same(found, with_torch(lambda p: OPTIM.SGD(p, 0.1, 0.9, weight_decay=0.2), [0.1] * STEPS, CLIPS[clip]))


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "nadam"])
def test_decoupled_decay(name, tmp_path):
    options, make = CASES[name]
    base = next(iter(options.values()))
    options = options | {"decoupled_weight_decay": 0.25}
    found, _ = with_keras(tmp_path, rates(base), optimizer=options, schedule={"cosine": {}})
    assert_same(found, with_torch(make, rates(base), decay=0.25))


@pytest.mark.parametrize("decay", ["l2", "decoupled_weight_decay"])
def test_what_is_excluded_does_not_decay(decay, tmp_path):
    options = {"sgd": 0.1, decay: 0.3, "exclude": ["bias"]}
    found, _ = with_keras(tmp_path, [0.1] * STEPS, optimizer=options)
    plain = with_torch(CASES["sgd"][1], [0.1] * STEPS)
    np.testing.assert_allclose(found[1], plain[1], rtol=0, atol=TOLERANCE)
    assert np.abs(found[0] - plain[0]).max() > 0.01
