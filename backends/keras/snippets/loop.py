# ruff: noqa: F821, SIM102
"""The loop that trains, with every option that a recipe may have.

A generated file has what is left where the switches are settled: `if ACCUMULATES:` and
the like, with or without `not`, are no part of it. The functions that it calls are
printed for each recipe: `make_model`, `learning_rates`, `compiled`.

No checkpoint lies before an epoch's last step: TensorFlow makes functions for shapes as
they come, and a short last batch that came first would be computed by another one.
"""

import argparse
import math
import signal
import sys
import time
from collections import Counter
from types import SimpleNamespace

import keras
import numpy as np
from data import CLASSES, Batch, Data, DataError, Part, batches, load_data
from keras import ops
from tqdm import tqdm

from cnnspec.backends.keras.snippets.devices import placed
from cnnspec.backends.keras.snippets.features import frozen_features, head_of
from cnnspec.backends.keras.snippets.layers import unfreeze
from cnnspec.backends.keras.snippets.state import (
    load_newest,
    load_weights,
    save,
    save_weights,
)
from cnnspec.train.snippets.arguments import arguments
from cnnspec.train.snippets.class_weights import balanced
from cnnspec.train.snippets.groups import groups_of
from cnnspec.train.snippets.records import replacing, write_table
from cnnspec.train.snippets.tables import class_rows, confusion_rows


def targets(labels: np.ndarray) -> np.ndarray:
    """One-hot rows of classes; mixed labels are such rows already."""
    if labels.ndim == 2:
        return labels
    return (labels[:, None] == np.arange(len(CLASSES))).astype(np.float32)


def train_step(model: keras.Model, batch: Batch) -> dict[str, float]:
    """Update the weights once; returns sums over the images."""
    images, labels = batch
    if ONE_HOT:
        labels = targets(labels)
    if not HEADS:
        means = model.train_on_batch(images, labels, return_dict=True)
    if HEADS:
        same = [labels] * len(model.outputs)
        means = of_first(model, model.train_on_batch(images, same, return_dict=True))
    right = {name: round(means[name] * len(images)) for name in FIGURES[1:]}
    return {"loss": means["loss"] * len(images), **right, "images": len(images)}


def accumulated_step(
    model: keras.Model,
    gather: keras.Model,
    parts: list[Batch],
) -> Counter[str]:
    """Update the weights once, for several batches; returns sums over all images."""
    for gathered in model.optimizer.gather.sums:
        gathered.assign(ops.zeros_like(gathered))
    total = sum(len(labels) for _, labels in parts)
    sums = Counter(images=total)
    for i, (images, labels) in enumerate(parts, start=1):
        share = len(images) / total
        weights = np.full(len(images), share, images.dtype)
        if ONE_HOT:
            labels = targets(labels)
        used = model if i == len(parts) else gather
        if not HEADS:
            means = used.train_on_batch(images, labels, weights, return_dict=True)
        if HEADS:
            same = ([labels] * len(model.outputs), [weights] * len(model.outputs))
            means = used.train_on_batch(images, *same, return_dict=True)
            means = of_first(model, means)
        sums["loss"] += means["loss"] * total  # the weights have the share in them
        sums.update({name: round(means[name] * len(images)) for name in FIGURES[1:]})
    return sums


def of_first(model: keras.Model, means: dict[str, float]) -> dict[str, float]:
    """The metrics of the first output, and the loss of all."""
    first = f"{model.output_names[0]}_"
    metrics = {name.removeprefix(first): mean for name, mean in means.items()}
    return metrics | {"loss": means["loss"]}


def evaluate(model: keras.Model, part: Part, batch_size: int) -> dict[str, float]:
    """Means over the images of a part, with the network as in inference."""
    sums: Counter[str] = Counter()
    for images, labels in batches(part, batch_size):
        if not len(images):  # none of them can be read
            continue
        if ONE_HOT:
            labels = targets(labels)
        means = model.test_on_batch(images, labels, return_dict=True)
        sums.update({name: round(means[name] * len(images)) for name in FIGURES[1:]})
        sums.update({"loss": means["loss"] * len(images), "images": len(images)})
    if not sums["images"]:
        raise DataError("no image of the validation part can be read")
    return {f"validation_{name}": sums[name] / sums["images"] for name in FIGURES}


def use_averages(model: keras.Model) -> list[np.ndarray]:
    """Put the running averages in place of the weights, which are returned."""
    weights = model.get_weights()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return weights


def count_taken(model: keras.Model, part: Part, batch_size: int) -> np.ndarray:
    """How many images of each class, the rows, were taken for which."""
    counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
    for images, labels in batches(part, batch_size):
        answers = model.predict_on_batch(images)[: len(images)]  # each device has all
        np.add.at(counts, (labels, answers.argmax(axis=1)), 1)
    return counts


def train(model: keras.Model, data: Data, args: argparse.Namespace) -> int:
    """Train from the start or from a checkpoint; returns the exit status."""
    if CACHES:
        whole = model
        if not args.no_features:
            model = head_of(whole)
    if not ACCUMULATES:
        steps = math.ceil(len(data.train) / args.batch_size)  # in an epoch
    if ACCUMULATES:
        step_size = args.batch_size * ACCUMULATION
        steps = math.ceil(len(data.train) / step_size)  # in an epoch
        gather = type(model)(model.inputs, model.outputs)
        if HEADS:
            gather = compiled(gather, model.loss[0], model.optimizer.gather)
        if not HEADS:
            gather = compiled(gather, model.loss, model.optimizer.gather)
    if NORMS:
        last = len(data.train) % args.batch_size or args.batch_size
        if last <= args.device.count(","):
            sys.exit(f"error: more devices than images in the last batch, {last}")
    rates = learning_rates(args.epochs, steps)
    if HEADS:
        network = keras.Model(model.inputs, model.outputs[0])
        network = compiled(network, model.loss[0])
    if WATCHES:
        watchers = make_watchers()
    size = f"{args.batch_size} of {data.train.digest()}"
    (folder := args.run / "checkpoints").mkdir(parents=True, exist_ok=True)
    at = SimpleNamespace(size=size, step=0, seconds=0.0, sums=Counter(), rows=[])
    if any(folder.glob("step-*")):
        if not args.resume:
            sys.exit(f"error: {folder} has checkpoints: `--resume` goes on from them")
        vars(at).update(load_newest(folder, whole if CACHES else model))
        at.sums = Counter(at.sums)
        if WATCHES:
            for name, state in at.watchers.items():
                watchers[name].load_state_dict(state)
    if at.size != size:
        sys.exit(f"error: {folder}: batches were {at.size}, and now {size}")
    if CACHES:
        if TABLES:
            original = data
        if not args.no_features:
            data, said = frozen_features(whole, data, args)
            print(said)

    def checkpoint() -> None:
        if WATCHES:
            at.watchers = {name: each.state_dict() for name, each in watchers.items()}
        save(folder / f"step-{at.step:09}.npz", whole if CACHES else model, vars(at))
        if KEEPS:
            for old in sorted(folder.glob("step-*"))[:-KEEP]:
                old.unlink()

    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):  # the step in hand is finished first
        signal.signal(number, lambda number, _: signals.append(number))
    for epoch in range(at.step // steps, args.epochs):
        if STOPS:
            if watchers["early_stop"].waited >= PATIENCE:
                break
        if LATE:
            if not ACCUMULATES:
                unfreeze(epoch + 1, model)
            if ACCUMULATES:
                unfreeze(epoch + 1, model, gather)
        done, began = at.step % steps, time.perf_counter() - at.seconds
        if not ACCUMULATES:
            source = batches(data.train, args.batch_size, epoch=epoch, start=done)
        if ACCUMULATES:
            start = done * ACCUMULATION
            source = batches(data.train, args.batch_size, epoch=epoch, start=start)
            source = groups_of(source, ACCUMULATION)
        bar = {"total": len(rates), "initial": at.step, "leave": False, "disable": None}
        for batch in tqdm(source, f"epoch {epoch + 1}/{args.epochs}", **bar):
            if PLATEAU:
                rate = rates[at.step] * watchers["plateau"].scale
                model.optimizer.learning_rate = rate
            if not PLATEAU:
                model.optimizer.learning_rate = rate = rates[at.step]
            if ACCUMULATES:
                at.sums.update(accumulated_step(model, gather, batch))
            if not ACCUMULATES:
                at.sums.update(train_step(model, batch))
            at.step += 1
            # not before a short last batch: resumed there, TensorFlow rounds otherwise
            if STEPS:
                if at.step % CHECKPOINT_STEPS == 0 and 0 < at.step % steps < steps - 1:
                    at.seconds = time.perf_counter() - began
                    checkpoint()
            if signals and 0 < at.step % steps < steps - 1:
                at.seconds = time.perf_counter() - began
                checkpoint()
                return 130
        seconds = round(time.perf_counter() - began, 3)
        row = {"epoch": epoch + 1, "learning_rate": rate, "seconds": seconds}
        row |= {name: at.sums[name] / at.sums["images"] for name in FIGURES}
        if EMA:
            weights = use_averages(model)
        if VALIDATES:
            if data.validation:
                if HEADS:
                    row |= evaluate(network, data.validation, args.batch_size)
                if not HEADS:
                    row |= evaluate(model, data.validation, args.batch_size)
        if SAVES:
            for name in BEST_FILES:
                if watchers[f"{name}_epoch"].improves(row):
                    if CACHES:
                        save_weights(args.run / f"{name}.weights.h5", whole)
                    if not CACHES:
                        save_weights(args.run / f"{name}.weights.h5", model)
        if STOPS:
            watchers["early_stop"].improves(row)
        if EMA:
            model.set_weights(weights)
        if PLATEAU:
            watchers["plateau"].update(row)
        at.seconds, at.sums, at.rows = 0.0, Counter(), [*at.rows, row]
        write_table(args.run / "metrics.csv", at.rows)
        if not EVERY:
            checkpoint()
        if EVERY:
            last = epoch + 1 == args.epochs or signals
            if STOPS:
                last = last or watchers["early_stop"].waited >= PATIENCE
            if last or (epoch + 1) % CHECKPOINT_EPOCHS == 0:
                checkpoint()
        print(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
        if signals:
            return 130
    if EMA:
        use_averages(model)
    if CACHES:
        model = whole
        if TABLES:
            data = original
            if HEADS:
                network = keras.Model(model.inputs, model.outputs[0])
    if RESTORES:
        best = args.run / f"{RESTORED}.weights.h5"
        if not best.is_file():
            sys.exit("error: no epoch is the best: what is watched is not a number")
        load_weights(keras.Model(model.inputs, model.outputs), best)
    if not SAVES:
        with replacing(args.run / "final.weights.h5") as path:  # without the optimiser
            keras.Model(model.inputs, model.outputs).save_weights(path)
    if SAVES:
        save_weights(args.run / "final.weights.h5", model)
    if TABLES:
        if part := data.test or data.validation:
            if HEADS:
                counts = count_taken(network, part, args.batch_size)
            if not HEADS:
                counts = count_taken(model, part, args.batch_size)
            if PER_CLASS:
                rows = class_rows(counts, CLASSES)
                write_table(args.run / "per_class.csv", rows)
            if CONFUSION:
                rows = confusion_rows(counts, CLASSES)
                write_table(args.run / "confusion.csv", rows)
    return 0


def main() -> None:
    """Train as the command line says."""
    args = arguments()
    keras.utils.set_random_seed(SEED)
    if MIXED:
        keras.config.set_dtype_policy(PRECISION)
    try:
        data = load_data(args.data)
        with placed(args.device):
            if BALANCED:
                weights = balanced(data.train.labels, len(CLASSES))
                sys.exit(train(make_model(args, weights), data, args))
            if not BALANCED:
                sys.exit(train(make_model(args), data, args))
    except (DataError, OSError) as error:
        sys.exit(f"error: {error}")
