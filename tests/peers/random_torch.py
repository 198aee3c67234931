"""Random weights and statistics for a module, which keep activations at a size of about 1."""

import math
from typing import Any

import torch
from torch import nn


@torch.no_grad()
def randomised(model: Any, x: torch.Tensor) -> Any:
    """The module for inference; statistics are those of the images, moved at random."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.normal_(0, math.sqrt(2 / module.weight[0].numel()))
            if module.bias is not None:
                module.bias.normal_(0, 0.2)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.2)
            module.momentum = 1.0  # takes the images' own statistics
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        model.train()(x)
    for norm in norms:
        norm.momentum = 0.1
        spread = norm.running_var.sqrt()
        norm.running_mean += 0.3 * spread * torch.randn_like(spread)
        norm.running_var *= torch.empty_like(spread).uniform_(0.5, 1.5)
    return model.eval()
