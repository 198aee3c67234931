"""Ensembles: the mean of what their members give, for members that fit together, and only whole files."""

import hashlib
import json
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import cnnspec
from cnnspec.backends.onnx.ensemble import ensemble
from cnnspec.cli import main

SPEC = """\
cnnspec: 1
name: {name}
input: {{channels: 3, size: {size}}}
preprocess: {{resize: [{size}, {size}], resize_to: exact, scale: 1/255, mean: {mean}}}
params: {{classes: {classes}}}
labels: [{labels}]
layers:
  - {{conv: 4, kernel: 3, stride: 2, norm: batch_norm, activation: relu, name: stem}}
{layers}
  - {{dense: $classes, name: fc}}
{more}
"""


def net(folder, *, name="little", size=8, mean=0.5, labels="cat, dog, fox", layers="  - flatten", more=""):
    classes = len(labels.split(","))
    path = folder / f"{name}.yaml"
    path.write_text(
        SPEC.format(name=name, size=size, mean=mean, classes=classes, labels=labels, layers=layers, more=more)
    )
    return cnnspec.load(path)


def drawn(found, seed):
    """Weights that leave no layer without effect, statistics of norms among them."""
    generator = np.random.default_rng(seed)
    return {
        key: (generator.uniform(0.5, 2, array.shape) if "running_var" in key else generator.normal(size=array.shape))
        .astype(np.float32)
        for key, array in found.weights(seed).items()
    }  # fmt: skip


def exported(folder, seed, *, file="", options=None, **sections):
    found = net(folder, **sections)
    path = folder / (file or f"m{seed}.onnx")
    found.export(path, drawn(found, seed), **({"preprocess": True} if options is None else options))
    return path


def run(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    output = session.get_outputs()[0].name
    (scores,) = session.run([output], {session.get_inputs()[0].name: x})
    scores = scores.astype(np.float64)
    if output == "probabilities":
        return scores
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def images(n, height=20, width=30):
    return np.random.default_rng(7).integers(0, 256, (n, height, width, 3), np.uint8)


def checked(path):
    """What ONNX says of a file."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    found = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    output = found.graph.output[0]
    assert output.name == "probabilities"
    first, second = output.type.tensor_type.shape.dim
    assert first.dim_param == "N"
    assert second.dim_value == 3
    return model


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


# --- what it computes


MEMBERS = {
    "same networks": ({}, {}),
    "other layers": (
        {},
        {"name": "other", "layers": "  - {conv: 5, kernel: 3, activation: relu}\n  - global_avg_pool"},
    ),
    "a softmax at the end": ({}, {"name": "soft", "layers": "  - {max_pool: 2}\n  - flatten", "soft": True}),
    "a second head": (
        {},
        {"name": "heads", "more": "outputs: {side: {from: stem, layers: [flatten, {dense: 3, name: sfc}]}}"},
    ),
    "probabilities": ({}, {"options": {"preprocess": True, "probabilities": True}}),
    "half precision": ({}, {"options": {"preprocess": True, "precision": "fp16"}}),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_mean_of_the_members(tmp_path, name):
    sections = [dict(given) for given in MEMBERS[name]]
    for given in sections:
        if given.pop("soft", False):
            given["more"] = ""
            given["layers"] += "\n  - {dense: 5, activation: softmax}"
    paths = [exported(tmp_path, seed, **given) for seed, given in enumerate([*sections, {}], 1)]
    ensemble(paths, tmp_path / "all.onnx")
    model = checked(tmp_path / "all.onnx")
    for n in (1, 3):
        x = images(n)
        expected = np.mean([run(path, x) for path in paths], axis=0)
        found = run(tmp_path / "all.onnx", x)
        assert found.shape == (n, 3)
        assert np.abs(found - expected).max() < 1e-6
        assert np.ptp(expected, axis=1).min() > 1e-3
    assert {node.name.partition("/")[0] for node in model.graph.node} == {"1", "2", "3", "mean"}
    assert not [node for node in model.graph.node if "sfc" in node.name]
    assert len(model.graph.input) == 1


def test_without_preprocessing_inside(tmp_path):
    paths = [exported(tmp_path, seed, options={}) for seed in (1, 2)]
    ensemble(paths, tmp_path / "all.onnx")
    checked(tmp_path / "all.onnx")
    x = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    expected = (run(paths[0], x) + run(paths[1], x)) / 2
    assert np.abs(run(tmp_path / "all.onnx", x) - expected).max() < 1e-6


def test_what_is_alike_is_there_once(tmp_path):
    """Preprocessing, and layers with the same weights from the input on."""
    found = net(tmp_path)
    weights, other = drawn(found, 1), drawn(found, 2)
    found.export(tmp_path / "a.onnx", weights, preprocess=True)
    frozen = {key: other[key] if key.startswith("fc.") else array for key, array in weights.items()}
    found.export(tmp_path / "b.onnx", frozen, preprocess=True)
    ensemble([tmp_path / "a.onnx", tmp_path / "b.onnx"], tmp_path / "all.onnx")
    model = checked(tmp_path / "all.onnx")
    ops = [node.op_type for node in model.graph.node]
    assert [ops.count(op) for op in ("Resize", "Conv", "Gemm", "Softmax", "Mean")] == [1, 1, 2, 2, 1]
    assert len([t for t in model.graph.initializer if "stem.conv.weight" in t.name]) == 1
    x = images(2)
    expected = (run(tmp_path / "a.onnx", x) + run(tmp_path / "b.onnx", x)) / 2
    assert np.abs(run(tmp_path / "all.onnx", x) - expected).max() < 1e-6


def test_an_ensemble_of_ensembles(tmp_path):
    paths = [exported(tmp_path, seed) for seed in (1, 2, 3)]
    ensemble(paths[:2], tmp_path / "two.onnx")
    ensemble([tmp_path / "two.onnx", paths[2]], tmp_path / "all.onnx")
    checked(tmp_path / "all.onnx")
    one, two, three = (run(path, images(2)) for path in paths)
    assert np.abs(run(tmp_path / "all.onnx", images(2)) - ((one + two) / 2 + three) / 2).max() < 1e-6


# --- large weights


def test_weights_outside(tmp_path):
    """Of members, and of the ensemble itself."""
    from cnnspec.backends.onnx.exporter import export

    found = net(tmp_path, layers="  - flatten\n  - {dense: 64, name: wide}")
    for seed in (1, 2):
        export(found.graph, drawn(found, seed), tmp_path / f"m{seed}.onnx", preprocess=True, limit=100 * seed**20)
    paths = [tmp_path / "m1.onnx", tmp_path / "m2.onnx"]
    assert (tmp_path / "m1.onnx.data").exists()
    assert not (tmp_path / "m2.onnx.data").exists()
    written = ensemble(paths, tmp_path / "all.onnx", limit=100)
    assert written.files == [tmp_path / "all.onnx.data", tmp_path / "all.onnx"]
    model = checked(tmp_path / "all.onnx")
    expected = np.mean([run(path, images(2)) for path in paths], axis=0)
    assert np.abs(run(tmp_path / "all.onnx", images(2)) - expected).max() < 1e-6
    members = json.loads({p.key: p.value for p in model.metadata_props}["cnnspec.members"])
    assert members[0]["data_sha256"] == hashlib.sha256((tmp_path / "m1.onnx.data").read_bytes()).hexdigest()
    assert "data_sha256" not in members[1]
    (tmp_path / "m1.onnx.data").unlink()
    with pytest.raises(cnnspec.SpecError, match=r"needs `m1.onnx.data` beside it"):
        ensemble(paths, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


def test_weights_are_never_all_in_memory(tmp_path):
    found = net(tmp_path, layers="  - flatten\n  - {dense: 40000, name: wide}")
    for seed in (1, 2):
        found.export(tmp_path / f"m{seed}.onnx", found.weights(seed), preprocess=True)
    size = (tmp_path / "m1.onnx").stat().st_size
    assert size > 10_000_000
    tracemalloc.start()
    try:
        ensemble([tmp_path / "m1.onnx", tmp_path / "m2.onnx"], tmp_path / "all.onnx")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "all.onnx").stat().st_size > 1.9 * size
    assert peak < 4_000_000


# --- what it says


def test_metadata(tmp_path):
    paths = [exported(tmp_path, seed) for seed in (1, 2)]
    ensemble(paths, tmp_path / "all.onnx")
    entries = {p.key: p.value for p in onnx.load(tmp_path / "all.onnx").metadata_props}
    own = {p.key: p.value for p in onnx.load(paths[0]).metadata_props}
    for key in ("cnnspec.version", "cnnspec.preprocess", "cnnspec.labels"):
        assert entries[key] == own[key]
    members = json.loads(entries["cnnspec.members"])
    assert [member["file"] for member in members] == [str(path) for path in paths]
    for member, path in zip(members, paths, strict=True):
        assert member["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert member["spec"] == own["cnnspec.spec"]
        assert member["name"] == "little"
    assert "layers" not in entries["cnnspec.spec"]
    assert entries["cnnspec.spec_sha256"] == hashlib.sha256(entries["cnnspec.spec"].encode()).hexdigest()


def test_predict_takes_it(tmp_path, capsys):
    from PIL import Image

    paths = [exported(tmp_path, seed) for seed in (1, 2)]
    ensemble(paths, tmp_path / "all.onnx")
    Image.fromarray(images(1)[0]).save(tmp_path / "image.png")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(tmp_path / "all.onnx"), str(tmp_path / "image.png"), "--format", "json"])
    assert ended.value.code == 0
    top = json.loads(capsys.readouterr().out)["top"]
    expected = np.mean([run(path, images(1)) for path in paths], axis=0)[0]
    assert [guess["index"] for guess in top] == np.argsort(-expected).tolist()
    assert [guess["probability"] for guess in top] == pytest.approx(sorted(expected, reverse=True), abs=1e-6)
    assert {guess["label"] for guess in top} == {"cat", "dog", "fox"}


def test_neither_a_framework_nor_onnx_is_imported(tmp_path):
    paths = [str(exported(tmp_path, seed)) for seed in (1, 2)]
    code = "import sys\nfor name in ('torch', 'tensorflow', 'keras', 'onnx', 'onnxruntime'): sys.modules[name] = None\n"
    code += "from cnnspec.cli import main\nmain(sys.argv[1:])"
    line = [sys.executable, "-c", code, "ensemble", *paths, "-o", str(tmp_path / "all.onnx")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    checked(tmp_path / "all.onnx")


# --- members that do not fit, files that are none


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"labels": "cat, cow, fox"}, "their labels: class 1 is 'dog' and 'cow'"),
        ({"labels": "cat, dog"}, "their classes: 3 and 2"),
        ({"mean": 0.25}, "their preprocessing: mean 0.5 and 0.25"),
        ({"size": 10}, "their preprocessing: resize [8, 8] and [10, 10]"),
        ({"more": "  - sigmoid"}, "what their probabilities are: those of Softmax and of Sigmoid"),
        ({"options": {}}, "what they take: `image` of uint8 N×H×W×3, and `input` of float32 N×3×8×8"),
    ],
)
def test_members_that_differ(tmp_path, capsys, sections, text):
    first, other = exported(tmp_path, 1), exported(tmp_path, 2, name="other", **sections)
    before = files_of(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["ensemble", str(first), str(other), "-o", str(tmp_path / "all.onnx")])
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert "error[bad-ensemble]" in err
    assert str(first) in err
    assert str(other) in err
    assert text in err
    assert files_of(tmp_path) == before


def refused(folder, paths, slug):
    before = files_of(folder)
    with pytest.raises(cnnspec.SpecError) as raised:
        cnnspec.ensemble(paths, folder / "all.onnx")
    assert [d.slug for d in raised.value.diagnostics] == [slug]
    assert files_of(folder) == before
    return str(raised.value)


def test_too_few_twice_or_itself(tmp_path):
    first, second = exported(tmp_path, 1), exported(tmp_path, 2, file="all.onnx")
    assert "one network alone" in refused(tmp_path, [first], "bad-ensemble")
    assert "is given twice" in refused(tmp_path, [first, second, tmp_path / "." / "m1.onnx"], "bad-ensemble")
    assert "is one of the members" in refused(tmp_path, [first, second], "bad-ensemble")


def test_files_that_are_no_members(tmp_path):
    good = exported(tmp_path, 1)
    (tmp_path / "text.onnx").write_text("no model at all, and a few words more\n" * 9)
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "nothing").mkdir()
    model = onnx.load(good)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    refused(tmp_path, [good, tmp_path / "text.onnx"], "bad-model")
    assert "is empty" in refused(tmp_path, [good, tmp_path / "empty.onnx"], "bad-model")
    assert "metadata" in refused(tmp_path, [good, tmp_path / "foreign.onnx"], "bad-model")
    refused(tmp_path, [good, tmp_path / "nowhere.onnx"], "no-file")
    refused(tmp_path, [good, tmp_path / "nothing"], "no-run")
    (tmp_path / "maps.yaml").write_text(
        "cnnspec: 1\nname: maps\ninput: {channels: 3, size: 8}\nlayers: [{conv: 3, kernel: 3}]\n"
    )
    found = cnnspec.load(tmp_path / "maps.yaml")
    found.export(tmp_path / "maps.onnx", found.weights())
    assert "maps and no classes" in refused(tmp_path, [good, tmp_path / "maps.onnx"], "bad-model")
    one = exported(tmp_path, 3, name="one", labels="cat")
    assert "gives one score" in refused(tmp_path, [one, good], "bad-model")


def test_another_opset(tmp_path):
    paths = [exported(tmp_path, seed) for seed in (1, 2)]
    model = onnx.load(paths[1])
    model.opset_import[0].version = 17
    onnx.save(model, paths[1])
    assert "is of opset 17, and this cnnspec writes 20" in refused(tmp_path, paths, "bad-model")


def test_damaged_files_are_refused_or_read(tmp_path):
    """Cut short or with bytes changed: an error that says so, or a file that is still one, and no other end."""
    good, other = exported(tmp_path, 1), tmp_path / "damaged.onnx"
    content = good.read_bytes()
    generator = random.Random(0)
    refusals: list[str] = []
    for number in range(150):
        damaged = bytearray(content)
        if number < 50:
            del damaged[generator.randrange(len(damaged)) :]
        else:
            for _ in range(generator.randint(1, 4)):
                damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        other.write_bytes(damaged)
        try:
            ensemble([good, other], tmp_path / "all.onnx")
        except cnnspec.SpecError as error:
            refusals += [d.slug for d in error.diagnostics]
    assert len(refusals) >= 50
    assert set(refusals) <= {"bad-model", "bad-ensemble"}
    assert not [name for name in files_of(tmp_path) if "part" in name]


def test_a_file_is_named(tmp_path, capfd):
    paths = [str(exported(tmp_path, seed)) for seed in (1, 2)]
    for arguments, code in [(paths, 2), ([*paths, "-o", str(tmp_path / "no" / "all.onnx")], 1), (["-o", "x.onnx"], 2)]:
        with pytest.raises(SystemExit) as ended:
            main(["ensemble", *arguments])
        assert ended.value.code == code
        assert "Traceback" not in capfd.readouterr().err
    assert not Path("x.onnx").exists()
