"""Networks of the zoo against those of keras.applications: the same graph, layer by layer."""

import os
from collections.abc import Hashable, Iterator
from typing import Any

import pytest
from zoo_peers import KERAS

from .structure import (
    Pads,
    Step,
    avg_pool,
    batch_norm,
    listing,
    max_pool,
    same,
    scale,
    size,
    spec_listing,
    weighted,
    window,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras

SLOW = ("resnet101_keras", "resnet152_keras", "inception_resnet_v2", "vgg19")  # by 3 s and more each
WITHOUT_DROPOUT = ("vgg16", "vgg19")  # the specs have the paper's, Keras leaves it out


@pytest.fixture(autouse=True)
def _cleared() -> Iterator[None]:
    yield
    keras.utils.clear_session(free_memory=False)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in KERAS])
def test_graph(name: str) -> None:
    model = getattr(keras.applications, KERAS[name])(weights=None, classifier_activation=None)
    assert spec_listing(name, skip=("dropout",) if name in WITHOUT_DROPOUT else ()) == keras_listing(model)


def keras_listing(model: keras.Model) -> list[str]:
    """A functional model; its padding layers are counted to what reads them."""
    steps: dict[Hashable, Step] = {}
    alias: dict[str, Hashable] = {}
    padding: dict[Hashable, Pads] = {}
    end: Hashable = None
    for layer in model.layers:
        inputs = [] if isinstance(layer, keras.layers.InputLayer) else _inputs(layer)
        sources = [alias[name] for name in inputs]
        if isinstance(layer, keras.layers.ZeroPadding2D):
            (top, bottom), (left, right) = layer.padding
            padding[layer.name] = top, left, bottom, right
            alias[layer.name] = sources[0]
            continue
        pads = padding.get(inputs[0]) if inputs else None
        for part, (text, reads) in enumerate(_texts(layer, pads)):
            key = layer.name, part
            steps[key] = Step(text, [end if source is None else sources[source] for source in reads])
            end = key
        alias[layer.name] = end if not isinstance(layer, keras.layers.Flatten) else sources[0]
        end = alias[layer.name]
    return listing(steps, [end])


def _inputs(layer: Any) -> list[str]:
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in tensors]


def _shape(tensor: Any) -> tuple[int, ...]:
    """Without the batch, channels first."""
    extents = tuple(tensor.shape[1:])
    return extents if len(extents) == 1 else (extents[2], *extents[:2])


def _texts(layer: Any, pads: Pads | None) -> Iterator[tuple[str, list[int | None]]]:
    """The steps of a layer and what each reads: inputs of the layer by number, None for the step before."""
    if isinstance(layer, keras.layers.Flatten):
        return
    out = _shape(layer.output)
    yield from _plain(layer, out, pads)
    fused = None if isinstance(layer, keras.layers.Activation) else getattr(layer, "activation", None)
    assert fused in (None, keras.activations.linear, keras.activations.relu), fused
    if fused is keras.activations.relu:
        yield f"relu {size(out)}", [None]


def _plain(layer: Any, out: tuple[int, ...], pads: Pads | None) -> Iterator[tuple[str, list[int | None]]]:
    """The steps of a layer without its activation."""
    match layer:
        case keras.layers.InputLayer():
            yield f"input {size(out)}", []
        case keras.layers.SeparableConv2D():
            shape = layer.depthwise_kernel.shape
            middle = (shape[2] * shape[3], *out[1:])
            place = window(layer.kernel_size, layer.strides, _pads(layer, layer.kernel_size, pads))
            yield weighted("depthwise_conv", middle, (middle[0], 1, *shape[:2]), False, place), [0]
            pointwise = window((1, 1), (1, 1), (0, 0, 0, 0))
            yield weighted("conv", out, (out[0], middle[0], 1, 1), layer.use_bias, pointwise), [None]
        case keras.layers.Conv2D():
            height, width, channels, filters = layer.kernel.shape
            place = window(layer.kernel_size, layer.strides, _pads(layer, layer.kernel_size, pads))
            yield weighted("conv", out, (filters, channels, height, width), layer.use_bias, place), [0]
        case keras.layers.Dense():
            yield weighted("dense", out, layer.kernel.shape[::-1], layer.use_bias), [0]
        case keras.layers.BatchNormalization():
            yield batch_norm(out, layer.epsilon, layer.momentum, layer.scale, layer.center), [0]
        case keras.layers.MaxPooling2D():
            edges = _pads(layer, layer.pool_size, pads)
            yield max_pool(out, layer.pool_size, layer.strides, edges), [0]
        case keras.layers.AveragePooling2D():
            edges = _pads(layer, layer.pool_size, pads)
            yield avg_pool(out, layer.pool_size, layer.strides, edges, "valid"), [0]
        case keras.layers.GlobalAveragePooling2D():
            yield f"global_avg_pool {size(out)}", [0]
        case keras.layers.Concatenate():
            yield f"concat {size(out)}", list(range(len(layer.input)))
        case keras.layers.Add():
            yield f"add {size(out)}", list(range(len(layer.input)))
        case keras.layers.Activation(activation=keras.activations.relu):
            yield f"relu {size(out)}", [0]
        case _:
            # Inception-ResNet's own layer: the first input, and the second times a constant
            assert type(layer).__name__ == "CustomScaleLayer", layer
            yield scale(layer.scale), [1]
            yield f"add {size(out)}", [0, None]


def _pads(layer: Any, kernel: tuple[int, int], before: Pads | None) -> Pads:
    """The padding of a layer, that of a padding layer before it included."""
    if layer.padding == "valid":
        return before or (0, 0, 0, 0)
    assert layer.padding == "same"
    assert before is None
    return same(_shape(layer.input)[1:], kernel, layer.strides)
