"""Activations: elementwise functions, and softmax over the channels."""

from collections.abc import Sequence
from typing import ClassVar

from cnnspec.ops.base import Elementwise, Param
from cnnspec.ops.fields import Number
from cnnspec.ops.shapes import Shape


class _Activation(Elementwise):
    role: ClassVar[str] = "activation"


class Relu(_Activation):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"


class Relu6(_Activation):
    """min(max(x, 0), 6)."""

    kind: ClassVar[str] = "relu6"
    label: ClassVar[str] = "relu"


class LeakyRelu(_Activation):
    """x where x ≥ 0, slope·x elsewhere."""

    kind: ClassVar[str] = "leaky_relu"
    main: ClassVar[str] = "slope"
    slope: Number = 0.01


class PRelu(_Activation):
    """x where x ≥ 0, a·x elsewhere, with a learned slope for every channel (1502.01852)."""

    kind: ClassVar[str] = "prelu"
    parameterised: ClassVar[bool] = True

    def params(self, inputs: Sequence[Shape]) -> dict[str, Param]:
        return {"weight": Param((inputs[0].channels,))}


class Elu(_Activation):
    """x where x ≥ 0, alpha·(exp(x) − 1) elsewhere (1511.07289)."""

    kind: ClassVar[str] = "elu"
    main: ClassVar[str] = "alpha"
    alpha: Number = 1.0


class Selu(_Activation):
    """1.0507·elu(x, 1.67326), the constants of 1706.02515 in full precision."""

    kind: ClassVar[str] = "selu"


class Gelu(_Activation):
    """x·Φ(x), Φ the normal distribution function; `approximate` takes the tanh formula of 1606.08415 instead."""

    kind: ClassVar[str] = "gelu"
    approximate: bool = False


class Silu(_Activation):
    """x·sigmoid(x), also called swish."""

    kind: ClassVar[str] = "silu"


class Mish(_Activation):
    """x·tanh(log(1 + exp(x))) (1908.08681)."""

    kind: ClassVar[str] = "mish"


class HardSigmoid(_Activation):
    """min(max(x/6 + 1/2, 0), 1)."""

    kind: ClassVar[str] = "hard_sigmoid"


class HardSwish(_Activation):
    """x·hard_sigmoid(x) (1905.02244)."""

    kind: ClassVar[str] = "hard_swish"


class HardTanh(_Activation):
    """min(max(x, −1), 1)."""

    kind: ClassVar[str] = "hard_tanh"


class Sigmoid(_Activation):
    """1 / (1 + exp(−x))."""

    kind: ClassVar[str] = "sigmoid"


class Tanh(_Activation):
    """The hyperbolic tangent."""

    kind: ClassVar[str] = "tanh"


class Softmax(_Activation):
    """exp(x) / Σ exp(x), the sum over the channels of a pixel or the features of a vector."""

    kind: ClassVar[str] = "softmax"
