"""A program as Keras code: blocks and stages are functions, and so is the network."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cnnspec.backends.keras.function import File, Function
from cnnspec.backends.keras.layer_functions import Alike, groups, with_functions
from cnnspec.backends.keras.layouts import Layouts
from cnnspec.lower.files import model_file
from cnnspec.lower.fold import fold
from cnnspec.lower.program import Program, Unprintable


class Printed(NamedTuple):
    """The text of `model.py`, the function that makes the model, and that function's argument for training."""

    text: str
    function: str
    training: str


def print_program(program: Program, layouts: Layouts) -> Printed:
    """Print a program."""
    try:
        return _shortest(program, layouts)
    except Unprintable:
        return _shortest(fold(program.graph, shared=False), layouts)


def _shortest(program: Program, layouts: Layouts) -> Printed:
    """A program with a function for layers that are alike, wherever that makes the text shorter."""
    chosen: list[Alike] = []
    best = _print(program, layouts)
    for alike in groups(program):
        printed = _print(with_functions(program, [*chosen, alike]), layouts)
        if printed.text.count("\n") < best.text.count("\n"):
            chosen, best = [*chosen, alike], printed
    return best


def _print(program: Program, layouts: Layouts) -> Printed:
    """The whole file."""
    helpers = helper_sources()
    file = File(program, layouts, helpers)
    functions = [Function(file, definition) for definition in program.definitions]
    bodies = ["\n".join(function.lines()) for function in functions]
    parts = [*(helpers[name] for name in with_used(file.called)), *bodies]
    imports = ["import math", ""] if any(function.math for function in functions) else []
    imports.append("import keras")
    modules = [name for name in ("layers", "ops") if re.search(rf'(?<![\w"`.]){name}\.', "\n".join(parts))]
    if modules:
        imports.append(f"from keras import {', '.join(modules)}")
    text = model_file(program.title, imports, parts)
    return Printed(text, file.functions[program.network], functions[-1].training)


def with_used(called: Iterable[str]) -> list[str]:
    """Helpers, and before each the ones that it uses itself."""
    helpers = helper_sources()
    made: dict[str, None] = {}
    for name in called:
        used = [other for other in helpers if re.search(rf"(?<!def )(?<![\w.]){other}\(", helpers[name])]
        made |= dict.fromkeys((*used, name))
    return list(made)


@cache
def helper_sources() -> dict[str, str]:
    """The text of every function in `helpers.py`."""
    source = Path(__file__).with_name("helpers.py").read_text(encoding="utf-8")
    found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_source_segment(source, node) or "" for node in found}
