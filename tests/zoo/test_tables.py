"""Sizes and parameters block by block, for the networks that no framework of the tests ships.

The numbers are those of the papers' tables and of the Caffe and timm networks, not of cnnspec.
"""

from math import prod
from typing import Any

import pytest
from zoo_peers import KERAS, TORCHVISION

import cnnspec

Table = dict[str, tuple[tuple[int, ...], int]]

GOOGLENET: Table = {
    "conv1": ((64, 112, 112), 9_472),
    "max_pool1": ((64, 56, 56), 0),
    "conv2": ((64, 56, 56), 4_160),
    "conv3": ((192, 56, 56), 110_784),
    "max_pool2": ((192, 28, 28), 0),
    "inception3a": ((256, 28, 28), 163_696),
    "inception3b": ((480, 28, 28), 388_736),
    "max_pool3": ((480, 14, 14), 0),
    "inception4a": ((512, 14, 14), 376_176),
    "inception4b": ((512, 14, 14), 449_160),
    "inception4c": ((512, 14, 14), 510_104),
    "inception4d": ((528, 14, 14), 605_376),
    "inception4e": ((832, 14, 14), 868_352),
    "max_pool4": ((832, 7, 7), 0),
    "inception5a": ((832, 7, 7), 1_043_456),
    "inception5b": ((1024, 7, 7), 1_444_080),
    "global_avg_pool": ((1024,), 0),
    "fc": ((1000,), 1_025_000),
    "aux1": ((1000,), 3_188_840),
    "aux2": ((1000,), 3_190_888),
}
INCEPTION_V2: Table = {
    "conv1": ((64, 112, 112), 9_600),
    "conv2": ((64, 56, 56), 4_288),
    "conv3": ((192, 56, 56), 111_168),
    "inception3a": ((256, 28, 28), 219_552),
    "inception3b": ((320, 28, 28), 260_704),
    "inception3c": ((576, 14, 14), 385_632),
    "inception4a": ((576, 14, 14), 610_848),
    "inception4b": ((576, 14, 14), 666_240),
    "inception4c": ((608, 14, 14), 915_456),
    "inception4d": ((608, 14, 14), 1_144_000),
    "inception4e": ((1056, 7, 7), 1_451_008),
    "inception5a": ((1024, 7, 7), 2_210_496),
    "inception5b": ((1024, 7, 7), 2_281_248),
    "fc": ((1000,), 1_025_000),
}
INCEPTION_V4: Table = {
    "conv1": ((32, 149, 149), 928),
    "conv2": ((32, 147, 147), 9_280),
    "conv3": ((64, 147, 147), 18_560),
    "mixed3a": ((160, 73, 73), 55_488),
    "mixed4a": ((192, 71, 71), 189_312),
    "mixed5a": ((384, 35, 35), 332_160),
    "inception_a": ((384, 35, 35), 4 * 317_632),
    "reduction_a": ((1024, 17, 17), 2_306_112),
    "inception_b": ((1024, 17, 17), 7 * 2_936_256),
    "reduction_b": ((1536, 8, 8), 2_747_392),
    "inception_c": ((1536, 8, 8), 3 * 4_553_088),
    "fc": ((1000,), 1_537_000),
}
ALEXNET: Table = {
    "conv1": ((96, 55, 55), 34_944),
    "max_pool1": ((96, 27, 27), 0),
    "conv2": ((256, 27, 27), 307_456),
    "max_pool2": ((256, 13, 13), 0),
    "conv3": ((384, 13, 13), 885_120),
    "conv4": ((384, 13, 13), 663_936),
    "conv5": ((256, 13, 13), 442_624),
    "max_pool3": ((256, 6, 6), 0),
    "fc6": ((4096,), 37_752_832),
    "fc7": ((4096,), 16_781_312),
    "fc8": ((1000,), 4_097_000),
}
NIN: Table = {
    "mlpconv1.conv1": ((192, 32, 32), 14_592),
    "mlpconv1.conv2": ((160, 32, 32), 30_880),
    "mlpconv1.conv3": ((96, 32, 32), 15_456),
    "max_pool": ((96, 16, 16), 0),
    "mlpconv2": ((192, 16, 16), 460_992 + 37_056 + 37_056),
    "avg_pool": ((192, 8, 8), 0),
    "mlpconv3": ((10, 8, 8), 331_968 + 37_056 + 1_930),
    "global_avg_pool": ((10,), 0),
}
LENET5: Table = {
    "c1": ((6, 28, 28), 156),
    "s2": ((6, 14, 14), 0),
    "c3": ((16, 10, 10), 2_416),
    "s4": ((16, 5, 5), 0),
    "c5": ((120,), 48_120),
    "f6": ((84,), 10_164),
    "output": ((10,), 850),
}
MLP: Table = {
    "hidden1": ((512,), 401_920),
    "hidden2": ((512,), 262_656),
    "fc": ((10,), 5_130),
}
MNIST_MLP: Table = {
    "hidden1": ((1024,), 803_840),
    "hidden2": ((1024,), 1_049_600),
    "hidden3": ((1024,), 1_049_600),
    "hidden4": ((512,), 524_800),
    "fc": ((10,), 5_130),
}
MNIST_CNN: Table = {
    "block1": ((32, 14, 14), 320),
    "block2": ((64, 7, 7), 18_496),
    "block3": ((128, 4, 4), 73_856),
    "fc1": ((128,), 262_272),
    "fc2": ((10,), 1_290),
}
CIFAR_CNN: Table = {
    "block1": ((16, 16, 16), 208),
    "block2": ((32, 8, 8), 2_080),
    "block3": ((64, 4, 4), 8_256),
    "fc1": ((500,), 512_500),
    "fc2": ((10,), 5_010),
}
FASHION_CNN: Table = {  # weights of convolutions, and two numbers a channel for each norm
    "stem": ((32, 28, 28), 9 * 32 + 2 * 32),
    "block1": ((64, 7, 7), 9 * 32 * 64 + 9 * 64 * 64 + 4 * 64),
    "block2": ((128, 7, 7), 9 * 64 * 128 + 9 * 128 * 128 + 4 * 128),
    "fc": ((10,), 1_290),
}
SE_RESNET50: Table = {  # a gate on C channels has 2·C·C/16 weights and C/16 + C biases
    "layer1.0.se": ((256, 56, 56), 8_464),
    "layer2.0.se": ((512, 28, 28), 33_312),
    "layer3.0.se": ((1024, 14, 14), 132_160),
    "layer4.0.se": ((2048, 7, 7), 526_464),
    "layer1": ((256, 56, 56), 215_808 + 3 * 8_464),  # that of ResNet-50 and its gates
    "layer4": ((2048, 7, 7), 14_964_736 + 3 * 526_464),
}
TABLES = {
    "alexnet": ALEXNET,
    "cifar_cnn": CIFAR_CNN,
    "fashion_cnn": FASHION_CNN,
    "googlenet": GOOGLENET,
    "inception_v2": INCEPTION_V2,
    "inception_v4": INCEPTION_V4,
    "lenet5": LENET5,
    "mlp": MLP,
    "mnist_cnn": MNIST_CNN,
    "mnist_mlp": MNIST_MLP,
    "nin": NIN,
    "se_resnet50": SE_RESNET50,
}


@pytest.mark.parametrize("name", TABLES)
def test_blocks(name: str) -> None:
    graph = cnnspec.load(name).graph
    found: Table = {}
    for path in TABLES[name]:
        nodes = [node for node in graph.nodes if node.path == path or node.path.startswith(path + ".")]
        trained = [param for node in nodes for param in node.params.values() if param.trainable]
        found[path] = tuple(nodes[-1].shape), sum(prod(param.shape) for param in trained)
    assert found == TABLES[name]


def test_every_network_is_compared() -> None:
    assert sorted({*TABLES, *TORCHVISION, *KERAS}) == cnnspec.zoo()


OPTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("alexnet", "lrn1", {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}),
    ("alexnet", "conv2", {"groups": 2}),
    ("alexnet", "conv3", {"groups": 1}),
    ("googlenet", "lrn1", {"size": 5, "alpha": 2e-5, "beta": 0.75, "k": 1.0}),
    ("googlenet", "dropout", {"rate": 0.4}),
    ("googlenet", "aux1.dropout", {"rate": 0.7}),
    ("inception_v2", "inception5a.branch4.0", {"kind": "avg_pool", "divisor": "padded"}),
    ("inception_v2", "inception5b.branch4.1", {"kind": "max_pool"}),
    ("inception_v4", "inception_a.0.branch3.0", {"kind": "avg_pool", "divisor": "valid"}),
    ("inception_v4", "conv1.bn", {"epsilon": 1e-3, "momentum": 0.9, "scale": True}),
    ("nin", "avg_pool", {"divisor": "valid", "ceil_mode": True}),
    ("se_resnet50", "layer1.0.shortcut.conv", {"bias": False}),
    ("lenet5", "c1.tanh", {"kind": "tanh"}),
]


@pytest.mark.parametrize(("name", "path", "options"), OPTIONS, ids=[f"{name}-{path}" for name, path, _ in OPTIONS])
def test_options(name: str, path: str, options: dict[str, Any]) -> None:
    """What neither shapes nor counts show."""
    (op,) = (node.op for node in cnnspec.load(name).graph.nodes if node.path == path)
    assert {key: getattr(op, key) for key in options} == options


@pytest.mark.parametrize("name", ["googlenet", "googlenet_torchvision"])
def test_auxiliary_heads(name: str) -> None:
    """The paper's: on 4a and 4d, in training only, with a weight of 0.3."""
    net = cnnspec.load(name)
    assert [head.source.expr.value for head in net.spec.outputs] == ["inception4a", "inception4d"]
    outputs = [(output.name, output.training_only, output.loss_weight) for output in net.graph.outputs]
    assert outputs == [("main", False, 1.0), ("aux1", True, 0.3), ("aux2", True, 0.3)]
