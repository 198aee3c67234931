"""The part of the language's JSON Schema that says which options an op has, generated from the op's class."""

from __future__ import annotations

import re
from functools import cache

from cnnspec.ops import OPS, Op
from cnnspec.spec.schema_values import EXPRESSION, Json, names, null_or, or_expression, unwrapped


def op_definitions() -> dict[str, Json]:
    """The options of every op, and what can be attached, by name."""
    options = {f"{kind}.options": _options(op) for kind, op in OPS.items()}
    return {"norm": _attached("norm"), "activation": _attached("activation"), **options}


def _options(op: type[Op]) -> Json:
    """All options of an op and what it carries, none of them required: `defaults:` may hold the others."""
    fields = option_forms(op)
    properties = {name: or_expression(field) | {"description": meaning(op, name)} for name, field in fields.items()}
    for role in op.attaches:
        properties[role] = {"$ref": f"#/$defs/{role}"}
    return {"type": "object", "properties": properties, "additionalProperties": False}


@cache
def option_forms(op: type[Op]) -> dict[str, Json]:
    """The JSON Schema of each of an op's own options, without expressions."""
    properties: dict[str, Json] = op.model_json_schema()["properties"]
    return properties


def describe(op: type[Op]) -> str:
    """An op's description, with what its family has in common (the docstrings of private bases)."""
    family = [cls for cls in op.__mro__ if cls is op or (cls.__name__.startswith("_") and issubclass(cls, Op))]
    return "\n\n".join(unwrapped(cls.__doc__) for cls in family if cls.__doc__)


def meaning(op: type[Op], name: str) -> str:
    """What may be written for an option, and the sentences of the op's description that mention it."""
    field = option_forms(op)[name]
    written = [k["description"] for k in (field, *field.get("anyOf", [])) if "description" in k][:1]
    sentences = re.split(r"(?<=\.)\s+", describe(op))
    return " ".join(written + [s for s in sentences if re.search(rf"`{name}\b", s)])


def option(op: type[Op], name: str) -> Json:
    """A reference to the schema of one option."""
    return {"$ref": f"#/$defs/{op.kind}.options/properties/{name}"}


def value_of(op: type[Op], beside: list[str]) -> Json:
    """The value of an op's own key: its main option, or a mapping of those in `beside`, or nothing."""
    if op.main:
        return {"description": describe(op), "anyOf": [option(op, op.main), {"type": "null"}]}
    return {
        "description": describe(op),
        "type": ["object", "null"],
        "properties": {name: option(op, name) for name in beside},
        "additionalProperties": False,
    }


def defaults(*, inherited: bool) -> Json:
    """`defaults:`, options by kind of op. Over inherited ones, null takes a kind or an option away."""

    def of(op: type[Op]) -> Json:
        if not inherited:
            return {"$ref": f"#/$defs/{op.kind}.options"}
        keys = {name: null_or(option(op, name)) for name in (*op.model_fields, *op.attaches)}
        return {
            "description": describe(op),
            "type": ["object", "null"],
            "properties": keys,
            "additionalProperties": False,
        }

    return {
        "type": "object",
        "properties": {kind: of(op) for kind, op in OPS.items()},
        "additionalProperties": False,
    }


def _attached(role: str) -> Json:
    """The norm or the activation of a layer."""
    known = {kind: op for kind, op in OPS.items() if op.role == role}
    rules: list[Json] = []
    allowed: set[str] = set()
    for kind, op in known.items():
        own = [name for name in op.model_fields if name != op.main]
        allowed |= {kind, *own}
        keys = {kind: value_of(op, own), **{name: option(op, name) for name in own}}
        rules.append({"if": {"required": [kind]}, "then": {"properties": keys, "additionalProperties": False}})
    article = "An activation" if role == "activation" else "A norm"
    return {
        "description": f"{article} behind the layer: its name, a mapping with its options, an expression "
        "that names it, or `none`.",
        "anyOf": [
            names(
                ["none", None, *known],
                ["Nothing, whatever the default.", "Nothing.", *map(describe, known.values())],
            ),
            {
                "type": "object",
                "minProperties": 1,
                "properties": {kind: {"description": describe(op)} for kind, op in known.items()},
                "propertyNames": {"enum": sorted(allowed)},
                "anyOf": [{"required": [kind]} for kind in known],
                "allOf": rules,
            },
            EXPRESSION,
        ],
    }
