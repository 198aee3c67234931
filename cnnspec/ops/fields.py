"""The types of ops' fields: what a person may write, the one form that it takes in the graph, and its JSON Schema.

Each type is a plain function from a written value to the canonical one, so that its message says what may be
written, and building a validator costs next to nothing.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from cnnspec.expr import show

PaddingMode = Literal["half", "same", "valid"]

MAX = 2**31 - 1  # an extent of a tensor, as every framework's index type can hold it


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX


def _refuse(value: Any, expected: str) -> PydanticCustomError:
    if any(isinstance(n, int) and n > MAX for n in (value if isinstance(value, list | tuple) else [value])):
        expected = f"nothing above {MAX}"
    help = ""
    if isinstance(value, str):
        if re.fullmatch(r"\d+ *[x×*] *\d+|\( *\d+ *, *\d+ *\)", value):
            help = f"a pair is a list: [{', '.join(re.findall(r'[0-9]+', value))}]"
        elif value.lower() in get_args(PaddingMode) and "`same`" in expected:
            help = f"write `{value.lower()}`"
        elif re.fullmatch(r" *-?[0-9]+ *", value):
            help = f"without quotes it is a number: {value.strip()}"
        elif re.fullmatch(r"\[ *\d+ *(, *\d+ *)*\]", value):
            help = f"without quotes it is a list: {value}"
    return PydanticCustomError(
        "bad_value", "expected {expected}, got {got}", {"expected": expected, "got": show(value), "help": help}
    )


def _pair(least: int, what: str) -> Callable[[Any], tuple[int, int]]:
    def parse(value: Any) -> tuple[int, int]:
        if _is_int(value, least):
            return value, value
        if isinstance(value, list | tuple) and len(value) == 2 and all(_is_int(v, least) for v in value):
            return value[0], value[1]
        raise _refuse(value, f"{what} or [height, width]")

    return parse


def _edges(value: Any) -> tuple[int, int, int, int] | None:
    if _is_int(value, 0):
        return value, value, value, value
    if isinstance(value, list | tuple) and all(_is_int(v, 0) for v in value):
        match value:
            case [h, w]:
                return h, w, h, w
            case [t, l, b, r]:
                return t, l, b, r
    return None


def _padding(value: Any) -> str | tuple[int, int, int, int]:
    if value in ("half", "same", "valid") and isinstance(value, str):
        return value
    if (edges := _edges(value)) is not None:
        return edges
    what = _edges_expected(value)
    raise _refuse(value, f"`half`, `same`, `valid`, {what}")


def _four_edges(value: Any) -> tuple[int, int, int, int]:
    if (edges := _edges(value)) is not None:
        return edges
    raise _refuse(value, _edges_expected(value))


def _edges_expected(value: Any) -> str:
    least = " of at least 0" if isinstance(value, int) else ""
    return f"a whole number{least}, [height, width] or [top, left, bottom, right]"


_INT_1: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": MAX}
_INT_0: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": MAX}


def _list(item: dict[str, Any], length: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": length, "maxItems": length}


def _written(description: str, *forms: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"description": description, "anyOf": list(forms)})


_EDGES = (_INT_0, _list(_INT_0, 2), _list(_INT_0, 4))

# The descriptions are shown by editors and in the reference of ops.

Count = Annotated[int, Field(ge=1, le=MAX, description="A whole number of at least 1.")]

Fraction = Annotated[float, Field(ge=0, lt=1, description="A number from 0 up to, not including, 1.")]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="A number above 0.")]

Number = Annotated[float, Field(allow_inf_nan=False, description="Any finite number.")]

Pair = Annotated[
    tuple[int, int],
    PlainValidator(_pair(1, "a whole number of at least 1")),
    _written("A whole number of at least 1 for both axes, or [height, width].", _INT_1, _list(_INT_1, 2)),
]

PairOrZero = Annotated[
    tuple[int, int],
    PlainValidator(_pair(0, "a whole number of at least 0")),
    _written("A whole number of at least 0 for both axes, or [height, width].", _INT_0, _list(_INT_0, 2)),
]

Padding = Annotated[
    PaddingMode | tuple[int, int, int, int],
    PlainValidator(_padding),
    _written(
        "`half`, `same`, `valid`, one whole number for all edges, [height, width] or [top, left, bottom, right].",
        {"enum": list(get_args(PaddingMode))},
        *_EDGES,
    ),
]

Edges = Annotated[
    tuple[int, int, int, int],
    PlainValidator(_four_edges),
    _written("One whole number for all edges, [height, width] or [top, left, bottom, right].", *_EDGES),
]
