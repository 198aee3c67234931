"""One process, or several that `torchrun` started, and their device."""

import os

import numpy as np
import torch
import torch.distributed as dist

RANK = int(os.environ.get("RANK", 0))  # torchrun sets these
WORLD = int(os.environ.get("WORLD_SIZE", 1))
Batch = tuple[torch.Tensor, torch.Tensor]


def find_device(name: str | None) -> torch.device:
    """The device called `name`; by default this process's GPU, if there is one."""
    if name in (None, "cuda") and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        name = "cuda"
    return torch.device(name or "cpu")


def add_up(numbers: torch.Tensor) -> torch.Tensor:
    """Add up numbers over all processes, in place."""
    if WORLD > 1:
        dist.all_reduce(numbers)
    return numbers


def to_device(batch: tuple[np.ndarray, np.ndarray], device: torch.device) -> Batch:
    """A batch as PyTorch has it: channels come first, though last in memory."""
    images, labels = map(torch.from_numpy, batch)
    return images.permute(0, 3, 1, 2).to(device), labels.to(device)
