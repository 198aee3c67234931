"""A backend whose framework is NumPy: softmax regression, so that runs can be tested in a second each."""

import numpy as np

from cnnspec.lower.fold import fold
from cnnspec.weights.contract import contract

SPEC = """\
cnnspec: 1
name: plain
input: {channels: 1, size: 14}
preprocess: {scale: 1/255}
params: {classes: 10}
layers: [flatten, {dense: $classes, name: fc}]
train:
  optimizer: {sgd: 0.1}
  epochs: 2
  batch_size: 100
"""

TRAIN = '''\
"""Softmax regression, as the generated files of a framework train."""

import argparse
import csv
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from data import DataError, batches, load_data

EPOCHS, BATCH_SIZE, RATE = @EPOCHS@, @BATCH@, 0.1


def save(path, **arrays):
    part = path.with_name("." + path.name)
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)


def validated(part, weights):
    """Loss and accuracy on a part of the data."""
    x, labels = zip(*batches(part, 100), strict=True)
    x, labels = np.concatenate(x).reshape(len(part), -1), np.concatenate(labels)
    scores = x @ weights["weight"].T + weights["bias"]
    losses = np.log(np.exp(scores).sum(1)) - scores[np.arange(len(x)), labels]
    return [losses.mean(), (scores.argmax(1) == labels).mean()]


def run(options):
    data = load_data(options.data)
    columns = ["epoch", "learning_rate", "seconds", "loss", "accuracy"]
    columns += ["validation_loss", "validation_accuracy"] if data.validation else []
    here = os.environ.get("ONLY_IN", "") in str(options.run.resolve())
    weights = {"weight": np.zeros((10, 196)), "bias": np.zeros(10)}
    if options.weights:
        weights = dict(np.load(options.weights))
    checkpoints = options.run / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    first, rows = 0, []
    if options.resume:
        found = sorted(checkpoints.glob("step-*.npz"))
        state = dict(np.load(found[-1]))
        first, weights = int(state.pop("epoch")), state
        rows = list(csv.reader((options.run / "metrics.csv").open()))[1 : first + 1]
    with (options.run / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    for epoch in range(first, options.epochs):
        begin, loss, right, count = time.time(), 0.0, 0, 0
        for x, labels in batches(data.train, options.batch_size, epoch=epoch):
            x = x.reshape(len(x), -1)
            scores = x @ weights["weight"].T + weights["bias"]
            p = np.exp(scores - scores.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            loss -= np.log(p[np.arange(len(x)), labels]).sum()
            right, count = right + (p.argmax(1) == labels).sum(), count + len(x)
            p[np.arange(len(x)), labels] -= 1
            weights["weight"] = weights["weight"] - RATE * p.T @ x / len(x)
            weights["bias"] = weights["bias"] - RATE * p.mean(0)
        save(checkpoints / f"step-{epoch + 1:09}.npz", epoch=epoch + 1, **weights)
        with (options.run / "metrics.csv").open("a", newline="") as file:
            row = [epoch + 1, RATE, time.time() - begin, loss / count, right / count]
            row += validated(data.validation, weights) if data.validation else []
            csv.writer(file).writerow(row)
        print(f"epoch {epoch + 1}", flush=True)
        if here and "INTERRUPT" in os.environ and epoch + 1 == int(os.environ["INTERRUPT"]):
            os.kill(os.getppid(), signal.SIGINT)  # as Ctrl-C reaches the parent
            time.sleep(60)
        if here and "KILL" in os.environ and epoch + 1 == int(os.environ["KILL"]):
            if "KILL_PARENT" in os.environ:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    save(options.run / "final.npz", **weights)


def main():
    parser = argparse.ArgumentParser()
    here = Path(__file__).parent
    for name, kind, default in [("data", Path, None), ("run", Path, here), ("epochs", int, EPOCHS),
                                ("batch-size", int, BATCH_SIZE), ("device", str, ""), ("weights", Path, None)]:
        parser.add_argument("--" + name, type=kind, default=default)
    parser.add_argument("--resume", action="store_true")
    try:
        run(parser.parse_args())
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
'''  # fmt: skip


class Plain:
    """The backend. Its networks are `flatten` and one dense layer called fc."""

    name = "plain"
    extra = ""
    packages = ()
    kinds = frozenset({"flatten", "dense"})
    precisions = ("float64",)
    weights_suffix = ".npz"

    def source(self, program):
        return f'"""{program.name}: {fold.__name__}ed."""\n'

    def train_source(self, program, recipe):
        return TRAIN.replace("@EPOCHS@", str(recipe.epochs)).replace("@BATCH@", str(recipe.batch_size))

    def write_weights(self, graph, weights, path):
        with path.open("wb") as file:
            np.savez(file, **{key.removeprefix("fc."): weights[key] for key in contract(graph)})

    def read_weights(self, graph, path):
        with np.load(path) as arrays:
            return {key: np.asarray(arrays[key.removeprefix("fc.")], np.float32) for key in contract(graph)}


class Entry:
    """An entry point of it, under the name of another, which then is not there."""

    def __init__(self, name="torch", packages=()):
        self.name = name
        self.packages = packages

    def load(self):
        found = Plain()
        found.packages = self.packages
        return found


def installed(monkeypatch, *, packages=()):
    """Have the command line take it for PyTorch."""
    from cnnspec.lower import backend

    real = [point for point in backend.installed() if point.name != "torch"]
    monkeypatch.setattr(backend, "installed", lambda: [*real, Entry(packages=packages)])
