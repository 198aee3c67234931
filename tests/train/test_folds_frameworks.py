"""Folds and ensembles with the frameworks themselves, and what `evaluate` says of an ensemble."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from tiers import KERAS_SLOWLY

import cnnspec
from cnnspec.train.evaluate import evaluate

SPEC = """\
cnnspec: 1
name: little
input: {channels: 1, size: 8}
preprocess: {scale: 1/255}
layers:
  - {conv: 4, kernel: 3, norm: batch_norm, activation: relu, name: stem}
  - global_avg_pool
  - {dense: 2, name: fc}
train:
  data: {npz: small.npz}
  optimizer: {adam: 0.02}
  checkpoints: {best: validation_accuracy, steps: 1}
  epochs: 3
  batch_size: 8
"""


def prepare(folder):
    """A spec, and images that are darker or lighter."""
    (folder / "little.yaml").write_text(SPEC)
    draw = np.random.default_rng(0)
    labels = draw.permutation(np.arange(60) % 2)
    x = (draw.integers(0, 200, (60, 8, 8)) + 40 * labels[:, None, None]).clip(0, 255).astype(np.uint8)
    np.savez(folder / "small.npz", x_train=x[:44], y_train=labels[:44], x_test=x[44:], y_test=labels[44:])


def start(*arguments, folder):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, "-m", "cnnspec", *map(str, arguments)], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def run(*arguments, folder):
    process = start(*arguments, folder=folder)
    out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out
    return out


@pytest.fixture(scope="module", params=KERAS_SLOWLY)
def folds(request, tmp_path_factory):
    pytest.importorskip("torch" if request.param == "torch" else "tensorflow")
    folder = tmp_path_factory.mktemp(request.param)
    prepare(folder)
    out = run("train", "little.yaml", "--backend", request.param, "--folds", "2", folder=folder)
    found = cnnspec.Folds(folder / "runs" / f"little-{request.param}-folds")
    assert "mean" in out
    return found, folder, request.param


def test_figures_are_of_the_best_epoch(folds):
    found, _, _ = folds
    for row, one in zip(found.rows, found.runs, strict=True):
        with (one.path / "metrics.csv").open() as file:
            rows = [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]
        best = max(rows, key=lambda line: line["validation_accuracy"])  # the first of equals
        assert row["epoch"] == best["epoch"]
        assert row["validation_accuracy"] == best["validation_accuracy"]
        assert row["validation_loss"] == best["validation_loss"]
        assert one.evaluate(split="validation").loss == pytest.approx(row["validation_loss"], rel=1e-4)


def test_an_ensemble_is_evaluated_as_any_file(folds, capsys):
    found, folder, _ = folds
    made = cnnspec.ensemble([found.path], folder / "all.onnx")
    assert made == [folder / "all.onnx", folder / "all.onnx.trained_on.npy"]
    evaluation = evaluate(folder / "all.onnx")
    with np.load(folder / "small.npz") as arrays:
        x, labels = arrays["x_test"][..., None], arrays["y_test"]
    p = np.mean([probabilities(one.onnx, x) for one in found.runs], axis=0)
    assert evaluation.accuracy == (p.argmax(1) == labels).mean()
    assert evaluation.loss == pytest.approx(-np.log(p[np.arange(16), labels]).mean(), rel=1e-5)
    assert (evaluation.split, evaluation.images, evaluation.trained_on, evaluation.warnings) == ("test", 16, 0, [])
    # every image of the training part was trained on by one of the two
    again = evaluate(folder / "all.onnx", split="train")
    assert (again.images, again.trained_on) == (44, 44)
    assert "44 of the 44 images were trained on" in again.warnings[0]
    # with images in files, which the ensemble knows again
    (folder / "photos" / "0").mkdir(parents=True, exist_ok=True)
    (folder / "photos" / "1").mkdir(exist_ok=True)
    with np.load(folder / "small.npz") as arrays:
        Image.fromarray(arrays["x_train"][0]).save(folder / "photos" / "0" / "a.png")
    Image.fromarray(x[0, :, :, 0]).save(folder / "photos" / "1" / "b.png")
    assert evaluate(folder / "all.onnx", str(folder / "photos")).trained_on == 1


def probabilities(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"image": x})
    scores = np.exp(scores.astype(np.float64))
    return scores / scores.sum(1, keepdims=True)


def test_what_is_not_known_is_said(folds, tmp_path, capsys):
    """Of a member without hashes; an old file of hashes does not stay."""
    found, _, _ = folds
    one, other = found.runs
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(one.onnx.read_bytes())
    from cnnspec.cli import main

    with pytest.raises(SystemExit):
        main(["ensemble", str(alone), str(other.path), "-o", str(tmp_path / "all.onnx")])
    assert f"(nothing says which images {alone} was trained on)" in capsys.readouterr().out
    assert (tmp_path / "all.onnx.trained_on.npy").exists()
    second = tmp_path / "second.onnx"
    second.write_bytes(other.onnx.read_bytes())
    assert cnnspec.ensemble([alone, second], tmp_path / "all.onnx") == [tmp_path / "all.onnx"]
    assert not (tmp_path / "all.onnx.trained_on.npy").exists()
    assert evaluate(tmp_path / "all.onnx").trained_on is None


@pytest.mark.slow
def test_kill_9_within_the_second_fold(folds, tmp_path):
    """It goes on in the middle of an epoch, and ends as if nothing had been."""
    found, folder, backend = folds
    prepare(tmp_path)
    spec = SPEC.replace("small.npz", str(folder / "small.npz"))
    (tmp_path / "little.yaml").write_text(spec)
    process = start("train", "little.yaml", "--backend", backend, "--folds", "2", "-o", "cut", folder=tmp_path)
    checkpoints, end = tmp_path / "cut" / "fold-2" / "checkpoints", time.monotonic() + 300
    while not any(checkpoints.glob("step-*")) and time.monotonic() < end:
        time.sleep(0.01)
    for line in subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    ).stdout.split():
        os.kill(int(line), signal.SIGKILL)
    process.kill()
    process.communicate()
    cut = cnnspec.Folds(tmp_path / "cut")
    assert [row["fold"] for row in cut.rows] == [1]
    out = run("train", "--resume", "-o", "cut", folder=tmp_path)
    assert "fold 1 of 2" not in out
    assert cut.rows == found.rows
    for one, other in zip(cut.runs, found.runs, strict=True):
        assert all(np.array_equal(one.weights[key], other.weights[key]) for key in other.weights)
    assert json.loads((cut.path / "folds.json").read_text())["mean"] == found.mean


def test_members_of_both_frameworks(folds, tmp_path):
    """One trained, one with drawn weights, exported for the other's images."""
    found, _, _ = folds
    one = found.runs[0]
    net = cnnspec.load(one.path / "spec.yaml")
    from cnnspec.train.exported import export_run

    export_run(net.graph, "", net.recipe, ["0", "1"], net.weights(3), tmp_path / "drawn.onnx")
    cnnspec.ensemble([one.path, tmp_path / "drawn.onnx"], tmp_path / "all.onnx")
    x = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 1), np.uint8)
    expected = (probabilities(one.onnx, x) + probabilities(tmp_path / "drawn.onnx", x)) / 2
    session = onnxruntime.InferenceSession(tmp_path / "all.onnx", providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, {"image": x})[0] - expected).max() < 1e-6
    assert Path(one.path).is_dir()
