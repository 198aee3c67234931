"""The types of a recipe's options: what may be written, and the one form that it takes."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from cnnspec.expr import show
from cnnspec.spec.problems import shown

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, description="A number of at least 0.")]
Probability = Annotated[float, Field(gt=0, le=1, description="A probability above 0, up to 1.")]
Share = Annotated[float, Field(gt=0, lt=1, description="A number between 0 and 1, neither included.")]
Whole = Annotated[int, Field(ge=0, le=2**31 - 1, description="A whole number of at least 0.")]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1, description="A whole number from 0 to 2147483647.")]

Interval = tuple[float, float]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _two(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_number(v) for v in value)


def _refuse(value: Any, expected: str) -> PydanticCustomError:
    got = f"[{', '.join(map(show, value))}]" if _two(value) else shown(value)
    return PydanticCustomError("bad_value", "expected {expected}, got {got}", {"expected": expected, "got": got})


class Form:
    """What may be written: `parse` makes the one form of it, or returns None; `expected` says it in words."""

    def __init__(self, parse: Callable[[Any], Any], expected: str, *schemas: dict[str, Any]) -> None:
        self.parse = parse
        self.expected = expected
        self.schemas = schemas

    def validate(self, value: Any) -> Any:
        """The canonical value. Raises an error that says what may be written."""
        if (parsed := self.parse(value)) is None:
            raise _refuse(value, self.expected)
        return parsed

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"description": f"{self.expected[0].upper()}{self.expected[1:]}.", "anyOf": list(self.schemas)}


def _list(item: dict[str, Any], length: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": length, "maxItems": length}


def _spread(value: Any) -> Interval | None:
    """0.2 stands for [0.8, 1.2]."""
    if _number(value) and 0 < value < 1:
        return 1 - value, 1 + value
    return _ascending(value)


def _strength(value: Any) -> Interval | None:
    if _number(value) and 0 < value <= 1:
        return 1 - value, 1 + value
    return (float(value[0]), float(value[1])) if _two(value) and 0 <= value[0] <= value[1] else None


def _ascending(value: Any) -> Interval | None:
    return (float(value[0]), float(value[1])) if _two(value) and 0 < value[0] <= value[1] else None


def _shares(value: Any) -> Interval | None:
    interval = _ascending(value)
    return interval if interval and interval[1] <= 1 else None


def _offsets(value: Any) -> Interval | None:
    if _number(value) and 0 < value < 1:
        return float(value), float(value)
    return (float(value[0]), float(value[1])) if _two(value) and all(0 <= v < 1 for v in value) and any(value) else None


def _pixels(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value, value
    whole = _two(value) and all(isinstance(v, int) for v in value)
    return (value[0], value[1]) if whole and 1 <= value[0] <= value[1] else None


def _betas(value: Any) -> Interval | None:
    return (float(value[0]), float(value[1])) if _two(value) and all(0 <= v < 1 for v in value) else None


def _held_out(value: Any) -> int | float | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 1 else None
    return value if _number(value) and 0 < value < 1 else None


def _fill(value: Any) -> Any:
    return value if value in ("edge", "reflect") or (_number(value) and 0 <= value <= 255) else None


def _limits(value: Any) -> Interval | None:
    if _number(value) and value > 0:
        return -float(value), float(value)
    return (float(value[0]), float(value[1])) if _two(value) and value[0] < value[1] else None


def _weights(value: Any) -> Any:
    if value == "balanced":
        return value
    numbers = isinstance(value, list) and all(_number(v) and v >= 0 for v in value) and any(value)
    return [float(v) for v in value] if numbers else None


def _kept(value: Any) -> Any:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return value if is_count or value == "all" else None


_ABOVE_0: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0}
_FROM_0: dict[str, Any] = {"type": "number", "minimum": 0}
_BELOW_1: dict[str, Any] = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
_BETWEEN: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_SHARE: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
_PIXEL: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 255}
_NUMBER: dict[str, Any] = {"type": "number"}
_WEIGHTS: dict[str, Any] = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 1}

Factor = Annotated[
    Interval,
    Form(
        _spread,
        "a number f between 0 and 1, which stands for [1 − f, 1 + f], or [lowest, highest]",
        _BETWEEN,
        _list(_ABOVE_0, 2),
    ),
]
Strength = Annotated[
    Interval,
    Form(
        _strength,
        "a number f above 0, up to 1, which stands for [1 − f, 1 + f], or [lowest, highest]",
        _SHARE,
        _list(_FROM_0, 2),
    ),
]
Ratios = Annotated[Interval, Form(_ascending, "[lowest, highest], both above 0", _list(_ABOVE_0, 2))]
Shares = Annotated[Interval, Form(_shares, "[lowest, highest], above 0 and at most 1", _list(_SHARE, 2))]
Offsets = Annotated[
    Interval,
    Form(_offsets, "a share of the size below 1, or [vertical, horizontal]", _BETWEEN, _list(_BELOW_1, 2)),
]
Pixels = Annotated[
    tuple[int, int], Form(_pixels, "a whole number of pixels, or [lowest, highest]", _COUNT, _list(_COUNT, 2))
]
Betas = Annotated[Interval, Form(_betas, "two numbers from 0 up to, not including, 1", _list(_BELOW_1, 2))]
HeldOut = Annotated[
    float | int, Form(_held_out, "a fraction between 0 and 1, or a whole number of images", _BETWEEN, _COUNT)
]
Limits = Annotated[
    Interval,
    Form(
        _limits,
        "a number above 0, which stands for [−number, number], or [lowest, highest]",
        _ABOVE_0,
        _list(_NUMBER, 2),
    ),
]
Fill = Annotated[
    float | Literal["edge", "reflect"],
    Form(_fill, "a pixel value from 0 to 255, `edge` or `reflect`", _PIXEL, {"enum": ["edge", "reflect"]}),
]
ClassWeights = Annotated[
    Literal["balanced"] | list[float],
    Form(
        _weights,
        "`balanced`, or a list with a number of at least 0 for every class",
        {"const": "balanced"},
        _WEIGHTS,
    ),
]
Kept = Annotated[int | Literal["all"], Form(_kept, "a whole number of at least 1, or `all`", _COUNT, {"const": "all"})]
