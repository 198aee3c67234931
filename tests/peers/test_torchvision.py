"""torchvision's networks: their weights, saved by PyTorch, give their logits in cnnspec's networks of all frameworks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from vision import models
from zoo_peers import TORCHVISION

import cnnspec

from .parity import BOTH, check, images, samples, torch_logits
from .random_torch import randomised

NAMES = (
    *("alexnet_torchvision", "googlenet_torchvision", "inception_v3", "squeezenet1_1", "vgg16", "vgg19"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
)
SMALL = {"resnet18": 64, "squeezenet1_1": 63}  # at sizes that they allow


def peer(name: str, x: Any, **options: Any) -> Any:
    if TORCHVISION[name] in ("googlenet", "inception_v3"):
        options = {"init_weights": False, **options}
    return randomised(getattr(models, TORCHVISION[name])(weights=None, **options), torch.from_numpy(x))


def assert_same(name: str, net: cnnspec.Net, folder: Path, in_keras: Sequence[str] = BOTH, **options: Any) -> None:
    size = net.graph.input.shape[-1]
    model = peer(name, samples(size), **options)
    torch.save(model.state_dict(), folder / "peer.pth")
    x = images(size)
    check(net, f"torchvision:{folder / 'peer.pth'}", x, torch_logits(model, x), folder, in_keras)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_at_its_own_size(name: str, tmp_path: Path) -> None:
    assert_same(name, cnnspec.load(name), tmp_path)


@pytest.mark.parametrize("name", SMALL)
def test_small(name: str, tmp_path: Path) -> None:
    net = cnnspec.load(name, params={"input.size": SMALL[name]}, classes=10)
    assert_same(name, net, tmp_path, ("float64",), num_classes=10)


def test_small_without_auxiliary_heads(tmp_path: Path) -> None:
    """These heads have dense layers for maps of one size."""
    spec = tmp_path / "small.yaml"
    spec.write_text(
        "cnnspec: 1\nextends: googlenet_torchvision\nname: small\ninput: {size: 65}\n"
        "preprocess: null\noutputs: null\ntransfer: null\ntrain: null\n"
    )
    net = cnnspec.load(spec, classes=10)
    assert_same("googlenet_torchvision", net, tmp_path, ("float64",), num_classes=10, aux_logits=False)
