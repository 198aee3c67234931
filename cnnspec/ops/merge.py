"""Ops that take several inputs."""

from collections.abc import Sequence
from typing import ClassVar

from cnnspec.ops.base import Op, OpError
from cnnspec.ops.shapes import Maps, Shape, Vector


class _Merge(Op):
    merges: ClassVar[bool] = True
    attaches: ClassVar[tuple[str, ...]] = ("activation",)


def _mismatch(kind: str, need: str, inputs: Sequence[Shape], help: str) -> OpError:
    shapes = [str(shape) for shape in inputs]
    listed = " and ".join(shapes) if len(shapes) == 2 else ", ".join(shapes)
    return OpError("shape-mismatch", f"{kind} needs {need}, got {listed}", help=help)


class Add(_Merge):
    """The elementwise sum of inputs of one shape."""

    kind: ClassVar[str] = "add"

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        if len(set(inputs)) > 1:
            raise _mismatch(self.kind, "equal shapes", inputs, "give every input the same channels and stride")
        return inputs[0]


class Multiply(_Merge):
    """The elementwise product; an axis of 1 is stretched to the others' size, so that C×1×1 gates whole channels."""

    kind: ClassVar[str] = "multiply"

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        if len({len(shape) for shape in inputs}) == 1:
            sizes = [{n for n in axis if n != 1} for axis in zip(*inputs, strict=True)]
            if all(len(axis) <= 1 for axis in sizes):
                merged = [axis.pop() if axis else 1 for axis in sizes]
                return Maps(*merged) if len(merged) == 3 else Vector(*merged)
        raise _mismatch(self.kind, "equal shapes or axes of 1", inputs, "a gate is C×1×1: pool with `keep_dims`")


class Concat(_Merge):
    """The inputs one behind the other along the channels, in the order written."""

    kind: ClassVar[str] = "concat"

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        if len({shape[1:] for shape in inputs}) > 1 or len({len(shape) for shape in inputs}) > 1:
            raise _mismatch(
                self.kind, "equal heights and widths", inputs, "give every branch the same stride and padding"
            )
        return inputs[0].__class__(sum(shape.channels for shape in inputs), *inputs[0][1:])
