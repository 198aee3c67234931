"""A small network to train: tests write its recipe only."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import cnnspec
from cnnspec.diagnostics import Diagnostic
from cnnspec.spec.recipe import Recipe

SPEC = """\
cnnspec: 1
name: net
input: {channels: CHANNELS, size: 32}
params: {classes: 10, rate: 0.1}
layers:
  - {conv: 8, kernel: 3, norm: batch_norm, name: stem}
  - global_avg_pool
  - {dense: 16, norm: batch_norm, activation: prelu, name: hidden}
  - {dense: $classes, name: fc}
"""
NEEDED = {"optimizer": "{sgd: 0.1}", "epochs": "10", "batch_size": "32"}

Check = Callable[..., list[Diagnostic]]
Load = Callable[..., Recipe]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a spec with some sections in its recipe, and with what every recipe needs."""

    def write_spec(sections: str = "", channels: int = 3) -> Path:
        given = set(re.findall(r"^(\w+):", sections, re.MULTILINE))
        lines = [f"{name}: {value}" for name, value in NEEDED.items() if name not in given] + [sections]
        recipe = textwrap.indent("\n".join(lines), "  ")
        path = tmp_path / "net.yaml"
        path.write_text(SPEC.replace("CHANNELS", str(channels)) + f"train:\n{recipe}\n", encoding="utf-8")
        return path

    return write_spec


@pytest.fixture
def write_train(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes a spec with a whole `train` section."""

    def write_spec(train: str) -> Path:
        path = tmp_path / "net.yaml"
        path.write_text(SPEC.replace("CHANNELS", "3") + f"train: {train}\n", encoding="utf-8")
        return path

    return write_spec


@pytest.fixture
def check(write: Callable[..., Path]) -> Check:
    """A function that returns what is wrong with a recipe's sections."""
    return lambda *args, **options: cnnspec.check(write(*args, **options))


@pytest.fixture
def load(write: Callable[..., Path]) -> Load:
    """A function that returns the recipe made of some sections, which must be right."""

    def load_recipe(*args: object, **options: object) -> Recipe:
        recipe = cnnspec.load(write(*args, **options)).recipe
        assert recipe is not None
        return recipe

    return load_recipe
