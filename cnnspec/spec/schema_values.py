"""JSON Schemas of single values: names, expressions, and options that take an expression too."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from cnnspec.spec.words import RESERVED

Json = dict[str, Any]

_SCALARS = ["string", "number", "boolean", "null"]
_WORD = "[A-Za-z][A-Za-z0-9_]*"
_TEMPLATE = "[A-Za-z$][A-Za-z0-9_$]*"  # a name with variables inside it

EXPRESSION: Json = {"$ref": "#/$defs/expression"}
VALUE: Json = {"$ref": "#/$defs/value"}
NAME: Json = {"$ref": "#/$defs/name"}
SOURCE: Json = {"$ref": "#/$defs/source"}
VARIABLE = f"^(?!in_channels$){_WORD}$"
BLOCK_NAME = f"^{_WORD}$"


def value_definitions() -> dict[str, Json]:
    """The definitions that every other part of the schema refers to."""
    return {
        "expression": {
            "description": "An expression: `$name`, arithmetic on it, or a condition.",
            "type": "string",
            "pattern": r"\$",
        },
        "value": {
            "description": "A plain value, an expression, or a list of them.",
            "type": [*_SCALARS, "array"],
            "items": VALUE,
        },
        "name": {
            "description": "The layer's name in paths; `$i` and other variables may stand inside it.",
            "type": "string",
            "pattern": f"^(?!(?:{'|'.join(RESERVED)})$){_TEMPLATE}$",
        },
        "source": {
            "description": "The name of an earlier layer, dots allowed; "
            + "; ".join(f"`{name}` is {meaning}" for name, meaning in RESERVED.items())
            + ".",
            "type": ["string", "number"],  # the entries of a list are called 0, 1, …
            "pattern": r"^[A-Za-z0-9_$][A-Za-z0-9_.$]*$",
        },
        "constant": {
            "description": "A plain value, or a list of them; what follows from others goes into `let`.",
            "type": [*_SCALARS, "array"],
            "pattern": "^[^$]*$",
            "items": {"$ref": "#/$defs/constant"},
        },
        "arguments": {
            "description": "A block's arguments: a mapping, a list in their order, or the first one alone.",
            "type": [*_SCALARS, "array", "object"],
            "items": VALUE,
            "additionalProperties": VALUE,
        },
        "variables": {
            "type": ["object", "null"],
            "propertyNames": {"pattern": VARIABLE},
            "additionalProperties": VALUE,
        },
    }


def text(description: str) -> Json:
    """Any text; YAML may have read it as a number."""
    return {"description": description, "type": _SCALARS}


def unwrapped(docstring: str) -> str:
    """A docstring as paragraphs without line ends."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(docstring).split("\n\n"))


def names(kinds: Iterable[str | None], meanings: Iterable[str]) -> Json:
    """One of some names, each with its meaning for an editor to show."""
    return {"enum": list(kinds), "enumDescriptions": list(meanings)}


def null_or(schema: Json) -> Json:
    """`schema`, or nothing written."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]}


def or_expression(schema: Json) -> Json:
    """`schema`, in which an expression may stand for every value but free text.

    Titles, which repeat the name, go; so do defaults that say nothing (null, or empty).
    """
    kept = {key: schema[key] for key in ("description", "default") if schema.get(key) not in (None, [], {}, "")}
    if "description" in kept:
        kept["description"] = unwrapped(kept["description"])
    if "default" in kept:
        kept["default"] = shortest(kept["default"])
    form = {key: value for key, value in schema.items() if key not in ("title", "description", "default")}
    alternatives = _alternatives(form)
    if EXPRESSION in alternatives:
        return kept | {"anyOf": [a for a in alternatives if a != EXPRESSION] + [EXPRESSION]}
    return kept | alternatives[0] if len(alternatives) == 1 else kept | {"anyOf": alternatives}


def _alternatives(form: Json) -> list[Json]:
    """The forms that a value may take, an expression among them unless it is text or a mapping."""
    form = {key: value for key, value in form.items() if key != "title"}
    if "anyOf" in form:
        return [one for inner in form["anyOf"] for one in _alternatives(inner)]
    if "$ref" in form or "$comment" in form or form == {"type": "null"}:
        return [form]
    if form.get("type") == "object":
        return [_mapping(form)]
    if form.get("type") == "array":
        return [form | {"items": or_expression(form["items"])}, EXPRESSION]
    if form.get("type") == "string" and "enum" not in form and "pattern" not in form:
        return [form]
    return [form, EXPRESSION]


def _mapping(form: Json) -> Json:
    changed = dict(form)
    if "properties" in form:
        changed["properties"] = {key: or_expression(inner) for key, inner in form["properties"].items()}
    if isinstance(form.get("additionalProperties"), dict):
        changed["additionalProperties"] = or_expression(form["additionalProperties"])
    return changed


def shortest(default: Any) -> Any:
    """A default as one would write it: [1, 1] is 1."""
    if isinstance(default, list) and len({repr(item) for item in default}) == 1:
        return default[0]
    return default
