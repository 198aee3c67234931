"""Convolutions and the dense layer: the ops with a weight and, unless `bias` is false, a bias."""

from collections.abc import Sequence
from typing import ClassVar

from cnnspec.ops.base import Canonical, Field, Op, OpError, Param, Part, maps, vector
from cnnspec.ops.fields import Count, Padding, Pair, PairOrZero
from cnnspec.ops.shapes import Maps, Shape, Vector, elements
from cnnspec.ops.window import Window, effective, explicit, half, resolve


class _Weighted(Op):
    """`bias` adds a learned number to every output channel."""

    attaches: ClassVar[tuple[str, ...]] = ("norm", "activation")
    parameterised: ClassVar[bool] = True
    bias: bool = True

    def weight_shape(self, inputs: Sequence[Shape]) -> tuple[int, ...]:
        raise NotImplementedError

    def params(self, inputs: Sequence[Shape]) -> dict[str, Param]:
        weight = Param(self.weight_shape(inputs))
        return {"weight": weight, "bias": Param((self.outputs(inputs),))} if self.bias else {"weight": weight}

    def outputs(self, inputs: Sequence[Shape]) -> int:
        """How many channels come out."""
        return self.weight_shape(inputs)[0]


class _Windowed(_Weighted):
    """`padding: half`, the default, puts d·(k−1)/2 zeros on each side of the map, for a kernel of k pixels, d apart.

    `padding: same` is TensorFlow's formula, which puts the odd zero at the end; numbers mean zeros at [top, left,
    bottom, right]. A stride and a `dilation` do not go together, as Keras has no such layer.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = "half"

    def check(self) -> None:
        _check_dilation(
            self.stride, self.dilation, "use the dilation, then a pool or a 1×1 convolution with the stride"
        )
        explicit(self.kernel, self.dilation, self.padding, full=False)

    def window(self, inputs: Sequence[Shape]) -> Window:
        """The resolved window on this input."""
        self.check()
        return resolve(maps(inputs, self.kind), self.kernel, self.stride, self.dilation, self.padding, full=False)

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return Maps(self.outputs(inputs), *self.window(inputs).output)

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        _, *window = self.weight_shape(inputs)
        return elements(output) * window[0] * window[1] * window[2]

    def field(self, inputs: Sequence[Shape]) -> Field:
        return Field(effective(self.kernel, self.dilation), self.stride)

    def canonical(self, inputs: Sequence[Shape]) -> Canonical:
        kind, attrs = super().canonical(inputs)
        del attrs["padding"]
        return Canonical(kind, attrs | {"pads": self.window(inputs).pads})


def _check_dilation(stride: tuple[int, int], dilation: tuple[int, int], instead: str) -> None:
    if stride != (1, 1) and dilation != (1, 1):
        raise OpError(
            "strided-dilation",
            "a convolution cannot have both a stride and a dilation",
            field="dilation",
            help=f"Keras has no such layer; {instead}",
        )


def _check_groups(groups: int, channels: int, filters: int) -> None:
    for name, number in (("input channels", channels), ("filters", filters)):
        if number % groups:
            raise OpError("bad-groups", f"{number} {name} cannot be split into {groups} groups", field="groups")


class Conv(_Windowed):
    """2-D convolution (cross-correlation) of `filters` kernels over all input channels, or over those of their group.

    Weight (filters, channels / groups, height, width).
    """

    kind: ClassVar[str] = "conv"
    main: ClassVar[str] = "filters"
    filters: Count
    groups: Count = 1

    def weight_shape(self, inputs: Sequence[Shape]) -> tuple[int, ...]:
        channels = maps(inputs, self.kind).channels
        _check_groups(self.groups, channels, self.filters)
        return (self.filters, channels // self.groups, *self.kernel)


class DepthwiseConv(_Windowed):
    """2-D convolution of every input channel by itself, giving `depth_multiplier` channels for each.

    Output channel c·m + j comes from input channel c. Weight (channels·m, 1, height, width).
    """

    kind: ClassVar[str] = "depthwise_conv"
    label: ClassVar[str] = "conv"
    main: ClassVar[str] = "kernel"
    depth_multiplier: Count = 1

    def weight_shape(self, inputs: Sequence[Shape]) -> tuple[int, ...]:
        return (maps(inputs, self.kind).channels * self.depth_multiplier, 1, *self.kernel)


class SeparableConv(Op):
    """A depthwise convolution without a bias, then a 1×1 convolution to `filters` channels, nothing in between.

    It stands in the graph as these two, `depthwise` and `pointwise` (1610.02357). Kernel, stride, dilation, padding and
    `depth_multiplier` are the first one's, `bias` is the second one's.
    """

    kind: ClassVar[str] = "separable_conv"
    label: ClassVar[str] = "conv"
    main: ClassVar[str] = "filters"
    attaches: ClassVar[tuple[str, ...]] = ("norm", "activation")
    parameterised: ClassVar[bool] = True
    filters: Count
    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = "half"
    depth_multiplier: Count = 1
    bias: bool = True

    def parts(self) -> tuple[Part, ...]:
        options = ("kernel", "stride", "dilation", "padding", "depth_multiplier")
        depthwise = DepthwiseConv(bias=False, **{name: getattr(self, name) for name in options})
        pointwise = Conv(filters=self.filters, kernel=(1, 1), bias=self.bias)
        return Part("depthwise", depthwise, options), Part("pointwise", pointwise, ("filters", "bias"))

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        depthwise, pointwise = self.parts()
        return pointwise.op.shape([depthwise.op.shape(inputs)])

    def params(self, inputs: Sequence[Shape]) -> dict[str, Param]:
        depthwise, pointwise = self.parts()
        first, second = depthwise.op.params(inputs), pointwise.op.params([depthwise.op.shape(inputs)])
        return {f"depthwise.{k}": p for k, p in first.items()} | {f"pointwise.{k}": p for k, p in second.items()}

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        depthwise, pointwise = self.parts()
        middle = depthwise.op.shape(inputs)
        return depthwise.op.macs(inputs, middle) + pointwise.op.macs([middle], output)


class TransposedConv(_Weighted):
    """The gradient of a convolution used as a layer: each input pixel adds a kernel to the output, `stride` apart.

    The full output has (n−1)·stride + d·(k−1) + 1 pixels an axis. `valid`, the default, keeps it; numbers crop
    [top, left, bottom, right] off it; `half` crops d·(k−1)/2 on each side; `same` makes it n·stride, as Keras: it crops
    with TensorFlow's split, or, where the stride is larger than the kernel, adds what is missing at the bottom and
    right, as `output_padding` does. `output_padding` crops less at the bottom and right; pixels that no kernel reaches
    hold the bias alone. A stride and a `dilation` do not go together. Weight (channels, filters / groups, height,
    width).
    """

    kind: ClassVar[str] = "transposed_conv"
    label: ClassVar[str] = "conv"
    main: ClassVar[str] = "filters"
    filters: Count
    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = "valid"
    output_padding: PairOrZero = (0, 0)
    groups: Count = 1

    def weight_shape(self, inputs: Sequence[Shape]) -> tuple[int, ...]:
        channels = maps(inputs, self.kind).channels
        _check_groups(self.groups, channels, self.filters)
        return (channels, self.filters // self.groups, *self.kernel)

    def outputs(self, inputs: Sequence[Shape]) -> int:
        return self.filters

    def crop(self, inputs: Sequence[Shape]) -> tuple[int, int, int, int]:
        """Pixels taken off the full output, (top, left, bottom, right), before `extra`."""
        extent = effective(self.kernel, self.dilation)
        if self.padding == "valid":
            return 0, 0, 0, 0
        if self.padding == "half":
            return half(self.kernel, self.dilation)
        if self.padding == "same":
            surplus = [max(e - s, 0) for e, s in zip(extent, self.stride, strict=True)]
            begin = [n // 2 for n in surplus]
            return begin[0], begin[1], surplus[0] - begin[0], surplus[1] - begin[1]
        return self.padding

    def extra(self, inputs: Sequence[Shape]) -> tuple[int, int]:
        """Pixels behind the cropped output, (bottom, right): `output_padding`, and what `same` is short of."""
        extent = effective(self.kernel, self.dilation)
        short = [max(s - e, 0) if self.padding == "same" else 0 for e, s in zip(extent, self.stride, strict=True)]
        return self.output_padding[0] + short[0], self.output_padding[1] + short[1]

    def check(self) -> None:
        _check_dilation(self.stride, self.dilation, "use `upsample` in place of the stride, then a convolution")
        explicit(self.kernel, self.dilation, self.padding, full=False)
        extra = self.extra([])
        for given, total, stride, dilation in zip(self.output_padding, extra, self.stride, self.dilation, strict=True):
            if total >= max(stride, dilation):
                added = f", with the {total - given} that `same` adds," if total > given else ""
                raise OpError(
                    "bad-padding",
                    f"`output_padding` of {given}{added} must be smaller than the stride or the dilation",
                    field="output_padding",
                )

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        x = maps(inputs, self.kind)
        self.weight_shape(inputs)
        self.check()
        crop, extra = self.crop(inputs), self.extra(inputs)
        extent = effective(self.kernel, self.dilation)
        size = [
            (n - 1) * self.stride[a] + extent[a] - crop[a] - crop[a + 2] + extra[a]
            for a, n in enumerate((x.height, x.width))
        ]
        if min(size) < 1:
            raise OpError("empty-output", f"this crops the output to {size[0]}×{size[1]} pixels", field="padding")
        return Maps(self.filters, *size)

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        _, *window = self.weight_shape(inputs)
        return elements(inputs[0]) * window[0] * window[1] * window[2]

    def field(self, inputs: Sequence[Shape]) -> Field:
        seen = [-(-e // s) for e, s in zip(effective(self.kernel, self.dilation), self.stride, strict=True)]
        return Field((seen[0], seen[1]), (1 / self.stride[0], 1 / self.stride[1]))

    def canonical(self, inputs: Sequence[Shape]) -> Canonical:
        kind, attrs = super().canonical(inputs)
        del attrs["padding"]
        return Canonical(kind, attrs | {"crop": self.crop(inputs), "output_padding": self.extra(inputs)})


class Dense(_Weighted):
    """A fully connected layer, y = W·x + b, on a vector. Weight (units, features)."""

    kind: ClassVar[str] = "dense"
    main: ClassVar[str] = "units"
    units: Count

    def weight_shape(self, inputs: Sequence[Shape]) -> tuple[int, ...]:
        return self.units, vector(inputs, self.kind).channels

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        vector(inputs, self.kind)
        return Vector(self.units)

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return elements(inputs[0]) * self.units
