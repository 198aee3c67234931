"""What the lists of published weights say, against the packages of those who publish them."""

from __future__ import annotations

import inspect
import math
import os
import re
import sys
import types
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import cnnspec
from cnnspec.spec.sections import PreprocessSection
from cnnspec.weights.names import mapped_networks
from cnnspec.weights.published import PUBLISHERS, Published

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TORCHVISION = {"alexnet_torchvision": "alexnet", "googlenet_torchvision": "googlenet"}
"""What torchvision calls networks of the zoo, where that is another name."""
KERAS = {
    "inception_resnet_v2": "inception_resnet_v2.InceptionResNetV2",
    "inception_v3_keras": "inception_v3.InceptionV3",
    "resnet50_keras": "resnet.ResNet50",
    "resnet101_keras": "resnet.ResNet101",
    "resnet152_keras": "resnet.ResNet152",
    "vgg16": "vgg16.VGG16",
    "vgg19": "vgg19.VGG19",
    "xception": "xception.Xception",
}


@cache
def entries(publisher: str) -> dict[str, list[Published]]:
    """All that is listed of a publisher, by network."""
    found = {name: [e for e in cnnspec.load(name).published if e.publisher == publisher] for name in cnnspec.zoo()}
    return {name: listed for name, listed in found.items() if listed}


NETWORKS = {publisher: list(entries(publisher)) for publisher in PUBLISHERS}


def test_every_network_with_names_has_weights() -> None:
    """Those that a name map says how to read; keras.applications has no SqueezeNet."""
    graph = cnnspec.load("vgg16").graph
    assert NETWORKS["torchvision"] == mapped_networks(graph, "torchvision")
    assert NETWORKS["keras"] == [name for name in mapped_networks(graph, "keras") if name != "squeezenet1_1"]
    assert set(KERAS) == set(NETWORKS["keras"])


@pytest.mark.parametrize("publisher", PUBLISHERS)
def test_every_entry(publisher: str) -> None:
    listed = [entry for found in entries(publisher).values() for entry in found]
    assert len({entry.file for entry in listed}) == len(listed), "they lie in one folder of the cache"
    for entry in listed:
        assert re.fullmatch(r"https://[^/]+/.*[^/]", entry.url)
        assert re.fullmatch(r"[0-9a-f]{8}" if publisher == "torchvision" else r"[0-9a-f]{32}", entry.checksum)
        assert {"channel_order", "scale", "mean", "std"} <= entry.preprocess.model_fields_set
        graph = cnnspec.load(entry.spec.stem).graph
        if entry.labels is not None:
            assert len(entry.labels) == graph.outputs[0].node.shape.channels == 1000
        for path in entry.without:
            assert any(node.path == path and node.params for node in graph.nodes)
        assert all(0 < accuracy < 100 for accuracy in entry.accuracy)
        assert list(entry.accuracy) == sorted(entry.accuracy)


# --- torchvision's own words


def builder(name: str) -> str:
    return TORCHVISION.get(name, name)


@cache
def torchvision() -> Any:
    pytest.importorskip("torch")
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("none"))  # needs compiled operators
    return pytest.importorskip("torchvision.models")


@pytest.mark.parametrize("name", NETWORKS["torchvision"])
def test_torchvision(name: str) -> None:
    known = torchvision().get_model_weights(builder(name)).__members__
    listed = {entry.name: entry for entry in entries("torchvision")[name]}
    assert {alias: n for n, e in listed.items() for alias in (n, *e.aliases)} == {a: m.name for a, m in known.items()}
    for entry in listed.values():
        theirs = known[entry.name]
        assert entry.url == theirs.url
        assert entry.algorithm == "sha256"
        assert f"-{entry.checksum}.pth" in theirs.url
        assert entry.labels == theirs.meta["categories"]
        accuracy = theirs.meta["_metrics"]["ImageNet-1K"].values()
        assert list(entry.accuracy) == [value for value in accuracy if not math.isnan(value)]
        shape = cnnspec.load(name).graph.input.shape
        transforms = theirs.transforms()
        assert entry.preprocess.resize == (transforms.resize_size[0],) * 2
        assert entry.preprocess.crop == (transforms.crop_size[0],) * 2 == (shape.height, shape.width)  # type: ignore[union-attr]
        assert entry.preprocess.resize_to == "shorter_side"
        assert entry.preprocess.interpolation == transforms.interpolation.value


@pytest.mark.parametrize("name", NETWORKS["torchvision"])
def test_what_torchvision_makes_of_pixels(name: str) -> None:
    """Its transforms, and what GoogLeNet and Inception do first with what these give."""
    kind = torchvision().get_model_builder(builder(name))
    import torch

    for entry in entries("torchvision")[name]:
        theirs = torchvision().get_model_weights(builder(name))[entry.name].transforms()
        side = theirs.crop_size[0]
        image = np.random.default_rng(0).integers(0, 256, (3, side, side), np.uint8)
        theirs.resize_size = [side]  # as it is
        given = theirs(torch.from_numpy(image))
        module = sys.modules[kind.__module__]
        network = next((kind for kind in vars(module).values() if hasattr(kind, "_transform_input")), None)
        if network is not None:
            given = network._transform_input(types.SimpleNamespace(transform_input=True), given[None])[0]
        np.testing.assert_allclose(scaled(entry.preprocess, image), given.numpy(), rtol=1e-4, atol=1e-5)


def scaled(section: PreprocessSection, image: Any) -> Any:
    """Pixels (channels, height, width) as the section's docstring has it."""
    ordered = image[::-1] if section.channel_order == "bgr" else image
    mean, std = (np.broadcast_to(np.array(value), 3)[:, None, None] for value in (section.mean, section.std))
    return (ordered * section.scale - mean) / std


# --- Keras's own words


def application(name: str) -> tuple[Any, str]:
    """The module, and the function in it."""
    pytest.importorskip("keras")
    module, _, function = KERAS[name].partition(".")
    return import_module(f"keras.src.applications.{module}"), function


@pytest.mark.parametrize("name", KERAS)
def test_keras(name: str) -> None:
    module, _ = application(name)
    (entry,) = entries("keras")[name]
    assert (entry.name, entry.aliases, entry.algorithm) == ("imagenet", (), "md5")
    if hasattr(module, "WEIGHTS_PATH"):
        assert entry.url == module.WEIGHTS_PATH
    else:
        base = getattr(module, "BASE_WEIGHTS_PATH", "") or module.BASE_WEIGHT_URL
        assert entry.url == base + entry.file
    if hasattr(module, "WEIGHTS_HASHES"):
        assert entry.checksum == module.WEIGHTS_HASHES[name.removesuffix("_keras")][0]
    else:
        assert re.findall(r'file_hash="([0-9a-f]+)"', inspect.getsource(module))[0] == entry.checksum
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8)).astype(np.float32)
    theirs = module.preprocess_input(image.copy(), data_format="channels_first")
    np.testing.assert_allclose(scaled(entry.preprocess, image), np.asarray(theirs), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", KERAS)
def test_what_keras_downloads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function = application(name)
    (entry,) = entries("keras")[name]

    class Asked(Exception):
        pass

    def get_file(file: str, origin: str, *, file_hash: str, **_: Any) -> None:
        raise Asked(file, origin, file_hash)

    monkeypatch.setattr(module.file_utils, "get_file", get_file)
    with pytest.raises(Asked) as asked:
        getattr(module, function)(weights="imagenet")
    assert asked.value.args == (entry.file, entry.url, entry.checksum)
    import keras

    keras.utils.clear_session(free_memory=False)


@pytest.mark.parametrize("publisher", PUBLISHERS)
def test_labels_are_in_the_order_of_keras_too(publisher: str) -> None:
    """Both sort classes by the number of their synset: the first, a landmark and the last are where Keras has them."""
    labels = next(iter(entries(publisher).values()))[0].labels
    assert labels
    assert (labels[0], labels[281], labels[386], labels[999]) == ("tench", "tabby", "African elephant", "toilet tissue")
