"""SqueezeNet with weights that were trained on ImageNet: a real classifier on all frameworks, on real photographs.

The weights and the photographs are those that other packages ship; a test whose package is not installed is skipped.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agreement import agree

import cnnspec
from cnnspec.backends.onnx.images import preprocessed, read_image

from .parity import FLOAT32, FLOAT64, SELF_ERROR, built_in_keras, in_onnx, torch_logits

SPEC = """\
cnnspec: 1
extends: squeezenet1_1
name: squeezenet_caffe
input: {size: 227}
preprocess:
  {resize: 256, resize_to: exact, crop: 227, channel_order: bgr, scale: 1, mean: [104.006, 116.669, 122.679], std: 1}
"""
PHOTOGRAPHS = {  # what is on them, by ImageNet's number
    "skimage/data/chelsea.png": {281, 282, 283, 284, 285},  # tabby, tiger cat, Persian, Siamese, Egyptian cat
    "skimage/data/coffee.png": {504, 967, 968},  # coffee mug, espresso, cup
    "skimage/data/rocket.jpg": {657},  # missile
    "skimage/data/motorcycle_left.png": {665, 670},  # moped, motor scooter
    "skimage/data/camera.png": {732, 759, 872},  # instant camera, reflex camera, tripod
    "sklearn/datasets/images/china.jpg": {663, 698, 832},  # monastery, palace, stupa
    "sklearn/datasets/images/flower.jpg": set(),  # a dahlia, which ImageNet does not have
}


def shipped(name: str) -> Path:
    """A file of another package, which is not imported for it."""
    package, _, rest = name.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {package} is not installed, which ships {rest}")
    path = Path(spec.submodule_search_locations[0], rest)
    if not path.exists():
        pytest.skip(f"this version of {package} does not ship {rest}")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squeezenet")
    (folder / "cnnspec.yaml").write_text(SPEC)
    weights = shipped("ndf/example_models/weights/squeezenet_weights.pkl")
    cli("weights", "-o", "w.safetensors", "--from", f"keras:{weights}", folder=folder)
    cli("export", "-o", "plain.onnx", "--weights", "w.safetensors", folder=folder)
    cli("export", "-o", "whole.onnx", "--weights", "w.safetensors", "--preprocess", "--probabilities", folder=folder)
    return folder


def cli(*arguments: str, folder: Path) -> str:
    command = [sys.executable, "-m", "cnnspec", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def best(logits: Any) -> list[int]:
    return np.argsort(-logits, axis=-1, kind="stable")[..., :5].tolist()


@pytest.mark.parametrize("model", ["plain.onnx", "whole.onnx"])
def test_what_is_on_a_photograph_is_among_five_guesses(model: str, folder: Path) -> None:
    photographs = {str(shipped(name)): classes for name, classes in PHOTOGRAPHS.items() if classes}
    lines = cli("predict", model, *photographs, "--format", "json", folder=folder).splitlines()
    guesses = {line["image"]: [guess["index"] for guess in line["top"]] for line in map(json.loads, lines)}
    assert guesses.keys() == photographs.keys()
    assert {Path(name).name: top for name, top in guesses.items() if photographs[name].isdisjoint(top)} == {}


def test_frameworks_guess_the_same(folder: Path) -> None:
    net = cnnspec.load(folder / "cnnspec.yaml")
    section = net.spec.preprocess
    x = np.concatenate([preprocessed(read_image(shipped(name), 3), section, (227, 227)) for name in PHOTOGRAPHS])
    weights = net.load_weights(folder / "w.safetensors")
    in_torch = torch_logits(net.build("torch", weights), x)
    single, double = in_torch["float32"], in_torch["float64"]
    scale = np.abs(double).max()
    allowed = max(FLOAT32 * scale, SELF_ERROR * np.abs(single - double).max())
    found = {
        "torch": single,
        "keras": built_in_keras(net, weights, x, "float32"),
        "onnx": in_onnx(net, weights, x, folder / "again.onnx"),
    }
    for name, logits in found.items():
        print(f"{name:<6} largest logit {scale:.3g}, {np.abs(logits - double).max():.2g} apart of {allowed:.2g}")
        agree(logits, double, allowed)
        assert best(logits) == best(double)
    agree(built_in_keras(net, weights, x, "float64"), double, FLOAT64 * scale)
