# ruff: noqa: SIM102
"""Training from what frozen layers make of images."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import Data
from torch import nn

from cnnspec.backends.torch.snippets.layers import FROZEN
from cnnspec.backends.torch.snippets.processes import RANK
from cnnspec.train.snippets.cache import with_features

# What a generated file has not: an option's lines are there where the recipe has it on.
HALF = SWITCH = True
PRECISION = HALF_PRECISION = torch.bfloat16


class Head(nn.Module):
    """A network, or what is behind its frozen layers, which takes their features."""

    def __init__(self, model: Any, features: bool) -> None:
        super().__init__()
        self.model, self.features = model, features

    def forward(self, x: torch.Tensor) -> Any:
        if HALF:
            if x.dtype == torch.uint16:
                x = x.view(torch.bfloat16)
        return self.model.forward_head(x) if self.features else self.model(x)


def frozen_features(
    model: Any, data: Data, args: argparse.Namespace, device: torch.device
) -> tuple[Data, str]:
    """The data with frozen layers' features in place of images, and where these lie."""

    @torch.inference_mode()
    def compute(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
        if not HALF:
            x = model.forward_features(x)
        if HALF:
            with torch.autocast(device.type, PRECISION):
                x = model.forward_features(x)
            if x.dtype == torch.bfloat16:  # which NumPy does not have
                x = x.view(torch.uint16)
        return x.movedim(1, -1).cpu().numpy()

    model.eval()
    key = hashlib.sha256(Path(__file__).with_name("model.py").read_bytes())
    for name in FROZEN:
        for tensor in model.get_submodule(name).state_dict().values():
            key.update(tensor.cpu().numpy().tobytes())
    key.update(f"{torch.__version__} {device.type}".encode())
    if HALF:
        key.update(str(PRECISION).encode())
    hide = True if RANK else None
    return with_features(
        data, args.features, key.digest(), args.batch_size, compute, hide
    )
