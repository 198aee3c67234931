"""Ops that move, add, drop or scale values without weights."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from cnnspec.ops.base import Canonical, Elementwise, Field, Op, OpError, maps
from cnnspec.ops.fields import Count, Edges, Number, Pair
from cnnspec.ops.shapes import Maps, Shape, Vector, elements


class Input(Op):
    """The network's input. It stands at the head of every graph and cannot be written as a layer."""

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]


class Flatten(Op):
    """Feature maps as one vector in the order channels, height, width; a vector stays as it is."""

    kind: ClassVar[str] = "flatten"

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return Vector(elements(inputs[0]))

    def field(self, inputs: Sequence[Shape]) -> Field:
        shape = inputs[0]
        if isinstance(shape, Vector):
            return Field()
        return Field((shape.height, shape.width), (shape.height, shape.width))


class ZeroPad(Op):
    """Adds zeros at [top, left, bottom, right]."""

    kind: ClassVar[str] = "zero_pad"
    main: ClassVar[str] = "padding"
    padding: Edges

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        x = maps(inputs, self.kind)
        top, left, bottom, right = self.padding
        return Maps(x.channels, x.height + top + bottom, x.width + left + right)

    def canonical(self, inputs: Sequence[Shape]) -> Canonical:
        return Canonical(self.kind, {"pads": self.padding})


class Crop(Op):
    """Takes pixels off at [top, left, bottom, right]."""

    kind: ClassVar[str] = "crop"
    main: ClassVar[str] = "edges"
    edges: Edges

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        x = maps(inputs, self.kind)
        top, left, bottom, right = self.edges
        height, width = x.height - top - bottom, x.width - left - right
        if min(height, width) < 1:
            raise OpError("empty-output", f"nothing is left of {x} after this crop", field="edges")
        return Maps(x.channels, height, width)


class Upsample(Op):
    """Enlarges the map by whole factors.

    `mode: nearest` repeats pixels; `mode: bilinear` interpolates with pixel centres at half-integers (PyTorch's
    align_corners=False).
    """

    kind: ClassVar[str] = "upsample"
    main: ClassVar[str] = "factor"
    factor: Pair
    mode: Literal["nearest", "bilinear"] = "nearest"

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        x = maps(inputs, self.kind)
        return Maps(x.channels, x.height * self.factor[0], x.width * self.factor[1])

    def field(self, inputs: Sequence[Shape]) -> Field:
        seen = 2 if self.mode == "bilinear" else 1
        extent = (seen if self.factor[0] > 1 else 1, seen if self.factor[1] > 1 else 1)
        return Field(extent, (1 / self.factor[0], 1 / self.factor[1]))


class ChannelShuffle(Elementwise):
    """Deals the channels out anew: (groups, n) becomes (n, groups), as in ShuffleNet (1707.01083)."""

    kind: ClassVar[str] = "channel_shuffle"
    main: ClassVar[str] = "groups"
    groups: Count

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        x = maps(inputs, self.kind)
        if x.channels % self.groups:
            raise OpError(
                "bad-groups", f"{x.channels} channels cannot be split into {self.groups} groups", field="groups"
            )
        return x


class Scale(Elementwise):
    """Multiplies by a constant, as Inception-ResNet does with its residuals (1602.07261)."""

    kind: ClassVar[str] = "scale"
    main: ClassVar[str] = "factor"
    factor: Number
