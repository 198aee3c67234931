"""Initial values: the same bytes everywhere, distributed as their names say, whatever is around a parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import chain, islice
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any, get_args

import numpy as np
import pytest
from op_cases import CASES
from pydantic import TypeAdapter
from small_nets import SMALL

import cnnspec
from cnnspec.graph.model import Instance, Node
from cnnspec.spec.recipe.initializer import Initializer, Initializers
from cnnspec.weights import distributions
from cnnspec.weights.contract import contract
from cnnspec.weights.initial import default, fans, initial_weights

Load = Callable[..., cnnspec.Net]
MASK = (1 << 64) - 1

CHOICES = [choice.kind for choice in get_args(get_args(Initializer)[0])]
WIDE = "cnnspec: 1\nname: wide\ninput: {channels: 400, size: 1}\nlayers: [flatten, {dense: 500, name: fc}]\n"
"""fan_in 400, fan_out 500."""
CUT = 0.8796256610342398  # the deviation of a standard normal cut at ±2: √(1 − 2·2·φ(2) / (2·Φ(2) − 1))
DRAWN = [  # options, mean, deviation, bound on the distance from the mean
    ({"normal": 0.1}, 0, 0.1, None),
    ({"normal": {"std": 0.1, "mean": 0.5}}, 0.5, 0.1, None),
    ({"truncated_normal": {"std": 0.1, "mean": 0.5}}, 0.5, 0.1 * CUT, 0.2),
    ({"uniform": 0.3}, 0, 0.3 / sqrt(3), 0.3),
    ({"uniform": [-1, 3]}, 1, 2 / sqrt(3), 2),
    ("he_normal", 0, sqrt(2 / 400), None),
    ("he_uniform", 0, sqrt(2 / 400), sqrt(6 / 400)),
    ("glorot_normal", 0, sqrt(2 / 900), None),
    ("glorot_uniform", 0, sqrt(2 / 900), sqrt(6 / 900)),
    ("lecun_normal", 0, sqrt(1 / 400), None),
    ("lecun_uniform", 0, sqrt(1 / 400), sqrt(3 / 400)),
    ("fan_in_uniform", 0, 1 / 20 / sqrt(3), 1 / 20),
    ("variance_scaling", 0, sqrt(1 / 400), 2 / CUT * sqrt(1 / 400)),
    ({"variance_scaling": {"scale": 3, "mode": "fan_out", "distribution": "normal"}}, 0, sqrt(3 / 500), None),
    (
        {"variance_scaling": {"scale": 3, "mode": "fan_average", "distribution": "uniform"}},
        0,
        sqrt(3 / 450),
        1 / sqrt(50),
    ),
]
CONSTANT = [("zeros", 0.0), ("ones", 1.0), ({"constant": -0.75}, -0.75)]


def initializer(value: Any) -> Any:
    return TypeAdapter(Initializer).validate_python(value)


def section(**values: Any) -> Initializers:
    return Initializers.model_validate(values)


def philox(key: int) -> Iterator[int]:
    """The words of Philox 4x64-10 as Salmon et al. (2011) define it; NumPy's first block has the counter 1."""
    for number in range(1, MASK):
        counter, (low, high) = [number, 0, 0, 0], (key & MASK, key >> 64)
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
            counter = [second >> 64 ^ counter[1] ^ low, second & MASK, first >> 64 ^ counter[3] ^ high, first & MASK]
            low, high = low + 0x9E3779B97F4A7C15 & MASK, high + 0xBB67AE8584CAA73B & MASK
        yield from counter


def numbers(seed: int, key: str, count: int) -> list[float]:
    """The first numbers between 0 and 1 that a parameter draws."""
    start = sha256(b"cnnspec-init-v1\0" + str(seed).encode() + b"\0" + key.encode()).digest()[:16]
    words = philox(int.from_bytes(start[:8], "little") + (int.from_bytes(start[8:], "little") << 64))
    halves = chain.from_iterable((word & 0xFFFFFFFF, word >> 32) for word in words)
    return [((half >> 8) + 0.5) / 2**24 for half in islice(halves, count)]


# ---- the stream


def test_values_by_another_computation(load: Load) -> None:
    weights = initial_weights(load().graph, 7)
    count = 6 * 2 * 3 * 5
    expected = [NormalDist().inv_cdf(u) * sqrt(2 / 30) for u in numbers(7, "stem.conv.weight", count)]
    np.testing.assert_allclose(weights["stem.conv.weight"].ravel(), expected, rtol=0, atol=1e-7)
    expected = [(2 * u - 1) * sqrt(6 / 11) for u in numbers(7, "fc.weight", 24)]
    np.testing.assert_allclose(weights["fc.weight"].ravel(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("conv", "digest"),
    [
        ("he_normal", "74e944ec297a5b75115a4fd6508956ecec31a5555ac56aeb45519a6dd9b0d782"),
        ("variance_scaling", "56c01381b964af71145bf11892f0eab056016134b10040dbd428d449dee5420c"),
    ],
)
def test_a_file_never_changes(load: Load, tmp_path: Path, conv: str, digest: str) -> None:
    """Tests around this one say that the values are right; one changed bit would part us from published files."""
    net = load()
    net.save_weights(tmp_path / "w.safetensors", initial_weights(net.graph, 0, section(conv=conv)))
    assert sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("size", [1, 2, 31, 64, 65])
def test_the_inverse_of_the_normal_distribution(size: int) -> None:
    steps = np.unique(np.concatenate([np.arange(3000), np.linspace(0, 2**23 - 1, 5000).astype(int)]))[::size]
    u = np.concatenate([steps, 2**24 - 1 - steps]) * 2.0**-24 + 2.0**-25
    exact = np.array([NormalDist().inv_cdf(value) for value in u])
    assert np.abs(distributions.normal(u) - exact).max() < 2e-9
    lowest = NormalDist().cdf(-2)
    exact = np.array([NormalDist().inv_cdf(lowest + value * (1 - 2 * lowest)) for value in u])
    assert np.abs(distributions.truncated_normal(u) - exact).max() < 2e-9


def test_it_rises_where_its_two_parts_meet() -> None:
    ends = 0.5 + np.array([-1, 1]) * 0.4775
    for end in ends:
        values = distributions.normal(end + np.arange(-500, 500) * 2.0**-24)
        assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("chunk", [2, 6, 64, 1 << 20])
def test_parts_make_no_difference(load: Load, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    graph = load().graph
    whole = {key: array.tobytes() for key, array in initial_weights(graph, 3).items()}
    monkeypatch.setattr(distributions, "_CHUNK", chunk)
    assert {key: array.tobytes() for key, array in initial_weights(graph, 3).items()} == whole


def test_only_seed_and_key_matter(load: Load) -> None:
    before = initial_weights(load().graph, 3)
    text = (
        "cnnspec: 1\nname: other\ninput: {channels: 4, size: 8}\nlayers:\n  - {conv: 4, kernel: 1}\n"
        "  - {depthwise_conv: 3, name: new}\n  - {conv: 6, kernel: [3, 5], groups: 2, norm: batch_norm, name: stem}\n"
        "  - global_avg_pool\n  - {dense: 8, activation: relu}\n  - {dense: 3, name: fc}\n"
    )
    after = initial_weights(load(text).graph, 3)
    assert list(after)[-2:] == ["fc.weight", "fc.bias"]
    for key in ("stem.conv.weight", "fc.weight"):
        assert after[key].tobytes() == before[key].tobytes()
    other = initial_weights(load().graph, 4)
    assert not np.isin(other["stem.conv.weight"], before["stem.conv.weight"]).any()
    assert not np.isin(before["grow.weight"], before["stem.conv.weight"]).any()


# ---- distributions


@pytest.mark.parametrize(("options", "mean", "deviation", "bound"), DRAWN, ids=str)
def test_moments(load: Load, options: Any, mean: float, deviation: float, bound: float | None) -> None:
    values = initial_weights(load(WIDE).graph, 1, section(dense=options))["fc.weight"].astype(float)
    assert abs(values.mean() - mean) < 4 * deviation / sqrt(values.size)
    assert values.std() == pytest.approx(deviation, rel=0.01)
    furthest = np.abs(values - mean).max()
    if bound is None:
        assert 4 * deviation < furthest < 5.5 * deviation
    else:
        assert 0.999 * bound < furthest <= bound * (1 + 1e-6)


@pytest.mark.parametrize(("options", "value"), CONSTANT, ids=str)
def test_constants(load: Load, options: Any, value: float) -> None:
    values = initial_weights(load(WIDE).graph, 1, section(dense=options, bias=options))
    for key in ("fc.weight", "fc.bias"):
        assert np.unique(values[key]).tolist() == [value]


def test_every_initializer_is_tested() -> None:
    tested = {initializer(options).kind for options, *_ in [*DRAWN, *CONSTANT]}
    assert sorted(tested | {"orthogonal"}) == sorted(CHOICES)


@pytest.mark.parametrize("key", ["stem.conv.weight", "spread.conv.weight", "grow.weight", "fc.weight"])
def test_orthogonal(load: Load, key: str) -> None:
    weights = initial_weights(load().graph, 1, section(conv={"orthogonal": 1.5}, dense={"orthogonal": 1.5}))[key]
    if key == "grow.weight":  # (input channels, output channels of the group, 4, 4), two groups of 6 and 4
        matrix = np.concatenate([weights[:6].swapaxes(0, 1).reshape(4, -1), weights[6:].swapaxes(0, 1).reshape(4, -1)])
    else:
        matrix = weights.reshape(len(weights), -1)
    product = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 1.5**2 * np.eye(len(product)), atol=1e-5)


# ---- which initialiser, with which fans


def test_fans_by_hand(load: Load) -> None:
    """Counted on paper from the layers of `SMALL`."""
    nodes = {node.path: node for node in load().graph.nodes}
    assert fans(nodes["stem.conv"]) == (2 * 15, 6 * 15)
    assert fans(nodes["spread.conv"]) == (9, 12 * 9)
    assert fans(nodes["grow"]) == (6 * 16, 8 * 16)
    assert fans(nodes["fc"]) == (8, 3)
    assert fans(nodes["stem.bn"]) == (1, 6)


def test_defaults(load: Load) -> None:
    weights = load().weights()
    assert weights["stem.bn.running_mean"].tolist() == [0] * 6
    assert weights["stem.bn.running_var"].tolist() == [1] * 6
    assert weights["stem.bn.weight"].tolist() == weights["spread.ln.weight"][:6].tolist() == [1] * 6
    assert weights["stem.bn.bias"].tolist() == weights["stem.conv.bias"].tolist() == [0] * 6
    assert weights["stem.prelu.weight"].tolist() == [0.25] * 6
    assert weights["grow.weight"].std() == pytest.approx(sqrt(2 / 96), rel=0.1)
    assert 0.9 * sqrt(6 / 11) < np.abs(weights["fc.weight"]).max() <= sqrt(6 / 11)
    assert [(key, array.shape) for key, array in weights.items()] == [
        (key, param.shape) for key, param in contract(load().graph).items()
    ]
    assert all(array.dtype == np.float32 for array in weights.values())


RECIPE = """\
train:
  optimizer: {sgd: 0.1}
  epochs: 1
  batch_size: 8
  seed: 5
  initializers:
    conv: {constant: 2}
    bias: fan_in_uniform
    layers:
      "*": {bias: {constant: 3}}
      stem.bn: {weight: zeros}
      grow: {weight: lecun_normal, bias: fan_in_uniform}
"""


def test_a_recipe_decides(load: Load) -> None:
    net = load(SMALL + RECIPE)
    weights = net.weights()
    assert weights.origin == {"seed": "5"}
    assert weights["stem.conv.weight"].max() == weights["spread.conv.weight"].min() == 2
    assert weights["stem.conv.bias"].tolist() == weights["stem.bn.bias"].tolist() == [3] * 6
    assert weights["stem.bn.weight"].tolist() == [0] * 6
    assert weights["stem.bn.running_var"].tolist() == [1] * 6
    assert 0.5 / sqrt(96) < np.abs(weights["grow.bias"]).max() <= 1 / sqrt(96)
    again = initial_weights(net.graph, 5, section(conv="lecun_normal"))
    assert weights["grow.weight"].tobytes() == again["grow.weight"].tobytes()
    assert net.weights(6)["grow.weight"].tobytes() != again["grow.weight"].tobytes()


def test_a_mistake_in_the_recipe_is_reported(load: Load) -> None:
    net = load(SMALL + RECIPE.replace("stem.bn", "stem.bm"))
    with pytest.raises(cnnspec.SpecError, match=r"no layer matches `stem\.bm`"):
        net.weights()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_parameter_of_every_op_has_one(case: Any) -> None:
    op, inputs = case.op, list(case.inputs)
    parts = op.parts() or [("", op, ())]
    for _, part, _ in parts:
        node = Node(
            0, "x", part, (), part.shape(inputs), part.params(inputs), None, {}, "", Instance("", "network", None)
        )
        kinds = {name: default(node, name, Initializers()).kind for name in node.params}
        drawn = {name for name, kind in kinds.items() if kind in ("he_normal", "glorot_uniform")}
        assert drawn == ({"weight"} if len(node.params.get("weight", [()])[0]) > 1 else set())
        inputs = [node.shape]
