"""How fast generated training code runs, in images a second, as ratios against what people write by hand.

    python benchmarks/training.py [--only NAME ...] [--images N] [--rounds N] [--data DIR]

Whole processes in turn, three epochs each, of which the first warms up; generated code has the environment that
`cnnspec train` gives it. A figure is the median over rounds of the peer's seconds for the fastest other epoch by
ours. `mnist_cnn` is trained on the first N images of Fashion-MNIST, from DIR or where its Debian package puts them,
by a plain Keras script with `fit`, as lecture notes have it; ResNet-18 on images of 32×32, made at random, by
torchvision's model in a plain loop, both in channels_last. Where the processor has units for bfloat16, `mnist_cnn` is
also trained in `mixed_bfloat16`. Needs the extras `torch` and `keras`, and torchvision. Exits 1 if a target is
missed.
"""

import argparse
import csv
import gzip
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from measure import environment, ratio, row

from cnnspec.train import process

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
EPOCHS = 3

KERAS = """
import gzip, sys, time
import keras, numpy as np
from keras import layers
folder = sys.argv[1]
read = lambda name, start: np.frombuffer(gzip.open(f"{folder}/{name}-ubyte.gz").read(), np.uint8, offset=start)
x = read("train-images-idx3", 16).reshape(-1, 28, 28, 1).astype("float32") / 255
y = read("train-labels-idx1", 8)
model = keras.Sequential([keras.Input((28, 28, 1))])
for filters in (32, 64, 128):
    model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
    model.add(layers.MaxPooling2D(2, padding="same"))
    model.add(layers.Dropout(0.3))
model.add(layers.Flatten())
model.add(layers.Dense(128, activation="relu"))
model.add(layers.Dropout(0.3))
model.add(layers.Dense(10, activation="softmax"))
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    model.fit(x, y, batch_size=100, epochs=1, verbose=0)
    print("seconds", time.perf_counter() - start)
"""

TORCH = """
import sys, time
import numpy as np, torch
sys.path.append(sys.argv[3])
from vision import models
with np.load(sys.argv[1]) as file:
    x, y = torch.from_numpy(file["x_train"]), torch.from_numpy(file["y_train"])
torch.manual_seed(0)
model = models.resnet18(num_classes=10).to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
loss_function = torch.nn.CrossEntropyLoss()
for _ in range(int(sys.argv[2])):
    start, order, right, total = time.perf_counter(), torch.randperm(len(x)), 0, 0.0
    for chosen in order.split(100):
        images, labels = x[chosen].float() / 255, y[chosen]
        logits = model(images.permute(0, 3, 1, 2))
        loss = loss_function(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        right += (logits.argmax(1) == labels).sum().item()
    print("seconds", time.perf_counter() - start)
"""

RESNET = """
cnnspec: 1
name: resnet18_small
extends: resnet18
input: {channels: 3, size: 32}
params: {classes: 10}
preprocess: {resize: null, crop: null, mean: null, std: null, scale: 1/255}
transfer: null
train:  # and nothing else of what its paper does
  data: {npz: images.npz}
  split: null
  augment: []
  optimizer: {sgd: 0.01, momentum: 0.9, l2: 0}
  schedule: constant
  metrics: [accuracy]
  epochs: 3
  batch_size: 100
"""


def main() -> int:
    """Measure, print, and say whether all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=["torch", "torch-bfloat16", "keras", "resnet18"], metavar="NAME")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DEBIAN)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows = []
        if {"torch", "torch-bfloat16", "keras"} & set(args.only):
            data = _cut(args.data, place / "data", args.images)
            notes = _script(KERAS, data)
            if "torch" in args.only:
                rows.append(
                    _pair("mnist_cnn, PyTorch / notes' Keras", notes, _ours(place, "torch", data), 1.05, args.rounds)
                )
            if "torch-bfloat16" in args.only and _has_bfloat16():
                ours = _ours(place, "torch", data, "mixed_bfloat16")
                rows.append(_pair("mnist_cnn, PyTorch in bfloat16 / notes' Keras", notes, ours, 1.5, args.rounds))
            elif "torch-bfloat16" in args.only:
                print("left out: this processor has no units for bfloat16")
            if "keras" in args.only:
                rows.append(
                    _pair("mnist_cnn, Keras / notes' Keras", notes, _ours(place, "keras", data), 0.97, args.rounds)
                )
        if "resnet18" in args.only:
            peer, ours = _resnet18(place, args.images // 5)
            rows.append(_pair("ResNet-18, PyTorch / torchvision's by hand", peer, ours, 0.98, args.rounds))
    return 0 if all(rows) else 1


Epochs = Callable[[], list[float]]
"""A process that trains; it gives the seconds of each epoch."""


def _pair(what: str, peer: Epochs, ours: Epochs, least: float, rounds: int) -> bool:
    found = [(min(peer()[1:]), min(ours()[1:])) for _ in range(rounds)]
    value = ratio([above for above, _ in found], [below for _, below in found])
    print(row(what, value, f"≥ {least:g}", value >= least), flush=True)
    print(f"    seconds an epoch: {median(a for a, _ in found):.2f} and {median(b for _, b in found):.2f}", flush=True)
    return value >= least


def _script(text: str, *arguments: object) -> Epochs:
    def run() -> list[float]:
        command = [sys.executable, "-c", text, *map(str, arguments[:1]), str(EPOCHS), *map(str, arguments[1:])]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
        return [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("seconds")]

    return run


def _ours(place: Path, backend: str, data: Path, precision: str = "float32") -> Epochs:
    spec = place / "mnist_cnn.yaml"
    train = f"{{recipe: mnist_cnn, precision: {precision}}}"
    spec.write_text(f"cnnspec: 1\nname: mnist_cnn\nextends: mnist_cnn\ntrain: {train}\n", encoding="utf-8")
    return _built(place / f"{backend}-{precision}", spec, backend, data)


def _built(folder: Path, spec: Path, backend: str, data: Path) -> Epochs:
    command = Path(sys.executable).with_name("cnnspec")
    subprocess.run([command, "build", spec, "--backend", backend, "-o", folder], check=True, stdout=subprocess.DEVNULL)

    def run() -> list[float]:
        with tempfile.TemporaryDirectory() as made:
            command = [sys.executable, folder / "train.py", "--run", made, "--data", data, "--epochs", str(EPOCHS)]
            subprocess.run(command, check=True, capture_output=True, env=process.environment() | environment())
            with Path(made, "metrics.csv").open(encoding="utf-8") as file:
                return [float(line["seconds"]) for line in csv.DictReader(file)]

    return run


def _cut(source: Path, folder: Path, images: int) -> Path:
    """The first images of a set, in files as it has them."""
    folder.mkdir()
    for name, header, size in (("images-idx3", 16, 784), ("labels-idx1", 8, 1)):
        for part, number in (("train", images), ("t10k", 1000)):
            content = gzip.decompress((source / f"{part}-{name}-ubyte.gz").read_bytes())
            cut = content[:4] + number.to_bytes(4, "big") + content[8 : header + number * size]
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(cut, 1))
    return folder


def _resnet18(place: Path, images: int) -> tuple[Epochs, Epochs]:
    import numpy as np

    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 256, (images, 32, 32, 3), np.uint8), generator.integers(0, 10, images)
    np.savez(place / "images.npz", x_train=x, y_train=y)
    spec = place / "resnet18.yaml"
    spec.write_text(RESNET, encoding="utf-8")
    support = Path(__file__).resolve().parents[1] / "tests" / "support"
    peer = _script(TORCH, place / "images.npz", support)
    return peer, _built(place / "resnet18", spec, "torch", place)


def _has_bfloat16() -> bool:
    information = Path("/proc/cpuinfo")
    flags = information.read_text(encoding="utf-8") if information.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


if __name__ == "__main__":
    sys.exit(main())
