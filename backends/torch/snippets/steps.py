"""What happens to gradients and weights in a step, besides the optimiser's own work."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")


def clip_each(parameters: Iterable[nn.Parameter], maximum: float) -> None:
    """Limit the norm of each parameter's gradient."""
    for parameter in parameters:
        nn.utils.clip_grad_norm_(parameter, maximum)


@torch.no_grad()
def decay_weights(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Multiply weights by 1 − rate · decay, ahead of a step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.mul_(1 - group["lr"] * group["decay"])


def groups_of(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last one has what is left."""
    group: list[T] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
