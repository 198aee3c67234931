"""One-key mappings for sections that pydantic validates: `{sgd: {momentum: 0.9}}`, `{rotate: 10}`, `adam`.

The same form that layers have: the key says which, its value is the main option or a mapping of options.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, model_validator


class Strict(BaseModel):
    """A section: unknown keys are mistakes, values are taken as they are written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Tagged(Strict):
    """A choice in a `one_of`: `kind` is its key, `main` the option that a plain value fills."""

    kind: ClassVar[str]
    main: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {}
        if isinstance(value, dict) and cls.kind in value:
            inner = value[cls.kind]
            rest = {k: v for k, v in value.items() if k != cls.kind}
            if inner is None:
                return rest
            if isinstance(inner, dict):
                return {**inner, **rest}
            return {cls.main or cls.kind: inner, **rest}
        return value


def one_of(*choices: type[Tagged]) -> Any:
    """The type of a value that names one of `choices`."""

    def tag(value: Any) -> str | None:
        if isinstance(value, Tagged):
            return value.kind
        if isinstance(value, str):
            return value
        if isinstance(value, dict) and value:
            kinds = {choice.kind for choice in choices}
            return next((key for key in value if key in kinds), str(next(iter(value))))
        return None

    union = reduce(or_, (Annotated[choice, Tag(choice.kind)] for choice in choices))  # type: ignore[arg-type]
    return Annotated[union, Discriminator(tag)]
