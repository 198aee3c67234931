"""The reference definition of every op against PyTorch's functions, in float64, and the runner of whole networks."""

from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pytest
import torch
from agreement import agree
from op_cases import CASES, FLAT, ODD, POOLS, Case
from torch.nn import functional as F
from torch_ops import expected, pool_by_windows
from vision import models

import cnnspec
from cnnspec.backends.reference import BACKEND
from cnnspec.backends.reference.norm import batch_norm_in_training
from cnnspec.backends.reference.table import apply
from cnnspec.ops import OPS, Canonical, Op, Param, Shape

TOLERANCE = 1e-12


def draw(random: np.random.Generator, name: str, param: Param) -> np.ndarray:
    """A parameter, none of whose values is one that would hide a mistake."""
    return random.uniform(0.5, 2, param.shape) if name.endswith("running_var") else random.normal(size=param.shape)


class Drawn(NamedTuple):
    inputs: list[np.ndarray]
    params: dict[str, np.ndarray]


def drawn(case: Case) -> Drawn:
    """Inputs for a batch of two, and parameters: the same ones every time."""
    random = np.random.default_rng(crc32(str(case).encode()))
    inputs = [2 * random.normal(size=(2, *shape)) for shape in case.inputs]
    return Drawn(inputs, {name: draw(random, name, p) for name, p in case.op.params(case.inputs).items()})


def nodes(op: Op, shapes: tuple[Shape, ...]) -> list[tuple[str, Canonical]]:
    """What stands in the graph for an op, with the prefix of its parameters."""
    if not op.parts():
        return [("", op.canonical(shapes))]
    found = []
    for part in op.parts():
        found.append((f"{part.label}.", part.op.canonical(shapes)))
        shapes = (part.op.shape(shapes),)
    return found


def reference(case: Case, inputs: list[np.ndarray], params: dict[str, np.ndarray]) -> np.ndarray:
    for prefix, canonical in nodes(case.op, case.inputs):
        own = {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}
        inputs = [apply(canonical, inputs, own)]
    return inputs[0]


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_definitions_give_pytorch_s_values(case):
    inputs, params = drawn(case)
    before = [x.copy() for x in inputs]
    y = reference(case, inputs, params)
    assert y.dtype == np.float64
    assert y.shape == (2, *case.op.shape(case.inputs))
    agree(y, expected(case.op, [torch.from_numpy(x) for x in before], tensors(params)), TOLERANCE)
    assert all(np.array_equal(x, x_before) for x, x_before in zip(inputs, before, strict=True)), "inputs are changed"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_float32_stays_float32(case):
    inputs, params = drawn(case)
    exact = reference(case, inputs, params)
    single = {name: p.astype(np.float32) for name, p in params.items()}
    y = reference(case, [x.astype(np.float32) for x in inputs], single)
    assert y.dtype == np.float32
    agree(y, exact, 3e-6 * max(1, np.abs(exact).max()))


def test_the_table_holds_the_canonical_kinds_and_no_other():
    assert {case.kind for case in CASES} == set(OPS)
    produced = {canonical.kind for case in CASES for _, canonical in nodes(case.op, case.inputs)}
    assert set(BACKEND.kinds) == produced


def test_definitions_refuse_attributes_that_they_do_not_know():
    x = np.ones((1, *ODD))
    with pytest.raises(TypeError, match="slope"):
        apply(Canonical("relu", {"slope": 0.1}), [x], {})
    with pytest.raises(TypeError, match="divisor"):
        apply(Canonical("max_pool", {**POOLS[0].op.canonical([ODD]).attrs, "divisor": "valid"}), [x], {})


EVEN_POOLS = [
    c for c in POOLS if not isinstance(c.options.get("padding", 0), list) and c.options.get("padding") != "same"
]


@pytest.mark.parametrize("case", EVEN_POOLS, ids=str)
def test_pools_window_by_window_are_pytorch_s(case):
    """What is expected where PyTorch has no such padding is itself checked where it has."""
    op: Any = case.op
    (x,), _ = drawn(case)
    height, width = (
        [k // 2 for k in op.size] if op.padding == "half" else [0, 0] if op.padding == "valid" else op.padding[:2]
    )
    counted = case.options.get("divisor") == "padded"
    y = pool_by_windows(
        torch.from_numpy(x),
        case.kind,
        op.size,
        op.stride or op.size,
        [width, width, height, height],
        ceil_mode=op.ceil_mode,
        counted=counted,
    )
    agree(y, expected(op, [torch.from_numpy(x)], {}), TOLERANCE)


ELEMENTWISE = [c for c in CASES if OPS[c.kind].role == "activation" and c.inputs == (FLAT,) and not c.op.parameterised]


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_activations_at_their_kinks_and_far_out(case):
    x = np.array([[-1e4, -800, -90, -6, -3, -1, -1e-9, 0, 1e-9, 1, 3, 6, 90, 800, 1e4]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = apply(case.op.canonical([FLAT]), [x], {})
    agree(y, expected(case.op, [torch.from_numpy(x)], {}), TOLERANCE)


@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "batch_norm"], ids=str)
def test_batch_statistics_are_pytorch_s_but_for_the_biased_running_variance(case):
    op: Any = case.op
    (x,), params = drawn(case)
    mean, variance = torch.from_numpy(params["running_mean"].copy()), torch.from_numpy(params["running_var"].copy())
    affine = {name: torch.from_numpy(params[name]) for name in ("weight", "bias") if name in params}
    y = F.batch_norm(
        torch.from_numpy(x), mean, variance, **affine, training=True, momentum=1 - op.momentum, eps=op.epsilon
    )
    trained = batch_norm_in_training(x, params, epsilon=op.epsilon, momentum=op.momentum)
    agree(trained.y, y, TOLERANCE)
    agree(trained.running_mean, mean, TOLERANCE)
    n = x.size // x.shape[1]
    kept = op.momentum * params["running_var"]
    agree(trained.running_var, kept + (variance.numpy() - kept) * (n - 1) / n, TOLERANCE)


NETWORK = """
cnnspec: 1
name: small
input: {channels: 3, size: [9, 8]}
layers:
  - {conv: 4, kernel: 3, norm: batch_norm, activation: relu, name: stem}
  - residual:
      body:
        - {conv: 6, kernel: 3, stride: 2, activation: tanh}
      shortcut: auto
      activation: relu
  - {dropout: 0.5, name: drop}
  - flatten
  - {dense: 5, name: fc}
outputs:
  aux: {from: stem, training_only: true, loss_weight: 0.3, layers: [global_avg_pool, {dense: 5}]}
  pooled: {from: drop, layers: [global_max_pool]}
"""


def weights_of(graph: Any) -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    return {
        f"{node.path}.{name}": draw(random, name, param) for node in graph.nodes for name, param in node.params.items()
    }


def test_a_network_by_hand(tmp_path):
    (tmp_path / "small.yaml").write_text(NETWORK)
    graph = cnnspec.load(tmp_path / "small.yaml").graph
    weights = weights_of(graph)
    images = np.random.default_rng(8).normal(size=(2, 3, 9, 8))
    outputs = BACKEND.runner(graph, weights, "float64").outputs(images)

    inference = graph.inference()
    assert list(outputs) == [node.path for node in inference.nodes]
    assert not any(path.startswith("aux") for path in outputs), "heads of the training are left out"
    assert {path: y.shape[1:] for path, y in outputs.items()} == {n.path: tuple(n.shape) for n in inference.nodes}

    w = tensors(weights)
    x = F.conv2d(torch.from_numpy(images), w["stem.conv.weight"], w["stem.conv.bias"], padding=1)
    x = F.batch_norm(
        x, w["stem.bn.running_mean"], w["stem.bn.running_var"], w["stem.bn.weight"], w["stem.bn.bias"], eps=1e-5
    ).relu()
    agree(outputs["stem.relu"], x, TOLERANCE)
    body, shortcut = (
        F.conv2d(x, w[f"{path}.weight"], w[f"{path}.bias"], stride=2, padding=padding)
        for path, padding in (("conv", 1), ("shortcut", 0))
    )
    x = (body.tanh() + shortcut).relu()
    agree(outputs["drop"], x, TOLERANCE)
    agree(outputs["fc"], F.linear(x.flatten(1), w["fc.weight"], w["fc.bias"]), TOLERANCE)
    main, pooled = (output.node.path for output in inference.outputs)
    assert main == "fc"
    agree(outputs[pooled], x.amax((2, 3)), TOLERANCE)

    single = BACKEND.runner(graph, weights, "float32").outputs(images)
    assert {y.dtype for y in single.values()} == {np.dtype(np.float32)}
    agree(single["fc"], outputs["fc"], 1e-4)


def test_resnet50_is_torchvision_s():
    """Every weight and statistic drawn: 64×64 images give torchvision's logits."""
    graph = cnnspec.load("resnet50", params={"input.size": 64}).graph
    model = models.resnet50(weights=None).double().eval()
    random = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=random)
        elif isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, generator=random)
    weights = {ours(name): tensor.numpy() for name, tensor in model.state_dict().items()}
    images = np.random.default_rng(4).normal(size=(1, 3, 64, 64))
    logits = BACKEND.runner(graph, weights, "float64").outputs(images)["fc"]
    with torch.inference_mode():
        theirs = model(torch.from_numpy(images))
    agree(logits, theirs, TOLERANCE * float(theirs.abs().max()))


def ours(name: str) -> str:
    """The path of one of torchvision's parameters of a ResNet."""
    name = name.replace("downsample.0", "shortcut.conv").replace("downsample.1", "shortcut.bn")
    head, _, rest = name.partition(".")
    return {"conv1": "stem.conv.", "bn1": "stem.bn."}.get(head, f"{head}.") + rest
