"""Where a network is cut for features, or why not, against what one finds by hand."""

import ast
import subprocess
import sys

import pytest
import yaml
from feature_nets import AUX, SPEC

import cnnspec
from cnnspec.lower.cut import Cut, find_cut
from cnnspec.lower.fold import fold
from cnnspec.train.features import feature_cut, features_line, features_options

NONE = "features are not kept: "
ZOO = {
    # everything but the new layer, up to what drops at random
    ("resnet18", "small_similar"): "global_avg_pool",
    ("vgg16_bn", "small_similar"): "fc6",
    ("squeezenet1_1", "small_similar"): "fire9",
    ("googlenet", "small_similar"): "global_avg_pool",  # the auxiliary heads hang off earlier layers, and are left out
    ("googlenet_torchvision", "small_similar"): "global_avg_pool",
    ("inception_v3", "small_similar"): "global_avg_pool",
    # what `features` says
    ("resnet18", "small_different"): "layer2",
    ("vgg16_bn", "small_different"): "block2",
    ("squeezenet1_1", "small_different"): "fire5",
    ("googlenet", "small_different"): "inception3b",
    # all is thawed by the tenth epoch
    ("resnet18", "large_similar"): "`unfreeze` trains `stem` from epoch 10",
    ("vgg16_bn", "large_similar"): "`unfreeze` trains `block1` from epoch 10",
    ("squeezenet1_1", "large_similar"): "`unfreeze` trains `conv1` from epoch 10",
    ("googlenet", "large_similar"): "`unfreeze` trains `conv1` from epoch 10",
    ("resnet18", "large_different"): "nothing is frozen",
    ("vgg16_bn", "large_different"): "nothing is frozen",
    ("squeezenet1_1", "large_different"): "nothing is frozen",
    ("googlenet", "large_different"): "nothing is frozen",
}


@pytest.mark.parametrize(("name", "case"), ZOO)
def test_networks_of_the_zoo(name, case):
    net = cnnspec.load(name, transfer=case, params={"classes": 10})
    found = find_cut(fold(net.graph))
    assert (found if isinstance(found, str) else found.name) == ZOO[name, case]
    methods = {node.name for node in ast.walk(ast.parse(net.source("torch"))) if isinstance(node, ast.FunctionDef)}
    assert ("forward_features" in methods) == isinstance(found, Cut)
    assert ("forward_head" in methods) == isinstance(found, Cut)


def loaded(tmp_path, layers, case, more="", recipe="optimizer: {sgd: 0.1}, epochs: 2, batch_size: 8"):
    spec = {"cnnspec": 1, "name": "some", "input": {"channels": 2, "size": 8}, "layers": layers}
    spec["transfer"] = {"head": ["fc"], "cases": {"large_similar": case}}
    path = tmp_path / "some.yaml"
    path.write_text(f"{yaml.safe_dump(spec, sort_keys=False)}{more}train: {{{recipe}}}\n")
    return cnnspec.load(str(path), transfer="large_similar")


A = {"conv": 4, "kernel": 3, "name": "a"}
B = {"conv": 4, "kernel": 3, "name": "b"}
C = {"conv": 4, "kernel": 3, "name": "c"}
FC = {"dense": 3, "name": "fc"}
POOL = "global_avg_pool"


@pytest.mark.parametrize(
    ("layers", "case", "expected"),
    [
        ([A, B, POOL, FC], {"freeze_through": "a"}, "a"),
        ([A, "relu", {"max_pool": 2}, B, POOL, FC], {"freeze": ["a"]}, "max_pool"),
        ([A, B, POOL, FC], {"freeze": ["b"]}, "`a` trains"),
        ([A, {"batch_norm": {}, "name": "n"}, B, POOL, FC], {"freeze": ["a"]}, "a"),  # its statistics move
        ([A, {"batch_norm": {"scale": False, "shift": False}, "name": "n"}, B, POOL, FC], {"freeze": ["a", "b"]}, "a"),
        ([A, {"batch_norm": {}, "name": "n"}, B, POOL, FC], {"freeze": ["a", "n"]}, "n"),
        ([{"dropout": 0.5, "name": "d"}, A, POOL, FC], {"freeze": ["a"]}, "`d` drops at random"),
        ([{"dropout": 0, "name": "d"}, A, POOL, FC], {"freeze": ["a"]}, "global_avg_pool"),
        ([{"max_pool": 2}, B, POOL, FC], {"freeze": ["fc"]}, "`b` trains"),
        ([A, B, POOL, FC], {"freeze": ["a", "b"], "unfreeze": {5: ["b"]}}, "a"),
        ([A, B, POOL, FC], {"freeze": ["a", "b"], "unfreeze": {5: ["a"]}}, "`unfreeze` trains `a` from epoch 5"),
        # beside the flow: cut where it has come together again
        ([A, B, {"add": ["a", "b"], "name": "s"}, C, POOL, FC], {"freeze": ["a", "b"]}, "s"),
        ([A, B, {"add": ["a", "b"], "name": "s"}, C, POOL, FC], {"freeze": ["a"]}, "a"),
        (
            [A, B, C, {"add": ["a", "c"], "name": "s"}, POOL, FC],
            {"freeze": ["a", "b"]},
            "a",
        ),
        (
            [{"conv": 2, "kernel": 3, "name": "a"}, {"add": ["a", "input"], "name": "s"}, C, POOL, FC],
            {"freeze": ["a"]},
            "s",
        ),
        (
            [{"conv": 2, "kernel": 3, "name": "a"}, C, {"concat": ["c", "input"], "name": "s"}, POOL, FC],
            {"freeze": ["a"]},
            "behind `a` more than one value is used: `a` and `input`",
        ),
        (
            [A | {"name": "forward_head"}, B, POOL, FC],
            {"freeze": ["forward_head"]},
            "a layer is called `forward_head`, as a part of the network would be",
        ),
    ],
)
def test_small_networks(layers, case, expected, tmp_path):
    found = find_cut(fold(loaded(tmp_path, layers, case).graph))
    assert (found if isinstance(found, str) else found.name) == expected


HEAD = AUX.replace("from: block3", "from: a")


@pytest.mark.parametrize(
    ("head", "name", "before"),
    [
        (HEAD, "global_avg_pool", ["a", "b"]),  # for training, where nothing that it shares trains: left out
        (HEAD.replace("training_only: true, ", ""), "a", ["a"]),  # of inference: its values are needed
    ],
)
def test_heads_off_what_is_frozen(head, name, before, tmp_path):
    found = find_cut(fold(loaded(tmp_path, [A, B, POOL, FC], {"freeze": ["a", "b"]}, head).graph))
    assert isinstance(found, Cut)
    assert (found.name, found.node.path) == (name, name)
    assert [node.path for node in found.before] == before


@pytest.mark.parametrize("steps", ["flip: horizontal", "mixup: 0.2", "flip: horizontal}, {flip: vertical}, {cutout: 2"])
def test_augmentation_forbids_it(steps, tmp_path):
    recipe = f"optimizer: {{sgd: 0.1}}, epochs: 1, batch_size: 8, augment: [{{{steps}}}]"
    net = loaded(tmp_path, [A, B, POOL, FC], {"freeze": ["a"]}, recipe=recipe)
    kinds = {"flip": "flip", "mixup": "mixup"}.get(steps.split(":")[0] if "}" not in steps else "", "flip, cutout")
    reason = f"the recipe augments the images: {kinds}"
    assert feature_cut(net.graph, net.recipe) == reason
    assert features_line(net.graph, net.recipe) == NONE + reason
    assert features_options(net.graph, net.recipe, False) == []
    assert "features" not in net.source("torch").replace("forward_features", "")


def test_options(tmp_path):
    net = loaded(tmp_path, [A, B, POOL, FC], {"freeze": ["a"]})
    assert features_options(net.graph, net.recipe, True) == []
    assert features_options(net.graph, net.recipe, False) == ["--no-features"]
    assert features_options(net.graph, net.recipe, tmp_path) == ["--features", str(tmp_path)]


def test_a_folder_that_was_named_for_nothing(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(SPEC + "train: {optimizer: {sgd: 0.1}, epochs: 1, batch_size: 8}\n")
    net = cnnspec.load(path)
    assert features_line(net.graph, net.recipe) is None
    assert features_line(net.graph, net.recipe, tmp_path) == NONE + "nothing is frozen"


def command(tmp_path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "cnnspec", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("small_similar", "features of block2, up to which all stays frozen, are computed once"),
        ("large_similar", "features of block2, up to which all stays frozen, are computed once"),
        ("large_different", None),
    ],
)
def test_build_says_it(case, line, tmp_path):
    (tmp_path / "net.yaml").write_text(SPEC + "train: {optimizer: {sgd: 0.1}, epochs: 1, batch_size: 8}\n")
    out = command(tmp_path, "build", "net.yaml", "--transfer", case, "--backend", "torch", "-o", "made").stdout
    said = [text for text in out.splitlines() if "features" in text]
    assert said == ([line] if line else [])


def test_train_says_it_and_takes_options(tmp_path):
    pytest.importorskip("torch")
    recipe = "train: {optimizer: {sgd: 0.1}, epochs: 1, batch_size: 500, data: {sample: {fit: stretch, channels: convert}}}\n"
    spec = (
        SPEC.replace("channels: 2", "channels: 3").replace("classes: 3", "classes: 10").replace("dense: 3", "dense: 10")
    )
    (tmp_path / "net.yaml").write_text(spec + recipe)
    train = ("train", "net.yaml", "--transfer", "small_similar", "--device", "cpu", "-o", "run", "--features", "kept")
    done = command(tmp_path, *train)
    out = done.stdout
    assert "warning: what is frozen has drawn weights, which know nothing" in done.stderr
    assert "features of block2, up to which all stays frozen, are computed once\n" in out
    assert "features of block2: 2,500 images, 1.3 MB in kept\n" in out
    assert len(list((tmp_path / "kept").iterdir())) == 1
