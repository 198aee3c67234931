"""Normalisation, and dropout."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field as Constraint

from cnnspec.ops.base import Elementwise, OpError, Param, maps
from cnnspec.ops.fields import Count, Fraction, Number, Positive
from cnnspec.ops.shapes import Shape


class BatchNorm(Elementwise):
    """Normalises every channel by its mean and biased variance over batch and pixels.

    `scale` then multiplies it by a learned weight, and `shift` adds a learned bias.

    In training the running mean and variance move by running = momentum·running + (1−momentum)·batch: `momentum` is the
    fraction that is kept (Keras's and ONNX's sense; PyTorch's 0.1 is 0.9 here). `epsilon` is added to the variance.
    """

    kind: ClassVar[str] = "batch_norm"
    label: ClassVar[str] = "bn"
    attaches: ClassVar[tuple[str, ...]] = ("activation",)
    parameterised: ClassVar[bool] = True
    role: ClassVar[str] = "norm"
    epsilon: Positive = 1e-5
    momentum: Fraction = 0.9
    scale: bool = True
    shift: bool = True

    def doubt(self) -> OpError | None:
        if self.momentum >= 0.5:
            return None
        return OpError(
            "suspect-momentum",
            f"momentum {self.momentum:g} keeps next to nothing of the running statistics",
            field="momentum",
            help=f"momentum is the fraction that is kept: PyTorch's {self.momentum:g} is {1 - self.momentum:g} here",
        )

    def params(self, inputs: Sequence[Shape]) -> dict[str, Param]:
        channels = (inputs[0].channels,)
        params = {}
        if self.scale:
            params["weight"] = Param(channels)
        if self.shift:
            params["bias"] = Param(channels)
        return params | {
            "running_mean": Param(channels, trainable=False),
            "running_var": Param(channels, trainable=False),
        }


class LayerNorm(Elementwise):
    """Normalises each sample, pixel by pixel, by the mean and biased variance over its channels.

    `scale` then multiplies every channel by a learned weight, and `shift` adds a learned bias. `epsilon` is added to
    the variance.
    """

    kind: ClassVar[str] = "layer_norm"
    label: ClassVar[str] = "ln"
    attaches: ClassVar[tuple[str, ...]] = ("activation",)
    parameterised: ClassVar[bool] = True
    role: ClassVar[str] = "norm"
    epsilon: Positive = 1e-5
    scale: bool = True
    shift: bool = True

    def params(self, inputs: Sequence[Shape]) -> dict[str, Param]:
        channels = (inputs[0].channels,)
        names = [name for name, on in (("weight", self.scale), ("bias", self.shift)) if on]
        return {name: Param(channels) for name in names}


class LocalResponseNorm(Elementwise):
    """Divides by (k + alpha·Σx²)^beta, the sum over `size` neighbouring channels, an odd number.

    This is the formula of AlexNet's paper (alpha 1e-4, beta 0.75, k 2); Caffe and PyTorch divide alpha by `size`.
    """

    kind: ClassVar[str] = "lrn"
    main: ClassVar[str] = "size"
    role: ClassVar[str] = "norm"
    size: Count = 5
    alpha: Number = 1e-4
    beta: Number = 0.75
    k: Number = 2.0

    def check(self) -> None:
        if self.size % 2 == 0:
            raise OpError(
                "even-kernel",
                f"the neighbourhood must be an odd number of channels, not {self.size}",
                field="size",
            )

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        self.check()
        return maps(inputs, self.kind)


DropProbability = Annotated[float, Constraint(ge=0, lt=1, description="A probability from 0 up to, not including, 1.")]


class Dropout(Elementwise):
    """In training sets each value to 0 with probability `rate` and divides the others by 1−rate; else the identity."""

    kind: ClassVar[str] = "dropout"
    main: ClassVar[str] = "rate"
    drops: ClassVar[bool] = True
    rate: DropProbability


class SpatialDropout(Elementwise):
    """Dropout of whole channels: in training a map is 0 with probability `rate`, the others are divided by 1−rate."""

    kind: ClassVar[str] = "spatial_dropout"
    main: ClassVar[str] = "rate"
    drops: ClassVar[bool] = True
    rate: DropProbability

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return maps(inputs, self.kind)
