"""Name maps: their rules, and that every shipped one is for networks that there are."""

from pathlib import Path

import pytest

import cnnspec
from cnnspec.spec.locate import zoo_folder
from cnnspec.weights.convert import FORMATS
from cnnspec.weights.names import LayerNames, mapped_names, mapped_networks

SPEC = """cnnspec: 1
name: mine
input: {channels: 3, size: 8}
layers:
  - stage: block
    do: [{conv: 2, kernel: 1, norm: batch_norm}, {conv: 2, kernel: 1, norm: batch_norm}]
  - global_avg_pool
  - {dense: 5, name: fc}
"""


def names(tmp_path: Path, text: str) -> LayerNames | None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "any.keras.yaml").write_text(text)
    (tmp_path / "mine.yaml").write_text(SPEC)
    return mapped_names(cnnspec.load(tmp_path / "mine.yaml").graph, "keras")


def test_rules(tmp_path: Path) -> None:
    found = names(
        tmp_path,
        "networks: [mine]\nlayers:\n  <b>.<i>.<op>: <op><i+1>\n  conv2: last\n  bn<i>: norm<_#>\n  conv<i>: <i-1>.<#>\n",
    )
    assert found
    assert [found[f"block.{path}"] for path in ("0.conv", "0.bn", "1.conv", "1.bn")] == [
        "0.0",
        "norm",
        "last",
        "norm_1",
    ]
    assert found["fc"] == "fc"
    assert found.numbered == {"norm"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("networks: [mine]", "a name map has `layers`"),
        ("networks: [mine]\nlayers: [a]", "a name map has `layers`"),
        ("networks: [mine]\nlayers: {fc: [a]}", "the name for `fc` is text"),
        ("networks: [mine]\nlayers: {fc: a<b>}", "`fc` has no `<b>`"),
        ("networks: [mine]\nlayers: {<a>.<a>: <a>}", "holes of different names"),
        ("networks: [mine]\nlayers: {<#>: a}", "holes of different names"),
        ("networks: [mine]\nlayers: {<a+1>: a}", "holes of different names"),
        ("networks: [mine\n", "never closed"),
    ],
)
def test_bad_maps(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(cnnspec.SpecError, match=message):
        names(tmp_path, text)


def test_a_map_for_another_network(tmp_path: Path) -> None:
    assert names(tmp_path, "networks: [other]\nlayers: {fc: a}") is None


def test_a_variant_has_the_names_of_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("cnnspec: 1\nname: mine\nextends: resnet18\nparams: {classes: 3}\n")
    found = mapped_names(cnnspec.load(tmp_path / "mine.yaml").graph, "torchvision")
    assert found
    assert found["layer2.0.shortcut.conv"] == "layer2.0.downsample.0"


@pytest.mark.parametrize("format", FORMATS)
def test_maps_are_for_networks_of_the_zoo(format: str) -> None:
    networks = mapped_networks(cnnspec.load("vgg16").graph, format)
    assert len(networks) == len(set(networks))
    assert set(networks) <= set(cnnspec.zoo())


def test_every_map_is_of_a_format() -> None:
    files = sorted(zoo_folder().glob("weights/*"))
    assert files
    assert {file.name.split(".", 1)[1] for file in files} == {f"{format}.yaml" for format in FORMATS}
