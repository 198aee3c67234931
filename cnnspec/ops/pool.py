"""Pooling over windows, over the whole map, and over a grid of equal windows."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from cnnspec.ops.base import Canonical, Field, Op, OpError, maps
from cnnspec.ops.fields import Padding, Pair
from cnnspec.ops.shapes import Maps, Shape, Vector
from cnnspec.ops.window import Two, Window, explicit, resolve


class _Pool(Op):
    """The windows are `size` pixels large and `stride` apart, their size unless given; padding is 0 by default.

    `ceil_mode` rounds the output size up, as PyTorch and Caffe do; the last windows then overhang the map.
    """

    main: ClassVar[str] = "size"
    size: Pair
    stride: Pair | None = None
    padding: Padding = "valid"
    ceil_mode: bool = False

    def check(self) -> None:
        explicit(self.size, (1, 1), self.padding)

    def window(self, inputs: Sequence[Shape]) -> Window:
        """The resolved window on this input."""
        return resolve(
            maps(inputs, self.kind),
            self.size,
            self.stride or self.size,
            (1, 1),
            self.padding,
            ceil_mode=self.ceil_mode,
        )

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return Maps(inputs[0].channels, *self.window(inputs).output)

    def field(self, inputs: Sequence[Shape]) -> Field:
        return Field(self.size, self.stride or self.size)

    def canonical(self, inputs: Sequence[Shape]) -> Canonical:
        return _windows(self.kind, self.window(inputs))


class MaxPool(_Pool):
    """The largest value of each window; padding counts as minus infinity."""

    kind: ClassVar[str] = "max_pool"


class AvgPool(_Pool):
    """The mean of each window.

    `divisor: valid`, the default, divides by the number of pixels of the map in the window; `padded` counts zero
    padding as well. What overhangs in `ceil_mode` never counts.
    """

    kind: ClassVar[str] = "avg_pool"
    divisor: Literal["valid", "padded"] = "valid"

    def canonical(self, inputs: Sequence[Shape]) -> Canonical:
        kind, attrs = super().canonical(inputs)
        return Canonical(kind, attrs | {"divisor": self.divisor})


def _windows(kind: str, window: Window) -> Canonical:
    pixels = {name: getattr(window, name) for name in ("kernel", "stride", "pads", "overhang")}
    return Canonical(kind, pixels)


class _GlobalPool(Op):
    """`keep_dims` gives C×1×1 maps instead of a vector of C."""

    keep_dims: bool = False

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        channels = maps(inputs, self.kind).channels
        return Maps(channels, 1, 1) if self.keep_dims else Vector(channels)

    def field(self, inputs: Sequence[Shape]) -> Field:
        x = maps(inputs, self.kind)
        return Field((x.height, x.width), (x.height, x.width))


class GlobalAvgPool(_GlobalPool):
    """The mean of each channel over the whole map: a vector, or C×1×1 maps with `keep_dims`."""

    kind: ClassVar[str] = "global_avg_pool"


class GlobalMaxPool(_GlobalPool):
    """The largest value of each channel over the whole map: a vector, or C×1×1 maps with `keep_dims`."""

    kind: ClassVar[str] = "global_max_pool"


def uniform_window(n: int, out: int) -> tuple[int, int] | None:
    """Kernel and stride of the adaptive pool from `n` to `out` pixels, if all its windows are alike.

    Window i runs from floor(i·n/out) to ceil((i+1)·n/out), as in PyTorch. With n = q·out + r that is from i·q +
    floor(i·r/out): evenly spaced where floor(i·r/out) is 0 for every i < out, which takes r ≤ 1.
    """
    q, r = divmod(n, out)
    return (q + r, q) if r <= 1 else None


class _AdaptivePool(Op):
    main: ClassVar[str] = "output"
    output: Pair

    def window(self, inputs: Sequence[Shape]) -> Window:
        """The equal windows that give the wanted output. Raises `OpError` where they would differ in size."""
        x = maps(inputs, self.kind)
        axes: list[Two] = []
        for n, out, name in zip((x.height, x.width), self.output, ("height", "width"), strict=True):
            window = uniform_window(n, out) if out <= n else None
            if window is None:
                raise OpError(
                    "uneven-windows",
                    f"a {name} of {n} cannot be pooled to {out} by windows of one size",
                    field="output",
                    help="choose an output that divides the input, or an explicit pool",
                )
            axes.append(window)
        (kh, sh), (kw, sw) = axes
        return Window((kh, kw), (sh, sw), (1, 1), (0, 0, 0, 0), (0, 0), self.output)

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return Maps(inputs[0].channels, *self.window(inputs).output)

    def field(self, inputs: Sequence[Shape]) -> Field:
        window = self.window(inputs)
        return Field(window.kernel, window.stride)


class AdaptiveAvgPool(_AdaptivePool):
    """The average pool that gives `output` pixels, where equal windows can: PyTorch's rule for the windows."""

    kind: ClassVar[str] = "adaptive_avg_pool"

    def canonical(self, inputs: Sequence[Shape]) -> Canonical:
        kind, attrs = _windows("avg_pool", self.window(inputs))
        return Canonical(kind, attrs | {"divisor": "valid"})


class AdaptiveMaxPool(_AdaptivePool):
    """The max pool that gives `output` pixels, where equal windows can: PyTorch's rule for the windows."""

    kind: ClassVar[str] = "adaptive_max_pool"

    def canonical(self, inputs: Sequence[Shape]) -> Canonical:
        return _windows("max_pool", self.window(inputs))
