"""`cnnspec export` and `cnnspec predict` as their users meet them: whole processes, what they print, how they end."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx_models import drawn_weights
from PIL import Image

import cnnspec
from cnnspec.backends.onnx.images import preprocessed, read_image
from cnnspec.backends.onnx.predict import Classifier
from cnnspec.diagnostics import SpecError
from cnnspec.lower.backend import backend

SPEC = """\
cnnspec: 1
name: small
input: {channels: 3, size: 16}
preprocess: {resize: 20, crop: 16, scale: 1/255, mean: 0.5, std: [0.2, 0.3, 0.4]}
labels: [cat, dog, "renard, roux ñ", owl]
params: {classes: 4}
layers:
  - {conv: 8, kernel: 3, activation: relu, name: stem}
  - global_avg_pool
  - {dense: $classes, name: fc}
transfer:
  head: [fc]
  cases: {small_similar: {freeze: ["*"], replace: [fc]}}
"""


def cli(*arguments, cwd, hide=""):
    """Run the command line; `hide` is a package that cannot be found."""
    start = [sys.executable, "-m", "cnnspec"]
    if hide:
        start = [sys.executable, "-c", f"{_HIDE}hide({hide!r})\nfrom cnnspec.cli import main\nmain()"]
    return subprocess.run(
        [*start, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=120, check=False,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"}, encoding="utf-8",
    )  # fmt: skip


_HIDE = """
import importlib.util, sys
def hide(package):
    real = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name.partition(".")[0] == package else real(name, *rest)
    sys.modules[package] = None
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    (folder / "small.yaml").write_text(SPEC, encoding="utf-8")
    net = cnnspec.load(folder / "small.yaml")
    net.save_weights(folder / "w.safetensors", drawn_weights(net.graph))
    random = np.random.default_rng(0)
    for name, size in (("a.png", (30, 40)), ("b.jpg", (25, 20))):
        Image.fromarray(random.integers(0, 255, (*size, 3), np.uint8)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    done = cli("export", "small.yaml", "--weights", "w.safetensors", "-o", "m.onnx", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrote m.onnx\n", "")
    return folder


def odds(folder, image):
    """The probabilities by the definitions of the ops."""
    net = cnnspec.load(folder / "small.yaml")
    x = preprocessed(read_image(folder / image, 3), net.spec.preprocess, (16, 16))
    logits = backend("reference").runner(net.graph, net.load_weights(folder / "w.safetensors"), "float64").outputs(x)
    values = np.exp(logits["fc"][0])
    return values / values.sum()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preprocess": True},
        {"probabilities": True},
        {"precision": "fp16"},
        {"preprocess": True, "probabilities": True, "precision": "fp16"},
    ],
    ids=str,
)
def test_json_has_the_likeliest_classes_first(folder, options):
    net = cnnspec.load(folder / "small.yaml")
    net.export(folder / "variant.onnx", net.load_weights(folder / "w.safetensors"), **options)
    onnx.checker.check_model(folder / "variant.onnx", full_check=True)
    done = cli("predict", "variant.onnx", "a.png", "b.jpg", "--top", "3", "--format", "json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["image"] for line in found] == ["a.png", "b.jpg"]
    for line in found:
        expected = odds(folder, line["image"])
        best = np.argsort(-expected)[:3]
        assert [guess["index"] for guess in line["top"]] == best.tolist()
        labels = ["cat", "dog", "renard, roux ñ", "owl"]
        assert [guess["label"] for guess in line["top"]] == [labels[i] for i in best]
        assert [guess["probability"] for guess in line["top"]] == pytest.approx(expected[best].tolist(), abs=5e-3)


def test_text_is_a_table_an_image(folder):
    done = cli("predict", "m.onnx", "a.png", "--top", "2", cwd=folder)
    expected = odds(folder, "a.png")
    first, second = np.argsort(-expected)[:2]
    labels = ["cat", "dog", "renard, roux ñ", "owl"]
    assert done.stdout == (
        f"a.png\n   1  {expected[first]:7.2%}  {labels[first]}\n   2  {expected[second]:7.2%}  {labels[second]}\n"
    )


def test_a_broken_image_is_named_and_the_rest_goes_on(folder):
    done = cli("predict", "m.onnx", "broken.jpg", "none.png", "a.png", "--format", "json", cwd=folder)
    assert done.returncode == 1
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == ["a.png"]
    broken, missing = done.stderr.splitlines()
    assert broken.startswith("error: broken.jpg: ")
    assert missing == "error: none.png: No such file or directory"


def test_a_file_name_does_not_break_the_table(folder, tmp_path):
    name = "a\n   1  99.00%  \x1b[31mdog.png"
    (tmp_path / name).write_bytes((folder / "a.png").read_bytes())
    done = cli("predict", folder / "m.onnx", name, "none\n.png", "--top", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert "\x1b" not in done.stdout
    assert len(done.stderr.splitlines()) == 1


def test_an_image_that_the_model_itself_cannot_take_is_named(folder):
    (folder / "exact.yaml").write_text(SPEC.replace("{resize: 20, crop: 16, ", "{"), encoding="utf-8")
    done = cli("export", "exact.yaml", "-o", "exact.onnx", "--preprocess", cwd=folder)
    assert done.returncode == 0
    done = cli("predict", "exact.onnx", "a.png", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a.png: the model cannot take its 30×40 pixels: ")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_never_replaced(folder, provider):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime can use a GPU")
    done = cli("predict", "m.onnx", "a.png", "--provider", provider, cwd=folder)
    assert (done.returncode, done.stdout) == (3, "")
    assert "`onnxruntime-gpu` is not installed" in done.stderr
    assert "cnnspec[gpu]" in done.stderr


@pytest.mark.parametrize(
    ("package", "provider", "extra"),
    [
        ("onnxruntime", "cpu", "onnx"),
        ("onnxruntime", "cuda", "gpu"),
        ("PIL", "cpu", "onnx"),
        ("PIL", "tensorrt", "gpu"),
    ],
)
def test_a_missing_package_names_its_extra(folder, package, provider, extra):
    done = cli("predict", "m.onnx", "a.png", "--provider", provider, cwd=folder, hide=package)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"cnnspec[{extra}]" in done.stderr


@pytest.mark.parametrize(
    ("model", "slug"), [("none.onnx", "no-file"), (".", "no-file"), ("a.png", "bad-model"), ("bare.onnx", "bad-model")]
)
def test_what_is_no_exported_file_is_refused(folder, model, slug):
    proto = onnx.load(folder / "m.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, folder / "bare.onnx")
    done = cli("predict", model, "a.png", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error[{slug}]: ")
    assert "Traceback" not in done.stderr


# ---- export


def test_an_export_needs_no_framework(folder):
    code = (
        "import sys, runpy\nsys.argv = ['cnnspec', 'export', 'lenet5', '-o', 'l.onnx']\n"
        "try:\n    runpy.run_module('cnnspec', run_name='__main__')\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'tensorflow', 'keras', 'onnx', 'onnxruntime', 'PIL'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    onnx.checker.check_model(folder / "l.onnx", full_check=True)


def test_a_seed_gives_the_weights_of_the_seed(folder):
    for name, seed in (("1.onnx", 1), ("1again.onnx", 1), ("2.onnx", 2)):
        assert cli("export", "small.yaml", "--seed", seed, "-o", name, cwd=folder).returncode == 0
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(folder / "1.onnx").graph.initializer}
    net = cnnspec.load(folder / "small.yaml")
    assert (stored["stem.weight"] == net.weights(1)["stem.weight"]).all()
    assert (folder / "1.onnx").read_bytes() == (folder / "1again.onnx").read_bytes() != (folder / "2.onnx").read_bytes()


def test_transfer_and_settings(folder):
    done = cli("export", "resnet18", "--set", "classes=7", "--set", "input.size=64", "--transfer", "small_different",
               "-o", "t.onnx", cwd=folder)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    proto = onnx.load(folder / "t.onnx")
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    assert entries["cnnspec.transfer"] == "small_different"
    assert [axis.dim_value for axis in proto.graph.output[0].type.tensor_type.shape.dim] == [0, 7]
    assert [axis.dim_value for axis in proto.graph.input[0].type.tensor_type.shape.dim] == [0, 3, 64, 64]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("small.yaml",), 2, "-o"),
        (("small.yaml", "-o", "x.onnx", "--seed", "1", "--weights", "w.safetensors"), 2, "not both"),
        (("small.yaml", "-o", "x.onnx", "--precision", "int8"), 2, "int8"),
        (("resnet18", "-o", "x.onnx", "--weights", "w.safetensors"), 1, "missing-weights"),
        (("small.yaml", "-o", "nowhere/x.onnx"), 1, "nowhere"),
        (("small.yaml", "-o", ".", "--seed", "1"), 1, "."),
        (("mnist_mlp", "-o", "x.onnx", "--preprocess", "--set", "input.size=32"), 1, "no-preprocess"),
    ],
)
def test_what_is_wrong_writes_nothing(folder, arguments, code, text):
    before = sorted(path.name for path in folder.rglob("*"))
    done = cli("export", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_labels_are_those_of_the_head_or_none(folder):
    (folder / "five.yaml").write_text(SPEC.replace("replace: [fc]", "replace: {fc: [{dense: 5}]}"), encoding="utf-8")
    assert cli("export", "five.yaml", "--transfer", "small_similar", "-o", "five.onnx", cwd=folder).returncode == 0
    done = cli("predict", "five.onnx", "a.png", "--format", "json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert {guess["label"] for guess in json.loads(done.stdout)["top"]} == {f"class {i}" for i in range(5)}
    proto = onnx.load(folder / "m.onnx")
    next(entry for entry in proto.metadata_props if entry.key == "cnnspec.labels").value = '["one"]'
    onnx.save(proto, folder / "few.onnx")
    done = cli("predict", "few.onnx", "a.png", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "1 labels for 4 classes" in done.stderr


def test_outputs_that_are_not_finite_are_no_prediction(folder):
    net = cnnspec.load(folder / "small.yaml")
    weights = dict(net.load_weights(folder / "w.safetensors"))
    net.export(folder / "nan.onnx", weights | {"fc.bias": np.full(4, np.nan, np.float32)})
    done = cli("predict", "nan.onnx", "a.png", "--format", "json", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: a.png: what the network gives is not finite\n"


SIGMOID = """\
cnnspec: 1
name: pets
input: {channels: 3, size: 16}
preprocess: {resize: 20, crop: 16, scale: 1/255, mean: 0.5, std: 0.3}
labels: [LABELS]
layers: [{conv: 4, kernel: 3}, global_avg_pool, {dense: UNITS, activation: sigmoid}]
"""


@pytest.mark.parametrize("options", [{}, {"preprocess": True, "probabilities": True}, {"precision": "fp16"}], ids=str)
@pytest.mark.parametrize(
    ("labels", "shown"),
    [("cat, dog", ["cat", "dog"]), ("dog", ["not dog", "dog"]), ("cat, dog, owl", ["cat", "dog", "owl"])],
)
def test_what_a_sigmoid_gives_are_probabilities(labels, shown, options, folder, tmp_path):
    """One is that of class 1; several are independent."""
    units = 3 if len(shown) == 3 else 1
    (tmp_path / "pets.yaml").write_text(SIGMOID.replace("LABELS", labels).replace("UNITS", str(units)))
    net = cnnspec.load(tmp_path / "pets.yaml")
    weights = drawn_weights(net.graph)
    net.export(tmp_path / "m.onnx", weights, **options)
    proto = onnx.load(tmp_path / "m.onnx")
    assert [value.name for value in proto.graph.output] == ["probabilities"]
    assert [node.op_type for node in proto.graph.node if node.op_type in ("Sigmoid", "Softmax")] == ["Sigmoid"]
    x = preprocessed(read_image(folder / "a.png", 3), net.spec.preprocess, (16, 16))
    (given,) = backend("reference").runner(net.graph, weights, "float64").outputs(x)["dense.sigmoid"]
    expected = [1 - given[0], given[0]] if units == 1 else given.tolist()
    (found,) = Classifier(tmp_path / "m.onnx").predict([str(folder / "a.png")])
    assert {guess.label: guess.probability for guess in found.top} == pytest.approx(
        dict(zip(shown, expected, strict=True)), abs=5e-3
    )
    assert [guess.label for guess in found.top] == [shown[i] for i in np.argsort(-np.array(expected))]
    scorer = backend("onnx").scorer(tmp_path / "m.onnx")
    assert (scorer.classes, scorer.labels) == (len(shown), shown)
    if "preprocess" not in options:
        answers = np.exp(scorer.log_probabilities(x.transpose(0, 2, 3, 1)))
        assert answers[0] == pytest.approx(np.array(expected), abs=5e-3)


def test_one_sigmoid_has_no_three_labels(tmp_path):
    (tmp_path / "pets.yaml").write_text(SIGMOID.replace("LABELS", "a, b, c").replace("UNITS", "1"))
    assert [found.slug for found in cnnspec.check(tmp_path / "pets.yaml")] == ["label-count"]


def test_a_head_called_probabilities_is_none_of_the_main_output(tmp_path, folder):
    (tmp_path / "two.yaml").write_text(
        SPEC[: SPEC.index("transfer:")]
        + "outputs: {probabilities: {from: stem, layers: [global_avg_pool, {dense: 4}]}}\n",
        encoding="utf-8",
    )
    net = cnnspec.load(tmp_path / "two.yaml")
    net.export(tmp_path / "m.onnx", drawn_weights(net.graph))
    assert "Softmax" not in [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]


def test_one_score_of_another_project_is_no_class(tmp_path):
    image = onnx.helper.make_tensor_value_info("x", 1, ["N", 3, 4, 4])
    for name in ("score", "probabilities"):
        score = onnx.helper.make_tensor_value_info(name, 1, ["N", 1])
        nodes = [
            onnx.helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
            onnx.helper.make_node("Flatten", ["mean"], ["flat"]),
            onnx.helper.make_node("ReduceMean", ["flat"], [name], axes=[1]),
        ]
        graph = onnx.helper.make_graph(nodes, "g", [image], [score])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, tmp_path / f"{name}.onnx")
    found = backend("onnx").scorer(tmp_path / "probabilities.onnx").log_probabilities(np.full((2, 4, 4, 3), 0.25))
    assert np.exp(found) == pytest.approx(np.array([[0.75, 0.25]] * 2))
    with pytest.raises(SpecError) as error:
        backend("onnx").scorer(tmp_path / "score.onnx")
    assert "gives one score" in error.value.diagnostics[0].message
