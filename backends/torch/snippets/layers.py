"""Layers that do not train as others do."""

from collections.abc import Iterable
from typing import Any

from torch import nn

FROZEN: list[str] = []
UNFREEZE: dict[int, list[str]] = {}
RATE_FACTORS: dict[str, float] = {}


def freeze(model: nn.Module) -> None:
    """Keep the frozen layers as they are, running statistics of norms too."""
    for name in FROZEN:
        model.get_submodule(name).requires_grad_(False).eval()


def unfreeze(model: nn.Module, epoch: int) -> None:
    """Keep layers as they are until they start to train; epochs count from 1."""
    for start, names in UNFREEZE.items():
        for name in names:
            layer = model.get_submodule(name).requires_grad_(epoch >= start)
            if epoch < start:
                layer.eval()


def rate_factor(name: str) -> float:
    """How many times the rate a parameter takes."""
    for layer, factor in RATE_FACTORS.items():
        if name.startswith(f"{layer}."):
            return factor
    return 1.0


def by_factor(
    model: nn.Module, groups: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Groups of parameters, parted by how many times the rate they take."""
    factors = {each: rate_factor(name) for name, each in model.named_parameters()}
    parts = []
    for group in groups:
        for factor in sorted({factors[each] for each in group["params"]}):
            params = [each for each in group["params"] if factors[each] == factor]
            parts.append({**group, "params": params, "factor": factor})
    return parts
