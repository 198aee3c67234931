"""What a generated train.py does in either framework where something is odd: as its user runs it."""

import ast
import csv
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiers import KERAS_SLOWLY
from warm import Script

import cnnspec
from cnnspec.train.generate import build_files

pytest.importorskip("grain")

NET = """\
cnnspec: 1
name: tiny
input: {channels: 1, size: 8}
preprocess: {scale: 1/255}
layers:
  - {conv: 4, kernel: 3, activation: relu}
  - flatten
  - {dense: 3, name: fc}
"""
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture(params=["torch", "keras"])
def backend(request):
    pytest.importorskip(request.param)
    return request.param


SLOWER = pytest.mark.parametrize("backend", KERAS_SLOWLY, indirect=True)


def images(count, seed=0):
    """Some of three classes, which tell themselves apart."""
    labels = np.arange(count) % 3
    pixels = np.random.default_rng(seed).integers(0, 120, (count, 8, 8)) + 60 * labels[:, None, None] * (
        np.arange(8) < 4
    )
    return pixels.astype(np.uint8), labels


def made(folder: Path, backend: str, recipe: str, text: str = NET, count: int = 60) -> Path:
    """The generated files, with data unless the recipe has its own; returns the path of `train.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    if "data:" not in recipe:
        pixels, labels = images(count)
        np.savez(folder / "data.npz", x_train=pixels, y_train=labels)
        recipe = f"data: {{npz: {folder}/data.npz}}, {recipe}"
    spec = folder / "spec.yaml"
    spec.write_text(f"{text}train: {{{recipe}}}\n", encoding="utf-8")
    net = cnnspec.load(str(spec))
    for name, content in build_files(net.graph, backend, net.recipe).items():
        (folder / name).write_bytes(content)
    return folder / "train.py"


def start(script: Path, run: Path, *options: str, file_size: int | None = None) -> Script | subprocess.Popen:
    command = [str(script), "-o", str(run), *options]
    if "import torch\n" in script.read_text():
        return Script(command, cwd=script.parent, env=ENVIRONMENT, file_size=file_size)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    return subprocess.Popen(
        [sys.executable, *command], cwd=script.parent, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=limit if file_size else None,
    )  # fmt: skip


def finish(script: Path, run: Path, *options: str, status: int = 0, file_size: int | None = None) -> str:
    """Run it to its end; what it said on the standard error."""
    _, error = (process := start(script, run, *options, file_size=file_size)).communicate(timeout=120)
    assert process.returncode == status, error
    assert "Traceback" not in error
    return error


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(file: Path) -> list:
    """The arrays of a native file, in order; of a checkpoint, those of the model."""
    if file.suffix == ".pt":
        import torch

        state = torch.load(file, weights_only=True)
        return [array.numpy() for array in state.get("model", state).values()]
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return [arrays[f"arr_{i}"] for i in range(4)]
    import h5py

    found = []
    with h5py.File(file) as content:
        content.visititems(lambda name, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found


SIGNALS = """
import os, signal, time
def arrive():
    os.kill(os.getpid(), signal.{number})
    time.sleep(600)  # longer than `finish` waits
class DataError(Exception): pass
CLASSES, Data, Part, Batch, batches = [], None, None, None, None
def load_data(folder=None): arrive()
"""


@SLOWER
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("when", ["at an import", "as data are read"])
def test_asked_to_end_before_the_first_step(when, number, backend, tmp_path):
    script = made(tmp_path, backend, "optimizer: {sgd: 0.1}, epochs: 1, batch_size: 20")
    text = SIGNALS.format(number=number) + ("arrive()\n" if when == "at an import" else "")
    (tmp_path / "data.py").write_text(text)
    finish(script, tmp_path / "run", status=130)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", ["nonsense", "nonsense,gpu:0", "gpu:x"])
def test_a_device_that_there_is_not(device, backend, capsys):
    if backend == "torch":
        from cnnspec.backends.torch.snippets.processes import join as take
    else:
        from cnnspec.backends.keras.snippets.devices import placed as take
    with pytest.raises(SystemExit) as ended:
        take(device)
    assert str(ended.value).startswith(f"error: there is no --device {device}: ")
    assert "\n" not in str(ended.value)


def test_both_have_the_same_options(tmp_path):
    def options(backend):
        text = made(tmp_path / backend, backend, "optimizer: {sgd: 0.1}, epochs: 1, batch_size: 20").read_text()
        return [line.strip() for line in text.splitlines() if line.strip().startswith("add(")]

    assert options("torch") == options("keras")
    assert len(options("torch")) == 7


@SLOWER
def test_the_best_weights_are_those_of_the_best_figure_however_little_it_improves(backend, tmp_path):
    recipe = (
        "optimizer: {sgd: 0.01}, epochs: 3, batch_size: 60, checkpoints: {keep: all}, "
        "early_stop: {monitor: loss, patience: 5, min_delta: 100}"
    )
    script = made(tmp_path, backend, recipe)
    finish(script, run := tmp_path / "run")
    losses = [float(row["loss"]) for row in rows(run)]
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[2]
    suffix = {"torch": ".pt", "keras": ".weights.h5"}[backend]
    (last,) = (run / "checkpoints").glob("step-000000003*")
    (first,) = (run / "checkpoints").glob("step-000000001*")
    found, expected = weights(run / f"final{suffix}"), weights(last)
    assert sorted(a.sum() for a in found) == sorted(a.sum() for a in expected)
    assert sorted(a.sum() for a in found) != sorted(a.sum() for a in weights(first))
    best = weights(run / f"best{suffix}")
    assert all(np.array_equal(a, b) for a, b in zip(best, found, strict=True))


@SLOWER
def test_where_it_stops_early_the_last_epoch_is_kept_too(backend, tmp_path):
    recipe = (
        "optimizer: {sgd: 0.000001}, epochs: 9, batch_size: 60, checkpoints: {every: 50}, "
        "early_stop: {monitor: accuracy, patience: 2}"
    )
    script = made(tmp_path, backend, recipe)
    finish(script, run := tmp_path / "run")
    assert len(rows(run)) == 3
    assert [path.stem for path in (run / "checkpoints").iterdir()] == ["step-000000003"]


@SLOWER
def test_without_a_number_no_epoch_is_the_best(backend, tmp_path):
    recipe = "optimizer: {sgd: 1.0e+30}, epochs: 4, batch_size: 20, early_stop: {monitor: loss, patience: 1}"
    script = made(tmp_path, backend, recipe)
    said = finish(script, run := tmp_path / "run", status=1)
    assert [row["loss"] for row in rows(run)] == ["nan"]
    assert "error: no epoch is the best: what is watched is not a number" in said


def write_folder(folder: Path, count: int, seed: int) -> list[Path]:
    files = []
    for i, (image, label) in enumerate(zip(*images(count, seed), strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        files.append(folder / str(label) / f"{i:03}.png")
        Image.fromarray(image).save(files[-1])
    return files


@SLOWER
def test_validation_is_over_the_images_that_can_be_read(backend, tmp_path):
    write_folder(tmp_path / "train", 30, 0)
    files = write_folder(tmp_path / "validation", 9, 1)
    data = f"data: {{image_folder: {{train: {tmp_path}/train, validation: {tmp_path}/validation}}}}"
    recipe = f"{data}, initializers: {{conv: ones, dense: zeros}}, optimizer: {{sgd: 0.1}}, epochs: 1, batch_size: "
    script = made(tmp_path / "code", backend, recipe + "30")
    for file in (files[2], files[3], files[5]):  # whole at the beginning and at the end, and not between
        content = bytearray(file.read_bytes())
        middle = content.index(b"IDAT") + 4
        content[middle : middle + 20] = bytes(20)
        file.write_bytes(content)
    error = finish(script, tmp_path / "run", "--batch-size", "1")
    assert error.count("left out") == 3
    for file in (files[2], files[3], files[5]):
        file.unlink()
    finish(script, tmp_path / "fewer", "--batch-size", "1")
    whole, fewer = rows(tmp_path / "run")[0], rows(tmp_path / "fewer")[0]
    assert float(whole["validation_loss"]) == pytest.approx(float(fewer["validation_loss"]), rel=1e-5)
    assert float(whole["validation_accuracy"]) == pytest.approx(float(fewer["validation_accuracy"]))


@pytest.mark.slow
def test_killed_before_the_first_checkpoint_it_begins_anew(backend, tmp_path):
    recipe = "optimizer: {adam: 0.01}, epochs: 1, batch_size: 1, checkpoints: {best: loss}"
    script = made(tmp_path, backend, recipe, count=300)
    process = start(script, run := tmp_path / "run")
    while process.poll() is None and not (run / "checkpoints").exists():
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert list((run / "checkpoints").iterdir()) == []
    finish(script, run, "--resume")
    finish(script, whole := tmp_path / "whole")
    assert rows(run) == rows(whole)


@pytest.mark.slow
def test_a_full_disk_is_said_so_and_the_old_checkpoint_stays(tmp_path):
    """In Keras; for PyTorch it is tested with the runs of PyTorch."""
    pytest.importorskip("keras")
    script = made(tmp_path, "keras", "optimizer: {adam: 0.01}, epochs: 2, batch_size: 20")
    finish(script, run := tmp_path / "run", "--epochs", "1")
    before = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    size = min(map(len, before.values())) - 100
    error = finish(script, run, "--resume", status=1, file_size=size)
    assert "error: " in error
    assert "File too large" in error
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before


HOSTILE = """\
cnnspec: 1
name: %s
description: "\\"\\"\\" + __import__('os').system('touch owned') + \\"\\"\\" {{ 7 * 7 }}\\\\"
input: {channels: 1, size: 8}
preprocess: {scale: 1/255}
labels: ["it's", "\\"quoted\\"", "\\u0430 {x} \\\\"]
blocks:
  main:
    layers: [{conv: 4, kernel: 3, name: train}, {conv: 4, kernel: 1, name: data}]
layers:
  - {conv: 4, kernel: 3, name: class}
  - {main: {}, name: model}
  - {main: {}, name: evaluate}
  - {conv: 4, kernel: 1, name: replacing, norm: batch_norm, activation: relu}
  - {conv: 2, kernel: 1, name: args}
  - {dropout: 0.1, name: save}
  - flatten
  - {dense: 3, name: forward}
"""
NAMES = [
    "main", "train", "class", "data", "model", "batches", "make_optimizer", "keras", "torch", "signal", "loss", "args",
    "best", "path", "any", "part", "RANK", "SEED", "distributed_data_parallel", "averaged_model", "network",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_train_py_are_no_names_of_the_network(name, backend, tmp_path):
    """The network's class or function is imported as what nothing else is called in the file, or where it is made."""
    recipe = "optimizer: {adam: 0.1}, epochs: 1, batch_size: 20, ema: 0.9, checkpoints: {best: loss}"
    tree = ast.parse(made(tmp_path, backend, recipe, HOSTILE % name).read_text())
    network, others = "", set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "model":
            network = node.names[0].asname or node.names[0].name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            others |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign):
            others |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            others.add(node.name)
        if isinstance(node, ast.FunctionDef) and node.name in ("make_model", "main"):
            others |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            others |= {argument.arg for argument in node.args.args}
    assert network and network not in others


@SLOWER
@pytest.mark.parametrize("name", ["train", pytest.param("class", marks=pytest.mark.slow)])
def test_hostile_names_train(name, backend, tmp_path):
    recipe = "optimizer: {adam: 0.01}, epochs: 1, batch_size: 20, split: 0.2, metrics: [accuracy, confusion_matrix]"
    script = made(tmp_path, backend, recipe, HOSTILE % name)
    finish(script, run := tmp_path / "run")
    with (run / "confusion.csv").open() as file:
        assert [row[0] for row in csv.reader(file)][1:] == ["it's", '"quoted"', "\u0430 {x} \\"]
    assert not list(tmp_path.rglob("owned"))
    assert np.isfinite(float(rows(run)[0]["validation_loss"]))
