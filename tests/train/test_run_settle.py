"""The spec of a run: it says everything, in every folder."""

import plain_training
import pytest

import cnnspec
from cnnspec.diagnostics import Report
from cnnspec.train.settle import Choices, settle, settled_files


def settled(net, folder, **choices):
    """The spec of a run, loaded from another folder than the one that it comes from."""
    report = Report()
    recipe = settle(net.graph, Choices(**choices), report, whole=not net.case)
    report.raise_errors()
    folder.mkdir(exist_ok=True)
    for name, content in settled_files(net.spec, recipe).items():
        (folder / name).write_bytes(content)
    assert cnnspec.check(folder / "spec.yaml") == []
    return cnnspec.load(folder / "spec.yaml", transfer=net.case)


@pytest.mark.parametrize(
    ("name", "params"),
    [("lenet5", {"classes": 3}), ("resnet18", {"input.size": 128}), ("se_resnet50", {}), ("vgg11_bn", {"classes": 7})],
)
def test_the_zoo(tmp_path, name, params):
    net = cnnspec.load(name, params=params)
    again = settled(net, tmp_path / "run", numbers={"epochs": 200, "batch_size": 7, "seed": 9})
    assert again.summary().to_dict() == net.summary().to_dict()
    recipe = again.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.seed) == (200, 7, 9)
    same = {"epochs": net.recipe.epochs, "batch_size": net.recipe.batch_size, "seed": net.recipe.seed}
    assert recipe.model_copy(update=same).model_dump() == net.recipe.model_dump()


def test_what_it_is_based_on_is_in_it(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "spec.yaml").write_text(
        "blocks: {twice: {args: {n: 4}, layers: [{dense: $n}, {dense: $n}]}}\n"
    )
    (tmp_path / "mine.yaml").write_text("cnnspec: 1\nname: mine\nrecipe: standard\nbatch_size: 32\n")
    (tmp_path / "base.yaml").write_text(plain_training.SPEC.partition("train:")[0] + "train: mine.yaml\n")
    (tmp_path / "net.yaml").write_text(
        "cnnspec: 1\nname: net\nextends: base.yaml\nuse: [parts/spec.yaml, squeeze_excite]\n"
        "layers: [flatten, {twice: {n: 5}}, {dense: $classes, name: fc}]\n"
    )
    net = cnnspec.load(tmp_path / "net.yaml", classes=4)
    again = settled(net, tmp_path / "run")
    for file in ("net.yaml", "base.yaml", "mine.yaml", "parts/spec.yaml"):
        (tmp_path / file).unlink()
    again = cnnspec.load(tmp_path / "run" / "spec.yaml")
    assert again.graph.outputs[0].node.shape.channels == 4
    # 196 inputs: 5 units, 5 units, 4 classes, each with a bias
    assert again.summary().cost.totals.params == 197 * 5 + 6 * 5 + 6 * 4
    assert again.recipe.batch_size == 32
    assert again.recipe.schedule.kind == "cosine"


def test_another_recipe(tmp_path):
    again = settled(cnnspec.load("lenet5"), tmp_path / "run", recipe="standard")
    assert again.recipe.optimizer.kind == "adamw"
    assert again.recipe.checkpoints.best == "validation_accuracy"


def test_the_same_text_from_the_run_itself(tmp_path):
    first = settled(cnnspec.load("lenet5"), tmp_path / "first")
    settled(first, tmp_path / "second")
    assert (tmp_path / "first" / "spec.yaml").read_bytes() == (tmp_path / "second" / "spec.yaml").read_bytes()


def test_numbers_that_the_recipe_cannot_have():
    report = Report()
    net = cnnspec.load("lenet5")
    # a warm-up of 1 epoch leaves no epoch of 1
    assert settle(net.graph, Choices("standard", numbers={"epochs": 1}), report) is None
    (found,) = report.diagnostics
    assert found.slug == "recipe-conflict"
