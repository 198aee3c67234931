"""Parameters of every network of the zoo, as papers, frameworks and course notes have them."""

from typing import NamedTuple

import pytest

import cnnspec


class Count(NamedTuple):
    """What the source counts: weights that train, running statistics, weights of auxiliary heads."""

    trainable: int
    statistics: int = 0
    heads: int = 0


NOTES = {  # course notes on MNIST and CIFAR-10; LeNet-5 as usually rebuilt; NIN as in its authors' Caffe file
    "mlp": Count(669_706),
    "mnist_mlp": Count(3_432_970),
    "mnist_cnn": Count(356_234),
    "cifar_cnn": Count(528_054),
    "lenet5": Count(61_706),
    "nin": Count(966_986),
}
OURS = {  # by hand: five convolutions without biases, their norms, and a dense layer
    "fashion_cnn": Count(352 + 55_552 + 221_696 + 1_290, 2 * (32 + 64 + 64 + 128 + 128)),
}
PAPERS = {
    "alexnet": Count(60_965_224),  # bvlc_alexnet
    "googlenet": Count(6_998_552, heads=13_378_280 - 6_998_552),  # bvlc_googlenet
    "inception_v2": Count(11_295_240, 20_032),  # the Caffe network, ported to PyTorch
    "se_resnet50": Count(28_088_024, 53_120),  # the authors' network with strides as in torchvision
}
TORCHVISION = {  # `num_params` of the weights, without what only training uses
    "alexnet_torchvision": Count(61_100_840),
    "googlenet_torchvision": Count(6_624_904, 14_560, 13_004_888 - 6_624_904 + 512),
    "inception_v3": Count(23_834_568, 34_432, 27_161_264 - 23_834_568 + 1_792),
    "resnet18": Count(11_689_512, 9_600),
    "resnet34": Count(21_797_672, 17_024),
    "resnet50": Count(25_557_032, 53_120),
    "resnet101": Count(44_549_160, 105_344),
    "resnet152": Count(60_192_808, 151_424),
    "squeezenet1_1": Count(1_235_496),
    "vgg11": Count(132_863_336),
    "vgg11_bn": Count(132_868_840, 5_504),
    "vgg13": Count(133_047_848),
    "vgg13_bn": Count(133_053_736, 5_888),
    "vgg16": Count(138_357_544),
    "vgg16_bn": Count(138_365_992, 8_448),
    "vgg19": Count(143_667_240),
    "vgg19_bn": Count(143_678_248, 11_008),
}
TIMM = {"inception_v4": Count(42_679_816, 63_168)}
KERAS = {  # keras.applications counts the statistics in
    "inception_resnet_v2": Count(55_873_736 - 60_544, 60_544),
    "inception_v3_keras": Count(23_851_784 - 34_432, 34_432),
    "resnet50_keras": Count(25_636_712 - 53_120, 53_120),
    "resnet101_keras": Count(44_707_176 - 105_344, 105_344),
    "resnet152_keras": Count(60_419_944 - 151_424, 151_424),
    "xception": Count(22_855_952, 54_528),
}
COUNTS = NOTES | OURS | PAPERS | TORCHVISION | TIMM | KERAS


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name: str) -> None:
    expected = COUNTS[name]
    params = cnnspec.load(name).summary().to_dict()["params"]
    assert params == {
        "total": expected.trainable + expected.statistics,
        "trainable": expected.trainable,
        "non_trainable": expected.statistics,
        "training_only": expected.heads,
    }


def test_every_network_is_counted() -> None:
    assert sorted(COUNTS) == cnnspec.zoo()
