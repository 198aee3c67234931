"""Weights that were trained on ImageNet at work on other images, by the commands that a person would use.

The weights are those that another package ships, the images those of a package of Debian's; without them it is skipped.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide.md"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def shown(language: str) -> str:
    """The only block of the guide in a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("squeezenet_transfer")


def test_the_guide_has_the_same_spec(script: Any) -> None:
    assert shown("yaml") == script.SPEC


@pytest.mark.slow
@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_frozen_features_help_and_unfreezing_no_less(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for framework in ("torch", "keras", "onnxruntime"):
        pytest.importorskip(framework)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # features are computed here, not found
    weights = script.shipped()
    if weights is None:
        pytest.skip(f"the package ndf is not installed, which ships {script.WEIGHTS}")
    script.prepare(tmp_path, weights)
    train, test = (list((tmp_path / "photos" / part).glob("*/*.png")) for part in ("train", "test"))
    assert (len(train), len(test)) == (500, 1000)

    found = script.measured(tmp_path, ["torch", "keras"])
    random, frozen, unfrozen = (found[name] for name in ("random", "frozen", "unfrozen"))
    for backend in ("torch", "keras"):
        assert frozen[backend] >= 0.80
        assert frozen[backend] >= random[backend] + 0.02
        assert unfrozen[backend] >= frozen[backend]
    for values in (frozen, unfrozen):
        assert abs(values["torch"] - values["keras"]) <= 0.005 + 1e-9  # whole images out of 1,000

    monkeypatch.chdir(tmp_path)  # what the guide says of a run's file, on one of these
    capsys.readouterr()
    exec(compile(shown("python").replace("runs/unfrozen", "unfrozen-torch"), str(GUIDE), "exec"), {})
    assert capsys.readouterr().out.startswith("bag ")
