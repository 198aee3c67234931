"""The text that an exported file carries gives the same network again, without `extends` and without `--set`."""

from pathlib import Path

import pytest

import cnnspec
from cnnspec.spec.text import canonical_text


def again(net: cnnspec.Net, folder: Path) -> cnnspec.Net:
    path = folder / "again.yaml"
    path.write_text(canonical_text(net.spec), encoding="utf-8")
    return cnnspec.load(path)


def same(net: cnnspec.Net, other: cnnspec.Net) -> bool:
    listed = [
        [(n.path, n.op, n.shape, [i.path for i in n.inputs]) for n in found.graph.nodes] for found in (net, other)
    ]
    sections = [(found.spec.name, found.spec.preprocess, found.spec.labels) for found in (net, other)]
    return listed[0] == listed[1] and sections[0] == sections[1]


@pytest.mark.parametrize("name", cnnspec.zoo())
def test_every_network_of_the_zoo(name, tmp_path):
    net = cnnspec.load(name)
    found = again(net, tmp_path)
    assert same(net, found)
    assert canonical_text(found.spec) == canonical_text(net.spec)


def test_what_is_set_is_in_the_text(tmp_path):
    net = cnnspec.load("resnet50", classes=7, params={"input.size": "[64, 96]", "depths": "[1, 1, 1, 2]"})
    found = again(net, tmp_path)
    assert same(net, found)
    assert found.graph.input.shape == (3, 64, 96)
    assert not same(net, cnnspec.load("resnet50"))


def test_preprocessing_that_was_dropped_stays_so(tmp_path):
    net = cnnspec.load("resnet18", params={"input.channels": 1})
    assert net.spec.preprocess is None
    assert again(net, tmp_path).spec.preprocess is None


SPEC = """\
cnnspec: 1
name: odd
description: |
  Two lines: "quoted", {braced}
  and # no comment
cite: 'no'
input: {channels: 1, size: 8}
params: {mode: 'yes', required: 3, rate: 1e-3, none: null}
labels: ["null", "1", "0o17", "a: b", "- c", "{d}", "*e", "&f", "#g", "h ", "ñ 雪", "%i", "@j", 'k "l"', "m\\nn", "~"]
layers:
  - {conv: $required * 4, kernel: 3, name: stem}
  - {dropout: $rate}
  - global_avg_pool
  - {dense: 16, name: 'true_'}
"""


def test_texts_that_yaml_might_read_otherwise(tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text(SPEC, encoding="utf-8")
    net = cnnspec.load(path)
    found = again(net, tmp_path)
    assert same(net, found)
    assert found.spec.labels is not None
    assert found.spec.labels[-2:] == ["m\nn", "~"]
    assert found.spec.description == net.spec.description
    assert found.spec.params == net.spec.params
