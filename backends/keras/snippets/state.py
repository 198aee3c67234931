"""What training goes on from."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np
from keras import ops

from cnnspec.train.snippets.records import replacing


class Sums(dict[str, float]):
    """Sums of figures over images, and how many these are."""

    def add(self, means: dict[str, float], images: int) -> None:
        """Add what is the mean over so many images."""
        for name, mean in means.items():
            self[name] = self.get(name, 0.0) + float(mean) * images
        self["images"] = self.get("images", 0) + images

    def means(self) -> dict[str, float]:
        """Means over all images."""
        return {
            name: total / self["images"]
            for name, total in self.items()
            if name != "images"
        }


@dataclass
class State:
    """Where training stands, beside the variables."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: Sums = field(default_factory=Sums)
    rows: list[dict[str, float]] = field(default_factory=list)
    watchers: dict[str, dict[str, float]] = field(default_factory=dict)


def variables(model: keras.Model) -> list[keras.Variable]:
    """All that training changes: weights, the state of dropout, of the optimiser."""
    return [*model.variables, *model.optimizer.variables]


def save_state(path: Path, model: keras.Model, state: State) -> None:
    """Write a checkpoint."""
    arrays = [ops.convert_to_numpy(variable) for variable in variables(model)]
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, *arrays, state=np.array(json.dumps(asdict(state))))


def load_state(path: Path, model: keras.Model) -> State:
    """Go on from a checkpoint: nothing is changed if it is broken."""
    wanted = variables(model)
    with np.load(path) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(wanted))]
        state = State(**json.loads(str(file["state"])))
        state.sums = Sums(state.sums)
    for variable, array in zip(wanted, arrays, strict=True):
        variable.assign(array)
    return state


def save_weights(path: Path, model: keras.Model) -> None:
    """Write the weights alone."""
    bare = keras.Model(model.inputs, model.outputs)  # without the optimiser's
    with replacing(path) as part:
        bare.save_weights(part)
