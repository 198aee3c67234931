"""Networks of the zoo against torchvision's: the same graph, layer by layer, and the same multiply-adds."""

import operator
import sys
from collections.abc import Hashable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.nn import functional
from zoo_peers import TORCHVISION

import cnnspec

from .structure import (
    Step,
    avg_pool,
    batch_norm,
    dropout,
    listing,
    max_pool,
    size,
    spec_listing,
    weighted,
    window,
)

try:
    from torchvision import models
except RuntimeError:  # its compiled operators do not fit this PyTorch: the models do without them
    for imported in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[imported]
    sys.modules["torchvision._meta_registrations"] = ModuleType("torchvision._meta_registrations")
    from torchvision import models

HEADS = {"googlenet": ["fc", "aux1.fc2", "aux2.fc2"], "inception_v3": ["fc", "AuxLogits.fc"]}


@pytest.mark.parametrize("name", TORCHVISION)
def test_graph(name: str) -> None:
    model = TORCHVISION[name]
    extent = cnnspec.load(name).spec.input[1]
    theirs = torch_listing(model, extent)
    assert spec_listing(name, heads=True) == [line.replace(*UNEVEN) for line in theirs]


UNEVEN = ("adaptive_avg_pool 4×4", "window 5×5 stride 3×3 pads [0, 0, 0, 0]")
"""What torchvision's GoogLeNet has in its auxiliary heads, and what the spec has: the paper's pool."""


@pytest.mark.parametrize("name", TORCHVISION)
def test_macs(name: str) -> None:
    weights = models.get_model_weights(TORCHVISION[name])["IMAGENET1K_V1"]
    assert round(cnnspec.load(name).summary().cost.totals.macs / 1e9, 3) == weights.meta["_ops"]


def torch_listing(name: str, extent: int) -> list[str]:
    """A model of torchvision, its auxiliary heads included."""
    options = {"init_weights": False} if name in HEADS else {}
    with torch.device("meta"):
        model = getattr(models, name)(weights=None, **options)
        traced = fx.symbolic_trace(model.train() if name in HEADS else model.eval())
        ShapeProp(traced).propagate(torch.empty(2, 3, extent, extent))
    steps: dict[Hashable, Step] = {}
    alias: dict[Hashable, Hashable] = {}
    ends = {}
    for node in traced.graph.nodes:
        if node.op == "output" or not isinstance(node.meta.get("tensor_meta"), TensorMetadata):
            continue  # the result, of one tensor or a tuple of them
        inputs = [alias[source.name] for source in node.all_input_nodes]
        text = _text(node, model)
        alias[node.name] = node.name if text else inputs[0]
        ends[node.target] = alias[node.name]
        if text:
            steps[node.name] = Step(text, inputs)
        last = alias[node.name]
    return listing(steps, [ends[target] for target in HEADS.get(name, ())] or [last])


def _text(node: fx.Node, model: nn.Module) -> str:
    """What a node computes; nothing for what leaves its input as it is."""
    out = tuple(node.meta["tensor_meta"].shape[1:])
    before = [tuple(source.meta["tensor_meta"].shape[1:]) for source in node.all_input_nodes]
    if node.op == "placeholder":
        return f"input {size(out)}"
    if node.op == "call_module":
        return _module(model.get_submodule(str(node.target)), out, before[0])
    called: Any = node.target
    arguments = dict(zip(("input", "kernel_size"), node.args, strict=False)) | node.kwargs
    if called is functional.relu:
        return f"relu {size(out)}"
    if called in (operator.add, operator.iadd):
        return f"add {size(out)}"
    if called is torch.cat:
        return f"concat {size(out)}"
    if called is torch.flatten:
        return ""
    if called is functional.max_pool2d:
        return _module(nn.MaxPool2d(*_pool_options(arguments)), out, before[0])
    if called is functional.avg_pool2d:
        return _module(nn.AvgPool2d(*_pool_options(arguments)), out, before[0])
    assert called is functional.adaptive_avg_pool2d, called
    return _module(nn.AdaptiveAvgPool2d(node.args[1]), out, before[0])  # type: ignore[arg-type]


def _pool_options(arguments: dict[str, Any]) -> tuple[Any, ...]:
    return arguments["kernel_size"], arguments["stride"], arguments.get("padding", 0)


def _module(module: nn.Module, out: tuple[int, ...], before: tuple[int, ...]) -> str:
    match module:
        case nn.Conv2d():
            place = window(module.kernel_size, module.stride, _pads(module.padding))
            return weighted("conv", out, module.weight.shape, module.bias is not None, place)
        case nn.Linear():
            return weighted("dense", out, module.weight.shape, module.bias is not None)
        case nn.BatchNorm2d():
            kept = 1 - (module.momentum or 0)
            return batch_norm(out, module.eps, kept, module.weight is not None, module.bias is not None)
        case nn.MaxPool2d():
            return max_pool(out, _pair(module.kernel_size), _pair(module.stride), _pads(module.padding))
        case nn.AvgPool2d():
            divisor = "padded" if module.count_include_pad else "valid"
            edges = _pads(module.padding)
            return avg_pool(out, _pair(module.kernel_size), _pair(module.stride), edges, divisor)
        case nn.AdaptiveAvgPool2d():
            if out[1:] == (1, 1):
                return f"global_avg_pool {out[0]}"
            return "" if out == before else f"avg_pool {size(out)} adaptive_avg_pool {size(out[1:])}"
        case nn.ReLU():
            return f"relu {size(out)}"
        case nn.Dropout():
            return dropout(module.p)
    raise AssertionError(f"no text for {module}")


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _pads(value: Any) -> tuple[int, int, int, int]:
    vertical, horizontal = _pair(value)
    return vertical, horizontal, vertical, horizontal
