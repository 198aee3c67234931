"""Whole runs of a generated train.py for PyTorch, as its user starts them."""

import csv
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from warm import Script

import cnnspec
from cnnspec.train.generate import build_files

torch = pytest.importorskip("torch")
pytest.importorskip("grain")
pytest.importorskip("tqdm")

NET = """\
cnnspec: 1
name: tiny
input: {channels: 1, size: 8}
preprocess: {scale: 1/255}
layers:
  - {conv: 8, kernel: 3, activation: relu%s}
  - {max_pool: 2}
%s  - flatten
%s  - {dense: 3, name: fc}
"""
ALL = NET % (", norm: batch_norm", "  - {dropout: 0.3}\n", "  - {dropout: 0.3}\n")  # of maps and of vectors
PLAIN = NET % ("", "", "")
EVERYTHING = (
    "optimizer: {adam: 0.01}, epochs: 3, batch_size: 10, gradient_accumulation: 2, ema: 0.9, "
    "schedule: {reduce_on_plateau: {patience: 1, warmup: 1}}, early_stop: 3, split: 0.2, augment: [{flip: horizontal}], "
    "metrics: [accuracy, {top_k: 2}, per_class, confusion_matrix], "
    "checkpoints: {steps: 2, best: validation_accuracy}"
)
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def made(folder: Path, recipe: str, text: str = ALL, images: int = 150) -> Path:
    """A folder with generated files and data for them."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, images)
    pixels = draw.integers(0, 120, (images, 8, 8)) + 60 * labels[:, None, None] * (np.arange(8) < 4)
    np.savez(folder / "data.npz", x_train=pixels.astype(np.uint8), y_train=labels)
    spec = folder / "tiny.yaml"
    spec.write_text(f"{text}train: {{data: {{npz: {folder}/data.npz}}, {recipe}}}\n")
    net = cnnspec.load(str(spec))
    for name, content in build_files(net.graph, "torch", net.recipe).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def start(folder: Path, *options: str, run: str = "run", file_size: int | None = None) -> Script:
    command = [str(folder / "train.py"), "-o", str(folder / run), *options]
    return Script(command, cwd=folder, env=ENVIRONMENT, file_size=file_size)


def train(folder: Path, *options: str, status: int = 0, **more) -> tuple[str, str]:
    out, error = (process := start(folder, *options, **more)).communicate(timeout=100)
    assert process.returncode == status, error
    assert "Traceback" not in error, error
    return out, error


def train_in_two(folder: Path, run: str, offset: int = 0) -> str:
    """Two processes that train together; what the first one said."""
    port = str(20000 + (os.getpid() + offset) % 20000)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    command = [sys.executable, *launcher, str(folder / "train.py"), "-o", str(folder / run)]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def train_here(folder: Path, *options: str, run: str = "run") -> None:
    """The same in this process, which has PyTorch already."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    argv, sys.argv = sys.argv, ["train.py", "--run", str(folder / run), "--device", "cpu", *options]
    try:
        runpy.run_path(str(folder / "train.py"), run_name="__main__")
    finally:
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder whose modules can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("model", "data"):
        sys.modules.pop(name, None)


def rows(folder: Path, run: str = "run") -> list[dict[str, str]]:
    with (folder / run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def state(folder: Path, run: str = "run", name: str = "final.pt") -> dict:
    return torch.load(folder / run / name, weights_only=True)


def assert_same(folder: Path, run: str) -> None:
    """A run ended as the uninterrupted one did, to the bit."""
    for name in ("final.pt", "best.pt", "early_stop.pt"):
        whole, other = state(folder, "whole", name), state(folder, run, name)
        assert all(torch.equal(whole[key], other[key]) for key in whole), (run, name)
    assert rows(folder, run) == rows(folder, "whole")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = made(tmp_path_factory.mktemp("torch"), EVERYTHING)
    train(folder, run="whole")
    return folder


def kill_at_times(folder: Path, run: str, times: int) -> None:
    """Kill a run again and again, then let it end."""
    draw = random.Random(run)
    for _ in range(times):
        process = start(folder, "--resume", run=run)
        checkpoints = folder / run / "checkpoints"
        before = set(checkpoints.glob("step-*"))
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None and set(checkpoints.glob("step-*")) == before:
            time.sleep(0.005)
        time.sleep(draw.random() * 0.15)
        process.kill()
        process.communicate()
    train(folder, "--resume", run=run)


def test_what_a_run_leaves(folder):
    run = folder / "whole"
    assert {p.name for p in run.iterdir()} == {
        "checkpoints", "best.pt", "early_stop.pt", "final.pt", "metrics.csv", "per_class.csv", "confusion.csv",
    }  # fmt: skip
    assert [p.name for p in sorted((run / "checkpoints").iterdir())] == ["step-000000016.pt", "step-000000018.pt"]
    names = ["loss", "accuracy", "top_2"]
    columns = ["epoch", "learning_rate", *names, *(f"validation_{name}" for name in names)]
    assert list(rows(folder, "whole")[0]) == columns
    with (run / "confusion.csv").open() as file:
        counts = [[int(v) for v in row[1:]] for row in list(csv.reader(file))[1:]]
    with (run / "per_class.csv").open() as file:
        for i, row in enumerate(csv.DictReader(file)):
            taken = sum(line[i] for line in counts)
            assert float(row["precision"]) == pytest.approx(counts[i][i] / max(taken, 1))
            assert float(row["recall"]) == pytest.approx(counts[i][i] / sum(counts[i]))
            assert int(row["images"]) == sum(counts[i])
    assert sum(map(sum, counts)) == 30


def test_killed_at_any_moment_it_ends_the_same(folder):
    kill_at_times(folder, "killed", 2)
    assert_same(folder, "killed")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_killed_often_it_ends_the_same(number, folder):
    kill_at_times(folder, f"killed{number}", 2)
    assert_same(folder, f"killed{number}")


@pytest.mark.slow
def test_interrupted_it_ends_the_step_and_then_goes_on(folder):
    process = start(folder, run="stopped")
    while process.poll() is None and not list((folder / "stopped" / "checkpoints").glob("step-*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    newest = sorted((folder / "stopped" / "checkpoints").glob("step-*"))[-1]
    content = newest.read_bytes()
    newest.with_name("step-000000099.pt").write_bytes(content[:1000])  # as a broken disk leaves it
    middle = len(content) // 2
    changed = bytes(255 - byte for byte in content[middle : middle + 200])  # more than is left free between two arrays
    newest.with_name("step-000000098.pt").write_bytes(content[:middle] + changed + content[middle + 200 :])
    _, error = train(folder, status=1, run="stopped")
    assert "--resume" in error
    _, error = train(folder, "--resume", run="stopped")
    assert "step-000000099.pt is broken" in error
    assert "step-000000098.pt is broken" in error
    assert_same(folder, "stopped")


def test_a_full_disk_is_said_so_and_the_old_checkpoint_stays(folder):
    run = folder / "full"
    train(folder, "--epochs", "1", run="full")
    before = {p.name: p.read_bytes() for p in (run / "checkpoints").iterdir()}
    size = min(map(len, before.values())) - 100
    _, error = train(folder, "--resume", status=1, run="full", file_size=size)
    assert error.startswith("error: ")
    assert "File too large" in error
    assert {p.name: p.read_bytes() for p in (run / "checkpoints").iterdir()} == before


@pytest.mark.parametrize("option", ["--epochs", "--batch-size"])
def test_numbers_below_1_are_wrong_usage(option, here, capsys):
    folder = made(here, "optimizer: {sgd: 0.1}, epochs: 1, batch_size: 25", PLAIN, images=25)
    with pytest.raises(SystemExit, match="2"):
        train_here(folder, option, "0")
    assert "at least 1" in capsys.readouterr().err
    assert not (folder / "run").exists()


def test_other_batches_and_wrong_weights_are_said_so(folder):
    _, error = train(folder, "--resume", "--batch-size", "7", status=1, run="whole")
    assert error.startswith("error: ")
    assert "checkpoints: batches were 10 of 120 images " in error
    torch.save({"fc.weight": torch.zeros(3, 3)}, folder / "wrong.pt")
    _, error = train(folder, "--weights", str(folder / "wrong.pt"), status=1, run="wrong")
    assert "wrong.pt has no weights of this network" in error


ACCUMULATED = "batch_size: 10, gradient_accumulation: 3"  # 10, 10 and 5


@pytest.mark.parametrize("size", ["batch_size: 25", pytest.param(ACCUMULATED, marks=pytest.mark.slow)])
def test_two_processes_have_the_loss_of_one(size, tmp_path):
    folder = made(tmp_path, f"optimizer: {{sgd: 0.05, momentum: 0.9}}, epochs: 50, {size}", PLAIN, images=25)
    train(folder, run="one")
    assert train_in_two(folder, "two", 3 * len(size)).count("epoch 1,") == 1
    one, two = ([float(row["loss"]) for row in rows(folder, run)] for run in ("one", "two"))
    assert len(one) == 50
    assert one[-1] < one[0] / 2
    assert two == pytest.approx(one, rel=1e-5)


def test_a_run_goes_on_with_the_same_images_only(here):
    """As many images of which two have each other's class, or their place, are others."""
    folder = made(here, "optimizer: {sgd: 0.1}, epochs: 1, batch_size: 10", PLAIN, images=30)
    train_here(folder)
    with np.load(folder / "data.npz") as file:
        images, labels = file["x_train"], file["y_train"]
    i, j = 0, int(np.flatnonzero(labels != labels[0])[0])
    for swapped in (labels, images):
        swapped[[i, j]] = swapped[[j, i]]
        np.savez(folder / "data.npz", x_train=images, y_train=labels)
        with pytest.raises(SystemExit, match=r"batches were 10 of 30 images .*, and now 10 of 30 images"):
            train_here(folder, "--resume", "--epochs", "2")


def test_two_processes_validate_what_is_kept(here):
    """Running statistics, of which each process has its own while it trains."""
    folder = made(here, "optimizer: {sgd: 0.05}, epochs: 2, batch_size: 9, split: 0.2", ALL, images=45)
    train_in_two(folder, "two", 11)
    code = SimpleNamespace(**runpy.run_path(str(folder / "train.py"), run_name="train"))
    model, validation = code.Tiny(), code.load_data(None).validation
    code.load_weights(model, folder / "two/final.pt")
    found = code.evaluate(model, torch.nn.CrossEntropyLoss(reduction="sum"), validation, 9, torch.device("cpu"))
    assert float(rows(folder, "two")[-1]["validation_loss"]) == pytest.approx(found["validation_loss"], rel=1e-6)


@pytest.mark.slow
def test_two_processes_augment_as_one(tmp_path):
    """And have other shares of a last batch; with mixup and a validation part, too."""
    recipe = (
        "optimizer: {sgd: 0.05, momentum: 0.9}, epochs: 10, batch_size: 16, split: 11, "
        "augment: [{flip: horizontal}, {shift: 0.2}, {rotate: 10}, {brightness: 0.3}, {cutout: 3}, {mixup: 0.4}]"
    )
    folder = made(tmp_path, recipe, PLAIN, images=90)
    train(folder, run="one")
    train_in_two(folder, "two", 7)
    one, two = rows(folder, "one"), rows(folder, "two")
    for figure in ("loss", "validation_loss"):
        expected = [float(row[figure]) for row in one]
        assert len(expected) == 10
        assert [float(row[figure]) for row in two] == pytest.approx(expected, rel=1e-5)
    assert [row["validation_accuracy"] for row in two] == [row["validation_accuracy"] for row in one]


def test_averages_are_not_moved_by_steps_that_are_skipped(here):
    """Gradients in 16 bits are too large for the scale at first, and the scaler skips steps until they are not."""
    recipe = "optimizer: {sgd: 0.000001}, epochs: 25, batch_size: 25, ema: 0.5, precision: mixed_float16, checkpoints: {keep: all}"
    folder = made(here, recipe, PLAIN.replace("preprocess: {scale: 1/255}\n", ""), images=25)
    train_here(folder)
    states = [state(folder, name=f"checkpoints/step-{i:09}.pt") for i in range(1, 26)]
    skipped = [after["scaler"]["scale"] < before["scaler"]["scale"] for before, after in pairwise(states)]
    assert 0 < sum(skipped) < 24
    for skip, (before, after) in zip(skipped, pairwise(states), strict=True):
        moved = int(after["average"]["n_averaged"] - before["average"]["n_averaged"])
        assert moved == (not skip)
    start = next(i for i, each in enumerate(states) if each["average"]["n_averaged"] == 1)
    torch.testing.assert_close(states[start]["average"]["module.fc.bias"], states[start]["model"]["fc.bias"])


def test_averages_are_what_is_kept(here):
    recipe = "optimizer: {sgd: 0.1}, epochs: 2, batch_size: 25, ema: 0.9, checkpoints: {keep: all}"
    folder = made(here, recipe, PLAIN, images=25)
    train_here(folder)
    first, second = (state(folder, name=f"checkpoints/step-{i:09}.pt")["model"] for i in (1, 2))
    final = state(folder)
    for name in final:
        torch.testing.assert_close(final[name], 0.9 * first[name] + 0.1 * second[name], rtol=1e-6, atol=1e-7)


def test_it_stops_when_nothing_improves_and_ends_with_the_best(here):
    recipe = (
        "optimizer: {sgd: 0.000001}, epochs: 9, batch_size: 25, checkpoints: {keep: all}, "
        "early_stop: {monitor: accuracy, patience: 2}"
    )
    folder = made(here, recipe, PLAIN, images=25)
    train_here(folder)
    assert len(rows(folder)) == 3
    best = state(folder, name="checkpoints/step-000000001.pt")["model"]
    assert all(torch.equal(best[name], value) for name, value in state(folder).items())
    train_here(folder, "--resume")
    assert len(rows(folder)) == 3


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_precision_of_16_bits_learns_the_same(precision, here):
    recipe = "optimizer: {adam: 0.01}, epochs: 6, batch_size: 25, split: 0.2, clip: {global_norm: 1}, precision: "
    folder = made(here, recipe + precision, PLAIN)
    train_here(folder)
    text = (folder / "train.py").read_text().replace(f"torch.{precision.removeprefix('mixed_')}", "torch.float32")
    losses = [float(row["loss"]) for row in rows(folder)]
    (folder / "train.py").write_text(text.replace("with torch.autocast(device.type, torch.float32):", "if True:"))
    train_here(folder, run="float32")
    expected = [float(row["loss"]) for row in rows(folder, "float32")]
    assert losses != expected
    assert losses == pytest.approx(expected, rel=0.05)
