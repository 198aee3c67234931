"""How fast, and in how much memory, networks become ONNX files: ratios against PyTorch's and Keras's exporters.

    python benchmarks/export.py [--rounds N]

Whole processes. The peers build their model with random weights and export it, cnnspec reads weights from a file and
writes them. Needs torchvision, the extras `torch` and `keras`, and what these exporters ask for: `onnxscript` for
PyTorch's, `tf2onnx` for Keras's. A peer that is not installed is left out, and said so. Exits 1 if a target is missed.
"""

import argparse
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from measure import Run, in_turn, ratio, row

TORCH = """
import sys, types, torch
try:
    from torchvision import models
except RuntimeError:  # its compiled operators do not fit this PyTorch: the models do without them
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    from torchvision import models
model = models.resnet152(weights=None).eval()
batch = torch.export.Dim("N")
torch.onnx.export(model, (torch.zeros(2, 3, 224, 224),), sys.argv[1], dynamo=True, dynamic_shapes=({0: batch},))
"""
KERAS = """
import sys
import numpy as np
from keras.applications import ResNet50
model = ResNet50(weights=None)
model(np.zeros((1, 224, 224, 3), np.float32))  # Keras exports only what has been called
model.export(sys.argv[1], format="onnx", verbose=False)
"""
MEGABYTE = 1e6


def cnnspec(*arguments: str) -> list[str]:
    """The command line of the installation that runs this script."""
    return [str(Path(sys.executable).with_name("cnnspec")), *arguments]


def main() -> int:
    """Measure, print, and say whether all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        deep, shallow = (_weights(name, folder) for name in ("resnet152", "resnet50"))
        size = Path(deep).stat().st_size / MEGABYTE
        runs = in_turn(
            {
                "resnet152": cnnspec("export", "resnet152", "--weights", deep, "-o", f"{folder}/152.onnx"),
                "resnet50": cnnspec("export", "resnet50", "--weights", shallow, "-o", f"{folder}/50.onnx"),
            },
            max(rounds, 5),
            [Path(folder, "152.onnx"), Path(folder, "50.onnx")],
        )
        rows = [_limit("ResNet-152: peak memory, beyond 1.5 × weights, MB", _peak(runs["resnet152"]) - 1.5 * size, 150)]
        if find_spec("onnxscript"):
            written = [Path(folder, "152.onnx"), Path(folder, "torch.onnx")]
            ours = cnnspec("export", "resnet152", "--weights", deep, "-o", f"{folder}/152.onnx")
            found = in_turn(
                {"torch": [sys.executable, "-c", TORCH, f"{folder}/torch.onnx"], "ours": ours}, rounds, written
            )
            runs["torch.onnx.export(dynamo=True), ResNet-152"] = found["torch"]
            rows.append(
                _target("ResNet-152: torch.onnx.export / cnnspec, time", _times(found["torch"], found["ours"]), 10)
            )
            print(f"memory, torch / cnnspec: {_peak(found['torch']) / _peak(found['ours']):.1f}")
        else:
            print("left out: torch.onnx.export(dynamo=True) needs onnxscript")
        if find_spec("tf2onnx"):
            written = [Path(folder, "50.onnx"), Path(folder, "keras.onnx")]
            ours = cnnspec("export", "resnet50", "--weights", shallow, "-o", f"{folder}/50.onnx")
            found = in_turn(
                {"keras": [sys.executable, "-c", KERAS, f"{folder}/keras.onnx"], "ours": ours}, rounds, written
            )
            runs["keras model.export, ResNet-50"] = found["keras"]
            rows.append(
                _target("ResNet-50: Keras's model.export / cnnspec, time", _times(found["keras"], found["ours"]), 50)
            )
            print(f"memory, keras / cnnspec: {_peak(found['keras']) / _peak(found['ours']):.1f}")
        else:
            print("left out: Keras's model.export needs tf2onnx")
    for name, measured in runs.items():
        print(f"{name:<44} {median(r.seconds for r in measured):7.2f} s {_peak(measured):8.0f} MB")
    print(f"{'weights of ResNet-152':<44} {'':>9} {size:8.0f} MB\n")
    print("\n".join(text for text, _ in rows))
    return 0 if all(met for _, met in rows) else 1


def _weights(name: str, folder: str) -> str:
    from measure import run

    path = f"{folder}/{name}.safetensors"
    run(cnnspec("weights", name, "--seed", "0", "-o", path))
    return path


def _times(above: list[Run], below: list[Run]) -> float:
    return ratio([r.seconds for r in above], [r.seconds for r in below])


def _peak(runs: list[Run]) -> float:
    return median(r.megabytes for r in runs)


def _target(what: str, value: float, least: float) -> tuple[str, bool]:
    return row(what, value, f"≥ {least:g}", value >= least), value >= least


def _limit(what: str, value: float, most: float) -> tuple[str, bool]:
    return row(what, value, f"≤ {most:g}", value <= most), value <= most


if __name__ == "__main__":
    sys.exit(main())
