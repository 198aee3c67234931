"""Runs with the frameworks themselves: both backends, weights that go from one to the other, a folder on its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiers import KERAS_SLOWLY

import cnnspec

SPEC = """\
cnnspec: 1
name: little
input: {channels: 1, size: 28}
preprocess: {scale: 1/255}
layers:
  - {conv: 4, kernel: 5, stride: 3, norm: batch_norm, activation: relu, name: stem}
  - flatten
  - {dropout: 0.1}
  - {dense: 10, name: fc}
train:
  split: 0.2
  optimizer: {adam: 0.005}
  metrics: [accuracy, {top_k: 3}, per_class, confusion_matrix]
  checkpoints: {best: validation_accuracy}
  epochs: 2
  batch_size: 125
"""

# What a machine without cnnspec does: importing it fails.
ALONE = (
    "import sys, runpy; sys.modules['cnnspec'] = None; sys.path.insert(0, sys.argv[1]); sys.argv[:2] = ['train.py']; "
)
ALONE += "runpy.run_path(sys.path[0] + '/train.py', run_name='__main__')"


def run(*command, folder):
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module", params=KERAS_SLOWLY)
def trained(request, tmp_path_factory):
    """A run by the command line, with what it printed."""
    pytest.importorskip("torch" if request.param == "torch" else "tensorflow")
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "little.yaml").write_text(SPEC)
    done = run("-m", "cnnspec", "train", "little.yaml", "--backend", request.param, "-o", "run", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run", request.param, done


def test_a_run(trained):
    folder, backend, done = trained
    found = cnnspec.Run(folder)
    assert "Traceback" not in done.stderr
    assert [row["epoch"] for row in found.metrics] == [1, 2]
    # drawn weights give a loss near ln 10 and 10 % right
    assert found.metrics[-1]["loss"] < 1.2
    assert found.metrics[-1]["validation_accuracy"] > 0.6
    best = max(range(2), key=lambda epoch: found.metrics[epoch]["validation_accuracy"])
    assert found.evaluate(split="validation").accuracy == pytest.approx(
        found.metrics[best]["validation_accuracy"], abs=1.5 / 500
    )
    for name in ("best.safetensors", "final.safetensors", "curves.png", "confusion.png", "confusion.csv"):
        assert (folder / name).stat().st_size > 0
        assert f"run/{name}" in done.stdout
    assert json.loads((folder / "run.json").read_text())["backend"] == backend
    evaluation = found.evaluate()
    assert (evaluation.images, evaluation.trained_on) == (500, 0)
    assert f"{evaluation.accuracy:.2%}" in done.stdout


def test_a_device_that_there_is_not(trained, tmp_path):
    _, backend, _ = trained
    (tmp_path / "little.yaml").write_text(SPEC)
    command = ["-m", "cnnspec", "train", "little.yaml", "--backend", backend, "-o", "run", "--device", "nonsense"]
    done = run(*command, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "error: there is no --device nonsense: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_native_weights_are_the_canonical_ones(trained):
    folder, backend, _ = trained
    net = cnnspec.load(folder / "spec.yaml")
    found = cnnspec.Run(folder).weights
    assert found["stem.bn.running_mean"].any()
    x = np.asarray(Image.open(folder / "examples" / "1-trouser.png"), np.float32)[None, None] / 255
    model = net.build(backend, found)
    if backend == "torch":
        import torch

        logits = model.eval()(torch.from_numpy(x)).detach().numpy()[0]
    else:
        logits = np.asarray(model(x.transpose(0, 2, 3, 1), training=False))[0]
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    image = np.asarray(Image.open(folder / "examples" / "1-trouser.png"))[None, :, :, None]
    assert session.run(None, {"image": image})[0][0] == pytest.approx(logits, abs=1e-4)


def test_the_folder_trains_where_cnnspec_is_not_installed(trained, tmp_path):
    folder, _, _ = trained
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("model.py", "data.py", "train.py"):
        shutil.copy(folder / name, copy)
    shutil.copytree(folder / "sample", copy / "sample")
    done = run("-c", ALONE, copy, "--epochs", "1", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((copy / "metrics.csv").read_text().splitlines()) == 2
    assert list(copy.glob("final.*"))


@pytest.mark.slow
def test_weights_go_on_in_the_other_framework(trained, tmp_path, monkeypatch, capfd):
    folder, backend, _ = trained
    other = {"torch": "keras", "keras": "torch"}[backend]
    pytest.importorskip("torch" if other == "torch" else "tensorflow")
    monkeypatch.chdir(tmp_path)
    net = cnnspec.load(folder / "spec.yaml")
    found = net.train("on", backend=other, weights=folder / "best.safetensors", epochs=1)
    before = cnnspec.Run(folder)
    assert Path("on").is_dir()
    # it begins where the other ended, and not anew
    assert found.metrics[0]["loss"] < before.metrics[0]["loss"] - 0.1
    assert found.metrics[0]["accuracy"] > before.metrics[0]["accuracy"] + 0.05
