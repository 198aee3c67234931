"""Preprocessing inside the network: uint8 images of any size in, what the layers read out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnspec.backends.onnx.emit import Emitter
from cnnspec.backends.onnx.model import Attribute, code

if TYPE_CHECKING:
    from cnnspec.ops import Shape
    from cnnspec.spec.sections import PreprocessSection

_MODES: dict[str, dict[str, Attribute]] = {
    # Pillow takes the pixel under the centre and −0.5 for the cubic's parameter, and counts nothing outside the image
    "nearest": {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
    "bilinear": {"mode": "linear", "antialias": 1, "exclude_outside": 1},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5, "antialias": 1, "exclude_outside": 1},
}


def is_exact(section: PreprocessSection) -> bool:
    """Whether `resize` is the size itself, and not that of the shorter side."""
    return section.resize is not None and (section.resize_to == "exact" or section.resize[0] != section.resize[1])


def obstacle(section: PreprocessSection, shape: Shape) -> str:
    """Why the preprocessing cannot be part of a network with inputs of this shape; empty if it can."""
    _, *size = shape
    if section.resize and section.interpolation not in _MODES:
        return f"ONNX has no `{section.interpolation}` interpolation"
    if section.crop:
        given = section.crop
        if section.resize and (section.resize[0] < given[0] or section.resize[1] < given[1]):
            return f"`crop` takes {given[0]}×{given[1]} pixels out of images that `resize` makes smaller"
    elif section.resize and is_exact(section):
        given = section.resize
    elif section.resize:
        return "the shorter side is resized and nothing cropped: images of another shape would not fit"
    else:
        return ""
    if list(given) != size:
        return f"it gives {given[0]}×{given[1]} pixels, and the network takes {size[0]}×{size[1]}"
    return ""


def emit_preprocessing(
    emitter: Emitter, section: PreprocessSection, shape: Shape, image: str
) -> tuple[str, tuple[int | str, ...]]:
    """Add the preprocessing; return the value that it ends in, and the axes of an image (height, width, channels).

    Resizing leaves whole grey levels, as in an image file: runtimes do that on bytes exactly as Pillow does.
    """
    channels, *size = shape
    x = emitter.emit("Transpose", image, perm=(0, 3, 1, 2))
    if section.resize:
        x = _resize(emitter, section, section.resize, x)
    if section.crop:
        x = _crop(emitter, section.crop, x)
    if section.channel_order == "bgr":
        x = emitter.emit("Gather", x, emitter.indices((2, 1, 0), "bgr"), axis=1)
    if section.resize or section.crop:  # says what size is left, and that no other gets through
        x = emitter.emit("Reshape", x, emitter.indices((0, channels, *size), "shape"))
    x = emitter.emit("Cast", x, to=code("float32"))
    mean, std = (v if isinstance(v, list) else [v] * channels for v in (section.mean, section.std))
    factor = [[[section.scale / s]] for s in std]
    offset = [[[-m / s]] for m, s in zip(mean, std, strict=True)]
    x = emitter.emit(
        "Add", emitter.emit("Mul", x, emitter.numbers(factor, "factor")), emitter.numbers(offset, "offset")
    )
    any_size = bool(section.resize or section.crop)
    return x, ("H", "W", channels) if any_size else (*size, channels)


def _resize(emitter: Emitter, section: PreprocessSection, resize: tuple[int, int], x: str) -> str:
    if is_exact(section):
        sizes = emitter.indices(resize, "sizes")
    else:  # the longer side in proportion, rounded down
        sides = emitter.emit("Shape", x, start=2, end=4)
        shorter = emitter.emit("ReduceMin", sides, keepdims=1)
        sizes = emitter.emit("Div", emitter.emit("Mul", sides, emitter.indices((resize[0],), "shorter")), shorter)
    whole = emitter.emit("Concat", emitter.emit("Shape", x, start=0, end=2), sizes, axis=0)
    how = _MODES[section.interpolation]
    return emitter.emit("Resize", x, "", "", whole, coordinate_transformation_mode="half_pixel", **how)


def _crop(emitter: Emitter, crop: tuple[int, int], x: str) -> str:
    """From the centre; half a pixel is rounded to the even number, as torchvision does."""
    size = emitter.indices(crop, "crop")
    spare = emitter.emit(
        "Cast", emitter.emit("Sub", emitter.emit("Shape", x, start=2, end=4), size), to=code("float32")
    )
    half = emitter.emit("Round", emitter.emit("Mul", spare, emitter.numbers(0.5, "half")))
    start = emitter.emit("Cast", half, to=code("int64"))
    return emitter.emit("Slice", x, start, emitter.emit("Add", start, size), emitter.indices((2, 3), "axes"))
