"""Every place in the source that reports a mistake is reached by a bad spec, and every slug by one or the other test."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from bad_specs import BAD, CASES, Case
from hostile import QUICK, SLOW, write

import cnnspec
from cnnspec.diagnostics.catalog import CATALOG

ROOT = Path(cnnspec.__file__).parent
FOLDERS = ("graph", "ops", "source", "spec", "expr.py")  # what reads specs; commands report with tests of their own
RAISERS = {
    "Exhausted", "ExprError", "OpError", "Problem", "PydanticCustomError", "UnknownValue",
    "_conflict", "_fail", "_late", "_mismatch", "_refuse", "_stop", "_unreadable", "stop",
}  # fmt: skip
ELSEWHERE = {"disagreement", "file-exists", "too-many-mistakes", "no-recipe", "bad-data", "no-run", "bad-ensemble"} | {
    "no-file", "bad-weight-file", "missing-weights", "left-over-weights", "weight-shape", "weight-type", "not-finite",
    "foreign-weights", "no-provider", "no-preprocess", "out-of-range", "unsupported-op", "bad-model",
    "unwrapped-weights", "unknown-published", "published-mismatch", "no-download", "published-preprocess", "diverged",
}  # fmt: skip
"""Slugs of commands beside `validate`, and of what takes long to provoke: tests/cli, test_hostile.py, weights, onnx, golden."""
UNREACHABLE = ("this expression is nested too deeply",)
"""Not by any spec of the allowed size: tests/unit/test_expr.py goes there by itself."""
LONG = {
    "long_line", "long_key", "long_lists_at_the_top", "long_lists_in_a_section", "long_lists_in_layers",
    "many_parentheses", "many_patterns",
}  # fmt: skip
"""What takes seconds under a trace, and reaches no message that others do not."""

Site = tuple[str, int]


@cache
def sites() -> dict[Site, str]:
    """The calls that make a message: file and line, and how they begin."""
    found = {}
    for path in sorted(
        p for name in FOLDERS for p in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ):
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and _makes_message(node):
                found[str(path), node.lineno] = " ".join((ast.get_source_segment(source, node) or "").split())[:100]
    return found


def _makes_message(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    return name.endswith("report.add") or name.rpartition(".")[2] in RAISERS


@contextmanager
def reached() -> Iterator[set[Site]]:
    """The sites that are executed inside."""
    hit = set[Site]()
    waiting: dict[CodeType, set[int]] = {}  # lines that are not yet hit; without any, code runs untraced

    def on_line(frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        lines = waiting[frame.f_code]
        if frame.f_lineno in lines and event == "line":
            lines.remove(frame.f_lineno)
            hit.add((frame.f_code.co_filename, frame.f_lineno))
        return on_line

    def on_call(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        if code not in waiting:
            waiting[code] = {line for *_, line in code.co_lines() if line and (code.co_filename, line) in sites()}
        return on_line if waiting[code] else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield hit
    finally:
        sys.settrace(before)


def test_every_message_has_a_bad_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    monkeypatch.setattr("cnnspec.graph.scope.MAX_LAYERS", 400)
    monkeypatch.setattr("cnnspec.expr.MAX_STEPS", 60_000)
    monkeypatch.setattr("cnnspec.spec.values.MAX_CHARACTERS", 50_000)
    monkeypatch.setattr("cnnspec.source.reader.MAX_NODES", 45_000)  # traced, more of anything takes long
    files = [write(QUICK[name], tmp_path / name) for name in QUICK if name not in LONG]
    files.append(write(SLOW["blocks_multiply"], tmp_path / "blocks"))
    for n in range(20):
        (tmp_path / f"chain{n}.yaml").write_text(f"extends: chain{n + 1}.yaml")
    unreadable = tmp_path / "unreadable"
    unreadable.write_text("")
    os.mkfifo(tmp_path / "pipe")
    opened = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path == unreadable:
            raise PermissionError
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with reached() as hit:
        for name in CASES:
            Case.read(name).diagnostics()
        for file in (*files, tmp_path / "chain0.yaml", tmp_path / "pipe", unreadable, ""):
            cnnspec.check(file)
    missed = {
        f"{Path(file).relative_to(ROOT)}:{line}": sites()[file, line] for file, line in sorted(sites().keys() - hit)
    }
    missed = {place: call for place, call in missed.items() if not any(text in call for text in UNREACHABLE)}
    assert not missed, "no bad spec leads to these; add one to tests/diagnostics/bad"


def test_sites_are_found_and_can_be_missed(tmp_path: Path) -> None:
    assert len(sites()) > 200
    spec = tmp_path / "spec.yaml"
    spec.write_text("")
    with reached() as hit:
        cnnspec.check(spec)
    assert {Path(file).name for file, _ in hit} == {"reader.py"}
    assert any("the file is empty" in sites()[site] for site in hit)


def test_every_slug_has_a_bad_spec() -> None:
    expected = {e.slug for name in CASES for e in Case.read(name).expected} | {h.slug for h in QUICK.values()}
    assert expected | {"unreadable-file"} | ELSEWHERE == CATALOG.keys()
