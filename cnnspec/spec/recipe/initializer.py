"""Where weights start.

Every initialiser but the constant ones draws from the recipe's `seed` and the path of the parameter, so that
a network starts from the same values in every framework.

fan_in is the number of weights that lead to one output value of the layer (a convolution, transposed or not:
input channels of its group times the kernel area), fan_out that of output channels times the kernel area (a
dense layer: units). A bias has the fans of the weight beside it.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cnnspec.ops.fields import Number, Positive
from cnnspec.spec.recipe.fields import Limits
from cnnspec.spec.tagged import OneOf, Strict, Tagged

Mode = Literal["fan_in", "fan_out", "fan_average"]
Distribution = Literal["normal", "truncated_normal", "uniform"]


class Zeros(Tagged):
    """All 0."""

    kind = "zeros"


class Ones(Tagged):
    """All 1."""

    kind = "ones"


class ConstantValue(Tagged):
    """All `value`."""

    kind = "constant"
    main = "value"

    value: Number


class Normal(Tagged):
    """Normal, with deviation `std` about `mean`."""

    kind = "normal"
    main = "std"

    std: Positive
    mean: Number = 0.0


class TruncatedNormal(Tagged):
    """Normal, drawn again where it is more than 2·`std` from `mean`; `std` is the deviation before that."""

    kind = "truncated_normal"
    main = "std"

    std: Positive
    mean: Number = 0.0


class Uniform(Tagged):
    """Even between two `limits`."""

    kind = "uniform"
    main = "limits"

    limits: Limits


class VarianceScaling(Tagged):
    """Mean 0 and variance `scale` / fan, where `mode` says which fan: fan_in, fan_out or their average.

    The `distribution` `truncated_normal` is cut at twice the deviation and widened, so that its variance is
    right after the cut.
    """

    kind = "variance_scaling"

    scale: Positive = 1.0
    mode: Mode = "fan_in"
    distribution: Distribution = "truncated_normal"


class _Scaled(Tagged):
    """A variance scaling by a name of its own."""

    scale: ClassVar[float]
    mode: ClassVar[Mode] = "fan_in"
    distribution: ClassVar[Distribution]


class HeNormal(_Scaled):
    """Normal with variance 2 / fan_in. Keras cuts it at twice the deviation, as `variance_scaling` can."""

    kind = "he_normal"
    scale = 2.0
    distribution = "normal"


class HeUniform(_Scaled):
    """Even, with variance 2 / fan_in: ±√(6 / fan_in)."""

    kind = "he_uniform"
    scale = 2.0
    distribution = "uniform"


class GlorotNormal(_Scaled):
    """Normal with variance 2 / (fan_in + fan_out).

    Keras cuts it at twice the deviation, as `variance_scaling` can.
    """

    kind = "glorot_normal"
    scale = 1.0
    mode = "fan_average"
    distribution = "normal"


class GlorotUniform(_Scaled):
    """Even, with variance 2 / (fan_in + fan_out): ±√(6 / (fan_in + fan_out))."""

    kind = "glorot_uniform"
    scale = 1.0
    mode = "fan_average"
    distribution = "uniform"


class LecunNormal(_Scaled):
    """Normal with variance 1 / fan_in. Keras cuts it at twice the deviation, as `variance_scaling` can."""

    kind = "lecun_normal"
    scale = 1.0
    distribution = "normal"


class LecunUniform(_Scaled):
    """Even, with variance 1 / fan_in: ±√(3 / fan_in)."""

    kind = "lecun_uniform"
    scale = 1.0
    distribution = "uniform"


class FanInUniform(_Scaled):
    """Even between ±1 / √fan_in: what PyTorch's layers start from, weights and biases."""

    kind = "fan_in_uniform"
    scale = 1 / 3
    distribution = "uniform"


class Orthogonal(Tagged):
    """A random matrix with orthonormal rows, or columns if these are fewer, times `gain`. For weights only.

    Its rows are the output channels, its columns all else.
    """

    kind = "orthogonal"
    main = "gain"

    gain: Positive = 1.0


Initializer = Annotated[
    Zeros
    | Ones
    | ConstantValue
    | Normal
    | TruncatedNormal
    | Uniform
    | HeNormal
    | HeUniform
    | GlorotNormal
    | GlorotUniform
    | LecunNormal
    | LecunUniform
    | FanInUniform
    | VarianceScaling
    | Orthogonal,
    OneOf(),
]


class LayerInitializers(Strict):
    """Initialisers for single layers: of their `weight` and `bias` (of a norm: its scale and its shift)."""

    weight: Initializer | None = None
    bias: Initializer | None = None


class Initializers(Strict):
    """What parameters start from: weights of all convolutions (`conv`) and `dense` layers, and each `bias`.

    `layers` says it for single layers by path or pattern, as in `{"fc*": {bias: {constant: 1}}}`; the last
    that matches counts. Norms start with scale 1 and shift 0, `prelu` with the slope 0.25.
    """

    conv: Initializer = Field(default_factory=HeNormal)
    dense: Initializer = Field(default_factory=GlorotUniform)
    bias: Initializer = Field(default_factory=Zeros)
    layers: dict[str, LayerInitializers] = Field(default={})
