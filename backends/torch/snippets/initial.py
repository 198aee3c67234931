"""First weights of a given variance."""

import math

import torch
from torch import nn


def fill_(tensor: torch.Tensor, variance: float, distribution: str) -> None:
    """Fill with values about 0."""
    deviation = math.sqrt(variance)
    if distribution == "uniform":
        nn.init.uniform_(tensor, -math.sqrt(3) * deviation, math.sqrt(3) * deviation)
    elif distribution == "normal":
        nn.init.normal_(tensor, 0.0, deviation)
    else:
        deviation /= 0.8796256610342398  # that of a normal distribution cut at ±2
        nn.init.trunc_normal_(tensor, 0.0, deviation, -2 * deviation, 2 * deviation)


def fan_of(weight: torch.Tensor, mode: str) -> float:
    """How many weights lead to an output value, or away from an input value."""
    area = weight[0, 0].numel()
    fan_in, fan_out = weight.shape[1] * area, weight.shape[0] * area
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_average": (fan_in + fan_out) / 2}
    return fans[mode]


def scaled_(weight: torch.Tensor, scale: float, mode: str, distribution: str) -> None:
    """Fill a weight with values of variance `scale` / fan."""
    fill_(weight, scale / fan_of(weight, mode), distribution)


def scaled_bias_(
    layer: nn.Conv2d | nn.Linear, scale: float, mode: str, distribution: str
) -> None:
    """Fill a layer's bias with values of variance `scale` / fan."""
    if layer.bias is not None:
        fill_(layer.bias, scale / fan_of(layer.weight, mode), distribution)
