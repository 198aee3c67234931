"""Cross-validation from end to end: its runs, its figures, and how it goes on. The framework is NumPy."""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import plain_training
import pytest

import cnnspec
from cnnspec.cli import main
from cnnspec.spec.recipe.data import Fold
from cnnspec.train import events, pictures
from cnnspec.train import folds as folding
from cnnspec.train.folds import Folds

FIGURES = ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
# What a terminal runs, with NumPy for the framework.
COMMAND = """
import sys, pytest, plain_training
with pytest.MonkeyPatch.context() as patch:
    plain_training.installed(patch)
    from cnnspec.cli import main
    main(sys.argv[1:])
"""


def command(*arguments):
    """The exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def tree(folder):
    """Every file below a folder, with its bytes and when it was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def weights(path):
    with np.load(path / "final.npz") as arrays:
        return arrays["weight"].tobytes(), arrays["bias"].tobytes()


def prepare(patch, folder):
    """A spec and small data of two classes, in a folder in which NumPy is the framework."""
    plain_training.installed(patch)
    for module in (events, pictures):  # which take longer than training does
        patch.setattr(module, "find_spec", lambda name: None)
    (folder / "plain.yaml").write_text(plain_training.SPEC)
    draw = np.random.default_rng(0)
    labels = np.arange(67) % 2
    x = draw.integers(0, 220, (67, 14, 14), np.uint8)
    x[labels == 0, :, :7] += 35
    x[labels == 1, :, 7:] += 35
    labels[draw.permutation(67)[:16]] ^= 1  # some are wrong, so that no fold is like another
    np.savez(folder / "small.npz", x_train=x[:51], y_train=labels[:51], x_test=x[51:], y_test=labels[51:])
    patch.chdir(folder)


ARGUMENTS = ("train", "plain.yaml", "--folds", "3", "--data", "small.npz", "--batch-size", "8")


@pytest.fixture
def plain(monkeypatch, tmp_path):
    prepare(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Three folds that have been trained, with what was printed."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch, folder)
        assert command(*ARGUMENTS) == 0
        yield Folds(folder / "runs" / "plain-torch-folds")


# --- the runs


def test_every_fold_is_a_whole_run(done):
    names = [path.name for path in sorted(done.path.iterdir())]
    assert names == ["fold-1", "fold-2", "fold-3", "folds.csv", "folds.json", "run.json"]
    for fold, run in enumerate(done.runs, 1):
        assert run.path == done.path / f"fold-{fold}"
        there = {path.name for path in run.path.iterdir()}
        assert {"spec.yaml", "run.json", "data.py", "train.py", "initial.npz", "metrics.csv", "model.onnx"} <= there
        record = json.loads((run.path / "run.json").read_text())
        assert (record["name"], record["fold"], record["folds"]) == ("plain", fold, 3)
        assert cnnspec.load(run.path / "spec.yaml").recipe.split == Fold(folds=3, fold=fold)


def test_all_start_from_the_same_weights(done):
    first, *others = [(run.path / "initial.npz").read_bytes() for run in done.runs]
    assert others == [first, first]
    assert len({weights(run.path) for run in done.runs}) == 3


def test_every_image_is_validated_on_once(done):
    images, test = [], []
    for run in done.runs:
        from cnnspec.train.generate import data_module

        data = data_module(run.graph, run.graph.spec.recipe).load_data()
        assert len(data.train) == 34
        images += [image.tobytes() for image in data.validation.images]
        test.append(data.test.images.tobytes())
    with np.load(done.path.parents[1] / "small.npz") as arrays:
        assert sorted(images) == sorted(image.tobytes() for image in arrays["x_train"])
        assert set(test) == {arrays["x_test"].tobytes()}


def test_a_fold_is_repeated_by_its_spec_alone(done, plain):
    spec = done.path / "fold-2" / "spec.yaml"
    assert command("train", spec, "-o", "again") == 0
    assert weights(plain / "again") == weights(done.path / "fold-2")
    assert (plain / "again" / "data.py").read_bytes() == (done.path / "fold-2" / "data.py").read_bytes()


def test_the_seed_of_a_split_draws_the_folds(plain):
    text = plain_training.SPEC + "  split: {validation: 0.2, seed: 9}\n"
    (plain / "plain.yaml").write_text(text)
    made = cnnspec.load("plain.yaml").train(folds=2, data="small.npz", epochs=1, seed=4)
    assert [cnnspec.load(run.path / "spec.yaml").recipe.split for run in made.runs] == [
        Fold(folds=2, fold=fold, seed=9) for fold in (1, 2)
    ]


def test_a_recipe_may_watch_images_that_only_folds_hold_out(plain):
    """Nothing is held out without them: early stopping would have nothing to look at."""
    (plain / "plain.yaml").write_text(plain_training.SPEC + "  early_stop: 3\n")
    assert command("train", "plain.yaml", "--data", "small.npz") == 1
    assert command(*ARGUMENTS, "--epochs", "1") == 0


# --- the figures


def test_the_figures_are_those_of_the_runs(done, capsys):
    rows = done.rows
    assert [row["fold"] for row in rows] == [1, 2, 3]
    for row, run in zip(rows, done.runs, strict=True):
        with (run.path / "metrics.csv").open() as file:
            last = list(csv.DictReader(file))[-1]
        assert row["epoch"] == int(last["epoch"]) == 2
        for name in FIGURES[:2]:
            assert row[name] == float(last[name])
        found = run.evaluate(split="validation")
        assert row["validation_accuracy"] == pytest.approx(found.accuracy, abs=1e-9)
        test = run.evaluate(split="test")
        assert (row["test_accuracy"], row["test_loss"]) == (test.accuracy, test.loss)


def test_mean_and_deviation(done):
    written = json.loads((done.path / "folds.json").read_text())
    with (done.path / "folds.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["fold"] for line in table] == ["1", "2", "3", "mean", "deviation"]
    for name in FIGURES:
        values = np.array([row[name] for row in done.rows])
        mean = values.sum() / 3
        deviation = np.sqrt(((values - mean) ** 2).sum() / 2)  # n − 1
        assert deviation > 0
        assert done.mean[name] == written["mean"][name] == float(table[3][name]) == pytest.approx(mean, rel=1e-12)
        assert done.deviation[name] == written["deviation"][name] == float(table[4][name])
        assert done.deviation[name] == pytest.approx(deviation, rel=1e-9)


def test_the_table_is_printed(done, plain, capfd):
    assert command("train", "--resume", "-o", done.path) == 0  # of nothing that is left to train
    out = capfd.readouterr().out
    assert "epoch 1" not in out
    assert "n − 1" in out
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert lines["fold"] == ["fold", "epoch", *FIGURES]
    assert lines["mean"][1] == f"{done.mean['validation_loss']:.4f}"
    assert lines["deviation"][4] == f"{done.deviation['test_accuracy']:.2%}"
    assert lines["2"][3] == f"{done.rows[1]['validation_accuracy']:.2%}"


def test_the_best_epoch_counts_where_the_recipe_keeps_it(tmp_path):
    from cnnspec.train.finish import Products

    (tmp_path / "plain.yaml").write_text(plain_training.SPEC)
    rows = "epoch,validation_loss,validation_accuracy\n1,0.9,0.5\n2,0.7,0.8\n3,0.6,0.8\n4,0.8,0.7\n"
    (tmp_path / "metrics.csv").write_text(rows)
    for best, epoch in [("", 4), ("validation_accuracy", 2), ("validation_loss", 3)]:
        more = f"  split: 0.1\n  checkpoints: {{best: {best}}}\n" if best else ""
        (tmp_path / "plain.yaml").write_text(plain_training.SPEC + more)
        recipe = cnnspec.load(tmp_path / "plain.yaml").recipe
        row = folding._row(1, cnnspec.Run(tmp_path), recipe, Products())
        assert row["epoch"] == epoch, best
        assert row["validation_loss"] == {4: 0.8, 2: 0.7, 3: 0.6}[epoch]


# --- interrupted


def test_ctrl_c_in_the_second_fold(plain, done, monkeypatch, capfd):
    monkeypatch.setenv("ONLY_IN", "fold-2")
    monkeypatch.setenv("INTERRUPT", "1")
    before = signal.getsignal(signal.SIGINT)
    assert command(*ARGUMENTS, "-o", "cut") == 130
    assert signal.getsignal(signal.SIGINT) is before
    err = capfd.readouterr().err
    assert "fold 2 of 3: interrupted" in err
    assert "go on with: cnnspec train --resume -o cut\n" in err
    cut = Folds(plain / "cut")
    assert [row["fold"] for row in cut.rows] == [1]
    assert (cut.mean, cut.finished) == ({}, False)
    assert not (cut.path / "fold-3" / "checkpoints").exists()
    first = tree(cut.path / "fold-1")
    monkeypatch.delenv("INTERRUPT")
    assert command("train", "--resume", "-o", "cut") == 0
    assert tree(cut.path / "fold-1") == first
    assert cut.finished
    for run, other in zip(cut.runs, done.runs, strict=True):
        assert weights(run.path) == weights(other.path)
        assert [row["epoch"] for row in run.metrics] == [1, 2]
    assert [{**row} for row in cut.rows] == done.rows


def test_kill_9_in_the_second_fold(plain, done, capfd):
    """Of the process that trains, and of cnnspec itself."""
    environment = os.environ | {"PYTHONPATH": str(Path(plain_training.__file__).parent)}
    killed = environment | {"ONLY_IN": "fold-2", "KILL": "1", "KILL_PARENT": "1"}
    line = [sys.executable, "-c", COMMAND, *ARGUMENTS]
    ended = subprocess.run(line, env=killed, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == -signal.SIGKILL
    cut = Folds(plain / "runs" / "plain-torch-folds")
    assert [row["fold"] for row in cut.rows] == [1]
    assert command("train", "plain.yaml", "--resume") == 0  # the newest one
    assert "going on in runs/plain-torch-folds" in capfd.readouterr().out
    assert cut.rows == done.rows
    assert [weights(run.path) for run in cut.runs] == [weights(run.path) for run in done.runs]


def test_ctrl_c_between_two_folds(plain, done, monkeypatch, capfd):
    real = Folds._add

    def add(self, row):
        real(self, row)
        raise KeyboardInterrupt

    monkeypatch.setattr(Folds, "_add", add)
    assert command(*ARGUMENTS, "-o", "cut") == 130
    assert "--resume -o cut" in capfd.readouterr().err
    monkeypatch.setattr(Folds, "_add", real)
    assert command("train", "--resume", "-o", "cut") == 0
    assert Folds(plain / "cut").rows == done.rows


def test_a_fold_that_was_finished_by_itself(plain, done, monkeypatch):
    monkeypatch.setenv("ONLY_IN", "fold-1")
    monkeypatch.setenv("KILL", "1")
    assert command(*ARGUMENTS, "-o", "cut") == 1
    monkeypatch.delenv("KILL")
    assert command("train", "--resume", "-o", "cut/fold-1") == 0
    assert command("train", "--resume", "-o", "cut") == 0
    assert Folds(plain / "cut").rows == done.rows


# --- errors


def test_a_fold_that_fails_is_named(plain, monkeypatch, capfd):
    monkeypatch.setenv("ONLY_IN", "fold-2")
    monkeypatch.setenv("KILL", "1")
    assert command(*ARGUMENTS, "-o", "cut") == 1
    err = capfd.readouterr().err
    assert "error: fold 2 of 3: training was killed by SIGKILL\ngo on with: cnnspec train --resume -o cut" in err
    assert "Traceback" not in err
    assert (plain / "cut" / "fold-1" / "model.onnx").exists()
    assert command("evaluate", "cut") == 1
    err = capfd.readouterr().err
    assert "[no-run]" in err
    assert "cnnspec ensemble cut -o M.onnx" in err


def test_more_folds_than_images_of_a_class(plain, capfd):
    assert command(*ARGUMENTS[:2], "--folds", "26", *ARGUMENTS[4:]) == 1
    err = capfd.readouterr().err
    assert "too few for 26 folds" in err
    assert "fold 1 of 26" in err
    assert "nothing is left of it" in err
    assert list((plain / "runs").iterdir()) == []


@pytest.mark.parametrize("folds", ["1", "0", "-3", "1001", "two", "2.5"])
def test_a_number_of_folds_that_there_cannot_be(plain, capfd, folds):
    assert command("train", "plain.yaml", "--folds", folds) == 2
    assert "--folds" in capfd.readouterr().err
    assert not (plain / "runs").exists()


def test_folds_go_on_as_they_were_begun(plain, capfd):
    assert command("train", "plain.yaml", "--resume", "--folds", "3") == 2
    assert "--folds" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        (["--data", "nowhere"], "bad-data"),
        (["--weights", "nowhere.safetensors"], "no-file"),
        (["--recipe", "alexnet"], "recipe-conflict"),
        (["-o", "plain"], "file-exists"),
    ],
)
def test_wrong_input_makes_nothing(plain, capfd, arguments, slug):
    (plain / "plain").mkdir()
    (plain / "plain" / "mine").write_text("")
    before = tree(plain)
    assert command("train", "plain.yaml", "--folds", "2", *arguments) == 1
    err = capfd.readouterr().err
    assert f"[{slug}]" in err
    assert "Traceback" not in err
    assert tree(plain) == before
    assert not (plain / "runs").exists()


def test_a_framework_that_is_not_installed(plain, monkeypatch):
    plain_training.installed(monkeypatch, packages=("no_such_framework",))
    assert command(*ARGUMENTS) == 3
    assert not (plain / "runs").exists()


def test_two_do_not_train_the_same_folds(done, capfd):
    with (done.path / "run.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert command("train", "--resume", "-o", done.path) == 1
    assert "being trained by another process" in capfd.readouterr().err


def test_a_full_disk_when_figures_are_written(plain, monkeypatch, capfd):
    import errno

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Folds, "_add", fail)
    assert command(*ARGUMENTS, "-o", "full") == 1
    err = capfd.readouterr().err
    assert "error: fold 1 of 3: full: No space left on device\ngo on with" in err


# --- from Python


def test_from_python(plain, done):
    made = cnnspec.load("plain.yaml").train(folds=3, data="small.npz", batch_size=8)
    assert isinstance(made, cnnspec.Folds)
    assert made.path == Path("runs/plain-torch-folds")
    assert (made.rows, made.mean, made.deviation) == (done.rows, done.mean, done.deviation)
    assert np.array_equal(made.runs[2].weights["fc.weight"], done.runs[2].weights["fc.weight"])
    assert made.resume() == []
    with pytest.raises(cnnspec.SpecError, match="expected at least 2"):
        cnnspec.load("plain.yaml").train(folds=1)
