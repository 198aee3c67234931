"""Weights of the original network under a transfer case: what the case replaces starts anew, everything else is read."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnspec
from cnnspec import Net, SpecError
from cnnspec.weights.contract import contract

SPEC = """cnnspec: 1
name: small
input: {channels: 3, size: 8}
params: {classes: 10}
defaults: {conv: {norm: batch_norm, activation: relu}}
layers:
  - {conv: 4, kernel: 3, name: early}
  - {conv: 6, kernel: 3, name: late}
  - global_avg_pool
  - {dense: 5, name: hidden}
  - {dense: $classes, name: fc}
transfer:
  head: [fc]
  cases:
    small_similar: {replace: [fc]}
    large_similar: {replace: {hidden: [{dense: 7, name: wide}, relu, {dense: 5, name: narrow}], fc: }}
    small_different: {features: {from: early, layers: [global_avg_pool, {dense: $classes, name: new}]}}
    large_different: {replace: {late: [{conv: 8, kernel: 1}]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A spec, and beside it the weights of its network with ten classes."""
    (tmp_path / "small.yaml").write_text(SPEC)
    net = cnnspec.load(tmp_path / "small.yaml")
    net.save_weights(tmp_path / "small.safetensors", net.weights(7))
    return tmp_path / "small.safetensors"


def under(file: Path, case: str, **params: Any) -> Net:
    return cnnspec.load(file.with_name("small.yaml"), transfer=case, **params)


def check(net: Net, weights: Any, original: Net, anew: tuple[str, ...]) -> None:
    """All parameters are there, and come from where they should."""
    own, old = net.weights(), original.weights(7)
    assert list(weights) == list(contract(net.graph))
    for key, array in weights.items():
        new = key.startswith(anew)
        assert np.array_equal(array, (own if new else old)[key]), key
        assert weights.shapes[key] == array.shape


CASES = [
    ("small_similar", ("fc.",)),
    ("large_similar", ("hidden.", "fc.")),
    ("small_different", ("head.",)),
]


@pytest.mark.parametrize(("case", "anew"), CASES)
@pytest.mark.parametrize("classes", [10, 3])
def test_what_is_replaced_starts_anew(case, anew, classes, file):
    net = under(file, case, classes=classes)
    check(net, net.load_weights(file), cnnspec.load(file.with_name("small.yaml")), anew)


def test_the_recipe_says_what_new_layers_start_from(file):
    text = (
        SPEC
        + "train: {recipe: resnet, seed: 5, metrics: [accuracy], initializers: {layers: {fc: {bias: {constant: 2}}}}}\n"
    )
    file.with_name("small.yaml").write_text(text)
    net = under(file, "small_similar", classes=3)
    weights = net.load_weights(file)
    assert weights["fc.bias"].tolist() == [2, 2, 2]
    assert np.array_equal(weights["fc.weight"], net.weights(5)["fc.weight"])
    assert not np.array_equal(weights["fc.weight"], net.weights(0)["fc.weight"])


def rewritten(file: Path, change: Any) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = load_file(file)
    change(arrays)
    save_file(arrays, file)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("fc.bias"),
        lambda arrays: arrays.update({"fc.bias": np.zeros((2, 3, 4), np.float32)}),
        lambda arrays: arrays.update({"fc.deep.er": np.zeros(2, np.int64)}),
    ],
    ids=["missing", "other shape", "left over"],
)
def test_nothing_is_asked_of_what_is_replaced(change, file):
    rewritten(file, change)
    net = under(file, "small_similar")
    check(net, net.load_weights(file), cnnspec.load(file.with_name("small.yaml")), ("fc.",))


MISTAKES = {
    "missing-weights": (lambda arrays: arrays.pop("hidden.weight"), "hidden.weight"),
    "left-over-weights": (lambda arrays: arrays.update(other=np.zeros(1, np.float32)), "other"),
    "weight-shape": (lambda arrays: arrays.update({"hidden.bias": np.zeros(9, np.float32)}), "is 9, in the network 5"),
    "weight-type": (lambda arrays: arrays.update({"hidden.bias": np.zeros(5, np.int64)}), "hidden.bias"),
}


@pytest.mark.parametrize("slug", MISTAKES)
def test_everything_else_must_match(slug, file):
    change, told = MISTAKES[slug]
    rewritten(file, change)
    with pytest.raises(SpecError) as error:
        under(file, "small_similar").load_weights(file)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.slug == slug
    assert told in diagnostic.message
    assert str(file) in diagnostic.message


def test_what_a_replaced_layer_changes_behind_it_must_be_replaced_too(file):
    """`late` gives 8 channels in place of 6, which the dense layer behind it has not in the file."""
    with pytest.raises(SpecError) as error:
        under(file, "large_different").load_weights(file)
    (diagnostic,) = error.value.diagnostics
    assert "`hidden.weight` is 5×6, in the network 5×8" in diagnostic.message
    assert diagnostic.help == (
        "under `large_different` only what starts anew may differ: `late`; another case can take them: "
        "`--transfer small_similar`, `--transfer large_similar`, `--transfer small_different`"
    )
    assert diagnostic.related


def test_what_was_saved_under_a_case_is_read_whole(file):
    """The head that was trained is kept, and must fit like the rest."""
    net = under(file, "small_similar", classes=3)
    tuned = file.with_name("tuned.safetensors")
    net.save_weights(tuned, net.weights(9))
    weights = net.load_weights(tuned)
    assert list(weights) == list(contract(net.graph))
    assert all(np.array_equal(array, net.weights(9)[key]) for key, array in weights.items())
    for case, classes, slugs in [
        ("small_similar", 4, {"weight-shape"}),
        ("large_similar", 3, {"missing-weights", "left-over-weights"}),
    ]:
        with pytest.raises(SpecError) as error:
            under(file, case, classes=classes).load_weights(tuned)
        assert {d.slug for d in error.value.diagnostics} == slugs


def refusal(net: Net, file: Path) -> list[Any]:
    with pytest.raises(SpecError) as error:
        net.load_weights(file)
    return error.value.diagnostics


def test_the_cases_that_take_a_file_of_other_classes_are_named(file):
    (found,) = refusal(cnnspec.load(file.with_name("small.yaml"), classes=3), file)
    assert found.help == (
        "give `--set` as when they were saved, or take them under a transfer case, where these start anew: "
        "`--transfer small_similar`, `--transfer large_similar`, `--transfer small_different`"
    )


def test_from_one_task_to_the_next(file):
    """What was trained under a case becomes a file of the original network, as the error says."""
    tuned, plain = file.with_name("tuned.safetensors"), file.with_name("plain.safetensors")
    net = under(file, "small_similar", classes=3)
    net.save_weights(tuned, net.weights(9))
    way = "let `cnnspec weights SPEC --set … --from FILE -o NEW.safetensors` make them weights of the original network"
    (found,) = refusal(under(file, "small_similar", classes=4), tuned)
    assert found.help == f"give `--set` as when they were saved, or {way}: then `fc` starts anew"
    found, left_over = refusal(under(file, "small_different", classes=4), tuned)
    assert (found.help, left_over.help) == (f"{way}: then `head` starts anew", "")
    done = command("weights", file.with_name("small.yaml"), "--set", "classes=3", "--from", tuned, "-o", plain)
    assert done.returncode == 0, done.stderr
    again = under(file, "small_similar", classes=4)
    weights = again.load_weights(plain)
    assert np.array_equal(weights["hidden.weight"], net.weights(9)["hidden.weight"])
    assert weights.shapes["fc.weight"] == (4, 5)


def test_no_way_is_named_that_leads_nowhere(file):
    """Layers that a case put in place of others are not the original network's."""
    net = under(file, "small_different", classes=3)
    tuned = file.with_name("tuned.safetensors")
    net.save_weights(tuned, net.weights(9))
    (found,) = refusal(under(file, "small_different", classes=4), tuned)
    assert found.help == "give `--set` as when they were saved"
    assert [d.help for d in refusal(under(file, "small_similar", classes=3), tuned)] == ["", ""]


def test_a_file_of_another_network_says_so(file):
    other = file.with_name("other.yaml")
    other.write_text(SPEC.replace("name: small", "name: other").replace("name: hidden", "name: middle"))
    net = cnnspec.load(other)
    for found in refusal(net, file):
        assert found.message.startswith(f"`{file}`, which says that it is of small, ")
        assert found.help == ""
    other.write_text(
        "\n".join(["cnnspec: 1", "name: alone", "input: {channels: 3, size: 8}", "layers: [flatten, dense: 2]"])
    )
    missing, _ = refusal(cnnspec.load(other), file)
    assert "which says that it is of small, lacks 2 of the 2 parameters of alone" in missing.message
    assert missing.help == "", "it is no file of another project"
    other.write_text(f"cnnspec: 1\nname: mine\nextends: {file.with_name('small.yaml')}\nparams: {{classes: 3}}\n")
    (found,) = refusal(cnnspec.load(other), file)
    assert found.help.startswith("take them under a transfer case")


AUXILIARY = """outputs:
  aux: {from: late, training_only: true, layers: [global_avg_pool, {dense: 5}, {dense: $classes, name: fc}]}
transfer:
  head: [fc]
  cases:
    small_similar: {freeze: ["*"], replace: [fc, aux.fc]}
    large_similar: {replace: {fc: , aux.fc: [{dense: 4}, {dense: $classes}]}}
"""


def test_heads_that_a_case_leaves_out(file):
    """A file may have them, whichever case it was saved under, and whatever they were then."""
    path = file.with_name("small.yaml")
    path.write_text(SPEC[: SPEC.index("transfer:")] + AUXILIARY)
    original, small, large = cnnspec.load(path), under(file, "small_similar"), under(file, "large_similar")
    assert [key for key in contract(small.graph) if key.startswith("aux")] == []
    original.save_weights(file, original.weights(7))
    check(small, small.load_weights(file), original, ("fc.",))
    rewritten(file, lambda arrays: arrays.pop("aux.dense.weight"))  # nor need they be whole
    check(small, small.load_weights(file), original, ("fc.",))
    for net, other in ((large, small), (small, large)):
        tuned = file.with_name("tuned.safetensors")
        net.save_weights(tuned, net.weights(9))
        weights = other.load_weights(tuned)
        assert list(weights) == list(contract(small.graph))
        assert all(np.array_equal(array, net.weights(9)[key]) for key, array in weights.items())


HEADS = {"resnet18": "fc", "vgg16_bn": "fc8"}


@pytest.mark.parametrize("name", ["resnet18", pytest.param("vgg16_bn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["torch", "keras"])
def test_in_a_framework(name, backend, tmp_path):
    """Frameworks' own files of a network with 10 classes, for one with 3; and the model that is built from both."""
    pytest.importorskip(backend)
    params = {"input.size": "32"}
    plain = cnnspec.load(name, params=params | {"classes": "10"})
    drawn = plain.weights(2)
    net = cnnspec.load(name, transfer="small_similar", params=params | {"classes": "3"})
    head = HEADS[name]
    format = {"torch": "torchvision:", "keras": "keras:"}[backend]
    suffix = {"torch": "pth", "keras": "weights.h5"}[backend]
    for given in (f"{tmp_path}/w.safetensors", f"{format}{tmp_path}/w.{suffix}"):
        plain.save_weights(given, drawn)
        weights = net.load_weights(given)
        assert set(weights) == set(contract(net.graph))
        own = net.weights()
        for key in weights:
            assert np.array_equal(weights[key], (own if key.startswith(f"{head}.") else drawn)[key]), key
    model = net.build(backend, weights)
    size = (1, 3, 32, 32) if backend == "torch" else (1, 32, 32, 3)
    images = np.zeros(size, np.float32)
    if backend == "torch":
        import torch

        assert model.eval()(torch.from_numpy(images)).shape == (1, 3)
        assert np.array_equal(model.state_dict()[f"{head}.weight"].numpy(), own[f"{head}.weight"])
    else:
        assert model(images).shape == (1, 3)
        assert np.array_equal(model.get_layer(head).kernel.numpy(), own[f"{head}.weight"].T)


@pytest.mark.parametrize("format", ["torchvision", "keras"])
def test_another_network_s_file(format, tmp_path):
    """ResNet-34's weights for ResNet-18: one error, which names what is where."""
    file = tmp_path / {"torchvision": "w.pth", "keras": "w.weights.h5"}[format]
    other = cnnspec.load("resnet34", params={"input.size": "32"})
    other.save_weights(f"{format}:{file}", other.weights(0))
    net = cnnspec.load("resnet18", transfer="small_similar", params={"input.size": "32", "classes": "3"})
    with pytest.raises(SpecError) as error:
        net.load_weights(f"{format}:{file}")
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.slug == "foreign-weights"
    assert "left over: `" in diagnostic.message
    assert "fc" not in diagnostic.message.partition("left over")[0].rpartition("resnet18:")[2]


@pytest.mark.parametrize("format", ["torchvision", "keras"])
def test_a_layer_before_the_head_must_fit(format, file):
    """The names on both sides, and both shapes."""
    plain = cnnspec.load(file.with_name("small.yaml"))
    path = file.with_name({"torchvision": "w.pth", "keras": "w.weights.h5"}[format])
    plain.save_weights(f"{format}:{path}", plain.weights(0))
    with pytest.raises(SpecError) as error:
        under(file, "large_different").load_weights(f"{format}:{path}")
    (diagnostic,) = error.value.diagnostics
    sides = {"torchvision": "is 5×6 and not 5×8", "keras": "is 6×5 and not 8×5"}[format]
    assert "hidden" in diagnostic.message
    assert sides in diagnostic.message


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cnnspec", *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("which", ["export", "verify"])
def test_commands(which, file):
    """Both take the original's file, and refuse, with exit code 1 and nothing written, what does not fit."""
    target = file.with_name("m.onnx")
    options = ["-o", target] if which == "export" else ["--backends", "onnx"]
    pytest.importorskip("onnxruntime" if which == "verify" else "numpy")
    spec = file.with_name("small.yaml")
    given = [which, spec, *options, "--weights", file, "--set", "classes=3", "--transfer"]
    done = command(*given, "small_similar")
    assert done.returncode == 0, done.stderr
    assert target.exists() == (which == "export")
    target.unlink(missing_ok=True)
    done = command(*given, "large_different")
    assert done.returncode == 1
    assert "error[weight-shape]" in done.stderr
    assert "`hidden.weight` is 5×6, in the network 5×8" in " ".join(done.stderr.split())
    assert not target.exists()
