"""The sections of a spec beside its layers: input, preprocessing, transfer. Recipes are in `cnnspec.spec.recipe`."""

from __future__ import annotations

from math import inf
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag, WithJsonSchema
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


CaseName = Literal["small_similar", "small_different", "large_similar", "large_different"]

Pattern = Annotated[str, Field(min_length=1)]
Patterns = Annotated[list[Pattern], Field(max_length=100)]
Layers = Annotated[Any, WithJsonSchema({"$comment": "layers"})]
"""A list of layers; read by the parser of layers, not by pydantic."""


Replacement = Annotated[
    Annotated[Patterns, Tag("paths")] | Annotated[dict[str, Layers | None], Field(max_length=100), Tag("layers")],
    Discriminator(
        lambda value: {list: "paths", dict: "layers"}.get(type(value)),
        custom_error_type="bad_value",
        custom_error_message="expected a list of paths, or a mapping from paths to layers",
    ),
]


class FeaturesSection(Strict):
    """Features taken at a layer, and the new classifier on top of them: everything behind that layer is dropped."""

    source: str = Field(alias="from")
    layers: Layers


class TransferCase(Strict):
    """One way to reuse the trained network for other images.

    `freeze` lists layers by path or pattern, with everything below them: they keep their weights, and their batch norms
    their statistics. `freeze_through` freezes a layer and all before it. `replace` names layers that start anew, and
    may give other layers in their place; they are never frozen. `learning_rate` multiplies the recipe's rate for
    layers by pattern. `unfreeze` lists, by epoch (from 1), what starts to train then.
    """

    description: str = ""
    freeze: Patterns = []
    freeze_through: Pattern | None = None
    replace: Replacement = []
    features: FeaturesSection | None = None
    learning_rate: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field({}, max_length=100)
    unfreeze: dict[str, Patterns] = Field({}, max_length=100)


class TransferSection(Strict):
    """How the network is reused.

    `head` names the layers that classify, `boundaries` the layers at which freezing
    may sensibly end, from the input to the output. `cases` are the four situations: few or many new images, similar to
    the old ones or different from them.
    """

    head: Annotated[Patterns, Field(min_length=1)]
    boundaries: Patterns = []
    cases: dict[CaseName, TransferCase] = {}
