"""The shape of one sample: feature maps with channels, height and width, or a vector. The batch is never part of it."""

from math import prod
from typing import NamedTuple


class Maps(NamedTuple):
    """Feature maps. Axes are named; which memory layout a framework uses is its backend's affair."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return "×".join(map(str, self))


class Vector(NamedTuple):
    """A vector of features."""

    channels: int

    def __str__(self) -> str:
        return str(self.channels)


Shape = Maps | Vector


def elements(shape: Shape) -> int:
    """How many numbers a tensor of this shape has, for one sample."""
    return prod(shape)
