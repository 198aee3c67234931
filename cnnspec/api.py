"""cnnspec from Python: what the command line does, as functions and objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnspec.diagnostics import Diagnostic, Report, Source, Span, SpecError
from cnnspec.graph import Graph, build_graph, check_cases
from cnnspec.spec.loader import load_spec
from cnnspec.spec.locate import DEFAULT, find
from cnnspec.spec.locate import zoo as zoo

if TYPE_CHECKING:
    from os import PathLike

    from cnnspec.spec.document import Spec
    from cnnspec.spec.recipe import Recipe
    from cnnspec.summary import Summary


@dataclass(frozen=True, slots=True, repr=False)
class Net:
    """A network: its spec, with parameters set, and its graph, expanded under the transfer `case` if there is one."""

    spec: Spec
    graph: Graph
    case: str = ""
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def name(self) -> str:
        """The network's name."""
        return self.spec.name

    @property
    def recipe(self) -> Recipe | None:
        """The training recipe, if the spec has one. Raises `SpecError` with every mistake in it."""
        from cnnspec.graph.recipe import check_recipe

        report = Report()
        recipe = self.spec.read_recipe(report)
        if recipe:
            check_recipe(recipe, self.graph, report, whole=not self.case)
        report.raise_errors()
        return recipe

    def summary(self) -> Summary:
        """Shapes, parameters, multiply-adds and memory of every layer; as text, a table."""
        from cnnspec.summary import summarise

        return summarise(self.graph, self.case)

    def __repr__(self) -> str:
        return f"<cnnspec.Net {self.name}: {self.graph.input.shape}, {len(self.graph.nodes)} layers>"


def load(spec: str | PathLike[str], *, transfer: str = "", params: dict[str, Any] | None = None, **set_: Any) -> Net:
    """Load a spec by path or by its name in the zoo.

    Keyword arguments set its parameters; `params` does the same for names that Python does not take, such as
    `input.size`, and as text for values from a command line. `transfer` names a case of its transfer section.

    Raises `SpecError` with every mistake, located; those of its recipe when that is asked for, `net.recipe`.
    """
    report = Report()
    loaded = load_spec(str(spec), {**(params or {}), **set_}, report)
    graph = build_graph(loaded, report, transfer) if loaded else None
    report.raise_errors()
    assert loaded and graph, "a spec without errors has a graph"
    return Net(loaded, graph, transfer, tuple(report.sorted()))


def check(spec: str | PathLike[str]) -> list[Diagnostic]:
    """Everything that is wrong with a spec, its transfer cases and its recipe included; empty if nothing is."""
    report = Report()
    try:
        _check(str(spec), report)
    except SpecError as error:  # too many mistakes to go on
        return error.diagnostics
    return report.sorted()


def _check(spec: str, report: Report) -> None:
    loaded = load_spec(spec, {}, report)
    graph = build_graph(loaded, report) if loaded else None
    if loaded and graph:
        check_cases(loaded, graph, report)
    if loaded and (recipe := loaded.read_recipe(report)) and graph:
        from cnnspec.graph.recipe import check_recipe  # imports all of a recipe's models

        check_recipe(recipe, graph, report)


def start_project(network: str, folder: str | PathLike[str] = ".") -> Path:
    """Copy a network of the zoo to `cnnspec.yaml` in `folder`. Raises `SpecError` where there is one already."""
    report = Report()
    source = find(network, report)
    target = Path(folder, DEFAULT)
    if target.exists():
        span = Span(Source(str(target), ""), 0, 0)
        report.add(
            "file-exists", f"`{target}` exists already, and is left as it is", span, help="remove or rename it first"
        )
    report.raise_errors()
    assert source, "a network that was not found is an error"
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(source.read_bytes())
    part.replace(target)  # at once: a spec is never there half
    return target


def schema() -> dict[str, Any]:
    """The JSON Schema of the language's structure."""
    from cnnspec.spec.schema import language_schema

    return language_schema()
