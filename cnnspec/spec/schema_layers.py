"""The part of the language's JSON Schema that says what a layer is, generated from the ops.

A layer is a mapping, so its schema first asks which key says what the layer is (`if`), and then what may
stand beside it (`then`): a mistake is reported for the op that was meant. A mapping without a known kind is a
call of a block, of which the schema knows no more than the options that every layer takes. Where a file can have no
blocks, `op_layers` refuses it.
"""

from __future__ import annotations

from cnnspec.ops import OPS
from cnnspec.spec.naming import NAME as PATH_NAME
from cnnspec.spec.op_reader import options
from cnnspec.spec.schema_ops import describe, option, value_of
from cnnspec.spec.schema_values import (
    BLOCK_NAME,
    EXPRESSION,
    NAME,
    SOURCE,
    VALUE,
    VARIABLE,
    Json,
    names,
    text,
)
from cnnspec.spec.words import BLOCK_KEYS, COMMON, SHORTCUTS, STRUCTURES

_COMMON: dict[str, Json] = {
    "name": NAME,
    "from": SOURCE | {"description": "The earlier layer that this one reads, in place of the one before it."},
    "if": {
        "description": "Whether the layer exists.",
        "anyOf": [{"type": "boolean"}, EXPRESSION],
    },
    "repeat": {
        "description": "How many times the layer stands here, one behind the other.",
        "anyOf": [{"type": "integer", "minimum": 0}, EXPRESSION],
    },
    "first": {
        "description": "Options or arguments that have another value in the first of the repeats.",
        "type": "object",
        "additionalProperties": VALUE,
    },
}
_STRUCTURES = {
    "residual": "A body and a shortcut around it, added. Its parts have paths beside the other layers.",
    "stage": "Layers under a name of their own, built once for every value in `each`; `$i` counts from 1.",
    "table": "A block used once a row, in the order of the rows.",
}
_REQUIRED = {"stage": ["do"], "table": ["rows"]}
_SHORTCUTS = {
    "auto": "A projection where the channels change or the body strides, else the identity.",
    "identity": "What enters the body.",
    "projection": "A 1×1 convolution with the norm of the body's last convolution, and the body's stride.",
}
_LAYERS: Json = {"$ref": "#/$defs/layers"}
OP_LAYERS: Json = {"$ref": "#/$defs/op_layers"}
_BRANCH: Json = {"$ref": "#/$defs/branch"}


def layer_definitions() -> dict[str, Json]:
    """Everything about layers and blocks, by name."""
    return {
        "layers": {"description": "Layers in order.", "type": "array", "items": {"$ref": "#/$defs/layer"}},
        "branch": _nested("branch", merges=False),
        "body": _nested("residual's body", merges=True),
        "layer": {"anyOf": [_layer(()), _bare()]},
        "op_layers": {"items": _op_layer()},
        "block": _block(),
    }


# ---- layers


def _layer(extra: tuple[str, ...]) -> Json:
    """A layer as a mapping; `extra` are further keys of the mapping that it stands in."""
    kinds = {kind: describe(op) for kind, op in OPS.items()} | {name: _STRUCTURES[name] for name in STRUCTURES}
    beside = dict.fromkeys(extra, True)
    every_option = {name for op in OPS.values() for name in options(op)} | {"each", "do", "rows", "prefix"}
    rules: list[Json] = [
        {
            "if": _is(kind),
            "then": {"properties": _keys(kind) | beside, "additionalProperties": False, **_needs(kind)},
        }
        for kind in kinds
    ]
    call: Json = {
        "properties": {key: _COMMON[key] for key in COMMON} | beside,
        "propertyNames": {"pattern": BLOCK_NAME},
        "additionalProperties": {"$ref": "#/$defs/arguments"},
        "not": {"propertyNames": {"enum": [*COMMON, *extra]}},
        # options of ops mean that an op was meant: a block takes its arguments in its value
        "if": {"anyOf": [{"required": [name]} for name in sorted(every_option)]},
        "then": {
            "properties": dict.fromkeys([*COMMON, *extra, *sorted(every_option)], True),
            "additionalProperties": False,
        },
    }
    return {
        "type": "object",
        "properties": {kind: {"description": meaning} for kind, meaning in kinds.items()},
        "allOf": [
            *rules,
            {"if": {"not": {"anyOf": [{"required": [kind]} for kind in kinds]}}, "then": call},
            {"if": {"required": ["first"]}, "then": {"required": ["repeat"]}},
        ],
    }


def _op_layer() -> Json:
    """What is true of a layer, beside all else, in a spec that can have no blocks: it has a known key."""
    merges = [kind for kind, op in OPS.items() if op.merges]
    inner: Json = {
        "residual": {"properties": {"body": OP_LAYERS, "shortcut": OP_LAYERS}},
        "do": OP_LAYERS,
        **{kind: {"additionalProperties": OP_LAYERS} for kind in merges},
    }
    keys = {*COMMON, *STRUCTURES, "do", "each", "rows", "prefix"} | {
        k for op in OPS.values() for k in (op.kind, *options(op))
    }
    return {
        "if": {"type": "string"},
        "then": {"enum": [kind for kind in OPS if kind not in merges]},
        "else": {"propertyNames": {"enum": sorted(keys)}, "properties": inner},
    }


def _is(kind: str) -> Json:
    """Whether a layer is of this kind: `scale` beside `batch_norm` is an option of that."""
    owners = [other for other, op in OPS.items() if kind in options(op)]
    is_kind: Json = {"required": [kind]}
    if owners:
        is_kind["not"] = {"anyOf": [{"required": [owner]} for owner in owners]}
    return is_kind


def _needs(kind: str) -> Json:
    """What a layer of a kind cannot do without."""
    if kind in OPS and OPS[kind].merges:

        def form(written: str) -> Json:
            return {"properties": {kind: {"type": written}}}

        return {
            "allOf": [
                {"if": form("object"), "then": {"properties": {"from": SOURCE}}},
                {"if": form("array"), "then": {"properties": {"from": False}}},
                {
                    "if": form("null"),
                    "then": {"required": ["from"], "properties": {"from": {"type": "array"}}},
                },
            ]
        }
    return {"required": _REQUIRED[kind]} if kind in _REQUIRED else {}


def _keys(kind: str) -> dict[str, Json]:
    """The keys of a layer of a kind."""
    if kind in STRUCTURES:
        return _structure(kind)
    op = OPS[kind]
    common = {key: _COMMON[key] for key in COMMON}
    given = {name: option(op, name) for name in options(op)}
    if op.merges:
        del common["first"]
        return {kind: _merged(), **given, **common, "from": _merge_source()}
    common["first"] = {
        "description": _COMMON["first"]["description"],
        "type": "object",
        "properties": {name: option(op, name) for name in op.model_fields},
        "additionalProperties": False,
    }
    return {kind: value_of(op, options(op)), **given, **common}


def _bare() -> Json:
    """A layer as a word. Ops that need options, which `defaults:` may hold, are accepted but not proposed."""
    proposed = [
        op for op in OPS.values() if not op.merges and not any(f.is_required() for f in op.model_fields.values())
    ]
    excluded = [*STRUCTURES, *(kind for kind, op in OPS.items() if op.merges)]
    return {
        "type": "string",
        "anyOf": [
            names((op.kind for op in proposed), (describe(op) for op in proposed)),
            {"pattern": f"^(?!(?:{'|'.join(excluded)})$){BLOCK_NAME[1:]}"},
        ],
    }


def _nested(what: str, *, merges: bool) -> Json:
    """Layers among which structures, and merges of branches unless `merges`, must be blocks of their own."""
    refused: dict[str, Json | bool] = dict.fromkeys(STRUCTURES, False)
    if not merges:
        refused |= {kind: {"type": ["array", "null"]} for kind, op in OPS.items() if op.merges}
    return {
        "description": f"Layers in order. A structure in a {what} must be a block of its own.",
        "type": "array",
        "items": {"$ref": "#/$defs/layer", "properties": refused},
    }


# ---- structures


def _merged() -> Json:
    """What a merge's own key holds: branches, or a list of layers; nothing, where `from` has the list."""
    return {
        "anyOf": [
            {
                "description": "Branches by name, all on one input; an empty list is the input itself.",
                "type": "object",
                "minProperties": 2,
                "propertyNames": NAME,
                "additionalProperties": _BRANCH,
            },
            {
                "description": "The names of the layers to merge.",
                "type": "array",
                "minItems": 2,
                "items": SOURCE,
            },
            {"type": "null"},
        ]
    }


def _merge_source() -> Json:
    return {
        "description": "The earlier layer that the branches read, or the list of layers to merge.",
        "anyOf": [SOURCE, {"type": "array", "minItems": 2, "items": SOURCE}],
    }


def _structure(kind: str) -> dict[str, Json]:
    common = {key: _COMMON[key] for key in COMMON}
    if kind == "residual":
        del common["first"]
        return {"residual": _residual(), **common}
    if kind == "stage":
        return {
            "stage": NAME,
            "each": {
                "description": "Variables with the lists of their values, equally long; one pass for each.",
                "type": "object",
                "propertyNames": {"pattern": VARIABLE},
                "additionalProperties": {"anyOf": [{"type": "array", "items": VALUE}, EXPRESSION]},
            },
            "do": _LAYERS,
            **{key: common[key] for key in ("if", "from")},
        }
    return {
        "table": {"description": "The block that the rows use.", "type": "string", "pattern": BLOCK_NAME},
        "rows": {
            "description": "The arguments of each use; its path is the prefix and the row's name.",
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[A-Za-z0-9_]+$"},
            "additionalProperties": {"$ref": "#/$defs/arguments"},
        },
        "prefix": {
            "description": "What the paths of the rows begin with; the block's name unless given.",
            "type": "string",
            "pattern": "^" + PATH_NAME.pattern.removesuffix(r"\Z") + "$",
        },
        "if": common["if"],
    }


def _residual() -> Json:
    return {
        "type": "object",
        "properties": {
            "body": {"$ref": "#/$defs/body"},
            "shortcut": {
                "description": "What is added to the body's output; `auto` unless given.",
                "anyOf": [names(SHORTCUTS, (_SHORTCUTS[name] for name in SHORTCUTS)), _BRANCH],
            },
            "activation": {"$ref": "#/$defs/activation"},
        },
        "required": ["body"],
        "additionalProperties": False,
    }


# ---- blocks


def _block() -> Json:
    """A definition: a list of layers, or the one layer that it is."""
    keys = {
        "args": {
            "description": "The arguments with their defaults (or `required`), or a list of names.",
            "anyOf": [
                {"$ref": "#/$defs/variables"},
                {"type": "array", "items": {"type": "string", "pattern": VARIABLE}},
            ],
        },
        "let": {"$ref": "#/$defs/variables", "description": "Named values, each seeing the ones before it."},
        "description": text("What the block is, for its generated class."),
        "layers": _LAYERS,
    }
    single = tuple(key for key in BLOCK_KEYS if key != "layers")
    return {
        "type": "object",
        "properties": {key: keys[key] for key in BLOCK_KEYS},
        "if": {"required": ["layers"]},
        "then": {"properties": dict.fromkeys(BLOCK_KEYS, True), "additionalProperties": False},
        "else": _layer(single),
    }
