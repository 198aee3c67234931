"""The loop that trains, with every option that a recipe may have.

A generated file has what is left where the switches are settled: `if ACCUMULATES:` and
the like, with or without `not`, are no part of it. The functions that it calls are
printed for each recipe: `make_model`, `learning_rates`, `make_watchers`.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import keras
import numpy as np
from data import CLASSES, Data, DataError, Part, batches, load_data
from tqdm import tqdm

from cnnspec.backends.keras.snippets.accumulate import groups
from cnnspec.backends.keras.snippets.devices import placed
from cnnspec.backends.keras.snippets.state import (
    State,
    Sums,
    load_state,
    save_state,
    save_weights,
)
from cnnspec.train.snippets.records import (
    Interrupt,
    RunError,
    checkpoint_path,
    keep_newest,
    load_newest,
    report,
    write_table,
)


def targets(labels: np.ndarray) -> np.ndarray:
    """One-hot rows of classes; mixed labels are such rows already."""
    if labels.ndim == 2:
        return labels
    return np.eye(len(CLASSES), dtype=np.float32)[labels]


def train_step(
    model: keras.Model, images: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """Update the weights once; returns means over the batch."""
    if ONE_HOT:
        labels = targets(labels)
    if HEADS:
        labels = [labels] * len(model.outputs)
        logs = model.train_on_batch(images, labels, return_dict=True)
        return main_figures(model, logs)
    if not HEADS:
        return model.train_on_batch(images, labels, return_dict=True)


def accumulated_step(
    model: keras.Model, gather: keras.Model, group: list[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Update the weights once, for several batches; returns means over all of them."""
    for gathered in model.optimizer.gather.sums:
        gathered.assign(np.zeros(gathered.shape))
    total = sum(len(labels) for _, labels in group)
    sums = Sums()
    for i, (images, labels) in enumerate(group, start=1):
        share = len(labels) / total
        if ONE_HOT:
            labels = targets(labels)
        if HEADS:
            labels = [labels] * len(model.outputs)
        logs = (model if i == len(group) else gather).train_on_batch(
            images,
            labels,
            sample_weight=np.full(len(images), share),
            return_dict=True,
        )
        if HEADS:
            logs = main_figures(model, logs)
        logs["loss"] /= share
        sums.add(logs, len(images))
    return sums.means()


def main_figures(model: keras.Model, logs: dict[str, float]) -> dict[str, float]:
    """The loss of all outputs together, and the metrics of the first one."""
    first = f"{model.output_names[0]}_"
    figures = {
        name.removeprefix(first): value
        for name, value in logs.items()
        if name.startswith(first)
    }
    return figures | {"loss": logs["loss"]}


def evaluate(model: keras.Model, part: Part, batch_size: int) -> dict[str, float]:
    """Means over images, with the network as in inference."""
    sums = Sums()
    for images, labels in batches(part, batch_size):
        if ONE_HOT:
            labels = targets(labels)
        sums.add(model.test_on_batch(images, labels, return_dict=True), len(images))
    return sums.means()


def use_averages(model: keras.Model) -> list[np.ndarray]:
    """Put the running averages in place of the weights, which are returned."""
    weights = model.get_weights()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return weights


def fit(model: keras.Model, data: Data, args: argparse.Namespace) -> bool:
    """Train to the last epoch; False if asked to stop before."""
    interrupt = Interrupt()
    folder = args.run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    state = State()
    if args.resume:
        state = load_newest(folder, lambda path: load_state(path, model)) or state
    if WATCHES:
        watchers = make_watchers()
        for name, saved in state.watchers.items():
            watchers[name].load_state_dict(saved)
    if HEADS:
        network = keras.Model(model.inputs, model.outputs[0])
        network = compiled(network, model.loss[0])
    if ACCUMULATES:
        gather = type(model)(model.inputs, model.outputs)
        gather = compiled(gather, model.loss, model.optimizer.gather)
        steps = math.ceil(len(data.train) / args.batch_size / ACCUMULATION)
    if not ACCUMULATES:
        steps = math.ceil(len(data.train) / args.batch_size)
    rates = learning_rates(args.epochs, steps)

    def checkpoint() -> None:
        if WATCHES:
            state.watchers = {name: each.state_dict() for name, each in watchers.items()}
        save_state(checkpoint_path(folder, state.step, ".npz"), model, state)
        if KEEPS:
            keep_newest(folder, KEEP)

    bar = tqdm(
        total=len(rates), initial=state.step, unit=" steps", leave=False, disable=None
    )
    while state.epoch < args.epochs:
        if STOPS:
            if watchers["stop"].waited >= PATIENCE:
                break
        begin = time.perf_counter() - state.seconds
        shown = batches(
            data.train, args.batch_size, epoch=state.epoch, start=state.batch
        )
        if ACCUMULATES:
            shown = groups(shown, ACCUMULATION)
        for batch in shown:
            model.optimizer.learning_rate = rates[state.step]
            if PLATEAU:
                model.optimizer.learning_rate *= watchers["plateau"].scale
            if ACCUMULATES:
                figures = accumulated_step(model, gather, batch)
                images = sum(len(labels) for _, labels in batch)
                state.batch += len(batch)
            if not ACCUMULATES:
                figures = train_step(model, *batch)
                images = len(batch[0])
                state.batch += 1
            state.sums.add(figures, images)
            state.step += 1
            state.seconds = time.perf_counter() - begin
            bar.update()
            if STEPS:
                if state.step % CHECKPOINT_STEPS == 0:
                    checkpoint()
            if interrupt.asked:
                checkpoint()
                return False
        row = {
            "epoch": state.epoch + 1,
            "learning_rate": float(model.optimizer.learning_rate),
            "seconds": round(state.seconds, 2),
            **state.sums.means(),
        }
        if EMA:
            weights = use_averages(model)
        if data.validation:
            if HEADS:
                figures = evaluate(network, data.validation, args.batch_size)
            if not HEADS:
                figures = evaluate(model, data.validation, args.batch_size)
            row |= {f"validation_{name}": value for name, value in figures.items()}
        if BEST:
            if watchers["best"].improves(row):
                save_weights(args.run / "best.weights.h5", model)
        if STOPS:
            if watchers["stop"].improves(row):
                save_weights(args.run / "best.weights.h5", model)
        if EMA:
            model.set_weights(weights)
        if PLATEAU:
            watchers["plateau"].update(row)
        state.rows.append(row)
        state.epoch, state.batch, state.seconds, state.sums = state.epoch + 1, 0, 0.0, Sums()
        write_table(args.run / "metrics.csv", state.rows)
        tqdm.write(report(row, args.epochs))
        if EVERY:
            if state.epoch % CHECKPOINT_EPOCHS == 0 or state.epoch == args.epochs:
                checkpoint()
        if not EVERY:
            checkpoint()
    bar.close()
    if EMA:
        use_averages(model)
    if RESTORES:
        model.load_weights(args.run / "best.weights.h5")
    save_weights(args.run / "final.weights.h5", model)
    return True


def confusion(model: keras.Model, part: Part, batch_size: int) -> np.ndarray:
    """How many images of each class, the rows, are taken for which."""
    counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
    for images, labels in batches(part, batch_size):
        taken = model.predict_on_batch(images).argmax(axis=1)
        np.add.at(counts, (labels, taken), 1)
    return counts


def main() -> None:
    """Read the command line, and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="where the images lie")
    parser.add_argument(
        "--run", type=Path, default=Path(__file__).parent, help="where results go"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--device", default="", help="gpu:0, or several: gpu:0,gpu:1")
    parser.add_argument("--weights", type=Path, help="start from this weight file")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint"
    )
    args = parser.parse_args()
    keras.utils.set_random_seed(SEED)
    if MIXED:
        keras.config.set_dtype_policy(PRECISION)
    try:
        data = load_data(args.data)
        with placed(args.device):
            if BALANCED:
                model = make_model(args, balanced(data.train.labels, len(CLASSES)))
            if not BALANCED:
                model = make_model(args)
            done = fit(model, data, args)
    except (DataError, RunError, OSError) as error:
        sys.exit(f"error: {error}")
    sys.exit(0 if done else 130)
