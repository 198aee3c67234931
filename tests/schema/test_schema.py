"""The schema is valid, complete, quick, and right about the zoo."""

import json
import subprocess
import sys
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import cnnspec
from cnnspec.diagnostics import Report
from cnnspec.ops import OPS
from cnnspec.source import plain, read_file
from cnnspec.spec.locate import zoo_folder
from cnnspec.spec.op_reader import options
from cnnspec.spec.words import COMMON, SHORTCUTS, STRUCTURES, TOP_LEVEL


def keys_of(schema: dict[str, Any], kind: str) -> set[str]:
    """The keys that a layer of a kind may have."""
    mapping, _ = schema["$defs"]["layer"]["anyOf"]
    (rule,) = [r for r in mapping["allOf"] if r["if"].get("required") == [kind]]
    assert rule["then"]["additionalProperties"] is False
    return set(rule["then"]["properties"])


def test_is_a_json_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


def test_every_reference_has_a_target(schema: dict[str, Any]) -> None:
    todo: list[Any] = [schema]
    found = 0
    while todo:
        at = todo.pop()
        if isinstance(at, list):
            todo += at
        elif isinstance(at, dict):
            todo += at.values()
            reference = at.get("$ref")
            if isinstance(reference, str):
                target = schema
                for step in reference.removeprefix("#/").split("/"):
                    target = target[step]
                found += 1
    assert found > 100


@pytest.mark.parametrize("kind", OPS)
def test_knows_every_op_with_its_options(schema: dict[str, Any], kind: str) -> None:
    op = OPS[kind]
    common = set(COMMON) - ({"first"} if op.merges else set())
    assert keys_of(schema, kind) == {kind, *options(op), *common}
    stated = schema["$defs"][f"{kind}.options"]["properties"]
    assert set(stated) == {*op.model_fields, *op.attaches}
    assert all(stated[name]["description"] for name in op.model_fields)
    assert schema["$defs"]["layer"]["anyOf"][0]["properties"][kind]["description"]


def test_knows_every_structure(schema: dict[str, Any]) -> None:
    assert keys_of(schema, "residual") == {"residual", "name", "from", "if", "repeat"}
    assert keys_of(schema, "stage") == {"stage", "each", "do", "if", "from"}
    assert keys_of(schema, "table") == {"table", "rows", "prefix", "if"}
    assert len(STRUCTURES) == 3
    mapping, _ = schema["$defs"]["layer"]["anyOf"]
    (residual,) = [r["then"] for r in mapping["allOf"] if r["if"].get("required") == ["residual"]]
    words, _ = residual["properties"]["residual"]["properties"]["shortcut"]["anyOf"]
    assert words["enum"] == list(SHORTCUTS)


@pytest.mark.parametrize("role", ["norm", "activation"])
def test_names_every_norm_and_activation(schema: dict[str, Any], role: str) -> None:
    names, mapping, _ = schema["$defs"][role]["anyOf"]
    known = [kind for kind, op in OPS.items() if op.role == role]
    assert names["enum"] == ["none", None, *known]
    assert len(names["enumDescriptions"]) == len(names["enum"])
    assert list(mapping["properties"]) == known


def test_describes_every_section(schema: dict[str, Any]) -> None:
    assert list(schema["properties"]) == list(TOP_LEVEL)
    assert all(section["description"] for section in schema["properties"].values())


def test_proposes_bare_names_of_ops_that_need_nothing(schema: dict[str, Any]) -> None:
    _, bare = schema["$defs"]["layer"]["anyOf"]
    proposed = bare["anyOf"][0]["enum"]
    assert {"flatten", "relu", "batch_norm", "global_avg_pool", "lrn"} <= set(proposed)
    assert not {"conv", "max_pool", "dropout", "add", "concat"} & set(proposed)


@pytest.mark.parametrize("path", sorted(zoo_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_accepts_the_zoo(validator: Draft202012Validator, path: Any) -> None:
    report = Report()
    node = read_file(path, path.name, report)
    assert node is not None
    assert not report.diagnostics
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(plain(node))] == []


def test_needs_no_framework() -> None:
    code = (
        "import sys, cnnspec; cnnspec.schema();"
        "print(sorted({'numpy', 'torch', 'tensorflow', 'keras', 'onnx', 'jsonschema'} & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


def test_is_the_same_every_time(schema: dict[str, Any]) -> None:
    assert json.dumps(cnnspec.schema()) == json.dumps(schema)
