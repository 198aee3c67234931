"""Training in Keras that was interrupted goes on as if it had not been."""

import shutil
import signal
import time

import numpy as np
import pytest
from keras_runs import finish, start, write_run
from train_nets import small_net

pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")


def arrays(path):
    """All arrays of a weight file."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    assert found
    return found


def figures(run):
    """The figures of a run, without the seconds."""
    rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    return [[value for name, value in zip(rows[0], row, strict=True) if name != "seconds"] for row in rows]


def assert_equal_runs(one, other):
    assert figures(one) == figures(other)
    mine, others = arrays(one / "final.weights.h5"), arrays(other / "final.weights.h5")
    assert mine.keys() == others.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], others[name])


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A recipe with all that has a state: momenta, averages, plateau, early stop, dropout, sums of an epoch."""
    folder = tmp_path_factory.mktemp("script")
    net = small_net(
        folder,
        "full",
        optimizer={"nadam": 0.01, "l2": 1e-3},
        schedule={"reduce_on_plateau": {"patience": 1, "monitor": "validation_loss", "min_delta": 1.0}},
        ema=0.9,
        early_stop={"patience": 30},
        split=0.2,
        epochs=3,
        checkpoints={"steps": 3, "keep": 3, "best": "validation_accuracy"},
        metrics=["accuracy", {"top_k": 2}, "per_class", "confusion_matrix"],
    )
    return write_run(folder / "code", net)


@pytest.fixture(scope="module")
def whole(script, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    status, _, err = finish(script, run)
    assert status == 0, err
    assert "Warning" not in err  # the best weights are loaded without an optimiser
    return run


def killed(script, run, moment, number=signal.SIGKILL, checkpoints=1):
    """Training that gets a signal some seconds after so many checkpoints."""
    process = start(script, run)
    limit = time.monotonic() + 120
    while len(list((run / "checkpoints").glob("step-*"))) < checkpoints and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.01)
    time.sleep(moment)
    process.send_signal(number)
    process.communicate()
    return process.returncode


def test_a_run_leaves_its_results(whole):
    names = {path.name for path in whole.iterdir()}
    assert names == {
        "best.weights.h5",
        "early_stop.weights.h5",
        "checkpoints",
        "confusion.csv",
        "final.weights.h5",
        "metrics.csv",
        "per_class.csv",
    }
    assert len(list((whole / "checkpoints").iterdir())) == 3
    header, *rows = figures(whole)
    assert header == [
        "epoch",
        "learning_rate",
        "loss",
        "accuracy",
        "top_2",
        *(f"validation_{n}" for n in ("loss", "accuracy", "top_2")),
    ]
    assert [row[0] for row in rows] == ["1", "2", "3"]


def test_what_is_right_is_counted(whole):
    """Means of batches in float32 would not add up to whole numbers, and equal epochs would differ."""
    header, *rows = figures(whole)
    for name, images in (("accuracy", 100), ("top_2", 100), ("validation_accuracy", 23), ("validation_top_2", 23)):
        for row in rows:
            right = float(row[header.index(name)]) * images
            assert right == pytest.approx(round(right), abs=1e-12)


def test_killed_with_a_broken_checkpoint_and_resumed(script, whole, tmp_path):
    """It is said, and the one before is used."""
    assert killed(script, tmp_path, 0.0, checkpoints=2) == -signal.SIGKILL
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 255
    newest.write_bytes(content)
    status, _, err = finish(script, tmp_path, "--resume")
    assert status == 0, err
    assert f"{newest.name} is broken" in err
    assert_equal_runs(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("moment", np.random.default_rng(0).uniform(0, 1.0, 20).tolist())
def test_killed_at_many_moments(script, whole, tmp_path, moment):
    killed(script, tmp_path, moment)
    assert finish(script, tmp_path, "--resume")[0] == 0
    assert_equal_runs(tmp_path, whole)


@pytest.mark.slow
def test_interrupted_and_resumed(script, whole, tmp_path):
    assert killed(script, tmp_path, 0.0, signal.SIGINT, checkpoints=2) == 130
    status, _, err = finish(script, tmp_path, "--resume")
    assert status == 0, err
    assert_equal_runs(tmp_path, whole)


@pytest.mark.slow
def test_no_checkpoint_lies_before_an_epoch_s_last_step(tmp_path):
    """TensorFlow computes by the shapes that it has met: the short last batch must not be the first one."""
    net = small_net(
        tmp_path, "full", optimizer={"nadam": 0.01}, epochs=2, split=0.2, checkpoints={"steps": 1, "keep": "all"}
    )
    script = write_run(tmp_path / "code", net)
    whole = tmp_path / "whole"
    assert finish(script, whole)[0] == 0
    steps = {int(path.stem.removeprefix("step-")) for path in (whole / "checkpoints").iterdir()}
    assert steps == {*range(1, 8), *range(9, 17), 18}  # of 9 in each epoch
    for step in (7, 16):  # two steps before the end of an epoch
        run = tmp_path / f"after{step}"
        (run / "checkpoints").mkdir(parents=True)
        shutil.copy(whole / "checkpoints" / f"step-{step:09}.npz", run / "checkpoints")
        assert finish(script, run, "--resume")[0] == 0
        assert_equal_runs(run, whole)
