"""The state of training: in memory, in checkpoints, and weights in files."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from cnnspec.train.snippets.records import (
    RunError,
    load_newest,
    replacing,
)


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state so that the file is whole or not there."""
    with replacing(path) as part, part.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # PyTorch's writer hides what went wrong
            raise error.__context__ or error from None


def load(path: Path) -> dict[str, Any]:
    """A state that `save` wrote."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a model the weights in a file."""
    try:
        model.load_state_dict(load(path))
    except (RuntimeError, UnpicklingError, TypeError) as error:
        raise RunError(f"{path} has no weights of this network: {error}") from None


def resume(folder: Path, stateful: dict[str, Any], size: list[int]) -> Any:
    """Go on from the newest checkpoint, if there is one; returns its own state."""
    state = load_newest(folder, load)
    if state is None:
        return None
    try:
        for name, part in stateful.items():
            part.load_state_dict(state[name])
    except (KeyError, RuntimeError, ValueError):
        raise RunError(f"{folder} is of another recipe") from None
    if state["size"] != size:
        raise RunError(f"{folder} is of other data, or batches of another size")
    return state["progress"]
