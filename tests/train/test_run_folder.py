"""A run from end to end: what is in its folder, how it goes on, and what stops it. The framework is NumPy."""

import errno
import fcntl
import gzip
import json
import os
import shutil
import signal
import struct
from pathlib import Path

import numpy as np
import plain_training
import pytest
from PIL import Image

import cnnspec
from cnnspec.cli import main
from cnnspec.train import run as running
from cnnspec.weights.mapping import Given

SAMPLE = Path(running.__file__).parent / "sample"


def command(*arguments):
    """The exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def pixels(part):
    with gzip.open(SAMPLE / f"{part}-images-idx3-ubyte.gz") as file:
        _, n, height, width = struct.unpack(">4I", file.read(16))
        return np.frombuffer(file.read(), np.uint8).reshape(n, height, width)


def labels(part):
    with gzip.open(SAMPLE / f"{part}-labels-idx1-ubyte.gz") as file:
        return np.frombuffer(file.read()[8:], np.uint8)


@pytest.fixture
def plain(monkeypatch, tmp_path):
    """A folder with a spec, in which NumPy is the framework."""
    plain_training.installed(monkeypatch)
    (tmp_path / "plain.yaml").write_text(plain_training.SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run that has been trained, from its spec and with two options."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "plain.yaml").write_text(plain_training.SPEC)
    with pytest.MonkeyPatch.context() as patch:
        plain_training.installed(patch)
        patch.chdir(folder)
        assert command("train", "plain.yaml", "--epochs", "3", "--seed", "5") == 0
        yield running.Run(folder / "runs" / "plain-torch")


def test_the_folder_holds_all(done):
    names = {path.name for path in done.path.iterdir()}
    assert {
        "spec.yaml", "run.json", "model.py", "data.py", "train.py", "sample", "initial.npz", "metrics.csv", "checkpoints",
        "final.npz", "final.safetensors", "model.onnx", "curves.png", "confusion.png", "examples", "events",
    } <= names  # fmt: skip
    assert not [name for name in names if "part" in name]
    assert [path.name for path in done.path.parent.iterdir()] == ["plain-torch"]


def test_the_spec_says_what_was_trained_without_the_original(done, tmp_path):
    (tmp_path / "elsewhere.yaml").write_bytes((done.path / "spec.yaml").read_bytes())
    net = cnnspec.load(tmp_path / "elsewhere.yaml")
    assert (net.recipe.epochs, net.recipe.seed, net.recipe.batch_size) == (3, 5, 100)
    assert net.recipe.data.kind == "sample"
    assert cnnspec.check(tmp_path / "elsewhere.yaml") == []


def test_the_record_says_with_what(done):
    record = json.loads((done.path / "run.json").read_text())
    assert (record["name"], record["backend"], record["seed"], record["transfer"]) == ("plain", "torch", 5, None)
    assert record["libraries"]["numpy"] == np.__version__
    assert len(record["spec_sha256"]) == 64
    assert record["threads"] >= 1
    assert {"python", "platform", "cpu", "git_commit", "command", "started", "cnnspec"} <= record.keys()


def test_it_starts_from_the_weights_that_the_seed_draws(done):
    with np.load(done.path / "initial.npz") as arrays:
        expected = cnnspec.load(done.path / "spec.yaml").weights(5)
        assert np.array_equal(arrays["weight"], expected["fc.weight"])
        assert np.abs(arrays["weight"]).max() > 0


PUBLISHED = """\
address: https://example.org
labels: things
networks: {plain: {V1: {file: plain.pth, sha256: 0123abcd, preprocess: {scale: 1/255, mean: 0.25, std: 0.5}}}}
"""


def test_weights_need_the_preprocessing_of_those_they_began_with(plain, capsys):
    """A second run begins with the first one's, which were published; labels are those of the data by then."""
    for name, text in [("published/torchvision", PUBLISHED), ("labels/things", str([f"thing {i}" for i in range(10)]))]:
        (plain / name).parent.mkdir()
        (plain / f"{name}.yaml").write_text(text)
    net = cnnspec.load("plain.yaml")
    net.save_weights("first.safetensors", Given(dict(net.weights(3)), {"from": "torchvision:V1"}))
    assert net.suited("first.safetensors").spec.labels[0] == "thing 0"
    for number, weights in [(1, "first.safetensors"), (2, "runs/1/final.safetensors")]:
        capsys.readouterr()
        assert command("train", "plain.yaml", "--weights", weights, "--epochs", "1", "-o", f"runs/{number}") == 0
        assert "brings its own preprocessing (mean 0.25, std 0.5), in place" in capsys.readouterr().err
        assert cnnspec.load(f"runs/{number}/spec.yaml").spec.preprocess.mean == 0.25
        suited = net.suited(f"runs/{number}/final.safetensors").spec
        assert (suited.preprocess.std, suited.labels) == (0.5, None)


def test_weights_are_canonical(done):
    with np.load(done.path / "final.npz") as arrays:
        assert np.array_equal(done.weights["fc.weight"], arrays["weight"].astype(np.float32))


def test_evaluation_is_what_the_weights_give(done):
    resized = [
        np.asarray(Image.fromarray(image).resize((14, 14), Image.Resampling.BILINEAR)) for image in pixels("t10k")
    ]
    x = np.stack(resized).reshape(len(resized), -1) / 255
    scores = x @ done.weights["fc.weight"].T.astype(float) + done.weights["fc.bias"]
    truth = labels("t10k")
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    found = done.evaluate()
    assert found.images == len(truth)
    assert found.accuracy == pytest.approx((scores.argmax(1) == truth).mean(), abs=1e-9)
    assert found.loss == pytest.approx(-log_p[np.arange(len(truth)), truth].mean(), rel=1e-5)
    assert found.top_k[5] == pytest.approx((np.argsort(-scores)[:, :5] == truth[:, None]).any(1).mean(), abs=1e-9)
    assert found.confusion[3].sum() == (truth == 3).sum()
    assert found.confusion[3, 3] == ((scores.argmax(1) == 3) & (truth == 3)).sum()
    assert 0.5 < found.accuracy < 1


def test_examples_are_unseen_images_of_each_class(done, capsys):
    files = sorted((done.path / "examples").iterdir())
    assert [file.name for file in files][:2] == ["0-t_shirt_top.png", "1-trouser.png"]
    assert len(files) == 10
    images, truth = pixels("t10k"), labels("t10k")
    train = {image.tobytes() for image in pixels("train")}
    for number, file in enumerate(files):
        image = np.asarray(Image.open(file))
        assert image.tobytes() in {i.tobytes() for i in images[truth == number]}
        assert image.tobytes() not in train
    assert command("predict", done.onnx, files[1], "--top", "1", "--format", "json") == 0
    guess = json.loads(capsys.readouterr().out)["top"][0]
    assert guess["label"] in {"Trouser", "Dress", "T-shirt/top", "Coat"}


def test_events_say_what_the_table_says(done):
    import sys
    from types import ModuleType

    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))  # without TensorFlow
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (file,) = (done.path / "events").iterdir()
    found = {
        (value.tag, event.step): value.tensor.float_val[0]
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    }
    expected = {("loss/train", row["epoch"]): row["loss"] for row in done.metrics}
    expected |= {("accuracy/train", row["epoch"]): row["accuracy"] for row in done.metrics}
    expected |= {("learning_rate", row["epoch"]): row["learning_rate"] for row in done.metrics}
    assert len(expected) == 9
    assert found == pytest.approx(expected, rel=1e-6)


def test_pictures_show_something(done):
    for name in ("curves.png", "confusion.png"):
        image = np.asarray(Image.open(done.path / name).convert("L"))
        assert image.min() < 100 < 250 < image.max()


def test_it_is_said_where_everything_is(plain, capfd):
    assert command("train", "plain.yaml", "--epochs", "1", "-o", "here") == 0
    out = capfd.readouterr().out
    for name in ("final.safetensors", "model.onnx", "examples", "confusion.png", "events"):
        assert f"here/{name}" in out
    assert "1 epoch in" in out
    assert "test: accuracy" in out
    # a run's folder is never written over, and the spec inside is one to train
    before = (plain / "here" / "train.py").read_bytes()
    assert command("train", "plain.yaml", "--epochs", "2", "-o", "here") == 1
    assert "`here` exists already" in capfd.readouterr().err
    assert (plain / "here" / "train.py").read_bytes() == before
    net = cnnspec.load("here/spec.yaml")
    first, second = net.train(epochs=1), net.train(epochs=1)
    assert (first.path, second.path) == (Path("runs/plain-torch"), Path("runs/plain-torch-2"))
    assert np.array_equal(first.weights["fc.weight"], running.Run(plain / "here").weights["fc.weight"])


def test_ctrl_c_leaves_a_checkpoint_and_resume_goes_on(plain, done, monkeypatch, capfd):
    monkeypatch.setenv("INTERRUPT", "1")
    before = signal.getsignal(signal.SIGINT)
    assert command("train", "plain.yaml", "--epochs", "3", "--seed", "5", "-o", "cut") == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "cnnspec train --resume -o cut" in capfd.readouterr().err
    assert not (plain / "cut" / "model.onnx").exists()
    assert command("evaluate", "cut") == 1
    assert "no-run" in capfd.readouterr().err
    monkeypatch.delenv("INTERRUPT")
    assert command("train", "--resume", "-o", "cut") == 0
    cut = running.Run(plain / "cut")
    assert np.array_equal(cut.weights["fc.weight"], done.weights["fc.weight"])
    assert [row["epoch"] for row in cut.metrics] == [1, 2, 3]
    assert cut.onnx.read_bytes() == done.onnx.read_bytes()
    assert len(list((plain / "cut" / "events").iterdir())) == 1


def test_a_killed_child(plain, monkeypatch, capfd):
    monkeypatch.setenv("KILL", "1")
    assert command("train", "plain.yaml") == 1
    err = capfd.readouterr().err
    assert "killed by SIGKILL" in err
    assert "--resume -o runs/plain-torch" in err
    monkeypatch.delenv("KILL")
    assert command("train", "plain.yaml", "--resume") == 0  # the newest one
    assert "going on in runs/plain-torch" in capfd.readouterr().out


def test_a_child_that_is_asked_to_end_before_it_listens(plain, monkeypatch, capfd):
    monkeypatch.setattr(running, "train", lambda *arguments: -signal.SIGTERM)
    assert command("train", "plain.yaml") == 130
    assert "interrupted; nothing is left of it" in capfd.readouterr().err
    assert list((plain / "runs").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_before_there_is_a_child(plain, monkeypatch, capfd, number):
    before = signal.getsignal(number)
    monkeypatch.setattr(running, "train", lambda *arguments: os.kill(os.getpid(), number))
    assert command("train", "plain.yaml") == 130
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err == "interrupted; nothing is left of it\n"
    assert list((plain / "runs").iterdir()) == []


def test_interrupted_while_its_products_are_made(plain, monkeypatch, capfd):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    finish = running.finish
    monkeypatch.setattr(running, "finish", interrupt)
    for arguments in (["plain.yaml", "--epochs", "1", "-o", "cut"], ["--resume", "-o", "cut"]):
        assert command("train", *arguments) == 130
        assert capfd.readouterr().err == "interrupted\ngo on with: cnnspec train --resume -o cut\n"
    monkeypatch.setattr(running, "finish", finish)
    assert command("train", "--resume", "-o", "cut") == 0


def test_training_that_diverges_is_an_error(plain, capfd):
    """A rate of which the sums of exponents overflow; what is there stays, and no network is made of it."""
    (plain / "wild.yaml").write_text(plain_training.SPEC.replace("sgd: 0.1", "sgd: 0.2").replace("plain", "wild"))
    weights = {name: np.full_like(array, np.nan) for name, array in cnnspec.load("wild.yaml").weights(0).items()}
    cnnspec.load("wild.yaml").save_weights("nan.safetensors", Given(weights, {}))
    assert command("train", "wild.yaml", "--weights", "nan.safetensors", "--epochs", "2", "-o", "wild") == 1
    out, err = capfd.readouterr()
    assert "[diverged]" in err
    assert "the weights became infinite or not a number: figures are, from epoch 1 on" in err
    assert "Made:" not in out
    assert (plain / "wild" / "final.safetensors").exists()
    assert not (plain / "wild" / "model.onnx").exists()


def test_figures_on_images_that_were_trained_on_flatter(plain, capfd):
    """Training warns of it as `evaluate` does."""
    images, truth = pixels("train")[:40], labels("train")[:40]
    np.savez(plain / "both.npz", x_train=images, y_train=truth, x_test=images[:7], y_test=truth[:7])
    assert command("train", "plain.yaml", "--data", "both.npz", "--epochs", "1", "-o", "both") == 0
    assert "warning: 7 of the 7 images were trained on" in capfd.readouterr().out


def test_a_full_disk_while_it_is_followed(plain, monkeypatch, capfd):
    """The process that trains is ended, and the run can go on."""
    from cnnspec.train.events import Events

    def fail(self):
        if any((self.run / "checkpoints").glob("step-*")):
            raise OSError(errno.ENOSPC, "No space left on device", str(self.folder / "events.out"))

    follow = Events.follow
    monkeypatch.setattr(Events, "follow", fail)
    assert command("train", "plain.yaml", "--epochs", "200", "-o", "full") == 1
    err = capfd.readouterr().err
    assert "error: full/events/events.out: No space left on device\n" in err
    assert "go on with: cnnspec train --resume -o full" in err
    assert "Traceback" not in err
    assert not (plain / "full" / "final.npz").exists()
    monkeypatch.setattr(Events, "follow", follow)
    with (plain / "full" / "run.json").open() as record:
        fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody trains it any more


def test_a_full_disk_at_the_end(plain, monkeypatch, capfd):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(running, "finish", fail)
    assert command("train", "plain.yaml", "--epochs", "1", "-o", "full") == 1
    assert "error: full: No space left on device\n" in capfd.readouterr().err
    assert (plain / "full" / "final.npz").exists()


def test_a_thread_of_tensorboard_prints_no_traceback(monkeypatch):
    import threading

    from cnnspec.train.events import raised_once

    printed = []
    monkeypatch.setattr(threading, "excepthook", lambda given: printed.append(given.exc_type))

    def fail(error):
        raise error

    with raised_once():
        for error in (OSError(errno.ENOSPC, "No space left on device"), ValueError("another")):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert printed == [ValueError]


def test_data_that_are_gone_when_training_ends(plain, monkeypatch, capfd):
    draw = np.random.default_rng(0)
    images, classes = draw.integers(0, 256, (300, 14, 14), np.uint8), np.arange(300) % 10
    np.savez(plain / "mine.npz", x_train=images, y_train=classes)
    real = running.train

    def train(*arguments):
        status = real(*arguments)
        (plain / "mine.npz").rename(plain / "gone.npz")
        return status

    monkeypatch.setattr(running, "train", train)
    assert command("train", "plain.yaml", "--epochs", "1", "--data", "mine.npz", "-o", "cut") == 1
    err = capfd.readouterr().err
    assert "[bad-data]" in err
    assert "mine.npz" in err
    assert "cnnspec train --resume -o cut" in err
    assert "Traceback" not in err
    monkeypatch.setattr(running, "train", real)
    (plain / "gone.npz").rename(plain / "mine.npz")
    assert command("train", "--resume", "-o", "cut") == 0
    assert (plain / "cut" / "model.onnx").exists()


def test_two_do_not_train_one_run(done, capfd):
    with (done.path / "run.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert command("train", "--resume", "-o", done.path) == 1
    assert "being trained by another process" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["train.py", "model.py", "data.py"])
def test_code_that_is_gone(done, tmp_path, capfd, name):
    run = shutil.copytree(done.path, tmp_path / "run")
    (run / name).unlink()
    assert command("train", "--resume", "-o", run) == 1
    assert f"error: {run / name}: No such file or directory" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        (["--resume"], "no-run"),
        (["--resume", "-o", "nowhere"], "no-run"),
        (["--data", "nowhere"], "bad-data"),
        (["--data", "plain.yaml"], "bad-data"),
        (["--recipe", "resnett"], "unknown-recipe"),
        (["--recipe", "alexnet"], "recipe-conflict"),
        (["--transfer", "small"], "unknown-case"),
        (["--weights", "nowhere.safetensors"], "no-file"),
        (["--set", "class=3"], "unknown-param"),
    ],
)
def test_wrong_input_makes_nothing(plain, capfd, arguments, slug):
    assert command("train", "plain.yaml", *arguments) == 1
    err = capfd.readouterr().err
    assert f"[{slug}]" in err
    assert "Traceback" not in err
    assert [path.name for path in plain.iterdir()] == ["plain.yaml"]


def test_a_spec_without_a_recipe(plain, capfd):
    (plain / "bare.yaml").write_text(plain_training.SPEC.partition("train:")[0])
    assert command("train", "bare.yaml") == 1
    err = capfd.readouterr().err
    assert "[no-recipe]" in err
    assert "--recipe standard" in err


def test_data_that_do_not_fit_leave_nothing(plain, capfd):
    assert command("train", "plain.yaml", "--set", "classes=4") == 1
    err = capfd.readouterr().err
    assert "error: " in err
    assert "4 outputs" in err
    assert "Traceback" not in err
    assert list((plain / "runs").iterdir()) == []


def test_a_place_that_cannot_be_written(plain, capfd):
    assert command("train", "plain.yaml", "-o", "plain.yaml/run") == 1
    assert "Not a directory" in capfd.readouterr().err
    assert [path.name for path in plain.iterdir()] == ["plain.yaml"]


def test_a_framework_that_is_not_installed(plain, monkeypatch, capfd):
    plain_training.installed(monkeypatch, packages=("no_such_framework",))
    assert command("train", "plain.yaml") == 3
    assert "`no_such_framework` is not installed" in capfd.readouterr().err
    assert [path.name for path in plain.iterdir()] == ["plain.yaml"]


def test_a_library_of_the_code_that_is_not_installed(plain, monkeypatch, capfd):
    from cnnspec.train import generate

    monkeypatch.setattr(generate, "find_spec", lambda name: None if name == "PIL" else name)
    assert command("train", "plain.yaml") == 3
    assert "`pillow` is not installed" in capfd.readouterr().err
    assert [path.name for path in plain.iterdir()] == ["plain.yaml"]


@pytest.mark.parametrize("option", [["--epochs", "3"], ["--data", "mnist"], ["--weights", "w"], ["--set", "a=1"]])
def test_a_run_goes_on_as_it_was_begun(plain, capfd, option):
    assert command("train", "plain.yaml", "--resume", *option) == 2
    assert option[0] in capfd.readouterr().err


def test_without_the_optional_packages(plain, monkeypatch, capfd):
    from cnnspec.train import events, pictures

    monkeypatch.setattr(events, "find_spec", lambda name: None)
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    assert command("train", "plain.yaml", "--epochs", "1", "-o", "bare") == 0
    out = capfd.readouterr().out
    assert out.count("is not installed") == 2
    assert not (plain / "bare" / "events").exists()
    assert not list((plain / "bare").glob("*.png"))
    assert (plain / "bare" / "model.onnx").exists()
