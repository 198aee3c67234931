"""What training goes on from, in a file."""

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from cnnspec.train.snippets.records import replacing


def save(path: Path, model: keras.Model, progress: dict[str, Any]) -> None:
    """Write how far training is, and all of its variables, dropout's seeds too."""
    arrays = map(ops.convert_to_numpy, [*model.variables, *model.optimizer.variables])
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, *arrays, progress=json.dumps(progress))


def load_newest(folder: Path, model: keras.Model) -> dict[str, Any]:
    """Go on from the newest checkpoint that is whole; returns how far training was."""
    variables = [*model.variables, *model.optimizer.variables]
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            with np.load(path) as file:  # which has a checksum of each array
                arrays = [file[f"arr_{i}"] for i in range(len(variables))]
                progress = json.loads(str(file["progress"]))
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
            return progress
        except Exception as error:  # noqa: BLE001 - a damaged file raises anything
            print(f"warning: {path} is broken: {error}", file=sys.stderr)
    sys.exit(f"error: no checkpoint in {folder} can be read: remove it to begin anew")


def load_weights(model: keras.Model, path: Path) -> None:
    """Give a model the weights in a file."""
    try:
        model.load_weights(path)
    except Exception as error:  # noqa: BLE001 - a damaged file raises anything
        sys.exit(f"error: {path} has no weights of this network: {error}")


def save_weights(path: Path, model: keras.Model) -> None:
    """Write the weights, without what belongs to the optimiser."""
    with replacing(path) as part:
        keras.Model(model.inputs, model.outputs).save_weights(part)
