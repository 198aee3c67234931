"""Training steps through the functions of a generated `train.py`, and its weight files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from errno import EIO
from math import ceil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from cnnspec.backends.keras.layouts import Layouts
from cnnspec.backends.keras.optimizer_text import optimizer_text
from cnnspec.backends.keras.printer import print_program
from cnnspec.backends.keras.run import build, computing
from cnnspec.backends.keras.train import train_source
from cnnspec.backends.keras.weights import Array, gradients_of, set_weights
from cnnspec.graph import Graph
from cnnspec.lower.backend import Precision, Weights
from cnnspec.lower.execute import importable, run_text
from cnnspec.lower.fold import fold
from cnnspec.lower.program import Program
from cnnspec.lower.python import flat
from cnnspec.spec.recipe.model import Recipe
from cnnspec.spec.recipe.schedule import ReduceOnPlateau
from cnnspec.train.backend import Step
from cnnspec.train.phases import phases


def write_weights(graph: Graph, weights: Weights, path: Path) -> None:
    """Write a native weight file for the network with all of its heads."""
    program = fold(graph)
    with computing("float32"):
        model = build(program, weights, training=True)
    try:
        model.save_weights(path)
    except OSError as error:  # HDF5 has the number in its message alone
        said = re.search(r"errno = (\d+)", str(error))
        number = error.errno or (int(said[1]) if said else EIO)
        raise OSError(number, os.strerror(number), str(path)) from error


def read_weights(graph: Graph, path: Path) -> dict[str, Array]:
    """The arrays of a native weight file, in canonical layout by their keys."""
    program = fold(graph)
    with computing("float32"):
        model = build(program, training=True)
        model.load_weights(path)
    return canonical(model, Layouts(program))


def canonical(model: Any, layouts: Layouts) -> dict[str, Array]:
    """All parameters of a model, running statistics too, by their keys."""
    from keras import ops

    return gradients_of(model, layouts, {id(v): ops.convert_to_numpy(v) for v in model.weights})


def trajectory(
    graph: Graph,
    weights: Weights,
    recipe: Recipe,
    batches: Sequence[tuple[Any, Any]],
    precision: Precision,
    steps_per_epoch: int,
) -> Iterator[Step]:
    """Train on `batches`, one step for each, with dropout off: the generated functions do it.

    A schedule that reduces rates on a plateau watches the mean loss of each epoch's steps: nothing is evaluated here.
    """
    program = fold(graph)
    layouts = Layouts(program)
    labels = np.concatenate([np.atleast_1d(classes) for _, classes in batches])
    with computing(precision):
        made = _executed(program, recipe)
        model = _model(made, recipe, labels)
        set_weights(model, layouts, weights)
        rates = made["learning_rates"](max(recipe.epochs, ceil(len(batches) / steps_per_epoch)), steps_per_epoch)
        step, models = _stepper(made, model, recipe)
        if model.optimizer.weight_decay is not None:  # Keras has a plain number of it in float32
            model.optimizer.weight_decay = np.dtype(precision).type(model.optimizer.weight_decay)
    plateau = _plateau(made, recipe)
    epoch: list[float] = []
    for number, (images, classes) in enumerate(batches):
        with computing(precision):
            if not epoch and "unfreeze" in made:
                made["unfreeze"](1 + number // steps_per_epoch, *models)
            rate = rates[number] * (plateau.scale if plateau else 1.0)
            model.optimizer.learning_rate = rate
            nhwc = np.ascontiguousarray(np.asarray(images, precision).transpose(0, 2, 3, 1))
            sums = step((nhwc, np.asarray(classes)))
            loss = float(sums["loss"] / sums["images"])
            weights = canonical(model, layouts)
            averages = _averages(made, model, layouts) if recipe.ema else None
        epoch.append(loss)
        if len(epoch) == steps_per_epoch:
            if plateau:
                plateau.update({"loss": sum(epoch) / len(epoch)})
            epoch = []
        yield Step(loss, weights, rate, averages)


def _plateau(made: dict[str, Any], recipe: Recipe) -> Any:
    """What reduces rates on a plateau of the loss, if the recipe has it."""
    if not isinstance(recipe.schedule, ReduceOnPlateau):
        return None
    watcher = made["make_watchers"]()["plateau"]
    watcher.best = made["Best"]("loss", watcher.best.min_delta)
    return watcher


def _averages(made: dict[str, Any], model: Any, layouts: Layouts) -> dict[str, Array]:
    """All parameters with running averages in place of the weights."""
    weights = made["use_averages"](model)
    found = canonical(model, layouts)
    model.set_weights(weights)
    return found


def generated_optimizer(program: Program, recipe: Recipe, variables: list[Any]) -> Any:
    """The optimiser of the generated text, built for some variables."""
    made = _executed(program, recipe)
    printed = optimizer_text(recipe, phases(program.graph))
    made["model"] = SimpleNamespace(trainable_variables=variables)
    optimizer = eval(flat(printed.call), made)
    optimizer.build(variables)
    return optimizer


def _model(made: dict[str, Any], recipe: Recipe, labels: Array) -> Any:
    """The model that is trained, without dropout."""
    from keras import layers

    args = [SimpleNamespace(device="", weights=None, resume=True)]  # with weights that are put in later
    if recipe.loss.class_weights == "balanced":
        args.append(made["balanced"](labels, len(made["CLASSES"])))
    model = made["make_model"](*args)
    for layer in model.layers:
        if isinstance(layer, layers.Dropout):  # and what inherits from it
            layer.rate = 0.0
    return model


def _stepper(made: dict[str, Any], model: Any, recipe: Recipe) -> tuple[Any, list[Any]]:
    """What takes a step with a batch, which is cut into as many as the recipe has, and the models that it trains."""
    if recipe.gradient_accumulation == 1:
        return lambda batch: made["train_step"](model, batch), [model]
    loss = model.loss[0] if isinstance(model.loss, list) else model.loss
    gather = made["compiled"](type(model)(model.inputs, model.outputs), loss, model.optimizer.gather)

    def step(batch: tuple[Array, Array]) -> dict[str, float]:
        size = recipe.batch_size
        parts = [tuple(each[first : first + size] for each in batch) for first in range(0, len(batch[0]), size)]
        sums: dict[str, float] = made["accumulated_step"](model, gather, parts)
        return sums

    return step, [model, gather]


def _executed(program: Program, recipe: Recipe) -> dict[str, Any]:
    """What `train.py` defines; tracebacks show its lines."""
    text, printed = train_source(program, recipe), print_program(program, Layouts(program))
    network = ModuleType("model")
    run_text(printed.text, f"<cnnspec {program.name} keras>", network.__dict__)
    made: dict[str, Any] = {"__name__": "cnnspec_train", "__file__": "train.py"}
    with importable(model=network, data=_data(program)):
        run_text(text, f"<cnnspec {program.name} keras training>", made)
    return made


def _data(program: Program) -> ModuleType:
    """What stands for `data.py`: the batches are given."""
    data = ModuleType("data")
    classes = program.graph.outputs[0].node.shape.channels
    data.__dict__.update(
        CLASSES=[str(i) for i in range(classes)],
        Batch=Any,
        Data=Any,
        DataError=ValueError,
        Features=Any,
        Part=Any,
        batches=None,
        features=None,
        load_data=None,
    )
    return data
