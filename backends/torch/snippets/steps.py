"""What happens to gradients and weights in a step, besides the optimiser's own work."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def clip_each(parameters: Iterable[nn.Parameter], maximum: float) -> None:
    """Limit the norm of each parameter's gradient."""
    for parameter in parameters:
        nn.utils.clip_grad_norm_(parameter, maximum)


def synchronised(model: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Processes add up their gradients `now`, or with those of a later batch."""
    if now or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


@torch.no_grad()
def decay_weights(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Multiply weights by 1 − rate · decay, ahead of a step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.mul_(1 - group["lr"] * group["decay"])
