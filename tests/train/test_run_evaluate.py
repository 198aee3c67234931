"""Evaluation of ONNX files: with images as the data had them, of others, and of images that were trained on."""

import json
import re
from pathlib import Path

import numpy as np
import plain_training
import pytest
from PIL import Image

import cnnspec
from cnnspec.diagnostics import Report
from cnnspec.train.evaluate import evaluate, score
from cnnspec.train.exported import export_run
from cnnspec.train.generate import data_module
from cnnspec.train.seen import image_hash, is_seen, read_seen, write_seen
from cnnspec.train.settle import Choices, settle

CLI = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
LABELS = ["cat", "dog", "fox"]


def photographs(folder, sizes, *, classes=LABELS, seed=0):
    """Colour images of these sizes, one of each in every class."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, (height, width) in enumerate(sizes):
            array = generator.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(array).save(folder / name / f"{number}.png")


def exported(folder, preprocess="", fit="", size="12"):
    """An ONNX file of drawn weights, as a run has it: its path, the graph and the recipe."""
    text = plain_training.SPEC.replace("channels: 1, size: 14", f"channels: 3, size: {size}")
    text = text.replace("preprocess: {scale: 1/255}", f"preprocess: {{scale: 1/64, mean: [1, 2, 3]{preprocess}}}")
    text = text.replace("train:\n", f"train:\n  data: {{image_folder: {folder}/train, test: {folder}/test{fit}}}\n")
    spec = folder / "spec.yaml"
    spec.write_text(text)
    net = cnnspec.load(spec, classes=3)
    report = Report()
    recipe = settle(net.graph, Choices(), report)
    report.raise_errors()
    export_run(net.graph, "", recipe, LABELS, net.weights(1), folder / "model.onnx")
    return folder / "model.onnx", net, recipe


@pytest.fixture
def folder(tmp_path):
    photographs(tmp_path / "train", [(20, 30), (12, 12)])
    photographs(tmp_path / "test", [(20, 30), (12, 12), (40, 24), (12, 12), (36, 36)], seed=1)
    return tmp_path


@pytest.mark.parametrize(
    ("preprocess", "fit", "size"),
    [
        ("", "", "12"),
        ("", ", fit: crop", "12"),
        ("", "", "[12, 10]"),
        ("", ", fit: crop", "[12, 10]"),
        (", resize: 16, crop: 12", "", "12"),
        (", resize: 16, crop: 14", "", "12"),
        (", interpolation: lanczos", "", "12"),
        (", interpolation: bicubic, channel_order: bgr", "", "12"),
    ],
)
def test_the_file_does_with_images_what_training_did(folder, preprocess, fit, size):
    from cnnspec.lower.backend import backends

    model, net, recipe = exported(folder, preprocess, fit, size)
    scorer = backends()["onnx"].load().scorer(model)
    module = data_module(net.graph, recipe)
    part = module.load_data().test
    found = np.concatenate(score(scorer, module, part).log_probabilities)
    (x, truth), *more = module.batches(part, 100)
    assert not more
    weights = net.weights(1)
    flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1).astype(float)
    scores = flat @ weights["fc.weight"].T.astype(float) + weights["fc.bias"]
    expected = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    # a grey level of 1/64 may be rounded otherwise, in a few of 432 values with weights below 0.2
    assert np.abs(found - expected).max() < 0.05
    assert np.abs(expected - expected.mean(0)).max() > 0.2
    assert list(truth) == [0] * 5 + [1] * 5 + [2] * 5


def test_alone_it_says_what_it_was_trained_on(folder):
    model, *_ = exported(folder)
    (folder / "spec.yaml").unlink()
    found = evaluate(model)
    assert (found.images, found.split, found.labels, found.trained_on) == (15, "test", LABELS, None)
    assert evaluate(model, split="train").images == 6
    with pytest.raises(cnnspec.SpecError, match="no validation part"):
        evaluate(model, split="validation")


def test_images_that_were_trained_on_are_counted(folder, capsys):
    model, net, recipe = exported(folder)
    write_seen(folder, data_module(net.graph, recipe).load_data().train)
    assert evaluate(model).trained_on == 0
    found = evaluate(model, split="train")
    assert found.trained_on == 6
    assert "6 of the 6 images were trained on" in found.warnings[0]
    (folder / "new" / "cat").mkdir(parents=True)
    Image.open(folder / "train" / "dog" / "0.png").save(folder / "new" / "cat" / "renamed.bmp")  # the same pixels
    Image.open(folder / "test" / "dog" / "0.png").save(folder / "new" / "cat" / "other.bmp")
    again = evaluate(model, str(folder / "new"))
    assert (again.images, again.trained_on, again.split) == (2, 1, "all")
    assert again.labels == LABELS
    assert again.confusion[0].sum() == 2  # `cat` is class 0 of the network's labels


def test_broken_images_are_named_and_counted(folder, capsys):
    model, *_ = exported(folder)
    (folder / "test" / "fox" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    whole = (folder / "test" / "dog" / "1.png").read_bytes()
    middle = len(whole) // 2
    (folder / "test" / "dog" / "1.png").write_bytes(whole[:middle] + b"0000" + whole[middle + 4 :])  # seen when read
    found = evaluate(model)
    assert (found.images, found.left_out) == (13, 2)
    assert "fox/0.png" in capsys.readouterr().err
    assert "cannot be read" in found.warnings[0]


def test_what_cannot_be_evaluated(folder, tmp_path):
    model, *_ = exported(folder)
    photographs(folder / "owls", [(12, 12)], classes=["owl"])
    for target, data in [(tmp_path / "none", None), (tmp_path, "nowhere"), (model, str(folder / "owls"))]:
        with pytest.raises(cnnspec.SpecError):
            evaluate(target, data)
    (folder / "empty").mkdir()
    with pytest.raises(cnnspec.SpecError, match="is not the folder of a run, and has no"):
        evaluate(folder / "empty")


def test_answers_that_are_no_numbers(folder):
    model, net, recipe = exported(folder)
    weights = {name: np.full_like(array, np.nan) for name, array in net.weights(1).items()}
    export_run(net.graph, "", recipe, LABELS, weights, model)
    found = evaluate(model)
    assert "not a number" in found.warnings[0]
    assert found.to_dict()["loss"] is None
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_file_of_others(folder, layout):
    """A sum of each channel as the score of a class: the brightest channel wins."""
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    shape = ["N", 3, 12, 12] if layout == "NCHW" else ["N", 12, 12, 3]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=axes, keepdims=0)], "g",
        [helper.make_tensor_value_info("x", types.FLOAT, shape)],
        [helper.make_tensor_value_info("y", types.FLOAT, ["N", 3])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "other.onnx")
    for number, name in enumerate(["red", "green", "blue"]):
        (folder / "colours" / name).mkdir(parents=True)
        colour = tuple(200 if channel == number else 10 for channel in range(3))
        Image.new("RGB", (30, 18), colour).save(folder / "colours" / name / "a.png")
    found = evaluate(folder / "other.onnx", str(folder / "colours"))
    # in the alphabet's order blue, green, red are classes 0, 1, 2; the network has red first
    assert found.confusion.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert found.accuracy == pytest.approx(1 / 3)
    with pytest.raises(cnnspec.SpecError, match="--data"):
        evaluate(folder / "other.onnx")


def test_the_json_is_as_documented(folder):
    model, *_ = exported(folder)
    shown = json.loads(re.search(r"## evaluate.*?```json\n(.*?)```", CLI.read_text(), re.DOTALL)[1])
    found = json.loads(json.dumps(evaluate(model).to_dict()))
    assert list(found) == list(shown)
    assert found["classes"][0].keys() == shown["classes"][0].keys()
    assert found["top_k"] == {}  # of 3 classes
    assert np.sum(found["confusion"]) == found["images"] == 15


def test_the_table(folder):
    text = evaluate(exported(folder)[0]).to_text()
    assert "15 images (test, image_folder)" in text
    assert re.search(r"^cat +5 ", text, re.MULTILINE)
    assert text.count("\n") == 2 + 1 + 3 + 2 + 4


def test_hashes_know_pixels_and_shapes(tmp_path):
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert image_hash(image) == image_hash(np.asfortranarray(image))
    assert image_hash(image) != image_hash(image.reshape(4, 2, 3))
    assert image_hash(image) != image_hash(image[::-1])

    class Part:
        threads = 3

        def __len__(self):
            return 600

        def read(self, indices, replace):
            return [np.full((1, 2, 1), i % 256, np.uint8) for i in indices if i != 5], indices[indices != 5]

    hashes = write_seen(tmp_path, Part())
    assert len(hashes) == 256  # 5 comes again as 261
    assert np.array_equal(read_seen(tmp_path), hashes)
    assert is_seen(hashes, np.full((1, 2, 1), 77, np.uint8))
    assert not is_seen(hashes, np.full((2, 1, 1), 77, np.uint8))
    (tmp_path / "trained_on.npy").write_bytes(b"broken")
    assert read_seen(tmp_path) is None
