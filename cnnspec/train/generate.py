"""The files of a build: the network, and what trains it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cnnspec.diagnostics import Report
from cnnspec.lower.backend import MissingDependency, check_support, code_backend
from cnnspec.lower.backend import backend as find_backend
from cnnspec.lower.execute import run_text
from cnnspec.lower.fold import fold

if TYPE_CHECKING:
    from cnnspec.graph import Graph
    from cnnspec.spec.recipe import Recipe
    from cnnspec.weights.mapping import Weights

_PACKAGES = {"PIL": "pillow"}  # that are not called as what they install


def build_files(graph: Graph, backend: str, recipe: Recipe | None) -> dict[str, bytes]:
    """What `cnnspec build` writes, by path: `model.py` and, with a recipe, what it takes to train.

    No framework is imported. Raises `SpecError` where the backend lacks an op, `ValueError` where there is none.
    """
    found = code_backend(backend)
    report = Report()
    check_support(graph, backend, found.kinds, report)
    report.raise_errors()
    program = fold(graph)
    files = {"model.py": found.source(program).encode()}
    if recipe is not None and hasattr(found, "train_source"):
        files["data.py"] = data_text(graph, recipe).encode()
        files["train.py"] = found.train_source(program, recipe).encode()
        files |= sample_files(recipe)
    return files


def first_weights(
    graph: Graph, backend: str, recipe: Recipe | None, given: Weights
) -> tuple[str, Callable[[Path], None]]:
    """What training starts from: what its file is called, and a function that writes it.

    Weights that are not `given` are drawn. Raises `MissingDependency` without the framework.
    """
    from cnnspec.train.start import completed
    from cnnspec.weights.finite import warn_of_odd

    found = find_backend(backend)
    warn_of_odd(given)
    return initial_name(backend), partial(found.write_weights, graph, completed(given, graph, recipe))


def initial_name(backend: str) -> str:
    """What the file of first weights is called."""
    suffix: str = find_backend(backend).weights_suffix
    return f"initial{suffix}"


def check_imports(files: dict[str, bytes], extra: str) -> None:
    """Raise `MissingDependency` for a library that generated files import and that is not installed."""
    own = {Path(name).stem for name in files}
    for name, content in files.items():
        for node in ast.walk(ast.parse(content)) if name.endswith(".py") else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for library in {full.partition(".")[0] for full in names} - own - sys.stdlib_module_names:
                if find_spec(library) is None:
                    raise MissingDependency(_PACKAGES.get(library, library), extra)


def data_text(graph: Graph, recipe: Recipe) -> str:
    """The text of `data.py`."""
    from cnnspec.train.data_file import data_source

    return data_source(graph, recipe)


def sample_files(recipe: Recipe) -> dict[str, bytes]:
    """The images of a recipe without data of its own, by path."""
    if recipe.data.kind != "sample":
        return {}
    folder = Path(__file__).parent / "sample"
    return {f"sample/{path.name}": path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def data_module(graph: Graph, recipe: Recipe) -> Any:
    """What `data.py` defines, as a module that is there already: the same text, run here."""
    text = data_text(graph, recipe)
    check_imports({"data.py": text.encode()}, "torch")  # or `keras`, which has the same
    module = ModuleType("cnnspec_generated_data")
    module.__file__ = str(Path(__file__).with_name("data.py"))  # beside it lies the sample
    sys.modules[module.__name__] = module  # where dataclasses look for their module
    run_text(text, f"<cnnspec {graph.name} data>", module.__dict__)
    return module
