"""`cnnspec weights`: initial values, conversion, exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from small_nets import SMALL

import cnnspec
from cnnspec.cli import main
from cnnspec.lower.backend import MissingDependency

Run = Callable[..., tuple[int, str, str]]
RECIPE = "train: {optimizer: {sgd: 0.1}, epochs: 1, batch_size: 8, seed: 5}\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Run) -> Run:
    """Runs the command on small.yaml in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL + RECIPE)

    return partial(cli, "weights", "small.yaml")


def test_initial_weights(run: Run) -> None:
    assert run("-o", "w.safetensors") == (0, "wrote w.safetensors\n", "")
    assert run("-o", "v.safetensors", "--seed", "5") == (0, "wrote v.safetensors\n", "")
    assert Path("w.safetensors").read_bytes() == Path("v.safetensors").read_bytes(), "the recipe's seed"
    assert run("-o", "v.safetensors", "--seed", "0")[0] == 0
    assert Path("w.safetensors").read_bytes() != Path("v.safetensors").read_bytes()
    arrays, expected = load_file("v.safetensors"), cnnspec.load("small.yaml").weights(0)
    assert {key: a.tobytes() for key, a in arrays.items()} == {key: a.tobytes() for key, a in expected.items()}


def test_settings(run: Run) -> None:
    assert run("-o", "w.safetensors", "--set", "classes=7")[0] == 0
    assert load_file("w.safetensors")["fc.weight"].shape == (7, 8)
    code, out, err = run("-o", "v.safetensors", "--from", "w.safetensors")
    assert (code, out) == (1, "")
    assert "error[weight-shape]: `w.safetensors` has 2 parameters of another shape than small" in err
    assert "small.yaml:10" in err
    assert "Traceback" not in err
    assert not Path("v.safetensors").exists()


def test_a_file_is_checked_and_rewritten(run: Run) -> None:
    run("-o", "w.safetensors")
    arrays = {key: array.astype(np.float64) for key, array in load_file("w.safetensors").items()}
    save_file(arrays, "doubles.safetensors")
    assert run("-o", "v.safetensors", "--from", "doubles.safetensors")[0] == 0
    again = load_file("v.safetensors")
    assert list(again) == list(arrays)
    for key, array in again.items():
        np.testing.assert_array_equal(array, arrays[key].astype(np.float32), strict=True)
    assert run("-o", "w2.safetensors", "--from", "w.safetensors")[0] == 0
    assert Path("w2.safetensors").read_bytes() == Path("w.safetensors").read_bytes()


@pytest.mark.parametrize("format", ["torchvision", "keras"])
def test_there_and_back(run: Run, format: str) -> None:
    ending = {"torchvision": "safetensors", "keras": "weights.h5"}[format]
    if format == "keras":
        pytest.importorskip("h5py")
    there = f"{format}:there.{ending}"
    assert run("--to", there) == (0, f"wrote {there}\n", "")
    assert run("-o", "back.safetensors", "--from", there) == (0, "wrote back.safetensors\n", "")
    back, expected = load_file("back.safetensors"), cnnspec.load("small.yaml").weights(5)
    for key, array in expected.items():
        np.testing.assert_array_equal(back[key], array, strict=True)


def test_two_files_at_once(run: Run) -> None:
    code, out, err = run("--to", "torchvision:there.safetensors", "-o", "w.safetensors")
    assert (code, out, err) == (0, "wrote torchvision:there.safetensors\nwrote w.safetensors\n", "")


def test_a_warning_is_shown(run: Run) -> None:
    run("-o", "w.safetensors")
    arrays = load_file("w.safetensors")
    arrays["fc.bias"][1] = np.nan
    save_file(arrays, "nan.safetensors")
    code, out, err = run("-o", "v.safetensors", "--from", "nan.safetensors")
    assert (code, out) == (0, "wrote v.safetensors\n")
    assert err.startswith("warning[not-finite]: `v.safetensors` holds infinities or NaN in 1 parameter: `fc.bias`\n")


def test_what_is_taken_off_is_said(run: Run) -> None:
    run("-o", "w.safetensors")
    save_file({f"module.{key}": array for key, array in load_file("w.safetensors").items()}, "ddp.safetensors")
    code, out, err = run("-o", "v.safetensors", "--from", "torchvision:ddp.safetensors")
    assert (code, out) == (0, "wrote v.safetensors\n")
    assert err.startswith("warning[unwrapped-weights]: `ddp.safetensors` is read without `module.` before its names\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of them is needed"),
        (["-o", ""], "one of them is needed"),
        (["-o", "w", "--seed", "1", "--from", "v"], "not both"),
        (["-o", "w", "--seed", "-1"], "greater than or equal to 0"),
        (["-o", "w", "--seed", "one"], "a valid integer"),
        (["--to", "w.safetensors"], "neither torchvision:FILE nor keras:FILE"),
        (["--to", "caffe:w"], "neither torchvision:FILE nor keras:FILE"),
    ],
    ids=str,
)
def test_wrong_usage(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "w", "--from", "none.safetensors"], "error[no-file]: `none.safetensors` does not exist"),
        (["-o", "w", "--from", "."], "error[no-file]: `.` is not a file"),
        (["-o", "w", "--from", "small.yaml"], "error[bad-weight-file]: `small.yaml` is not a whole safetensors file"),
        (["-o", "w", "--set", "clases=3"], "error[unknown-param]"),
    ],
    ids=str,
)
def test_mistakes(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith(message)
    assert {path.name for path in Path().iterdir()} == {"small.yaml"}


@pytest.mark.parametrize(
    ("name", "named"),
    [("l.pth", "torchvision:l.pth"), ("l.PT", "torchvision:l.PT"), ("l.weights.h5", "keras:l.weights.h5"),
     ("l.keras", "keras:l.keras")],
)  # fmt: skip
def test_a_name_of_another_format_needs_its_prefix(run: Run, name: str, named: str) -> None:
    code, out, err = run("-o", name)
    assert (code, out) == (1, "")
    assert err.startswith(f"error[bad-weight-file]: `{name}` would hold safetensors")
    assert f"help: write `{named}`" in err
    assert not Path(name).exists()
    Path(name).write_bytes(b"PK\x03\x04 and more")
    code, out, err = run("-o", "w.safetensors", "--from", name)
    assert (code, out) == (1, "")
    assert err.startswith(f"error[bad-weight-file]: `{name}` is not a whole safetensors file")
    assert f"`{named}`" in err.partition("help: ")[2]


@pytest.mark.parametrize(
    ("target", "message"), [("none/w", "No such file or directory: none/w"), (".", "Is a directory: .")]
)
def test_what_cannot_be_written(tmp_path: Path, target: str, message: str) -> None:
    command = [sys.executable, "-m", "cnnspec", "weights", "lenet5", "-o", target]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"error: {message}\n")
    assert not list(tmp_path.iterdir())


def test_a_missing_framework_is_named_with_its_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MissingDependency("torch", "torch")

    monkeypatch.setattr("cnnspec.api.Net.weights", fail)
    code, out, err = run("-o", "w.safetensors")
    assert (code, out) == (3, "")
    assert err == "error: `torch` is not installed\nhelp: pip install 'cnnspec[torch]'\n"


def test_another_exception_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cnnspec.api.Net.weights", fail)
    with pytest.raises(ZeroDivisionError):
        main(["weights", "small.yaml", "-o", "w.safetensors"])


def test_no_framework_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys, cnnspec\n"
        "net = cnnspec.load('lenet5')\n"
        "assert 'numpy' not in sys.modules and not any('cnnspec.weights' in name for name in sys.modules)\n"
        f"net.save_weights({str(tmp_path / 'w')!r}, net.weights())\n"
        f"net.save_weights({str(tmp_path / 'v')!r}, net.load_weights({str(tmp_path / 'w')!r}))\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    modules = set(result.stdout.split())
    assert "numpy" in modules
    assert not modules & {"torch", "tensorflow", "keras", "onnx", "onnxruntime", "h5py"}
