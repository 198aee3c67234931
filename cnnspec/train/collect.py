"""Takes functions and all that they use out of snippet modules: what a generated file defines and imports."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Definition(NamedTuple):
    """A function, class or constant of a snippet module."""

    module: str
    name: str
    text: str
    uses: frozenset[str]
    is_value: bool


@dataclass(frozen=True)
class Module:
    """A snippet module: its definitions in order, and the imports that they draw on, by the name that they bind."""

    definitions: dict[str, Definition]
    foreign: dict[str, str]
    """The statement that imports a name from a library."""
    snippets: dict[str, tuple[str, str]]
    """Names from other snippet modules: the module, and the name there."""


class Collected(NamedTuple):
    """The parts of a generated file."""

    imports: tuple[str, ...]
    """Statements, each of one name."""
    values: tuple[str, ...]
    """Assignments of constants and type names."""
    definitions: tuple[str, ...]
    """Functions and classes, each behind those that it needs when it is defined."""


def collect(wanted: Iterable[str]) -> Collected:
    """What defines the `wanted` names, each written MODULE:NAME, and all that they use.

    Modules and the definitions within them keep their order: a module that is used comes before the one that uses it.
    Raises `KeyError` for a name that a module does not define.
    """
    modules: dict[str, set[str]] = {}
    imports: set[str] = set()
    for item in wanted:
        module, _, name = item.partition(":")
        _take(module, name, modules, imports)
    found = [
        definition
        for name in _ordered(modules)
        for definition in read(name).definitions.values()
        if definition.name in modules[name]
    ]
    return Collected(
        tuple(sorted(imports)),
        tuple(d.text for d in found if d.is_value),
        tuple(d.text for d in found if not d.is_value),
    )


def unsettled(values: Iterable[str], constants: Iterable[str]) -> list[str]:
    """Those assignments of which `constants`, lines of text, have no other one."""
    settled = {line.partition(" = ")[0] for line in constants}
    return [value for value in values if re.split(r"\W", value, maxsplit=1)[0] not in settled]


def _take(module: str, name: str, modules: dict[str, set[str]], imports: set[str]) -> None:
    if name in modules.setdefault(module, set()):
        return
    content = read(module)
    definition = content.definitions[name]
    modules[module].add(name)
    for used in sorted(definition.uses):
        if used in content.definitions:
            _take(module, used, modules, imports)
        elif used in content.snippets:
            _take(*content.snippets[used], modules, imports)
        elif used in content.foreign:
            imports.add(content.foreign[used])


def _ordered(modules: Iterable[str]) -> Iterator[str]:
    """Modules, those that are used before those that use them."""
    wanted = sorted(modules)
    done: list[str] = []

    def visit(module: str) -> None:
        if module not in done:
            for below, _ in read(module).snippets.values():
                if below in wanted and below != module:
                    visit(below)
            done.append(module)

    for module in wanted:
        visit(module)
    yield from done


@cache
def read(module: str) -> Module:
    """A snippet module's parts, from its text: it is not imported, and so needs no library."""
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin, f"no snippet module {module}"
    source = Path(spec.origin).read_text(encoding="utf-8")
    definitions: dict[str, Definition] = {}
    foreign: dict[str, str] = {}
    snippets: dict[str, tuple[str, str]] = {}
    lines = source.splitlines()
    end = 0
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module and _is_snippet(node.module):
            snippets |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            foreign |= dict(_imports(node))
        elif name := _defined(node):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
            while first > end and lines[first - 1].startswith("#"):  # a comment above it is part of it
                first -= 1
            text = "\n".join(lines[first : node.end_lineno])
            is_value = not isinstance(node, ast.FunctionDef | ast.ClassDef)
            definitions[name] = Definition(module, name, text, _names(node), is_value)
        end = node.end_lineno or end
    return Module(definitions, foreign, snippets)


def _is_snippet(module: str) -> bool:
    return module.startswith("cnnspec.") and "snippets" in module.split(".")


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Each name that is bound, with a statement for it alone."""
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            statement = f"from {node.module} import {ast.unparse(alias)}"
        else:
            statement = f"import {ast.unparse(alias)}"
        yield alias.asname or alias.name.partition(".")[0], statement


def _defined(node: ast.stmt) -> str:
    """The name that a statement defines, or an empty one."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


def _names(node: ast.AST) -> frozenset[str]:
    """All names that are read within a statement."""
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))


def merge_imports(statements: Iterable[str], local: Iterable[str] = ()) -> list[str]:
    """Import statements as a sorter leaves them: the standard library, libraries, then `local` modules.

    Those from one module are put together; an empty text parts the groups.
    """
    groups: dict[int, dict[str, set[str]]] = {}
    for statement in statements:
        (node,) = ast.parse(statement).body
        assert isinstance(node, ast.Import | ast.ImportFrom), statement
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        top = module.partition(".")[0]
        rank = 0 if top in sys.stdlib_module_names else 2 if top in set(local) else 1
        head = f"from {module} import " if isinstance(node, ast.ImportFrom) else ""
        names = {ast.unparse(alias) for alias in node.names}
        groups.setdefault(rank, {}).setdefault(head or f"import {min(names)}", set()).update(names if head else set())
    result: list[str] = []
    for rank in sorted(groups):
        result += [""] if result else []
        for head in sorted(groups[rank], key=lambda h: (h.startswith("from "), h.lower())):
            result.append(_import_line(head, sorted(groups[rank][head], key=_import_order)))
    return result


def _import_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as isort has them."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name


def _import_line(head: str, names: list[str]) -> str:
    line = head + ", ".join(names)
    if len(line) <= 88:
        return line
    return head + "(\n" + "".join(f"    {name},\n" for name in names) + ")"
