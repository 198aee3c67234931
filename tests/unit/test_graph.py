"""What expansion makes of the language: values, wiring, residuals, and what is kept for generated code."""

import pytest

import cnnspec
from cnnspec import SpecError
from cnnspec.expr import Binary, Ref
from cnnspec.graph import Instance
from cnnspec.infer import cost
from cnnspec.ops import Maps, Vector

HEAD = "cnnspec: 1\nname: t\ninput: {channels: 4, size: 16}\n"


def load(tmp_path, text, **params):
    spec = tmp_path / "t.yaml"
    spec.write_text(HEAD + text)
    return cnnspec.load(spec, **params)


def node(net, path):
    return next(n for n in net.graph.nodes if n.path == path)


def instances(instance):
    for child in instance.children:
        if isinstance(child, Instance):
            yield child
            yield from instances(child)


RESIDUAL = """
blocks:
  unit:
    args: {{filters: required, stride: 1}}
    residual:
      body:
        - {{conv: $filters, kernel: 3, stride: $stride, bias: false, norm: batch_norm}}
      shortcut: {shortcut}
layers:
  - {{unit: [{filters}, {stride}]}}
"""


@pytest.mark.parametrize(
    ("shortcut", "filters", "stride", "projected"),
    [
        ("auto", 4, 1, False),
        ("auto", 8, 1, True),
        ("auto", 4, 2, True),
        ("identity", 4, 1, False),
        ("projection", 4, 1, True),
    ],
)
def test_shortcut(tmp_path, shortcut, filters, stride, projected):
    net = load(tmp_path, RESIDUAL.format(shortcut=shortcut, filters=filters, stride=stride))
    paths = [n.path for n in net.graph.nodes]
    assert ("unit.shortcut.conv" in paths) == projected
    if projected:
        conv = node(net, "unit.shortcut.conv").op
        assert (conv.filters, conv.kernel, conv.stride, conv.bias) == (filters, (1, 1), (stride, stride), False)
        assert "unit.shortcut.bn" in paths  # the norm of the body's last convolution


def test_shapes_at_one_size_do_not_decide_the_shortcut(tmp_path):
    """At 1×1 a stride changes nothing, yet the projection belongs to the network."""
    text = RESIDUAL.format(shortcut="auto", filters=4, stride=2)
    net = load(tmp_path, text, params={"input.size": 1})
    assert "unit.shortcut.conv" in [n.path for n in net.graph.nodes]


def test_strides_on_the_way_multiply(tmp_path):
    text = """
layers:
  - residual:
      body:
        - {conv: 4, kernel: 3, stride: 2}
        - multiply: {gate: [{global_avg_pool: {keep_dims: true}}, sigmoid], same: []}
        - {max_pool: 3, stride: 2, padding: 1}
"""
    assert node(load(tmp_path, text), "shortcut").op.stride == (4, 4)


def test_arguments_and_expressions_are_kept(tmp_path):
    net = load(
        tmp_path,
        """
blocks:
  pair:
    args: {filters: required}
    let: {wide: $filters * 2}
    layers:
      - {conv: $wide, kernel: 1}
      - {conv: $in_channels * 2, kernel: 3}
layers:
  - stage: part$i
    each: {f: [8, 12]}
    do:
      - {pair: $f, repeat: 2}
""",
    )
    uses = [i for i in instances(net.graph.root) if i.kind == "block"]
    values = [tuple(i.values[name] for name in ("filters", "wide", "in_channels")) for i in uses]
    assert [(i.path, i.block.name, i.iteration, *v) for i, v in zip(uses, values, strict=True)] == [
        ("part1.0", "pair", 0, 8, 16, 4),
        ("part1.1", "pair", 1, 8, 16, 8),
        ("part2.0", "pair", 0, 12, 24, 16),
        ("part2.1", "pair", 1, 12, 24, 32),
    ]  # fmt: skip
    assert isinstance(uses[0].args["filters"].expr, Ref)
    conv = node(net, "part1.0.conv2")
    assert isinstance(conv.args["filters"].expr, Binary)
    assert conv.op.filters == 8
    assert (conv.parent.kind, conv.parent.parent.path) == ("layer", "part1.0")
    stages = [i for i in instances(net.graph.root) if i.kind == "stage"]
    assert [(s.path, s.iteration, s.values["f"]) for s in stages] == [("part1", 0, 8), ("part2", 1, 12)]


def test_first_changes_iteration_0_alone(tmp_path):
    net = load(tmp_path, "layers:\n  - {conv: 4, kernel: 3, repeat: 3, first: {stride: 2, filters: 6}, name: c}\n")
    assert [n.op.stride for n in net.graph.nodes] == [(2, 2), (1, 1), (1, 1)]
    assert [n.op.filters for n in net.graph.nodes] == [6, 4, 4]


def test_blocks_of_a_library_keep_their_own_defaults(tmp_path):
    (tmp_path / "lib.yaml").write_text(
        "cnnspec: 1\ndefaults: {conv: {bias: false}}\nblocks:\n  b: {args: [n], layers: [{conv: $n, kernel: 1}]}\n"
    )
    net = load(
        tmp_path,
        "use: [./lib.yaml]\ndefaults: {conv: {activation: relu}}\nlayers:\n  - {b: 5}\n  - {conv: 5, kernel: 1}\n",
    )
    assert [(n.path, n.op.kind) for n in net.graph.nodes] == [("b.conv", "conv"), ("conv", "conv"), ("relu", "relu")]
    assert [n.op.bias for n in net.graph.nodes[:2]] == [False, True]


def test_wiring_by_name(tmp_path):
    net = load(
        tmp_path,
        """
layers:
  - {conv: 4, kernel: 3, name: a}
  - {conv: 6, kernel: 3, name: b}
  - {conv: 4, kernel: 3, name: c, from: a}
  - {add: [a, previous]}
  - {concat: [previous, b, input], name: all}
""",
    )
    assert [n.path for n in node(net, "c").inputs] == ["a"]
    assert [n.path for n in node(net, "add").inputs] == ["a", "c"]
    assert [n.path for n in node(net, "all").inputs] == ["add", "b", "input"]
    assert node(net, "all").shape == Maps(14, 16, 16)


def test_extends_merges_by_key_and_null_removes(tmp_path):
    (tmp_path / "base.yaml").write_text(
        HEAD + "params: {n: 4, m: 5}\ndefaults: {conv: {bias: false, activation: relu}}\n"
        "layers:\n  - {conv: $n, kernel: 3, name: c}\n  - global_avg_pool\n  - {dense: $m, name: fc}\n"
        "outputs: {aux: {from: c, layers: [global_avg_pool]}}\n"
    )
    (tmp_path / "v.yaml").write_text(
        "cnnspec: 1\nname: v\nextends: ./base.yaml\nparams: {n: 8}\ndefaults: {conv: {bias: true}}\noutputs: null\n"
    )
    net = cnnspec.load(tmp_path / "v.yaml", m=7)
    assert net.name == "v"
    assert [n.path for n in net.graph.nodes] == ["c", "c.relu", "global_avg_pool", "fc"]
    assert node(net, "c").op.bias is True
    assert node(net, "c").op.filters == 8
    assert node(net, "fc").shape == Vector(7)


def test_receptive_fields_of_the_literature():
    """Araujo et al., Computing Receptive Fields of Convolutional Neural Networks (2019): 195 and 212."""
    for name, layer, expected in (("alexnet", "max_pool3", 195), ("vgg16", "block5.3", 212)):
        fields = {c.node.path: c.receptive_field for c in cost(cnnspec.load(name).graph).layers}
        assert fields[layer] == (expected, expected)


def test_a_gate_widens_the_receptive_field_once(tmp_path):
    """A gate sees the whole map and stands beside the maps: their pixels stay one apart."""
    net = load(
        tmp_path,
        """
blocks:
  gate:
    multiply:
      maps: []
      gate: [{global_avg_pool: {keep_dims: true}}, {conv: $in_channels, kernel: 1, activation: sigmoid}]
layers:
  - {conv: 4, kernel: 3, stride: [2, 1], name: stem}
  - gate
  - {conv: 4, kernel: 3, name: next}
""",
    )
    height, width = net.graph.input.shape[1:]
    fields = {c.node.path: c.receptive_field for c in cost(net.graph).layers}
    whole = 3 + (height // 2 - 1) * 2, 3 + (width - 1)
    assert fields["gate.multiply"] == whole
    assert fields["next"] == (whole[0] + 2 * 2, whole[1] + 2)


def test_python_parameters():
    net = cnnspec.load("resnet50", classes=10, params={"input.size": 64})
    assert net.graph.outputs[0].node.shape == Vector(10)
    assert net.graph.input.shape == Maps(3, 64, 64)
    assert str(net.summary()).startswith("resnet50")
    with pytest.raises(SpecError, match="did you mean `classes`"):
        cnnspec.load("resnet50", clases=10)
    with pytest.raises(TypeError, match="a parameter is"):
        cnnspec.load("resnet50", classes=object())


def test_one_rule_gives_the_counts_of_a_transfer(tmp_path):
    net = load(
        tmp_path,
        """
layers:
  - {conv: 4, kernel: 3, norm: batch_norm, name: stem}
  - {conv: 4, kernel: 3, name: mid}
  - global_avg_pool
  - {dense: 10, name: fc}
transfer:
  head: [fc]
  cases:
    small_similar: {replace: [fc], freeze: ["*"]}
    small_different: {features: {from: stem, layers: [global_avg_pool, {dense: 2}]}, freeze: [stem]}
    large_similar: {replace: {fc: [{dense: 6}, {dense: 2}]}, freeze_through: stem}
""",
    )
    counts = {}
    for case in ("small_similar", "small_different", "large_similar"):
        case_net = cnnspec.load(net.spec.files[0], transfer=case)
        totals = case_net.summary().cost.totals
        counts[case] = totals.trainable, totals.params
    stem, mid = 4 * 4 * 9 + 4 + 16, 4 * 4 * 9 + 4
    assert counts == {
        "small_similar": (50, stem + mid + 50),
        "small_different": (10, stem + 10),
        "large_similar": (mid + 30 + 14, stem + mid + 30 + 14),
    }


def test_arguments_and_variables_of_a_stage_may_hide_a_parameter(tmp_path):
    net = load(
        tmp_path,
        """
params: {width: 8}
blocks:
  unit: {args: [width], layers: [{conv: $width, kernel: 1}]}
layers:
  - {unit: 5}
  - {stage: s$i, each: {width: [6, 7]}, do: [{unit: $width}]}
  - {conv: $width, kernel: 1, name: last}
""",
    )
    assert [n.op.filters for n in net.graph.nodes] == [5, 6, 7, 8]


def test_the_order_of_a_merge_does_not_decide_the_shortcut(tmp_path):
    for inputs in ("[stem, previous]", "[previous, stem]"):
        net = load(
            tmp_path,
            f"""
layers:
  - {{conv: 8, kernel: 3, name: stem}}
  - {{conv: 4, kernel: 3}}
  - residual:
      body: [{{conv: 8, kernel: 3}}, {{add: {inputs}}}]
""",
        )
        assert node(net, "shortcut1").op.filters == 8


def test_a_projection_has_the_expressions_of_the_body(tmp_path):
    net = load(tmp_path, RESIDUAL.format(shortcut="auto", filters=8, stride=2))
    projection, body = node(net, "unit.shortcut.conv"), node(net, "unit.conv")
    assert projection.args["filters"] is body.args["filters"]
    assert projection.args["stride"] is body.args["stride"]


def test_all_uses_of_a_residual_share_its_projection(tmp_path):
    nodes = cnnspec.load("resnet50").graph.nodes
    definitions = {id(n.layer) for n in nodes if n.path.endswith("shortcut.conv")}
    assert len(definitions) == 1


def test_a_separable_convolution_deals_out_its_options(tmp_path):
    net = load(tmp_path, "layers:\n  - {separable_conv: 8, kernel: 3, stride: 2, name: sep}\n")
    assert set(node(net, "sep.depthwise").args) == {"kernel", "stride"}
    assert set(node(net, "sep.pointwise").args) == {"filters"}


def test_iterations_of_bare_ops_are_kept(tmp_path):
    net = load(tmp_path, "layers:\n  - {conv: 4, kernel: 3, repeat: 3, name: c}\n")
    assert [n.parent.iteration for n in net.graph.nodes] == [0, 1, 2]


TRANSFER = """
layers:
  - {{conv: 4, kernel: 3, norm: batch_norm, name: stem}}
  - global_avg_pool
  - {{dense: 10, name: fc}}
transfer:
  head: [fc]
  cases:
    large_similar: {{{case}}}
"""


@pytest.mark.parametrize(
    ("case", "slug", "text"),
    [
        ("replace: {stem.bn: [{conv: 2, kernel: 1}]}", "unmatched-path", "stem.bn"),
        ("freeze: [stem], unfreeze: {2: [fc]}", "no-effect", "fc"),
        ("freeze: [fc], replace: [fc]", "no-effect", "fc"),
        ("freeze: ['f?'], replace: {fc: [{dense: 10}]}", "no-effect", "'f?'"),
        ("replace: [nosuch], freeze: [neither]", "unmatched-path", "nosuch"),
    ],
)
def test_a_transfer_case_without_effect_is_a_mistake(tmp_path, case, slug, text):
    spec = tmp_path / "t.yaml"
    spec.write_text(HEAD + TRANSFER.format(case=case))
    found = cnnspec.check(spec)
    assert (found[0].slug, found[0].span.text) == (slug, text)
    assert len(found) == (2 if "neither" in case else 1)  # all mistakes of a case at once


def test_freezing_more_than_what_is_replaced_has_an_effect(tmp_path):
    spec = tmp_path / "t.yaml"
    spec.write_text(HEAD + TRANSFER.format(case="freeze: ['*'], replace: [fc]"))
    assert cnnspec.check(spec) == []


@pytest.mark.parametrize("transfer", ["", "large_similar"])
def test_a_bad_epoch_hides_no_other_mistake(tmp_path, transfer):
    spec = tmp_path / "t.yaml"
    spec.write_text(HEAD + TRANSFER.format(case="freeze: [nosuch], unfreeze: {0: [stem]}"))
    found = cnnspec.check(spec)
    if transfer:
        with pytest.raises(cnnspec.SpecError) as error:
            cnnspec.load(spec, transfer=transfer)
        found = error.value.diagnostics
    assert {(d.slug, d.span.text) for d in found} >= {("unmatched-path", "nosuch"), ("bad-value", "0")}


@pytest.mark.parametrize(
    ("classes", "layers", "warned"),
    [
        (10, "[global_avg_pool, {dense: 7}]", "dense"),
        (10, "[{conv: 7, kernel: 1}, relu, global_avg_pool]", "conv"),
        (10, "[{conv: 7, kernel: 1}, {max_pool: 16}, flatten]", "conv"),
        (3, "[global_avg_pool, {dense: 1}, sigmoid]", "dense"),
        (2, "[global_avg_pool, {dense: 1}, sigmoid]", ""),
        (10, "[global_avg_pool, {dense: 10}]", ""),
        (10, "[{conv: 7, kernel: 1}]", ""),
        ("[10]", "[global_avg_pool, {dense: 7}]", ""),
    ],
)
def test_outputs_are_as_many_as_classes(tmp_path, classes, layers, warned):
    """Two classes may have one value; maps have no classes."""
    spec = tmp_path / "c.yaml"
    spec.write_text(f"{HEAD}params: {{classes: {classes}}}\nlayers: {layers}\n")
    found = cnnspec.check(spec)
    assert [(d.severity, d.slug, d.span.text) for d in found] == (
        [("warning", "class-count", warned)] if warned else []
    )


def test_a_variant_that_leaves_classes_as_they_are_counts_for_itself(tmp_path):
    (tmp_path / "base.yaml").write_text(f"{HEAD}params: {{classes: 10}}\nlayers: [flatten, {{dense: $classes}}]\n")
    spec = tmp_path / "v.yaml"
    text = "cnnspec: 1\nname: v\nextends: ./base.yaml\nlayers: [flatten, {dense: 7}]\n"
    for params, warned in [("", []), ("params: {classes: 10}\n", ["class-count"]), ("params: {classes: 7}\n", [])]:
        spec.write_text(text + params)
        assert [d.slug for d in cnnspec.check(spec)] == warned
    spec.write_text(text)
    assert [d.slug for d in cnnspec.load(spec, classes=10).warnings] == ["class-count"]


def test_a_variant_may_change_one_case(tmp_path):
    (tmp_path / "base.yaml").write_text(HEAD + TRANSFER.format(case="replace: [fc]"))
    (tmp_path / "v.yaml").write_text(
        "cnnspec: 1\nname: v\nextends: ./base.yaml\n"
        "transfer: {cases: {small_similar: {replace: [fc], freeze: ['*']}}}\n"
    )
    counts = [
        cnnspec.load(tmp_path / "v.yaml", transfer=case).summary().cost.totals.trainable
        for case in ("large_similar", "small_similar")
    ]
    assert counts == [148 + 8 + 50, 50]


def test_libraries_mean_their_own_blocks(tmp_path):
    (tmp_path / "lib.yaml").write_text(
        "cnnspec: 1\nblocks:\n  outer: {layers: [helper]}\n  helper: {layers: [{conv: 3, kernel: 1}]}\n"
    )
    net = load(tmp_path, "use: [./lib.yaml]\nblocks:\n  helper: {layers: [outer]}\nlayers: [helper]\n")
    assert [n.path for n in net.graph.nodes] == ["helper.outer.helper.conv"]


HEADS = """
params: {{heads: true, share: 4}}
layers:
  - {{conv: 3, kernel: 1, name: stem}}
  - relu
outputs:
  aux: {{from: stem, training_only: {only}, loss_weight: {weight}}}
"""


@pytest.mark.parametrize("heads", [True, False])
def test_outputs_take_expressions(tmp_path, heads):
    net = load(tmp_path, HEADS.format(only="$heads", weight="1 / $share"), heads=heads)
    assert [(o.training_only, o.loss_weight) for o in net.graph.outputs] == [(False, 1.0), (heads, 0.25)]


@pytest.mark.parametrize(("only", "weight"), [("$share", 1), ("true", "$share - 5"), ("true", "$heads")])
def test_values_of_outputs_are_checked(tmp_path, only, weight):
    with pytest.raises(SpecError) as error:
        load(tmp_path, HEADS.format(only=only, weight=weight))
    assert [d.slug for d in error.value.diagnostics] == ["bad-value"]


def test_preprocessing_for_other_channels_is_left_out_with_a_warning():
    net = cnnspec.load("vgg16", params={"input.channels": 1})
    assert net.spec.preprocess is None
    assert [w.slug for w in net.warnings] == ["preprocess-dropped"]


def test_mistakes_of_a_later_expansion_are_reported_there(tmp_path):
    from cnnspec.diagnostics import Report
    from cnnspec.graph import build_graph

    net = load(tmp_path, TRANSFER.format(case="replace: {fc: [{dense: $in_channels / 3}]}"))
    report = Report()
    assert build_graph(net.spec, report, "large_similar") is None
    assert [d.slug for d in report.diagnostics] == ["bad-value"]
