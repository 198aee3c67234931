"""What sections are made of, and one-key choices in them: `{sgd: 0.1}`, `{rotate: 10}`, `adam`.

A choice is written as a layer is. Its key says which; its value is the main option, or a mapping of options;
the other keys are options too: `{sgd: 0.1, momentum: 0.9}` and `{sgd: {learning_rate: 0.1, momentum: 0.9}}`
are the same.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from cnnspec.diagnostics import Span
from cnnspec.source import Mapping, Node, Scalar, Sequence
from cnnspec.spec.problems import shown


class Strict(BaseModel):
    """A section: unknown keys are mistakes, values are taken as they are written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Section(Strict):
    """A section for which a plain value may stand: it fills the option `main`, as in `warmup: 5`."""

    main: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _fill_main(cls, value: Any) -> Any:
        return value if isinstance(value, dict | cls) else {cls.main: value}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler(schema)
        return {"anyOf": [handler.resolve_ref_schema(written)["properties"][cls.main], written]}


class Tagged(Strict):
    """A choice in a `OneOf`: `kind` is its key, `main` the option that a plain value fills, if any."""

    kind: ClassVar[str]
    main: ClassVar[str] = ""


class OneOf:
    """Marks a union of `Tagged` choices, `Annotated[Sgd | Adam, OneOf()]`, as written with one key.

    The validator of a choice is built when that choice is first made: a recipe uses a handful of dozens.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(partial(_choose, choices(source)))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        known: dict[str, type[Tagged]] = schema["function"]["function"].args[0]
        alone = [kind for kind, choice in known.items() if not _required(choice)]
        written: list[JsonSchemaValue] = [{"enum": alone}] if alone else []
        for kind, choice in known.items():
            choice.model_rebuild()
            reference = handler(choice.__pydantic_core_schema__)
            options = dict(handler.resolve_ref_schema(reference).get("properties", {}))
            main = [options.pop(choice.main)] if choice.main else []
            value = {"anyOf": [*main, reference, *([] if _required(choice) else [{"type": "null"}])]}
            written.append(
                {
                    "type": "object",
                    "properties": {kind: value, **options},
                    "required": [kind],
                    "additionalProperties": False,
                }
            )
        return {"anyOf": written}


def choices(union: Any) -> dict[str, type[Tagged]]:
    """The choices of a union of `Tagged`, or of a single one, by the key that each is written with."""
    members: tuple[type[Tagged], ...] = get_args(union) or (union,)
    return {choice.kind: choice for choice in members}


def _required(choice: type[Tagged]) -> list[str]:
    return [name for name, field in choice.model_fields.items() if field.is_required()]


def _choose(known: dict[str, type[Tagged]], value: Any) -> Tagged:
    """The choice that `value` writes. Errors have the written keys in their place."""
    if isinstance(value, Tagged) and known.get(value.kind) is type(value):
        return value
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, dict) or not value:
        context = {"first": next(iter(known)), "got": "nothing" if value == {} else shown(value)}
        raise PydanticCustomError("bad_value", "expected a name such as `{first}`, got {got}", context)
    kind = next((key for key in value if key in known), next(iter(value)))
    if kind not in known:
        raise problems([("unknown_choice", (kind,), {"name": kind[:60], "known": list(known)})])
    choice, inner = known[kind], value[kind]
    beside = {key: option for key, option in value.items() if key != kind}
    if misplaced := list(_misplaced(choice, inner, beside, known)):
        raise problems(misplaced)
    main = {} if inner is None else inner if isinstance(inner, dict) else {choice.main: inner}
    try:
        return choice.model_validate({**main, **beside})
    except ValidationError as error:
        raise ValidationError.from_exception_data(
            "", [_placed(e, kind, beside) for e in error.errors(include_url=False)]
        ) from None


Problem = tuple[str, tuple[str, ...], dict[str, Any]]


def _misplaced(
    choice: type[Tagged], inner: Any, beside: dict[str, Any], known: dict[str, type[Tagged]]
) -> Iterator[Problem]:
    """What is wrong with the keys that stand beside the choice's own."""
    options = list(choice.model_fields)
    for key in beside:
        if key not in options and key in known:
            yield "two_choices", (key,), {"name": key, "first": choice.kind}
        elif key not in options:
            yield "unknown_option", (key,), {"name": key[:60], "owner": choice.kind, "known": options}
        elif key in inner if isinstance(inner, dict) else key == choice.main and inner is not None:
            yield "given_twice", (key,), {"name": key}
    if not choice.main and inner is not None and not isinstance(inner, dict):
        yield "no_main", (choice.kind,), {"owner": choice.kind, "option": options[0] if options else "option"}


def problems(found: list[Problem]) -> ValidationError:
    """What is wrong, each with its place."""
    return ValidationError.from_exception_data(
        "",
        [
            InitErrorDetails(type=PydanticCustomError(kind, kind, context), loc=place, input=None)
            for kind, place, context in found
        ],
    )


def _placed(finding: Any, kind: str, beside: dict[str, Any]) -> InitErrorDetails:
    """A finding about an option, placed where that is written: beside the key, or in its value."""
    place = finding["loc"] if finding["loc"] and finding["loc"][0] in beside else (kind, *finding["loc"])
    # `msg` is filled in already; the context is kept for the message that a person gets
    problem = PydanticCustomError(finding["type"], finding["msg"], finding.get("ctx"))
    return InitErrorDetails(type=problem, loc=place, input=finding["input"])


def place(node: Node, path: Iterable[str | int], *, key: bool = False) -> Span:
    """Where an option is written, or as much of the way to it as is written; with `key`, its key.

    The way may name the key of a choice or leave it out, and may name its main option, in whichever form the
    choice is written.
    """
    span = node.span
    outer: Node | None = None  # the choice whose value we are at, for options that stand beside it
    for depth, step in enumerate(path):
        if isinstance(node, Sequence) and isinstance(step, int):
            node = node.items[step]
            span = node.span
            continue
        if isinstance(node, Scalar) and node.text == step:
            span = node.span  # a choice written as its name alone
        entry = _entry(node, str(step), inside=depth > 0)
        if entry is None and outer is not None:
            entry = _entry(outer, str(step), inside=False)
        if entry:
            outer = node if depth > 0 else None
            node = entry[1]
            span = entry[0].span if key else node.span
    return span


def _entry(node: Node, name: str, inside: bool) -> tuple[Scalar, Node] | None:
    """The entry called `name`, of a mapping or of one inside it: a choice with its options."""
    if not isinstance(node, Mapping):
        return None
    if name in node.entries or not inside:
        return node.entries.get(name)
    inner = (value.entries.get(name) for _, value in node.entries.values() if isinstance(value, Mapping))
    return next(filter(None, inner), None)
