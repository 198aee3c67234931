"""Weights of torchvision's networks, saved by PyTorch, read and written back."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnspec
from cnnspec.graph import Graph
from cnnspec.weights.contract import contract
from cnnspec.weights.convert import read_foreign, write_foreign

torch = pytest.importorskip("torch")
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("none"))  # needs compiled operators
models = pytest.importorskip("torchvision.models")

QUICK = {
    "googlenet_torchvision": "googlenet",
    "inception_v3": "inception_v3",
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "squeezenet1_1": "squeezenet1_1",
}
SLOW = {
    "alexnet_torchvision": "alexnet",
    "resnet34": "resnet34",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
    "vgg11": "vgg11",
    "vgg11_bn": "vgg11_bn",
    "vgg13": "vgg13",
    "vgg13_bn": "vgg13_bn",
    "vgg16": "vgg16",
    "vgg16_bn": "vgg16_bn",
    "vgg19": "vgg19",
    "vgg19_bn": "vgg19_bn",
}
CASES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def peer(name: str, **options: Any) -> Any:
    """torchvision's network with random weights and statistics."""
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, **options}
    torch.manual_seed(0)
    return randomised(getattr(models, name)(weights=None, num_classes=10, **options))


def randomised(model: Any) -> Any:
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_()
    return model


def in_order(model: Any) -> list[Any]:
    """The tensors in the order of torchvision's code, those of auxiliary heads last as in the specs."""
    state = {k: v.numpy() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    return [v for head in (False, True) for k, v in state.items() if k.lower().startswith("aux") is head]


def assert_same(weights: Any, expected: list[Any], graph: Graph) -> None:
    keys = [key for key in contract(graph) if key in weights]
    assert len(keys) == len(weights) == len(expected)
    for key, array in zip(keys, expected, strict=True):
        assert weights[key].dtype == np.float32
        np.testing.assert_array_equal(weights[key], array, strict=True, err_msg=key)


def assert_same_state(file: Path, model: Any) -> None:
    written, state = torch.load(file, weights_only=True), model.state_dict()
    assert list(written.keys() ^ state.keys()) == []
    for key, tensor in state.items():
        assert torch.equal(written[key], tensor), key


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    model = peer((QUICK | SLOW)[name])
    torch.save(model.state_dict(), tmp_path / "peer.pth")
    graph = cnnspec.load(name, classes=10).graph
    with read_foreign(graph, "torchvision", tmp_path / "peer.pth") as weights:
        assert_same(weights, in_order(model), graph)
        write_foreign(graph, "torchvision", tmp_path / "back.pth", weights)
    assert_same_state(tmp_path / "back.pth", model)


@pytest.mark.slow
def test_vgg_with_batch_norm_and_small_images(tmp_path: Path) -> None:
    model = peer("vgg11_bn")
    model.classifier[0] = torch.nn.Linear(512 * 2 * 2, 4096)
    torch.save(model.state_dict(), tmp_path / "peer.pth")
    graph = cnnspec.load("vgg11_bn", params={"input.size": 64}, classes=10).graph
    with read_foreign(graph, "torchvision", tmp_path / "peer.pth") as weights:
        assert_same(weights, in_order(model), graph)
        write_foreign(graph, "torchvision", tmp_path / "back.pt", weights)
    assert_same_state(tmp_path / "back.pt", model)


@pytest.mark.parametrize("name", ["googlenet_torchvision", "inception_v3"])
def test_without_auxiliary_heads(name: str, tmp_path: Path) -> None:
    model = peer(QUICK[name], aux_logits=False)
    torch.save(model.state_dict(), tmp_path / "peer.pth")
    graph = cnnspec.load(name, classes=10).graph
    with read_foreign(graph, "torchvision", tmp_path / "peer.pth") as weights:
        assert_same(weights, in_order(model), graph)
        write_foreign(graph, "torchvision", tmp_path / "back.pth", weights)
    assert_same_state(tmp_path / "back.pth", model)
    with pytest.raises(cnnspec.SpecError, match=r"missing: .*aux"):
        read_foreign(graph, "torchvision", tmp_path / "peer.pth", training=True)


@pytest.mark.parametrize(
    ("name", "size"), [("googlenet_torchvision", 224), ("googlenet_torchvision", 96), ("inception_v3", 299)]
)
@pytest.mark.parametrize("heads", [True, False])
def test_a_case_that_leaves_the_heads_out(name: str, size: int, heads: bool, tmp_path: Path) -> None:
    """They are in the file or not; with images of 96 pixels `aux1.fc1` would have another shape."""
    model = peer(QUICK[name], aux_logits=heads)
    torch.save(model.state_dict(), tmp_path / "peer.pth")
    net = cnnspec.load(name, transfer="small_similar", classes=7, params={"input.size": size})
    weights = net.load_weights(f"torchvision:{tmp_path / 'peer.pth'}", training=True)
    own = contract(net.graph)
    assert list(weights) == list(own)
    assert not [key for key in own if key.startswith("aux")]
    theirs = [value for value in in_order(model)[: len(own)] if value.shape[:1] != (10,)]
    ours = [weights[key] for key in own if not key.startswith("fc.")]
    assert len(ours) == len(theirs) == len(own) - 2
    for mine, their in zip(ours, theirs, strict=True):
        assert np.array_equal(mine, their)


def test_some_of_an_auxiliary_head_is_not_enough(tmp_path: Path) -> None:
    state = peer("googlenet").state_dict()
    for key in [key for key in state if key.startswith("aux2")]:
        del state[key]
    torch.save(state, tmp_path / "peer.pth")
    with pytest.raises(cnnspec.SpecError, match=r"9 missing: `aux2\.conv\.conv\.weight`"):
        read_foreign(cnnspec.load("googlenet_torchvision", classes=10).graph, "torchvision", tmp_path / "peer.pth")


def test_safetensors(tmp_path: Path) -> None:
    files = pytest.importorskip("safetensors.torch")
    model = peer("resnet18")
    files.save_file(model.state_dict(), tmp_path / "peer.safetensors")
    graph = cnnspec.load("resnet18", classes=10).graph
    with read_foreign(graph, "torchvision", tmp_path / "peer.safetensors") as weights:
        assert_same(weights, in_order(model), graph)
        write_foreign(graph, "torchvision", tmp_path / "back.safetensors", weights)
    back = models.resnet18(weights=None, num_classes=10)
    back.load_state_dict(files.load_file(tmp_path / "back.safetensors"))
    for key, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[key], tensor), key


@pytest.mark.parametrize("form", ["before zip", "checkpoint", "half", "bfloat16"])
def test_forms(form: str, tmp_path: Path) -> None:
    model = peer("squeezenet1_1")
    if form in ("half", "bfloat16"):
        model = model.to(getattr(torch, form))
    state = model.state_dict()
    saved = {"epoch": 3, "state_dict": state} if form == "checkpoint" else state
    torch.save(saved, tmp_path / "peer.pth", _use_new_zipfile_serialization=form != "before zip")
    graph = cnnspec.load("squeezenet1_1", classes=10).graph
    with read_foreign(graph, "torchvision", tmp_path / "peer.pth") as weights:
        assert_same(weights, in_order(model.float()), graph)


def test_names_of_built_code(tmp_path: Path) -> None:
    """A state dict by paths, as generated code has it, is read for a network that torchvision has too."""
    graph = cnnspec.load("resnet18", classes=10).graph
    state = {key: torch.randn(param.shape) for key, param in contract(graph).items()}
    norms = [node.path for node in graph.nodes if "running_var" in node.params]
    state |= {f"{path}.num_batches_tracked": torch.tensor(1) for path in norms}
    torch.save(state, tmp_path / "built.pth")
    with read_foreign(graph, "torchvision", tmp_path / "built.pth") as weights:
        assert_same(weights, [state[key].numpy() for key in contract(graph)], graph)
