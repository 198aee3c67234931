"""Which network of the zoo is which of a framework's."""

TORCHVISION = {
    "alexnet_torchvision": "alexnet",
    "googlenet_torchvision": "googlenet",
    "inception_v3": "inception_v3",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
    "squeezenet1_1": "squeezenet1_1",
    "vgg11": "vgg11",
    "vgg11_bn": "vgg11_bn",
    "vgg13": "vgg13",
    "vgg13_bn": "vgg13_bn",
    "vgg16": "vgg16",
    "vgg16_bn": "vgg16_bn",
    "vgg19": "vgg19",
    "vgg19_bn": "vgg19_bn",
}
KERAS = {
    "inception_resnet_v2": "InceptionResNetV2",
    "inception_v3_keras": "InceptionV3",
    "resnet50_keras": "ResNet50",
    "resnet101_keras": "ResNet101",
    "resnet152_keras": "ResNet152",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "xception": "Xception",
}
