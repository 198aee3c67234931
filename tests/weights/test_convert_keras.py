"""Weights of keras.applications, saved by Keras, read and written back."""

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnspec
from cnnspec.graph import Graph
from cnnspec.weights.contract import contract
from cnnspec.weights.convert import read_foreign, write_foreign

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")

QUICK = {"xception": "Xception"}
SLOW = {
    "inception_resnet_v2": "InceptionResNetV2",
    "inception_v3_keras": "InceptionV3",
    "resnet50_keras": "ResNet50",
    "resnet101_keras": "ResNet101",
    "resnet152_keras": "ResNet152",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
}
CASES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
SUFFIXES = [".weights.h5", ".h5", ".keras"]


@pytest.fixture(autouse=True)
def _cleared() -> Iterator[None]:
    yield
    keras.utils.clear_session(free_memory=False)


def randomised(model: Any) -> Any:
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(array.shape, np.float32) for array in model.weights])
    return model


def save(model: Any, path: Path) -> Path:
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return path


def walk(end: Any, key: Callable[[Any], Hashable], inputs: Callable[[Any], Sequence[Any]], *sums: str) -> list[Any]:
    """What leads to `end`, everything behind what it reads, the longest way to a sum first: no name plays a part."""
    depths: dict[Hashable, int] = {}
    order: list[Any] = []
    todo = [end]
    while todo:
        here = todo[-1]
        waiting = [source for source in inputs(here) if key(source) not in depths]
        if waiting:
            todo += waiting
            continue
        todo.pop()
        depths.setdefault(key(here), 1 + max((depths[key(source)] for source in inputs(here)), default=0))
    met = set()
    todo = [(end, False)]
    while todo:
        here, done = todo.pop()
        if done:
            order.append(here)
        elif key(here) not in met:
            met.add(key(here))
            sources = list(inputs(here))
            if type(here).__name__ in sums or getattr(getattr(here, "op", None), "kind", "") in sums:
                sources.sort(key=lambda source: -depths[key(source)])
            todo += [(here, True), *((source, False) for source in reversed(sources))]
    return order


def expected(model: Any, graph: Graph) -> dict[str, Any]:
    """Our parameters from Keras's layers, by place in the graph alone."""
    layers = walk(model.layers[-1], lambda layer: layer.name, sources, "Add", "CustomScaleLayer")
    arrays = iter([array for layer in layers if layer.weights for array in canonical(layer)])
    nodes = walk(graph.outputs[0].node, lambda node: node.index, lambda node: node.inputs, "add")
    found = {f"{node.path}.{name}": next(arrays) for node in nodes for name in node.params}
    assert next(arrays, None) is None
    return found


def sources(layer: Any) -> list[Any]:
    if isinstance(layer, keras.layers.InputLayer):
        return []
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation for tensor in tensors]


def canonical(layer: Any) -> Iterable[Any]:
    """The arrays of a layer of Keras, moved axis by axis."""
    arrays = layer.get_weights()
    match layer:
        case keras.layers.SeparableConv2D():
            yield depthwise(arrays[0])
            yield np.einsum("hwio->oihw", arrays[1])
        case keras.layers.DepthwiseConv2D():
            yield depthwise(arrays[0])
        case keras.layers.Conv2D():
            yield np.einsum("hwio->oihw", arrays[0])
        case keras.layers.Conv2DTranspose():
            yield np.einsum("hwoi->iohw", arrays[0])
        case keras.layers.Dense():
            yield dense(layer, arrays[0])
        case _:
            yield from (array.squeeze() for array in arrays[:1])
    yield from arrays[2 if isinstance(layer, keras.layers.SeparableConv2D) else 1 :]


def depthwise(kernel: Any) -> Any:
    height, width, inputs, each = kernel.shape
    return np.stack([kernel[:, :, i, m] for i in range(inputs) for m in range(each)]).reshape(-1, 1, height, width)


def dense(layer: Any, kernel: Any) -> Any:
    """What flattens images gives rows of pixels of channels; ours are channels of rows."""
    (before,) = sources(layer)
    while isinstance(before, keras.layers.Dropout | keras.layers.BatchNormalization):
        (before,) = sources(before)
    if not isinstance(before, keras.layers.Flatten):
        return kernel.T
    return np.einsum("hwco->ochw", kernel.reshape(*before.input.shape[1:], -1)).reshape(kernel.shape[1], -1)


def assert_there_and_back(model: Any, graph: Graph, folder: Path, suffixes: Sequence[str]) -> None:
    wanted, own = expected(model, graph), model.get_weights()
    assert wanted.keys() == contract(graph).keys()
    for suffix in suffixes:
        with read_foreign(graph, "keras", save(model, folder / f"peer{suffix}")) as weights:
            assert len(weights) == len(wanted)
            for key, array in wanted.items():
                np.testing.assert_array_equal(weights[key], array, strict=True, err_msg=f"{key} in {suffix}")
            if suffix == ".keras":
                continue
            write_foreign(graph, "keras", folder / f"back{suffix}", weights)
        model.set_weights([np.zeros_like(array) for array in own])
        model.load_weights(folder / f"back{suffix}")
        for array, back in zip(own, model.get_weights(), strict=True):
            np.testing.assert_array_equal(back, array, strict=True)


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    application = getattr(keras.applications, (QUICK | SLOW)[name])
    if name == "xception":
        keras.layers.Conv2D(1, 1)  # so that the layers Keras numbers do not begin with the first number
    model = randomised(application(weights=None, classes=10))
    graph = cnnspec.load(name, classes=10).graph
    assert_there_and_back(model, graph, tmp_path, SUFFIXES if name == "xception" else SUFFIXES[:1])


@pytest.mark.slow
def test_vgg_with_small_images(tmp_path: Path) -> None:
    model = randomised(keras.applications.VGG16(weights=None, input_shape=(64, 64, 3), classes=10))
    graph = cnnspec.load("vgg16", params={"input.size": 64}, classes=10).graph
    assert_there_and_back(model, graph, tmp_path, SUFFIXES[:1])


EVERY_LAYER = """cnnspec: 1
name: every_layer
input: {channels: 3, size: [6, 8]}
layers:
  - {conv: 4, kernel: 3, name: conv}
  - {depthwise_conv: 3, depth_multiplier: 2, name: depthwise}
  - {prelu: {}, name: slopes}
  - {layer_norm: {}, name: norm}
  - {transposed_conv: 5, kernel: 2, stride: 2, name: up}
  - {batch_norm: {}, name: bn}
  - flatten
  - {batch_norm: {scale: false}, name: bn_of_features}
  - {dense: 7, name: hidden}
  - {dense: 3, name: fc}
"""


def every_layer() -> Any:
    """The network above as Keras has it, with the paths as names."""
    layers = keras.layers
    return randomised(
        keras.Sequential(
            [
                layers.Input((6, 8, 3)),
                layers.Conv2D(4, 3, padding="same", name="conv"),
                layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise"),
                layers.PReLU(shared_axes=[1, 2], name="slopes"),
                layers.LayerNormalization(name="norm"),
                layers.Conv2DTranspose(5, 2, strides=2, name="up"),
                layers.BatchNormalization(name="bn"),
                layers.Flatten(),
                layers.BatchNormalization(scale=False, name="bn_of_features"),
                layers.Dropout(0.5),
                layers.Dense(7, name="hidden"),
                layers.Dense(3, name="fc"),
            ]
        )
    )


def test_every_layer_under_its_path(tmp_path: Path) -> None:
    (tmp_path / "every_layer.yaml").write_text(EVERY_LAYER)
    graph = cnnspec.load(tmp_path / "every_layer.yaml").graph
    model = every_layer()
    wanted = expected(model, graph)
    features = np.arange(12 * 16 * 5).reshape(12, 16, 5).transpose(2, 0, 1).ravel()
    for key in [key for key in wanted if key.startswith("bn_of_features")]:
        wanted[key] = wanted[key][features]
    own = model.get_weights()
    for suffix in SUFFIXES:
        with read_foreign(graph, "keras", save(model, tmp_path / f"own{suffix}")) as weights:
            for key in contract(graph):
                np.testing.assert_array_equal(weights[key], wanted[key], strict=True, err_msg=f"{key} in {suffix}")
            write_foreign(graph, "keras", tmp_path / "back.weights.h5", weights)
        model.set_weights([np.zeros_like(array) for array in own])
        model.load_weights(tmp_path / "back.weights.h5")
        for array, back in zip(own, model.get_weights(), strict=True):
            np.testing.assert_array_equal(back, array, strict=True)


def test_an_optimiser_and_frozen_layers_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "every_layer.yaml").write_text(EVERY_LAYER)
    graph = cnnspec.load(tmp_path / "every_layer.yaml").graph
    model = every_layer()
    model.compile("adam", "mse")
    model.get_layer("bn").trainable = False
    model.fit(np.ones((2, 6, 8, 3), np.float32), np.ones((2, 3), np.float32), verbose=0)
    bn = dict(zip(("weight", "bias", "running_mean", "running_var"), model.get_layer("bn").get_weights(), strict=True))
    for suffix in SUFFIXES:
        with read_foreign(graph, "keras", save(model, tmp_path / f"trained{suffix}")) as weights:
            assert len(weights) == len(contract(graph))
            for name, array in bn.items():
                np.testing.assert_array_equal(weights[f"bn.{name}"], array)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_groups_without_names(suffix: str, tmp_path: Path) -> None:
    """Keras 3 began without them; an archive has its configuration to tell."""
    import shutil
    import zipfile

    import h5py

    (tmp_path / "every_layer.yaml").write_text(EVERY_LAYER)
    graph = cnnspec.load(tmp_path / "every_layer.yaml").graph
    model = every_layer()
    with zipfile.ZipFile(save(model, tmp_path / "own.keras")) as archive:
        archive.extractall(tmp_path)
    with h5py.File(tmp_path / "model.weights.h5", "a") as file:
        for group in file["layers"].values():
            if "vars" in group:
                del group["vars"].attrs["name"]
    path = tmp_path / f"old{suffix}"
    if suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
            archive.write(tmp_path / "config.json", "config.json")
        with read_foreign(graph, "keras", path) as weights:
            np.testing.assert_array_equal(weights["fc.bias"], model.get_layer("fc").get_weights()[1])
    else:
        shutil.copy(tmp_path / "model.weights.h5", path)
        with pytest.raises(cnnspec.SpecError, match="does not say what its layers are called"):
            read_foreign(graph, "keras", path)


def test_a_file_of_keras_2(tmp_path: Path) -> None:
    """By group and order: the names of its arrays come from TensorFlow."""
    import h5py

    (tmp_path / "small.yaml").write_text(
        "cnnspec: 1\nname: small\ninput: {channels: 3, size: 4}\nlayers: [{conv: 2, kernel: 1, name: block1_conv1}]\n"
    )
    kernel, bias = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2), np.array([7, 8], np.float32)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names"] = [b"input_1", b"block1_conv1"]
        file.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        group = file.create_group("block1_conv1")
        group.attrs["weight_names"] = [b"block1_conv1_W_1:0", b"block1_conv1_b_1:0"]
        group["block1_conv1_W_1:0"], group["block1_conv1_b_1:0"] = kernel, bias
    with read_foreign(cnnspec.load(tmp_path / "small.yaml").graph, "keras", tmp_path / "old.h5") as weights:
        assert weights["block1_conv1.weight"].squeeze().tolist() == [[0, 2, 4], [1, 3, 5]]
        assert weights["block1_conv1.bias"].tolist() == [7, 8]
