"""What an exported file holds: names, batch, types, outputs, metadata; and what is refused."""

import json
import os
import subprocess
import sys
from hashlib import sha256

import numpy as np
import onnx
import onnxruntime
import pytest
from agreement import agree
from onnx_models import drawn_weights

import cnnspec
from cnnspec import SpecError
from cnnspec.backends.onnx import BACKEND, exporter
from cnnspec.backends.onnx.model import IR_VERSION, OPSET
from cnnspec.cli import main
from cnnspec.weights.mapping import Given

SPEC = """\
cnnspec: 1
name: small
input: {channels: 3, size: 16}
preprocess: {resize: 20, crop: 16, scale: 1/255, mean: 0.5, std: [0.2, 0.3, 0.4]}
labels: [cat, "dog, a small one", fox, owl]
params: {classes: 4}
defaults: {conv: {norm: batch_norm, activation: relu, bias: false}}
layers:
  - {conv: 8, kernel: 3, name: stem}
  - {lrn: 5}
  - {max_pool: 2}
  - {conv: 12, kernel: 3, name: last}
  - global_avg_pool
  - {dropout: 0.5}
  - {dense: $classes, name: fc}
outputs:
  side: {from: stem, layers: [global_avg_pool, {dense: 2}]}
  aux: {from: stem, training_only: true, loss_weight: 0.3, layers: [global_avg_pool, {dense: 3}]}
"""


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    return cnnspec.load(path)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)


def run(path, **feed):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feed)


def test_a_file_is_the_inference_graph_under_its_own_names(net, tmp_path, images):
    weights = drawn_weights(net.graph)
    path = tmp_path / "m.onnx"
    assert net.export(path, weights) == [path]
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert (proto.ir_version, proto.opset_import[0].version) == (IR_VERSION, OPSET)
    assert [node.name for node in proto.graph.node if "/" not in node.name] == [
        "stem.conv", "stem.bn", "stem.relu", "lrn", "max_pool", "last.conv", "last.bn", "last.relu",
        "global_avg_pool", "fc", "side.global_avg_pool", "side.dense",
    ]  # fmt: skip
    assert [value.name for value in proto.graph.input] == ["input"]
    assert [value.name for value in proto.graph.output] == ["logits", "side"]
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    kept = {key: array for key, array in weights.items() if not key.startswith("aux.")}
    assert kept.keys() <= stored.keys()
    assert all((stored[key] == array).all() for key, array in kept.items())
    logits, side = run(path, input=images)
    assert (logits.shape, side.shape) == ((3, 4), (3, 2))
    expected = reference(net, weights, images)
    agree(logits, expected["fc"], 1e-5)
    agree(side, expected["side.dense"], 1e-5)
    agree(run(path, input=images[:1])[0], expected["fc"][:1], 1e-5)


def reference(net, weights, images):
    from cnnspec.backends.reference import BACKEND as REFERENCE

    return REFERENCE.runner(net.graph, weights, "float64").outputs(images)


def test_half_precision_takes_and_gives_float32(net, tmp_path, images):
    weights = drawn_weights(net.graph)
    weights["stem.bn.running_var"][:] = 1e-9  # nothing in half precision
    weights["stem.bn.weight"][:] = 1e-3
    weights["last.bn.running_var"][:] = 1e6  # infinite there
    weights["last.bn.weight"][:] = 1e3
    path = tmp_path / "m.onnx"
    net.export(path, weights, precision="fp16")
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    assert types["stem.conv.weight"] == types["fc.bias"] == onnx.TensorProto.FLOAT16
    assert {value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)} == {1}
    logits, _ = run(path, input=100 * images)  # whose squares, in the LRN, half precision cannot hold
    expected = reference(net, weights, 100 * images)["fc"]
    agree(logits, expected, 0.01 * float(np.abs(expected).max()))


def test_half_precision_refuses_what_it_cannot_hold(net, tmp_path):
    weights = drawn_weights(net.graph)
    weights["fc.weight"][0, 0] = 1e5
    with pytest.raises(SpecError) as error:
        net.export(tmp_path / "m.onnx", weights, precision="fp16")
    (found,) = error.value.diagnostics
    assert found.slug == "out-of-range"
    assert "`fc.weight`" in found.message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.yaml"]


def test_probabilities_are_an_output_of_their_own_name(net, tmp_path, images):
    weights = drawn_weights(net.graph)
    for precision, tolerance in (("fp32", 1e-6), ("fp16", 5e-3)):
        net.export(tmp_path / "m.onnx", weights, probabilities=True, precision=precision)
        onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
        session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
        assert [output.name for output in session.get_outputs()] == ["probabilities", "side"]
        found = session.run(None, {"input": images})[0]
        odds = np.exp(reference(net, weights, images)["fc"])
        agree(found, odds / odds.sum(axis=1, keepdims=True), tolerance)


def test_a_network_that_ends_in_a_softmax_gives_probabilities_once(tmp_path):
    path = tmp_path / "soft.yaml"
    path.write_text(
        "cnnspec: 1\nname: soft\ninput: {channels: 2, size: 4}\n"
        "layers: [{conv: 3, kernel: 1, activation: softmax, name: head}]\n"
    )
    net = cnnspec.load(path)
    net.export(tmp_path / "m.onnx", drawn_weights(net.graph), probabilities=True)
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert [node.op_type for node in graph.node] == ["Conv", "Softmax"]
    assert [value.name for value in graph.output] == ["probabilities"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("read", [True, False], ids=["from a file", "from arrays"])
@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7F800001, 0x7F800000, 0xFF800000], ids=hex)
def test_what_is_not_finite_is_written_with_a_warning(bits, read, precision, net, tmp_path):
    value = np.uint32(bits).view(np.float32)
    weights = drawn_weights(net.graph)
    weights["stem.conv.weight"][0, 0, 0, 1] = 3e38 if precision == "fp32" else 3e4  # large, and finite
    weights["last.conv.weight"][-1, -1, -1, -1] = value
    weights["fc.bias"][0] = value
    if read:
        net.save_weights(tmp_path / "w.safetensors", weights)
        given = net.load_weights(tmp_path / "w.safetensors")
    else:
        given = Given(weights, {})
    path = tmp_path / "m.onnx"
    assert net.export(path, given, precision=precision) == [path]
    (warning,) = given.warnings
    expected = f"`{path}` holds infinities or NaN in 2 parameters: `last.conv.weight`, `fc.bias`"
    assert (warning.slug, warning.message) == ("not-finite", expected)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    assert [name for name, array in stored.items() if not np.isfinite(array).all()] == ["last.conv.weight", "fc.bias"]


def test_the_command_warns_of_what_is_not_finite(net, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights = drawn_weights(net.graph)
    weights["fc.bias"][0] = np.nan
    net.save_weights("w.safetensors", weights)
    with pytest.raises(SystemExit) as end:
        main(["export", "small.yaml", "--weights", "w.safetensors", "-o", "m.onnx"])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (0, "wrote m.onnx\n")
    assert err.startswith("warning[not-finite]: `m.onnx` holds infinities or NaN in 1 parameter: `fc.bias`\n")


def test_weights_of_a_file_are_copied_without_numpy(net, tmp_path):
    """Its import takes as long as all else that the command does."""
    net.save_weights(tmp_path / "w.safetensors", drawn_weights(net.graph))
    arguments = ["export", "small.yaml", "--weights", "w.safetensors", "-o", "m.onnx"]
    run_it = f"from cnnspec.cli import main\ntry: main({arguments})\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"import sys\n{run_it}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = done.stdout.splitlines()[-1]
    assert "'cnnspec.backends.onnx.exporter'" in modules
    assert "'numpy'" not in modules
    net.export(tmp_path / "n.onnx", net.load_weights(tmp_path / "w.safetensors"))
    assert (tmp_path / "m.onnx").read_bytes() == (tmp_path / "n.onnx").read_bytes()


def test_a_weight_file_that_is_cut_short_meanwhile(net, tmp_path):
    file = tmp_path / "w.safetensors"
    net.save_weights(file, drawn_weights(net.graph))
    weights = net.load_weights(file)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(OSError, match="cut short"):
        net.export(tmp_path / "m.onnx", weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml", "w.safetensors"]


@pytest.mark.parametrize(
    "layers",
    [
        "[{conv: 3, kernel: 1, name: logits}, {conv: 3, kernel: 1, name: output}, {conv: 3, kernel: 1, name: image}]",
        "[{dropout: 0.5, name: last}]",
        "[{conv: 3, kernel: 1, name: conv}, {dropout: 0.1}]",
    ],
    ids=["names that ONNX's values have", "nothing at all", "nothing at the end"],
)
def test_names_and_empty_networks(layers, tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text(f"cnnspec: 1\nname: odd\ninput: {{channels: 2, size: 4}}\nlayers: {layers}\n")
    net = cnnspec.load(path)
    weights = drawn_weights(net.graph)
    net.export(tmp_path / "m.onnx", weights)
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    x = np.random.default_rng(1).normal(size=(2, 2, 4, 4)).astype(np.float32)
    (found,) = run(tmp_path / "m.onnx", input=x)
    agree(found, reference(net, weights, x)[net.graph.outputs[0].node.path], 1e-5)
    for precision in ("float32", "float64"):
        outputs = BACKEND.runner(net.graph, weights, precision).outputs(x)
        assert outputs.keys() == {node.path for node in net.graph.nodes}


def test_the_metadata_give_the_network_again(net, tmp_path):
    net.export(tmp_path / "m.onnx", drawn_weights(net.graph))
    proto = onnx.load(tmp_path / "m.onnx")
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(entries["cnnspec.labels"]) == ["cat", "dog, a small one", "fox", "owl"]
    preprocess = json.loads(entries["cnnspec.preprocess"])
    assert (preprocess["resize"], preprocess["crop"], preprocess["std"]) == ([20, 20], [16, 16], [0.2, 0.3, 0.4])
    assert entries["cnnspec.spec_sha256"] == sha256(entries["cnnspec.spec"].encode()).hexdigest()
    assert proto.producer_version == entries["cnnspec.version"]
    again = tmp_path / "again.yaml"
    again.write_text(entries["cnnspec.spec"])
    nodes = [(node.path, node.op, node.shape) for node in cnnspec.load(again).graph.nodes]
    assert nodes == [(node.path, node.op, node.shape) for node in net.graph.nodes]


def test_the_same_export_is_the_same_bytes(net, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        net.export(tmp_path / name, net.weights(3), preprocess=True, probabilities=True)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "slug"),
    [
        (lambda w: w.pop("fc.bias"), "missing-weights"),
        (lambda w: w.update({"more.weight": np.zeros(3)}), "left-over-weights"),
        (lambda w: w.update({"fc.weight": w["fc.weight"].T}), "weight-shape"),
    ],
)
def test_other_weights_are_refused_before_anything_is_written(net, tmp_path, spoil, slug):
    weights = drawn_weights(net.graph)
    spoil(weights)
    with pytest.raises(SpecError) as error:
        net.export(tmp_path / "m.onnx", weights)
    assert [d.slug for d in error.value.diagnostics] == [slug]
    assert not (tmp_path / "m.onnx").exists()


def test_layers_without_a_lowering_are_all_named(net, tmp_path, monkeypatch):
    table = dict(exporter.TABLE)
    del table["lrn"], table["dense"]
    monkeypatch.setattr(exporter, "TABLE", table)
    with pytest.raises(SpecError) as error:
        net.export(tmp_path / "m.onnx", drawn_weights(net.graph))
    assert [(d.slug, d.path) for d in error.value.diagnostics] == [
        ("unsupported-op", "lrn"),
        ("unsupported-op", "fc"),
        ("unsupported-op", "side.dense"),
    ]
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("options", [{}, {"preprocess": True, "probabilities": True, "precision": "fp16"}], ids=str)
def test_heads_may_have_the_names_of_what_else_a_file_has(options, tmp_path):
    path = tmp_path / "small.yaml"
    heads = ["logits", "image", "probabilities", "output"]
    outputs = "".join(f"  {name}: {{from: stem, layers: [global_avg_pool, {{dense: 2}}]}}\n" for name in heads)
    path.write_text(SPEC[: SPEC.index("outputs:")] + "outputs:\n" + outputs)
    net = cnnspec.load(path)
    net.export(tmp_path / "m.onnx", drawn_weights(net.graph), **options)
    proto = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(proto, full_check=True)
    onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    names = [value.name for value in (*proto.graph.input, *proto.graph.output)]
    assert len(set(names)) == len(names) == 6
    assert names[1] == ("probabilities" if options else "logits")
