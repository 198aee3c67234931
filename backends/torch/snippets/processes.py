"""One process, or several that `torchrun` started."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn

RANK = int(os.environ.get("RANK", "0"))  # torchrun sets these
WORLD = int(os.environ.get("WORLD_SIZE", "1"))


def join(name: str) -> torch.device:
    """Meet the other processes, if there are any; returns this one's device."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if WORLD > 1 and device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.empty(1, dtype=torch.float64, device=device)  # Apple's GPUs have none
    except (AssertionError, RuntimeError, TypeError) as error:
        sys.exit(f"error: there is no --device {name}: {str(error).splitlines()[0]}")
    if WORLD > 1:
        dist.init_process_group()
    return device


def share_buffers(model: nn.Module) -> None:
    """Give a model the first process's running statistics, which are those kept."""
    if WORLD > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def add_up(numbers: torch.Tensor) -> torch.Tensor:
    """Add up numbers over all processes, in place."""
    if WORLD > 1:
        dist.all_reduce(numbers)
    return numbers
