"""Paths: what weight files, freeze patterns and generated code call every layer."""

import cnnspec

HEAD = "cnnspec: 1\nname: t\ninput: {channels: 4, size: 16}\n"


def paths(tmp_path, text):
    spec = tmp_path / "t.yaml"
    spec.write_text(HEAD + text)
    return [node.path for node in cnnspec.load(spec).graph.nodes]


def test_unnamed_layers_are_numbered_by_kind_where_there_are_several(tmp_path):
    text = """
layers:
  - {conv: 4, kernel: 3, norm: batch_norm, activation: relu}
  - {depthwise_conv: 3, norm: batch_norm}
  - relu
  - flatten
  - {dense: 3, activation: tanh}
  - {dense: 3}
"""
    assert paths(tmp_path, text) == [
        "conv1", "bn1", "relu1", "conv2", "bn2", "relu2", "flatten", "dense1", "dense1.tanh", "dense2",
    ]  # fmt: skip


def test_the_only_one_of_its_kind_has_no_number(tmp_path):
    text = "layers:\n  - {conv: 4, kernel: 3, norm: batch_norm, activation: relu}\n  - {max_pool: 2}\n"
    assert paths(tmp_path, text) == ["conv", "bn", "relu", "max_pool"]


def test_parts_of_a_named_layer_lie_below_it_when_several_have_weights(tmp_path):
    text = """
layers:
  - {conv: 4, kernel: 3, norm: batch_norm, activation: relu, name: stem}
  - {conv: 4, kernel: 3, activation: relu, name: plain}
  - {conv: 4, kernel: 3, activation: prelu, name: learned}
"""
    assert paths(tmp_path, text) == [
        "stem.conv", "stem.bn", "stem.relu", "plain", "plain.relu", "learned.conv", "learned.prelu",
    ]  # fmt: skip


def test_a_separable_convolution_is_two_layers(tmp_path):
    text = """
layers:
  - {separable_conv: 4, kernel: 3, norm: batch_norm, activation: relu}
  - {separable_conv: 4, kernel: 3, norm: batch_norm, name: sep}
"""
    assert paths(tmp_path, text) == [
        "conv.depthwise", "conv.pointwise", "bn", "relu", "sep.depthwise", "sep.pointwise", "sep.bn",
    ]  # fmt: skip


def test_lists_number_their_entries_and_repeats_go_on(tmp_path):
    text = """
layers:
  - stage: part$i
    each: {n: [2, 1]}
    do:
      - {conv: 4, kernel: 3, repeat: $n}
      - {max_pool: 2}
"""
    assert paths(tmp_path, text) == ["part1.0", "part1.1", "part1.2", "part2.0", "part2.1"]


def test_a_repeat_in_a_named_body_is_a_list_of_its_own(tmp_path):
    text = """
layers:
  - {conv: 4, kernel: 3, norm: batch_norm, repeat: 2}
  - {conv: 4, kernel: 1, repeat: 1, name: last}
"""
    assert paths(tmp_path, text) == ["conv.0.conv", "conv.0.bn", "conv.1.conv", "conv.1.bn", "last.0"]


def test_an_absent_layer_renames_no_other(tmp_path):
    text = """
params: {deep: false}
layers:
  - {conv: 4, kernel: 3}
  - {conv: 4, kernel: 3, if: $deep}
  - {conv: 4, kernel: 3}
  - stage: s
    do:
      - {conv: 4, kernel: 3, if: $deep}
      - {conv: 4, kernel: 3}
"""
    assert paths(tmp_path, text) == ["conv1", "conv3", "s.1"]


def test_a_residual_adds_no_level(tmp_path):
    text = """
defaults: {conv: {norm: batch_norm, bias: false}}
blocks:
  unit:
    args: [filters, stride]
    residual:
      body:
        - {conv: $filters, kernel: 3, stride: $stride, activation: relu}
        - {conv: $filters, kernel: 3}
      activation: relu
layers:
  - stage: layer$i
    each: {filters: [4, 8]}
    do:
      - {unit: [$filters, 2]}
"""
    unit = ["conv1", "bn1", "relu1", "conv2", "bn2", "shortcut.conv", "shortcut.bn", "add", "add.relu"]
    assert paths(tmp_path, text) == [f"layer{i}.0.{name}" for i in (1, 2) for name in unit]


def test_branches_and_tables(tmp_path):
    text = """
defaults: {conv: {norm: batch_norm}}
blocks:
  mixed:
    args: [a, b]
    concat:
      left: [{conv: $a, kernel: 1}]
      right: [{conv: $b, kernel: 1}, {conv: $b, kernel: 3}]
layers:
  - table: mixed
    rows: {3a: [2, 4], 3b: [4, 8]}
"""
    row = ["left.0.conv", "left.0.bn", "right.0.conv", "right.0.bn", "right.1.conv", "right.1.bn", "concat"]
    assert paths(tmp_path, text) == [f"mixed3{r}.{name}" for r in "ab" for name in row]


def test_outputs_are_named_bodies(tmp_path):
    text = """
layers:
  - {conv: 4, kernel: 3, name: trunk}
  - global_avg_pool
  - {dense: 5}
outputs:
  aux: {from: trunk, training_only: true, layers: [global_avg_pool, {dense: 3}]}
"""
    assert paths(tmp_path, text) == ["trunk", "global_avg_pool", "dense", "aux.global_avg_pool", "aux.dense"]
