"""Names that people bring from Keras, PyTorch and Caffe, and what they are called here: help for unknown ones."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cnnspec.diagnostics import did_you_mean, nearest

# Keys are without case, underscores and the dimension in the name: `MaxPooling2D` and `max_pooling` are `maxpooling`.
_SAME = {
    # layers
    "activation": "relu",
    "averagepooling": "avg_pool",
    "batchnormalization": "batch_norm",
    "bn": "batch_norm",
    "cat": "concat",
    "concatenate": "concat",
    "convolution": "conv",
    "convtranspose": "transposed_conv",
    "cropping": "crop",
    "deconv": "transposed_conv",
    "depthwise": "depthwise_conv",
    "fc": "dense",
    "fullyconnected": "dense",
    "gap": "global_avg_pool",
    "globalaveragepooling": "global_avg_pool",
    "globalmaxpooling": "global_max_pool",
    "layernormalization": "layer_norm",
    "linear": "dense",
    "localresponsenorm": "lrn",
    "maxpooling": "max_pool",
    "pixelshuffle": "upsample",
    "pooling": "max_pool",
    "separableconvolution": "separable_conv",
    "upsampling": "upsample",
    "zeropadding": "zero_pad",
    # activations
    "hswish": "hard_swish",
    "hardsilu": "hard_swish",
    "lrelu": "leaky_relu",
    "swish": "silu",
    # options
    "act": "activation",
    "alpha": "slope",
    "activationfn": "activation",
    "center": "shift",
    "countincludepad": "divisor",
    "dilationrate": "dilation",
    "eps": "epsilon",
    "group": "groups",
    "kernelsize": "kernel",
    "layers": "body",
    "nonlinearity": "activation",
    "normalization": "norm",
    "numfilters": "filters",
    "outchannels": "filters",
    "outfeatures": "units",
    "outputpadding": "output_padding",
    "outputshape": "output",
    "outputsize": "output",
    "p": "rate",
    "pad": "padding",
    "poolsize": "size",
    "negativeslope": "slope",
    "scalefactor": "factor",
    "strides": "stride",
    "usebias": "bias",
}
_ELSEWHERE = {
    "affine": "it is `scale` and `shift` here",
    "dataformat": "a spec knows no memory layout; each backend has its own",
    "inchannels": "input channels are never written: they follow from the layer before",
    "infeatures": "input features are never written: they follow from the layer before",
    "inputdim": "the size of the input belongs into `input:`",
    "inputshape": "the size of the input belongs into `input:`",
    "inputsize": "the size of the input belongs into `input:`",
    "kernelinitializer": "first weights are the recipe's: `train: {initializers: …}`",
    "kernelregularizer": "weight decay is the recipe's: `train: {optimizer: …}`",
    "paddingmode": "padding is of zeros",
    "trainable": "what is frozen is said in `transfer:`",
}
_DIMENSION = re.compile(r"[23]d|_|-| ")


def suggest(name: str, known: Iterable[str]) -> tuple[str, str]:
    """What an unknown name was probably meant to be (empty if nothing is near), and the help that says so."""
    names = list(known)
    if name in names:
        return name, ""
    plain = _DIMENSION.sub("", name.lower())
    same = next((other for other in names if other.replace("_", "") == plain), _SAME.get(plain, ""))
    if plain in _ELSEWHERE:
        return "", _ELSEWHERE[plain]
    if same in names:
        return same, f"did you mean `{same}`?"
    if ":" in name:
        key, _, value = name.partition(":")
        return "", f"a colon needs a space behind it: `{key}: {value}`" if key in names else ""
    near = nearest(name, names)
    return near, f"did you mean `{near}`?" if near else did_you_mean(name, names)
