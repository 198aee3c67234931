"""How much faster epochs are from features of frozen layers, as a ratio against the same training without.

    python benchmarks/features.py [--only torch|keras ...] [--images N] [--epochs N]

VGG16 at 64×64 under its case `small_similar`, by SGD, on N images of the sample of Fashion-MNIST that comes with
cnnspec: everything but the last layer is frozen. The generated `train.py` is run with features and with
`--no-features`; a figure is the median of an epoch's seconds without by that with, the first epoch left out. Needs the
extras `torch` and `keras`. Exits 1 if a target is missed.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from measure import environment, row

SPEC = """
cnnspec: 1
name: vgg16_small
extends: vgg16
params: {classes: 10}
preprocess: {resize: null, crop: null}
train:
  data: {npz: {file: images.npz, fit: stretch, channels: convert}}
  optimizer: {sgd: 0.001, momentum: 0.9}
  batch_size: 64
  epochs: 3
  augment: null
  checkpoints: {every: 100, keep: 1}
"""
LEAST = 20


def main() -> int:
    """Measure, print, and say whether all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=["torch", "keras"], metavar="NAME")
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        _images(place / "images.npz", args.images)
        met = [_compare(place, name, args.epochs) for name in args.only]
    return 0 if all(met) else 1


def _images(path: Path, count: int) -> None:
    import numpy as np

    import cnnspec.train
    from cnnspec.train.snippets.idx import idx_data

    train = idx_data(Path(cnnspec.train.__file__).parent / "sample").train
    order = np.random.default_rng(0).permutation(len(train))[:count]  # the sample stands in the order of its classes
    np.savez(path, x_train=train.images[order], y_train=train.labels[order])


def _compare(place: Path, backend: str, epochs: int) -> bool:
    spec, folder = place / "vgg16_small.yaml", place / backend
    spec.write_text(SPEC, encoding="utf-8")
    options = ["--transfer", "small_similar", "--set", "input.size=64", "--backend", backend, "-o", str(folder)]
    command = [sys.executable, "-m", "cnnspec", "build", str(spec), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def run(name: str, *options: str) -> list[float]:
        target = folder / name
        started = perf_counter()
        arguments = ["-o", str(target), "--data", str(place), "--epochs", str(epochs), *options]
        done = subprocess.run(
            [sys.executable, str(folder / "train.py"), *arguments], capture_output=True, text=True, env=environment()
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        with (target / "metrics.csv").open(encoding="utf-8") as file:
            seconds = [float(line["seconds"]) for line in csv.DictReader(file)]
        print(f"    {name}: {perf_counter() - started:.0f} s in all, epochs {seconds}", flush=True)
        for line in done.stdout.splitlines():
            if line.startswith("features"):
                print(f"    {line}")
        return seconds[1:]

    cached = run("features", "--features", str(folder / "kept"))
    anew = run("without", "--no-features")
    value = median(anew) / median(cached)
    print(row(f"VGG16 at 64×64, {backend}: an epoch without features / with", value, f"≥ {LEAST}", value >= LEAST))
    return value >= LEAST


if __name__ == "__main__":
    sys.exit(main())
