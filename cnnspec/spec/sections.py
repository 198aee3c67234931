"""Sections of a spec beside its layers: input and preprocessing. The others are read when they are asked for."""

from __future__ import annotations

from math import inf
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from cnnspec.expr import show
from cnnspec.ops.fields import Count, Pair
from cnnspec.spec.tagged import Strict


class InputSection(Strict):
    """What goes in: images of `channels` × height × width. `size` is one number, or [height, width]."""

    channels: Count
    size: Pair


def _scale(value: Any) -> float:
    """A number, or a fraction such as `1/255`, which no decimal number states exactly."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    if isinstance(value, str):
        above, slash, below = value.partition("/")
        try:
            if slash and float(above) > 0 and 0 < float(below) < float("inf"):
                return float(above) / float(below)
        except ValueError:
            pass  # not numbers: refused below, with what was written
    raise PydanticCustomError("bad_value", "expected a number above 0 or a fraction such as 1/255")


Scale = Annotated[
    float,
    PlainValidator(_scale),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": "^ *[0-9.eE+-]+ */ *[0-9.eE+-]+ *$"},
            ]
        }
    ),
]


def _per_channel(above: float, what: str) -> PlainValidator:
    def parse(value: Any) -> float | list[float]:
        numbers = value if isinstance(value, list) else [value]
        if numbers and all(isinstance(n, int | float) and not isinstance(n, bool) and above < n < inf for n in numbers):
            return [float(n) for n in value] if isinstance(value, list) else float(value)
        raise PydanticCustomError(
            "bad_value",
            "expected {what} or a list of them, one for each channel, got {got}",
            {"what": what, "got": show(value)},
        )

    return PlainValidator(parse)


def _per_channel_schema(**limits: float) -> WithJsonSchema:
    number = {"type": "number", **limits}
    return WithJsonSchema({"anyOf": [number, {"type": "array", "items": number, "minItems": 1}]})


Mean = Annotated[float | list[float], _per_channel(-inf, "a number"), _per_channel_schema()]
Deviation = Annotated[float | list[float], _per_channel(0, "a number above 0"), _per_channel_schema(exclusiveMinimum=0)]


class PreprocessSection(Strict):
    """How an image becomes the input, in this order: resize, crop, channel order, (pixel · scale − mean) / std.

    Pixels are 0–255. `resize` is the shorter side, or [height, width]; `crop` is taken from the centre. Resizing
    antialiases, as Pillow does.
    """

    resize: Pair | None = None
    resize_to: Literal["shorter_side", "exact"] = "shorter_side"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    crop: Pair | None = None
    channel_order: Literal["rgb", "bgr"] = "rgb"
    scale: Scale = 1.0
    mean: Mean = 0.0
    std: Deviation = 1.0
