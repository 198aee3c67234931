"""The schema with an independent validator, and what cnnspec itself says about a spec."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import cnnspec
from cnnspec.diagnostics import Diagnostic


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    return cnnspec.schema()


@pytest.fixture(scope="session")
def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema)


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Any], list[Diagnostic]]:
    """`cnnspec.check` of a spec given as text, or as plain data: that is written as JSON, which is YAML."""

    def run(spec: Any) -> list[Diagnostic]:
        path = tmp_path / "spec.yaml"
        path.write_text(spec if isinstance(spec, str) else json.dumps(spec), encoding="utf-8")
        return cnnspec.check(path)

    return run
