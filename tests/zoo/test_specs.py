"""What every file of the zoo must be, beside right."""

from pathlib import Path

import pytest

import cnnspec
from cnnspec.ops import Vector
from cnnspec.spec.locate import zoo_folder

ASIDE = ("transfer", "preprocess", "description", "train")
"""Sections that are not architecture."""


def length(path: Path) -> int:
    """Lines that describe the architecture: neither empty nor comment, nor in a section of `ASIDE`."""
    count, section = 0, ""
    for line in path.read_text().splitlines():
        if line and line[0] not in " #-":
            section = line.partition(":")[0]
        count += bool(line.strip()) and not line.lstrip().startswith("#") and section not in ASIDE
    return count


@pytest.mark.parametrize(("name", "most"), [("googlenet", 60), ("resnet50", 40), ("vgg16", 30)])
def test_length(name: str, most: int) -> None:
    assert 0 < length(zoo_folder() / f"{name}.yaml") <= most


def test_length_counts(tmp_path: Path) -> None:
    spec = tmp_path / "x.yaml"
    text = "name: x\n# no\ndescription: no\n\nlayers:\n  # no\n- flatten\n  - relu\ntransfer:\n  no: 1\n"
    spec.write_text(text)
    assert length(spec) == 4


@pytest.mark.parametrize("name", cnnspec.zoo())
def test_spec(name: str) -> None:
    assert cnnspec.check(name) == []
    net = cnnspec.load(name, classes=7)
    assert net.name == name
    assert net.spec.cite
    assert net.spec.description
    assert len(net.spec.description) <= 110
    assert net.spec.preprocess is not None
    for output in net.graph.outputs:
        assert output.node.shape == Vector(7)
        assert output.node.op.kind in ("dense", "global_avg_pool"), "a network ends in logits"


@pytest.mark.parametrize("name", cnnspec.zoo())
def test_preprocessing_gives_the_input(name: str) -> None:
    spec = cnnspec.load(name).spec
    assert spec.preprocess
    assert spec.preprocess.crop == spec.input[1:]
