"""The window formula that convolutions and pools share: padding resolved to pixels, and the output's extent.

Formulas (n input size, k kernel, s stride, d dilation, all per axis; effective kernel e = (k−1)·d + 1):

- explicit padding: out = (n + begin + end − e) // s + 1
- `same` (TensorFlow): out = ceil(n / s), total = max((out − 1)·s + e − n, 0), begin = total // 2, the rest at the end
- `half`: begin = end = (e − 1) / 2, which needs an odd effective kernel
- ceil mode (PyTorch, Caffe): out = ceil((n + begin + end − e) / s) + 1, less one where the last window would start in
  the end padding or behind it; the windows overhang by what is then missing at the end
"""

from typing import NamedTuple

from cnnspec.ops.base import OpError
from cnnspec.ops.shapes import Maps

Two = tuple[int, int]
Four = tuple[int, int, int, int]


class Window(NamedTuple):
    """A resolved window.

    `pads` is (top, left, bottom, right); `overhang` (bottom, right) lies behind the padding and exists in ceil mode
    only: no average counts it.
    """

    kernel: Two
    stride: Two
    dilation: Two
    pads: Four
    overhang: Two
    output: Two


def effective(kernel: Two, dilation: Two) -> Two:
    """The extent of a dilated kernel, (height, width)."""
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


def half(kernel: Two, dilation: Two) -> Four:
    """Symmetric padding of half the effective kernel. Raises `OpError` where that is not whole."""
    extent = effective(kernel, dilation)
    if extent[0] % 2 == 0 or extent[1] % 2 == 0:
        shown = extent[0] if extent[0] == extent[1] else f"{extent[0]}×{extent[1]}"
        raise OpError(
            "even-kernel",
            f"`half` padding needs an odd kernel, this one covers {shown} pixels",
            field="kernel",
            help="say which padding: `same` (TensorFlow's), `valid` or numbers",
        )
    return (extent[0] // 2, extent[1] // 2) * 2


def explicit(kernel: Two, dilation: Two, padding: str | Four, *, full: bool = True) -> Four | None:
    """The padding in pixels; None for `same`, which depends on the input. Raises `OpError` where it is of no use."""
    if padding == "same":
        return None
    pads: Four
    if padding == "half":
        pads = half(kernel, dilation)
    elif padding == "valid":
        pads = (0, 0, 0, 0)
    else:
        pads = padding  # type: ignore[assignment]
    for axis, extent in enumerate(effective(kernel, dilation)):
        if full and max(pads[axis], pads[axis + 2]) >= extent:
            raise OpError(
                "bad-padding",
                f"padding of {max(pads[axis], pads[axis + 2])} lets a window of {extent} see nothing but padding",
                field="padding",
                help="the padding must be smaller than the window",
            )
    return pads


def resolve(
    shape: Maps,
    kernel: Two,
    stride: Two,
    dilation: Two,
    padding: str | Four,
    *,
    ceil_mode: bool = False,
    full: bool = True,
) -> Window:
    """The window on maps of this shape. Raises `OpError` where it does not fit.

    With `full`, a window that sees nothing but padding is refused (a pool has no value for it). `same` padding leaves
    ceil mode nothing to round.
    """
    size = (shape.height, shape.width)
    extent = effective(kernel, dilation)
    pads = explicit(kernel, dilation, padding, full=full)
    if pads is None:
        begin, end = zip(*(_same(n, e, s) for n, e, s in zip(size, extent, stride, strict=True)), strict=True)
        pads = (*begin, *end)
    for axis, name in enumerate(("height", "width")):
        available = size[axis] + pads[axis] + pads[axis + 2]
        room = available - extent[axis]
        if room < 0 and not (ceil_mode and -room < stride[axis]):  # in ceil mode a window may overhang a smaller map
            padded = f" with padding {pads[axis]}+{pads[axis + 2]}" if pads[axis] or pads[axis + 2] else ""
            raise OpError(
                "empty-output",
                f"a window of {extent[axis]} does not fit into a {name} of {size[axis]}{padded}",
                help="a larger input, a smaller kernel, less stride before it, or more padding",
            )
    output, overhang = zip(
        *(
            _extent(size[a], extent[a], stride[a], pads[a], pads[a + 2], ceil_mode and padding != "same")
            for a in (0, 1)
        ),
        strict=True,
    )
    return Window(kernel, stride, dilation, pads, overhang, output)


def _same(n: int, e: int, s: int) -> Two:
    total = max((-(-n // s) - 1) * s + e - n, 0)
    return total // 2, total - total // 2


def _extent(n: int, e: int, s: int, begin: int, end: int, ceil_mode: bool) -> Two:
    """Output size and overhang of one axis."""
    room = n + begin + end - e
    if not ceil_mode:
        return room // s + 1, 0
    out = -(-room // s) + 1
    if (out - 1) * s >= n + begin:
        out -= 1
    return out, max(0, (out - 1) * s - room)
