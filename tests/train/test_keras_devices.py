"""Several devices train as one does."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from keras_runs import environment, finish, write_run
from train_nets import small_net

pytest.importorskip("tensorflow")

TWO = """
import runpy, sys
from pathlib import Path
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def figures(script, run, devices):
    command = [sys.executable, "-c", TWO, str(script), "--run", str(run), "--device", devices]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with (run / "metrics.csv").open() as file:
        return np.array([[float(row["loss"]), float(row["accuracy"])] for row in csv.DictReader(file)])


@pytest.mark.parametrize("accumulation", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_devices_give_the_losses_of_one(accumulation, tmp_path):
    net = small_net(
        tmp_path,
        optimizer={"adam": 0.01, "l2": 0.01},
        clip={"global_norm": 0.5},
        gradient_accumulation=accumulation,
        metrics=["accuracy", "confusion_matrix"],
        epochs=5,
        batch_size=10 // accumulation,
    )
    script = write_run(tmp_path / "code", net)  # 100 images: equal shares
    one, two = (figures(script, tmp_path / name, device) for name, device in (("one", "cpu:0"), ("two", "cpu:0,cpu:1")))
    np.testing.assert_allclose(two, one, rtol=1e-5)
    assert one[-1, 0] < one[0, 0]
    tables = [(tmp_path / name / "confusion.csv").read_text() for name in ("one", "two")]
    assert tables[0] == tables[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "absent"), [("gpu:7,gpu:9", "GPU:7"), ("gpu:0", "GPU"), ("cpu,gpu", "GPU"), ("cpu:3", "CPU:3")]
)
def test_devices_that_there_are_not(devices, absent, tmp_path):
    """TensorFlow's strategy would wait for several, and another would do the work of one."""
    script = write_run(tmp_path / "code", small_net(tmp_path))
    status, _, err = finish(script, tmp_path / "run", "--device", devices)
    assert status == 1
    assert err.splitlines()[-1] == f"error: there is no --device {devices}: '/device:{absent}'"


@pytest.mark.slow
def test_a_device_without_its_number(tmp_path):
    script = write_run(tmp_path / "code", small_net(tmp_path))
    assert finish(script, tmp_path / "run", "--device", "cpu")[0] == 0


@pytest.mark.slow
def test_a_last_batch_that_has_too_few_for_norms(tmp_path):
    """What an empty share would give has no mean."""
    script = write_run(tmp_path / "code", small_net(tmp_path, "full", batch_size=8), 33)
    command = [sys.executable, "-c", TWO, str(script), "--run", str(tmp_path / "run"), "--device", "cpu:0,cpu:1"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: more devices than images in the last batch, 1"
    assert not (tmp_path / "run" / "metrics.csv").exists()
