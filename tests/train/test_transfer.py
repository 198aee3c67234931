"""What trains under a transfer case, from when on, at which rate; and that nothing else does."""

import os
import subprocess
import sys

import numpy as np
import pytest
from tiers import KERAS_SLOWLY
from transfer_nets import BOTH, tiny_net, trajectory
from transfer_runs import extended, figures, train_here, write_code, write_data

import cnnspec
from cnnspec.lower.backend import backend as find_backend

pytest.importorskip("grain")
pytest.importorskip("tqdm")

slow = pytest.mark.slow
CASES = ["small_similar", "small_different", "large_similar", "large_different"]
BACKENDS = ["torch", "keras"]
SLOWER = pytest.mark.parametrize("backend", KERAS_SLOWLY, indirect=True)
ZOO = [
    pytest.param(
        name, size, case, marks=[] if (name, case) == ("resnet18", "large_similar") else slow, id=f"{name}-{case}"
    )
    for name, size in (("resnet18", 32), ("googlenet", 80), ("vgg16_bn", 32))
    for case in CASES
]


@pytest.fixture(params=BACKENDS)
def backend(request):
    pytest.importorskip("torch" if request.param == "torch" else "tensorflow")
    return request.param


def changed(before, after):
    """The keys of what is not the same to the bit."""
    assert before.keys() == after.keys()
    return {key for key in before if not np.array_equal(np.asarray(before[key]), np.asarray(after[key]))}


def moving(graph, epochs):
    """The keys of all that a training of so many epochs changes."""
    return {
        f"{node.path}.{name}"
        for node in graph.nodes
        if node.path not in graph.frozen or graph.starts.get(node.path, epochs + 1) <= epochs
        for name in node.params
    }


# ---- frozen means frozen


@pytest.mark.parametrize(("name", "size", "case"), ZOO)
def test_frozen_layers_of_the_zoo_are_bit_identical(name, size, case, backend, tmp_path):
    net = extended(tmp_path, name, case, size, classes=4)
    weights = net.weights(1)
    write_code(tmp_path / "code", net, backend, weights)
    after = train_here(tmp_path / "code", net, backend)
    assert changed(weights, after) == moving(net.graph, 2)
    assert (moving(net.graph, 2) == weights.keys()) == (case == "large_different")


MORE = {"ema": 0.9, "optimizer": {"adamw": 0.01}, "gradient_accumulation": 2}


@SLOWER
@pytest.mark.parametrize("options", [{}, pytest.param(MORE, marks=slow)])
def test_layers_train_from_their_epoch_on(options, backend, tmp_path):
    data = {"npz": str(write_data(tmp_path, (2, 8, 8), 3, 24))}
    case = BOTH | {"unfreeze": {2: ["block2"], 4: ["stem"]}, "learning_rate": {"block2": 0.1, "stem": 0.5}}
    net = tiny_net(tmp_path, case, data=data, **options)
    weights = net.weights(1)
    write_code(tmp_path / "code", net, backend, weights)
    for epochs in (1, 2, 4):
        after = train_here(tmp_path / "code", net, backend, f"run{epochs}", "--epochs", str(epochs))
        assert changed(weights, after) == moving(net.graph, epochs)
        begun = {key.rpartition(".")[0] for key in changed(weights, after) if key.endswith(".weight")}
        late = {"block2.a.conv", "block2.a.bn"} if epochs > 1 else set()
        late |= {"stem.conv", "stem.bn", "stem.prelu"} if epochs > 3 else set()
        assert begun == {"block2.b.conv", "block2.b.bn", "fc"} | late  # block1 never


def test_a_run_by_the_command_line(tmp_path):
    """The last weights against the file that training started from."""
    pytest.importorskip("torch")
    data = {"npz": str(write_data(tmp_path, (2, 8, 8), 3, 24))}
    net = tiny_net(tmp_path, BOTH | {"unfreeze": {2: ["block2"], 4: ["block1"]}}, data=data, epochs=2)
    original = cnnspec.load(str(tmp_path / "tiny.yaml"))
    start = original.weights(7)
    original.save_weights(tmp_path / "w.safetensors", start)
    command = ["train", "tiny.yaml", "--transfer", "large_similar", "--weights", "w.safetensors", "-o", "run"]
    done = subprocess.run(
        [sys.executable, "-m", "cnnspec", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    never = "layers that would start to train in epoch 4 never do: training ends after 2"
    assert done.stderr.splitlines().count(f"warning: {never}") == 1
    assert "drawn" not in done.stderr
    after = dict(net.load_weights(tmp_path / "run" / "final.safetensors"))
    assert changed(dict(start), after) == moving(net.graph, 2)


# ---- in the middle


@SLOWER
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(backend, tmp_path):
    """In the epoch in which layers start to train, and behind it."""
    data = {"npz": str(write_data(tmp_path, (2, 8, 8), 3, 24))}
    recipe = {"optimizer": {"nadam": 0.01}, "ema": 0.9, "checkpoints": {"steps": 1, "keep": "all"}, "data": data}
    net = tiny_net(tmp_path, BOTH, **recipe)
    write_code(tmp_path / "code", net, backend, net.weights(1))
    whole = train_here(tmp_path / "code", net, backend, "whole")
    checkpoints = tmp_path / "code" / "whole" / "checkpoints"
    assert len(list(checkpoints.iterdir())) == (16 if backend == "torch" else 12)  # Keras: none before a last step
    for step in (2, 6, 9):  # of 4 in each epoch
        folder = tmp_path / "code" / f"after{step}" / "checkpoints"
        folder.mkdir(parents=True)
        (kept,) = checkpoints.glob(f"step-{step:09}.*")
        (folder / kept.name).write_bytes(kept.read_bytes())
        again = train_here(tmp_path / "code", net, backend, f"after{step}", "--resume")
        assert changed(whole, again) == set()
        assert figures(folder.parent) == figures(tmp_path / "code" / "whole")


PLAIN = """\
cnnspec: 1
name: plain
input: {channels: 2, size: 8}
preprocess: {scale: 1/255}
layers:
  - {conv: 4, kernel: 3, activation: relu, name: c1}
  - {conv: 4, kernel: 3, activation: relu, name: c2}
  - flatten
  - {dense: 3, name: fc}
transfer:
  head: [fc]
  cases: {large_similar: {freeze: [c1, c2], replace: [fc], unfreeze: {2: [c2], 3: [c1]}, learning_rate: {c1: 0.5}}}
"""


@slow
@pytest.mark.parametrize("batch_size", [6, 5])
def test_two_processes_train_late_layers_as_one(batch_size, tmp_path):
    torch = pytest.importorskip("torch")
    data = write_data(tmp_path, (2, 8, 8), 3, 24)
    path = tmp_path / "plain.yaml"
    path.write_text(
        f"{PLAIN}train: {{data: {{npz: '{data}'}}, optimizer: {{adam: 0.01}}, epochs: 4, batch_size: {batch_size}}}\n"
    )
    net = cnnspec.load(str(path), transfer="large_similar")
    weights = net.weights(1)
    write_code(tmp_path / "code", net, "torch", weights)
    one = train_here(tmp_path / "code", net, "torch", "one", "--device", "cpu")
    port = str(20000 + (os.getpid() + batch_size) % 20000)
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port, "train.py"]
    done = subprocess.run(
        [sys.executable, *command, "-o", "two", "--weights", "initial.pt", "--device", "cpu"],
        cwd=tmp_path / "code",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    two = torch.load(tmp_path / "code" / "two" / "final.pt", weights_only=True)
    for key, array in one.items():
        np.testing.assert_allclose(two[key], array, rtol=1e-3, atol=2e-5)
        assert np.abs(array - weights[key]).max() > 1e-3


TWO = """
import runpy, sys
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, "")
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""


@slow
@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_devices_train_late_layers_as_one(accumulation, tmp_path):
    pytest.importorskip("tensorflow")
    data = write_data(tmp_path, (2, 8, 8), 3, 24)
    path = tmp_path / "plain.yaml"
    smooth = "epsilon: 0.01"  # else a gradient of nearly nothing makes a whole step, of either sign
    recipe = f"optimizer: {{adamw: 0.01, weight_decay: 0.1, {smooth}}}, ema: 0.5, gradient_accumulation: {accumulation}"
    path.write_text(
        f"{PLAIN}train: {{data: {{npz: '{data}'}}, {recipe}, epochs: 4, batch_size: {8 // accumulation}}}\n"
    )
    net = cnnspec.load(str(path), transfer="large_similar")
    weights = net.weights(1)
    write_code(tmp_path / "code", net, "keras", weights)
    one = train_here(tmp_path / "code", net, "keras", "one", "--device", "cpu:0")
    options = ["--run", "two", "--weights", "initial.weights.h5", "--device", "cpu:0,cpu:1"]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", TWO, *options],
        cwd=tmp_path / "code",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = find_backend("keras").read_weights(net.graph, tmp_path / "code" / "two" / "final.weights.h5")
    for key, array in one.items():
        np.testing.assert_allclose(two[key], array, rtol=1e-3, atol=2e-5)
        assert np.abs(array - weights[key]).max() > 1e-3


@SLOWER
@pytest.mark.parametrize("accumulation", [pytest.param(1, marks=slow), 2])
@pytest.mark.parametrize("precision", [pytest.param("mixed_bfloat16", marks=slow), "mixed_float16"])
def test_mixed_precision(precision, accumulation, backend, tmp_path):
    data = {"npz": str(write_data(tmp_path, (2, 8, 8), 3, 24))}
    recipe = {"precision": precision, "gradient_accumulation": accumulation, "ema": 0.5, "data": data}
    net = tiny_net(tmp_path, BOTH, optimizer={"adamw": 0.01}, clip={"global_norm": 100.0}, **recipe)
    weights = net.weights(1)
    write_code(tmp_path / "code", net, backend, weights)
    try:
        after = train_here(tmp_path / "code", net, backend)
    finally:
        if backend == "keras":
            import keras

            keras.config.set_dtype_policy("float32")
    assert changed(weights, after) <= moving(net.graph, 4)
    assert {"block1.a.conv.weight", "block2.b.conv.weight", "fc.weight"} <= changed(weights, after)


# ---- rates


@pytest.mark.parametrize(
    "optimizer", [pytest.param({"sgd": 0.1}, marks=slow), {"sgd": 0.1, "decoupled_weight_decay": 0.5}]
)
def test_the_first_step_is_a_factor_of_what_it_is_without(optimizer, backend, tmp_path):
    factors = {"stem": 0.5, "block1": 0.1, "block1.b": 3.0, "block2.a": 0.0, "*.bn": 0.25}
    plain = tiny_net(tmp_path, {}, optimizer=optimizer, schedule="constant")
    before, base = trajectory(plain, backend, 1)
    other = tiny_net(tmp_path, {"learning_rate": factors}, optimizer=optimizer, schedule="constant")
    _, first = trajectory(other, backend, 1)
    expected = {"stem": 0.5, "block1.a": 0.1, "block1.b": 3.0, "block2.a": 0.0, "block2.b": 1.0, "fc": 1.0}
    seen = set()
    for key in before:
        if key.endswith(("running_mean", "running_var")):
            continue
        (factor,) = (value for name, value in expected.items() if key.startswith(f"{name}."))
        factor = 0.25 if key.startswith("stem.bn.") else factor
        step = base[key] - before[key]
        assert np.abs(step).max() > 0
        np.testing.assert_allclose(first[key] - before[key], factor * step, rtol=1e-9, atol=1e-15)
        seen.add(factor)
    assert seen == {0.5, 0.1, 3.0, 0.0, 1.0, 0.25}


# ---- mistakes


@pytest.mark.parametrize(
    ("case", "options", "said"),
    [
        ("{freeze: [blocks], replace: [fc]}", [], "no layer matches `blocks`"),
        ("{replace: [fc], learning_rate: {block9: 0.1}}", [], "no layer matches `block9`"),
        ("{freeze: ['*'], replace: [fc], unfreeze: {2: [stems]}}", [], "no layer matches `stems`"),
        ("{freeze: ['*']}", [], "leaves nothing to train"),
        ("{freeze: ['*'], unfreeze: {3: [fc]}}", [], "leaves nothing to train before epoch 3"),
        ("{freeze: ['*'], replace: [fc]}", ["--set", "classes=2"], "class 2, and the network has 2 outputs"),
        ("{freeze: ['*'], replace: [fc]}", ["--weights", "other.safetensors"], "other.safetensors"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(case, options, said, tmp_path):
    data = write_data(tmp_path, (2, 8, 8), 3, 24)
    tiny_net(tmp_path, {"replace": ["fc"]})
    spec = tmp_path / "tiny.yaml"
    text = spec.read_text().partition("transfer:")[0]
    recipe = f"train: {{data: {{npz: '{data}'}}, optimizer: {{sgd: 0.1}}, epochs: 1, batch_size: 6}}\n"
    spec.write_text(f"{text}transfer: {{head: [fc], cases: {{small_similar: {case}}}}}\n{recipe}")
    lenet = cnnspec.load("lenet5")
    lenet.save_weights(tmp_path / "other.safetensors", lenet.weights(1))
    before = set(tmp_path.iterdir())
    command = ["train", "tiny.yaml", "--transfer", "small_similar", "-o", "run", *options]
    done = subprocess.run(
        [sys.executable, "-m", "cnnspec", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "epoch 1" not in done.stdout + done.stderr.replace("before epoch", "")
    assert set(tmp_path.iterdir()) == before
