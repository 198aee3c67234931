"""The JSON Schema of the language (draft 2020-12), generated from the ops and the models of the sections.

It describes structure: keys, types, choices. What only expansion can know (names of layers, arguments of
blocks, shapes, options that `defaults:` may supply) is left to `cnnspec validate`. Nothing that cnnspec
accepts is refused.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from cnnspec.ops import OPS
from cnnspec.spec.naming import MAX_NAME
from cnnspec.spec.recipe import Recipe
from cnnspec.spec.schema_layers import OP_LAYERS, layer_definitions
from cnnspec.spec.schema_ops import defaults, op_definitions
from cnnspec.spec.schema_values import (
    BLOCK_NAME,
    EXPRESSION,
    NAME,
    SOURCE,
    VARIABLE,
    Json,
    null_or,
    or_expression,
    text,
    value_definitions,
)
from cnnspec.spec.sections import InputSection, PreprocessSection
from cnnspec.spec.transfer_section import TransferSection
from cnnspec.spec.version import LANGUAGE
from cnnspec.spec.words import COMMON, STRUCTURES, TOP_LEVEL

_LAYERS: Json = {"$ref": "#/$defs/layers"}
_MODELS: dict[str, type[BaseModel]] = {
    "input": InputSection,
    "preprocess": PreprocessSection,
    "transfer": TransferSection,
}


def language_schema() -> dict[str, Any]:
    """The whole schema, as plain data."""
    definitions = value_definitions() | layer_definitions() | op_definitions()
    sections = _sections(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:cnnspec:language:{LANGUAGE}",
        "title": "A cnnspec spec",
        "description": "One convolutional network: its architecture, and how it is trained and reused.",
        "type": "object",
        "properties": {key: sections[key] for key in TOP_LEVEL},
        "required": ["name"],
        "additionalProperties": False,
        "if": {"required": ["extends"], "properties": {"extends": {"type": "string"}}},
        "else": _complete(),
        "$defs": definitions,
    }


def _complete() -> Json:
    """What a spec needs that inherits nothing, and so has nothing that null could take away."""
    there: Json = {"additionalProperties": {"type": "object"}}
    return {
        "required": ["cnnspec", "input", "layers"],
        "properties": {
            "cnnspec": {"type": "integer"},
            "layers": {"type": "array", "minItems": 1},
            "defaults": null_or(defaults(inherited=False)),
            "blocks": there,
            "outputs": there,
            **{name: _whole(model) for name, model in _MODELS.items()},
            "input": {"type": "object"} | _whole(InputSection),
            "train": _whole_recipe(),
        },
        "if": {"properties": {"blocks": {"enum": [None, {}]}, "use": {"enum": [None, []]}}},
        "then": {"properties": _without_blocks()},
    }


def _without_blocks() -> Json:
    """Every list of layers in a spec that can have no blocks."""
    layers: Json = {"properties": {"layers": OP_LAYERS}}
    case = {"replace": {"additionalProperties": OP_LAYERS}, "features": layers}
    return {
        "layers": OP_LAYERS,
        "outputs": {"additionalProperties": layers},
        "transfer": {"properties": {"cases": {"additionalProperties": {"properties": case}}}},
    }


def _whole(model: type[BaseModel]) -> Json:
    fields = model.model_json_schema(by_alias=True)
    given = {
        name: {"not": {"type": "null"}} for name, s in fields["properties"].items() if s.get("default", 0) is not None
    }
    return {"required": fields.get("required", []), "properties": given}


def _sections(definitions: dict[str, Json]) -> dict[str, Json]:
    """Every section of a spec; null, which takes an inherited one away, may stand for each."""
    return {
        "cnnspec": {"description": "The version of the language.", "enum": [LANGUAGE, None]},
        "name": {
            "description": "The network's name; generated files are called after it.",
            "type": ["string", "number"],
            "maxLength": MAX_NAME,
            "pattern": r"^[^\s!-,/:-@\[-^`{-~]+$",  # letters of any script, digits, `-`, `_` and `.`
        },
        "cite": text("Where the network is published, such as `arXiv:1512.03385`."),
        "description": text("What the network is, in a sentence."),
        "extends": {
            "description": "The spec that this one changes: a file, or a network of the zoo. Sections are "
            "merged by key; null takes something away.",
            "type": ["string", "null"],
            "minLength": 1,
        },
        "use": {
            "description": "Files, or libraries of the zoo, whose blocks this spec uses.",
            "anyOf": [
                {"type": ["string", "null"], "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}},
            ],
        },
        "input": _section(InputSection, definitions),
        "params": {
            "description": "The spec's arguments with their defaults (`required` where there is none), "
            "changed by `--set name=value`.",
            "type": ["object", "null"],
            "propertyNames": {"pattern": VARIABLE},
            "additionalProperties": {"$ref": "#/$defs/constant"},
        },
        "let": {"$ref": "#/$defs/variables", "description": "Values that follow from the parameters."},
        "defaults": null_or(defaults(inherited=True))
        | {"description": "Options for every layer of a kind that does not say otherwise."},
        "blocks": {
            "description": "Definitions that layers use by name.",
            "type": ["object", "null"],
            "propertyNames": {"pattern": BLOCK_NAME, "not": {"enum": [*OPS, *STRUCTURES, *COMMON]}},
            "additionalProperties": null_or({"$ref": "#/$defs/block"}),
        },
        "layers": null_or({"description": "The network, from the input on.", "anyOf": [_LAYERS]}),
        "outputs": {
            "description": "Further outputs beside the last layer's, such as heads that help in training.",
            "type": ["object", "null"],
            "propertyNames": NAME,
            "additionalProperties": null_or(_output()),
        },
        "preprocess": _section(PreprocessSection, definitions),
        "labels": {
            "description": "The names of the classes, in the order of the outputs.",
            "type": ["array", "null"],
            "items": {"type": ["string", "number", "boolean", "null"]},
        },
        "transfer": _section(TransferSection, definitions),
        "train": _train(definitions),
    }


def _output() -> Json:
    return {
        "type": "object",
        "properties": {
            "from": SOURCE | {"description": "The layer that it starts at."},
            "layers": _LAYERS,
            "training_only": {
                "description": "Whether inference leaves it out.",
                "anyOf": [{"type": "boolean"}, EXPRESSION],
                "default": False,
            },
            "loss_weight": {
                "description": "What its loss is multiplied by in the sum of all losses.",
                "anyOf": [{"type": "number", "minimum": 0}, EXPRESSION],
                "default": 1,
            },
        },
        "required": ["from"],
        "additionalProperties": False,
    }


def _section(model: type[BaseModel], definitions: dict[str, Json]) -> Json:
    """A section that pydantic validates; the definitions of its parts go to `definitions`.

    Its own entries may be null, or left out, in a spec that inherits others.
    """
    schema = _with_layers(model.model_json_schema(by_alias=True))
    for name, part in schema.pop("$defs", {}).items():
        definitions[name] = or_expression(part)
    schema.pop("required", None)
    section = or_expression(schema)
    section["properties"] = {key: null_or(value) for key, value in section["properties"].items()}
    return null_or(section)


def _with_layers(schema: Any) -> Any:
    """`schema` with the definition of layers where a model leaves them to the parser."""
    if isinstance(schema, list):
        return [_with_layers(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("$comment") == "layers":
        return _LAYERS
    return {key: _with_layers(value) for key, value in schema.items()}


def _train(definitions: dict[str, Json]) -> Json:
    """A recipe, by name or as a mapping: over another recipe, null takes a section away."""
    recipe = _section(Recipe, definitions)
    recipe["properties"]["recipe"] = {
        "description": "The recipe that this one changes: a file, or a recipe of the zoo.",
        "type": ["string", "null"],
        "minLength": 1,
    }
    return {
        "description": recipe["description"],
        "anyOf": [
            {"description": "A recipe's file, or its name in the zoo.", "type": "string", "minLength": 1},
            recipe,
        ],
    }


def _whole_recipe() -> Json:
    """What a recipe needs that changes no other."""
    needed = [name for name, field in Recipe.model_fields.items() if field.is_required()]
    return {
        "if": {"type": "object", "properties": {"recipe": {"type": "null"}}},
        "then": {"required": needed, "properties": {name: {"not": {"type": "null"}} for name in needed}},
    }
