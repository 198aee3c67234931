"""The state of training in checkpoints, and weights in files."""

import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnspec.train.snippets.records import replacing


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state so that the file is whole or not there."""
    with replacing(path) as part, part.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # PyTorch's writer hides what went wrong
            raise error.__context__ or error from None


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a model the weights in a file."""
    try:
        model.load_state_dict(torch.load(path, "cpu", weights_only=True))
    except Exception as error:  # noqa: BLE001 - a damaged file raises anything
        sys.exit(f"error: {path} has no weights of this network: {error}")


def resume(folder: Path, stateful: dict[str, Any]) -> Any:
    """Go on from the newest checkpoint that can be read; returns what is left of it."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            if zipfile.ZipFile(path).testzip():
                raise ValueError("it was changed on disk")
            state = torch.load(path, "cpu", weights_only=True)
            for name, part in stateful.items():
                part.load_state_dict(state[name])
            return state["progress"]
        except Exception as error:  # noqa: BLE001 - a damaged file raises anything
            print(f"warning: {path} is broken: {error}", file=sys.stderr)
    sys.exit(f"error: no checkpoint in {folder} can be read: remove it to begin anew")
